//! Test doubles: a host that collects what leaves, and an engine on it whose clock stands still until it is moved.

mod hooked;

pub use hooked::{DiskHook, HookedDisk};

use crate::api::ApiRequest;
use crate::client::ClientInfo;
use crate::clock::{Deadline, Deadlines, ManualClock, WallNs};
use crate::disk::{Disk, RealDisk};
use crate::engine::{Engine, EngineConfig, EngineError};
use crate::message::{AccountId, OutMsg};
use crate::outbox::Outbox;
use crate::router::{Delivery, Router};
use crate::settings::AccountLimits;
use crate::stream::{Host, Inbound, Stream};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A message that left the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Whom it was addressed to.
    pub to: String,
    /// The subject that receivers see.
    pub subject: String,
    /// Its reply subject.
    pub reply: String,
    /// Its header block.
    pub headers: String,
    /// Its payload.
    pub payload: String,
}

impl Sent {
    fn new(msg: &OutMsg<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            to: text(msg.to),
            subject: text(msg.subject),
            reply: text(msg.reply),
            headers: text(msg.headers),
            payload: text(msg.payload),
        }
    }
}

/// A subject and a queue group.
type Listener = (Vec<u8>, Option<Vec<u8>>);

/// A host that keeps what it is given. Interest is what tests declare; a subject without interest gets nothing.
#[derive(Default)]
pub struct CollectHost {
    sent: Mutex<Vec<(Sent, Vec<u8>)>>,
    interest: Mutex<BTreeSet<Listener>>,
    listening: Mutex<Vec<(String, Arc<Stream>)>>,
    wake_at: Mutex<Option<Deadline>>,
    pumps: Mutex<Vec<Arc<Stream>>>,
    syncs: Mutex<Vec<Arc<Stream>>>,
    has_withdrawn: AtomicBool,
    sent_after_withdrawal: AtomicUsize,
    later: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl CollectHost {
    /// Declares that someone listens on `subject`, alone or in a queue group.
    pub fn listen(&self, subject: &str, queue: Option<&str>) {
        let queue = queue.map(|queue| queue.as_bytes().to_vec());
        self.interest.lock().insert((subject.as_bytes().to_vec(), queue));
    }

    /// Takes the declaration back.
    pub fn unlisten(&self, subject: &str, queue: Option<&str>) {
        let queue = queue.map(|queue| queue.as_bytes().to_vec());
        self.interest.lock().remove(&(subject.as_bytes().to_vec(), queue));
    }

    /// What was sent since this was last asked.
    pub fn take(&self) -> Vec<Sent> {
        self.take_raw().into_iter().map(|(sent, _)| sent).collect()
    }

    /// As [`CollectHost::take`], with the bytes of each payload, which need not be text.
    pub fn take_raw(&self) -> Vec<(Sent, Vec<u8>)> {
        std::mem::take(&mut self.sent.lock())
    }

    /// Patterns that streams listen on, in the order they came.
    pub fn patterns(&self) -> Vec<String> {
        self.listening.lock().iter().map(|(pattern, _)| pattern.clone()).collect()
    }

    /// How many messages were sent after a stream had ceased to listen on some pattern.
    pub fn sent_after_withdrawal(&self) -> usize {
        self.sent_after_withdrawal.load(Ordering::Relaxed)
    }

    /// When the engine asked to be woken, the last time it asked.
    pub fn wake_at(&self) -> Option<Deadline> {
        *self.wake_at.lock()
    }

    /// Pumps the streams that asked for it until none asks any more.
    pub fn pump_all(&self) {
        loop {
            let waiting = std::mem::take(&mut *self.pumps.lock());
            if waiting.is_empty() {
                return;
            }
            for stream in waiting {
                stream.pump(self);
            }
        }
    }

    /// Runs what the engine left for later, until there is no more.
    pub fn run_all_later(&self) {
        loop {
            let waiting = std::mem::take(&mut *self.later.lock());
            if waiting.is_empty() {
                return;
            }
            waiting.into_iter().for_each(|work| work());
        }
    }

    /// Runs the syncs that were asked for until none is, and then what was left for later.
    pub fn sync_all(&self) {
        self.sync_streams();
        self.run_all_later();
    }

    /// Runs the syncs that were asked for until none is.
    pub fn sync_streams(&self) {
        loop {
            let waiting = std::mem::take(&mut *self.syncs.lock());
            if waiting.is_empty() {
                return;
            }
            for stream in waiting {
                while stream.sync(self) {}
            }
        }
    }

    /// How many syncs were asked for and have not run.
    pub fn syncs_asked(&self) -> usize {
        self.syncs.lock().len()
    }

    /// Runs one sync that was asked for, if there is one.
    pub fn sync_one(&self) {
        let stream = self.syncs.lock().pop();
        if let Some(stream) = stream
            && stream.sync(self)
        {
            self.syncs.lock().push(stream);
        }
    }

    /// The streams that listen on what matches a literal subject.
    fn streams(&self, subject: &[u8]) -> Vec<Arc<Stream>> {
        let listening = self.listening.lock();
        listening
            .iter()
            .filter(|(pattern, _)| jetkv_protocol::subject::matches(subject, pattern.as_bytes()))
            .map(|(_, stream)| stream.clone())
            .collect()
    }
}

impl Router for CollectHost {
    fn deliver(&self, account: AccountId, msg: OutMsg<'_>) -> Delivery {
        self.sent.lock().push((Sent::new(&msg), msg.payload.to_vec()));
        let is_late = self.has_withdrawn.load(Ordering::Relaxed);
        self.sent_after_withdrawal.fetch_add(usize::from(is_late), Ordering::Relaxed);
        if self.has_interest(account, msg.to, None) { Delivery::Sent } else { Delivery::NoInterest }
    }

    fn has_interest(&self, _account: AccountId, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.interest.lock().iter().any(|(pattern, group)| {
            jetkv_protocol::subject::matches(subject, pattern)
                && (queue.is_none() || queue == group.as_deref())
        })
    }

    fn has_exact_interest(&self, _account: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        let key = (subject.to_vec(), Some(queue.to_vec()).filter(|queue| !queue.is_empty()));
        self.interest.lock().contains(&key)
    }
}

impl Host for CollectHost {
    fn stream_subject(&self, stream: &Arc<Stream>, pattern: &[u8], listening: bool) {
        let pattern = String::from_utf8_lossy(pattern).into_owned();
        let mut all = self.listening.lock();
        if listening {
            all.push((pattern, stream.clone()));
        } else {
            self.has_withdrawn.store(true, Ordering::Relaxed);
            all.retain(|(known, holder)| *known != pattern || !Arc::ptr_eq(holder, stream));
        }
    }

    fn wake_at(&self, at: Deadline) {
        *self.wake_at.lock() = Some(at);
    }

    fn pump_later(&self, stream: &Arc<Stream>) {
        self.pumps.lock().push(stream.clone());
    }

    fn sync_later(&self, stream: &Arc<Stream>) {
        self.syncs.lock().push(stream.clone());
    }

    fn run_later(&self, work: Box<dyn FnOnce() + Send>) {
        self.later.lock().push(work);
    }
}

/// An engine with one account, `$G`, on a clock that a test moves.
pub struct TestEngine {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Its host.
    pub host: Arc<CollectHost>,
    /// Its clock. It begins at 2023-11-14T22:13:20Z.
    pub clock: Arc<ManualClock>,
    /// Its account.
    pub account: AccountId,
}

/// Where every API subject begins.
const API: &str = "$JS.API.";
/// Where the clock begins.
pub const START_NS: WallNs = WallNs::from_ns(1_700_000_000_000_000_000);

impl TestEngine {
    /// An engine with the default configuration, in memory.
    ///
    /// # Errors
    /// Those of [`Engine::new`].
    pub fn new() -> Result<Self, EngineError> {
        Self::with(EngineConfig::default())
    }

    /// An engine with the given configuration.
    ///
    /// # Errors
    /// Those of [`Engine::new`] and [`Engine::enable_account`].
    pub fn with(config: EngineConfig) -> Result<Self, EngineError> {
        Self::on(config, Arc::new(ManualClock::new(START_NS)))
    }

    /// An engine on a clock that exists: a restart.
    ///
    /// # Errors
    /// Those of [`Engine::new`] and [`Engine::enable_account`].
    pub fn on(config: EngineConfig, clock: Arc<ManualClock>) -> Result<Self, EngineError> {
        Self::on_disk(config, clock, Arc::new(RealDisk))
    }

    /// An engine on a disk of the test's own.
    ///
    /// # Errors
    /// Those of [`Engine::new`] and [`Engine::enable_account`].
    pub fn on_disk(
        config: EngineConfig,
        clock: Arc<ManualClock>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, EngineError> {
        let host = Arc::new(CollectHost::default());
        let engine = Engine::new(config, clock.clone(), disk, host.clone())?;
        let account = AccountId(1);
        engine.enable_account(account, "$G", AccountLimits::default())?;
        Ok(Self { engine, host, clock, account })
    }

    /// Makes an API request (`subject` without `$JS.API.`) and gives the payload of the answer, empty for none.
    pub fn request(&self, subject: &str, payload: &str) -> String {
        self.request_all(subject, payload).first().map(|sent| sent.payload.clone()).unwrap_or_default()
    }

    /// Makes an API request and gives all messages that answer it.
    pub fn request_all(&self, subject: &str, payload: &str) -> Vec<Sent> {
        let mut out = Outbox::new();
        let client = ClientInfo::default();
        let subject = format!("{API}{subject}");
        let outcome = self.engine.api_when_durable(
            &ApiRequest {
                account: self.account,
                subject: subject.as_bytes(),
                reply: b"_INBOX.api",
                headers: b"",
                payload: payload.as_bytes(),
                client: Some(&client),
            },
            &mut out,
        );
        let mut answers = Vec::new();
        for msg in out.iter() {
            if msg.to == b"_INBOX.api" {
                answers.push(Sent::new(&msg));
            } else {
                self.host.sent.lock().push((Sent::new(&msg), msg.payload.to_vec()));
            }
        }
        if outcome.no_responders {
            let headers = "NATS/1.0 503\r\n\r\n".to_owned();
            let to = "_INBOX.api".to_owned();
            answers.push(Sent {
                subject: to.clone(),
                to,
                reply: String::new(),
                headers,
                payload: String::new(),
            });
        }
        if let Some(stream) = outcome.stream {
            stream.commit(&*self.host);
        }
        if let Some(begin) = outcome.then {
            begin();
        }
        self.host.sync_all();
        // Answers that waited for a sync.
        let mut sent = self.host.sent.lock();
        answers.extend(sent.extract_if(.., |(msg, _)| msg.to == "_INBOX.api").map(|(msg, _)| msg));
        drop(sent);
        answers
    }

    /// Whether anyone holds a lock that publishers, or changes of other streams, wait for.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.engine.is_locked()
    }

    /// Publishes to the streams that listen and commits. Gives the answer, empty for none.
    pub fn publish(&self, subject: &str, headers: &[(&str, &str)], payload: &str) -> String {
        const REPLY: &str = "_INBOX.pub";
        let mut block = String::new();
        if !headers.is_empty() {
            block.push_str("NATS/1.0\r\n");
            for (key, value) in headers {
                block.push_str(&format!("{key}: {value}\r\n"));
            }
            block.push_str("\r\n");
        }
        let streams = self.host.streams(subject.as_bytes());
        for stream in &streams {
            stream.publish(&Inbound {
                subject: subject.as_bytes(),
                reply: REPLY.as_bytes(),
                headers: block.as_bytes(),
                payload: payload.as_bytes(),
            });
        }
        for stream in &streams {
            stream.commit(&*self.host);
        }
        self.host.sync_all();
        let mut sent = self.host.sent.lock();
        let at = sent.iter().position(|(msg, _)| msg.to == REPLY);
        at.map(|at| sent.remove(at).0.payload).unwrap_or_default()
    }

    /// Says that somebody listens on `subject` from now on, or nobody any more, and commits what follows.
    pub fn interest_changed(&self, subject: &str, present: bool) {
        for stream in self.engine.interest_changed(self.account, subject.as_bytes(), None, present) {
            stream.commit(&*self.host);
        }
    }

    /// Lets time pass and fires what became due.
    pub fn advance_ns(&self, by_ns: u64) -> Deadlines {
        self.clock.advance_ns(by_ns);
        self.tick()
    }

    /// Sets the wall clock, forward or backward, and fires what became due.
    pub fn step_wall_ns(&self, by_ns: i64) -> Deadlines {
        self.clock.step_wall_ns(by_ns);
        self.tick()
    }

    /// Fires what is due.
    pub fn tick(&self) -> Deadlines {
        let mut next = self.engine.tick();
        self.host.sync_all();
        while next.are_reached(&*self.clock) {
            next = self.engine.tick();
            self.host.sync_all();
        }
        next
    }
}
