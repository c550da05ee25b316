//! What the engine asks of whoever runs it.

use crate::clock::Deadline;
use crate::message::{AccountId, OutMsg};
use crate::stream::Stream;
use std::sync::Arc;

/// What became of an [`OutMsg`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Nobody listens.
    NoInterest,
    /// It is in the outbound buffer of at least one receiver.
    Sent,
    /// As `Sent`, and a receiver's buffer is filling: ask [`Host::has_room`] before giving it more.
    Pressured,
}

/// A subscription of the engine's own, as nats-server v2.15.2 lists them on its pages (observed). The engine is handed what
/// comes on these subjects; the list is there to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSubscription {
    /// The subject.
    pub subject: String,
    /// The queue group; empty for none.
    pub queue: &'static str,
    /// Its number within its connection.
    pub sid: u64,
    /// Messages that came on it.
    pub msgs: u64,
    /// The connection that nats-server would give it.
    pub client: u64,
    /// Whether it is in the system account, and not in the stream's.
    pub is_system: bool,
}

/// The world outside the engine: the router of the server, or a collector in a test.
///
/// Every method may be called while a stream's delivery gate is held; none may call back into the engine on the
/// same thread. A host that routes a delivered message into another stream queues it and publishes it later.
pub trait Host: Send + Sync {
    /// Routes a message in an account.
    fn deliver(&self, account: AccountId, msg: OutMsg<'_>) -> Delivery;
    /// Whether a message on `subject` would reach anyone; with `queue`, anyone in that queue group.
    fn has_interest(&self, account: AccountId, subject: &[u8], queue: Option<&[u8]>) -> bool;
    /// Whether anyone subscribed to `subject` itself, not to a wildcard that covers it: in the queue group `queue` or,
    /// where that is empty, in none. Nothing else makes a push consumer active (nats-server v2.15.2, observed).
    fn has_exact_interest(&self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool;
    /// Whether whoever listens on `subject` has room for more. Where not, the host calls `Engine::room_came` with
    /// the same subject once there may be some. A host that keeps nothing for its receivers always has room.
    fn has_room(&self, _account: AccountId, _subject: &[u8]) -> bool {
        true
    }
    /// A stream begins (`listening`) or ceases to capture what is published on `pattern` in its account.
    fn stream_subject(&self, stream: &Arc<Stream>, pattern: &[u8], listening: bool);
    /// Takes `count` numbers out of those that connections are given, and returns the first. nats-server gives its streams
    /// and consumers connections of their own.
    fn take_client_numbers(&self, _count: u64) -> u64 {
        0
    }
    /// The number of a new subscription in the system account.
    fn next_system_sid(&self) -> u64 {
        0
    }
    /// The engine wants `Engine::tick` to be called at or soon after `at`, however the clock gets there; earlier calls
    /// do no harm.
    fn wake_at(&self, at: Deadline);
    /// The stream has more to deliver than fits one turn: call `Stream::pump` soon, after other work.
    fn pump_later(&self, stream: &Arc<Stream>);
    /// The stream has changes to make durable: call `Stream::sync` soon, on a thread that may block, until it says
    /// that there is no more. A stream asks again only after that.
    fn sync_later(&self, stream: &Arc<Stream>);
    /// The engine has delivered for others on a thread that the host did not lend it: what is in outbound buffers may
    /// leave now. No lock of the engine is held.
    fn end_turn(&self) {}
    /// The engine has work that nobody waits for and that may block, such as giving back the room of what was deleted:
    /// run it soon, on a thread that may block. Work that is dropped instead is done with the next start.
    fn run_later(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
