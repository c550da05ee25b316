//! The time to live that a message asks for.
#![warn(clippy::indexing_slicing)]

use jetkv_protocol::Headers;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The moment at which a message stored at `ts_ns` expires, from its `Nats-TTL` header; `None` without one, for
/// `never`, and for a value that is none. In whole seconds, as nats-server v2.15.2 counts them (ADR-43).
pub(super) fn expiry_ns(headers: &[u8], ts_ns: i64) -> Option<i64> {
    let value = Headers::new(headers).get(b"Nats-TTL")?;
    let seconds = seconds(std::str::from_utf8(value).ok()?).filter(|seconds| *seconds > 0)?;
    ts_ns.checked_add(seconds.checked_mul(NANOS_PER_SECOND)?)
}

fn seconds(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    go_duration_ns(text).filter(|ns| *ns >= NANOS_PER_SECOND).map(|ns| ns / NANOS_PER_SECOND)
}

/// A duration in Go's notation, such as `1h30m` or `1.5s`, in nanoseconds.
fn go_duration_ns(text: &str) -> Option<i64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total_ns = 0_i64;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, after) = rest.split_at_checked(number_len)?;
        let unit_len = after.bytes().take_while(|byte| !byte.is_ascii_digit() && *byte != b'.').count();
        let (unit, after) = after.split_at_checked(unit_len)?;
        let unit_ns: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "h" => 3600 * NANOS_PER_SECOND,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        if !whole.is_empty() {
            total_ns = total_ns.checked_add(whole.parse::<i64>().ok()?.checked_mul(unit_ns)?)?;
        }
        let mut place_ns = unit_ns;
        for digit in fraction.bytes() {
            place_ns /= 10;
            let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
            total_ns = total_ns.checked_add(digit * place_ns)?;
        }
        rest = after;
    }
    Some(total_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_read_in_every_notation() {
        let expiry = |value: &str| expiry_ns(format!("NATS/1.0\r\nNats-TTL: {value}\r\n\r\n").as_bytes(), 5);
        assert_eq!(expiry("30"), Some(30 * NANOS_PER_SECOND + 5));
        assert_eq!(expiry("1h30m"), Some(5400 * NANOS_PER_SECOND + 5));
        assert_eq!(expiry("1.5s"), Some(NANOS_PER_SECOND + 5));
        for none in ["never", "0", "-1", "900ms", "1x", "s", "", ".", "99999999999999999999", "1h.s"] {
            assert_eq!(expiry(none), None, "{none}");
        }
        assert_eq!(expiry_ns(b"", 5), None);
    }
}
