//! Errors of the JetStream API as clients see them.

pub mod catalogue;

use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Display;

/// One entry of the catalogue. Its text may hold placeholders such as `{err}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorDef {
    /// Status, in the manner of HTTP.
    pub code: u16,
    /// The number that clients match on.
    pub err_code: u16,
    /// The text, with placeholders.
    pub text: &'static str,
}

impl ErrorDef {
    /// The error, with its text as it stands.
    #[must_use]
    pub const fn error(self) -> ApiError {
        ApiError { code: self.code, err_code: self.err_code, description: Cow::Borrowed(self.text) }
    }

    /// The error with one placeholder filled in.
    #[must_use]
    pub fn with(self, placeholder: &str, value: impl Display) -> ApiError {
        self.error().with(placeholder, value)
    }

    /// The error with `{err}` filled in.
    #[must_use]
    pub fn because(self, value: impl Display) -> ApiError {
        self.with("err", value)
    }
}

/// An error as it stands in the `error` field of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{description} ({err_code})")]
pub struct ApiError {
    /// Status, in the manner of HTTP.
    pub code: u16,
    /// The number that clients match on.
    #[serde(skip_serializing_if = "is_zero")]
    pub err_code: u16,
    /// What went wrong.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Cow<'static, str>,
}

impl ApiError {
    /// Fills in a further placeholder.
    #[must_use]
    pub fn with(mut self, placeholder: &str, value: impl Display) -> Self {
        let text = self.description.replace(&format!("{{{placeholder}}}"), &value.to_string());
        self.description = Cow::Owned(text);
        self
    }
}

impl From<ErrorDef> for ApiError {
    fn from(def: ErrorDef) -> Self {
        def.error()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::catalogue::{ALL, INVALID_JSON, STREAM_NOT_FOUND};

    #[test]
    fn err_codes_are_unique_and_placeholders_are_filled() {
        let mut codes: Vec<_> = ALL.iter().map(|def| def.err_code).collect();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        assert_eq!(INVALID_JSON.because("x").description, "invalid JSON: x");
        assert_eq!(
            jetkv_go_compat::json::to_vec(&STREAM_NOT_FOUND.error()),
            br#"{"code":404,"err_code":10059,"description":"stream not found"}"#
        );
    }
}
