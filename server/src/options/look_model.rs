//! How threads that serve connections wait for the next request.

use std::ffi::OsString;
use std::time::Duration;

use jetkv_go_compat::{GoDuration, quoted};

/// The variable of the environment that says it.
const VARIABLE: &str = "JETKV_LOOK";
/// A thread that looks for longer than this would take a core for itself.
const LOOK_MAX: Duration = Duration::from_millis(10);

/// What a thread does that has answered its clients, and has nothing left to do: it may look for the next request before it
/// sleeps. That costs processor time until the request comes; a sleep costs some, and time until the thread runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    /// It looks for as long as its clients usually take to send the next request, at most 50 µs, where that costs less
    /// than to sleep.
    #[default]
    Adaptive,
    /// It sleeps.
    Off,
    /// It looks for so long each time.
    For(Duration),
}

/// What the environment asks for; `var` gives the value of a variable.
pub(super) fn from_environment(var: impl Fn(&str) -> Option<OsString>) -> Result<Look, String> {
    let text = var(VARIABLE).map(|value| value.to_string_lossy().into_owned());
    match text.as_deref().map(str::trim) {
        None | Some("" | "adaptive") => Ok(Look::Adaptive),
        Some("off") => Ok(Look::Off),
        Some(text) => time(text).ok_or_else(|| {
            let longest = LOOK_MAX.as_millis();
            let text = quoted(text);
            format!("{VARIABLE} is adaptive, off, or a time of at most {longest}ms such as 50us, not {text}")
        }),
    }
}

fn time(text: &str) -> Option<Look> {
    let GoDuration(ns) = GoDuration::parse(text).ok()?;
    let time = Duration::from_nanos(u64::try_from(ns).ok()?);
    (time <= LOOK_MAX).then_some(if time.is_zero() { Look::Off } else { Look::For(time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Result<Look, String> {
        from_environment(|name| (name == VARIABLE).then(|| text.into()))
    }

    #[test]
    fn the_environment_says_how_threads_wait() {
        assert_eq!(from_environment(|_| None), Ok(Look::Adaptive));
        for (text, expected) in [
            ("", Look::Adaptive),
            ("adaptive", Look::Adaptive),
            (" off ", Look::Off),
            ("0s", Look::Off),
            ("50us", Look::For(Duration::from_micros(50))),
            ("10ms", Look::For(Duration::from_millis(10))),
        ] {
            assert_eq!(look(text), Ok(expected), "{text}");
        }
        for text in ["on", "1", "-1us", "11ms", "1e3us"] {
            let error = look(text).unwrap_err();
            assert!(error.starts_with("JETKV_LOOK is adaptive, off, or a time"), "{error}");
        }
    }
}
