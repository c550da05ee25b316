//! Permissions of one account for another to import something.

use serde::Deserialize;

use super::model::{Claims, Kind, subject_issue};
use super::validate::Issues;

/// What an account lets another one import.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Activation {
    /// The subject, or a pattern that covers it.
    pub subject: String,
    /// `stream` or `service`.
    pub kind: String,
    /// The account, where one of its signing keys signed.
    pub issuer_account: String,
}

impl Claims<Activation> {
    /// What is wrong with the claims, the time `now_s` (seconds since 1970) considered where it is given.
    pub fn issues(&self, now_s: Option<i64>) -> Issues {
        let mut issues = Issues::default();
        if let Some(now_s) = now_s {
            self.check_times(now_s, &mut issues);
        }
        if !matches!(self.nats.kind.as_str(), "stream" | "service") {
            issues.error("invalid import type: \"unknown\"");
        }
        subject_issue(&self.nats.subject, &mut issues);
        if !self.nats.issuer_account.is_empty() && !Kind::is_account_key(&self.nats.issuer_account) {
            issues.error("account_id is not an account public key");
        }
        issues
    }
}
