//! Operators, and where the claims of their accounts are found.

mod directory;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use jetkv_jetstream::AccountId;
use nkeys::KeyPairType;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::claims::is_key;
use crate::options::{OperatorOptions, ResolverOptions};
pub(crate) use directory::{Directory, DirectoryError};

/// Why the claims of an account are not there. The texts are nats-server's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// What is asked for is no account.
    #[error("will only fetch valid account keys")]
    NoKey,
    /// Nobody has it.
    #[error("account missing")]
    Missing,
    /// No other server has it.
    #[error("account jwt not found")]
    NotFound,
    /// There is nothing to look in.
    #[error("account resolver missing")]
    NoResolver,
    /// The server that has accounts does not give it.
    #[error("{0}")]
    Http(String),
}

/// The operators of the server, for as long as it runs.
#[derive(Debug)]
pub(crate) struct Operators {
    keys: Vec<String>,
    /// Claims in memory, by account.
    memory: Mutex<BTreeMap<String, String>>,
    /// Claims in a directory.
    directory: Option<Directory>,
    /// Held while claims are put in force, so that no two accounts change at the same time.
    pub updating: Mutex<()>,
    /// Who imports from an account.
    importers: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// When what was claimed of accounts ends.
    deadlines: Mutex<BinaryHeap<Reverse<(Instant, AccountId)>>>,
    /// There is a new deadline.
    pub changed: Notify,
    /// Connections that were refused because their account is not one of the pinned ones.
    pub pinned_failures: std::sync::atomic::AtomicU64,
}

impl Operators {
    /// The operators that options name, if any do.
    ///
    /// # Errors
    /// The resolver's directory cannot be used.
    pub(crate) fn new(options: &OperatorOptions) -> Result<Option<Self>, DirectoryError> {
        if !options.is_on() {
            return Ok(None);
        }
        let directory = options.resolver.as_ref().map(Directory::open).transpose()?.flatten();
        let operators = Self {
            keys: options.keys(),
            memory: Mutex::default(),
            directory,
            updating: Mutex::default(),
            importers: Mutex::default(),
            deadlines: Mutex::default(),
            changed: Notify::new(),
            pinned_failures: std::sync::atomic::AtomicU64::new(0),
        };
        operators.preload(options);
        Ok(Some(operators))
    }

    /// Puts the claims that options have into the resolver.
    pub(crate) fn preload(&self, options: &OperatorOptions) {
        if options.is_memory() {
            self.memory.lock().clone_from(&options.preloads);
        }
        if let Some(directory) = &self.directory {
            for (account, token) in &options.preloads {
                // What cannot be kept is missed when it is asked for.
                let _ = directory.save_if_newer(account, token);
            }
        }
    }

    /// Whether a key's signature on an account counts.
    pub(crate) fn trusts(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known == key)
    }

    /// The directory of claims.
    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    /// The claims of an account, where they are at hand; the address to ask where they are not.
    ///
    /// # Errors
    /// [`FetchError`].
    pub(crate) fn fetch(&self, options: &OperatorOptions, account: &str) -> Result<Fetched, FetchError> {
        if !is_key(account, KeyPairType::Account) {
            return Err(FetchError::NoKey);
        }
        match &options.resolver {
            None => Err(FetchError::NoResolver),
            Some(ResolverOptions::Memory) => {
                self.memory.lock().get(account).cloned().map(Fetched::Token).ok_or(FetchError::Missing)
            }
            Some(ResolverOptions::Url(url)) => Ok(Fetched::At(format!("{url}{account}"))),
            Some(ResolverOptions::Full { .. } | ResolverOptions::Cache { .. }) => self
                .directory
                .as_ref()
                .and_then(|directory| directory.load(account).ok())
                .map(Fetched::Token)
                .ok_or(FetchError::NotFound),
        }
    }

    /// Has whoever looks after deadlines look at an account when that time is over.
    pub(crate) fn remind_after(&self, left: Duration, account: AccountId) {
        // One that is further away than any clock goes is none.
        let Some(at) = Instant::now().checked_add(left) else { return };
        self.deadlines.lock().push(Reverse((at, account)));
        self.changed.notify_one();
    }

    /// Writes down that an account imports from another one.
    pub(crate) fn note_importer(&self, exporter: &str, importer: &str) {
        let mut importers = self.importers.lock();
        importers.entry(exporter.to_owned()).or_default().insert(importer.to_owned());
    }

    /// Accounts that import from this one, or did.
    pub(crate) fn importers_of(&self, exporter: &str) -> Vec<String> {
        self.importers.lock().get(exporter).into_iter().flatten().cloned().collect()
    }

    /// The accounts to look at now, and when to look again.
    pub(crate) fn due(&self, now: Instant) -> (Vec<AccountId>, Option<Instant>) {
        let mut deadlines = self.deadlines.lock();
        let mut due = Vec::new();
        while let Some(Reverse((at, account))) = deadlines.peek().copied() {
            if at > now {
                return (due, Some(at));
            }
            deadlines.pop();
            due.push(account);
        }
        (due, None)
    }
}

/// What a look for claims gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The claims.
    Token(String),
    /// An address where they are.
    At(String),
}
