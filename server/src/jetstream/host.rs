//! The router as the engine sees it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use hashbrown::HashMap;
use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{AccountId, Deadline, Delivery, Host, OutMsg, Outbox, Router};
use jetkv_protocol::Headers;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::alarm::Alarm;
use super::upstream::Ears;
use crate::events;
use crate::router::{
    Account, DeliverSubject, ForOne, Receiver, Routed, Services, Subscription, Target, has_room, route_answer,
};
use crate::state::Shared;
use crate::worker::{self, Deferred, Worker, touch};

/// The router as the engine sees it.
pub(super) struct EngineHost {
    me: Weak<Self>,
    /// The server keeps the engine, which keeps this, until it stops.
    pub(super) shared: Arc<Shared>,
    /// What streams capture.
    captures: Mutex<HashMap<CaptureKey, Arc<Subscription>>>,
    /// What streams subscribe to.
    pub(super) ears: Ears,
    /// Streams with more to deliver than fitted one turn.
    pub(super) pumps: Mutex<Vec<Arc<Stream>>>,
    /// Those of them that have yet to get their turn in this round; locked while one has it.
    pub(super) round: Mutex<VecDeque<Arc<Stream>>>,
    /// Deliver subjects whose receivers may have room again.
    pub(super) relieved: Mutex<Vec<DeliverSubject>>,
    /// Messages between streams that wait for a turn of their own.
    pub(super) later: Mutex<Deferred>,
    pub(super) work: Notify,
    pub(super) alarm: Alarm,
    /// Locked while timers fire.
    pub(super) firing: Mutex<()>,
    /// The engine was stopped: its tasks end.
    stopped: AtomicBool,
}

/// What stands before the reply subject of a message that a consumer delivers.
const ACK: &[u8] = b"$JS.ACK.";

/// A stream, by its address, and a pattern.
type CaptureKey = (usize, Box<[u8]>);

impl EngineHost {
    pub(super) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            shared: Arc::clone(shared),
            captures: Mutex::new(HashMap::new()),
            ears: Ears::default(),
            pumps: Mutex::new(Vec::new()),
            round: Mutex::new(VecDeque::new()),
            relieved: Mutex::new(Vec::new()),
            later: Mutex::new(Deferred::new()),
            work: Notify::new(),
            alarm: Alarm::default(),
            firing: Mutex::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Whether the tasks of the engine are to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Whether something waits for a turn.
    pub(super) fn has_work(&self) -> bool {
        !(self.pumps.lock().is_empty() && self.relieved.lock().is_empty() && self.later.lock().is_empty())
    }

    /// Ends the tasks of the engine: they keep it, with all that it has open.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.work.notify_one();
        self.alarm.wake();
    }
}

/// Messages that connections got, counted once for several.
#[derive(Default)]
struct Sent {
    msgs: u64,
    bytes: u64,
}

impl Sent {
    fn count(self, account: &Account, shared: &Shared) {
        if self.msgs > 0 {
            account.traffic.sent(self.msgs, self.bytes);
            shared.counters.traffic.sent(self.msgs, self.bytes);
        }
    }
}

/// Gives a message to whoever listens for it.
#[inline(always)]
fn route_one(account: &Account, worker: &Worker, msg: &OutMsg<'_>, sent: &mut Sent) -> ForOne {
    let mut cache = worker.delivery_cache.borrow_mut();
    let matches = cache.get_or_insert_default().matches(account, msg.to);
    let defer = |stream: &Arc<Stream>, msg: &OutMsg<'_>| worker.defer(stream, *msg);
    let routed = route_answer(matches, msg, &worker.touched, defer);
    let msgs = match &routed {
        ForOne::Done(is_sent) => u64::from(*is_sent),
        ForOne::Routed(routed) => routed.sent_msgs,
    };
    sent.msgs += msgs;
    sent.bytes += msgs * (msg.headers.len() + msg.payload.len()) as u64;
    routed
}

impl EngineHost {
    /// Whether the test lab has a message come twice that a stream delivers: by a consumer, as the answer to a direct get, or
    /// under another subject.
    fn comes_twice(&self, account: AccountId, msg: &OutMsg<'_>) -> bool {
        let Some(account) = self.shared.accounts.get(account) else { return false };
        let stored_as = if msg.reply.starts_with(ACK) {
            Some(msg.subject)
        } else {
            Headers::new(msg.headers).get(b"Nats-Subject")
        };
        stored_as.is_some_and(|subject| self.shared.faults.delivers_twice(account.name(), subject))
    }

    /// Delivers a message a second time that the test lab has come twice.
    #[cold]
    fn deliver_again(&self, account: AccountId, msg: &OutMsg<'_>, delivery: Delivery) -> Delivery {
        if !self.comes_twice(account, msg) {
            return delivery;
        }
        match self.deliver_once(account, msg) {
            Delivery::NoInterest => delivery,
            again => again,
        }
    }

    #[inline(always)]
    fn deliver_once(&self, account: AccountId, msg: &OutMsg<'_>) -> Delivery {
        let routed = self.shared.accounts.with(account, |account| {
            let mut sent = Sent::default();
            let routed = worker::with(|worker| route_one(account, worker, msg, &mut sent));
            sent.count(account, &self.shared);
            routed
        });
        let delivery = match routed {
            Some(ForOne::Routed(routed)) => self.end_delivery(account, msg, routed),
            Some(ForOne::Done(true)) => Delivery::Sent,
            Some(ForOne::Done(false)) | None => Delivery::NoInterest,
        };
        if delivery == Delivery::NoInterest && self.is_service(account, msg.to) {
            return self.ask_service(account, msg.to);
        }
        delivery
    }

    /// Whether the server itself takes what comes on a subject in an account, for services that are asked on no other.
    fn is_service(&self, account: AccountId, subject: &[u8]) -> bool {
        let accounts = &self.shared.accounts;
        Services::are_asked_on(subject) && accounts.system().is_some() && !accounts.is_system(account)
    }

    /// What a stream delivers comes from no connection: a service that is asked by it takes note and answers nothing
    /// (nats-server v2.15.2, observed).
    #[cold]
    fn ask_service(&self, account: AccountId, subject: &[u8]) -> Delivery {
        let Some(account) = self.shared.accounts.get(account) else { return Delivery::NoInterest };
        account.services.count(subject);
        Delivery::Sent
    }

    /// Delivers answers, one after the other.
    pub(super) fn deliver_all(&self, account: AccountId, answers: &Outbox) {
        if self.shared.faults.are_there() {
            for answer in answers.iter() {
                self.deliver(account, answer);
            }
            return;
        }
        self.shared.accounts.with(account, |within| {
            worker::with(|worker| {
                let mut sent = Sent::default();
                for answer in answers.iter() {
                    if let ForOne::Routed(routed) = route_one(within, worker, &answer, &mut sent) {
                        std::mem::take(&mut sent).count(within, &self.shared);
                        self.end_delivery(account, &answer, routed);
                    }
                }
                sent.count(within, &self.shared);
            });
        });
    }

    /// Does what is left where more than one connection got a message, or one that is filling up.
    #[cold]
    fn end_delivery(&self, account: AccountId, msg: &OutMsg<'_>, mut routed: Routed) -> Delivery {
        let ways = std::mem::take(&mut routed.crossings);
        if !ways.is_empty()
            && let Some(account) = self.shared.accounts.get(account)
        {
            routed.delivered |= events::cross(&self.shared, &account, msg, ways);
        }
        match routed {
            // What one answer brings may be more than may wait for a receiver at all.
            Routed { pressured: Some(receiver), .. } if receiver.flush(None) => {
                self.feed_again(&*receiver);
                Delivery::Sent
            }
            Routed { pressured: Some(_), .. } => Delivery::Pressured,
            Routed { delivered: true, .. } => Delivery::Sent,
            _ => Delivery::NoInterest,
        }
    }

    /// Lets the consumers that waited for room at a receiver go on.
    pub(super) fn feed_again(&self, receiver: &dyn Receiver) {
        let mut starved = receiver.take_starved();
        if !starved.is_empty() {
            self.relieved.lock().append(&mut starved);
            self.work.notify_one();
        }
    }
}

impl Router for EngineHost {
    fn deliver(&self, account: AccountId, msg: OutMsg<'_>) -> Delivery {
        let delivery = self.deliver_once(account, &msg);
        if self.shared.faults.are_there() && delivery != Delivery::NoInterest {
            return self.deliver_again(account, &msg, delivery);
        }
        delivery
    }

    fn has_interest(&self, account: AccountId, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.shared.accounts.get(account).is_some_and(|account| account.has_interest(subject, queue))
    }

    fn has_room(&self, account: AccountId, subject: &[u8]) -> bool {
        let Some(within) = self.shared.accounts.get(account) else { return true };
        worker::with(|worker| {
            let mut cache = worker.delivery_cache.borrow_mut();
            let matches = cache.get_or_insert_default().matches(&within, subject);
            has_room(matches, |receiver| receiver.starve(account, subject))
        })
    }

    fn has_exact_interest(&self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        let listens = |account: Arc<Account>| account.has_exact_interest(subject, queue);
        self.shared.accounts.get(account).is_some_and(listens)
            || (queue.is_empty() && self.is_service(account, subject))
    }

    fn take_client_numbers(&self, count: u64) -> u64 {
        self.shared.take_client_ids(count)
    }

    fn next_system_sid(&self) -> u64 {
        self.shared.system_services.next_sid()
    }
}

impl Host for EngineHost {
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
        let sid = stream.next_sid().to_string();
        let target = Target::Stream(Arc::clone(stream));
        let sub = Arc::new(Subscription::new(target, pattern, b"", sid.as_bytes()));
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
                host.shared.end_turn();
            }
            host.shared.end_turn();
        });
    }

    fn synced(&self, took_ns: u64) {
        self.shared.durations.syncs.count(Duration::from_nanos(took_ns));
    }

    fn listen(&self, stream: &Arc<Stream>, channel: u64, subject: &[u8]) {
        self.listen_for(stream, channel, subject);
    }

    fn unlisten(&self, stream: &Stream, channel: u64) {
        self.unlisten_for(stream, channel);
    }

    fn publish(&self, account: AccountId, msg: OutMsg<'_>) {
        self.publish_as_client(account, msg);
    }

    fn receive_later(&self, stream: &Arc<Stream>) {
        let stream = Arc::clone(stream);
        // A gate may be held: never on this thread.
        if let Some(threads) = self.shared.blocking() {
            threads.run(move || stream.receive());
        }
    }

    fn end_turn(&self) {
        self.shared.end_turn();
    }

    fn run_all(&self, work: Vec<Box<dyn FnOnce() + Send + '_>>) {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(work.len());
        let parts = Mutex::new(work.into_iter());
        let run = || {
            loop {
                // Not within the condition, where it would be locked while the part runs.
                let part = parts.lock().next();
                let Some(part) = part else { return };
                part();
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // Where there is no thread to be had, the others do its part.
                let _ = thread::Builder::new().name("recovery".to_owned()).spawn_scoped(scope, run);
            }
            run();
        });
    }

    fn run_later(&self, work: Box<dyn FnOnce() + Send>) {
        self.shared.in_background(work);
    }
}
