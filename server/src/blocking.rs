//! Threads for work that blocks: syncs, the removal of large directories, the comparison of passwords, the server's own
//! end.
//!
//! Some of them are there from the start, and work is done by these alone where the system lets the process have no
//! more. Others come while there is more to do at once, and go again. No piece of work may wait for another one.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// Threads that are there from the start.
const LASTING: usize = 4;
/// Most threads at a time. They wait for the disk mostly.
const THREADS_MAX: usize = 128;
/// Time after which a thread without work goes, if it was not there from the start.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// A piece of work.
type Work = Box<dyn FnOnce() + Send>;
/// Starts a thread.
type Spawn = fn(String, Work) -> io::Result<JoinHandle<()>>;
/// Hears that a piece of work ended in a panic.
pub(crate) type OnPanic = Box<dyn Fn() + Send + Sync>;

/// The threads.
pub(crate) struct BlockingThreads {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// The last piece of work is done.
    idle: Condvar,
    spawn: Spawn,
    on_panic: OnPanic,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
    started: u64,
    stopped: bool,
    joins: Vec<JoinHandle<()>>,
}

impl State {
    /// Whether nobody has anything to do. A thread that has ended takes no part.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.idle == self.threads
    }
}

impl BlockingThreads {
    /// Starts those that last. `on_panic` is called when a piece of work ends in a panic.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn start(on_panic: OnPanic) -> io::Result<Self> {
        Self::start_with(on_panic, |name, work| std::thread::Builder::new().name(name).spawn(work))
    }

    fn start_with(on_panic: OnPanic, spawn: Spawn) -> io::Result<Self> {
        let inner =
            Inner { state: Mutex::default(), changed: Condvar::new(), idle: Condvar::new(), spawn, on_panic };
        let threads = Self { inner: Arc::new(inner) };
        for _ in 0..LASTING {
            let mut state = threads.inner.state.lock();
            threads.inner.add(&mut state, None)?;
        }
        Ok(threads)
    }

    /// Has a piece of work done, unless the threads were stopped.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        let inner = &self.inner;
        let mut state = inner.state.lock();
        if state.stopped {
            return;
        }
        state.waiting.push_back(Box::new(work));
        if state.waiting.len() > state.idle && state.threads < THREADS_MAX {
            // Where there can be no further thread, those that are there do it.
            let _ = inner.add(&mut state, Some(IDLE_MAX));
        }
        drop(state);
        inner.changed.notify_one();
    }

    /// Has a piece of work done and waits for its result; `None` if it ended in a panic, which is told to nobody else, or
    /// if the threads were stopped.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.run(move || {
            if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
                // Nobody waits any more, if so.
                let _ = sender.send(result);
            }
        });
        receiver.await.ok()
    }

    /// Waits until there is no work, but not for longer than that; tells whether there is none.
    pub(crate) fn wait_idle(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.inner.state.lock();
        while !state.is_idle() && !self.inner.idle.wait_until(&mut state, until).timed_out() {}
        state.is_idle()
    }

    /// Waits until all work is done and all threads have ended, but for the one that calls. What comes later is done by
    /// nobody.
    pub(crate) fn stop(&self) {
        let mut state = self.inner.state.lock();
        state.stopped = true;
        let joins = std::mem::take(&mut state.joins);
        drop(state);
        self.inner.changed.notify_all();
        for join in joins {
            if join.thread().id() != std::thread::current().id() {
                // A panic was told already.
                let _ = join.join();
            }
        }
    }
}

impl Inner {
    /// Adds a thread that goes when it was idle for so long, if that is given.
    fn add(self: &Arc<Self>, state: &mut State, idle_max: Option<Duration>) -> io::Result<()> {
        let name = format!("jetkv-block-{}", state.started);
        let inner = Arc::clone(self);
        let join = (self.spawn)(name, Box::new(move || inner.serve(idle_max)))?;
        state.started += 1;
        state.threads += 1;
        state.joins.retain(|join| !join.is_finished());
        state.joins.push(join);
        Ok(())
    }

    fn serve(&self, idle_max: Option<Duration>) {
        while let Some(work) = self.take(idle_max) {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                (self.on_panic)();
            }
        }
        self.state.lock().threads -= 1;
    }

    /// The next piece of work; `None` when the thread is to end.
    fn take(&self, idle_max: Option<Duration>) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            if state.stopped {
                return None;
            }
            state.idle += 1;
            if state.is_idle() {
                self.idle.notify_all();
            }
            let timed_out = match idle_max {
                Some(time) => self.changed.wait_for(&mut state, time).timed_out(),
                None => {
                    self.changed.wait(&mut state);
                    false
                }
            };
            state.idle -= 1;
            if timed_out && state.waiting.is_empty() {
                return None;
            }
        }
    }
}

impl Drop for BlockingThreads {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Threads of which only those that last can be started.
    fn threads_without_more(on_panic: OnPanic) -> BlockingThreads {
        BlockingThreads::start_with(on_panic, |name, work| {
            let number: usize = name.rsplit_once('-').unwrap().1.parse().unwrap();
            if number >= LASTING {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            std::thread::Builder::new().name(name).spawn(work)
        })
        .unwrap()
    }

    #[test]
    fn work_is_done_where_no_thread_can_be_started() {
        let threads = threads_without_more(Box::new(|| panic!("no work panics")));
        let (done, results) = mpsc::channel();
        let (begin, begins) = mpsc::channel::<()>();
        let begins = Arc::new(Mutex::new(begins));
        for number in 0..LASTING * 5 {
            let (done, begins) = (done.clone(), Arc::clone(&begins));
            threads.run(move || {
                begins.lock().recv().unwrap();
                done.send(number).unwrap();
            });
        }
        for _ in 0..LASTING * 5 {
            begin.send(()).unwrap();
        }
        let mut numbers: Vec<usize> = (0..LASTING * 5).map(|_| results.recv().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..LASTING * 5).collect::<Vec<_>>());
    }

    #[test]
    fn more_threads_come_while_there_is_more_to_do_at_once() {
        let threads = BlockingThreads::start(Box::new(|| {})).unwrap();
        let barrier = Arc::new(std::sync::Barrier::new(LASTING * 3));
        for _ in 0..LASTING * 3 {
            let barrier = Arc::clone(&barrier);
            threads.run(move || {
                barrier.wait();
            });
        }
        threads.stop();
    }

    #[test]
    fn a_panic_is_told_and_costs_no_thread() {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let threads = threads_without_more(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        for _ in 0..LASTING * 2 {
            threads.run(|| panic!("on purpose"));
        }
        let (done, result) = mpsc::channel();
        threads.run(move || done.send(()).unwrap());
        result.recv().unwrap();
        threads.stop();
        assert_eq!(told.load(Ordering::Relaxed), LASTING * 2);
    }

    #[test]
    fn the_end_of_all_work_can_be_waited_for() {
        let threads = BlockingThreads::start(Box::new(|| {})).unwrap();
        let (begin, begins) = mpsc::channel::<()>();
        threads.run(move || begins.recv().unwrap());
        assert!(!threads.wait_idle(Duration::from_millis(1)));
        begin.send(()).unwrap();
        assert!(threads.wait_idle(Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn who_waits_for_a_result_learns_of_a_panic() {
        let threads = threads_without_more(Box::new(|| panic!("it is told to the caller alone")));
        assert_eq!(threads.call(|| 1).await, Some(1));
        assert_eq!(threads.call(|| -> i32 { panic!("on purpose") }).await, None);
    }
}
