//! What waits to be sent on one connection.
//!
//! Whoever has something for a connection appends it under a short lock and marks the connection; at the end of
//! its turn it writes the buffer to the link on its own thread. Only when the link takes no more does the connection's
//! own task carry on, once the link is writable again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::link::Writer;
use crate::connections::CloseReason;
use crate::options::{LimitOptions, WriteTimeout};
use crate::router::Queued;
use crate::worker::{self, READ_BUFFER_BYTES};

/// Pending bytes from which the stream engine is told to stop feeding the connection.
const PRESSURE_BYTES: usize = 1 << 20;

/// Shortest and longest time for which a producer waits, after one read, for a connection that does not recover.
const STALL_MIN: Duration = Duration::from_millis(10);
const STALL_MAX: Duration = Duration::from_millis(100);
/// Time in which a receiver on a busy machine gets its turn: producers leave it as much before they fill it to its end. One
/// that takes nothing for longer does not read.
const TURN_MAX: Duration = Duration::from_millis(400);

/// Limits on what may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutboundLimits {
    /// Bytes of which three quarters make producers wait.
    pub max_pending_bytes: usize,
    /// Bytes beyond which the connection is cut.
    pub cut_beyond_bytes: usize,
    /// Time that one write may take.
    pub write_deadline: Duration,
    /// A write that takes longer is tried again as long as some of it got through.
    pub retries_writes: bool,
    /// Messages for a connection that is filling up are dropped instead of slowing producers down.
    pub drops_when_stalling: bool,
}

/// What the connection's task has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing for now.
    Idle,
    /// The link is full; the write is overdue at that time.
    Blocked(Instant),
    /// Close the connection.
    Close(CloseReason),
    /// The link takes bytes again.
    Writable,
    /// A write took longer than the deadline.
    Overdue,
}

/// How the writes of a connection that closes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Everything is written, or can no longer be.
    Whole,
    /// A write took longer than the deadline.
    Overdue,
}

/// The outbound side of a connection, shared by all that send to it.
#[derive(Debug)]
pub(crate) struct Outbound {
    state: Mutex<State>,
    /// Nothing that concerns the connection's task has changed since it last looked.
    is_calm: Arc<AtomicBool>,
}

#[derive(Debug)]
struct State {
    limits: OutboundLimits,
    link: Option<Arc<Writer>>,
    /// The link, while nothing is to be written to it on purpose.
    held: Option<Arc<Writer>>,
    /// Appended to by senders.
    queue: Vec<u8>,
    /// Being written; the first `written` bytes are gone. Not here while `busy`.
    chunk: Vec<u8>,
    written: usize,
    /// Bytes in `queue` and `chunk` that are not written yet.
    pending: usize,
    /// Somebody is in the middle of a write.
    busy: bool,
    /// The link takes no more; the connection's task waits for it.
    blocked: bool,
    /// Since when the link takes nothing.
    idle_since: Option<Instant>,
    /// When the link first took no more of the current chunk.
    chunk_blocked_at: Option<Instant>,
    /// Bytes of the current chunk that were gone when its write was last tried anew.
    written_before: usize,
    /// Since when a write is late that is tried again.
    late_since: Option<Instant>,
    /// The engine was told to pause.
    pressured: bool,
    closing: Option<CloseReason>,
    /// Why a write failed.
    write_error: Option<String>,
    /// The connection's task.
    waker: Option<Waker>,
    /// The same as that of [`Outbound`]: whoever wakes the task says so here.
    is_calm: Arc<AtomicBool>,
    /// The thread that last marked this connection to be flushed, 0 for none.
    marked_by: u32,
}

impl OutboundLimits {
    /// What the options say.
    pub(crate) fn new(limits: &LimitOptions) -> Self {
        let max_pending_bytes = usize::try_from(limits.max_pending_bytes).unwrap_or(usize::MAX);
        Self {
            max_pending_bytes,
            cut_beyond_bytes: max_pending_bytes,
            write_deadline: limits.write_deadline,
            retries_writes: limits.write_timeout == WriteTimeout::Retry,
            drops_when_stalling: limits.no_fast_producer_stall,
        }
    }
}

impl Outbound {
    pub(crate) fn new(link: Writer, limits: OutboundLimits) -> Self {
        let is_calm = Arc::new(AtomicBool::new(false));
        Self {
            is_calm: Arc::clone(&is_calm),
            state: Mutex::new(State {
                is_calm,
                limits,
                link: Some(Arc::new(link)),
                held: None,
                queue: Vec::new(),
                chunk: Vec::new(),
                written: 0,
                pending: 0,
                busy: false,
                blocked: false,
                idle_since: None,
                chunk_blocked_at: None,
                written_before: 0,
                late_since: None,
                pressured: false,
                closing: None,
                write_error: None,
                waker: None,
                marked_by: 0,
            }),
        }
    }

    /// Takes the link out, so that nothing is written until [`put_link`](Self::put_link) brings one.
    pub(crate) fn take_link(&self) -> Option<Arc<Writer>> {
        self.state.lock().link.take()
    }

    /// Has everything written to `link` from now on.
    pub(crate) fn put_link(&self, link: Arc<Writer>) {
        self.state.lock().link = Some(link);
    }

    /// Keeps back all that is to be written, or no longer. Tells whether something waits that can be written now: the
    /// connection's task then has to be woken.
    pub(crate) fn hold_back(&self, held: bool) -> bool {
        let mut state = self.state.lock();
        if held {
            if state.held.is_none() {
                state.held = state.link.take();
            }
            return false;
        }
        let Some(link) = state.held.take() else { return false };
        if state.closing.is_some_and(CloseReason::drops_pending) {
            return false;
        }
        state.link = Some(link);
        // The task writes what waits as soon as the link takes it.
        state.blocked = state.pending > 0;
        state.blocked
    }

    /// Changes the limits, on a reload.
    pub(crate) fn set_limits(&self, limits: OutboundLimits) {
        self.state.lock().limits = limits;
    }

    /// Appends what `write` writes. Tells, too, whether it is the first since the last flush that `thread` appends.
    #[inline]
    pub(crate) fn push(&self, thread: u32, write: impl FnOnce(&mut Vec<u8>)) -> (Queued, bool) {
        let mut state = self.state.lock();
        if state.closing.is_some() || (state.limits.drops_when_stalling && state.is_stalling()) {
            return (Queued::Closed, false);
        }
        if state.queue.capacity() == 0 {
            state.queue = worker::with(|worker| worker.buffers.take_outbound());
        }
        let before = state.queue.len();
        write(&mut state.queue);
        state.pending += state.queue.len() - before;
        if state.pending > state.limits.cut_beyond_bytes {
            state.pending -= state.queue.len() - before;
            state.queue.truncate(before);
            state.close(CloseReason::SlowConsumerPendingBytes);
            return (Queued::Overflowed, false);
        }
        let is_first = state.marked_by != thread;
        state.marked_by = thread;
        if state.pending < state.pressure_bytes() {
            return (Queued::Waiting, is_first);
        }
        state.pressured = true;
        let queued = match state.is_stalling() && !state.limits.drops_when_stalling {
            false => Queued::Pressured,
            true if state.idle_time() < TURN_MAX => Queued::Stalling,
            true => Queued::Stuck,
        };
        (queued, is_first)
    }

    /// Why a write failed, if one did; told once.
    pub(crate) fn take_write_error(&self) -> Option<String> {
        self.state.lock().write_error.take()
    }

    /// How long a producer waits for this connection at most that sent so many bytes with one read.
    pub(crate) fn stall_time(&self, read_bytes: usize) -> Duration {
        let state = self.state.lock();
        stall_time(state.limits.max_pending_bytes, read_bytes, state.idle_time())
    }

    /// Whether producers should still wait for this connection.
    pub(crate) fn is_stalling(&self) -> bool {
        let state = self.state.lock();
        state.closing.is_none() && state.is_stalling()
    }

    /// Whether the engine is to pause until [`flush`](Self::flush) says that it may go on.
    pub(crate) fn is_pressured(&self) -> bool {
        let state = self.state.lock();
        state.closing.is_none() && state.pressured
    }

    /// Bytes that wait.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.state.lock().pending
    }

    /// Writes what the link takes. Tells whether the engine, told to pause before, may go on.
    pub(crate) fn flush(&self) -> bool {
        let mut state = self.state.lock();
        state.marked_by = 0;
        while let Some((chunk, link)) = state.begin_write() {
            let from = state.written;
            drop(state);
            let result = link.try_write(chunk.get(from..).unwrap_or_default());
            state = self.state.lock();
            state.end_write(chunk, result);
        }
        let relieved = state.pressured && state.pending < state.pressure_bytes().div_ceil(2);
        state.pressured &= !relieved;
        relieved
    }

    /// Begins to close: nothing more is queued, and the connection's task is told. The first reason stays.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.state.lock().close(reason);
    }

    /// Has the connection's task look around.
    pub(crate) fn wake(&self) {
        self.state.lock().wake();
    }

    /// The reason, once the connection is closing.
    pub(crate) fn closing(&self) -> Option<CloseReason> {
        self.state.lock().closing
    }

    /// For the connection's task, the same each time: what to do next. The task is woken when that changes, and only then
    /// is there anything to look at.
    #[inline]
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Next {
        if self.has_news() { self.look(context) } else { Next::Idle }
    }

    /// Whether the connection's task has something to look at, or may have.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.is_calm.load(Ordering::Acquire)
    }

    fn look(&self, context: &mut Context<'_>) -> Next {
        let mut state = self.state.lock();
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            slot => *slot = Some(context.waker().clone()),
        }
        if let Some(reason) = state.closing {
            return Next::Close(reason);
        }
        let next = state.poll_blocked(context);
        // As long as the link is full, it is asked each time.
        self.is_calm.store(next == Next::Idle && !state.blocked, Ordering::Release);
        next
    }

    /// For the connection's task while it closes: whether everything is written, or can no longer be.
    pub(crate) fn poll_drained(&self, context: &mut Context<'_>) -> Poll<Drained> {
        loop {
            self.flush();
            let mut state = self.state.lock();
            if state.link.is_none() || state.pending == 0 {
                return Poll::Ready(Drained::Whole);
            }
            if state.busy {
                // Whoever writes wakes nobody; look again after other work.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            match state.poll_blocked(context) {
                Next::Writable => {}
                Next::Overdue => return Poll::Ready(Drained::Overdue),
                _ => return Poll::Pending,
            }
        }
    }

    /// Gives a write that is overdue more time, where the limits say so and some of it got through.
    pub(crate) fn retry_write(&self) -> bool {
        let mut state = self.state.lock();
        if !state.limits.retries_writes || state.written == state.written_before {
            return false;
        }
        state.written_before = state.written;
        let since = state.chunk_blocked_at.replace(Instant::now());
        state.late_since = state.late_since.or(since);
        true
    }

    /// Whether a write is late that is tried again.
    pub(crate) fn is_late(&self) -> bool {
        self.state.lock().late_since.is_some()
    }

    /// How long a write took that was late and is done now.
    pub(crate) fn take_recovered(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        if state.blocked || !state.chunk.is_empty() {
            return None;
        }
        state.late_since.take().map(|since| since.elapsed())
    }

    /// Size of the write that does not get done, in bytes and in pieces of 64 KB.
    pub(crate) fn blocked_size(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.chunk.len(), state.chunk.len().div_ceil(READ_BUFFER_BYTES))
    }

    /// Tells the peer that the link ends; see [`Writer::say_end`].
    pub(crate) fn say_end(&self, payload: Option<Vec<u8>>) {
        let link = self.state.lock().link.clone();
        if let Some(link) = link {
            link.say_end(payload);
        }
    }

    /// Lets the link go and drops what waits.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.link = None;
        state.held = None;
        state.queue = Vec::new();
        state.chunk = Vec::new();
        state.pending = 0;
        state.waker = None;
        if state.closing.is_none() {
            state.closing = Some(CloseReason::ClientClosed);
            self.is_calm.store(false, Ordering::Release);
        }
    }
}

impl State {
    fn pressure_bytes(&self) -> usize {
        PRESSURE_BYTES.min(self.limits.max_pending_bytes / 4)
    }

    /// For how long the link has taken nothing.
    fn idle_time(&self) -> Duration {
        self.idle_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn is_stalling(&self) -> bool {
        self.pending > self.limits.max_pending_bytes / 4 * 3
    }

    fn close(&mut self, reason: CloseReason) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(reason);
        if reason.drops_pending() {
            self.queue = Vec::new();
            self.pending = self.chunk.len().saturating_sub(self.written);
        }
        self.wake();
    }

    fn wake(&self) {
        self.is_calm.store(false, Ordering::Release);
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn begin_write(&mut self) -> Option<(Vec<u8>, Arc<Writer>)> {
        let goes_on = !self.chunk.is_empty();
        if self.busy || self.blocked || !goes_on && self.queue.is_empty() {
            return None;
        }
        let link = Arc::clone(self.link.as_ref()?);
        self.busy = true;
        if goes_on {
            return Some((std::mem::take(&mut self.chunk), link));
        }
        self.written = 0;
        self.written_before = 0;
        self.chunk_blocked_at = None;
        Some((std::mem::take(&mut self.queue), link))
    }

    fn end_write(&mut self, chunk: Vec<u8>, result: io::Result<usize>) {
        self.busy = false;
        match result {
            Ok(count) => {
                self.written += count;
                self.pending = self.pending.saturating_sub(count);
                self.idle_since = None;
                if self.written < chunk.len() {
                    self.chunk = chunk;
                } else {
                    self.chunk_blocked_at = None;
                    if self.queue.capacity() == 0 && self.pressured {
                        self.queue = recycled(chunk);
                    } else {
                        worker::with(|worker| worker.buffers.give_outbound(chunk));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.chunk = chunk;
                self.blocked = true;
                let now = Instant::now();
                self.chunk_blocked_at.get_or_insert(now);
                self.idle_since.get_or_insert(now);
                self.wake();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.chunk = chunk,
            Err(error) => {
                self.write_error = self.link.as_ref().map(|link| link.failed_write(&error));
                self.pending = 0;
                self.link = None;
                self.close(CloseReason::WriteError);
            }
        }
    }

    fn poll_blocked(&mut self, context: &mut Context<'_>) -> Next {
        let (true, Some(link)) = (self.blocked, &self.link) else { return Next::Idle };
        if link.poll_writable(context).is_ready() {
            self.blocked = false;
            return Next::Writable;
        }
        let Some(since) = self.chunk_blocked_at else { return Next::Idle };
        let overdue_at = since + self.limits.write_deadline;
        if Instant::now() >= overdue_at { Next::Overdue } else { Next::Blocked(overdue_at) }
    }
}

/// Longest wait for a receiver that may have so much waiting and has taken nothing for some time, after a read of so many bytes
/// for it.
///
/// It is ten milliseconds as on nats-server v2.15.2, and more where the limit is small: else a few reads would take it from
/// where producers begin to wait to its end, in less time than a busy machine needs to give a healthy receiver its turn.
fn stall_time(max_pending_bytes: usize, read_bytes: usize, idle: Duration) -> Duration {
    if idle >= TURN_MAX {
        return STALL_MIN;
    }
    let room_bytes = (max_pending_bytes / 4).max(1);
    let share = read_bytes.min(room_bytes) as f64 / room_bytes as f64;
    TURN_MAX.mul_f64(share).clamp(STALL_MIN, STALL_MAX)
}

fn recycled(mut chunk: Vec<u8>) -> Vec<u8> {
    chunk.clear();
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::link::Link;
    use tokio::io::AsyncReadExt;

    #[test]
    fn a_receiver_gets_its_turn_before_reads_fill_it_to_the_end() {
        const READ_BYTES: usize = READ_BUFFER_BYTES;
        let stall_time = |max_pending, read| stall_time(max_pending, read, TURN_MAX / 2);
        assert_eq!(stall_time(64 << 20, READ_BYTES), STALL_MIN, "as on nats-server");
        for max_pending_bytes in [1 << 20, 4 << 20, 64 << 20] {
            let reads = u32::try_from(max_pending_bytes / 4 / READ_BYTES).unwrap();
            let total = stall_time(max_pending_bytes, READ_BYTES) * reads;
            assert!(total >= TURN_MAX, "{max_pending_bytes}: {total:?}");
        }
        assert_eq!(stall_time(1000, READ_BYTES), STALL_MAX, "no producer waits for long");
        assert_eq!(stall_time(0, 0), STALL_MIN);
    }

    #[tokio::test]
    async fn a_task_that_found_nothing_to_do_learns_of_what_comes_later() {
        let (link, _peer) = Link::memory();
        let out = Outbound::new(link.writer, OutboundLimits::new(&LimitOptions::default()));
        let next = || std::future::poll_fn(|context| Poll::Ready(out.poll_next(context)));
        for _ in 0..3 {
            assert_eq!(next().await, Next::Idle);
        }
        out.close(CloseReason::ClientClosed);
        for _ in 0..3 {
            assert_eq!(next().await, Next::Close(CloseReason::ClientClosed));
        }
    }

    #[tokio::test]
    async fn one_that_had_its_turn_and_took_nothing_is_hardly_waited_for_until_it_takes_some() {
        const LIMIT: usize = 1 << 20;
        let limits = OutboundLimits {
            max_pending_bytes: LIMIT,
            cut_beyond_bytes: LIMIT,
            write_deadline: Duration::from_secs(10),
            retries_writes: false,
            drops_when_stalling: false,
        };
        let (link, mut peer) = Link::memory();
        let out = Outbound::new(link.writer, limits);
        let push = |bytes: usize| out.push(1, |queue| queue.resize(queue.len() + bytes, b'x')).0;
        assert_eq!(push(LIMIT / 2), Queued::Pressured);
        out.flush();
        assert!(out.state.lock().idle_since.is_some());
        // Whatever the time, it was not full for long.
        let later = Instant::now() + Duration::from_secs(3600);
        out.state.lock().idle_since = Some(later);
        assert_eq!(push(LIMIT / 2 - 1000), Queued::Stalling);
        let earlier = Instant::now().checked_sub(TURN_MAX);
        out.state.lock().idle_since = earlier;
        assert_eq!(push(1), Queued::Stuck);
        assert_eq!(out.stall_time(READ_BUFFER_BYTES), STALL_MIN);
        let mut some = [0; 1000];
        peer.read_exact(&mut some).await.unwrap();
        let writable = std::future::poll_fn(|context| match out.poll_next(context) {
            Next::Writable => Poll::Ready(()),
            _ => Poll::Pending,
        });
        writable.await;
        out.flush();
        assert_ne!(out.state.lock().idle_since, earlier, "it has taken some since");
    }
}
