//! Which thread a connection is with: one serves all of them as long as that is enough.
//!
//! Two threads that share what one could do cost more than that one: each wakes and sleeps for itself, what came together is
//! written apart, and their clients find a core less. So connections begin with the first thread. One that is busy all the time
//! lets half of its connections go, where the machine has a core that does nothing; and a thread with little to do gives what it
//! has to one before it.
//!
//! On a machine that has more to do than it has cores each thread gets its share, and two of them get two. So one that is alone
//! and stands in line for a core lets connections go, too. Whether that is because of others cannot be told once there are two,
//! which may stand in each other's way: after a while they come together to see.
//!
//! What is here only decides: it reads no clock, and moves nothing.

/// Loads and times are in thousandths of a core.
pub(super) type Permille = u32;

/// A thread that works or waits for a core for so much of the time has no time to spare.
const SATURATED: Permille = 850;
/// What one or several cores have to be idle for, together, so that another thread finds one.
pub(super) const FREE: Permille = 500;
/// A thread that stands in line for a core for so much of the time shares it with others.
const CROWDED: Permille = 150;
/// One that is alone and stands in line for so much of the time does so because of other programs.
const OUTNUMBERED: Permille = 250;
/// Two threads with less together are as well served by one.
const GATHERED: Permille = 500;
/// As much, where there is no core for both.
const SQUEEZED: Permille = 1300;
/// Idle time that is none: all cores have something to do.
const NONE_FREE: Permille = 100;
/// One that is to take connections from another has less to do than this.
const TAKES: Permille = 600;
/// A thread with less than this does not count as one that serves.
const SERVES: Permille = 50;
/// Looks in a row that find the same before something is done about it.
const LOOKS: u32 = 2;

/// What a thread saw of itself and the machine since it last looked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Time that it spent on work.
    pub worked: Permille,
    /// Time that it stood in line for a core.
    pub delayed: Permille,
    /// Time that all cores together had nothing to do, if that is known.
    pub idle: Option<Permille>,
}

/// What becomes of the connections of a thread that come by until it looks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stay,
    /// Every second one goes to that thread.
    Spread(usize),
    /// All go to that thread.
    Gather(usize),
}

/// What threads have to wait with, as it was not long ago that the opposite was right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permitted {
    /// To let some go to a free core; not after they stood in each other's way.
    pub spreads: bool,
    /// To come together; not after one of them was outnumbered by other programs.
    pub gathers: bool,
}

/// What a thread remembers from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Judge {
    saturated: u32,
    crowded: u32,
    outnumbered: u32,
}

impl Seen {
    fn is_saturated(&self) -> bool {
        self.worked.saturating_add(self.delayed) >= SATURATED
    }

    /// Whether others keep it from its core.
    pub(super) fn is_crowded(&self) -> bool {
        self.delayed >= CROWDED
    }

    /// Whether it matters what the machine has to do.
    pub(super) fn asks_for_idle(&self) -> bool {
        self.is_saturated() || self.is_crowded()
    }
}

impl Judge {
    /// Decides for the thread with the number `at`. `loads` has what each thread lately had to do.
    pub(super) fn decide(&mut self, at: usize, seen: &Seen, loads: &[Permille], may: Permitted) -> Verdict {
        let is_crowded = seen.is_crowded();
        let others = || loads.iter().copied().enumerate().filter(|(other, _)| *other != at);
        let is_alone = others().all(|(_, load)| load < SERVES);
        count(&mut self.crowded, is_crowded && seen.idle.is_some_and(|idle| idle < NONE_FREE));
        count(&mut self.outnumbered, seen.delayed >= OUTNUMBERED && (is_alone || !may.gathers));
        count(
            &mut self.saturated,
            seen.is_saturated() && !is_crowded && seen.idle.is_none_or(|idle| idle >= FREE),
        );
        let most = if self.crowded >= LOOKS { SQUEEZED } else { GATHERED };
        let mut before = loads.iter().take(at).enumerate();
        if may.gathers
            && let Some((to, _)) = before.find(|(_, load)| load.saturating_add(seen.worked) < most)
        {
            return Verdict::Gather(to);
        }
        let takes = if self.outnumbered >= LOOKS {
            SERVES
        } else if self.saturated >= LOOKS && seen.idle.is_some() && may.spreads {
            TAKES
        } else {
            return Verdict::Stay;
        };
        let roomy = others().filter(|(_, load)| *load < takes);
        roomy.min_by_key(|(_, load)| *load).map_or(Verdict::Stay, |(to, _)| Verdict::Spread(to))
    }
}

/// How many looks in a row found that it holds.
fn count(looks: &mut u32, holds: bool) {
    *looks = if holds { looks.saturating_add(1) } else { 0 };
}

/// The thread that a new connection begins with: the first that serves and has time for it, else the one of those with most of
/// that; the latter, too, while threads do not come together.
pub(super) fn place(loads: &[Permille], may: Permitted) -> usize {
    let serving = || loads.iter().enumerate().filter(|(at, load)| *at == 0 || **load >= SERVES);
    let roomy = serving().find(|(_, load)| may.gathers && **load < TAKES);
    roomy.or_else(|| serving().min_by_key(|(_, load)| **load)).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Gather, Spread, Stay};

    const ALL: Permitted = Permitted { spreads: true, gathers: true };
    const NO_SPREADS: Permitted = Permitted { spreads: false, ..ALL };
    const NO_GATHERS: Permitted = Permitted { gathers: false, ..ALL };

    fn seen(worked: Permille, delayed: Permille, idle: Permille) -> Seen {
        Seen { worked, delayed, idle: Some(idle) }
    }

    /// What is decided by each of so many looks that see the same.
    fn looks(count: usize, at: usize, seen: Seen, loads: &[Permille]) -> Vec<Verdict> {
        let mut judge = Judge::default();
        (0..count).map(|_| judge.decide(at, &seen, loads, ALL)).collect()
    }

    fn settled(at: usize, seen: Seen, loads: &[Permille]) -> Verdict {
        looks(4, at, seen, loads).pop().unwrap()
    }

    #[test]
    fn one_thread_serves_as_long_as_that_is_enough() {
        for worked in [0, 100, 500, SATURATED - 1] {
            assert_eq!(settled(0, seen(worked, 0, 1000), &[worked, 0]), Stay, "{worked}");
        }
    }

    #[test]
    fn one_that_is_busy_for_a_while_lets_some_go_where_a_core_is_free() {
        let busy = seen(980, 0, 900);
        assert_eq!(looks(3, 0, busy, &[980, 0]), [Stay, Spread(1), Spread(1)]);
        assert_eq!(settled(0, seen(980, 0, FREE - 1), &[980, 0]), Stay, "its clients have the other core");
        assert_eq!(settled(0, seen(700, 200, 900), &[700, 0]), Stay, "it does not get the free one");
        assert_eq!(settled(0, seen(800, 60, 900), &[800, 0]), Spread(1));
        assert_eq!(settled(0, Seen { idle: None, ..busy }, &[980, 0]), Stay, "nothing is known yet");
        let mut judge = Judge::default();
        let all: Vec<_> = (0..3).map(|_| judge.decide(0, &busy, &[980, 0], NO_SPREADS)).collect();
        assert_eq!(all, [Stay; 3], "threads stood in each other's way");
        assert_eq!(judge.decide(0, &busy, &[980, 0], ALL), Spread(1));
    }

    #[test]
    fn a_moment_is_no_while() {
        let mut judge = Judge::default();
        for _ in 0..10 {
            assert_eq!(judge.decide(0, &seen(980, 0, 900), &[980, 0], ALL), Stay);
            assert_eq!(judge.decide(0, &seen(500, 0, 900), &[500, 0], ALL), Stay);
        }
    }

    #[test]
    fn those_that_go_go_to_the_thread_with_least_to_do() {
        let busy = seen(990, 0, 3000);
        for (at, loads, verdict) in [
            (0, &[990, 300, 0, 0][..], Spread(2)),
            (2, &[990, 300, 990, 200], Spread(3)),
            (2, &[990, 100, 990, 200], Spread(1)),
            (1, &[990, 990, 990, TAKES], Stay),
            (0, &[990], Stay),
        ] {
            assert_eq!(settled(at, busy, loads), verdict, "{at}: {loads:?}");
        }
    }

    #[test]
    fn a_thread_with_little_to_do_gives_it_to_one_before_it() {
        let quiet = |worked| seen(worked, 0, 1500);
        for (at, loads, verdict) in [
            (1, &[100, 300][..], Gather(0)),
            (1, &[0, 10], Gather(0)),
            (1, &[300, 300], Stay),
            (0, &[10, 10], Stay),
            (2, &[900, 100, 200], Gather(1)),
            (2, &[250, 100, 200], Gather(0)),
            (2, &[900, 900, 100], Stay),
        ] {
            let worked = loads[at];
            assert_eq!(settled(at, quiet(worked), loads), verdict, "{at}: {loads:?}");
        }
    }

    #[test]
    fn threads_that_stand_in_each_others_way_come_together() {
        let squeezed = seen(550, 300, 0);
        assert_eq!(looks(3, 1, squeezed, &[550, 550]), [Stay, Gather(0), Gather(0)]);
        assert_eq!(settled(1, squeezed, &[900, 550]), Stay, "one could not do so much");
        assert_eq!(settled(1, seen(550, 300, 200), &[550, 550]), Stay, "there is a core");
        assert_eq!(settled(1, seen(550, 50, 0), &[550, 550]), Stay, "it gets its core");
        assert_eq!(settled(0, squeezed, &[550, 550]), Stay, "the first stays");
    }

    #[test]
    fn one_that_is_alone_among_other_programs_takes_another_share() {
        let outnumbered = seen(250, 450, 0);
        assert_eq!(looks(3, 0, outnumbered, &[250, 0]), [Stay, Spread(1), Spread(1)]);
        assert_eq!(settled(0, seen(250, OUTNUMBERED - 1, 0), &[250, 0]), Stay);
        assert_eq!(settled(0, outnumbered, &[250, SERVES]), Stay, "it may be the other that it waits for");
        let settled = |at, may, loads: &[Permille]| {
            let mut judge = Judge::default();
            (0..4).map(|_| judge.decide(at, &outnumbered, loads, may)).last().unwrap()
        };
        assert_eq!(settled(0, NO_SPREADS, &[250, 0]), Spread(1), "there was no other to wait for");
        // Then they stay apart for a while, and take as many shares as there are threads.
        assert_eq!(settled(1, NO_GATHERS, &[250, 250]), Stay);
        assert_eq!(settled(1, NO_GATHERS, &[250, 250, 300, 10]), Spread(3));
        // To see whether they have to, they come together.
        assert_eq!(settled(1, ALL, &[250, 250]), Gather(0));
    }

    #[test]
    fn what_was_spread_is_not_gathered_at_once_nor_the_other_way_round() {
        // What one thread could hardly do is more than what two are gathered with.
        for share in 1..10 {
            let there = SATURATED * share / 10;
            let here = SATURATED - there;
            assert_eq!(settled(1, seen(there, 0, 900), &[here, there]), Stay, "{here} and {there}");
        }
        assert_eq!(settled(0, seen(GATHERED - 1, 0, 900), &[GATHERED - 1, 0]), Stay);
    }

    #[test]
    fn new_connections_begin_with_the_first_thread_that_serves_and_has_time() {
        for (loads, at) in [
            (&[0, 0, 0][..], 0),
            (&[990, 0, 0], 0),
            (&[990, 400, 0], 1),
            (&[500, 400, 100], 0),
            (&[990, 980, 700], 2),
            (&[990, 700, 300], 2),
            (&[0, 990], 0),
        ] {
            assert_eq!(place(loads, ALL), at, "{loads:?}");
        }
        assert_eq!(place(&[], ALL), 0);
        assert_eq!(place(&[300, 200, 0], NO_GATHERS), 1, "both shares are taken");
        assert_eq!(place(&[100, 200, 0], NO_GATHERS), 0);
    }
}
