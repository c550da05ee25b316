//! Where users may come from, and when.

use std::net::IpAddr;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::model::{TimeRange, User};

/// Whether a text is a network in the form `192.0.2.0/24`.
pub(super) fn is_network(text: &str) -> bool {
    network(text).is_some()
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let is_plain = !bits.is_empty() && bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u32 = is_plain.then(|| bits.parse().ok()).flatten()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    (bits <= width).then_some((address, bits))
}

fn contains((network, bits): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

/// Whether a user may come from an address; one without an address comes from nowhere.
pub fn admits_source(user: &User, address: Option<IpAddr>) -> bool {
    if user.src.is_empty() {
        return true;
    }
    let Some(address) = address.map(|address| address.to_canonical()) else { return false };
    // One that is none means that nobody comes in behind it.
    for text in &user.src {
        match network(text) {
            None => return false,
            Some(network) if contains(network, address) => return true,
            Some(_) => {}
        }
    }
    false
}

pub(super) fn is_time_of_day(text: &str) -> bool {
    time_of_day(text).is_some()
}

fn time_of_day(text: &str) -> Option<Time> {
    let mut parts = text.split(':').map(|part| {
        let is_number = matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<i8>().ok()).flatten()
    });
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

pub(super) fn is_location(name: &str) -> bool {
    location(name).is_some()
}

fn location(name: &str) -> Option<TimeZone> {
    match name {
        "" | "Local" => Some(TimeZone::system()),
        "UTC" => Some(TimeZone::UTC),
        name => TimeZone::get(name).ok(),
    }
}

/// How long a user may stay from `now_ns` (since 1970) on: `None` where it may not be here, `Some(None)` without a limit.
pub fn time_left(user: &User, now_ns: i64) -> Option<Option<Duration>> {
    if user.times.is_empty() {
        return Some(None);
    }
    let zone = location(&user.times_location)?;
    let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?.to_zoned(zone);
    let mut longest = None;
    for range in &user.times {
        longest = longest.max(left_of(range, &now)?);
    }
    longest.map(Some)
}

/// What is left of a range; the outer `None` for one that is none.
fn left_of(range: &TimeRange, now: &Zoned) -> Option<Option<Duration>> {
    let at = |text: &str, date| {
        let civil = jiff::civil::DateTime::from_parts(date, time_of_day(text)?);
        civil.to_zoned(now.time_zone().clone()).ok()
    };
    let today = now.date();
    let (start, end) = (at(&range.start, today)?, at(&range.end, today)?);
    let until = |end: &Zoned| Duration::try_from(end.duration_since(now)).ok();
    if start < *now && end > *now {
        return Some(until(&end));
    }
    if start > end {
        if end > *now {
            return Some(until(&end));
        }
        let tomorrow = today.tomorrow().ok()?;
        let end = at(&range.end, tomorrow)?;
        if start < *now && end > *now {
            return Some(until(&end));
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(networks: &[&str]) -> User {
        User { src: networks.iter().map(|text| (*text).to_owned()).collect(), ..User::default() }
    }

    #[test]
    fn a_user_comes_from_its_networks_only() {
        let user = from(&["192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"]);
        for (address, allowed) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::ffff:192.0.2.9", true),
        ] {
            assert_eq!(admits_source(&user, address.parse().ok()), allowed, "{address}");
        }
        assert!(!admits_source(&user, None));
        assert!(admits_source(&User::default(), None));
        assert!(admits_source(&from(&["0.0.0.0/0"]), "8.8.8.8".parse().ok()));
        assert!(!admits_source(&from(&["nonsense", "0.0.0.0/0"]), "8.8.8.8".parse().ok()));
        for wrong in ["192.0.2.0", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+1", "/8", "x/8"] {
            assert!(!is_network(wrong), "{wrong}");
        }
    }

    fn at(zone: &str, ranges: &[(&str, &str)], now: &str) -> Option<Option<u64>> {
        let times = ranges
            .iter()
            .map(|(start, end)| TimeRange { start: (*start).to_owned(), end: (*end).to_owned() })
            .collect();
        let user = User { times, times_location: zone.to_owned(), ..User::default() };
        let now = now.parse::<Timestamp>().unwrap().as_nanosecond();
        time_left(&user, i64::try_from(now).unwrap()).map(|left| left.map(|left| left.as_secs()))
    }

    #[test]
    fn a_user_stays_until_the_end_of_its_time() {
        let day = [("11:00:00", "22:00:00")];
        assert_eq!(at("UTC", &day, "2026-01-02T13:00:00Z"), Some(Some(9 * 3600)));
        assert_eq!(at("UTC", &day, "2026-01-02T22:00:00Z"), None);
        assert_eq!(at("UTC", &day, "2026-01-02T10:59:59Z"), None);
        let night = [("22:00:00", "06:00:00")];
        assert_eq!(at("UTC", &night, "2026-01-02T05:00:00Z"), Some(Some(3600)));
        assert_eq!(at("UTC", &night, "2026-01-02T23:30:00Z"), Some(Some(6 * 3600 + 1800)));
        assert_eq!(at("UTC", &night, "2026-01-02T12:00:00Z"), None);
        // The longest of several counts, in the zone that the claims name.
        let several = [("00:00:00", "23:00:00"), ("11:00:00", "22:30:00")];
        assert_eq!(at("Asia/Tokyo", &several, "2026-01-02T12:00:00Z"), Some(Some(2 * 3600)));
        assert_eq!(at("UTC", &[], "2026-01-02T12:00:00Z"), Some(None));
        assert_eq!(at("Nowhere/Else", &day, "2026-01-02T13:00:00Z"), None);
        assert_eq!(at("UTC", &[("25:00:00", "26:00:00")], "2026-01-02T13:00:00Z"), None);
    }
}
