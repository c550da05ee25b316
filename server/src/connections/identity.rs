//! Who is at the other end of a connection.

use std::sync::Arc;
use std::time::Instant;

use crate::claims::Token;
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
    /// The claims that it showed, whatever they are. Empty: none.
    pub token: String,
    /// What its claims say, if it came with claims.
    pub claims: Option<IdentityClaims>,
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
    /// Key of the proxy that signed for it. Empty: none did.
    pub proxy: String,
}

/// What a user's claims say.
#[derive(Debug, Clone)]
pub(crate) struct IdentityClaims {
    /// The key that signed for the account. Empty: the account's own.
    pub signing_key: String,
    /// The user's name for people.
    pub name: String,
    /// Words.
    pub tags: Vec<String>,
    /// Until when the user may stay.
    pub expires_at: Option<Instant>,
    /// Longest message that it may publish, in bytes; negative: any.
    pub max_payload_bytes: i64,
}

impl Identity {
    /// Who stands for the user: the key that signed its claims, or the account, for one with a key. Empty: nobody.
    pub(crate) fn issuer(&self) -> &str {
        match &self.claims {
            Some(claims) if !claims.signing_key.is_empty() => &claims.signing_key,
            None if !self.by_key => "",
            _ => self.account.name(),
        }
    }

    /// The user's words for itself.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.claims.as_ref().map(|claims| claims.tags.clone()).unwrap_or_default()
    }

    /// The claims as pages show them: those that let in whoever has them are not.
    pub(crate) fn shown_token(&self) -> String {
        let is_bearer = Token::user(&self.token).is_ok_and(|user| user.nats.bearer_token);
        if is_bearer { String::new() } else { self.token.clone() }
    }
}
