//! The reply subject of a delivery, which says what is delivered (ADR-15).

use crate::clock::WallNs;
use jetkv_protocol::subject;

/// What the reply subject of a delivery says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivered<'a> {
    /// The consumer that delivered it.
    pub(super) consumer: &'a [u8],
    /// How often the message was delivered.
    pub(super) count: u64,
    /// Its sequence in the stream.
    pub(super) stream_seq: u64,
    /// The delivery's sequence at the consumer.
    pub(super) consumer_seq: u64,
    /// When it was stored.
    pub(super) stored: WallNs,
    /// How many are to come.
    pub(super) pending: u64,
}

impl<'a> Delivered<'a> {
    /// Reads `$JS.ACK.<stream>.<consumer>.<five numbers>`, or with domain and account before the stream.
    pub(super) fn parse(reply: &'a [u8]) -> Option<Self> {
        if !reply.starts_with(b"$JS.ACK.") {
            return None;
        }
        let at = match subject::token_count(reply) {
            9 => 4,
            11.. => 6,
            _ => return None,
        };
        let mut tokens = subject::tokens(reply).skip(at - 1);
        let consumer = tokens.next()?;
        let mut numbers = tokens.map(number);
        let mut next = || numbers.next().flatten();
        let (count, stream_seq, consumer_seq) = (next()?, next()?, next()?);
        let (stored_ns, pending) = (next()?, next()?);
        let stored = WallNs::from_ns(i64::try_from(stored_ns).ok()?);
        Some(Self { consumer, count, stream_seq, consumer_seq, stored, pending })
    }
}

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let stored = WallNs::from_ns(99);
        let told = Delivered { consumer: b"C", count: 1, stream_seq: 7, consumer_seq: 3, stored, pending: 4 };
        assert_eq!(Delivered::parse(b"$JS.ACK.S.C.1.7.3.99.4"), Some(told));
        assert_eq!(Delivered::parse(b"$JS.ACK._.hash.S.C.1.7.3.99.4"), Some(told));
        assert_eq!(Delivered::parse(b"$JS.ACK._.hash.S.C.1.7.3.99.4.random"), Some(told));
        for other in ["", "$JS.ACK.S.C.1.7.3.99", "$JS.ACK.S.C.1.7.3.99.4.x", "$JS.ACK.S.C.a.7.3.99.4", "x"] {
            assert_eq!(Delivered::parse(other.as_bytes()), None, "{other}");
        }
    }
}
