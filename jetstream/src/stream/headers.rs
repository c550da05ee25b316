//! Header blocks: reading them, and writing what a message's say of its stream.

use super::push_number;
use crate::store::Msg;
pub(crate) use crate::ttl::{Ttl, parse_ttl};
use jetkv_go_compat::write_time;
use memchr::memmem;

/// Key and value of every line after the first.
pub(super) fn lines(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
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
