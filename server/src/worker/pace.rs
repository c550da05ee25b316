//! How soon the clients of a thread usually send the next request, and for how long it pays to look for that.
//!
//! Whoever looks spends the time until the request comes; whoever sleeps spends what it costs to be woken, whenever that
//! is. So a look pays for as long as the time that is left is expected to be shorter than a sleep costs, and what is
//! expected is what was seen: how many of the last looks ended after how long, and how many in vain.

use std::cell::Cell;
use std::time::Duration;

/// What is seen is counted in steps of so much time.
const STEP: Duration = Duration::from_micros(5);
/// The longest look: a client that is woken on another core usually answers within half of it.
const STEPS: usize = 10;
/// What a sleep costs, in steps: the way into the kernel and back, the idle core, and on a virtual machine the interrupt
/// by way of the hypervisor.
const SLEEP_STEPS: u32 = 3;
/// Looks that are remembered, at most: with more, the older ones count half.
const SEEN_MAX: u32 = 32;
/// Looks after which it is known what to expect.
const SEEN_MIN: u32 = 4;
/// While looking pays, one of so many looks is as long as can be: it finds out whether a longer one would pay more.
const FULL_EVERY: u32 = 16;
/// While it does not pay, at most so many turns pass until one look finds out whether that has changed.
const REST_MAX: u32 = 127;

/// What one thread has seen of its clients.
pub(super) struct Pace {
    seen: Cell<Seen>,
    /// Steps after which looking is known to be given up.
    pays: Cell<usize>,
    /// Turns until the next look that finds out.
    until_full: Cell<u32>,
    /// Turns that pass without a look when the next one is in vain, or later than pays.
    rest: Cell<u32>,
}

/// How the last looks ended.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// In each step of time.
    came: [u32; STEPS],
    /// In vain.
    later: u32,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            seen: Cell::new(Seen { came: [0; STEPS], later: 0 }),
            pays: Cell::new(STEPS),
            until_full: Cell::new(0),
            rest: Cell::new(0),
        }
    }

    /// A turn ends: how long to look for the next request. Zero is not at all.
    #[inline]
    pub(super) fn next_look(&self) -> Duration {
        let left = self.until_full.get();
        if left == 0 {
            self.until_full.set(FULL_EVERY);
            return time(STEPS);
        }
        self.until_full.set(left - 1);
        time(self.pays.get())
    }

    /// A request came after a look of so long.
    pub(super) fn came_after(&self, looked: Duration) {
        let step = usize::try_from(looked.as_nanos() / STEP.as_nanos()).unwrap_or(STEPS);
        let mut seen = self.seen.get();
        match seen.came.get_mut(step) {
            Some(count) => *count += 1,
            None => seen.later += 1,
        }
        self.learn(seen, step < SLEEP_STEPS as usize);
    }

    /// None came.
    pub(super) fn in_vain(&self) {
        let mut seen = self.seen.get();
        seen.later += 1;
        self.learn(seen, false);
    }

    fn learn(&self, mut seen: Seen, is_soon: bool) {
        if seen.total() > SEEN_MAX {
            seen.fade();
        }
        self.seen.set(seen);
        if seen.total() < SEEN_MIN {
            self.until_full.set(0);
            return;
        }
        let paid = self.pays.replace(seen.pays());
        if self.pays.get() > 0 {
            self.rest.set(0);
        } else if is_soon {
            // It is about to change.
            self.rest.set(0);
            self.until_full.set(0);
        } else {
            let rest = if paid > 0 { 1 } else { self.rest.get() };
            self.until_full.set(rest);
            self.rest.set((rest * 2 + 1).min(REST_MAX));
        }
    }
}

impl Seen {
    fn total(&self) -> u32 {
        self.came.iter().sum::<u32>() + self.later
    }

    fn fade(&mut self) {
        self.came.iter_mut().for_each(|count| *count /= 2);
        self.later /= 2;
    }

    /// Steps of a look that would have cost least, had all looks been so long; each request that came in a step is taken
    /// to have come in the middle of it.
    fn pays(&self) -> usize {
        let mut left = self.total();
        let (mut best, mut least) = (0, left * 2 * SLEEP_STEPS);
        let mut spent = 0;
        for (steps, count) in (1..).zip(self.came) {
            let looked = steps * 2;
            spent += count * (looked - 1);
            left -= count;
            let cost = spent + left * (looked + 2 * SLEEP_STEPS);
            if cost < least {
                (best, least) = (steps as usize, cost);
            }
        }
        best
    }
}

fn time(steps: usize) -> Duration {
    STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// What the thread looks for, in so many turns whose next request comes after `gap`.
    fn turns(pace: &Pace, count: usize, gap: Duration) -> Vec<Duration> {
        let turn = |_| {
            let look = pace.next_look();
            if look > gap {
                pace.came_after(gap);
            } else if !look.is_zero() {
                pace.in_vain();
            }
            look
        };
        (0..count).map(turn).collect()
    }

    #[test]
    fn it_lasts_as_long_as_clients_take_that_answer_quickly() {
        for (gap, pays) in [(us(0), us(5)), (us(7), us(10)), (us(11), us(15))] {
            let pace = Pace::new();
            turns(&pace, 100, gap);
            let looks = turns(&pace, 170, gap);
            assert_eq!(looks.iter().filter(|look| **look == pays).count(), 160, "{gap:?}");
            assert_eq!(looks.iter().filter(|look| **look == us(50)).count(), 10, "{gap:?}");
        }
    }

    #[test]
    fn it_ends_where_a_sleep_costs_less_but_for_looks_that_find_out() {
        for gap in [us(20), us(35), us(49), us(1000)] {
            let pace = Pace::new();
            turns(&pace, 1000, gap);
            let looks = turns(&pace, 1280, gap);
            assert_eq!(looks.iter().filter(|look| **look == us(50)).count(), 10, "{gap:?}");
            assert_eq!(looks.iter().filter(|look| look.is_zero()).count(), 1270, "{gap:?}");
        }
    }

    #[test]
    fn it_begins_again_with_clients_that_answer_quickly_again() {
        let pace = Pace::new();
        turns(&pace, 1000, us(200));
        let looks = turns(&pace, 200, us(3));
        let since = looks.iter().position(|look| !look.is_zero()).unwrap_or(usize::MAX);
        assert!(since <= REST_MAX as usize, "it was found out after {since} turns");
        assert!(looks.iter().skip(since).all(|look| !look.is_zero()), "{looks:?}");
    }

    #[test]
    fn clients_some_of_which_answer_quickly_are_looked_for_as_long_as_those_take() {
        let pace = Pace::new();
        for _ in 0..200 {
            turns(&pace, 3, us(6));
            turns(&pace, 1, us(400));
        }
        let looks = turns(&pace, 16, us(6));
        assert!(looks.iter().all(|look| [us(10), us(50)].contains(look)), "{looks:?}");
    }

    #[test]
    fn the_look_that_pays_is_the_one_that_would_have_cost_least() {
        let cost = |seen: &Seen, limit: usize| {
            let came = seen.came.iter().enumerate();
            let each = came.map(|(step, count)| match step < limit {
                true => count * (step as u32 * 2 + 1),
                false => count * 2 * (limit as u32 + SLEEP_STEPS),
            });
            each.sum::<u32>() + seen.later * 2 * (limit as u32 + SLEEP_STEPS)
        };
        for number in 0..500_u32 {
            let mut seen = Seen { came: [0; STEPS], later: number * 7 % 11 };
            for (step, count) in (1..).zip(&mut seen.came) {
                *count = number.wrapping_mul(2_654_435_761).rotate_left(step * 3) % 9;
            }
            let least = (0..=STEPS).map(|limit| cost(&seen, limit)).min();
            assert_eq!(Some(cost(&seen, seen.pays())), least, "{seen:?}");
        }
    }
}
