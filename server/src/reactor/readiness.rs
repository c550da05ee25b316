//! Which sockets are ready, as the kernel tells it: once for each change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use mio::event::Event;
use mio::{Events, Token};
use parking_lot::Mutex;

/// What is known of one socket.
#[derive(Debug)]
pub(super) struct Readiness {
    pub(super) reading: Direction,
    pub(super) writing: Direction,
    /// Nothing comes any more but what is there: no further event tells of the end.
    pub(super) has_ended: AtomicBool,
}

/// One direction of a socket. Attempts follow each other, whoever makes them (one task reads; who writes holds the lock of what
/// is to be written): an older one that ended last would hide that a newer one had found the end.
#[derive(Debug)]
pub(super) struct Direction {
    /// Events so far.
    events: AtomicU64,
    /// How many there had been when the kernel last had no more to give, or took no more. While there are no others since, there
    /// is nothing to be tried.
    exhausted_at: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Readiness {
    /// Of a socket of which nothing has come and which takes what it is given.
    pub(super) fn new() -> Self {
        Self { reading: Direction::new(0), writing: Direction::new(1), has_ended: AtomicBool::new(false) }
    }

    fn note(&self, event: &Event) {
        if event.is_read_closed() || event.is_error() {
            self.has_ended.store(true, Ordering::Release);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.reading.note();
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            self.writing.note();
        }
    }
}

impl Direction {
    fn new(events: u64) -> Self {
        Self { events: AtomicU64::new(events), exhausted_at: AtomicU64::new(0), waker: Mutex::new(None) }
    }

    #[inline]
    fn note(&self) {
        let before = self.events.fetch_add(1, Ordering::AcqRel);
        if before == self.exhausted_at.load(Ordering::Acquire)
            && let Some(waker) = &*self.waker.lock()
        {
            waker.wake_by_ref();
        }
    }

    /// What to give [`exhausted`](Self::exhausted) after the attempt that comes next.
    #[inline]
    pub(super) fn begin(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// The attempt that [began](Self::begin) there found the end of what there is.
    #[inline]
    pub(super) fn exhausted(&self, began: u64) {
        self.exhausted_at.store(began, Ordering::Release);
    }

    #[inline]
    fn is_ready(&self) -> bool {
        self.events.load(Ordering::Acquire) != self.exhausted_at.load(Ordering::Acquire)
    }

    /// Whether an attempt is worth it; only the last caller is woken when it is.
    #[inline]
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_ready() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.lock();
        match &mut *waker {
            Some(known) => known.clone_from(context.waker()),
            slot => *slot = Some(context.waker().clone()),
        }
        drop(waker);
        // An event that came before that woke nobody.
        if self.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The sockets of one thread, by the numbers that the kernel knows them by.
#[derive(Debug, Default)]
pub(super) struct Sources {
    list: Vec<Option<Arc<Readiness>>>,
    free: Vec<usize>,
}

impl Sources {
    /// Gives a socket a number.
    pub(super) fn add(&mut self, readiness: &Arc<Readiness>) -> Token {
        let at = self.free.pop().unwrap_or(self.list.len());
        match self.list.get_mut(at) {
            Some(place) => *place = Some(Arc::clone(readiness)),
            None => self.list.push(Some(Arc::clone(readiness))),
        }
        Token(at)
    }

    /// Forgets a socket that the kernel tells nothing of any more. What it told before is taken for the next one that gets the
    /// number, which then tries in vain.
    pub(super) fn remove(&mut self, token: Token) {
        if let Some(place) = self.list.get_mut(token.0)
            && place.take().is_some()
        {
            self.free.push(token.0);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.iter().flatten().count()
    }

    /// Takes what the kernel tells.
    #[inline]
    pub(super) fn note(&self, events: &Events) {
        for event in events {
            if let Some(Some(readiness)) = self.list.get(event.token().0) {
                readiness.note(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_during_an_attempt_makes_another_one_worth_it() {
        let mut context = Context::from_waker(Waker::noop());
        let direction = Direction::new(0);
        assert!(direction.poll_ready(&mut context).is_pending(), "nothing was told yet");
        direction.note();
        assert!(direction.poll_ready(&mut context).is_ready());
        let began = direction.begin();
        direction.note();
        direction.exhausted(began);
        assert!(direction.poll_ready(&mut context).is_ready(), "something came meanwhile");
        direction.exhausted(direction.begin());
        assert!(direction.poll_ready(&mut context).is_pending());
    }

    #[test]
    fn numbers_are_given_again() {
        let mut sources = Sources::default();
        let readiness = Arc::new(Readiness::new());
        let [first, second] = [0; 2].map(|_| sources.add(&readiness));
        assert_ne!(first, second);
        sources.remove(first);
        sources.remove(first);
        assert_eq!(sources.add(&readiness), first);
        assert_eq!(sources.add(&readiness), Token(2));
    }
}
