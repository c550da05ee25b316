//! Who gets messages, as the router knows it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::{AccountId, OutMsg, WallNs};

use super::account::Account;
use super::subscription::Subscription;

/// A deliver subject in its account.
pub type DeliverSubject = (AccountId, Box<[u8]>);

/// Something that subscribes: a connection, whatever is spoken over it and whatever carries it; or a part of the server, which
/// takes what comes at once, and so has nothing to flush and is never full.
pub trait Receiver: Send + Sync + fmt::Debug {
    /// Its number, never used twice by one server.
    fn id(&self) -> u64;

    /// Queues a message for one of its subscriptions; one that `is_own` only where it wants what it sends itself. `thread`
    /// is the number of the calling thread, which flushes it at the end of its turn.
    fn deliver(&self, sub: &Subscription, msg: &OutMsg<'_>, is_own: bool, thread: u32) -> Receipt;

    /// Sends what is queued, as far as it is taken. Tells whether the stream engine, told to pause before, may go on. `now`
    /// saves a look at the clock where the thread has looked already.
    fn flush(&self, _now: Option<WallNs>) -> bool {
        false
    }

    /// Takes a subscription that had its last message off its list. Returns the account that the subscription is in.
    fn end_subscription(&self, sub: &Arc<Subscription>) -> Arc<Account>;

    /// Whether it is too full to be fed. Then it remembers who delivers on `subject`, and
    /// [`take_starved`](Self::take_starved) shows that once there is room or the receiver is gone.
    fn starve(&self, _account: AccountId, _subject: &[u8]) -> bool {
        false
    }

    /// The deliver subjects that wait for room.
    fn take_starved(&self) -> Vec<DeliverSubject> {
        Vec::new()
    }

    /// A producer that sent so many bytes with one read begins to wait for it; for how long at most.
    fn begin_stall(&self, _read_bytes: usize) -> Duration {
        Duration::ZERO
    }

    /// Whether producers should still wait for it.
    fn is_stalling(&self) -> bool {
        false
    }

    /// Queues a message for the server at the other end, which finds out itself who gets it there: who listens to the subject,
    /// and one member of each of the queue groups. Nobody does so for a connection of a client.
    fn relay(&self, _msg: &OutMsg<'_>, _queues: &[&[u8]], _thread: u32) -> Receipt {
        Receipt::CLOSED
    }

    /// What is known of the server at the other end, if there is one.
    fn far_end(&self) -> Option<FarEnd<'_>> {
        None
    }
}

/// The server at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FarEnd<'a> {
    /// Name of its cluster. Empty: none. What came from one server of a cluster goes to no other.
    pub cluster: &'a str,
    /// It is the hub of this server.
    pub is_hub: bool,
}

/// What became of something that was queued for a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queued {
    /// The receiver is closed or closing, or does not want it; nothing was queued.
    Closed,
    /// It waits for the next flush.
    Waiting,
    /// As `Waiting`, and so much waits already that the stream engine should pause.
    Pressured,
    /// As `Pressured`, and three quarters of `max_pending` are used: producers should slow down.
    Stalling,
    /// As `Stalling`, and the receiver has taken nothing for a while: it is hardly worth waiting for.
    Stuck,
    /// It would have exceeded `max_pending`; the receiver is closing.
    Overflowed,
}

impl Queued {
    /// Whether the receiver gets it.
    pub fn is_accepted(self) -> bool {
        !matches!(self, Self::Closed | Self::Overflowed)
    }

    /// Whether so much waits already that something should be done about it.
    #[inline]
    pub(crate) fn fills_up(self) -> bool {
        matches!(self, Self::Pressured | Self::Stalling | Self::Stuck)
    }
}

/// What became of a message for a receiver, and what the thread that delivered it has to remember.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    /// What became of it.
    pub queued: Queued,
    /// The thread did not know yet that the receiver has something to be flushed.
    pub is_first: bool,
    /// The subscription had its last message with this one.
    pub is_last: bool,
}

impl Receipt {
    /// The message was not taken.
    pub const CLOSED: Self = Self { queued: Queued::Closed, is_first: false, is_last: false };
}
