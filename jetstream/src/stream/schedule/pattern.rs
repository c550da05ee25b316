//! When a schedule is due: `@at`, `@every`, cron patterns and their names (ADR-51).

use super::cron::Cron;
use crate::clock::WallNs;
use jetkv_go_compat::{GoDuration, GoTime};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const SECOND_NS: i64 = 1_000_000_000;

/// Why there is no next moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsound {
    Zone,
    Pattern,
}

/// A moment at which a schedule is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: WallNs,
    /// As the message that follows from it tells it.
    pub(super) told: GoTime,
    pub(super) repeats: bool,
}

/// The zone that a header names, if there is one.
fn zone(name: Option<&[u8]>) -> Result<Option<TimeZone>, Unsound> {
    let Some(name) = name else { return Ok(None) };
    let name = std::str::from_utf8(name).map_err(|_| Unsound::Zone)?;
    match name {
        "UTC" => Ok(Some(TimeZone::UTC)),
        "Local" => Ok(Some(TimeZone::system())),
        _ => {
            let zone = TimeZone::get(name).map_err(|_| Unsound::Zone)?;
            // Names are files for Go, and their case counts.
            if zone.iana_name() == Some(name) { Ok(Some(zone)) } else { Err(Unsound::Zone) }
        }
    }
}

fn rounded(at: WallNs) -> WallNs {
    let into = at.ns().rem_euclid(SECOND_NS);
    at.plus(if into * 2 >= SECOND_NS { SECOND_NS - into } else { -into })
}

/// When a schedule is due for the first time after `since`, the moment at which it was stored or was due last; `None` where
/// the pattern is empty. What was missed until `now` is due once.
pub(super) fn next(
    pattern: &[u8],
    zone_name: Option<&[u8]>,
    since: WallNs,
    now: WallNs,
) -> Result<Option<Due>, Unsound> {
    let zone = zone(zone_name)?;
    if pattern.is_empty() {
        return Ok(None);
    }
    let pattern = std::str::from_utf8(pattern).map_err(|_| Unsound::Pattern)?;
    if let Some(text) = pattern.strip_prefix("@at ") {
        let told = GoTime::parse(text).ok().filter(|_| zone.is_none()).ok_or(Unsound::Pattern)?;
        // As on nats-server, a moment that nanoseconds do not reach is another one, and due at once if that has gone.
        let due = Due { at: WallNs::from_ns(told.wrapped_ns()), told, repeats: false };
        return Ok(Some(due).filter(|_| !told.is_zero()));
    }
    if let Some(text) = pattern.strip_prefix("@every ") {
        let every = GoDuration::parse(text).ok().filter(|every| every.0 >= SECOND_NS && zone.is_none());
        let GoDuration(every_ns) = every.ok_or(Unsound::Pattern)?;
        let mut at = rounded(since).plus(every_ns);
        if at < now {
            at = rounded(now).plus(every_ns);
        }
        return Ok(Some(Due { at, told: GoTime::from_ns(at.ns()), repeats: true }));
    }
    let fields = match pattern {
        "@yearly" | "@annually" => "0 0 0 1 1 *",
        "@monthly" => "0 0 0 1 * *",
        "@weekly" => "0 0 0 * * 0",
        "@daily" | "@midnight" => "0 0 0 * * *",
        "@hourly" => "0 0 * * * *",
        other => other,
    };
    by_cron(fields, &zone.unwrap_or(TimeZone::UTC), since, now).ok_or(Unsound::Pattern).map(Some)
}

fn by_cron(fields: &str, zone: &TimeZone, since: WallNs, now: WallNs) -> Option<Due> {
    let cron = Cron::parse(fields)?;
    let mut next = cron.next(since.secs(), zone)?;
    if next.checked_mul(SECOND_NS)? < now.ns() {
        next = cron.next(rounded(now).secs(), zone)?;
    }
    let at = WallNs::from_ns(next.checked_mul(SECOND_NS)?);
    let offset_secs = zone.to_offset(Timestamp::from_second(next).ok()?).seconds();
    Some(Due { at, told: GoTime::from_ns(at.ns()).at_offset(offset_secs), repeats: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(pattern: &str, zone: Option<&str>) -> Result<Option<String>, Unsound> {
        let now = WallNs::from_ns(GoTime::parse("2026-05-01T10:00:00.6Z").unwrap().ns());
        let due = next(pattern.as_bytes(), zone.map(str::as_bytes), now, now)?;
        Ok(due.map(|due| {
            let mut out = Vec::new();
            due.told.write(&mut out);
            String::from_utf8(out).unwrap()
        }))
    }

    #[test]
    fn each_form_is_due_when_it_says() {
        let told = |pattern, zone| due(pattern, zone).unwrap().unwrap();
        assert_eq!(told("@at 2030-01-01T00:00:00+02:00", None), "2030-01-01T00:00:00+02:00");
        assert_eq!(told("@every 90s", None), "2026-05-01T10:01:31Z");
        assert_eq!(told("@hourly", None), "2026-05-01T11:00:00Z");
        assert_eq!(told("@daily", Some("Europe/Berlin")), "2026-05-02T00:00:00+02:00");
        assert_eq!(due("", None), Ok(None));
    }

    #[test]
    fn what_is_unsound_is_told_apart() {
        for pattern in ["@at x", "@every 999ms", "@every x", "@never", "@at", "* * *"] {
            assert_eq!(due(pattern, None), Err(Unsound::Pattern), "{pattern}");
        }
        for pattern in ["@at 2030-01-01T00:00:00Z", "@every 1s"] {
            assert_eq!(due(pattern, Some("UTC")), Err(Unsound::Pattern), "{pattern} in a zone");
        }
        for zone in ["", "Nowhere", "europe/berlin", "../UTC"] {
            assert_eq!(due("@hourly", Some(zone)), Err(Unsound::Zone), "{zone}");
        }
    }

    #[test]
    fn beyond_2262_the_count_of_nanoseconds_wraps_around() {
        let now = WallNs::from_ns(0);
        let at = |moment: &str| {
            let pattern = format!("@at {moment}");
            next(pattern.as_bytes(), None, now, now).unwrap().unwrap().at.ns()
        };
        assert_eq!(at("2262-04-11T23:47:16.854775807Z"), i64::MAX);
        assert_eq!(at("2262-04-11T23:47:16.854775808Z"), i64::MIN);
        assert_eq!(at("2554-07-21T23:34:33.709551616Z"), 0);
        assert_eq!(at("1677-09-21T00:12:43.145224191Z"), i64::MAX);
        assert!(at("3000-01-01T00:00:00Z") < 0 && at("2700-01-01T00:00:00Z") > 0);
    }

    #[test]
    fn what_was_missed_is_due_once() {
        let (since, now) = (WallNs::from_ns(0), WallNs::from_ns(100 * SECOND_NS + 1));
        let at =
            |pattern: &str| next(pattern.as_bytes(), None, since, now).unwrap().unwrap().at.ns() / SECOND_NS;
        assert_eq!((at("@every 3s"), at("*/7 * * * * *")), (103, 102));
    }
}
