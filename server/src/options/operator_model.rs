//! Operators, whose accounts and users come with claims instead of being configured.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::remote_tls::RemoteTls;
use crate::claims::OperatorClaims;

/// Whose signature on an account counts, and where accounts are found. By default nobody's, and accounts are configured.
///
/// ```
/// use jetkv::options::{Deletion, OperatorOptions, Options, ResolverOptions, TrustedOperator};
/// use std::time::Duration;
///
/// let operators: OperatorOptions = Options::default().operators;
/// assert!(!operators.is_on() && operators.resolver.is_none());
/// let configured: &[TrustedOperator] = &operators.operators;
/// assert!(configured.is_empty());
///
/// let key = "OAVXOHA2VMIZ2ZI2QYK3ZYKQUQ4SJWOJWLHWC4I7XPSUSLVNQX7CGW7V";
/// let trusting = OperatorOptions {
///     trusted_keys: Some(vec![key.to_owned()]),
///     resolver: Some(ResolverOptions::Memory),
///     ..OperatorOptions::default()
/// };
/// assert!(trusting.is_on() && trusting.is_memory() && !trusting.is_strict(key));
/// assert_eq!(trusting.keys(), [key]);
///
/// let in_a_directory = ResolverOptions::Full {
///     dir: "jwt".into(),
///     limit: 1000,
///     interval: Duration::from_secs(120),
///     deletion: Deletion::Renamed,
///     timeout: Duration::from_secs(2),
/// };
/// assert_ne!(trusting.resolver, Some(in_a_directory));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperatorOptions {
    /// The operators.
    pub operators: Vec<TrustedOperator>,
    /// Keys that are trusted without the claims of an operator. `None`: nothing is said of them.
    pub trusted_keys: Option<Vec<String>>,
    /// Where accounts are found.
    pub resolver: Option<ResolverOptions>,
    /// Claims of accounts that are put into the resolver at start, by account.
    pub preloads: BTreeMap<String, String>,
    /// Accounts whose users may connect. `None`: all.
    pub pinned_accounts: Option<BTreeSet<String>>,
    /// Claims of the user that whoever shows none becomes.
    pub default_sentinel: Option<String>,
    /// How the resolver's server is asked under TLS. `None`: it shows a certificate that the system trusts, and this server none.
    pub resolver_tls: Option<RemoteTls>,
}

/// An operator.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustedOperator {
    /// Its claims as a token.
    pub token: String,
    /// Its claims.
    pub claims: OperatorClaims,
}

/// Where claims of accounts are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolverOptions {
    /// In memory: those that are put there at start.
    Memory,
    /// Below an address, by a request of HTTP.
    Url(String),
    /// In a directory that is changed by requests of the system account.
    Full {
        /// The directory.
        dir: PathBuf,
        /// Most accounts. Not positive: no limit.
        limit: i64,
        /// Time between two looks at whether another server has accounts that this one lacks.
        interval: Duration,
        /// What becomes of accounts that are deleted.
        deletion: Deletion,
        /// Time that another server has to answer.
        timeout: Duration,
    },
    /// In other servers, and for a time in a directory.
    Cache {
        /// The directory.
        dir: PathBuf,
        /// Most accounts. Not positive: no limit.
        limit: i64,
        /// Time for which an account is kept that nobody asks for.
        ttl: Duration,
        /// Time that another server has to answer.
        timeout: Duration,
    },
}

/// What becomes of the claims of accounts that are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// None may be.
    Refused,
    /// They stay under another name.
    Renamed,
    /// They are gone.
    Gone,
}

impl OperatorOptions {
    /// Whether accounts and users come with claims.
    pub fn is_on(&self) -> bool {
        !self.operators.is_empty() || self.trusted_keys.is_some()
    }

    /// The keys whose signature on an account counts.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.trusted_keys.clone().unwrap_or_default();
        for operator in &self.operators {
            if !operator.claims.nats.strict_signing_key_usage {
                keys.push(operator.claims.sub.clone());
            }
            keys.extend(operator.claims.nats.signing_keys.iter().cloned());
        }
        keys
    }

    /// Whether accounts that are signed by a key sign no users with their own key.
    pub fn is_strict(&self, key: &str) -> bool {
        self.operators.iter().map(|operator| &operator.claims.nats).any(|operator| {
            operator.strict_signing_key_usage && operator.signing_keys.iter().any(|known| known == key)
        })
    }

    /// Whether accounts live in memory alone.
    pub fn is_memory(&self) -> bool {
        self.resolver == Some(ResolverOptions::Memory)
    }
}

impl ResolverOptions {
    /// Whether a reload takes it for another one even where the configuration says the same: it has a state by then
    /// (nats-server v2.15.2, observed).
    pub(super) fn is_never_the_same(&self) -> bool {
        !matches!(self, Self::Url(_))
    }

    /// Whether the system account is needed to reach it.
    pub(super) fn needs_system_account(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Cache { .. })
    }
}
