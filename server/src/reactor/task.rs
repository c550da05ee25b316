//! The tasks of a thread.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use super::Core;

/// What a task does.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task.
pub(super) struct Task {
    core: Arc<Core>,
    /// Its place among those that have not ended.
    place: usize,
    /// None once it has ended. Locked by its thread alone, while it is polled.
    work: Mutex<Option<Work>>,
    /// It waits to be polled.
    is_queued: AtomicBool,
}

/// Tasks that have not ended.
#[derive(Default)]
pub(super) struct Tasks {
    list: Vec<Option<Arc<Task>>>,
    free: Vec<usize>,
    is_closed: bool,
}

impl Tasks {
    /// All of them; none is added any more.
    pub(super) fn close(&mut self) -> Vec<Arc<Task>> {
        self.is_closed = true;
        self.free.clear();
        std::mem::take(&mut self.list).into_iter().flatten().collect()
    }

    fn remove(&mut self, place: usize) {
        if let Some(slot) = self.list.get_mut(place)
            && slot.take().is_some()
        {
            self.free.push(place);
        }
    }
}

impl Task {
    pub(super) fn spawn(core: &Arc<Core>, work: Work) {
        let mut tasks = core.tasks.lock();
        if tasks.is_closed {
            // Its end may have to do with other tasks.
            drop(tasks);
            return drop(work);
        }
        let place = tasks.free.pop().unwrap_or(tasks.list.len());
        let task = Arc::new(Self {
            core: Arc::clone(core),
            place,
            work: Mutex::new(Some(work)),
            is_queued: AtomicBool::new(false),
        });
        match tasks.list.get_mut(place) {
            Some(slot) => *slot = Some(Arc::clone(&task)),
            None => tasks.list.push(Some(Arc::clone(&task))),
        }
        drop(tasks);
        task.wake();
    }

    /// Polls it.
    pub(super) fn run(self: Arc<Self>) {
        // What wakes it from here on has it polled again.
        self.is_queued.swap(false, Ordering::AcqRel);
        let waker = Waker::from(Arc::clone(&self));
        let mut slot = self.work.lock();
        let Some(work) = slot.as_mut() else { return };
        let poll = AssertUnwindSafe(|| work.as_mut().poll(&mut Context::from_waker(&waker)));
        if let Ok(Poll::Pending) = catch_unwind(poll) {
            return;
        }
        drop(slot);
        self.core.tasks.lock().remove(self.place);
        self.abandon();
    }

    /// Drops what is left of it.
    pub(super) fn abandon(&self) {
        let work = self.work.lock().take();
        // One that ends in a panic again does not take the others with it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            let core = Arc::clone(&self.core);
            Core::queue(&core, self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            Core::queue(&self.core, Arc::clone(self));
        }
    }
}
