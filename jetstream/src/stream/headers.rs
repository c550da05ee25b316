//! What a message's headers say of its stream.

use super::push_number;
use crate::store::Msg;
use jetkv_go_compat::write_time;

/// Writes a message's own headers, and behind them where it stands in its stream. The last line is left open.
///
/// What ends the own headers are their last two bytes, whatever these are: a publisher may have sent a block that is not
/// whole, and direct gets and republished messages show the same of it (nats-server v2.15.2, by its source).
pub(crate) fn write_headers(stream: &str, msg: &Msg<'_>, out: &mut Vec<u8>) {
    match msg.headers.len().checked_sub(2).and_then(|end| msg.headers.get(..end)) {
        Some(own) if !own.is_empty() => {
            out.extend_from_slice(own);
            out.extend_from_slice(b"Nats-Stream: ");
        }
        _ => out.extend_from_slice(b"NATS/1.0\r\nNats-Stream: "),
    }
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(b"\r\nNats-Subject: ");
    out.extend_from_slice(msg.subject);
    out.extend_from_slice(b"\r\nNats-Sequence: ");
    push_number(out, msg.seq);
    out.extend_from_slice(b"\r\nNats-Time-Stamp: ");
    write_time(msg.ts_ns, out);
}
