//! What streams ask of whoever runs them.

use super::Stream;
use crate::clock::Deadline;
use crate::message::{AccountId, OutMsg};
use crate::router::Router;
use std::sync::Arc;

/// The world outside the engine: who listens there, and who lends the engine threads.
///
/// What is said of the methods of [`Router`] holds for these, too.
pub trait Host: Router {
    /// A stream begins (`listening`) or ceases to capture what is published on `pattern` in its account.
    fn stream_subject(&self, stream: &Arc<Stream>, pattern: &[u8], listening: bool);
    /// The engine wants `Engine::tick` to be called at or soon after `at`, however the clock gets there; earlier calls
    /// do no harm.
    fn wake_at(&self, at: Deadline);
    /// The stream has more to deliver than fits one turn: call `Stream::pump` soon, after other work.
    fn pump_later(&self, stream: &Arc<Stream>);
    /// The stream has changes to make durable: call `Stream::sync` soon, on a thread that may block, until it says
    /// that there is no more. A stream asks again only after that.
    fn sync_later(&self, stream: &Arc<Stream>);
    /// A sync of a stream to the disk is over, well or badly, and took so long.
    fn synced(&self, _took_ns: u64) {}
    /// Subscribes in the account of a stream, as a client of it would: what comes is given to `Stream::hear`, with `channel`.
    /// No lock of the engine is held.
    fn listen(&self, _stream: &Arc<Stream>, _channel: u64, _subject: &[u8]) {}
    /// Ends such a subscription, if it is there.
    fn unlisten(&self, _stream: &Stream, _channel: u64) {}
    /// Publishes as a client of the account would: to whoever listens, into streams, to the JetStream API, into other
    /// accounts. No lock of the engine is held.
    fn publish(&self, _account: AccountId, _msg: OutMsg<'_>) {}
    /// Something came for a stream from its origins, or is to be done for them: call `Stream::receive` soon, on a thread that
    /// may block. A gate may be held.
    fn receive_later(&self, _stream: &Arc<Stream>) {}
    /// The engine has delivered for others on a thread that the host did not lend it: what is in outbound buffers may
    /// leave now. No lock of the engine is held.
    fn end_turn(&self) {}
    /// The engine has work that nobody waits for and that may block, such as giving back the room of what was deleted:
    /// run it soon, on a thread that may block. Work that is dropped instead is done with the next start.
    fn run_later(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
    /// The engine has work that it waits for, parts of which do not wait for each other: run all of it, side by side where
    /// the machine can, and return when it is done. No lock of the engine is held.
    fn run_all(&self, work: Vec<Box<dyn FnOnce() + Send + '_>>) {
        work.into_iter().for_each(|part| part());
    }
}
