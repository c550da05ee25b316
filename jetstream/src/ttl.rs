//! The time to live that a message asks for in its header `Nats-TTL` (ADR-43).

use crate::clock::WallNs;
use jetkv_go_compat::GoDuration;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// How long a message lives, by its own header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ttl {
    /// Nothing is said, or zero.
    Unset,
    /// Exempt from the stream's age limit.
    Never,
    /// So many seconds.
    Secs(i64),
}

impl Ttl {
    /// The moment at which a message of `ts_ns` expires; `None` where it does not by its own header. In whole seconds,
    /// as nats-server v2.15.2 counts them.
    pub(crate) fn expiry(self, ts_ns: i64) -> Option<WallNs> {
        match self {
            Self::Secs(secs) => Some(WallNs::from_ns(ts_ns).plus(secs.saturating_mul(NANOS_PER_SECOND))),
            Self::Unset | Self::Never => None,
        }
    }
}

/// Reads `Nats-TTL`: `never` in any case, a Go duration of at least a second (fractions of a second are cut), or
/// plain seconds. `None` for anything else.
pub(crate) fn parse_ttl(value: &[u8]) -> Option<Ttl> {
    if value.is_empty() {
        return Some(Ttl::Unset);
    }
    if value.eq_ignore_ascii_case(b"never") {
        return Some(Ttl::Never);
    }
    let text = std::str::from_utf8(value).ok()?;
    if let Ok(GoDuration(duration_ns)) = GoDuration::parse(text) {
        return (duration_ns >= NANOS_PER_SECOND).then_some(Ttl::Secs(duration_ns / NANOS_PER_SECOND));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What does not fit into 64 bits wraps around, as in nats-server v2.15.2 (observed): 2^64 is zero.
    match text.bytes().fold(0_i64, |secs, digit| secs.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')))
    {
        0 => Some(Ttl::Unset),
        secs => (secs > 0).then_some(Ttl::Secs(secs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_are_read_as_nats_server_reads_them() {
        for (text, ttl) in [
            ("", Some(Ttl::Unset)),
            ("never", Some(Ttl::Never)),
            ("Never", Some(Ttl::Never)),
            ("0", None),
            ("1", Some(Ttl::Secs(1))),
            ("1s", Some(Ttl::Secs(1))),
            ("1h1m1.9s", Some(Ttl::Secs(3661))),
            ("999ms", None),
            ("-1", None),
            ("1x", None),
            ("9223372036854775807", Some(Ttl::Secs(i64::MAX))),
            ("9223372036854775808", None),
            ("18446744073709551616", Some(Ttl::Unset)),
        ] {
            // A bare zero is Go's zero duration, which is below a second.
            assert_eq!(parse_ttl(text.as_bytes()), ttl, "{text}");
        }
    }

    #[test]
    fn a_message_expires_so_many_seconds_after_it_came() {
        let expiry = |value: &str| parse_ttl(value.as_bytes()).and_then(|ttl| ttl.expiry(5)).map(WallNs::ns);
        assert_eq!(expiry("30"), Some(30 * NANOS_PER_SECOND + 5));
        assert_eq!(expiry("1h30m"), Some(5400 * NANOS_PER_SECOND + 5));
        assert_eq!(expiry("1.5s"), Some(NANOS_PER_SECOND + 5));
        for none in ["", "never", "0", "00", "-1", "-5s", "1x", "s", ".", "18446744073709551616", "1h.s"] {
            assert_eq!(expiry(none), None, "{none}");
        }
    }
}
