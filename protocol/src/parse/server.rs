//! Incremental parsing of what a server sends.

use super::line::{LineReader, Separators, Verb, is_blank, server_verb, size};
use super::message::{Message, Pending, Whole};
use super::{ServerParsed, Step};
use crate::error::{BadArguments, ProtocolError};
use crate::op::ServerOp;

/// The longest line that a server may send, in bytes. An INFO with many URLs is far longer than what
/// clients may send.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Reads the operations of one server; the client's side of [`Parser`](super::Parser), with the same way
/// of working.
#[derive(Debug, Clone, Default)]
pub struct ServerParser {
    line: LineReader,
    pending: Option<Pending>,
}

impl ServerParser {
    /// A parser at the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the operation at the front of `buf`.
    ///
    /// # Errors
    /// See [`ProtocolError`]. What follows cannot be read.
    #[inline]
    pub fn parse<'a>(&mut self, buf: &'a [u8]) -> Result<ServerParsed<'a>, ProtocolError> {
        if let Some(pending) = &self.pending {
            let step = pending.resume(buf)?;
            if matches!(step, Step::Op { .. }) {
                self.pending = None;
            }
            return Ok(message_step(step));
        }
        if buf.is_empty() {
            return Ok(Step::Incomplete { need: 1 });
        }
        let Some((verb, line)) = self.line.next(buf, server_verb, MAX_LINE_BYTES)? else {
            return Ok(Step::Incomplete { need: buf.len() + 1 });
        };
        let op = match verb {
            Verb::Msg => return self.message(buf, message_arguments(line.arguments)?, line.next),
            Verb::Hmsg => return self.message(buf, header_message_arguments(line.arguments)?, line.next),
            Verb::Ping => ServerOp::Ping,
            Verb::Pong => ServerOp::Pong,
            Verb::Info => ServerOp::Info(line.arguments.trim_ascii_end()),
            Verb::Ok => ServerOp::Ok,
            Verb::Err => ServerOp::Err(unquoted(line.arguments)),
            Verb::Connect | Verb::Pub | Verb::Hpub | Verb::Sub | Verb::Unsub => {
                return Err(ProtocolError::UnknownOperation);
            }
        };
        Ok(Step::Op { op, consumed: line.next })
    }

    fn message<'a>(
        &mut self,
        buf: &'a [u8],
        message: Message<'a>,
        body_at: usize,
    ) -> Result<ServerParsed<'a>, ProtocolError> {
        let step = message.with_body(buf, body_at)?;
        if let Step::Incomplete { .. } = step {
            self.pending = Some(Pending::new(buf, &message, body_at));
        }
        Ok(message_step(step))
    }
}

#[inline]
fn message_step(step: Step<Whole<'_>>) -> ServerParsed<'_> {
    match step {
        Step::Incomplete { need } => Step::Incomplete { need },
        Step::Op { op, consumed } => {
            let Whole { subject, sid, reply, headers, payload } = op;
            Step::Op { op: ServerOp::Msg { subject, sid, reply, headers, payload }, consumed }
        }
    }
}

/// `MSG <subject> <sid> [reply] <size>`
fn message_arguments(arguments: &[u8]) -> Result<Message<'_>, BadArguments> {
    let bad = || BadArguments::new("malformed MSG", arguments);
    let (subject, sid, reply, digits) = match Separators::Blanks.split(arguments) {
        Some((subject, sid, Some(digits), None)) => (subject, sid, None, digits),
        Some((subject, sid, Some(reply), Some(digits))) => (subject, sid, Some(reply), digits),
        _ => return Err(bad()),
    };
    let size_bytes = size(digits).ok_or_else(bad)?;
    Ok(Message { subject, sid, reply, headers_bytes: 0, size_bytes })
}

/// `HMSG <subject> <sid> [reply] <header size> <total size>`
fn header_message_arguments(arguments: &[u8]) -> Result<Message<'_>, BadArguments> {
    let bad = || BadArguments::new("malformed HMSG", arguments);
    let cut = arguments.iter().rposition(|byte| is_blank(*byte)).ok_or_else(bad)?;
    let (head, total) = arguments.split_at_checked(cut).ok_or_else(bad)?;
    let message = message_arguments(head).map_err(|_| bad())?;
    let size_bytes = total.get(1..).and_then(size).ok_or_else(bad)?;
    if message.size_bytes > size_bytes {
        return Err(bad());
    }
    Ok(Message { headers_bytes: message.size_bytes, size_bytes, ..message })
}

fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_end();
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}
