//! Incremental parsing of what a client sends.

mod leaf;
mod line;
mod message;
mod quick;
mod server;

pub use leaf::{LeafParsed, LeafParser};
pub use server::ServerParser;

use std::ops::Range;

use nom::Offset;

use crate::encode;
use crate::error::{BadArguments, ProtocolError};
use crate::op::{ClientOp, Publish, ServerOp};
use line::{LineReader, Separators, Verb, client_verb, size};
use message::{Message, Pending};

/// nats-server's default for the longest argument line of a client, in bytes.
pub const DEFAULT_MAX_CONTROL_LINE: usize = 4096;

/// nats-server's default for the largest message, headers included, in bytes.
pub const DEFAULT_MAX_PAYLOAD: usize = 1024 * 1024;

/// What a connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest argument part of a control line, in bytes.
    pub max_control_line: usize,
    /// The largest message, headers included, in bytes; `usize::MAX` for no limit.
    pub max_payload: usize,
    /// Whether HPUB is allowed: the server supports headers and the client's CONNECT asked for them.
    pub headers: bool,
    /// Whether CONNECT must come first. It stops mattering at the first CONNECT.
    pub connect_first: bool,
}

impl Default for Limits {
    /// nats-server's defaults for a connection that has not sent CONNECT yet and need not authenticate.
    fn default() -> Self {
        Self {
            max_control_line: DEFAULT_MAX_CONTROL_LINE,
            max_payload: DEFAULT_MAX_PAYLOAD,
            headers: false,
            connect_first: false,
        }
    }
}

/// One step of parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<T> {
    /// The operation at the front of the buffer is not complete. Call again with the same bytes and more
    /// behind them.
    Incomplete {
        /// How many bytes the buffer must hold, from its first one, before another call can get further.
        /// Exact once a message's size is known, otherwise one more than there are.
        need: usize,
    },
    /// A whole operation.
    Op {
        /// The operation, borrowed from the buffer.
        op: T,
        /// How many bytes it took. The next call starts behind them.
        consumed: usize,
    },
}

/// What [`Parser::parse`] found.
pub type Parsed<'a> = Step<ClientOp<'a>>;

/// What [`ServerParser::parse`] found.
pub type ServerParsed<'a> = Step<ServerOp<'a>>;

/// Reads the operations of one client.
///
/// The caller owns the buffer. It calls [`parse`](Self::parse) on the bytes that are not consumed yet, and
/// after [`Step::Incomplete`] calls again with the same bytes and more behind them. The parser remembers
/// how far it has looked, so that bytes are looked at once however they arrive.
///
/// A buffer never has to hold more than `max_control_line` plus `max_payload` plus a few bytes. Two sorts of
/// filler that nats-server reads without end are therefore bounded by `max_control_line`: blanks
/// between a verb and its arguments, and text after PING, PONG and +OK.
///
/// ```
/// use jetkv_protocol::{ClientOp, DEFAULT_MAX_CONTROL_LINE, DEFAULT_MAX_PAYLOAD, Limits, Parser, Step};
///
/// let mut parser = Parser::new(Limits::default());
/// assert_eq!(parser.limits().max_control_line, DEFAULT_MAX_CONTROL_LINE);
/// assert_eq!(parser.limits().max_payload, DEFAULT_MAX_PAYLOAD);
///
/// // What has not all arrived is given again with more behind it.
/// let mut buffer = b"PUB a 5\r\nhe".to_vec();
/// assert_eq!(parser.parse(&buffer)?, Step::Incomplete { need: 15 });
/// assert_eq!(parser.take_announced(&buffer), Some(&b"a"[..]));
/// buffer.extend_from_slice(b"llo\r\nPING\r\n");
/// let Step::Op { op: ClientOp::Pub(publish), consumed } = parser.parse(&buffer)? else { panic!() };
/// assert_eq!(publish.payload, b"hello");
/// assert!(matches!(parser.parse(&buffer[consumed..])?, Step::Op { op: ClientOp::Ping, .. }));
///
/// parser.set_headers(true);
/// parser.limits_mut().max_payload = 4;
/// assert!(parser.parse(b"PUB a 5\r\n").is_err());
/// # Ok::<(), jetkv_protocol::ProtocolError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Parser {
    limits: Limits,
    line: LineReader,
    pending: Option<Pending>,
    /// Where the subject of a message stands whose line was read by the last call, and whose body was not.
    announced: Option<Range<usize>>,
}

impl Parser {
    /// A parser at the start of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, line: LineReader::default(), pending: None, announced: None }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Changes the limits, from the next operation on: after CONNECT (headers), and on a reload.
    pub fn limits_mut(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Allows or forbids HPUB; to be called after each CONNECT.
    pub fn set_headers(&mut self, allowed: bool) {
        self.limits.headers = allowed;
    }

    /// Reads the operation at the front of `buf`.
    ///
    /// # Errors
    /// See [`ProtocolError`]. The connection is to be closed; parsing on has no meaning.
    #[inline]
    pub fn parse<'a>(&mut self, buf: &'a [u8]) -> Result<Parsed<'a>, ProtocolError> {
        if self.pending.is_none() && self.line.is_fresh() && !self.limits.connect_first {
            let Limits { max_control_line, max_payload, headers, .. } = self.limits;
            if let Some(step) = quick::publish(buf, headers, max_control_line, max_payload) {
                return Ok(publish_step(step));
            }
            if buf.starts_with(encode::PING) {
                return Ok(Step::Op { op: ClientOp::Ping, consumed: encode::PING.len() });
            }
        }
        self.parse_any(buf)
    }

    /// The subject of a message whose line the last call of [`parse`](Self::parse) read, with the same `buf`, and whose
    /// body it could not return: it has not all arrived, or it ends wrongly. Tells it once. It is empty for HMSG.
    ///
    /// nats-server v2.15.2 judges a subject as soon as it has read the line, and refuses HMSG from a client whose body is
    /// not at hand then (observed).
    pub fn take_announced<'a>(&mut self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.announced.take().and_then(|subject| buf.get(subject))
    }

    fn parse_any<'a>(&mut self, buf: &'a [u8]) -> Result<Parsed<'a>, ProtocolError> {
        if let Some(pending) = &self.pending {
            let step = pending.resume(buf)?;
            if matches!(step, Step::Op { .. }) {
                self.pending = None;
            }
            return Ok(publish_step(step));
        }
        let Some(first) = buf.first() else { return Ok(Step::Incomplete { need: 1 }) };
        if self.limits.connect_first && !first.eq_ignore_ascii_case(&b'C') {
            return Err(ProtocolError::ConnectExpected);
        }
        let Some((verb, line)) = self.line.next(buf, client_verb, self.limits.max_control_line)? else {
            return Ok(Step::Incomplete { need: buf.len() + 1 });
        };
        let op = match verb {
            Verb::Pub => return self.publish(buf, publish_arguments(line.arguments)?, line.next),
            Verb::Hpub if !self.limits.headers => return Err(ProtocolError::HeadersNotSupported),
            Verb::Hpub => return self.publish(buf, header_publish_arguments(line.arguments)?, line.next),
            // nats-server reads no size from this line, so the message that follows is an empty one.
            Verb::Hmsg | Verb::Msg => return self.publish(buf, Message::default(), line.next),
            Verb::Connect => {
                self.limits.connect_first = false;
                ClientOp::Connect(line.arguments)
            }
            Verb::Sub => subscribe(line.arguments)?,
            Verb::Unsub => unsubscribe(line.arguments)?,
            Verb::Ping => ClientOp::Ping,
            Verb::Pong => ClientOp::Pong,
            Verb::Info => ClientOp::Info(line.arguments),
            Verb::Ok => ClientOp::Ok,
            Verb::Err => ClientOp::Err(line.arguments),
        };
        Ok(Step::Op { op, consumed: line.next })
    }

    fn publish<'a>(
        &mut self,
        buf: &'a [u8],
        message: Message<'a>,
        body_at: usize,
    ) -> Result<Parsed<'a>, ProtocolError> {
        if message.size_bytes > self.limits.max_payload {
            return Err(ProtocolError::PayloadTooLarge {
                size_bytes: message.size_bytes,
                max_bytes: self.limits.max_payload,
            });
        }
        let step = message.with_body(buf, body_at);
        if !matches!(step, Ok(Step::Op { .. })) {
            // An empty part need not point into the buffer.
            let at = if message.subject.is_empty() { 0 } else { buf.offset(message.subject) };
            self.announced = Some(at..at + message.subject.len());
        }
        let step = step?;
        if let Step::Incomplete { .. } = step {
            self.pending = Some(Pending::new(buf, &message, body_at));
        }
        Ok(publish_step(step))
    }
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

#[inline]
fn publish_step(step: Step<message::Whole<'_>>) -> Parsed<'_> {
    match step {
        Step::Incomplete { need } => Step::Incomplete { need },
        Step::Op { op, consumed } => Step::Op {
            op: ClientOp::Pub(Publish {
                subject: op.subject,
                reply: op.reply,
                headers: op.headers,
                payload: op.payload,
            }),
            consumed,
        },
    }
}

/// `PUB <subject> [reply] <size>`
fn publish_arguments(arguments: &[u8]) -> Result<Message<'_>, BadArguments> {
    let (subject, reply, digits) = match Separators::Blanks.split(arguments) {
        Some((subject, digits, None, None)) => (subject, None, digits),
        Some((subject, reply, Some(digits), None)) => (subject, Some(reply), digits),
        _ => return Err(BadArguments::new("processPub Parse Error", arguments)),
    };
    let size_bytes =
        size(digits).ok_or_else(|| BadArguments::new("processPub Bad or Missing Size", arguments))?;
    Ok(Message { subject, reply, size_bytes, ..Message::default() })
}

/// `HPUB <subject> [reply] <header size> <total size>`
fn header_publish_arguments(arguments: &[u8]) -> Result<Message<'_>, BadArguments> {
    let bad = |complaint| BadArguments::new(complaint, arguments);
    let (subject, reply, header_digits, total_digits) = match Separators::Blanks.split(arguments) {
        Some((subject, headers, Some(total), None)) => (subject, None, headers, total),
        Some((subject, reply, Some(headers), Some(total))) => (subject, Some(reply), headers, total),
        _ => return Err(bad("processHeaderPub Parse Error")),
    };
    let headers_bytes =
        size(header_digits).ok_or_else(|| bad("processHeaderPub Bad or Missing Header Size"))?;
    let size_bytes = size(total_digits).ok_or_else(|| bad("processHeaderPub Bad or Missing Total Size"))?;
    if headers_bytes > size_bytes {
        return Err(bad("processHeaderPub Header Size larger then TotalSize"));
    }
    Ok(Message { subject, reply, headers_bytes, size_bytes, ..Message::default() })
}

/// `SUB <subject> [queue] <sid>`
fn subscribe(arguments: &[u8]) -> Result<ClientOp<'_>, BadArguments> {
    match Separators::Spaces.split(arguments) {
        Some((subject, sid, None, None)) => Ok(ClientOp::Sub { subject, queue: None, sid }),
        Some((subject, queue, Some(sid), None)) => Ok(ClientOp::Sub { subject, queue: Some(queue), sid }),
        _ => Err(BadArguments::new("processSub Parse Error", arguments)),
    }
}

/// `UNSUB <sid> [max]`
fn unsubscribe(arguments: &[u8]) -> Result<ClientOp<'_>, BadArguments> {
    let (sid, max) = Separators::Spaces
        .split_pair(arguments)
        .ok_or_else(|| BadArguments::new("processUnsub Parse Error", arguments))?;
    let max = max.and_then(size).filter(|max| *max > 0).map(|max| max as u64);
    Ok(ClientOp::Unsub { sid, max })
}

#[cfg(test)]
mod tests;
