//! Waits for what no message announces: a line in a log, a number on a page, the end of a process.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// The time after which a test gives up. Only one that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// The time between the first two looks. It doubles up to the most, as what takes long need not be looked at so often.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Looks again and again until there is what a test waits for.
///
/// # Panics
/// When it does not come, with what the last look met instead.
pub fn until<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = PAUSE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(met) => assert!(Instant::now() < deadline, "waited in vain: {what}: {met:?}"),
        }
        std::thread::sleep(pause);
        pause = PAUSE_MAX.min(2 * pause);
    }
}

/// As [`until`], where a look says no more than whether it is so.
///
/// # Panics
/// When it does not become so.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || if holds() { Ok(()) } else { Err("not yet") });
}
