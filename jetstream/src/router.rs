//! Who listens, and how what leaves the engine gets there.

use crate::message::{AccountId, OutMsg};

/// What became of an [`OutMsg`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Nobody listens.
    NoInterest,
    /// It is in the outbound buffer of at least one receiver.
    Sent,
    /// As `Sent`, and a receiver's buffer is filling: ask [`Router::has_room`] before giving it more.
    Pressured,
}

/// Whoever brings messages to those who listen: the router of the server, or a collector in a test.
///
/// Every method may be called while a stream's delivery gate is held; none may call back into the engine on the
/// same thread. What is routed into another stream is queued and published there later.
pub trait Router: Send + Sync {
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
    /// Takes `count` numbers out of those that connections are given, and returns the first. nats-server gives its streams
    /// and consumers connections of their own.
    fn take_client_numbers(&self, _count: u64) -> u64 {
        0
    }
    /// The number of a new subscription in the system account.
    fn next_system_sid(&self) -> u64 {
        0
    }
}
