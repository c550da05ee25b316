//! The commit that turns of several connections share.
//!
//! A thread handles what its last look at the kernel found ready, one connection after the other. Where those were
//! several, what they published waits until the thread would park: one commit, and with it one write, for each stream
//! instead of one for each connection, and the answers leave behind it. A connection that has been alone for a while is answered
//! at once: for it there is nothing to gain.
//!
//! No lock is held meanwhile. Whoever else commits or reads such a stream writes what is there, as ever.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use jetkv_jetstream::stream::Stream;

use super::streams::{Streams, touch};

/// Turns that wait for each other at most: the first must not wait long for its answer.
const SHARED_MAX: u32 = 16;
/// Times that one turn was alone before it is taken to stay alone. Several connections that wait for their answers come together
/// now and then only, since what they wait for comes one behind the other.
const ALONE_MAX: u32 = 16;
/// A read that brought more than this has enough for a write of its own, and takes too long to be waited for.
pub(super) const SHARED_BYTES_MAX: usize = 4 * 1024;

/// What turns of a thread leave to be committed together.
pub(super) struct SharedCommit {
    /// Whether the thread tells when it has nothing left to do.
    told: Cell<bool>,
    /// Turns that published to streams since the thread last had nothing to do.
    turns: Cell<u32>,
    /// Times left that a turn may be alone and still waits for others.
    crowded: Cell<u32>,
    /// Turns without messages for a stream that passed while something waits.
    passed: Cell<u32>,
    waiting: RefCell<Waiting>,
}

/// What is to be committed.
struct Waiting {
    streams: Vec<Arc<Stream>>,
    engine: Option<Arc<dyn Streams>>,
}

impl SharedCommit {
    pub(super) const fn new() -> Self {
        Self {
            told: Cell::new(false),
            turns: Cell::new(0),
            crowded: Cell::new(0),
            passed: Cell::new(0),
            waiting: RefCell::new(Waiting { streams: Vec::new(), engine: None }),
        }
    }

    /// From now on the thread tells when it has nothing left to do.
    pub(super) fn will_be_told(&self) {
        self.told.set(true);
    }

    /// Whether the turn that ends now is to wait for others.
    fn shares(&self) -> bool {
        let turns = self.turns.get() + 1;
        self.turns.set(turns);
        self.told.get() && self.crowded.get() > 0 && !turns.is_multiple_of(SHARED_MAX)
    }

    /// Leaves the commit of `streams` to the end of the shared turn, if there is reason to; says whether it did.
    pub(super) fn join<S: Streams + 'static>(&self, streams: &mut Vec<Arc<Stream>>, engine: &Arc<S>) -> bool {
        if streams.is_empty() || !self.shares() {
            return false;
        }
        let mut waiting = self.waiting.borrow_mut();
        for stream in streams.drain(..) {
            touch(&mut waiting.streams, &stream);
        }
        waiting.engine.get_or_insert_with(|| Arc::clone(engine) as Arc<dyn Streams>);
        true
    }

    /// Another turn passed what waits, if anything does; whether that was enough of them. A thread whose clients always
    /// have something to say never has nothing left to do.
    pub(super) fn is_due(&self) -> bool {
        if self.waiting.borrow().engine.is_none() {
            return false;
        }
        self.passed.set(self.passed.get() + 1);
        self.passed.get() >= SHARED_MAX
    }

    /// Commits what waits.
    #[inline]
    pub(super) fn commit(&self) {
        self.passed.set(0);
        if self.waiting.borrow().engine.is_some() {
            self.commit_waiting();
        }
    }

    fn commit_waiting(&self) {
        let (mut streams, engine) = {
            let mut waiting = self.waiting.borrow_mut();
            let Some(engine) = waiting.engine.take() else { return };
            (std::mem::take(&mut waiting.streams), engine)
        };
        for stream in streams.drain(..) {
            engine.commit(&stream);
        }
        // Nothing joins while a commit runs, so what is put back is only the memory.
        self.waiting.borrow_mut().streams = streams;
    }

    /// The thread has nothing left to do. Gives the engine if something waits.
    pub(super) fn end(&self) -> Option<Arc<dyn Streams>> {
        let turns = self.turns.replace(0);
        // Where none published, that says nothing of how many come together.
        match turns {
            0 => {}
            1 => self.crowded.set(self.crowded.get().saturating_sub(1)),
            _ => self.crowded.set(ALONE_MAX),
        }
        self.waiting.borrow().engine.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the next `count` turns wait.
    fn shared(commit: &SharedCommit, count: u32) -> u32 {
        let shared = (0..count).filter(|_| commit.shares()).count();
        commit.end();
        u32::try_from(shared).unwrap()
    }

    #[test]
    fn turns_wait_for_each_other_only_where_several_come_together() {
        let commit = SharedCommit::new();
        commit.will_be_told();
        assert_eq!([1, 1, 3].map(|count| shared(&commit, count)), [0, 0, 0], "nobody was known to come");
        assert_eq!([2, 0, 1].map(|count| shared(&commit, count)), [2, 0, 1], "several came before");
        assert_eq!([1, 3, 1, 2].map(|count| shared(&commit, count)), [1, 3, 1, 2], "now and then");
        let alone: u32 = (0..ALONE_MAX).map(|_| shared(&commit, 1)).sum();
        assert_eq!(alone, ALONE_MAX, "others may come yet");
        assert_eq!(shared(&commit, 1), 0, "it was alone for long");
    }

    #[test]
    fn no_turn_waits_for_very_many_others_nor_where_no_end_is_told() {
        let commit = SharedCommit::new();
        assert_eq!([9, 9].map(|count| shared(&commit, count)), [0, 0]);
        commit.will_be_told();
        assert_eq!(shared(&commit, SHARED_MAX * 2), SHARED_MAX * 2 - 2);
    }
}
