//! Accounts that tests get for themselves: made when somebody first comes, gone when the last one leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Condvar, Mutex};
use serde::Serialize;

use super::answer::LabError;
use super::inbox::Inbox;
use crate::auth::{Admitted, Check, Credentials, matches_plain};
use crate::connections::CloseReason;
use crate::interfaces::host_port;
use crate::options::{AccountJetStreamTiers, LabOptions};
use crate::router::Account;
use crate::state::{Isolation, Shared, random_id};

/// Isolated accounts at once.
const ACCOUNTS_MAX: usize = 10_000;
/// Length of a name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// An account of its own, and how to come to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Isolated {
    /// The account.
    pub account: String,
    /// The user.
    pub user: String,
    /// Its password; empty where none is needed.
    pub password: String,
    /// Where clients connect, with both.
    pub url: String,
}

struct Known {
    account: Arc<Account>,
    /// `None` for an account that was made by coming to it.
    password: Option<String>,
}

/// The isolated accounts.
pub(super) struct Isolations {
    shared: Weak<Shared>,
    inbox: OnceLock<Weak<Inbox>>,
    prefix: String,
    token: Option<String>,
    known: Mutex<BTreeMap<String, Known>>,
    /// The names of accounts that went, and whose files are still being deleted.
    going: Mutex<BTreeSet<String>>,
    gone: Condvar,
    me: Weak<Self>,
}

/// An account's name while its files are being deleted.
struct Going {
    isolations: Weak<Isolations>,
    name: String,
}

impl Drop for Going {
    fn drop(&mut self) {
        if let Some(isolations) = self.isolations.upgrade() {
            isolations.going.lock().remove(&self.name);
            isolations.gone.notify_all();
        }
    }
}

impl Isolations {
    pub(super) fn new(shared: &Arc<Shared>, options: &LabOptions) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            shared: Arc::downgrade(shared),
            inbox: OnceLock::new(),
            prefix: options.isolation_prefix.clone(),
            token: options.token.clone(),
            known: Mutex::default(),
            going: Mutex::default(),
            gone: Condvar::new(),
            me: Weak::clone(me),
        })
    }

    /// Opens them to clients, whose requests come to `inbox`.
    pub(super) fn open(self: &Arc<Self>, inbox: &Arc<Inbox>) {
        // The lab is started once.
        let _ = self.inbox.set(Arc::downgrade(inbox));
        if let Some(shared) = self.shared.upgrade() {
            let _ = shared.isolation.set(Arc::clone(self) as _);
        }
    }

    fn inbox(&self) -> Option<Arc<Inbox>> {
        self.inbox.get()?.upgrade()
    }

    fn stop_listening(&self, account: &Account) {
        if let Some(inbox) = self.inbox() {
            inbox.leave(account);
        }
    }

    /// Makes an account. Without a name it gets one.
    pub(super) fn isolate(&self, name: Option<&str>) -> Result<Isolated, LabError> {
        let shared = self.shared.upgrade().ok_or_else(|| LabError::failed("the server stops"))?;
        let account = format!("{}{}", self.prefix, name.map_or_else(random_id, str::to_owned));
        let password = random_id();
        let mut known = self.known.lock();
        if known.contains_key(&account) {
            return Err(LabError::bad_request(format!("account {account} is there already")));
        }
        self.make(&shared, &mut known, &account, Some(password.clone()))?;
        drop(known);
        let options = shared.options();
        let address = host_port(&options.host, options.port);
        let url = format!("nats://{account}:{password}@{address}");
        Ok(Isolated { user: account.clone(), account, password, url })
    }

    /// Ends an account: its connections are closed, and all that it stored is gone when this returns.
    pub(super) fn release(&self, name: &str) -> Result<(), LabError> {
        let shared = self.shared.upgrade().ok_or_else(|| LabError::failed("the server stops"))?;
        let mut known = self.known.lock();
        let Some(Known { account, .. }) = known.remove(name) else {
            return Err(LabError::not_found(format!("no isolated account {name}")));
        };
        shared.accounts.forget(&account);
        let mut clients = shared.clients();
        clients.retain(|client| Arc::ptr_eq(&client.account(), &account));
        clients.iter().for_each(|client| client.close(CloseReason::Kicked));
        self.stop_listening(&account);
        clear(&shared, &account)
    }

    /// The accounts.
    pub(super) fn list(&self) -> Vec<String> {
        self.known.lock().keys().cloned().collect()
    }

    /// Whether who comes under this name has an account of its own: one that is there, or that is made for the prefix. Never
    /// one of the configuration, which lets in whom it says.
    fn admits(&self, known: &BTreeMap<String, Known>, name: &str) -> bool {
        let is_configured =
            || self.shared.upgrade().is_some_and(|shared| shared.accounts.by_name(name).is_some());
        known.contains_key(name)
            || !self.prefix.is_empty() && name.starts_with(&self.prefix) && !is_configured()
    }

    fn begin_going(&self, name: &str) -> Going {
        self.going.lock().insert(name.to_owned());
        Going { isolations: Weak::clone(&self.me), name: name.to_owned() }
    }

    fn await_gone(&self, name: &str) {
        let mut going = self.going.lock();
        while going.contains(name) {
            self.gone.wait(&mut going);
        }
    }

    fn make(
        &self,
        shared: &Shared,
        known: &mut BTreeMap<String, Known>,
        name: &str,
        password: Option<String>,
    ) -> Result<Arc<Account>, LabError> {
        check_name(name)?;
        if known.len() >= ACCOUNTS_MAX {
            return Err(LabError::bad_request(format!("there are {ACCOUNTS_MAX} isolated accounts already")));
        }
        if shared.accounts.by_name(name).is_some() {
            return Err(LabError::bad_request(format!("account {name} is configured")));
        }
        self.await_gone(name);
        let account = shared.accounts.add_isolated(name);
        if let Some(jetstream) = shared.jetstream() {
            account.set_jetstream(Some(AccountJetStreamTiers::default()));
            jetstream.apply_account(&shared.accounts, &account);
        }
        account.set_meets_faults(shared.faults.are_there());
        if let Some(inbox) = self.inbox() {
            inbox.listen_in(shared, &account);
        }
        known.insert(name.to_owned(), Known { account: Arc::clone(&account), password });
        Ok(account)
    }
}

/// Takes away what an account has stored.
fn clear(shared: &Shared, account: &Account) -> Result<(), LabError> {
    if let Some(lateness) = shared.lateness.get() {
        lateness.leave(account);
    }
    account.set_jetstream(None);
    let Some(jetstream) = shared.jetstream() else { return Ok(()) };
    let dropped = jetstream.engine().drop_account(account.id());
    shared.end_turn();
    dropped.map_err(|error| LabError::failed(error.to_string()))
}

/// An account's name is that of a directory, too.
fn check_name(name: &str) -> Result<(), LabError> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_good) {
        return Err(LabError::bad_request(
            "the name of an isolated account is 1 to 64 letters, digits, dashes and underscores",
        ));
    }
    Ok(())
}

impl Isolation for Isolations {
    fn check(&self, given: &Credentials) -> Option<Check> {
        // A URL with a name alone is a token for clients.
        let name = if given.user.is_empty() { &given.token } else { &given.user };
        let known = self.known.lock();
        if !self.admits(&known, name) {
            return None;
        }
        let refused = Some(Check::Refused(None));
        let (found, is_full) = (known.get(name), known.len() >= ACCOUNTS_MAX);
        if check_name(name).is_err() || found.is_none() && is_full {
            return refused;
        }
        let wanted = found.and_then(|known| known.password.clone()).or_else(|| self.token.clone());
        drop(known);
        if wanted.is_some_and(|wanted| !matches_plain(&wanted, given.password.as_bytes())) {
            return refused;
        }
        Some(Check::Admitted(Admitted {
            account: name.clone(),
            user: name.clone(),
            by_key: false,
            permissions: None,
            claims: None,
        }))
    }

    fn enter(&self, name: &str, client: u64) -> Option<Arc<Account>> {
        let shared = self.shared.upgrade()?;
        let mut known = self.known.lock();
        if !self.admits(&known, name) {
            return None;
        }
        let account = match known.get(name) {
            Some(known) => Arc::clone(&known.account),
            None => match self.make(&shared, &mut known, name, None) {
                Ok(account) => account,
                Err(error) => {
                    tracing::error!("Test lab: no account {name}: {error}");
                    return None;
                }
            },
        };
        // It stays from now on, as the account of this connection.
        account.add_client(client).ok()?;
        Some(account)
    }

    fn left(&self, account: &Arc<Account>) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut known = self.known.lock();
        let is_its = known.get(account.name()).is_some_and(|known| Arc::ptr_eq(&known.account, account));
        if !is_its || account.client_count() > 0 {
            return;
        }
        known.remove(account.name());
        shared.accounts.forget(account);
        self.stop_listening(account);
        // Whoever comes under the same name waits until nothing of it is left.
        let going = self.begin_going(account.name());
        drop(known);
        let (account, cleared) = (Arc::clone(account), Arc::clone(&shared));
        shared.in_background(move || {
            if let Err(error) = clear(&cleared, &account) {
                tracing::error!("Test lab: account {} is not all gone: {error}", account.name());
            }
            drop(going);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for good in ["lab-a", "lab-A_9"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for wrong in ["", "lab-..", "lab-a/b", "lab-a.b", "lab-a b", "lab-\u{e9}", "lab-a\0", long.as_str()] {
            assert_eq!(check_name(wrong).map_err(|error| error.code), Err(400), "{wrong:?}");
        }
    }
}
