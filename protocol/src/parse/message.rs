//! Messages whose bytes follow their control line.

use std::ops::Range;

use nom::Offset;

use super::Step;
use crate::error::ProtocolError;

/// What a control line says of the message behind it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Message<'a> {
    pub(super) subject: &'a [u8],
    /// Empty in what a client sends.
    pub(super) sid: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    pub(super) headers_bytes: usize,
    /// Headers and payload together.
    pub(super) size_bytes: usize,
}

/// A message and its bytes.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub(super) subject: &'a [u8],
    pub(super) sid: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    pub(super) headers: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Slices the body, which starts at `at` in `buf` and must be followed by CR LF.
    #[inline(always)]
    pub(super) fn with_body(&self, buf: &'a [u8], at: usize) -> Result<Step<Whole<'a>>, ProtocolError> {
        let end = at + self.size_bytes;
        match buf.get(end..) {
            Some([b'\r', b'\n', ..]) => {}
            // What cannot be the end is refused as soon as it is there.
            None | Some([]) => return Ok(Step::Incomplete { need: end + 1 }),
            Some([b'\r']) => return Ok(Step::Incomplete { need: end + 2 }),
            Some(_) => return Err(ProtocolError::UnknownOperation),
        }
        let split = at + self.headers_bytes;
        let (Some(headers), Some(payload)) = (buf.get(at..split), buf.get(split..end)) else {
            return Err(ProtocolError::UnknownOperation);
        };
        let op = Whole { subject: self.subject, sid: self.sid, reply: self.reply, headers, payload };
        Ok(Step::Op { op, consumed: end + 2 })
    }
}

/// A message whose body has not all arrived: its arguments as positions, so that its line is not read again.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    subject: Range<usize>,
    sid: Range<usize>,
    reply: Option<Range<usize>>,
    headers_bytes: usize,
    size_bytes: usize,
    body_at: usize,
}

impl Pending {
    pub(super) fn new(buf: &[u8], message: &Message<'_>, body_at: usize) -> Self {
        let range = |part: &[u8]| {
            // An empty part need not point into the buffer.
            let at = if part.is_empty() { 0 } else { buf.offset(part) };
            at..at + part.len()
        };
        Self {
            subject: range(message.subject),
            sid: range(message.sid),
            reply: message.reply.map(range),
            headers_bytes: message.headers_bytes,
            size_bytes: message.size_bytes,
            body_at,
        }
    }

    pub(super) fn resume<'a>(&self, buf: &'a [u8]) -> Result<Step<Whole<'a>>, ProtocolError> {
        let part = |range: &Range<usize>| buf.get(range.clone()).unwrap_or_default();
        let message = Message {
            subject: part(&self.subject),
            sid: part(&self.sid),
            reply: self.reply.as_ref().map(part),
            headers_bytes: self.headers_bytes,
            size_bytes: self.size_bytes,
        };
        message.with_body(buf, self.body_at)
    }
}
