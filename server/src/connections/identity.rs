//! Who is at the other end of a connection.

use std::sync::Arc;

use crate::router::Account;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The account; `$G` until CONNECT says otherwise.
    pub account: Arc<Account>,
    /// User name or public key, `[REDACTED]` for a token, or empty.
    pub user: String,
    /// Whether it came in with a key.
    pub by_key: bool,
    /// What the client calls itself.
    pub name: String,
    /// Language of the client library.
    pub lang: String,
    /// Version of the client library.
    pub version: String,
    /// Address and number, and after CONNECT the client and user, as log lines begin.
    pub label: String,
    /// Client protocol, 0 or 1.
    pub protocol: i64,
}

impl Identity {
    /// Who stands for the user: the account, for one with a key. Empty: nobody.
    pub(crate) fn issuer(&self) -> &str {
        if self.by_key { self.account.name() } else { "" }
    }
}
