//! The end that turns of several connections share.
//!
//! A thread handles what its last look at the kernel found ready, one connection after the other. Where those were
//! several, what they published waits until each had its turn: one commit, and with it one write, for each stream
//! instead of one for each connection, and then the answers leave, those to requests of the API and what was delivered to
//! others, too. So whoever waits for them is told at one time, and asks again at one time. A connection that has been alone
//! for a while is answered at once: for it there is nothing to gain.
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

/// What turns of a thread leave to be done together.
pub(super) struct SharedTurn {
    /// Whether the thread tells when all that were ready had their turn.
    told: Cell<bool>,
    /// Turns since it last told so.
    turns: Cell<u32>,
    /// Times left that a turn may be alone and still waits for others.
    crowded: Cell<u32>,
    /// A turn waits for others.
    waits: Cell<bool>,
    waiting: RefCell<Waiting>,
}

/// What is to be committed.
struct Waiting {
    streams: Vec<Arc<Stream>>,
    engine: Option<Arc<dyn Streams>>,
}

impl SharedTurn {
    pub(super) const fn new() -> Self {
        Self {
            told: Cell::new(false),
            turns: Cell::new(0),
            crowded: Cell::new(0),
            waits: Cell::new(false),
            waiting: RefCell::new(Waiting { streams: Vec::new(), engine: None }),
        }
    }

    /// From now on the thread tells when all that were ready had their turn.
    pub(super) fn will_be_told(&self) {
        self.told.set(true);
    }

    /// Whether the turn that ends now is to wait for others.
    #[inline]
    pub(super) fn takes_another(&self) -> bool {
        let turns = self.turns.get() + 1;
        self.turns.set(turns);
        self.told.get() && self.crowded.get() > 0 && !turns.is_multiple_of(SHARED_MAX)
    }

    /// Leaves the end of a turn, and the commit of `streams`, to the end of the shared turn.
    pub(super) fn join<S: Streams + 'static>(&self, streams: &mut Vec<Arc<Stream>>, engine: Option<&Arc<S>>) {
        self.waits.set(true);
        let Some(engine) = engine else { return };
        let mut waiting = self.waiting.borrow_mut();
        waiting.engine.get_or_insert_with(|| Arc::clone(engine) as Arc<dyn Streams>);
        for stream in streams.drain(..) {
            touch(&mut waiting.streams, &stream);
        }
    }

    /// Whether a turn waits for others.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        self.waits.get()
    }

    /// Commits what waits for that. What follows from it waits on.
    #[inline]
    pub(super) fn commit(&self) {
        if self.waits.get() {
            self.commit_waiting();
        }
    }

    fn commit_waiting(&self) {
        let (mut streams, engine) = {
            let mut waiting = self.waiting.borrow_mut();
            let Some(engine) = waiting.engine.clone() else { return };
            (std::mem::take(&mut waiting.streams), engine)
        };
        for stream in streams.drain(..) {
            engine.commit(&stream);
        }
        // Nothing joins while a commit runs, so what is put back is only the memory.
        self.waiting.borrow_mut().streams = streams;
    }

    /// Commits what waits for that, and lets nothing wait any more. Gives the engine of the turns that did.
    #[inline]
    pub(super) fn end(&self) -> Option<Arc<dyn Streams>> {
        if !self.waits.get() {
            return None;
        }
        self.commit_waiting();
        self.waits.set(false);
        self.waiting.borrow_mut().engine.take()
    }

    /// All that were ready had their turn. Says whether one of them waits.
    #[inline]
    pub(super) fn tell(&self) -> bool {
        match self.turns.replace(0) {
            0 => {}
            1 => self.crowded.set(self.crowded.get().saturating_sub(1)),
            _ => self.crowded.set(ALONE_MAX),
        }
        self.waits.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the next `count` turns wait.
    fn shared(turn: &SharedTurn, count: u32) -> u32 {
        let shared = (0..count).filter(|_| turn.takes_another()).count();
        assert!(!turn.tell(), "none of them joined");
        u32::try_from(shared).unwrap()
    }

    #[test]
    fn turns_wait_for_each_other_only_where_several_come_together() {
        let turn = SharedTurn::new();
        turn.will_be_told();
        assert_eq!([1, 1, 3].map(|count| shared(&turn, count)), [0, 0, 0], "nobody was known to come");
        assert_eq!([2, 0, 1].map(|count| shared(&turn, count)), [2, 0, 1], "several came before");
        assert_eq!([1, 3, 1, 2].map(|count| shared(&turn, count)), [1, 3, 1, 2], "now and then");
        let alone: u32 = (0..ALONE_MAX).map(|_| shared(&turn, 1)).sum();
        assert_eq!(alone, ALONE_MAX, "others may come yet");
        assert_eq!(shared(&turn, 1), 0, "it was alone for long");
    }

    #[test]
    fn no_turn_waits_for_very_many_others_nor_where_no_end_is_told() {
        let turn = SharedTurn::new();
        assert_eq!([9, 9].map(|count| shared(&turn, count)), [0, 0]);
        turn.will_be_told();
        assert_eq!(shared(&turn, SHARED_MAX * 2), SHARED_MAX * 2 - 2);
    }
}
