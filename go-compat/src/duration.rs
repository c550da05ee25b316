//! Lengths of time as Go writes and reads them: `1h2m3.5s`, `100ms`, `-1.5h`.
//!
//! Both directions follow nats-server v2.15.2, whose options and log lines use them.

use std::fmt;
use std::time::Duration;

use crate::quoted;

const NS_PER_US: i64 = 1_000;
const NS_PER_MS: i64 = 1_000_000;
const NS_PER_S: i64 = 1_000_000_000;
const NS_PER_MINUTE: i64 = 60 * NS_PER_S;
const NS_PER_HOUR: i64 = 60 * NS_PER_MINUTE;

/// A length of time in nanoseconds, perhaps negative, that displays as Go would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

impl GoDuration {
    /// Reads a length of time: `300ms`, `-1.5h`, `2h45m`.
    ///
    /// # Errors
    /// Go's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("time: invalid duration {}", quoted(text));
        let (negative, unsigned) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        if unsigned == "0" {
            return Ok(Self(0));
        }
        if unsigned.is_empty() {
            return Err(invalid());
        }
        let mut rest = unsigned;
        let mut total_ns: i128 = 0;
        while !rest.is_empty() {
            let (part_ns, after) = part(text, rest)?;
            total_ns += part_ns;
            rest = after;
            if total_ns > i128::from(i64::MAX) + i128::from(negative) {
                return Err(invalid());
            }
        }
        let signed = if negative { -total_ns } else { total_ns };
        i64::try_from(signed).map(Self).map_err(|_| invalid())
    }

    /// The multiple of `unit` that is nearest, as Go's `Round` has it: the one further from nothing where two are as near. The
    /// same length where no such multiple fits.
    #[must_use]
    pub fn rounded(self, unit: Duration) -> Self {
        let (length, unit) = (i128::from(self.0), i128::try_from(unit.as_nanos()).unwrap_or_default());
        if unit == 0 {
            return self;
        }
        let nearest = (length.abs() * 2 + unit) / (unit * 2) * unit * length.signum();
        i64::try_from(nearest).map_or(self, Self)
    }

    /// The same as an unsigned length; a negative one is none at all.
    #[must_use]
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

/// One number with its unit, in nanoseconds, and what follows.
fn part<'a>(whole: &str, text: &'a str) -> Result<(i128, &'a str), String> {
    let invalid = || format!("time: invalid duration {}", quoted(whole));
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (integer, after_integer) = text.split_at(digits_end);
    let (fraction, after_number) = match after_integer.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("", after_integer),
    };
    if integer.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let unit_end = after_number.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after_number.len());
    let (unit, rest) = after_number.split_at(unit_end);
    let unit_ns = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => NS_PER_US,
        "ms" => NS_PER_MS,
        "s" => NS_PER_S,
        "m" => NS_PER_MINUTE,
        "h" => NS_PER_HOUR,
        "" => return Err(format!("time: missing unit in duration {}", quoted(whole))),
        _ => {
            return Err(format!("time: unknown unit {} in duration {}", quoted(unit), quoted(whole)));
        }
    };
    let integer: i64 = if integer.is_empty() { 0 } else { integer.parse().map_err(|_| invalid())? };
    // Eighteen digits of a fraction are more than a nanosecond of an hour can tell.
    let digits = fraction.get(..fraction.len().min(18)).unwrap_or_default();
    let numerator: i128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| invalid())? };
    let denominator = 10_i128.pow(u32::try_from(digits.len()).unwrap_or(0));
    Ok((i128::from(integer) * i128::from(unit_ns) + numerator * i128::from(unit_ns) / denominator, rest))
}

impl From<Duration> for GoDuration {
    fn from(value: Duration) -> Self {
        Self(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return out.write_str("0s");
        }
        if self.0 < 0 {
            out.write_str("-")?;
        }
        let ns = self.0.unsigned_abs();
        let (unit_ns, unit) = match ns {
            0..1_000 => return write!(out, "{ns}ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        if unit == "s" {
            let seconds = ns / unit_ns;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            if hours > 0 {
                write!(out, "{hours}h")?;
            }
            if seconds >= 60 {
                write!(out, "{minutes}m")?;
            }
            write!(out, "{}", seconds % 60)?;
        } else {
            write!(out, "{}", ns / unit_ns)?;
        }
        let fraction = ns % unit_ns;
        if fraction > 0 {
            let width = unit_ns.ilog10() as usize;
            let digits = format!("{fraction:0width$}");
            write!(out, ".{}", digits.trim_end_matches('0'))?;
        }
        out.write_str(unit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::GoDuration;

    #[test]
    fn a_length_is_rounded_to_the_nearest_multiple() {
        let rounded = |ns| GoDuration(ns).rounded(Duration::from_millis(1)).0;
        assert_eq!((rounded(499_999), rounded(500_000), rounded(-500_000)), (0, 1_000_000, -1_000_000));
        assert_eq!(rounded(i64::MAX), i64::MAX);
        assert_eq!(GoDuration(7).rounded(Duration::ZERO), GoDuration(7));
    }

    #[test]
    fn reads_and_shows_what_go_does() {
        for (text, ns, shown) in [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("100ms", 100_000_000, "100ms"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("2m", 120_000_000_000, "2m0s"),
            ("1h2m3.25s", 3_723_250_000_000, "1h2m3.25s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            ("1500us", 1_500_000, "1.5ms"),
            ("1234ns", 1_234, "1.234µs"),
            (".5s", 500_000_000, "500ms"),
        ] {
            assert_eq!(GoDuration::parse(text), Ok(GoDuration(ns)), "{text}");
            assert_eq!(GoDuration(ns).to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("abc", "time: invalid duration \"abc\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("5s6", "time: missing unit in duration \"5s6\""),
            (".s", "time: invalid duration \".s\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(GoDuration::parse(text), Err(error.to_owned()), "{text}");
        }
    }
}
