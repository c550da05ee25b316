//! Writing operations, the server's and the client's, onto the end of a buffer.
//!
//! Nothing allocates but the buffer itself, when it has to grow.
//!
//! ```
//! use jetkv_protocol::encode;
//!
//! let mut server = Vec::new();
//! encode::info(&mut server, b"{}");
//! encode::msg(&mut server, b"a.b", b"1", Some(b"r"), b"", b"hello");
//! assert_eq!(server, b"INFO {} \r\nMSG a.b 1 r 5\r\nhello\r\n");
//!
//! // The same message, whose bytes are appended by the caller.
//! let mut line = Vec::new();
//! encode::msg_line(&mut line, b"a.b", b"1", Some(b"r"), 0, 5);
//! assert_eq!(line, b"MSG a.b 1 r 5\r\n");
//!
//! let mut answers = Vec::new();
//! encode::ok(&mut answers);
//! encode::ping(&mut answers);
//! encode::pong(&mut answers);
//! assert_eq!(answers, [encode::OK, encode::PING, encode::PONG].concat());
//! encode::err(&mut answers, "Unknown Protocol Operation");
//! assert!(answers.ends_with(b"-ERR 'Unknown Protocol Operation'\r\n"));
//!
//! let mut client = Vec::new();
//! encode::connect(&mut client, b"{}");
//! encode::sub(&mut client, b"a.*", Some(b"workers"), b"1");
//! encode::publish(&mut client, b"a.b", None, b"", b"hi");
//! encode::unsub(&mut client, b"1", Some(2));
//! assert_eq!(client, b"CONNECT {}\r\nSUB a.* workers 1\r\nPUB a.b 2\r\nhi\r\nUNSUB 1 2\r\n");
//!
//! let mut leaf = Vec::new();
//! encode::leaf_sub(&mut leaf, b"a.* workers", Some(2));
//! encode::leaf_msg(&mut leaf, b"a.b", Some(&[b"r"]), &[b"workers"], b"", b"hi");
//! encode::leaf_unsub(&mut leaf, b"a.* workers");
//! assert_eq!(leaf, b"LS+ a.* workers 2\r\nLMSG a.b + r workers 2\r\nhi\r\nLS- a.* workers\r\n");
//!
//! let mut number = Vec::new();
//! encode::decimal(&mut number, 42);
//! assert_eq!(number, b"42");
//! ```

use jetkv_go_compat::eight_digits;

/// `+OK` as sent.
pub const OK: &[u8] = b"+OK\r\n";
/// `PING` as sent.
pub const PING: &[u8] = b"PING\r\n";
/// `PONG` as sent.
pub const PONG: &[u8] = b"PONG\r\n";

const CRLF: &[u8] = b"\r\n";

/// The most digits that a `u64` has.
const MAX_DIGITS: usize = 20;
/// Numbers below this have their digits made all at once.
const EIGHT_DIGITS_END: u64 = 100_000_000;

/// Appends `number` in decimal.
#[inline]
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    if number >= EIGHT_DIGITS_END {
        return long_decimal(out, number);
    }
    let digits = u64::from_le_bytes(eight_digits(number));
    // The last digit stays, even of nothing.
    let zeros = ((digits ^ ZEROS).trailing_zeros() / 8).min(7);
    // Eight bytes that are always as many, of which some are taken off again, cost less than a copy of so many.
    out.extend_from_slice(&(digits >> (zeros * 8)).to_le_bytes());
    out.truncate(out.len() - zeros as usize);
}

/// Eight times the digit `0`.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

#[cold]
fn long_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; MAX_DIGITS];
    let mut rest = number;
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        // The remainder of a division by ten always fits.
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(MAX_DIGITS - length..).unwrap_or_default());
}

/// Appends MSG, or HMSG when there are `headers`.
#[inline]
pub fn msg(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    headers: &[u8],
    payload: &[u8],
) {
    msg_line(out, subject, sid, reply, headers.len(), headers.len() + payload.len());
    if !headers.is_empty() {
        out.extend_from_slice(headers);
    }
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// Appends the control line of MSG, or of HMSG when `headers_bytes` is not zero. The caller appends the
/// `total_bytes` of headers and payload, then CR LF.
#[inline]
pub fn msg_line(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    headers_bytes: usize,
    total_bytes: usize,
) {
    out.extend_from_slice(if headers_bytes == 0 { b"MSG ".as_slice() } else { b"HMSG ".as_slice() });
    out.extend_from_slice(subject);
    out.push(b' ');
    out.extend_from_slice(sid);
    finish_message_line(out, reply, headers_bytes, total_bytes);
}

#[inline(always)]
fn finish_message_line(out: &mut Vec<u8>, reply: Option<&[u8]>, headers_bytes: usize, total_bytes: usize) {
    if let Some(reply) = reply {
        out.push(b' ');
        out.extend_from_slice(reply);
    }
    if headers_bytes != 0 {
        out.push(b' ');
        decimal(out, headers_bytes as u64);
    }
    // One digit each, which fits.
    let digit = |number: usize| b'0' + (number % 10) as u8;
    // The size of most messages has up to three digits.
    match total_bytes {
        0..10 => out.extend_from_slice(&[b' ', digit(total_bytes), b'\r', b'\n']),
        10..100 => {
            out.extend_from_slice(&[b' ', digit(total_bytes / 10), digit(total_bytes), b'\r', b'\n']);
        }
        100..1000 => out.extend_from_slice(&[
            b' ',
            digit(total_bytes / 100),
            digit(total_bytes / 10),
            digit(total_bytes),
            b'\r',
            b'\n',
        ]),
        _ => {
            out.push(b' ');
            decimal(out, total_bytes as u64);
            out.extend_from_slice(CRLF);
        }
    }
}

/// Appends INFO with its JSON text, with the blank before the line end that nats-server sends.
pub fn info(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"INFO ");
    out.extend_from_slice(json);
    out.extend_from_slice(b" \r\n");
}

/// Appends -ERR with `text` in single quotes.
pub fn err(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"-ERR '");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"'\r\n");
}

/// Appends +OK.
#[inline]
pub fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(OK);
}

/// Appends PING.
#[inline]
pub fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(PING);
}

/// Appends PONG.
#[inline]
pub fn pong(out: &mut Vec<u8>) {
    out.extend_from_slice(PONG);
}

/// Appends CONNECT with its JSON text.
pub fn connect(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"CONNECT ");
    out.extend_from_slice(json);
    out.extend_from_slice(CRLF);
}

/// Appends PUB, or HPUB when there are `headers`.
#[inline]
pub fn publish(out: &mut Vec<u8>, subject: &[u8], reply: Option<&[u8]>, headers: &[u8], payload: &[u8]) {
    out.extend_from_slice(if headers.is_empty() { b"PUB ".as_slice() } else { b"HPUB ".as_slice() });
    out.extend_from_slice(subject);
    finish_message_line(out, reply, headers.len(), headers.len() + payload.len());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// Appends SUB.
pub fn sub(out: &mut Vec<u8>, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(subject);
    out.push(b' ');
    if let Some(queue) = queue {
        out.extend_from_slice(queue);
        out.push(b' ');
    }
    out.extend_from_slice(sid);
    out.extend_from_slice(CRLF);
}

/// Appends UNSUB.
pub fn unsub(out: &mut Vec<u8>, sid: &[u8], max: Option<u64>) {
    out.extend_from_slice(b"UNSUB ");
    out.extend_from_slice(sid);
    if let Some(max) = max {
        out.push(b' ');
        decimal(out, max);
    }
    out.extend_from_slice(CRLF);
}

/// Appends LS+; `key` is the subject, and behind it the queue group, which then has so many members.
pub fn leaf_sub(out: &mut Vec<u8>, key: &[u8], weight: Option<u32>) {
    out.extend_from_slice(b"LS+ ");
    out.extend_from_slice(key);
    if let Some(weight) = weight {
        out.push(b' ');
        decimal(out, u64::from(weight));
    }
    out.extend_from_slice(CRLF);
}

/// Appends LS-.
pub fn leaf_unsub(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(b"LS- ");
    out.extend_from_slice(key);
    out.extend_from_slice(CRLF);
}

/// Appends LMSG, or HMSG when there are `headers`. The reply subject is given in parts.
pub fn leaf_msg(
    out: &mut Vec<u8>,
    subject: &[u8],
    reply: Option<&[&[u8]]>,
    queues: &[&[u8]],
    headers: &[u8],
    payload: &[u8],
) {
    out.extend_from_slice(if headers.is_empty() { b"LMSG ".as_slice() } else { b"HMSG ".as_slice() });
    out.extend_from_slice(subject);
    match (reply, queues.is_empty()) {
        (Some(_), false) => out.extend_from_slice(b" +"),
        (None, false) => out.extend_from_slice(b" |"),
        (_, true) => {}
    }
    if let Some(reply) = reply {
        out.push(b' ');
        reply.iter().for_each(|part| out.extend_from_slice(part));
    }
    for queue in queues {
        out.push(b' ');
        out.extend_from_slice(queue);
    }
    finish_message_line(out, None, headers.len(), headers.len() + payload.len());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 1, 9, 10, 99, 100, 1_048_576, u64::MAX] {
            assert_eq!(written(|out| decimal(out, number)), number.to_string());
        }
    }

    #[test]
    fn operations_have_the_servers_form() {
        assert_eq!(written(|out| msg(out, b"a", b"1", None, b"", b"hi")), "MSG a 1 2\r\nhi\r\n");
        assert_eq!(
            written(|out| msg(out, b"a", b"1", Some(b"r"), b"NATS/1.0\r\n\r\n", b"hi")),
            "HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
        );
        assert_eq!(written(|out| info(out, b"{}")), "INFO {} \r\n");
        assert_eq!(written(|out| err(out, "Stale Connection")), "-ERR 'Stale Connection'\r\n");
        assert_eq!(written(|out| publish(out, b"a", Some(b"r"), b"", b"")), "PUB a r 0\r\n\r\n");
        assert_eq!(written(|out| sub(out, b"a.*", Some(b"q"), b"7")), "SUB a.* q 7\r\n");
        assert_eq!(written(|out| unsub(out, b"7", Some(3))), "UNSUB 7 3\r\n");
    }
}
