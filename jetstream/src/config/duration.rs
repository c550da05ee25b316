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
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, tail) = rest.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let unit_len = tail.bytes().take_while(|byte| !byte.is_ascii_digit() && *byte != b'.').count();
        let (unit, tail) = tail.split_at(unit_len);
        let unit_ns: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit_ns)?)?;
        let fraction = fraction.get(..fraction.len().min(18))?;
        if !fraction.is_empty() {
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total = total.checked_add(fraction.parse::<i128>().ok()? * unit_ns / scale)?;
        }
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
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
