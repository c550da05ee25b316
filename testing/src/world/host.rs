//! A host that collects what leaves the engine.

use jetkv_jetstream::stream::{Host, Stream};
use jetkv_jetstream::{AccountId, Deadline, Delivery, OutMsg, Router};
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
    pub(super) fn new(msg: &OutMsg<'_>) -> Self {
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
    pub(super) sent: Mutex<Vec<(Sent, Vec<u8>)>>,
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
    pub(super) fn streams(&self, subject: &[u8]) -> Vec<Arc<Stream>> {
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
