//! The threads that tasks move between, as others give them something to do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Poll, Registry, Waker};
use parking_lot::Mutex;

use super::loads::{Loads, Policy};
use super::readiness::Sources;
use super::task::{Task, Tasks};
use super::{HERE, WOKEN};

/// Threads that tasks move between. There is always one.
pub(super) struct Group {
    first: Core,
    others: Vec<Core>,
    pub loads: Loads,
}

/// What a thread shares with those that give it something to do.
pub(super) struct Core {
    pub registry: Registry,
    waker: Waker,
    pub sources: Mutex<Sources>,
    /// Those that have not ended.
    pub tasks: Mutex<Tasks>,
    /// Woken by other threads.
    woken: Mutex<Vec<Arc<Task>>>,
    pub is_stopped: AtomicBool,
}

impl Group {
    /// Threads that have their events from these.
    pub(super) fn new(first: &Poll, others: &[Poll], policy: Policy) -> io::Result<Self> {
        let loads = Loads::new(1 + others.len(), policy);
        let others = others.iter().map(Core::new).collect::<io::Result<_>>()?;
        Ok(Self { first: Core::new(first)?, others, loads })
    }

    /// The thread with this number; the first one for a number that none has.
    #[inline]
    pub(super) fn core(&self, at: usize) -> &Core {
        let other = at.checked_sub(1).and_then(|at| self.others.get(at));
        other.unwrap_or(&self.first)
    }

    /// Has a task polled by the thread that it is with.
    #[inline]
    pub(super) fn queue(&self, task: Arc<Task>) {
        let home = task.home();
        let other = HERE.with(|here| {
            if here.at.get() != home || here.group.get() != self.address() {
                return Some(task);
            }
            here.ready.borrow_mut().push(task);
            None
        });
        if let Some(task) = other {
            self.core(home).queue_from_elsewhere(task);
        }
    }

    /// What its threads know it by.
    #[inline]
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Drops what is left to do for a thread that ends. Tasks that have gone to others are not of it.
    pub(super) fn close(&self, at: usize) {
        let core = self.core(at);
        core.is_stopped.store(true, Ordering::Release);
        let left = core.tasks.lock().close();
        left.iter().for_each(|task| task.abandon());
        let woken = std::mem::take(&mut *core.woken.lock());
        woken.into_iter().filter(|task| task.home() != at).for_each(|task| self.queue(task));
    }
}

impl Core {
    fn new(poll: &Poll) -> io::Result<Self> {
        Ok(Self {
            registry: poll.registry().try_clone()?,
            waker: Waker::new(poll.registry(), WOKEN)?,
            sources: Mutex::default(),
            tasks: Mutex::default(),
            woken: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        })
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

    /// Takes those that other threads woke, on the thread with the number `at`. One that has gone to another thread meanwhile is
    /// handed on.
    pub(super) fn take_woken(&self, group: &Group, at: usize) {
        let mut woken = self.woken.lock();
        if woken.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        HERE.with(|here| {
            let mut ready = here.ready.borrow_mut();
            for task in woken.drain(..) {
                if task.home() == at { ready.push(task) } else { gone.push(task) }
            }
        });
        drop(woken);
        gone.into_iter().for_each(|task| group.queue(task));
    }

    /// Has the loop end. What is given to it afterwards is dropped.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // It fails only where the system has no memory left for eight bytes.
        if let Err(error) = self.waker.wake() {
            tracing::error!("cannot wake a thread: {}", jetkv_go_compat::os_text(&error));
        }
    }
}
