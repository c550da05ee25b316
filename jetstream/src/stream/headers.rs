//! The headers of a publish that JetStream acts on.

use super::push_number;
use crate::store::Msg;
pub(crate) use crate::ttl::{Ttl, parse_ttl};
use jetkv_go_compat::write_time;
use memchr::memmem;

/// Values of the headers that matter to a publish, borrowed from the header block.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublishHeaders<'a> {
    pub(super) msg_id: &'a [u8],
    pub(super) expected_stream: &'a [u8],
    pub(super) expected_last_seq: &'a [u8],
    pub(super) expected_last_subject_seq: &'a [u8],
    pub(super) expected_last_subject: &'a [u8],
    pub(super) expected_last_msg_id: &'a [u8],
    pub(super) rollup: &'a [u8],
    pub(super) ttl: &'a [u8],
    pub(super) increment: &'a [u8],
    pub(super) batch_id: &'a [u8],
    pub(super) schedule: &'a [u8],
    pub(super) schedule_next: &'a [u8],
    pub(super) scheduler: &'a [u8],
    pub(super) source: &'a [u8],
    pub(super) request_info: bool,
}

impl<'a> PublishHeaders<'a> {
    /// Of a message without any.
    pub(super) const NONE: Self = Self {
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
        schedule_next: b"",
        scheduler: b"",
        source: b"",
        request_info: false,
    };

    /// Goes over the block once. The first line of a key counts; keys are exact.
    pub(super) fn scan(block: &'a [u8]) -> Self {
        let mut found = Self::NONE;
        for (key, value) in lines(block) {
            let slot = match key {
                b"Nats-Msg-Id" => &mut found.msg_id,
                b"Nats-Expected-Stream" => &mut found.expected_stream,
                b"Nats-Expected-Last-Sequence" => &mut found.expected_last_seq,
                b"Nats-Expected-Last-Subject-Sequence" => &mut found.expected_last_subject_seq,
                b"Nats-Expected-Last-Subject-Sequence-Subject" => &mut found.expected_last_subject,
                b"Nats-Expected-Last-Msg-Id" => &mut found.expected_last_msg_id,
                b"Nats-Rollup" => &mut found.rollup,
                b"Nats-TTL" => &mut found.ttl,
                b"Nats-Incr" => &mut found.increment,
                b"Nats-Batch-Id" => &mut found.batch_id,
                b"Nats-Schedule" => &mut found.schedule,
                b"Nats-Schedule-Next" => &mut found.schedule_next,
                b"Nats-Scheduler" => &mut found.scheduler,
                b"Nats-Stream-Source" => &mut found.source,
                b"Nats-Request-Info" => {
                    found.request_info = true;
                    continue;
                }
                _ => continue,
            };
            if slot.is_empty() {
                *slot = value;
            }
        }
        found
    }
}

/// Key and value of every line after the first.
fn lines(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = memmem::find(block, b"\r\n").and_then(|at| block.get(at + 2..)).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let end = memmem::find(rest, b"\r\n")?;
            let line = rest.get(..end)?;
            rest = rest.get(end + 2..)?;
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let value = line.get(colon + 1..)?;
            let blanks = value.iter().take_while(|byte| **byte == b' ').count();
            return Some((line.get(..colon)?, value.get(blanks..)?));
        }
    })
}

/// Writes a message's own headers, and behind them where it stands in its stream. The last line is left open.
///
/// What ends the own headers are their last two bytes, whatever these are: a publisher may have sent a block that is not
/// whole, and direct gets and republished messages show the same of it (nats-server v2.15.2, by its source).
pub(crate) fn write_headers(stream: &str, msg: &Msg<'_>, out: &mut Vec<u8>) {
    match msg.headers.len().checked_sub(2).and_then(|end| msg.headers.get(..end)) {
        Some(own) if !own.is_empty() => out.extend_from_slice(own),
        _ => out.extend_from_slice(b"NATS/1.0\r\n"),
    }
    out.extend_from_slice(b"Nats-Stream: ");
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(b"\r\nNats-Subject: ");
    out.extend_from_slice(msg.subject);
    out.extend_from_slice(b"\r\nNats-Sequence: ");
    push_number(out, msg.seq);
    out.extend_from_slice(b"\r\nNats-Time-Stamp: ");
    write_time(msg.ts_ns, out);
}

/// The value of one header.
pub(crate) fn header<'a>(block: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    lines(block).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The block as it is stored: without a status, without the lines that the server adds on the way. `None` where it
/// is to be stored as it came.
pub(super) fn stored_block(block: &[u8], drop_request_info: bool) -> Option<Vec<u8>> {
    const VERSION: &[u8] = b"NATS/1.0";
    let first_line = memmem::find(block, b"\r\n")?;
    let has_status = block.starts_with(VERSION) && first_line > VERSION.len();
    if !has_status && !drop_request_info {
        return None;
    }
    let mut kept = if has_status { VERSION.to_vec() } else { block.get(..first_line)?.to_vec() };
    kept.extend_from_slice(b"\r\n");
    let mut rest = block.get(first_line + 2..)?;
    let mut lines_kept = 0;
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let (line, tail) = rest.split_at(end + 2);
        rest = tail;
        if line == b"\r\n" {
            break;
        }
        if !(drop_request_info && line.starts_with(b"Nats-Request-Info:")) {
            kept.extend_from_slice(line);
            lines_kept += 1;
        }
    }
    if lines_kept == 0 {
        return Some(Vec::new());
    }
    kept.extend_from_slice(b"\r\n");
    Some(kept)
}

/// The block with one header taken out and put in again at the end with a new value.
pub(super) fn with_header(block: &[u8], key: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + key.len() + value.len() + 6);
    let mut rest = block;
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let (line, tail) = rest.split_at(end + 2);
        rest = tail;
        if line == b"\r\n" {
            break;
        }
        let is_key = line.starts_with(key.as_bytes()) && line.get(key.len()) == Some(&b':');
        if !is_key {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out
}

/// A number as nats-server reads it from headers: digits only, -1 for anything else.
pub(super) fn parse_int(digits: &[u8]) -> i64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_counts_only_at_the_start_of_a_line_and_with_its_colon() {
        let block = b"NATS/1.0\r\nX: Nats-Msg-Id: no\r\nNats-Msg-Idx: no\r\nNats-Msg-Id:  yes\r\nNats-Msg-Id: late\r\n\r\n";
        assert_eq!(PublishHeaders::scan(block).msg_id, b"yes");
    }

    #[test]
    fn status_and_request_info_are_not_stored() {
        assert_eq!(stored_block(b"NATS/1.0 503\r\n\r\n", false), Some(Vec::new()));
        assert_eq!(stored_block(b"NATS/1.0\r\nA: b\r\n\r\n", false), None);
        assert_eq!(
            stored_block(b"NATS/1.0 100 x\r\nNats-Request-Info: {}\r\nA: b\r\n\r\n", true).unwrap(),
            b"NATS/1.0\r\nA: b\r\n\r\n"
        );
    }
}
