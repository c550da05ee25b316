//! Tasks that go on in another thread of their group.
//!
//! A task goes when it waits for its socket and nothing of it is left to do: the round in which it was polled is over, and so
//! is what the tasks of the round did together. So all that came before is done before anything that comes later.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{FREE, Judge, Permille, Seen, Verdict};
use super::clocks::{self, Spent, ThreadClock};
use super::group::Group;
use super::socket::Socket;
use super::task::Task;

/// What a thread has to have done until it looks at itself, in bytes that came; each read counts as so many more.
const LOOK_AFTER: usize = 512 * 1024;
const READ_BYTES: usize = 512;
/// Time between two looks, at least: the system counts what a thread spent up to its last tick or sleep only.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What a look brought holds for so long: a thread that has less to do since may not look again for long.
const HOLDS: Duration = Duration::from_secs(1);
/// How long threads that stood in each other's way do not spread again.
const TOGETHER: Duration = Duration::from_secs(5);
/// How long they are apart where other programs outnumbered one, until they see whether those still do. Coming together takes two
/// looks, for which there is one share less.
const APART: Duration = Duration::from_secs(10);

thread_local! {
    /// What came since this thread last looked at itself.
    static WORK: Cell<usize> = const { Cell::new(0) };
    /// Whether tasks that wait for their sockets are noted.
    static NOTES: Cell<bool> = const { Cell::new(false) };
    /// The task that is polled waits for this.
    static WAITING: Cell<Option<Waiting>> = const { Cell::new(None) };
}

/// What a task waits for that nothing is left to do of: its socket, if it has one.
type Waiting = Option<Arc<Socket>>;

/// The task that is polled waits for its peer, and nothing is left to do of it.
#[inline]
pub(crate) fn waits(socket: Option<&Arc<Socket>>) {
    if NOTES.get() {
        WAITING.set(Some(socket.cloned()));
    }
}

/// A read brought so many bytes.
#[inline]
pub(crate) fn came(bytes: usize) {
    WORK.set(WORK.get() + READ_BYTES + bytes);
}

/// What one thread knows of itself, and which of its tasks go.
pub(super) struct Mover<'g> {
    group: &'g Arc<Group>,
    at: usize,
    clock: Option<ThreadClock>,
    judge: Judge,
    last: Last,
    verdict: Verdict,
    /// Which look it was.
    number: u32,
    /// Whether the last task went that was asked.
    goes: bool,
    /// Whether the thread that some go to is known to have more to do.
    has_told: bool,
    /// What was seen to be worked at the last look.
    worked: Permille,
    /// Polled in this round, and waiting.
    waiting: Vec<(Arc<Task>, Waiting)>,
}

/// What was seen at the last look.
struct Last {
    at: Instant,
    spent: Spent,
    looked: Duration,
    idle: Option<Duration>,
}

impl<'g> Mover<'g> {
    /// Of the thread that calls this, which has that number in the group.
    pub(super) fn new(group: &'g Arc<Group>, at: usize, looked: Duration) -> Self {
        let clock = group.loads.are_measured().then(ThreadClock::open).flatten();
        let spent = clock.as_ref().and_then(ThreadClock::read).unwrap_or_default();
        let mut mover = Self {
            group,
            at,
            clock,
            judge: Judge::default(),
            last: Last { at: Instant::now(), spent, looked, idle: None },
            verdict: Verdict::Stay,
            number: 0,
            goes: true,
            has_told: false,
            worked: 0,
            waiting: Vec::new(),
        };
        mover.obey(Verdict::Stay);
        if let Some(to) = group.loads.restless(at) {
            mover.obey(Verdict::Gather(to));
        }
        mover
    }

    /// Polls the tasks of a round, each once.
    #[inline]
    pub(super) fn run(&mut self, round: &mut Vec<Arc<Task>>) {
        if self.verdict != Verdict::Stay {
            return self.run_noting(round);
        }
        for task in round.drain(..) {
            task.run();
        }
    }

    #[cold]
    fn run_noting(&mut self, round: &mut Vec<Arc<Task>>) {
        for task in round.drain(..) {
            Arc::clone(&task).run();
            if let Some(waiting) = WAITING.take() {
                self.waiting.push((task, waiting));
            }
        }
    }

    /// A round is over, and what its tasks did together: lets those go that are to. `looked` is how long this thread has looked
    /// for work so far.
    #[inline]
    pub(super) fn end_round(&mut self, looked: impl FnOnce() -> Duration) {
        if !self.waiting.is_empty() {
            self.part();
        }
        if WORK.get() >= LOOK_AFTER {
            WORK.set(0);
            self.look(looked());
        }
    }

    #[cold]
    fn part(&mut self) {
        if self.clock.is_some() && self.last.at.elapsed() > HOLDS {
            self.obey(Verdict::Stay);
        }
        let (to, is_half) = match self.verdict {
            Verdict::Stay => return self.waiting.clear(),
            Verdict::Spread(to) => (to, true),
            Verdict::Gather(to) => (to, false),
        };
        for (task, socket) in self.waiting.drain(..) {
            if is_half {
                // The first stays: what comes by most often is what the others are to get away from.
                if !task.is_first_seen(self.number) {
                    continue;
                }
                self.goes = !self.goes;
                if !self.goes {
                    continue;
                }
            }
            if task.move_to(to, socket.as_deref()) && is_half && !std::mem::replace(&mut self.has_told, true)
            {
                // Others that look for room do not take the same one.
                self.group.loads.add(to, self.worked / 2, Instant::now());
            }
        }
    }

    /// Looks at what this thread and the machine do, if it is time for that.
    #[cold]
    fn look(&mut self, looked: Duration) {
        let (now, last) = (Instant::now(), &self.last);
        let elapsed = now.saturating_duration_since(last.at);
        let Some(clock) = self.clock.as_ref().filter(|_| elapsed >= LOOK_EVERY) else { return };
        let Some(spent) = clock.read() else { return self.obey(Verdict::Stay) };
        let share = |time: Duration| permille(time, elapsed);
        let ran = spent.ran.saturating_sub(last.spent.ran);
        let mut seen = Seen {
            worked: share(ran.saturating_sub(looked.saturating_sub(last.looked))),
            delayed: share(spent.delayed.saturating_sub(last.spent.delayed)),
            idle: None,
        };
        let mut idle = None;
        if seen.asks_for_idle() {
            idle = clocks::idle();
            let since = idle.zip(last.idle).map(|(idle, before)| share(idle.saturating_sub(before)));
            // Where the system does not tell, a thread that gets its core whenever it wants it takes that for a sign.
            seen.idle = if idle.is_none() { Some(FREE) } else { since };
        }
        self.last = Last { at: now, spent, looked, idle };
        self.worked = seen.worked;
        let loads = &self.group.loads;
        loads.tell(self.at, seen.worked, now);
        let verdict = self.judge.decide(self.at, &seen, &loads.all(now), loads.permitted(now));
        match verdict {
            Verdict::Gather(_) if seen.is_crowded() => loads.spread_not_before(now + TOGETHER),
            Verdict::Spread(_) if seen.is_crowded() => loads.gather_not_before(now + APART),
            _ => {}
        }
        self.obey(verdict);
    }

    /// Does so until the next look.
    fn obey(&mut self, verdict: Verdict) {
        self.verdict = verdict;
        self.number = self.number.wrapping_add(1);
        self.goes = true;
        self.has_told = false;
        NOTES.set(verdict != Verdict::Stay);
    }
}

fn permille(time: Duration, of: Duration) -> Permille {
    let share = time.as_nanos().saturating_mul(1000) / of.as_nanos().max(1);
    u32::try_from(share).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, Reactor, run_ready};
    use super::*;
    use std::future::poll_fn;
    use std::task::{Poll, Wake};

    /// A group of two threads, with so many tasks of the first that wait.
    fn group(tasks: usize) -> Arc<Group> {
        let (first, _reactors) = Reactor::group(2, Policy::Measured).unwrap();
        for _ in 0..tasks {
            first.spawn(poll_fn(|_| {
                waits(None);
                Poll::Pending
            }));
        }
        first.group
    }

    /// Lets the first thread have a round, in which the tasks with these numbers are polled.
    fn round(mover: &mut Mover<'_>, tasks: &[Arc<Task>]) {
        tasks.iter().for_each(Wake::wake_by_ref);
        mover.group.core(0).take_woken(mover.group, 0);
        run_ready(mover);
        mover.end_round(|| Duration::ZERO);
    }

    /// The first thread, after the round in which its tasks began. It looks at nothing by itself.
    fn first(group: &Arc<Group>) -> Mover<'_> {
        let mut mover = Mover { clock: None, ..Mover::new(group, 0, Duration::ZERO) };
        round(&mut mover, &[]);
        mover
    }

    fn homes(tasks: &[Arc<Task>]) -> Vec<usize> {
        tasks.iter().map(|task| task.home()).collect()
    }

    #[test]
    fn every_second_task_goes_once_and_the_first_stays() {
        let group = group(5);
        let tasks = group.core(0).tasks.lock().all();
        let mut mover = first(&group);
        round(&mut mover, &tasks);
        assert_eq!(homes(&tasks), [0, 0, 0, 0, 0], "none is to go");
        mover.obey(Verdict::Spread(1));
        for _ in 0..10 {
            round(&mut mover, &tasks[..1]);
        }
        assert_eq!(homes(&tasks), [0, 0, 0, 0, 0], "a connection that is alone stays");
        round(&mut mover, &tasks);
        assert_eq!(homes(&tasks), [0, 1, 0, 1, 0]);
        let here = [0, 2, 4].map(|at| Arc::clone(&tasks[at]));
        round(&mut mover, &here);
        assert_eq!(homes(&here), [0, 0, 0], "they were asked");
        mover.obey(Verdict::Spread(1));
        round(&mut mover, &here);
        assert_eq!(homes(&here), [0, 1, 0]);
        mover.obey(Verdict::Stay);
    }

    #[test]
    fn all_go_that_are_gathered_and_others_are_told_of_room_that_is_taken() {
        let group = group(3);
        let tasks = group.core(0).tasks.lock().all();
        let (now, mut mover) = (Instant::now(), first(&group));
        mover.worked = 900;
        mover.obey(Verdict::Spread(1));
        round(&mut mover, &tasks[..1]);
        assert_eq!(group.loads.all(now), [0, 0], "none went");
        round(&mut mover, &tasks[1..2]);
        assert_eq!(group.loads.all(now), [0, 450]);
        mover.obey(Verdict::Gather(1));
        round(&mut mover, &[Arc::clone(&tasks[0]), Arc::clone(&tasks[2])]);
        assert_eq!(homes(&tasks), [1, 1, 1]);
        mover.obey(Verdict::Stay);
    }

    #[test]
    fn a_thread_looks_at_itself_after_work_and_not_more_often_than_pays() {
        let group = group(0);
        let mut mover = Mover::new(&group, 0, Duration::ZERO);
        let begun = mover.last.at;
        WORK.set(0);
        for _ in 0..LOOK_AFTER / READ_BYTES - 1 {
            came(0);
            mover.end_round(|| unreachable!("it has done little"));
        }
        came(0);
        let mut looks = 0;
        mover.end_round(|| {
            looks += 1;
            Duration::ZERO
        });
        assert_eq!(looks, 1);
        came(LOOK_AFTER);
        mover.end_round(|| {
            looks += 1;
            Duration::ZERO
        });
        assert_eq!(looks, 2);
        assert!(mover.last.at == begun || begun.elapsed() >= LOOK_EVERY);
    }
}
