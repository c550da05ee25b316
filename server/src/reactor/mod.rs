//! What runs the tasks of one thread's connections, and tells them when their sockets are ready.
//!
//! A synchronous client has its thread sleep and wake for each request, so the way from the event to the task and back to
//! sleep is a good part of what a request costs. Here it is as short as it can be: an event finds its socket by a number, the
//! socket its task, and the task is polled. There are no timers. Futures are those of the standard library: whatever else
//! they wait for (timers, channels) wakes them from its own thread.
//!
//! Threads that belong together are a [`Group`]. Where one of them says so, a task that waits for its socket goes on in
//! another one of them (`moving.rs`), and its socket with it.

mod balance;
mod clocks;
mod group;
mod loads;
mod moving;
mod readiness;
mod socket;
mod task;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};

use group::Group;
use moving::Mover;
use task::Task;

pub(crate) use loads::Policy;
pub(crate) use moving::{came, waits};
pub(crate) use socket::Socket;

/// Events that one look at the kernel brings, at most.
const EVENTS_MAX: usize = 1024;
/// What tells of a wake by another thread.
const WOKEN: Token = Token(usize::MAX);

/// The loop of one thread.
pub(crate) struct Reactor {
    poll: Poll,
    handle: Handle,
}

/// A thread that tasks can be given to.
#[derive(Clone)]
pub(crate) struct Handle {
    group: Arc<Group>,
    at: usize,
}

thread_local! {
    static HERE: Here = const { Here { group: Cell::new(0), at: Cell::new(0), ready: RefCell::new(Vec::new()) } };
}

/// What a thread that runs a reactor has to do.
struct Here {
    /// Address of the group of the reactor, 0 for none, and the number of this thread in it.
    group: Cell<usize>,
    at: Cell<usize>,
    /// Tasks that wait to be polled.
    ready: RefCell<Vec<Arc<Task>>>,
}

impl Reactor {
    /// Loops that have nothing to do yet, one for each thread of a group, of which there is at least one, and what gives
    /// tasks to the first of them.
    ///
    /// # Errors
    /// The system's: there are no descriptors left.
    pub(crate) fn group(count: usize, policy: Policy) -> io::Result<(Handle, Vec<Self>)> {
        let first = Poll::new()?;
        let others = (1..count).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let group = Arc::new(Group::new(&first, &others, policy)?);
        let handle = Handle { group: Arc::clone(&group), at: 0 };
        let polls = std::iter::once(first).chain(others).enumerate();
        let loops = polls.map(|(at, poll)| Self { poll, handle: Handle { group: Arc::clone(&group), at } });
        Ok((handle, loops.collect()))
    }

    /// What gives it tasks.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs on this thread until it is [stopped](Handle::stop); then every task that has not ended is dropped.
    ///
    /// # Errors
    /// The system's: no events can be had any more.
    pub(crate) fn run(mut self, turns: &impl Turns) -> io::Result<()> {
        let Handle { group, at } = self.handle.clone();
        let core = group.core(at);
        let _here = Entered::new(&self.handle);
        let mut mover = Mover::new(&group, at, turns.looked());
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !core.is_stopped.load(Ordering::Acquire) {
            core.take_woken(&group, at);
            let is_busy = run_ready(&mut mover);
            let goes_on = turns.rest(is_busy) || has_ready();
            mover.end_round(|| turns.looked());
            let timeout = goes_on.then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if !events.is_empty() {
                core.sources.lock().note(&events);
            }
        }
        Ok(())
    }
}

/// What a thread does between rounds of its tasks.
pub(crate) trait Turns {
    /// All tasks that were ready were polled, and some are ready again where it is busy. Says whether to look for events once
    /// more before sleeping.
    fn rest(&self, is_busy: bool) -> bool;

    /// For how long it has looked for events instead of sleeping, since it began.
    fn looked(&self) -> Duration;
}

/// Polls the tasks that are ready, each once; says whether some are ready again.
fn run_ready(mover: &mut Mover<'_>) -> bool {
    HERE.with(|here| {
        let mut round = here.ready.take();
        mover.run(&mut round);
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
        Task::spawn(&self.group, self.at, Box::pin(future));
    }

    /// The thread of its group that a new task begins with.
    pub(crate) fn choose(&self) -> Self {
        Self { group: Arc::clone(&self.group), at: self.group.loads.place() }
    }

    /// Has the loop end. What is given to it afterwards is dropped.
    pub(crate) fn stop(&self) {
        self.group.core(self.at).stop();
    }
}

/// A thread that runs a reactor.
struct Entered(Handle);

impl Entered {
    fn new(handle: &Handle) -> Self {
        HERE.with(|here| {
            here.group.set(handle.group.address());
            here.at.set(handle.at);
        });
        Self(handle.clone())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Handle { group, at } = &self.0;
        group.close(*at);
        HERE.with(|here| {
            here.group.set(0);
            let ready = std::mem::take(&mut *here.ready.borrow_mut());
            drop(ready);
        });
    }
}

#[cfg(test)]
mod tests;
