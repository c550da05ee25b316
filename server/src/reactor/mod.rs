//! What runs the tasks of one thread's connections, and tells them when their sockets are ready.
//!
//! A synchronous client has its thread sleep and wake for each request, so the way from the event to the task and back to
//! sleep is a good part of what a request costs. Here it is as short as it can be: an event finds its socket by a number, the
//! socket its task, and the task is polled. There are no timers, and no task moves to another thread. Futures are those of
//! the standard library: whatever else they wait for (timers, channels) wakes them from its own thread.

mod readiness;
mod socket;
mod task;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Registry, Token, Waker};
use parking_lot::Mutex;

use readiness::Sources;
use task::{Task, Tasks};

pub(crate) use socket::Socket;

/// Events that one look at the kernel brings, at most.
const EVENTS_MAX: usize = 1024;
/// What tells of a wake by another thread.
const WOKEN: Token = Token(usize::MAX);

/// The loop of one thread.
pub(crate) struct Reactor {
    poll: Poll,
    core: Arc<Core>,
}

/// A thread that tasks can be given to.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Core>);

/// What the thread shares with those that give it something to do.
struct Core {
    registry: Registry,
    waker: Waker,
    sources: Mutex<Sources>,
    /// Those that have not ended.
    tasks: Mutex<Tasks>,
    /// Woken by other threads.
    woken: Mutex<Vec<Arc<Task>>>,
    is_stopped: AtomicBool,
}

thread_local! {
    static HERE: Here = const { Here { core: Cell::new(0), ready: RefCell::new(Vec::new()) } };
}

/// What a thread that runs a reactor has to do.
struct Here {
    /// Address of the reactor's core, 0 for none.
    core: Cell<usize>,
    /// Tasks that wait to be polled.
    ready: RefCell<Vec<Arc<Task>>>,
}

impl Reactor {
    /// A loop that has nothing to do yet.
    ///
    /// # Errors
    /// The system's: there are no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let core = Core {
            registry: poll.registry().try_clone()?,
            waker: Waker::new(poll.registry(), WOKEN)?,
            sources: Mutex::default(),
            tasks: Mutex::default(),
            woken: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        };
        Ok(Self { poll, core: Arc::new(core) })
    }

    /// What gives it tasks.
    pub(crate) fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.core))
    }

    /// Runs on this thread until it is [stopped](Handle::stop); then every task that has not ended is dropped. `rest` is called
    /// whenever all tasks that were ready were polled. It is told whether some are ready again, and says whether to look for
    /// events once more before sleeping.
    ///
    /// # Errors
    /// The system's: no events can be had any more.
    pub(crate) fn run(mut self, mut rest: impl FnMut(bool) -> bool) -> io::Result<()> {
        let _here = Entered::new(&self.core);
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.core.is_stopped.load(Ordering::Acquire) {
            self.core.take_woken();
            let goes_on = rest(run_ready()) || has_ready();
            let timeout = goes_on.then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if !events.is_empty() {
                self.core.sources.lock().note(&events);
            }
        }
        Ok(())
    }
}

/// Polls the tasks that are ready, each once; says whether some are ready again.
fn run_ready() -> bool {
    HERE.with(|here| {
        let mut round = here.ready.take();
        for task in round.drain(..) {
            task.run();
        }
        let mut ready = here.ready.borrow_mut();
        if !ready.is_empty() {
            round.append(&mut ready);
        }
        // At least its memory is of use.
        *ready = round;
        !ready.is_empty()
    })
}

fn has_ready() -> bool {
    HERE.with(|here| !here.ready.borrow().is_empty())
}

impl Handle {
    /// Has the thread run a task. One that ends in a panic ends alone.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        Task::spawn(&self.0, Box::pin(future));
    }

    /// Has the loop end. What is given to it afterwards is dropped.
    pub(crate) fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::Release);
        self.0.wake();
    }
}

impl Core {
    /// Has a task polled.
    #[inline]
    fn queue(core: &Arc<Self>, task: Arc<Task>) {
        let other = HERE.with(|here| {
            if here.core.get() != Arc::as_ptr(core).addr() {
                return Some(task);
            }
            here.ready.borrow_mut().push(task);
            None
        });
        if let Some(task) = other {
            core.queue_from_elsewhere(task);
        }
    }

    #[cold]
    fn queue_from_elsewhere(&self, task: Arc<Task>) {
        let mut woken = self.woken.lock();
        woken.push(task);
        // Whoever pushed the first has woken the thread, which takes all.
        let is_first = woken.len() == 1;
        drop(woken);
        if is_first {
            self.wake();
        }
    }

    fn take_woken(&self) {
        let mut woken = self.woken.lock();
        if !woken.is_empty() {
            HERE.with(|here| here.ready.borrow_mut().extend(woken.drain(..)));
        }
    }

    fn wake(&self) {
        // It fails only where the system has no memory left for eight bytes.
        if let Err(error) = self.waker.wake() {
            tracing::error!("cannot wake a thread: {}", jetkv_go_compat::os_text(&error));
        }
    }
}

/// A thread that runs a reactor.
struct Entered(Arc<Core>);

impl Entered {
    fn new(core: &Arc<Core>) -> Self {
        HERE.with(|here| here.core.set(Arc::as_ptr(core).addr()));
        Self(Arc::clone(core))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Release);
        let left = self.0.tasks.lock().close();
        left.iter().for_each(|task| task.abandon());
        self.0.woken.lock().clear();
        HERE.with(|here| {
            here.core.set(0);
            let ready = std::mem::take(&mut *here.ready.borrow_mut());
            drop(ready);
        });
    }
}

#[cfg(test)]
mod tests;
