//! A stream: one lock around one struct.
//!
//! Whatever a stream emits (acknowledgements, deliveries, advisories) is queued in its outbox in order, and leaves
//! with [`Stream::commit`], after the store was flushed; or, where every change is made durable before anything is
//! said of it, with [`Stream::sync`]. A second lock, the gate, is taken before the first is released, so that what was
//! queued in order also leaves in order.

mod aging;
mod batch;
mod busy;
mod commit;
mod counter;
mod due;
mod expiry;
mod headers;
mod host;
mod info;
mod inner;
mod listening;
mod picture;
mod purge;
mod receive;
mod removals;
mod schedule;
mod slices;
mod sourced;
mod survey;
mod update;
pub(crate) mod world;
mod write;

pub use crate::message::Inbound;
use batch::StagedMsg;
pub(crate) use commit::Asked;
pub(crate) use headers::write_headers;
pub use host::Host;
pub use info::StreamState;
pub(crate) use info::SubjectCounts;
pub(crate) use inner::{Inner, consumer_settings};
pub(crate) use purge::PurgeRequest;
pub(crate) use slices::{Search, Slice, Wanted};
pub(crate) use survey::Survey;
pub(crate) use write::push_number;
pub use write::{TakesLong, Traced};

use crate::clock::WallNs;
use crate::config::StreamConfig;
use crate::message::AccountId;
use crate::origin::Inbox;
use crate::store::Store;
use commit::Gate;
use listening::Listening;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use world::{AccountShare, World};
use write::IfLong;

/// Nodes of the index, or messages, that a slice of a long question looks at.
pub(crate) const NODES: usize = 2048;

/// A lock was let go between two slices: others get their turn.
fn let_others() {
    #[cfg(test)]
    crate::steps::between();
    std::thread::yield_now();
}

/// A stream. Cheap to share; all state is behind one lock.
pub struct Stream {
    account: Arc<AccountShare>,
    world: Arc<World>,
    name: String,
    me: Weak<Stream>,
    inner: Mutex<Inner>,
    busy: busy::Busy,
    /// Somebody was asked to commit once the stream is not busy any more.
    commits_afterwards: AtomicBool,
    /// Somebody was asked to take a picture of what it holds.
    is_pictured: AtomicBool,
    gate: Mutex<Gate>,
    /// Told when a sync that ran without the lock is over.
    sync_over: Condvar,
    /// Told when a purge that goes on in slices is over.
    purge_over: Condvar,
    watchers: commit::Watchers,
    answers: commit::Answers,
    listening: Listening,
    /// How often its configuration was put in place on the disk.
    puts: AtomicU64,
    /// What came from origins.
    inbox: Inbox,
}

impl Stream {
    pub(crate) fn new(
        world: Arc<World>,
        account: Arc<AccountShare>,
        config: StreamConfig,
        created_ns: i64,
        store: Box<dyn Store>,
    ) -> Arc<Self> {
        let stream = Arc::new_cyclic(|me: &Weak<Self>| {
            let timer = world.timers.register(me.clone());
            let name = config.name.clone();
            let inner = Inner::new(&world, &account, config, created_ns, store, timer);
            Self {
                name,
                me: me.clone(),
                busy: inner.busy.clone(),
                commits_afterwards: AtomicBool::new(false),
                is_pictured: AtomicBool::new(false),
                inner: Mutex::new(inner),
                gate: Mutex::default(),
                sync_over: Condvar::new(),
                purge_over: Condvar::new(),
                watchers: commit::Watchers::default(),
                answers: commit::Answers::default(),
                listening: Listening::new(&*world.host),
                puts: AtomicU64::new(0),
                inbox: Inbox::default(),
                account,
                world,
            }
        });
        // Not before: a timer that is due at once must find the stream.
        stream.inner.lock().arm();
        stream
    }

    /// The account that the stream belongs to.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account.id
    }

    /// Whether it is a stream of the engine that has this world.
    pub(crate) fn is_of(&self, world: &Arc<World>) -> bool {
        Arc::ptr_eq(&self.world, world)
    }

    /// The stream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream's configuration.
    #[must_use]
    pub fn config(&self) -> Arc<StreamConfig> {
        self.inner.lock().config.clone()
    }

    /// How often its configuration was put in place on the disk.
    pub(crate) fn puts(&self) -> u64 {
        self.puts.load(Ordering::Acquire)
    }

    /// Its configuration is about to be put in place on the disk.
    pub(crate) fn note_put(&self) {
        self.puts.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes a message that was published on one of the stream's subjects. The acknowledgement, deliveries and
    /// whatever else follows leave with the next [`Stream::commit`]; the caller publishes all that it has, then
    /// commits once. Returns the time of the message.
    pub fn publish(&self, msg: &Inbound<'_>) -> WallNs {
        let mut inner = self.lock();
        inner.publish(msg, IfLong::FindOut);
        inner.now.wall()
    }

    /// What tells the stream from others that had its name: made of the time at which it was created.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut created = Vec::new();
        jetkv_go_compat::GoTime::from_ns(self.inner.lock().created_ns).write(&mut created);
        jetkv_go_compat::base62::short_hash(created)
    }

    /// When it was created, by the wall clock.
    pub(crate) fn created_ns(&self) -> i64 {
        self.inner.lock().created_ns
    }

    /// Whether anyone holds the stream's lock.
    pub(crate) fn is_locked(&self) -> bool {
        self.inner.is_locked()
    }

    /// The stream's state, locked, with the clock read.
    pub(crate) fn lock(&self) -> Locked<'_> {
        let mut inner = self.inner.lock();
        #[cfg(test)]
        crate::steps::begin_hold();
        inner.now.renew();
        Locked { inner: Some(inner) }
    }
}

/// A locked stream. When it is released, consequences for consumers, accounts and timers are drawn.
pub(crate) struct Locked<'a> {
    inner: Option<MutexGuard<'a, Inner>>,
}

impl<'a> Locked<'a> {
    fn into_inner(mut self) -> MutexGuard<'a, Inner> {
        match self.inner.take() {
            Some(inner) => inner,
            None => unreachable!("the guard is only taken here, by value"),
        }
    }

    /// Releases the stream to whoever waits for it, if anybody does: a thread that takes it again at once would have it
    /// before they are awake.
    pub(crate) fn hand_over(mut self) {
        if let Some(mut inner) = self.inner.take() {
            inner.follow_up();
            #[cfg(test)]
            crate::steps::end_hold();
            MutexGuard::unlock_fair(inner);
        }
    }
}

impl std::ops::Deref for Locked<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard is only taken by value"),
        }
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        match &mut self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard is only taken by value"),
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.follow_up();
            #[cfg(test)]
            crate::steps::end_hold();
        }
    }
}
