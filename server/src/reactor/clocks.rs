//! What the system tells of the time that a thread and the machine spent.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Longest text of the numbers of one thread.
const TEXT_BYTES: usize = 64;
/// Part of the numbers of the machine in which the line for all cores together is.
const LINE_BYTES: usize = 256;
/// Unit of the numbers of the machine, in milliseconds; fixed by Linux for user space.
const TICK_MS: u64 = 10;

/// The numbers of the thread that opened them.
pub(super) struct ThreadClock(File);

/// What a thread spent its time on, since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spent {
    /// It ran.
    pub ran: Duration,
    /// It could have run, and stood in line for a core.
    pub delayed: Duration,
}

impl ThreadClock {
    /// That of this thread, where the system tells it.
    pub(super) fn open() -> Option<Self> {
        let clock = Self(File::open("/proc/thread-self/schedstat").ok()?);
        clock.read().map(|_| clock)
    }

    pub(super) fn read(&self) -> Option<Spent> {
        spent(read(&self.0, &mut [0; TEXT_BYTES])?)
    }
}

/// Time that all cores together had nothing to do, since the machine began.
pub(super) fn idle() -> Option<Duration> {
    idle_of(read(&File::open("/proc/stat").ok()?, &mut [0; LINE_BYTES])?)
}

/// The beginning of a file, as far as there is room.
fn read<'t>(file: &File, into: &'t mut [u8]) -> Option<&'t [u8]> {
    let count = file.read_at(into, 0).ok()?;
    into.get(..count)
}

fn spent(text: &[u8]) -> Option<Spent> {
    let mut numbers = numbers(text).map(Duration::from_nanos);
    Some(Spent { ran: numbers.next()?, delayed: numbers.next()? })
}

/// The line for all cores begins with `cpu`; of its numbers the fourth is for cores that had nothing to do, and the fifth for
/// those that had nothing but to wait for a disk.
fn idle_of(text: &[u8]) -> Option<Duration> {
    let line = text.strip_prefix(b"cpu ")?.split(|byte| *byte == b'\n').next()?;
    let mut numbers = numbers(line).skip(3);
    let ticks = numbers.next()?.saturating_add(numbers.next()?);
    Some(Duration::from_millis(ticks.saturating_mul(TICK_MS)))
}

fn numbers(text: &[u8]) -> impl Iterator<Item = u64> {
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map_while(|word| std::str::from_utf8(word).ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration as D;

    #[test]
    fn what_a_thread_spent_is_told_in_nanoseconds() {
        let told = Spent { ran: D::from_nanos(192_587), delayed: D::from_nanos(113_749) };
        assert_eq!(spent(b"192587 113749 2\n"), Some(told));
        for text in [&b""[..], b"1", b"x 2 3", b"-1 2 3"] {
            assert_eq!(spent(text), None, "{text:?}");
        }
    }

    #[test]
    fn idle_cores_are_those_that_wait_for_disks_too() {
        let text =
            b"cpu  2299188 1743606 1092710 4252774 114155 0 112665 9809 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(idle_of(text), Some(D::from_millis(10 * (4_252_774 + 114_155))));
        // After eight days, 64 idle cores have had more ticks than 32 bits count.
        let text = b"cpu  1 2 3 100000000000 0 0 0 0 0 0\n";
        assert_eq!(idle_of(text), Some(D::from_secs(1_000_000_000)));
        for text in [&b""[..], b"cpu  1 2 3\ncpu0 1 2 3 4 5\n", b"cpu0 1 2 3 4 5\n", b"intr 1 2 3 4 5 6\n"] {
            assert_eq!(idle_of(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_thread_that_works_sees_its_clock_go_on() {
        // Not every system has it, and nothing else depends on it here.
        let Some(clock) = ThreadClock::open() else { return };
        let before = clock.read().unwrap();
        while clock.read().unwrap().ran == before.ran {
            std::thread::yield_now();
        }
    }
}
