//! What the end of a turn asks of the stream engine.

use std::sync::Arc;

use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{AccountId, Outbox};
use smallvec::SmallVec;

use super::deferred::Deferred;
use super::long_get::LongGet;
use super::queued_request::QueuedRequest;
use crate::router::{Account, Receiver, Shadow, Subscription};

/// Streams with something to be committed.
pub(crate) type Concerned = SmallVec<[Arc<Stream>; 1]>;

/// The stream engine, as a turn ends in it.
pub(crate) trait Streams: Send + Sync {
    /// Commits what was published to a stream, and delivers what waited for that; where it has to be on the disk first,
    /// that happens later, on another thread.
    fn commit(&self, stream: &Arc<Stream>);

    /// Routes answers of the API, and empties `answers`.
    fn deliver_all(&self, account: AccountId, answers: &mut Outbox);

    /// Has requests of the API served by the threads for that; empties `requests`.
    fn submit(&self, requests: &mut Vec<QueuedRequest>);

    /// Has a direct get served by one of the threads for that.
    fn submit_get(&self, get: LongGet);

    /// Stores what the engine delivered on subjects of streams, and commits it.
    fn store(&self, deferred: &Deferred);

    /// Leaves that to a turn of its own.
    fn store_later(&self, deferred: &Deferred);

    /// A subscription ended. Tells the engine if nobody listens there any more; gives the streams to be committed after
    /// that.
    #[must_use]
    fn subscription_ended(&self, account: &Account, sub: &Subscription) -> Concerned;

    /// As [`subscription_ended`](Self::subscription_ended), for those in other accounts.
    #[must_use]
    fn shadows_ended(&self, shadows: &[Shadow]) -> Concerned {
        let mut streams = Concerned::new();
        for (account, shadow) in shadows {
            if let Some(account) = account.upgrade() {
                streams.extend(self.subscription_ended(&account, shadow));
            }
        }
        streams
    }

    /// Lets the consumers that waited for room at a receiver go on.
    fn feed_again(&self, receiver: &dyn Receiver);
}

/// Adds a stream to a short list, once.
pub(crate) fn touch(streams: &mut Vec<Arc<Stream>>, stream: &Arc<Stream>) {
    if !streams.iter().rev().any(|known| Arc::ptr_eq(known, stream)) {
        streams.push(Arc::clone(stream));
    }
}
