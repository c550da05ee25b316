//! The engine: accounts, their streams, and the JetStream API.

pub(crate) mod account;
mod backup;
mod closing;
mod details;
mod due;
mod idle;
pub(crate) mod offline;
mod persist;
mod reset;
pub(crate) mod streams;
mod update;
mod usage;

pub use crate::settings::{EngineConfig, SyncPolicy};
use backup::Jobs;
pub use backup::{BackupProgress, SavedStream};
pub(crate) use backup::{RestoreJob, RestoreWording, SnapshotJob, SnapshotRequest};
pub use details::{OwnSubscriptionCounts, StreamDetail};
pub use reset::Removed;
pub use usage::AccountUsage;

use crate::clock::{Clock, Deadline, Deadlines};
use crate::disk::Disk;
use crate::error::ApiError;
use crate::message::{AccountId, Inbound};
use crate::origin::Mirrors;
use crate::settings::{EngineSettings, Live, TieredLimits};
use crate::store::StoreError;
use crate::store::file::Storage;
use crate::stream::world::{AccountShare, Ids, Usage, UsedTiers, Watches, World};
use crate::stream::{Host, Stream};
use crate::timers::Timers;
use crate::warnings::Warnings;
use account::Account;
use hashbrown::HashMap;
use idle::IdleFiles;
use jetkv_go_compat::GoTime;
use jetkv_protocol::subject;
use parking_lot::RwLock;
use smallvec::SmallVec;
use std::sync::{Arc, Weak};
use streams::OpenedStream;

/// What enabling an account brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Streams recovered.
    pub streams: usize,
    /// Consumers recovered.
    pub consumers: usize,
    /// Messages in them.
    pub msgs: u64,
    /// What could not be recovered, one line each, naming the place.
    pub problems: Vec<String>,
}

/// Why the engine could not do what its host asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store directory cannot be used.
    #[error(transparent)]
    Store(StoreError),
    /// No such account is enabled.
    #[error("JetStream not enabled for account")]
    NotEnabled,
    /// The host could not start a thread that the engine is to run on.
    #[error("cannot start a thread: {}", jetkv_go_compat::os_text(.0))]
    Thread(#[source] std::io::Error),
    /// Accounts may not be promised more than the server has.
    #[error("Error enabling jetstream on configured accounts: {0}")]
    Resources(ApiError),
    /// A stream cannot be deleted.
    #[error("cannot delete a stream: {0}")]
    Delete(ApiError),
    /// A stream cannot be saved; why, in words.
    #[error("cannot save a stream: {0}")]
    Save(String),
    /// A stream cannot be brought back.
    #[error("cannot load a stream: {0}")]
    Load(ApiError),
}

/// A JetStream engine. All methods may be called from any thread.
pub struct Engine {
    world: Arc<World>,
    /// Where file streams are; without a store directory there are none.
    storage: Option<Storage>,
    files: IdleFiles,
    accounts: RwLock<HashMap<AccountId, Arc<Account>>>,
    jobs: Jobs,
    me: Weak<Self>,
}

impl Engine {
    /// Starts an engine without accounts.
    ///
    /// # Errors
    /// The store directory cannot be created or written.
    pub fn new(
        config: EngineConfig,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        host: Arc<dyn Host>,
    ) -> Result<Arc<Self>, EngineError> {
        let always = config.sync == SyncPolicy::Always;
        let files = IdleFiles::new(disk, &clock, &host);
        let storage = match &config.store_dir {
            Some(dir) => {
                let storage = Storage::open(Arc::clone(files.disk()), dir, always);
                Some(storage.map_err(EngineError::Store)?.encrypted(config.encryption.clone()))
            }
            None => None,
        };
        let world = World {
            ids: Ids::new(config.seed),
            settings: Live::new(config.settings.clone()),
            config,
            clock,
            host,
            timers: Timers::default(),
            usage: Usage::default(),
            reserved: Usage::default(),
            batches: Arc::default(),
            warnings: Warnings::default(),
        };
        let (accounts, jobs) = (RwLock::default(), Jobs::default());
        let world = Arc::new(world);
        Ok(Arc::new_cyclic(|me| Self { world, storage, files, accounts, jobs, me: Weak::clone(me) }))
    }

    /// What the engine was started with; of its `settings`, [`Engine::settings`] tells what became.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.world.config
    }

    /// What holds at this moment.
    #[must_use]
    pub fn settings(&self) -> Arc<EngineSettings> {
        self.world.settings.load()
    }

    /// Puts other settings in force for all accounts, streams and consumers, those that exist included. What is over a
    /// lowered limit stays as it is.
    pub fn set_settings(&self, settings: EngineSettings) {
        self.world.settings.store(settings);
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.world.host
    }

    /// The clock that all of the engine's time comes from.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.world.clock
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    pub(crate) fn account(&self, id: AccountId) -> Option<Arc<Account>> {
        self.accounts.read().get(&id).cloned()
    }

    /// Gives an account JetStream: recovers its streams and consumers and announces every stream's subjects to the
    /// host. `name` names the directory. An account that is enabled already gets the new limits.
    ///
    /// # Errors
    /// The directory cannot be read; what cannot be recovered inside it is in the report instead. Or all accounts together
    /// would be promised more than the engine has.
    pub fn enable_account(
        &self,
        id: AccountId,
        name: &str,
        limits: impl Into<TieredLimits>,
    ) -> Result<RecoveryReport, EngineError> {
        let limits = limits.into();
        if self.account(id).is_some() {
            return self.update_account_limits(id, limits).map(|()| RecoveryReport::default());
        }
        self.check_promises(&limits, None)?;
        let opened = self.open_accounts(&[name])?.pop().unwrap_or_default();
        Ok(self.enable_opened(id, name, limits, opened))
    }

    /// As [`Engine::enable_account`] of several accounts, one after the other; but the stores of all their streams are opened
    /// first, side by side. Tells `each` what came of each.
    ///
    /// # Errors
    /// The directory of an account cannot be used; or what `each` makes an error, and then those after it are not enabled.
    pub fn enable_accounts(
        &self,
        accounts: &[(AccountId, &str, TieredLimits)],
        mut each: impl FnMut(AccountId, Result<RecoveryReport, EngineError>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let is_new = |account: &&(AccountId, &str, TieredLimits)| self.account(account.0).is_none();
        let new: Vec<_> = accounts.iter().filter(is_new).collect();
        let names: Vec<_> = new.iter().map(|(_, name, _)| *name).collect();
        let opened = self.open_accounts(&names)?;
        for (id, name, limits) in accounts.iter().filter(|account| !is_new(account)) {
            each(*id, self.enable_account(*id, name, limits.clone()))?;
        }
        for ((id, name, limits), opened) in new.into_iter().zip(opened) {
            let promised = self.check_promises(limits, None);
            each(*id, promised.map(|()| self.enable_opened(*id, name, limits.clone(), opened)))?;
        }
        Ok(())
    }

    /// Gives an account JetStream whose stores were opened.
    fn enable_opened(
        &self,
        id: AccountId,
        name: &str,
        limits: TieredLimits,
        opened: Vec<OpenedStream>,
    ) -> RecoveryReport {
        let share = AccountShare {
            id,
            name: name.to_owned(),
            hash: jetkv_go_compat::base62::short_hash(name),
            limits: Live::new(limits),
            usage: Usage::default(),
            used: UsedTiers::default(),
            watches: Watches::default(),
            own: Arc::default(),
            mirrors: Mirrors::default(),
        };
        let account = Arc::new(Account::new(share));
        let report = self.recover(&account, opened);
        self.accounts.write().insert(id, account);
        report
    }

    /// Changes what an account may use.
    ///
    /// # Errors
    /// The account is not enabled, or all accounts together would be promised more than the engine has; then nothing
    /// changes.
    pub fn update_account_limits(
        &self,
        id: AccountId,
        limits: impl Into<TieredLimits>,
    ) -> Result<(), EngineError> {
        let limits = limits.into();
        let account = self.account(id).ok_or(EngineError::NotEnabled)?;
        self.check_promises(&limits, Some(&account.share.limits.load()))?;
        account.share.limits.store(limits);
        Ok(())
    }

    /// Takes JetStream from an account: closes its streams, which stay on disk.
    pub fn disable_account(&self, id: AccountId) {
        let Some(account) = self.accounts.write().remove(&id) else { return };
        account::note_change();
        self.jobs.cancel(Some(id));
        for stream in account.streams() {
            self.close_stream(&account, &stream);
        }
    }

    /// As [`Engine::js_control`], unless the stream [is busy](Stream::is_busy): that it is tells `None`.
    pub fn js_control_at_once(&self, account: AccountId, msg: &Inbound<'_>) -> Option<Option<Arc<Stream>>> {
        self.control(account, msg, true)
    }

    /// Takes a message on `$JS.ACK.>` or `$JS.FC.>`, in both of nats-server's forms: with stream and consumer, or with
    /// domain and hash of the account before them, which must then be the right ones. Answers and deliveries leave with
    /// the commit of the stream returned, which is due when all that came with the message has been taken in; without
    /// a stream nothing listens on that subject.
    pub fn js_control(&self, account: AccountId, msg: &Inbound<'_>) -> Option<Arc<Stream>> {
        self.control(account, msg, false).flatten()
    }

    fn control(&self, account: AccountId, msg: &Inbound<'_>, at_once: bool) -> Option<Option<Arc<Stream>>> {
        let Some(stream) = self.controlled(account, msg.subject) else { return Some(None) };
        if at_once && stream.is_busy() {
            return None;
        }
        let mut inner = stream.lock();
        if !inner.takes_more() {
            return Some(Some(Arc::clone(&stream)));
        }
        let (consumers, mut ctx) = inner.parts();
        let taken = consumers.control(&mut ctx, msg.subject, msg.reply, msg.headers, msg.payload);
        drop(inner);
        Some(taken.then_some(stream))
    }

    /// The stream that a control subject is about.
    fn controlled(&self, account: AccountId, subject: &[u8]) -> Option<Arc<Stream>> {
        let address = Address::parse(subject)?;
        let account = self.account(account)?;
        if let Some((domain, hash)) = address.scope {
            let own = self.world.config.domain.as_bytes();
            let is_domain = domain == if own.is_empty() { b"_".as_slice() } else { own };
            if !is_domain || hash != account.share.hash.as_bytes() {
                return None;
            }
        }
        account.stream(address.stream)
    }

    /// Tells that someone now listens (`present`) or nobody listens any more on a literal `subject`. Cheap where no
    /// consumer delivers there. What follows leaves with the commit of the streams returned, which is due when all that
    /// came with the change has been taken in.
    #[must_use]
    pub fn interest_changed(
        &self,
        account: AccountId,
        subject: &[u8],
        queue: Option<&[u8]>,
        present: bool,
    ) -> SmallVec<[Arc<Stream>; 1]> {
        self.jobs.interest_changed(account, subject);
        let Some(account) = self.account(account) else { return SmallVec::new() };
        let streams = account.share.watches.streams(subject);
        for stream in &streams {
            let mut inner = stream.lock();
            let (consumers, mut ctx) = inner.parts();
            consumers.interest_changed(&mut ctx, subject, queue, present);
        }
        streams
    }

    /// Whoever listens on a deliver subject may have room again, after [`Router::has_room`](crate::Router::has_room) denied it.
    pub fn room_came(&self, account: AccountId, subject: &[u8]) {
        let Some(account) = self.account(account) else { return };
        for stream in account.share.watches.streams(subject) {
            let mut inner = stream.lock();
            inner.consumers.room_came(subject);
            drop(inner);
            stream.commit(&*self.world.host);
        }
    }

    /// Another server joined an account: origins of its streams may be reached by way of it. Those that did not answer are asked
    /// again soon, as nats-server does it.
    pub fn origins_may_answer(&self, account: AccountId) {
        let Some(account) = self.account(account) else { return };
        account.streams().iter().for_each(|stream| stream.hurry_origins());
    }

    /// Whether anyone holds the lock of a stream, or the one under which streams come, change and go.
    pub fn is_locked(&self) -> bool {
        let accounts: Vec<Arc<Account>> = self.accounts.read().values().cloned().collect();
        accounts.iter().any(|account| {
            account.changes.is_locked() || account.streams().iter().any(|stream| stream.is_locked())
        })
    }

    /// A stream by name.
    #[must_use]
    pub fn stream(&self, account: AccountId, name: &str) -> Option<Arc<Stream>> {
        self.account(account)?.stream(name)
    }

    /// The names of an account's streams, in order.
    #[must_use]
    pub fn stream_names(&self, account: AccountId) -> Vec<String> {
        let streams = self.account(account).map(|account| account.streams()).unwrap_or_default();
        streams.iter().map(|stream| stream.name().to_owned()).collect()
    }

    /// Fires the timers that are due, and says when the next ones are, which may be at once.
    pub fn tick(&self) -> Deadlines {
        let (wall, elapsed) = (self.world.clock.wall(), self.world.clock.elapsed());
        // Each once: one that had more to do than it does in one hold of its lock is due again with the next call.
        let due: Vec<_> = std::iter::from_fn(|| self.world.timers.take_due(wall, elapsed)).collect();
        for stream in due {
            stream.tick(&*self.world.host);
        }
        let look = self.files.tick(elapsed);
        let next = self.world.timers.next().earlier(self.jobs.tick(elapsed));
        next.earlier(look.map(Deadline::Elapsed).into())
    }

    /// Writes and closes every store, and gives the store directory free. Pull requests that wait are answered with what is left of them. Later publishes go
    /// unanswered, as on a nats-server that is going down; nobody hears that nobody listens before all answers have left.
    pub fn shutdown(&self) {
        self.jobs.cancel(None);
        let accounts: Vec<(AccountId, Arc<Account>)> =
            self.accounts.read().iter().map(|(id, account)| (*id, Arc::clone(account))).collect();
        let streams: Vec<_> = accounts.iter().flat_map(|(_, account)| account.streams()).collect();
        self.sync_together(&streams);
        for stream in &streams {
            stream.shut_down(&*self.world.host);
        }
        for (id, _) in accounts {
            self.disable_account(id);
        }
        if let Some(storage) = &self.storage {
            storage.release();
        }
    }
}

impl World {
    pub(crate) fn now_time(&self) -> GoTime {
        GoTime::from_ns(self.clock.wall().ns())
    }
}

/// Where a message on a control subject goes.
struct Address<'a> {
    /// Domain (`_` for none) and hash of the account, where the subject says them.
    scope: Option<(&'a [u8], &'a [u8])>,
    stream: &'a str,
}

impl<'a> Address<'a> {
    /// Reads `$JS.ACK.<stream>.<consumer>` with five tokens more or `$JS.FC.<stream>.<consumer>` with one more; domain
    /// and hash of the account may stand before the stream (ADR-15), and then acknowledgements may go on after that.
    fn parse(subject: &'a [u8]) -> Option<Self> {
        let count = subject::token_count(subject);
        let scoped = match (subject.starts_with(b"$JS.ACK."), count) {
            (true, 9) | (false, 5) => false,
            (true, 11..) | (false, 7) => true,
            _ => return None,
        };
        let mut tokens = subject::tokens(subject).skip(2);
        let scope = if scoped { Some((tokens.next()?, tokens.next()?)) } else { None };
        Some(Self { scope, stream: std::str::from_utf8(tokens.next()?).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn control_subjects_have_two_forms_and_no_others() {
        let parsed = |subject: &'static str| {
            Address::parse(subject.as_bytes()).map(|address| (address.scope.is_some(), address.stream))
        };
        assert_eq!(parsed("$JS.ACK.S.C.1.2.3.4.5"), Some((false, "S")));
        assert_eq!(parsed("$JS.ACK.S.C.1.2.3.4"), None);
        assert_eq!(parsed("$JS.ACK.S.C.1.2.3.4.5.6"), None);
        assert_eq!(parsed("$JS.ACK._.hash.S.C.1.2.3.4.5"), Some((true, "S")));
        assert_eq!(parsed("$JS.ACK._.hash.S.C.1.2.3.4.5.more.more"), Some((true, "S")));
        assert_eq!(parsed("$JS.FC.S.C.id"), Some((false, "S")));
        assert_eq!(parsed("$JS.FC.S.C.id.more"), None);
        assert_eq!(parsed("$JS.FC._.hash.S.C.id"), Some((true, "S")));
        assert_eq!(parsed("$JS.FC._.hash.S.C.id.more"), None);
    }
}
