//! One subscription.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use jetkv_jetstream::stream::Stream;

use super::exchange::{ImportedService, Responses, Shadowed};
use super::receiver::Receiver;
use super::sublist::Listed;

/// Who gets what a subscription matches.
#[derive(Clone)]
pub enum Target {
    /// A connection.
    Receiver(Arc<dyn Receiver>),
    /// Another server, on behalf of who listens there.
    Relay(Arc<dyn Receiver>),
    /// A stream that captures the subject.
    Stream(Arc<Stream>),
    /// A connection or a stream of another account, which imports the subject.
    Shadowed(Box<Shadowed>),
    /// A service of another account.
    Service(Arc<ImportedService>),
    /// Requests of other accounts that wait for an answer.
    Responses(Arc<Responses>),
}

/// One subscription. There can be millions, so its texts share one allocation.
pub struct Subscription {
    target: Target,
    /// Subject, queue group and sid, one behind the other.
    text: Box<[u8]>,
    subject_len: u32,
    queue_len: u32,
    delivered: AtomicU64,
    /// Messages after which the subscription ends, 0 for never.
    max: AtomicU64,
    /// Members of the queue group that it stands for.
    weight: AtomicU32,
    closed: AtomicBool,
}

/// Whether a message may go to a subscription that ends after a number of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Deliver.
    Yes,
    /// Deliver; it is the last one.
    Last,
    /// It had its last message.
    No,
}

impl Subscription {
    /// A subscription; `queue` is empty for none.
    pub fn new(target: Target, subject: &[u8], queue: &[u8], sid: &[u8]) -> Self {
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
        Self {
            target,
            text: [subject, queue, sid].concat().into_boxed_slice(),
            subject_len: length(subject),
            queue_len: length(queue),
            delivered: AtomicU64::new(0),
            max: AtomicU64::new(0),
            weight: AtomicU32::new(1),
            closed: AtomicBool::new(false),
        }
    }

    /// Who gets the messages.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The client's name for it.
    pub fn sid(&self) -> &[u8] {
        self.text.get((self.subject_len + self.queue_len) as usize..).unwrap_or_default()
    }

    /// Messages delivered so far.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Messages after which it ends, 0 for never.
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Lets it end after `max` messages since it began, 0 for never. Tells whether it has had them already.
    pub(crate) fn set_max(&self, max: u64) -> bool {
        self.max.store(max, Ordering::Relaxed);
        max <= self.delivered()
    }

    /// Whether it delivers nothing any more because it had as many messages as it may.
    pub(crate) fn had_its_last(&self) -> bool {
        let max = self.max();
        max > 0 && max <= self.delivered()
    }

    /// How many members of its queue group it stands for: those on another server, else itself alone.
    pub(crate) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Says that; returns how many there were.
    pub(crate) fn set_weight(&self, weight: u32) -> u32 {
        self.weight.swap(weight, Ordering::Relaxed)
    }

    /// Counts one more message.
    pub(crate) fn admit(&self) -> Admission {
        if self.closed.load(Ordering::Relaxed) {
            return Admission::No;
        }
        let delivered = self.delivered.fetch_add(1, Ordering::Relaxed) + 1;
        match self.max() {
            0 => Admission::Yes,
            max if delivered < max => Admission::Yes,
            max if delivered == max => Admission::Last,
            _ => Admission::No,
        }
    }

    /// Counts a message to a stream or into another account, which has no number that it may have.
    pub(crate) fn count(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends it: a match found earlier delivers nothing any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

impl Listed for Subscription {
    fn subject(&self) -> &[u8] {
        self.text.get(..self.subject_len as usize).unwrap_or_default()
    }

    fn queue(&self) -> &[u8] {
        let start = self.subject_len as usize;
        self.text.get(start..start + self.queue_len as usize).unwrap_or_default()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({} {})", self.subject().escape_ascii(), self.sid().escape_ascii())
    }
}
