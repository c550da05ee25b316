//! The tasks of a thread.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use super::group::Group;
use super::socket::Socket;

/// What a task does.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task.
pub(super) struct Task {
    group: Arc<Group>,
    /// The number of the thread that polls it. That thread alone changes it.
    home: AtomicUsize,
    /// Its place among those of the thread that have not ended.
    place: AtomicUsize,
    /// None once it has ended. Locked by its thread alone, while it is polled.
    work: Mutex<Option<Work>>,
    /// It waits to be polled.
    is_queued: AtomicBool,
    /// When a thread last asked whether it is the first time.
    seen: AtomicU32,
}

/// Tasks that have not ended.
#[derive(Default)]
pub(super) struct Tasks {
    list: Vec<Option<Arc<Task>>>,
    free: Vec<usize>,
    is_closed: bool,
}

impl Tasks {
    /// All of them.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<Arc<Task>> {
        self.list.iter().flatten().cloned().collect()
    }

    /// All of them; none is added any more.
    pub(super) fn close(&mut self) -> Vec<Arc<Task>> {
        self.is_closed = true;
        self.free.clear();
        std::mem::take(&mut self.list).into_iter().flatten().collect()
    }

    /// Adds the one that `task` makes for a place, and gives that; nothing where none is added any more.
    fn add(&mut self, task: impl FnOnce(usize) -> Arc<Task>) -> Option<usize> {
        if self.is_closed {
            return None;
        }
        let place = self.free.pop().unwrap_or(self.list.len());
        let task = Some(task(place));
        match self.list.get_mut(place) {
            Some(slot) => *slot = task,
            None => self.list.push(task),
        }
        Some(place)
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
    pub(super) fn spawn(group: &Arc<Group>, home: usize, work: Work) {
        let task = Arc::new(Self {
            group: Arc::clone(group),
            home: AtomicUsize::new(home),
            place: AtomicUsize::new(0),
            work: Mutex::new(Some(work)),
            is_queued: AtomicBool::new(false),
            seen: AtomicU32::new(0),
        });
        let add = |place| {
            task.place.store(place, Ordering::Release);
            Arc::clone(&task)
        };
        let added = group.core(home).tasks.lock().add(add);
        // One that comes too late is dropped without a lock: its end may have to do with other tasks.
        if added.is_some() {
            task.wake();
        }
    }

    /// The number of its thread.
    #[inline]
    pub(super) fn home(&self) -> usize {
        self.home.load(Ordering::Acquire)
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
        let place = self.place.load(Ordering::Acquire);
        self.group.core(self.home()).tasks.lock().remove(place);
        self.abandon();
    }

    /// Drops what is left of it.
    pub(super) fn abandon(&self) {
        let work = self.work.lock().take();
        // One that ends in a panic again does not take the others with it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
    }

    /// Whether this is not the number that was asked with before.
    pub(super) fn is_first_seen(&self, number: u32) -> bool {
        self.seen.swap(number, Ordering::Relaxed) != number
    }

    /// Has another thread go on with it and its socket, unless it has ended or waits to be polled; says whether. To be called
    /// by its thread, between two rounds.
    ///
    /// Whoever wakes it meanwhile may still take this thread for its own, which then hands it on.
    pub(super) fn move_to(self: &Arc<Self>, to: usize, socket: Option<&Socket>) -> bool {
        let from = self.home();
        if from == to || self.is_queued.load(Ordering::Acquire) || self.work.lock().is_none() {
            return false;
        }
        let (old, new) = (self.group.core(from), self.group.core(to));
        let Some(place) = new.tasks.lock().add(|_| Arc::clone(self)) else { return false };
        if let Some(socket) = socket
            && let Err(error) = socket.move_to(to)
        {
            tracing::debug!("a connection stays on its thread: {}", jetkv_go_compat::os_text(&error));
            new.tasks.lock().remove(place);
            return false;
        }
        let place = self.place.swap(place, Ordering::AcqRel);
        self.home.store(to, Ordering::Release);
        old.tasks.lock().remove(place);
        true
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            let group = Arc::clone(&self.group);
            group.queue(self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.group.queue(Arc::clone(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Plain;
    use super::super::{Policy, Reactor};
    use super::*;

    #[test]
    fn a_wake_that_finds_a_thread_which_the_task_has_left_is_handed_on() {
        let (first, mut reactors) = Reactor::group(2, Policy::Measured).unwrap();
        let group = &first.group;
        let second = reactors.pop().unwrap();
        let ends = second.handle();
        Task::spawn(group, 0, Box::pin(async move { ends.stop() }));
        // It was woken, and the first thread has not taken it yet.
        let task = group.core(0).tasks.lock().all().pop().unwrap();
        task.home.store(1, Ordering::Release);
        group.core(0).take_woken(group, 0);
        second.run(&Plain).unwrap();
        assert!(task.work.lock().is_none(), "the second thread has not ended it");
    }

    #[test]
    fn a_task_goes_only_while_nobody_has_woken_it() {
        let (first, _reactors) = Reactor::group(2, Policy::Measured).unwrap();
        let group = &first.group;
        Task::spawn(group, 0, Box::pin(std::future::pending()));
        let task = group.core(0).tasks.lock().all().pop().unwrap();
        assert!(!task.move_to(1, None), "it was woken to begin");
        Arc::clone(&task).run();
        assert!(!task.move_to(0, None), "it is there");
        assert!(task.move_to(1, None));
        assert_eq!(task.home(), 1);
        let count = |at: usize| group.core(at).tasks.lock().all().len();
        assert_eq!([0, 1].map(count), [0, 1]);
        assert_eq!(group.core(0).tasks.lock().close().len(), 0);
        assert!(!task.move_to(0, None), "that thread has ended");
        assert_eq!([0, 1].map(count), [0, 1]);
        task.abandon();
        assert!(!task.move_to(0, None), "it has ended");
    }
}
