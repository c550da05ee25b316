//! The end of a thread's turn, which several of its connections may share.
//!
//! A thread handles the batches of all connections that its last look at the kernel found ready, one after the other.
//! Where those were several, what they published waits for the end of the turn: one commit, and with it one write, for
//! each stream instead of one for each connection, and the answers leave behind it. A connection that is alone is
//! answered at once.
//!
//! No lock is held meanwhile. Whoever else commits or reads such a stream writes what is there, as ever.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use jetkv_jetstream::stream::Stream;

use super::batch::{self, Bench};
use crate::jetstream::JetStream;

/// Batches that wait for each other at most: the first must not wait long for its answer.
const SHARED_MAX: u32 = 16;
/// A read that brought more than this has enough for a write of its own, and takes too long to be waited for.
pub(super) const SHARED_BYTES_MAX: usize = 4 * 1024;

thread_local! {
    static TURN: Turn = const { Turn::new() };
}

/// A thread's turn.
struct Turn {
    /// Whether the thread tells when its turns end.
    told: Cell<bool>,
    /// Batches of this turn that published to streams.
    batches: Cell<u32>,
    /// Whether the turn before had several.
    crowded: Cell<bool>,
    /// Batches without messages for a stream that were handled while something waits.
    passed: Cell<u32>,
    waiting: RefCell<Waiting>,
}

/// What is to be committed when the turn ends.
struct Waiting {
    streams: Vec<Arc<Stream>>,
    jetstream: Option<Arc<JetStream>>,
}

impl Turn {
    const fn new() -> Self {
        Self {
            told: Cell::new(false),
            batches: Cell::new(0),
            crowded: Cell::new(false),
            passed: Cell::new(0),
            waiting: RefCell::new(Waiting { streams: Vec::new(), jetstream: None }),
        }
    }

    /// Whether the batch that ends now is to wait for others.
    fn shares(&self) -> bool {
        let batches = self.batches.get() + 1;
        self.batches.set(batches);
        self.told.get() && self.crowded.get() && !batches.is_multiple_of(SHARED_MAX)
    }

    /// Another batch passed what waits, if anything does; whether that was enough of them.
    fn is_due(&self) -> bool {
        if self.waiting.borrow().jetstream.is_none() {
            return false;
        }
        self.passed.set(self.passed.get() + 1);
        self.passed.get() >= SHARED_MAX
    }

    fn end(&self) {
        let batches = self.batches.replace(0);
        // A turn without such a batch says nothing of how many come together.
        if batches > 0 {
            self.crowded.set(batches > 1);
        }
    }
}

/// Leaves the commit of a batch to the end of the turn, if there is reason to; says whether it did.
pub(super) fn share(bench: &mut Bench, jetstream: Option<&Arc<JetStream>>) -> bool {
    let Some(jetstream) = jetstream.filter(|_| !bench.streams.is_empty()) else { return false };
    TURN.with(|turn| {
        if !turn.shares() {
            return false;
        }
        let mut waiting = turn.waiting.borrow_mut();
        for stream in bench.streams.drain(..) {
            batch::touch(&mut waiting.streams, &stream);
        }
        waiting.jetstream.get_or_insert_with(|| Arc::clone(jetstream));
        true
    })
}

/// Whether what waits has waited long enough, now that a batch is done which takes no part in it. A thread whose clients
/// always have something to say never comes to the end of its turn.
pub(super) fn is_due() -> bool {
    TURN.with(Turn::is_due)
}

/// Commits what waits.
pub(super) fn commit() {
    let (mut streams, jetstream) = TURN.with(|turn| {
        turn.passed.set(0);
        let mut waiting = turn.waiting.borrow_mut();
        match waiting.jetstream.take() {
            Some(jetstream) => (std::mem::take(&mut waiting.streams), Some(jetstream)),
            None => (Vec::new(), None),
        }
    });
    let Some(jetstream) = jetstream else { return };
    for stream in streams.drain(..) {
        jetstream.commit(&stream);
    }
    // Nothing joins while a commit runs, so what is put back is only the memory.
    TURN.with(|turn| turn.waiting.borrow_mut().streams = streams);
}

/// From now on this thread calls [`end`] whenever it has nothing left to do.
pub(crate) fn will_be_told() {
    TURN.with(|turn| turn.told.set(true));
}

/// To be called when everything that the thread woke up for is done.
pub(crate) fn end() {
    let jetstream = TURN.with(|turn| {
        turn.end();
        turn.waiting.borrow().jetstream.clone()
    });
    if jetstream.is_some() {
        batch::settle_with(jetstream.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the next `count` batches wait.
    fn shared(turn: &Turn, count: u32) -> u32 {
        let shared = (0..count).filter(|_| turn.shares()).count();
        turn.end();
        u32::try_from(shared).unwrap()
    }

    #[test]
    fn batches_wait_for_each_other_only_where_several_come_together() {
        let turn = Turn::new();
        turn.told.set(true);
        assert_eq!([1, 1, 3].map(|count| shared(&turn, count)), [0, 0, 0], "nobody was known to come");
        assert_eq!([2, 0, 1].map(|count| shared(&turn, count)), [2, 0, 1], "several came before");
        assert_eq!(shared(&turn, 1), 0, "it was alone before");
    }

    #[test]
    fn no_batch_waits_for_very_many_others_nor_where_no_end_is_told() {
        let turn = Turn::new();
        assert_eq!([9, 9].map(|count| shared(&turn, count)), [0, 0]);
        turn.told.set(true);
        assert_eq!(shared(&turn, SHARED_MAX * 2), SHARED_MAX * 2 - 2);
    }
}
