//! Incremental parsing of what the server at the other end of a leaf node connection sends.

use memchr::memchr;

use super::Step;
use super::line::{is_blank, size};
use crate::error::{BadArguments, ProtocolError};
use crate::op::{LeafMsg, LeafOp};

/// How many times longer a control line may be than that of a client: it names queue groups, too (nats-server v2.15.2).
const LINE_FACTOR: usize = 16;

/// Reads the operations of one leaf node connection, in either direction. The caller owns the buffer, as with
/// [`Parser`](super::Parser).
///
/// ```
/// use jetkv_protocol::{LeafMsg, LeafOp, LeafParsed, LeafParser, Step};
///
/// let mut parser = LeafParser::new(4096, 1024 * 1024);
/// let parsed: LeafParsed<'_> = parser.parse(b"LS+ a.* workers 2\r\n")?;
/// let op = LeafOp::Sub { key: b"a.* workers", subject: b"a.*", queue: Some(b"workers"), weight: 2 };
/// assert_eq!(parsed, Step::Op { op, consumed: 19 });
///
/// let Step::Op { op: LeafOp::Msg(msg), .. } = parser.parse(b"LMSG a.b + r q1 q2 2\r\nhi\r\n")? else { panic!() };
/// let LeafMsg { subject, reply, payload, .. } = msg;
/// assert_eq!((subject, reply, payload), (&b"a.b"[..], Some(&b"r"[..]), &b"hi"[..]));
/// assert!(msg.queues().eq([b"q1", b"q2"]));
///
/// parser.set_limits(16, 1);
/// assert!(parser.parse(b"LMSG a 2\r\n").is_err());
/// # Ok::<(), jetkv_protocol::ProtocolError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LeafParser {
    max_line_bytes: usize,
    max_payload: usize,
    /// Bytes at the front of the buffer that hold no line end.
    scanned: usize,
    /// Bytes that a message takes whose line was read.
    message_bytes: usize,
}

/// What [`LeafParser::parse`] found.
pub type LeafParsed<'a> = Step<LeafOp<'a>>;

/// The words that a line starts with, and whether arguments follow behind a blank.
const VERBS: [(&[u8], Verb); 10] = [
    (b"LMSG", Verb::Msg),
    (b"HMSG", Verb::HeaderMsg),
    (b"LS+", Verb::Sub),
    (b"LS-", Verb::Unsub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"INFO", Verb::Info),
    (b"CONNECT", Verb::Connect),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Msg,
    HeaderMsg,
    Sub,
    Unsub,
    Ping,
    Pong,
    Info,
    Connect,
    Ok,
    Err,
}

impl Verb {
    /// Whether a blank has to follow.
    fn needs_blank(self) -> bool {
        matches!(self, Self::Msg | Self::HeaderMsg | Self::Sub | Self::Unsub | Self::Err)
    }
}

/// The verb at the front of a line and the bytes that it takes; `None` as long as it may still become one.
fn verb_of(buf: &[u8]) -> Result<Option<(Verb, usize)>, ProtocolError> {
    let mut may_come = false;
    for (word, verb) in VERBS {
        let known = buf.len().min(word.len());
        let starts = buf.get(..known).is_some_and(|start| {
            word.get(..known).is_some_and(|expected| start.eq_ignore_ascii_case(expected))
        });
        if !starts {
            continue;
        }
        match buf.get(word.len()) {
            _ if known < word.len() => may_come = true,
            Some(next) if verb.needs_blank() && !is_blank(*next) => {}
            None if verb.needs_blank() => may_come = true,
            _ => return Ok(Some((verb, word.len()))),
        }
    }
    if may_come { Ok(None) } else { Err(ProtocolError::UnknownOperation) }
}

impl LeafParser {
    /// A parser at the start of a connection. `max_control_line` is that of clients, in bytes.
    #[must_use]
    pub fn new(max_control_line: usize, max_payload: usize) -> Self {
        let mut parser = Self { max_line_bytes: 0, max_payload: 0, scanned: 0, message_bytes: 0 };
        parser.set_limits(max_control_line, max_payload);
        parser
    }

    /// Changes the limits.
    pub fn set_limits(&mut self, max_control_line: usize, max_payload: usize) {
        self.max_line_bytes = max_control_line.saturating_mul(LINE_FACTOR);
        self.max_payload = max_payload;
    }

    /// Reads the operation at the front of `buf`.
    ///
    /// # Errors
    /// See [`ProtocolError`]. The connection is to be closed; parsing on has no meaning.
    pub fn parse<'a>(&mut self, buf: &'a [u8]) -> Result<LeafParsed<'a>, ProtocolError> {
        if buf.len() < self.message_bytes {
            return Ok(Step::Incomplete { need: self.message_bytes });
        }
        let more = Ok(Step::Incomplete { need: buf.len() + 1 });
        if buf.is_empty() {
            return more;
        }
        let Some((verb, verb_bytes)) = verb_of(buf)? else { return more };
        let from = self.scanned.max(verb_bytes);
        let found = buf.get(from..).and_then(|rest| memchr(b'\n', rest)).map(|at| from + at);
        let end = found.unwrap_or(buf.len());
        if end > verb_bytes + self.max_line_bytes {
            return Err(ProtocolError::ControlLineTooLong);
        }
        if found.is_none() {
            self.scanned = buf.len();
            return more;
        }
        let arguments = buf.get(verb_bytes..end).unwrap_or_default().trim_ascii();
        let op = match verb {
            Verb::Msg => return self.message(buf, &message(arguments)?, end + 1),
            Verb::HeaderMsg => return self.message(buf, &header_message(arguments)?, end + 1),
            Verb::Sub => sub(arguments)?,
            Verb::Unsub => LeafOp::Unsub { key: arguments },
            Verb::Ping => LeafOp::Ping,
            Verb::Pong => LeafOp::Pong,
            Verb::Info => LeafOp::Info(arguments),
            Verb::Connect => LeafOp::Connect(arguments),
            Verb::Ok => LeafOp::Ok,
            Verb::Err => LeafOp::Err(unquoted(arguments)),
        };
        self.scanned = 0;
        Ok(Step::Op { op, consumed: end + 1 })
    }

    fn message<'a>(
        &mut self,
        buf: &'a [u8],
        line: &MessageLine<'a>,
        body_at: usize,
    ) -> Result<LeafParsed<'a>, ProtocolError> {
        let &MessageLine { subject, reply, queues, headers_bytes, size_bytes } = line;
        if size_bytes > self.max_payload {
            return Err(ProtocolError::PayloadTooLarge { size_bytes, max_bytes: self.max_payload });
        }
        let end = body_at + size_bytes;
        self.message_bytes = end + 2;
        match buf.get(end..) {
            Some([b'\r', b'\n', ..]) => {}
            None | Some([] | [b'\r']) => return Ok(Step::Incomplete { need: self.message_bytes }),
            Some(_) => return Err(ProtocolError::UnknownOperation),
        }
        let split = body_at + headers_bytes;
        let headers = buf.get(body_at..split).unwrap_or_default();
        let payload = buf.get(split..end).unwrap_or_default();
        (self.scanned, self.message_bytes) = (0, 0);
        let op = LeafOp::Msg(LeafMsg { subject, reply, queues, headers, payload });
        Ok(Step::Op { op, consumed: end + 2 })
    }
}

/// What the control line of a message says.
struct MessageLine<'a> {
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
    /// Names of queue groups with blanks between them.
    queues: &'a [u8],
    headers_bytes: usize,
    size_bytes: usize,
}

/// The first word and what follows it.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    (word, rest.trim_ascii_start())
}

/// The last word and what stands before it.
fn last_word(text: &[u8]) -> (&[u8], &[u8]) {
    let start = text.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
    let (rest, word) = text.split_at_checked(start).unwrap_or((b"", text));
    (rest.trim_ascii_end(), word)
}

/// `LMSG <subject> [reply] <size>`, with queue groups `LMSG <subject> + <reply> <queue>... <size>`, or a `|` for no reply.
fn message(arguments: &[u8]) -> Result<MessageLine<'_>, BadArguments> {
    let bad = |complaint| BadArguments::new(complaint, arguments);
    let (rest, digits) = last_word(arguments);
    let size_bytes = size(digits).ok_or_else(|| bad("processLeafMsgArgs Bad or Missing Size"))?;
    let (subject, rest) = first_word(rest);
    if subject.is_empty() {
        return Err(bad("processLeafMsgArgs Parse Error"));
    }
    let (reply, queues) =
        recipients(rest).ok_or_else(|| bad("processLeafMsgArgs Bad or Missing Reply Indicator"))?;
    Ok(MessageLine { subject, reply, queues, headers_bytes: 0, size_bytes })
}

/// The same with `<header size> <total size>` at the end.
fn header_message(arguments: &[u8]) -> Result<MessageLine<'_>, BadArguments> {
    let bad = |complaint| BadArguments::new(complaint, arguments);
    let (rest, digits) = last_word(arguments);
    let size_bytes = size(digits).ok_or_else(|| bad("processLeafHeaderMsgArgs Bad or Missing Size"))?;
    let (rest, digits) = last_word(rest);
    let headers_bytes =
        size(digits).ok_or_else(|| bad("processLeafHeaderMsgArgs Bad or Missing Header Size"))?;
    if headers_bytes > size_bytes {
        return Err(bad("processLeafHeaderMsgArgs Header Size larger then TotalSize"));
    }
    let (subject, rest) = first_word(rest);
    if subject.is_empty() {
        return Err(bad("processLeafHeaderMsgArgs Parse Error"));
    }
    let (reply, queues) =
        recipients(rest).ok_or_else(|| bad("processLeafHeaderMsgArgs Bad or Missing Reply Indicator"))?;
    Ok(MessageLine { subject, reply, queues, headers_bytes, size_bytes })
}

/// The reply subject and the queue groups between the subject and the sizes.
fn recipients(text: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    if text.is_empty() {
        return Some((None, text));
    }
    let (first, rest) = first_word(text);
    if rest.is_empty() {
        return Some((Some(first), rest));
    }
    match first {
        b"+" => {
            let (reply, queues) = first_word(rest);
            Some((Some(reply), queues))
        }
        b"|" => Some((None, rest)),
        _ => None,
    }
}

/// `LS+ <subject> [<queue> <weight>]`
fn sub(arguments: &[u8]) -> Result<LeafOp<'_>, BadArguments> {
    let (subject, rest) = first_word(arguments);
    let bad = || BadArguments::new("processLeafSub Parse Error", arguments);
    if subject.is_empty() {
        return Err(bad());
    }
    if rest.is_empty() {
        return Ok(LeafOp::Sub { key: subject, subject, queue: None, weight: 1 });
    }
    let (queue, digits) = first_word(rest);
    if digits.is_empty() || digits.iter().any(u8::is_ascii_whitespace) {
        return Err(bad());
    }
    // A weight that is none counts as one member.
    let weight = size(digits).and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1).max(1);
    let (key, _) = last_word(arguments);
    Ok(LeafOp::Sub { key, subject, queue: Some(queue), weight })
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, ProtocolError> {
        let mut parser = LeafParser::new(64, 100);
        parser.parse(text.as_bytes()).map(|step| match step {
            Step::Incomplete { need } => format!("need {need}"),
            Step::Op { op: LeafOp::Msg(msg), consumed } => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let queues: Vec<String> = msg.queues().map(text).collect();
                let reply = msg.reply.map(text);
                let (subject, headers, payload) = (text(msg.subject), text(msg.headers), text(msg.payload));
                format!("{subject} {reply:?} {queues:?} {headers:?} {payload:?} {consumed}")
            }
            Step::Op { op, consumed } => format!("{op:?} {consumed}"),
        })
    }

    #[test]
    fn a_message_has_a_reply_queue_groups_and_headers_or_none_of_these() {
        for (text, expected) in [
            ("LMSG a 2\r\nhi\r\n", r#"a None [] "" "hi" 14"#),
            ("lmsg a r 2\r\nhi\r\n", r#"a Some("r") [] "" "hi" 16"#),
            ("LMSG a | q 2\r\nhi\r\n", r#"a None ["q"] "" "hi" 18"#),
            ("LMSG a + r q1 q2 0\r\n\r\n", r#"a Some("r") ["q1", "q2"] "" "" 22"#),
            ("HMSG a 1 3\r\nhhi\r\n", r#"a None [] "h" "hi" 17"#),
            ("HMSG a r 1 3\r\nhhi\r\n", r#"a Some("r") [] "h" "hi" 19"#),
            ("HMSG a | q 1 3\r\nhhi\r\n", r#"a None ["q"] "h" "hi" 21"#),
            ("LMSG a 2\r\nh", "need 14"),
        ] {
            assert_eq!(parsed(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "LMSG 2\r\n",
            "LMSG a x\r\n",
            "LMSG a -1\r\n",
            "LMSG a * r 2\r\nhi\r\n",
            "HMSG a 2\r\n",
            "HMSG a 3 2\r\n",
            "LMSG a 2\r\nhix",
            "LS+ \r\n",
            "LS+ a q\r\n",
            "LS+ a q 1 2\r\n",
            "LMSGx",
            "RMSG",
            "SUB a 1\r\n",
        ] {
            assert!(parsed(text).is_err(), "{text:?}");
        }
        assert!(matches!(parsed("LMSG a 101\r\n"), Err(ProtocolError::PayloadTooLarge { .. })));
        let long = format!("LS+ {}", "a".repeat(64 * LINE_FACTOR + 1));
        assert_eq!(parsed(&long), Err(ProtocolError::ControlLineTooLong));
        let allowed = format!("LS+ {}\r\n", "a".repeat(64 * LINE_FACTOR - 2));
        assert!(parsed(&allowed).is_ok());
    }

    proptest! {
        #[test]
        fn operations_come_out_the_same_however_their_bytes_arrive(cuts in prop::collection::vec(1..9_usize, 1..60)) {
            let text: &[u8] = b"INFO {}\r\nCONNECT {}\r\nLS+ a q 3\r\nPING\r\nLMSG a + r q 5\r\nhello\r\n\
                HMSG b 2 4\r\nxx\r\n\r\nLS- a q\r\n-ERR 'no'\r\nPONG\r\n+OK\r\n";
            let mut whole = Vec::new();
            let (mut parser, mut at) = (LeafParser::new(64, 100), 0);
            while let Step::Op { op, consumed } = parser.parse(&text[at..]).unwrap() {
                whole.push(format!("{op:?}"));
                at += consumed;
            }
            prop_assert_eq!((whole.len(), at), (10, text.len()));
            let mut parts = Vec::new();
            let (mut parser, mut from, mut until) = (LeafParser::new(64, 100), 0, 0);
            for cut in cuts.iter().chain(std::iter::repeat(&7)) {
                until = (until + cut).min(text.len());
                while let Step::Op { op, consumed } = parser.parse(&text[from..until]).unwrap() {
                    parts.push(format!("{op:?}"));
                    from += consumed;
                }
                if until == text.len() {
                    break;
                }
            }
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut parser = LeafParser::new(64, 100);
            let mut rest = bytes.as_slice();
            while let Ok(Step::Op { consumed, .. }) = parser.parse(rest) {
                rest = &rest[consumed..];
            }
        }
    }
}
