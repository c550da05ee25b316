//! Watching keys: what is there, then what changes, in the order of revisions.
//!
//! A watch reads the stream from its own position, so it holds no queue that could overflow, and nothing is lost
//! between its start and the first change. Where it lags, it sees of each key what the bucket still holds: with a
//! history of one, the last value alone.

use crate::{Entry, Error};
use jetkv_jetstream::store::{Ahead, Store, StoreError, Upcoming};
use jetkv_jetstream::{Filter, Stream};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Messages looked at while the stream is locked once.
const BATCH: usize = 64;

/// What a watch shows. All fields off: the last value of each key, then every change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Begin with all revisions that are there, not the last of each key alone.
    pub include_history: bool,
    /// Begin with nothing; there is no [`Event::InitialDone`] then.
    pub updates_only: bool,
    /// Leave out markers of deleted and purged keys.
    pub ignore_deletes: bool,
    /// Leave out values.
    pub meta_only: bool,
    /// Begin with all revisions from this one on.
    pub resume_from_revision: Option<u64>,
}

/// What a watch yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A revision of a key.
    Entry(Entry),
    /// Everything that was there when the watch began has been shown. Comes once.
    InitialDone,
}

#[derive(Debug)]
enum Phase {
    /// Shows these sequences, last first.
    Listed(Vec<u64>),
    /// Shows everything up to this sequence.
    Through(u64),
    /// Shows what comes.
    Live,
}

/// A watch over keys. It yields events without end, or an error once the bucket is deleted.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
/// # fn main() -> Result<(), Box<dyn Error>> {
/// # let (_test, buckets, bucket) = example()?;
/// use jetkv_kv::{Event, Watch, WatchOptions};
///
/// bucket.put("color", b"red")?;
/// let mut watch: Watch = bucket.watch(&["color"], WatchOptions::default())?;
/// assert_eq!(watch.initial()?.len(), 1);
/// bucket.put("color", b"blue")?;
/// let next = watch.next_timeout(Duration::from_secs(10))?;
/// assert!(matches!(next, Some(Event::Entry(entry)) if &entry.value[..] == b"blue"));
/// # Ok(())
/// # }
/// ```
pub struct Watch {
    stream: Arc<Stream>,
    filter: Filter,
    prefix_len: usize,
    options: WatchOptions,
    phase: Phase,
    next_seq: u64,
    upcoming: Upcoming,
    /// Matching messages after the position, as last counted.
    behind: u64,
    ready: VecDeque<Result<Event, StoreError>>,
}

impl Watch {
    pub(crate) fn new(stream: Arc<Stream>, filter: Filter, prefix_len: usize, options: WatchOptions) -> Self {
        let (phase, next_seq, behind) = stream.with_store(|store| begin(store, &filter, options));
        let (upcoming, ready) = (Upcoming::default(), VecDeque::new());
        Self { stream, filter, prefix_len, options, phase, next_seq, upcoming, behind, ready }
    }

    /// The next event, if there is one now.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::{Event, WatchOptions};
    ///
    /// bucket.put("color", b"red")?;
    /// let mut watch = bucket.watch(&[], WatchOptions::default())?;
    /// assert!(matches!(watch.try_next()?, Some(Event::Entry(_))));
    /// assert_eq!(watch.try_next()?, Some(Event::InitialDone));
    /// assert_eq!(watch.try_next()?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A damaged message, which is passed over; [`Error::BucketNotFound`] once the stream is closed.
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event?));
            }
            if self.stream.is_closed() {
                return Err(Error::BucketNotFound);
            }
            let stream = self.stream.clone();
            if !stream.with_store(|store| self.fill(store)) {
                return Ok(self.ready.pop_front().transpose()?);
            }
        }
    }

    /// As [`Watch::try_next`], for a task: where there is no event, the task is woken after the next change.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::{Event, WatchOptions};
    ///
    /// bucket.put("color", b"red")?;
    /// let mut watch = bucket.watch(&[], WatchOptions::default())?;
    /// let next = std::pin::pin!(std::future::poll_fn(|cx| watch.poll_next(cx)));
    /// let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    /// assert!(Future::poll(next, &mut cx).is_ready());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Watch::try_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        match self.try_next() {
            Ok(None) => {}
            other => return Poll::Ready(other.map(|event| event.unwrap_or(Event::InitialDone))),
        }
        // Registered before the second look, so that no change falls in between.
        self.stream.wake_on_change(cx.waker());
        match self.try_next() {
            Ok(None) => Poll::Pending,
            other => Poll::Ready(other.map(|event| event.unwrap_or(Event::InitialDone))),
        }
    }

    /// Waits for the next event; needs no particular runtime.
    ///
    /// # Errors
    /// As for [`Watch::try_next`].
    pub async fn next(&mut self) -> Result<Event, Error> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Blocks the thread until there is an event, or for `timeout`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::{Event, WatchOptions};
    ///
    /// bucket.put("color", b"red")?;
    /// let mut watch = bucket.watch(&[], WatchOptions::default())?;
    /// while let Some(event) = watch.next_timeout(Duration::from_millis(1))? {
    ///     println!("{event:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Watch::try_next`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(event) = self.poll_next(&mut cx) {
                return event.map(Some);
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return Ok(None),
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    /// All entries up to [`Event::InitialDone`]; none for a watch of updates only.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::WatchOptions;
    ///
    /// bucket.put("color", b"red")?;
    /// let mut watch = bucket.watch(&[], WatchOptions::default())?;
    /// assert_eq!(watch.initial()?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Watch::try_next`].
    pub fn initial(&mut self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        if self.options.updates_only {
            return Ok(entries);
        }
        while let Some(Event::Entry(entry)) = self.try_next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Looks at the next messages. Says whether there may be more.
    fn fill(&mut self, store: &mut dyn Store) -> bool {
        for _ in 0..BATCH {
            match self.advance(store) {
                Ok(Step::Show(event)) => self.ready.push_back(Ok(event)),
                Ok(Step::Pass) => {}
                Ok(Step::Wait) => return false,
                // Others have their turn.
                Ok(Step::Looked) => return true,
                Err(error) => {
                    self.ready.push_back(Err(error));
                    return true;
                }
            }
        }
        true
    }

    /// Looks at the next message.
    fn advance(&mut self, store: &mut dyn Store) -> Result<Step, StoreError> {
        let (filter, upcoming) = (&self.filter, &mut self.upcoming);
        let ahead = match &mut self.phase {
            Phase::Listed(seqs) => {
                let seq = seqs.pop();
                self.behind = seqs.len() as u64;
                seq.map_or(Ahead::Nothing, Ahead::Found)
            }
            Phase::Through(last) => next_seq(store, filter, upcoming, &mut self.next_seq, *last)?,
            Phase::Live => next_seq(store, filter, upcoming, &mut self.next_seq, u64::MAX)?,
        };
        let seq = match ahead {
            Ahead::Found(seq) => seq,
            Ahead::More => return Ok(Step::Looked),
            Ahead::Nothing if matches!(self.phase, Phase::Live) => return Ok(Step::Wait),
            Ahead::Nothing => {
                self.phase = Phase::Live;
                return Ok(Step::Show(Event::InitialDone));
            }
        };
        if !matches!(self.phase, Phase::Listed(_)) {
            self.behind = match self.behind.checked_sub(1) {
                Some(behind) => behind,
                None => store.pending(&self.filter, seq.saturating_add(1), false)?.count,
            };
        }
        let Some(msg) = store.load(seq)? else { return Ok(Step::Pass) };
        let entry = Entry::of(&msg, self.prefix_len, self.behind, !self.options.meta_only);
        let shown = entry.is_value() || !self.options.ignore_deletes;
        Ok(if shown { Step::Show(Event::Entry(entry)) } else { Step::Pass })
    }
}

/// What came of looking at the next message.
enum Step {
    Show(Event),
    /// It is gone, or left out.
    Pass,
    /// There is none yet.
    Wait,
    /// It was not found yet.
    Looked,
}

/// Where a watch begins: its first phase, its position, and how much it has to show.
fn begin(store: &mut dyn Store, filter: &Filter, options: WatchOptions) -> (Phase, u64, u64) {
    let state = store.state();
    let after_last = state.last_seq.saturating_add(1);
    if options.updates_only {
        return (Phase::Live, after_last, 0);
    }
    let from = if options.include_history { Some(0) } else { None };
    if let Some(from) = options.resume_from_revision.or(from) {
        // Where nothing can be counted, the first message is counted for itself.
        let behind = store.pending(filter, from, false).map_or(0, |pending| pending.count);
        return (Phase::Through(state.last_seq), from, behind);
    }
    let mut seqs = Vec::new();
    store.index().for_each(filter, |_, entry| {
        seqs.push(entry.last_seq);
        ControlFlow::Continue(())
    });
    seqs.sort_unstable_by(|a, b| b.cmp(a));
    (Phase::Listed(seqs), after_last, 0)
}

/// The next sequence that matches, no higher than `last`; the position moves behind it, and behind one that is
/// damaged.
fn next_seq(
    store: &mut dyn Store,
    filter: &Filter,
    upcoming: &mut Upcoming,
    position: &mut u64,
    last: u64,
) -> Result<Ahead<u64>, StoreError> {
    match store.next_upcoming(filter, *position, upcoming) {
        Ok(Ahead::Found(msg)) if msg.seq <= last => {
            *position = msg.seq.saturating_add(1);
            Ok(Ahead::Found(msg.seq))
        }
        Ok(Ahead::More) => Ok(Ahead::More),
        Ok(_) => Ok(Ahead::Nothing),
        Err(error) => {
            if let StoreError::Damaged { seq, .. } = &error {
                *position = seq.saturating_add(1);
            }
            Err(error)
        }
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
