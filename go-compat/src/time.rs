//! Times as Go reads and prints them.

use serde::{Serialize, Serializer};
use std::io::Write as _;

/// A moment with the offset from UTC that it was written with. The default is Go's zero time, the year 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoTime {
    /// Nanoseconds since 1970; Go's years 1 to 9999 fit.
    ns: i128,
    offset_secs: i32,
}

const NS: i128 = 1_000_000_000;
const ZERO_NS: i128 = -62_135_596_800 * NS;
const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";

impl Default for GoTime {
    fn default() -> Self {
        Self { ns: ZERO_NS, offset_secs: 0 }
    }
}

impl GoTime {
    /// A moment in UTC, from nanoseconds since 1970.
    #[must_use]
    pub fn from_ns(ns: i64) -> Self {
        Self { ns: i128::from(ns), offset_secs: 0 }
    }

    /// A moment in UTC, from seconds since 1970.
    #[must_use]
    pub fn from_secs(secs: i64) -> Self {
        Self { ns: i128::from(secs) * NS, offset_secs: 0 }
    }

    /// Nanoseconds since 1970, clamped to what fits.
    #[must_use]
    pub fn ns(self) -> i64 {
        i64::try_from(self.ns).unwrap_or(if self.ns < 0 { i64::MIN } else { i64::MAX })
    }

    /// Nanoseconds since 1970 as Go's `UnixNano` counts them: beyond the years 1678 to 2262 the number wraps around, and means
    /// another moment.
    #[must_use]
    pub fn wrapped_ns(self) -> i64 {
        u64::try_from(self.ns & i128::from(u64::MAX)).unwrap_or_default().cast_signed()
    }

    /// The same moment in UTC.
    #[must_use]
    pub fn utc(self) -> Self {
        Self { offset_secs: 0, ..self }
    }

    /// The same moment, told as clocks that are so many seconds ahead of UTC show it.
    #[must_use]
    pub fn at_offset(self, offset_secs: i32) -> Self {
        Self { offset_secs, ..self }
    }

    /// Whether it is Go's zero time.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.ns == ZERO_NS
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// Go's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, rest: text };
        let year = parser.number(4, "2006")?;
        parser.literal("-")?;
        let month = parser.number(2, "01")?;
        parser.literal("-")?;
        let day = parser.number(2, "02")?;
        parser.literal("T")?;
        let hour = parser.number(2, "15")?;
        parser.literal(":")?;
        let minute = parser.number(2, "04")?;
        parser.literal(":")?;
        let second = parser.number(2, "05")?;
        let fraction_ns = parser.fraction();
        let offset_secs = parser.offset()?;
        for (bad, name) in [
            (!(1..=12).contains(&month), "month"),
            (day < 1 || day > days_in_month(year, month), "day"),
            (hour > 23, "hour"),
            (minute > 59, "minute"),
            (second > 59, "second"),
        ] {
            if bad {
                return Err(format!("parsing time {}: {name} out of range", quote(text)));
            }
        }
        let secs = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Ok(Self { ns: i128::from(secs - i64::from(offset_secs)) * NS + i128::from(fraction_ns), offset_secs })
    }

    /// Appends it as Go's RFC3339Nano.
    pub fn write(self, out: &mut Vec<u8>) {
        let local = self.ns + i128::from(self.offset_secs) * NS;
        let (secs, fraction) = (local.div_euclid(NS), local.rem_euclid(NS));
        let secs = i64::try_from(secs).unwrap_or_default();
        let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if fraction != 0 {
            let _ = write!(out, ".{fraction:09}");
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        if self.offset_secs == 0 {
            out.push(b'Z');
        } else {
            let minutes = self.offset_secs.abs() / 60;
            let sign = if self.offset_secs < 0 { '-' } else { '+' };
            let _ = write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        }
    }
}

/// Appends the moment `ns` (nanoseconds since 1970) as Go's RFC3339Nano in UTC. This is in the answer to every direct
/// get, so it goes around the formatter.
pub fn write_time(ns: i64, out: &mut Vec<u8>) {
    const DAY_SECS: u64 = 86_400;
    let Ok(since) = u64::try_from(ns) else { return GoTime::from_ns(ns).write(out) };
    let (secs, fraction) = (since / 1_000_000_000, since % 1_000_000_000);
    let (days, of_day) = (secs / DAY_SECS, secs % DAY_SECS);
    let (year, month, day) = civil_since_1970(days);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    // Where a dash or a colon stands, a zero is made, and raised or lowered to it.
    let date = u64::from_le_bytes(eight_digits(year * 10_000 + month * 10));
    let of_day = of_day / 3600 * 1_000_000 + of_day / 60 % 60 * 1000 + of_day % 60;
    let of_day = u64::from_le_bytes(eight_digits(of_day));
    put(text.get_mut(..8), &(date - DASHES).to_le_bytes());
    put(text.get_mut(8..10), &[b'0' + (day / 10) as u8, b'0' + (day % 10) as u8]);
    put(text.get_mut(11..19), &(of_day + COLONS).to_le_bytes());
    put(text.get_mut(20..28), &eight_digits(fraction / 10));
    if let Some(digit) = text.get_mut(28) {
        *digit = b'0' + (fraction % 10) as u8;
    }
    let mut len = text.len() - 1;
    while text.get(len - 1) == Some(&b'0') && len > SECONDS_END {
        len -= 1;
    }
    // Without a fraction there is no point either.
    if len == SECONDS_END + 1 {
        len = SECONDS_END;
    }
    if let Some(end) = text.get_mut(len) {
        *end = b'Z';
    }
    out.extend_from_slice(text.get(..=len).unwrap_or_default());
}

/// Where the seconds of a time end.
const SECONDS_END: usize = 19;

/// By how much a dash is below the digit `0`, where dashes stand in a date.
const DASHES: u64 = ((b'0' - b'-') as u64) << 32 | ((b'0' - b'-') as u64) << 56;
/// By how much a colon is above it, where colons stand in a time.
const COLONS: u64 = ((b':' - b'0') as u64) << 16 | ((b':' - b'0') as u64) << 40;

#[inline]
fn put(field: Option<&mut [u8]>, text: &[u8]) {
    if let Some(field) = field {
        field.copy_from_slice(text);
    }
}

/// The digits of a number below 100,000,000, all at once: halves, then quarters, then eighths of a word become numbers of
/// half as many digits. Of a larger number they are others than its last.
///
/// ```
/// assert_eq!(&jetkv_go_compat::eight_digits(12_345), b"00012345");
/// ```
#[inline]
#[must_use]
pub fn eight_digits(number: u64) -> [u8; 8] {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    // A multiplication and a shift divide each part by 100, and by 10 in the next step.
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | ((pairs - tens * 10) << 8);
    (digits | 0x3030_3030_3030_3030).to_le_bytes()
}

impl Serialize for GoTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::with_capacity(35);
        self.write(&mut text);
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn error(&self, element: &str) -> String {
        let (text, rest) = (quote(self.text), quote(self.rest));
        format!("parsing time {text} as {}: cannot parse {rest} as {}", quote(LAYOUT), quote(element))
    }

    fn number(&mut self, digits: usize, element: &str) -> Result<i64, String> {
        let head = self.rest.get(..digits).filter(|head| head.bytes().all(|byte| byte.is_ascii_digit()));
        let number = head.and_then(|head| head.parse().ok()).ok_or_else(|| self.error(element))?;
        self.rest = self.rest.get(digits..).unwrap_or_default();
        Ok(number)
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.error(literal))?;
        Ok(())
    }

    fn fraction(&mut self) -> i64 {
        let Some(tail) = self.rest.strip_prefix('.') else { return 0 };
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return 0;
        }
        self.rest = tail.get(digits..).unwrap_or_default();
        tail.bytes()
            .take(digits)
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .fold(0, |ns, digit| ns * 10 + i64::from(digit - b'0'))
    }

    fn offset(&mut self) -> Result<i32, String> {
        const ELEMENT: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            return if rest.is_empty() { Ok(0) } else { Err(self.extra(rest)) };
        }
        let sign = match self.rest.bytes().next() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.error(ELEMENT)),
        };
        let digits = |at: usize| {
            let two = self.rest.get(at..at + 2).filter(|two| two.bytes().all(|byte| byte.is_ascii_digit()));
            two.and_then(|two| two.parse::<i32>().ok())
        };
        match (digits(1), self.rest.as_bytes().get(3), digits(4)) {
            (Some(hours @ 0..=23), Some(b':'), Some(minutes @ 0..=59)) => match self.rest.get(6..) {
                Some("") => Ok(sign * (hours * 3600 + minutes * 60)),
                rest => Err(self.extra(rest.unwrap_or_default())),
            },
            _ => Err(self.error(ELEMENT)),
        }
    }

    fn extra(&self, rest: &str) -> String {
        format!("parsing time {}: extra text: {}", quote(self.text), quote(rest))
    }
}

fn quote(text: &str) -> String {
    crate::quoted(text)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; years begin in March in the arithmetic.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// As [`civil_from_days`], of days since 1970 as long as nanoseconds count them, with fewer steps: years begin in March, and
/// fractions of a power of two tell a year of its century and a day of its month (C. Neri and L. Schneider, "Euclidean affine
/// functions and their application to calendar algorithms").
#[inline]
fn civil_since_1970(days: u64) -> (u64, u64, u64) {
    const CENTURIES_DAYS: u64 = 146_097;
    const YEAR_PART: u64 = 2_939_745;
    let quarters = 4 * (days + 719_468) + 3;
    let (century, of_century) = (quarters / CENTURIES_DAYS, quarters % CENTURIES_DAYS / 4);
    let of_years = YEAR_PART * (4 * of_century + 3);
    let (year, of_year) = (of_years >> 32, (of_years & u64::from(u32::MAX)) / YEAR_PART / 4);
    let of_months = 2141 * of_year + 197_913;
    let (month, day) = (of_months >> 16, (of_months & 0xffff) / 2141 + 1);
    // The last two months are those of the next year.
    let is_next = of_year >= 306;
    (100 * century + year + u64::from(is_next), if is_next { month - 12 } else { month }, day)
}

#[cfg(test)]
mod tests {
    use super::{GoTime, civil_from_days, civil_since_1970, eight_digits, write_time};

    #[test]
    fn both_ways_to_a_date_agree_on_every_day() {
        for days in 0..=(i64::MAX as u64 / 86_400_000_000_000) + 1 {
            let (year, month, day) = civil_from_days(days as i64);
            assert_eq!(civil_since_1970(days), (year as u64, month as u64, day as u64), "{days}");
        }
    }

    #[test]
    fn all_digits_at_once_are_those_of_the_number() {
        let numbers = (0..10_000).flat_map(|four| [four, four * 10_000, four * 10_001, 99_990_000 + four]);
        for number in numbers {
            assert_eq!(String::from_utf8_lossy(&eight_digits(number)), format!("{number:08}"));
        }
    }

    #[test]
    fn both_ways_to_write_a_time_agree() {
        let seconds = [0, 59, 86_399, 86_400, 951_782_400, 1_700_000_000, 4_107_542_399, 9_223_372_036, -1];
        for second in seconds {
            for fraction in [0, 1, 10, 120_000_000, 100_000, 854_775_807] {
                let ns = second * 1_000_000_000 + fraction;
                let (mut fast, mut plain) = (Vec::new(), Vec::new());
                write_time(ns, &mut fast);
                GoTime::from_ns(ns).write(&mut plain);
                assert_eq!(fast, plain, "{ns}");
            }
        }
    }
}
