//! First stop: what the headers of a message ask for.

use crate::headers::lines;

/// Values of the headers that matter to a publish, borrowed from the header block.
#[derive(Debug, Clone, Copy)]
pub(in crate::stream) struct PublishHeaders<'a> {
    pub(in crate::stream) msg_id: &'a [u8],
    pub(in crate::stream) expected_stream: &'a [u8],
    pub(in crate::stream) expected_last_seq: &'a [u8],
    pub(in crate::stream) expected_last_subject_seq: &'a [u8],
    pub(in crate::stream) expected_last_subject: &'a [u8],
    pub(in crate::stream) expected_last_msg_id: &'a [u8],
    pub(in crate::stream) rollup: &'a [u8],
    pub(in crate::stream) ttl: &'a [u8],
    pub(in crate::stream) increment: &'a [u8],
    pub(in crate::stream) batch_id: &'a [u8],
    pub(in crate::stream) schedule: &'a [u8],
    /// There may be one that is empty.
    pub(in crate::stream) schedule_time_zone: Option<&'a [u8]>,
    pub(in crate::stream) schedule_next: &'a [u8],
    pub(in crate::stream) scheduler: &'a [u8],
    pub(in crate::stream) source: &'a [u8],
    pub(in crate::stream) request_info: bool,
}

impl<'a> PublishHeaders<'a> {
    /// Of a message without any.
    pub(in crate::stream) const NONE: Self = Self {
        msg_id: b"",
        expected_stream: b"",
        expected_last_seq: b"",
        expected_last_subject_seq: b"",
        expected_last_subject: b"",
        expected_last_msg_id: b"",
        rollup: b"",
        ttl: b"",
        increment: b"",
        batch_id: b"",
        schedule: b"",
        schedule_time_zone: None,
        schedule_next: b"",
        scheduler: b"",
        source: b"",
        request_info: false,
    };

    /// Goes over the block once. The first line of a key counts; keys are exact.
    pub(in crate::stream) fn scan(block: &'a [u8]) -> Self {
        let mut found = Self::NONE;
        // An empty line counts, too.
        let mut seen = 0_u32;
        for (key, value) in lines(block) {
            let (place, slot) = match key {
                b"Nats-Msg-Id" => (0, &mut found.msg_id),
                b"Nats-Expected-Stream" => (1, &mut found.expected_stream),
                b"Nats-Expected-Last-Sequence" => (2, &mut found.expected_last_seq),
                b"Nats-Expected-Last-Subject-Sequence" => (3, &mut found.expected_last_subject_seq),
                b"Nats-Expected-Last-Subject-Sequence-Subject" => (4, &mut found.expected_last_subject),
                b"Nats-Expected-Last-Msg-Id" => (5, &mut found.expected_last_msg_id),
                b"Nats-Rollup" => (6, &mut found.rollup),
                b"Nats-TTL" => (7, &mut found.ttl),
                b"Nats-Incr" => (8, &mut found.increment),
                b"Nats-Batch-Id" => (9, &mut found.batch_id),
                b"Nats-Schedule" => (10, &mut found.schedule),
                b"Nats-Schedule-Next" => (11, &mut found.schedule_next),
                b"Nats-Scheduler" => (12, &mut found.scheduler),
                b"Nats-Stream-Source" => (13, &mut found.source),
                b"Nats-Schedule-Time-Zone" => {
                    found.schedule_time_zone.get_or_insert(value);
                    continue;
                }
                b"Nats-Request-Info" => {
                    found.request_info = true;
                    continue;
                }
                _ => continue,
            };
            if seen & (1 << place) == 0 {
                seen |= 1 << place;
                *slot = value;
            }
        }
        found
    }
}

/// A number as nats-server reads it from headers: digits only, -1 for anything else.
pub(in crate::stream) fn parse_int(digits: &[u8]) -> i64 {
    if digits.is_empty() {
        return -1;
    }
    let mut number: i64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return -1;
        }
        let next = number.checked_mul(10).and_then(|tens| tens.checked_add(i64::from(digit - b'0')));
        let Some(next) = next else { return -1 };
        number = next;
    }
    number
}

/// A number of digits only that fits into 64 bits.
pub(in crate::stream) fn parse_u64(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all_digits)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_counts_only_at_the_start_of_a_line_and_with_its_colon() {
        let block = b"NATS/1.0\r\nX: Nats-Msg-Id: no\r\nNats-Msg-Idx: no\r\nNats-Msg-Id:  yes\r\nNats-Msg-Id: late\r\n\r\n";
        assert_eq!(PublishHeaders::scan(block).msg_id, b"yes");
    }

    #[test]
    fn the_first_line_of_a_key_counts_even_where_it_is_empty() {
        let block = b"NATS/1.0\r\nNats-Batch-Id:\r\nNats-TTL: 1\r\nNats-Batch-Id: late\r\nNats-TTL:\r\n\r\n";
        let found = PublishHeaders::scan(block);
        assert_eq!((found.batch_id, found.ttl), (&b""[..], &b"1"[..]));
    }
}
