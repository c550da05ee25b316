//! Cron patterns of six fields: second, minute, hour, day of month, month, day of week. Fields, names and what happens
//! when clocks are set forward or back are those of nats-server v2.15.2.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// A pattern that does not come up within so many years never does.
const YEARS_MAX: i16 = 5;
/// In a set of days: the field was a star.
const STAR: u64 = 1 << 63;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a field may hold.
struct Bounds {
    min: u64,
    max: u64,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
}

const SECONDS: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS_OF_MONTH: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS_OF_YEAR: Bounds = Bounds { min: 1, max: 12, names: &MONTHS };
const DAYS_OF_WEEK: Bounds = Bounds { min: 0, max: 6, names: &DAYS };

/// A pattern, as sets of bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cron {
    second: u64,
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
}

impl Cron {
    /// Reads a pattern.
    pub(super) fn parse(pattern: &str) -> Option<Self> {
        let mut fields = pattern.split_whitespace();
        let mut field = |bounds: &Bounds| bounds.set(fields.next()?);
        let cron = Self {
            second: field(&SECONDS)?,
            minute: field(&SECONDS)?,
            hour: field(&HOURS)?,
            day: field(&DAYS_OF_MONTH)?,
            month: field(&MONTHS_OF_YEAR)?,
            weekday: field(&DAYS_OF_WEEK)?,
        };
        // What is empty never comes up.
        let comes = [cron.second, cron.minute, cron.hour, cron.month, cron.day | cron.weekday];
        (fields.next().is_none() && comes.iter().all(|set| set & !STAR != 0)).then_some(cron)
    }

    /// The first second after `after_secs` (since 1970) that matches where the clocks show the time of `zone`.
    pub(super) fn next(&self, after_secs: i64, zone: &TimeZone) -> Option<i64> {
        let mut at = Local::new(after_secs.checked_add(1)?, zone)?;
        let last_year = at.civil.year().checked_add(YEARS_MAX)?;
        // Once a field was counted up, all smaller ones begin at their first value.
        let mut truncated = false;
        'wrap: loop {
            if at.civil.year() > last_year {
                return None;
            }
            while !has(self.month, at.civil.month()) {
                if !std::mem::replace(&mut truncated, true) {
                    at = at.date(at.civil.year(), at.civil.month(), 1, 0)?;
                }
                at = at.added(1, 0)?;
                if at.civil.month() == 1 {
                    continue 'wrap;
                }
            }
            while !self.matches_day(at.civil) {
                if !std::mem::replace(&mut truncated, true) {
                    at = at.date(at.civil.year(), at.civil.month(), at.civil.day(), 0)?;
                }
                at = at.added(0, 1)?;
                if at.civil.day() == 1 {
                    continue 'wrap;
                }
            }
            while !has(self.hour, at.civil.hour()) {
                if !std::mem::replace(&mut truncated, true) {
                    at = at.date(at.civil.year(), at.civil.month(), at.civil.day(), at.civil.hour())?;
                }
                at = at.later(3600)?;
                if at.civil.hour() == 0 {
                    continue 'wrap;
                }
            }
            while !has(self.minute, at.civil.minute()) {
                if !std::mem::replace(&mut truncated, true) {
                    at = at.later(-at.secs.rem_euclid(60))?;
                }
                at = at.later(60)?;
                if at.civil.minute() == 0 {
                    continue 'wrap;
                }
            }
            while !has(self.second, at.civil.second()) {
                truncated = true;
                at = at.later(1)?;
                if at.civil.second() == 0 {
                    continue 'wrap;
                }
            }
            return Some(at.secs);
        }
    }

    /// Where neither field is a star, one of them is enough.
    fn matches_day(&self, civil: DateTime) -> bool {
        let day = has(self.day, civil.day());
        let weekday = has(self.weekday, civil.weekday().to_sunday_zero_offset());
        if (self.day | self.weekday) & STAR != 0 { day && weekday } else { day || weekday }
    }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|bit| set & (1 << bit) != 0)
}

impl Bounds {
    /// The values of a list of ranges.
    fn set(&self, field: &str) -> Option<u64> {
        field
            .split(',')
            .filter(|range| !range.is_empty())
            .try_fold(0, |set, range| Some(set | self.range(range)?))
    }

    /// `number | number [ "-" number ] [ "/" number ]`, with a star or a question mark for all.
    fn range(&self, text: &str) -> Option<u64> {
        let (range, step_text) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let mut ends = range.split('-');
        let (low, high) = (ends.next()?, ends.next());
        let is_star = low == "*" || low == "?";
        let start = if is_star { self.min } else { self.value(low)? };
        let mut end = match high {
            _ if is_star => self.max,
            None => start,
            Some(high) if ends.next().is_none() => self.value(high)?,
            Some(_) => return None,
        };
        let step = step_text.map_or(Some(1), number)?;
        if step_text.is_some() && high.is_none() {
            // As from a number to the end.
            end = self.max;
        }
        if start < self.min || end > self.max || start > end || step == 0 {
            return None;
        }
        let step_by = usize::try_from(step).unwrap_or(usize::MAX);
        let set = (start..=end).step_by(step_by).fold(0, |set, value| set | 1 << value);
        Some(if is_star && step == 1 { set | STAR } else { set })
    }

    fn value(&self, text: &str) -> Option<u64> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.map_or_else(|| number(text), |at| Some(self.min + at as u64))
    }
}

/// A number that is not negative, with an optional sign.
fn number(text: &str) -> Option<u64> {
    text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok())
}

/// A second, and what the clocks of a zone show then.
#[derive(Debug, Clone, Copy)]
struct Local<'a> {
    secs: i64,
    civil: DateTime,
    zone: &'a TimeZone,
}

impl<'a> Local<'a> {
    fn new(secs: i64, zone: &'a TimeZone) -> Option<Self> {
        let civil = zone.to_datetime(Timestamp::from_second(secs).ok()?);
        Some(Self { secs, civil, zone })
    }

    fn later(self, secs: i64) -> Option<Self> {
        Self::new(self.secs.checked_add(secs)?, self.zone)
    }

    /// So many months and days later by the calendar, at the same time of the day. As in Go, a day that the month does not have
    /// is one of the next month.
    fn added(self, months: i8, days: i8) -> Option<Self> {
        let months = self.civil.month() - 1 + months;
        let year = self.civil.year().checked_add(i16::from(months / 12))?;
        let first = self.civil.date().with().year(year).month(months % 12 + 1).day(1).build().ok()?;
        let days = i64::from(self.civil.day() - 1 + days);
        self.moved_to(first.to_datetime(self.civil.time()).checked_add(Span::new().days(days)).ok()?)
    }

    fn date(self, year: i16, month: i8, day: i8, hour: i8) -> Option<Self> {
        self.moved_to(DateTime::new(year, month, day, hour, 0, 0, 0).ok()?)
    }

    /// When the clocks show `civil`. What they skip or show twice is resolved as Go does it.
    fn moved_to(self, civil: DateTime) -> Option<Self> {
        let as_utc = civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
        let offset = |secs: i64| {
            let at = Timestamp::from_second(secs).ok()?;
            Some(i64::from(self.zone.to_offset(at).seconds()))
        };
        let secs = match offset(as_utc)? {
            0 => as_utc,
            first => as_utc - offset(as_utc - first)?,
        };
        Self::new(secs, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pattern: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let after: Timestamp = after.parse().unwrap();
        let next = Cron::parse(pattern).and_then(|cron| cron.next(after.as_second(), &zone));
        next.map_or("never".to_owned(), |secs| Timestamp::from_second(secs).unwrap().to_string())
    }

    #[test]
    fn the_next_moment_is_after_the_last_and_the_first_that_matches() {
        for (pattern, after, wanted) in [
            ("* * * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
            ("0 * * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("*/20 * * * * *", "2026-01-01T00:00:41Z", "2026-01-01T00:01:00Z"),
            ("0 30 9 * * mon-fri", "2026-01-02T09:30:00Z", "2026-01-05T09:30:00Z"),
            ("0 0 0 1 1 *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("0 0 0 29 feb ?", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 0 13 * fri", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("59 59 23 31 12 *", "2026-12-31T23:59:59Z", "2027-12-31T23:59:59Z"),
            ("0 0 0 30 2 *", "2026-01-01T00:00:00Z", "never"),
        ] {
            assert_eq!(next(pattern, after, "UTC"), wanted, "{pattern}");
        }
    }

    #[test]
    fn clocks_that_are_set_skip_and_repeat() {
        let zone = "America/New_York";
        // 02:30 does not exist on that day.
        assert_eq!(next("0 30 2 * * *", "2026-03-08T00:00:00Z", zone), "2026-03-09T06:30:00Z");
        // 01:30 comes twice on that day; after the first, the second is next.
        assert_eq!(next("0 30 1 * * *", "2026-11-01T04:00:00Z", zone), "2026-11-01T05:30:00Z");
        assert_eq!(next("0 30 1 * * *", "2026-11-01T05:30:00Z", zone), "2026-11-01T06:30:00Z");
        assert_eq!(next("0 0 0 * * *", "2026-06-01T12:00:00Z", "Asia/Kolkata"), "2026-06-01T18:30:00Z");
    }

    /// Patterns, zones and moments, most of them near one at which clocks are set, with what nats-server v2.15.2 finds.
    #[test]
    fn next_moments_are_those_of_nats_server() {
        let cases = include_str!("../../../tests/fixtures/cron.txt");
        for case in cases.lines() {
            let mut fields = case.split('|');
            let mut field = || fields.next().unwrap();
            let (pattern, zone) = (field(), TimeZone::get(field()).unwrap());
            let (after, wanted) = (field().parse().unwrap(), field());
            let next = Cron::parse(pattern).and_then(|cron| cron.next(after, &zone));
            assert_eq!(next.map_or("never".to_owned(), |secs| secs.to_string()), wanted, "{case}");
        }
        assert!(cases.lines().count() > 400);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in [
            "",
            "* * * * *",
            "* * * * * * *",
            "60 * * * * *",
            "* 60 * * * *",
            "* * 24 * * *",
            "* * * 0 * *",
            "* * * 32 * *",
            "* * * * 0 *",
            "* * * * 13 *",
            "* * * * * 7",
            "5-1 * * * * *",
            "1-2-3 * * * * *",
            "*/0 * * * * *",
            "1/2/3 * * * * *",
            "-1 * * * * *",
            "x * * * * *",
            ", * * * * *",
            "* * * * mai *",
        ] {
            assert!(Cron::parse(pattern).is_none(), "{pattern}");
        }
        for pattern in
            ["1,2,3-5 * * * * *", "+1 * * * * *", "5/10 * * * * *", "* * * * JAN-Dec SUN", "?/2 * ? * ? ?"]
        {
            assert!(Cron::parse(pattern).is_some(), "{pattern}");
        }
    }
}
