//! What is refused in every part of a stream's configuration, and how.

use crate::error::ApiError;
use crate::error::catalogue as errors;
use std::fmt::Display;

/// Whether a name may name a stream or consumer.
#[must_use]
pub fn is_valid_asset_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([' ', '\t', '\r', '\n', '\u{c}', '.', '*', '>', '\\', '/'])
}

/// The configuration breaks a rule.
pub(super) fn invalid(text: impl Display) -> ApiError {
    errors::STREAM_INVALID_CONFIG.because(text)
}

/// The configuration would be put right, and who asked wants to be told instead.
pub(super) fn pedantic_error(text: impl Display) -> ApiError {
    errors::PEDANTIC.because(text)
}
