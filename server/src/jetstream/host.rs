//! The router as the engine sees it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{AccountId, Deadline, Delivery, Host, OutMsg, Outbox};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::alarm::Alarm;
use crate::net::{Client, DeliverSubject, settle, touch};
use crate::router::{Origin, RouteCache, Routed, Subscription, Target, has_room, route};
use crate::state::Shared;

thread_local! {
    static TURN: RefCell<Turn> = const { RefCell::new(Turn::new()) };
}

/// What a thread needs while the engine hands it messages.
struct Turn {
    cache: Option<RouteCache>,
    /// Messages that the engine delivered on subjects that streams capture. They enter those streams once no
    /// engine lock is held.
    deferred: Deferred,
}

/// Messages on their way into streams.
pub(super) struct Deferred {
    streams: Vec<Arc<Stream>>,
    messages: Outbox,
}

impl Turn {
    const fn new() -> Self {
        Self { cache: None, deferred: Deferred::new() }
    }
}

impl Deferred {
    pub(super) const fn new() -> Self {
        Self { streams: Vec::new(), messages: Outbox::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The messages, each with the stream that it enters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<Stream>, OutMsg<'_>)> {
        self.streams.iter().zip(self.messages.iter())
    }

    fn push(&mut self, stream: &Arc<Stream>, msg: OutMsg<'_>) {
        self.streams.push(Arc::clone(stream));
        self.messages.push(msg);
    }

    pub(super) fn append(&mut self, other: &Self) {
        for (stream, msg) in other.iter() {
            self.push(stream, msg);
        }
    }
}

/// Has a message enter a stream at the end of this thread's turn.
pub(super) fn defer(stream: &Arc<Stream>, msg: OutMsg<'_>) {
    TURN.with_borrow_mut(|turn| turn.deferred.push(stream, msg));
}

/// Whether this thread has messages that have to enter streams.
pub(super) fn has_deferred() -> bool {
    TURN.with_borrow(|turn| !turn.deferred.is_empty())
}

/// Takes the messages of this thread that have to enter streams.
pub(super) fn take_deferred() -> Deferred {
    TURN.with_borrow_mut(|turn| std::mem::replace(&mut turn.deferred, Deferred::new()))
}

/// The router as the engine sees it.
pub(super) struct EngineHost {
    me: Weak<Self>,
    /// The server keeps the engine, which keeps this, until it stops.
    pub(super) shared: Arc<Shared>,
    /// What streams capture.
    captures: Mutex<HashMap<CaptureKey, Arc<Subscription>>>,
    /// Streams with more to deliver than fitted one turn.
    pub(super) pumps: Mutex<Vec<Arc<Stream>>>,
    /// Deliver subjects whose receivers may have room again.
    pub(super) relieved: Mutex<Vec<DeliverSubject>>,
    /// Messages between streams that wait for a turn of their own.
    pub(super) later: Mutex<Deferred>,
    pub(super) work: Notify,
    pub(super) alarm: Alarm,
    /// The engine was stopped: its tasks end.
    stopped: AtomicBool,
}

/// A stream, by its address, and a pattern.
type CaptureKey = (usize, Box<[u8]>);

impl EngineHost {
    pub(super) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            shared: Arc::clone(shared),
            captures: Mutex::new(HashMap::new()),
            pumps: Mutex::new(Vec::new()),
            relieved: Mutex::new(Vec::new()),
            later: Mutex::new(Deferred::new()),
            work: Notify::new(),
            alarm: Alarm::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Whether the tasks of the engine are to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends the tasks of the engine: they keep it, with all that it has open.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.work.notify_one();
        self.alarm.wake();
    }
}

impl EngineHost {
    /// Lets the consumers that waited for room at a connection go on.
    pub(super) fn feed_again(&self, client: &Client) {
        let mut starved = client.take_starved();
        if !starved.is_empty() {
            self.relieved.lock().append(&mut starved);
            self.work.notify_one();
        }
    }
}

impl Host for EngineHost {
    fn deliver(&self, account: AccountId, msg: OutMsg<'_>) -> Delivery {
        let routed = self.shared.accounts.with(account, |account| {
            let routed = TURN.with_borrow_mut(|turn| {
                let matches = turn.cache.get_or_insert_default().matches(account, msg.to);
                let deferred = &mut turn.deferred;
                route(matches, Origin::Server, msg, |stream| deferred.push(stream, msg))
            });
            if routed.sent_msgs > 0 {
                let bytes = routed.sent_msgs * (msg.headers.len() + msg.payload.len()) as u64;
                account.traffic.sent(routed.sent_msgs, bytes);
                self.shared.counters.traffic.sent(routed.sent_msgs, bytes);
            }
            routed
        });
        match routed.unwrap_or_default() {
            // What one answer brings may be more than may wait for a receiver at all.
            Routed { pressured: Some(client), .. } if client.flush() => {
                self.feed_again(&client);
                Delivery::Sent
            }
            Routed { pressured: Some(_), .. } => Delivery::Pressured,
            Routed { delivered: true, .. } => Delivery::Sent,
            _ => Delivery::NoInterest,
        }
    }

    fn has_interest(&self, account: AccountId, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.shared.accounts.get(account).is_some_and(|account| account.has_interest(subject, queue))
    }

    fn has_room(&self, account: AccountId, subject: &[u8]) -> bool {
        let Some(within) = self.shared.accounts.get(account) else { return true };
        TURN.with_borrow_mut(|turn| {
            let matches = turn.cache.get_or_insert_default().matches(&within, subject);
            has_room(matches, |client| client.starve(account, subject))
        })
    }

    fn has_exact_interest(&self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        self.shared.accounts.get(account).is_some_and(|account| account.has_exact_interest(subject, queue))
    }

    fn stream_subject(&self, stream: &Arc<Stream>, pattern: &[u8], listening: bool) {
        let Some(account) = self.shared.accounts.get(stream.account()) else { return };
        let key = (Arc::as_ptr(stream).addr(), pattern.into());
        let mut captures = self.captures.lock();
        if !listening {
            if let Some(sub) = captures.remove(&key) {
                account.unsubscribe(&sub);
            }
            return;
        }
        if captures.contains_key(&key) {
            return;
        }
        let sub = Arc::new(Subscription::new(Target::Stream(Arc::clone(stream)), pattern, b"", b""));
        if account.subscribe(Arc::clone(&sub)).is_ok() {
            captures.insert(key, sub);
        }
    }

    fn wake_at(&self, at: Deadline) {
        self.alarm.set_one(at);
    }

    fn pump_later(&self, stream: &Arc<Stream>) {
        touch(&mut self.pumps.lock(), stream);
        self.work.notify_one();
    }

    /// The thread that waits for the disk also routes what waited with it: nobody has to be woken for that.
    fn sync_later(&self, stream: &Arc<Stream>) {
        let Some(host) = self.me.upgrade() else { return };
        let stream = Arc::clone(stream);
        self.shared.in_background(move || {
            while stream.sync(&*host) {
                settle(&host.shared);
            }
            settle(&host.shared);
        });
    }

    fn end_turn(&self) {
        settle(&self.shared);
    }

    fn run_later(&self, work: Box<dyn FnOnce() + Send>) {
        self.shared.in_background(work);
    }
}
