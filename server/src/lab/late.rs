//! Messages that come late: those that a rule of faults holds, and answers that it delays. Both wait by the server's clock, so that
//! whoever moves it has them come.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use jetkv_jetstream::{AccountId, AdjustableClock, Clock as _, Deadlines, Due, DueKind, ElapsedNs, OutMsg};
use parking_lot::{Condvar, Mutex};

use super::inbox::Listening;
use crate::events;
use crate::faults::Slowness;
use crate::router::{Account, Queued, Receipt, Receiver, Subscription, Target};
use crate::state::{Lateness, Shared};

/// Bytes that are held at most. What comes beyond them is not held.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Answers that are waited for at most; the oldest are forgotten.
const AWAITED_MAX: usize = 10_000;
/// Where answers come that are delayed, with a number behind it.
const ANSWERS: &str = "$JETKV.LATE.";

/// A message that is held.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: ElapsedNs,
    /// Of messages that are due together the first one goes first.
    order: u64,
    account: AccountId,
    subject: Vec<u8>,
    reply: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

impl Held {
    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.subject.len() + self.reply.len() + self.headers.len() + self.payload.len()
    }
}

#[derive(Default)]
struct Queue {
    held: BinaryHeap<Reverse<Held>>,
    bytes: usize,
    last_order: u64,
    /// When the latest message of a connection is due: what it sends stays in order.
    last_due: HashMap<u64, ElapsedNs>,
    /// When a rule of bandwidth has room for the next message.
    free_at: HashMap<u64, ElapsedNs>,
    is_stopped: bool,
}

/// The messages that come late.
pub(super) struct Late {
    shared: Weak<Shared>,
    clock: Arc<AdjustableClock>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Locked while something comes.
    firing: Mutex<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Where answers go that are delayed, and for how long.
    awaited: Mutex<BTreeMap<u64, (Vec<u8>, u64)>>,
    last_answer: AtomicU64,
    came: AtomicU64,
    listening: Mutex<Listening>,
    me: Weak<Self>,
}

/// Where delayed answers of an account come in.
struct Post {
    id: u64,
    account: Arc<Account>,
    late: Weak<Late>,
}

impl Late {
    pub(super) fn new(shared: &Arc<Shared>, clock: &Arc<AdjustableClock>) -> Arc<Self> {
        let late = Arc::new_cyclic(|me| Self {
            shared: Arc::downgrade(shared),
            clock: Arc::clone(clock),
            queue: Mutex::default(),
            changed: Condvar::new(),
            firing: Mutex::default(),
            thread: Mutex::default(),
            awaited: Mutex::default(),
            last_answer: AtomicU64::new(0),
            came: AtomicU64::new(0),
            listening: Mutex::default(),
            me: Weak::clone(me),
        });
        let told = Arc::downgrade(&late);
        clock.when_moved(Box::new(move || {
            if let Some(late) = told.upgrade() {
                late.wake();
            }
        }));
        late
    }

    /// Starts the thread that has them come.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let late = Arc::clone(self);
        let thread = std::thread::Builder::new().name("jetkv-late".to_owned());
        *self.thread.lock() = Some(thread.spawn(move || late.run())?);
        Ok(())
    }

    /// Ends it: what is held does not come any more.
    pub(super) fn stop(&self) {
        self.queue.lock().is_stopped = true;
        self.changed.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A panic has said so itself.
            let _ = thread.join();
        }
        for (_, (account, sub)) in self.listening.lock().drain() {
            account.unsubscribe(&sub);
        }
    }

    /// Forgets what is held.
    pub(super) fn clear(&self) {
        let mut queue = self.queue.lock();
        queue.held.clear();
        queue.bytes = 0;
        queue.last_due.clear();
        queue.free_at.clear();
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Deadlines {
        let queue = self.queue.lock();
        Deadlines { elapsed: queue.held.peek().map(|Reverse(held)| held.due), ..Deadlines::default() }
    }

    /// The next one, of one account where that is said.
    pub(super) fn next_due(&self, account: Option<AccountId>) -> Option<Due> {
        let queue = self.queue.lock();
        let held = queue.held.iter().map(|Reverse(held)| held);
        let next = held.filter(|held| account.is_none_or(|account| account == held.account)).min()?;
        Some(Due {
            in_ns: next.due.since(self.clock.elapsed()),
            kind: DueKind::Held,
            account: next.account,
            stream: String::new(),
            consumer: None,
        })
    }

    /// Has all come that are due. Their turn is over when this returns, whoever had them come.
    pub(super) fn fire(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let _firing = self.firing.lock();
        while let Some(held) = self.take_due() {
            send(&shared, &held);
            shared.end_turn();
            self.came.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many came so far.
    pub(super) fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    fn take_due(&self) -> Option<Held> {
        let mut queue = self.queue.lock();
        let now = self.clock.elapsed();
        if queue.is_stopped || queue.held.peek().is_none_or(|Reverse(held)| held.due > now) {
            return None;
        }
        let Reverse(held) = queue.held.pop()?;
        queue.bytes = queue.bytes.saturating_sub(held.size_bytes());
        if queue.held.is_empty() {
            queue.last_due.clear();
        }
        Some(held)
    }

    fn wake(&self) {
        // Whoever looked before waits by now.
        drop(self.queue.lock());
        self.changed.notify_all();
    }

    fn run(&self) {
        loop {
            let mut queue = self.queue.lock();
            if queue.is_stopped {
                return;
            }
            let next = queue.held.peek().map(|Reverse(held)| held.due);
            let left_ns = next.map(|due| due.since(self.clock.elapsed()));
            match left_ns {
                Some(0) => {
                    drop(queue);
                    self.fire();
                }
                Some(left_ns) if self.clock.runs() => {
                    self.changed.wait_for(&mut queue, Duration::from_nanos(left_ns));
                }
                _ => self.changed.wait(&mut queue),
            }
        }
    }

    /// Keeps a message; gives one back that there is no room for, or nobody who would send it.
    fn push(&self, mut held: Held, sender: Option<u64>) -> Result<(), Held> {
        let mut queue = self.queue.lock();
        let size_bytes = held.size_bytes();
        if queue.is_stopped || queue.bytes + size_bytes > HELD_BYTES_MAX {
            return Err(held);
        }
        if let Some(sender) = sender {
            let last = queue.last_due.entry(sender).or_insert(held.due);
            held.due = held.due.max(*last);
            *last = held.due;
        }
        queue.last_order += 1;
        held.order = queue.last_order;
        queue.bytes += size_bytes;
        queue.held.push(Reverse(held));
        drop(queue);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes in an answer that is to be delayed.
    fn answered(&self, account: AccountId, msg: &OutMsg<'_>) -> bool {
        let number = msg.subject.strip_prefix(ANSWERS.as_bytes());
        let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        let Some((reply, by_ns)) = number.and_then(|number: u64| self.awaited.lock().get(&number).cloned())
        else {
            return false;
        };
        let (due, order) = (self.later_by(by_ns), 0);
        let (headers, payload) = (msg.headers.to_vec(), msg.payload.to_vec());
        let held = Held { due, order, account, subject: reply, reply: msg.reply.to_vec(), headers, payload };
        if let Err(held) = self.push(held, None) {
            self.send_soon(held);
        }
        true
    }

    /// Sends at once what there is no room for; on another thread, as whoever answers is amid a delivery.
    fn send_soon(&self, held: Held) {
        if self.queue.lock().is_stopped {
            return;
        }
        let Some(shared) = self.shared.upgrade() else { return };
        let sending = Arc::clone(&shared);
        shared.in_background(move || {
            send(&sending, &held);
            sending.end_turn();
        });
    }

    fn later_by(&self, by_ns: u64) -> ElapsedNs {
        self.clock.elapsed().plus(i64::try_from(by_ns).unwrap_or(i64::MAX).unsigned_abs())
    }

    fn listen_in(&self, shared: &Shared, account: &Arc<Account>) {
        let mut listening = self.listening.lock();
        if listening.contains_key(&account.id()) {
            return;
        }
        let post =
            Post { id: shared.next_client_id(), account: Arc::clone(account), late: Weak::clone(&self.me) };
        let subject = format!("{ANSWERS}*");
        let sub = Subscription::new(Target::Receiver(Arc::new(post)), subject.as_bytes(), b"", b"late");
        let sub = Arc::new(sub);
        if account.subscribe(Arc::clone(&sub)).is_ok() {
            listening.insert(account.id(), (Arc::clone(account), sub));
        }
    }
}

/// Sends a message as its client would have.
fn send(shared: &Arc<Shared>, held: &Held) {
    let Some(account) = shared.accounts.get(held.account) else { return };
    let msg = OutMsg {
        to: &held.subject,
        subject: &held.subject,
        reply: &held.reply,
        headers: &held.headers,
        payload: &held.payload,
    };
    match shared.jetstream() {
        Some(jetstream) => jetstream.publish_for_client(&account, msg),
        None => events::request(shared, &account, &msg),
    }
}

impl Lateness for Late {
    fn leave(&self, account: &Account) {
        if let Some((_, sub)) = self.listening.lock().remove(&account.id()) {
            account.unsubscribe(&sub);
        }
    }

    fn delay_answers(&self, account: &Arc<Account>, reply: &[u8], by_ns: u64) -> Option<Vec<u8>> {
        let shared = self.shared.upgrade()?;
        self.listen_in(&shared, account);
        let number = self.last_answer.fetch_add(1, Ordering::Relaxed) + 1;
        let mut awaited = self.awaited.lock();
        awaited.insert(number, (reply.to_vec(), by_ns));
        while awaited.len() > AWAITED_MAX {
            awaited.pop_first();
        }
        Some(format!("{ANSWERS}{number}").into_bytes())
    }

    fn hold(&self, account: &Account, sender: u64, msg: &OutMsg<'_>, slowness: Slowness) -> bool {
        let due = match slowness {
            Slowness::By { ns } => self.later_by(ns),
            Slowness::Bandwidth { rule, bytes_per_sec } => {
                let bytes =
                    (msg.subject.len() + msg.reply.len() + msg.headers.len() + msg.payload.len()) as u64;
                let takes_ns = bytes.saturating_mul(1_000_000_000) / bytes_per_sec.max(1);
                let now = self.clock.elapsed();
                let mut queue = self.queue.lock();
                let free_at = queue.free_at.entry(rule).or_insert(now);
                *free_at = (*free_at).max(now).plus(takes_ns);
                *free_at
            }
        };
        let (subject, reply) = (msg.subject.to_vec(), msg.reply.to_vec());
        let (headers, payload) = (msg.headers.to_vec(), msg.payload.to_vec());
        let held = Held { due, order: 0, account: account.id(), subject, reply, headers, payload };
        self.push(held, Some(sender)).is_ok()
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({})", self.account.name())
    }
}

impl Receiver for Post {
    fn id(&self) -> u64 {
        self.id
    }

    fn deliver(&self, sub: &Subscription, msg: &OutMsg<'_>, _is_own: bool, _thread: u32) -> Receipt {
        sub.count();
        let is_taken = self.late.upgrade().is_some_and(|late| late.answered(self.account.id(), msg));
        let queued = if is_taken { Queued::Waiting } else { Queued::Closed };
        Receipt { queued, is_first: false, is_last: false }
    }

    fn end_subscription(&self, _: &Arc<Subscription>) -> Arc<Account> {
        Arc::clone(&self.account)
    }
}
