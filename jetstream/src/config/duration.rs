//! Durations as Go prints and reads them; they stand in error texts and in negative acknowledgements.

const NS_PER_US: u64 = 1_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Prints like Go's `time.Duration`: `1m0s`, `250ms`, `1.5s`.
#[must_use]
pub fn format_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    if ns < NS_PER_S {
        let (unit, per) = match ns {
            0 => return "0s".to_owned(),
            1..NS_PER_US => ("ns", 1),
            NS_PER_US..NS_PER_MS => ("µs", NS_PER_US),
            _ => ("ms", NS_PER_MS),
        };
        return format!("{sign}{}{unit}", fraction(ns, per));
    }
    let (total_s, rest) = (ns / NS_PER_S, ns % NS_PER_S);
    let (hours, minutes, seconds) = (total_s / 3600, total_s / 60 % 60, total_s % 60);
    let seconds = fraction(seconds * NS_PER_S + rest, NS_PER_S);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

fn fraction(ns: u64, per: u64) -> String {
    let (whole, mut rest) = (ns / per, ns % per);
    let mut text = whole.to_string();
    if rest > 0 {
        text.push('.');
        let mut digit_ns = per / 10;
        while rest > 0 {
            text.push(char::from(b'0' + u8::try_from(rest / digit_ns).unwrap_or(0)));
            rest %= digit_ns;
            digit_ns = (digit_ns / 10).max(1);
        }
    }
    text
}

/// Reads like Go's `time.ParseDuration`: `300ms`, `-1.5h`, `2h45m`. `None` where Go reports an error.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total_ns = 0.0_f64;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let per_ns = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total_ns += number.parse::<f64>().ok()? * per_ns;
        rest = tail;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "checked against the range"
    )]
    let total = if total_ns < i64::MAX as f64 { total_ns as i64 } else { return None };
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_and_read_as_in_go() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (-90_000_000_000, "-1m30s"),
            (1_000_000_001, "1.000000001s"),
        ] {
            assert_eq!(format_duration(ns), text);
            assert_eq!(parse_duration(text), Some(ns));
        }
        assert_eq!(parse_duration("2h45m"), Some(9_900_000_000_000));
        for bad in ["", "-", "5", "s", "1x", "1.2.3s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
