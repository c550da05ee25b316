//! Control lines: where one ends, what verb it starts with, and its arguments.

use memchr::{memchr, memchr2};
use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while1};
use nom::bytes::streaming::tag_no_case;
use nom::combinator::{eof, opt, value};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser as _};

use crate::error::ProtocolError;

type Parse<'a, T> = IResult<&'a [u8], T, ()>;

/// The word a line starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Connect,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Info,
    Ok,
    Err,
    Msg,
    Hmsg,
}

impl Verb {
    /// Bytes of the word.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Connect => 7,
            Self::Unsub => 5,
            Self::Hpub | Self::Ping | Self::Pong | Self::Info | Self::Err | Self::Hmsg => 4,
            Self::Pub | Self::Sub | Self::Ok | Self::Msg => 3,
        }
    }

    /// What may follow the word.
    pub(super) fn tail(self) -> Tail {
        match self {
            Self::Ping | Self::Pong | Self::Ok => Tail::Ignored,
            Self::Connect | Self::Info => Tail::Arguments,
            Self::Pub | Self::Hpub | Self::Sub | Self::Unsub | Self::Err | Self::Msg | Self::Hmsg => {
                Tail::SpacedArguments
            }
        }
    }
}

/// What nats-server expects after a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Anything up to the line end, which nobody reads.
    Ignored,
    /// Arguments, with or without blanks before them: `CONNECT{}` is as good as `CONNECT {}`.
    Arguments,
    /// At least one blank, then arguments.
    SpacedArguments,
}

/// The outcome of looking for a verb in bytes of which more may come.
pub(super) enum VerbMatch {
    Found(Verb),
    Partial,
    Unknown,
}

fn word(verb: Verb, text: &'static str) -> impl FnMut(&[u8]) -> Parse<'_, Verb> {
    move |input| value(verb, tag_no_case(text)).parse(input)
}

impl From<Parse<'_, Verb>> for VerbMatch {
    fn from(result: Parse<'_, Verb>) -> Self {
        match result {
            Ok((_, verb)) => Self::Found(verb),
            Err(nom::Err::Incomplete(_)) => Self::Partial,
            Err(nom::Err::Error(()) | nom::Err::Failure(())) => Self::Unknown,
        }
    }
}

/// The verbs that a server takes from a client. HMSG is among them because nats-server's parser lets it
/// through; MSG is not.
pub(super) fn client_verb(input: &[u8]) -> VerbMatch {
    alt((
        word(Verb::Pub, "PUB"),
        word(Verb::Hpub, "HPUB"),
        word(Verb::Sub, "SUB"),
        word(Verb::Unsub, "UNSUB"),
        word(Verb::Ping, "PING"),
        word(Verb::Pong, "PONG"),
        word(Verb::Connect, "CONNECT"),
        word(Verb::Info, "INFO"),
        word(Verb::Ok, "+OK"),
        word(Verb::Err, "-ERR"),
        word(Verb::Hmsg, "HMSG"),
    ))
    .parse(input)
    .into()
}

/// The verbs that a client takes from a server.
pub(super) fn server_verb(input: &[u8]) -> VerbMatch {
    match input {
        [b'M', b'S', b'G', ..] => return VerbMatch::Found(Verb::Msg),
        [b'H', b'M', b'S', b'G', ..] => return VerbMatch::Found(Verb::Hmsg),
        _ => {}
    }
    alt((
        word(Verb::Msg, "MSG"),
        word(Verb::Hmsg, "HMSG"),
        word(Verb::Ping, "PING"),
        word(Verb::Pong, "PONG"),
        word(Verb::Info, "INFO"),
        word(Verb::Ok, "+OK"),
        word(Verb::Err, "-ERR"),
    ))
    .parse(input)
    .into()
}

/// Reads control lines and remembers what it knows of one that has not ended yet.
#[derive(Debug, Clone, Default)]
pub(super) struct LineReader {
    verb: Option<Verb>,
    /// Where the arguments start, once known.
    arguments_at: Option<usize>,
    /// Bytes that were looked at and need no second look.
    scanned: usize,
}

impl LineReader {
    /// Whether the next line has not been looked at yet.
    #[inline]
    pub(super) fn is_fresh(&self) -> bool {
        self.verb.is_none()
    }

    /// The verb and arguments of the line at the front of `buf`, or `None` while it has no end.
    #[inline]
    pub(super) fn next<'a>(
        &mut self,
        buf: &'a [u8],
        verb_of: fn(&[u8]) -> VerbMatch,
        limit_bytes: usize,
    ) -> Result<Option<(Verb, Line<'a>)>, ProtocolError> {
        let verb = match self.verb {
            Some(verb) => verb,
            None => match verb_of(buf) {
                VerbMatch::Found(verb) => verb,
                VerbMatch::Partial => return Ok(None),
                VerbMatch::Unknown => return Err(ProtocolError::UnknownOperation),
            },
        };
        let line = match self.arguments_at {
            Some(at) => find_line(buf, at, self.scanned, limit_bytes)?,
            None if verb.tail() == Tail::Ignored => ignore_line(buf, verb.len(), self.scanned, limit_bytes)?,
            None => match self.find_arguments(buf, verb, limit_bytes)? {
                Some(at) => {
                    self.arguments_at = Some(at);
                    find_line(buf, at, at, limit_bytes)?
                }
                None => None,
            },
        };
        match line {
            Some(line) => {
                *self = Self::default();
                Ok(Some((verb, line)))
            }
            None => {
                self.verb = Some(verb);
                self.scanned = buf.len();
                Ok(None)
            }
        }
    }

    fn find_arguments(
        &self,
        buf: &[u8],
        verb: Verb,
        limit_bytes: usize,
    ) -> Result<Option<usize>, ProtocolError> {
        let mut from = verb.len();
        if verb.tail() == Tail::SpacedArguments {
            match buf.get(from) {
                None => return Ok(None),
                Some(byte) if !is_blank(*byte) => return Err(ProtocolError::UnknownOperation),
                Some(_) => from += 1,
            }
        }
        let found = skip_blanks(buf, from.max(self.scanned));
        if found.unwrap_or(buf.len()) > from + limit_bytes {
            return Err(ProtocolError::ControlLineTooLong);
        }
        Ok(found)
    }
}

/// Finds the end of a line that has no arguments, whatever stands in their place.
fn ignore_line(
    buf: &[u8],
    start: usize,
    scanned: usize,
    limit_bytes: usize,
) -> Result<Option<Line<'_>>, ProtocolError> {
    let from = scanned.max(start);
    let found = buf.get(from..).and_then(|rest| memchr(b'\n', rest)).map(|at| from + at);
    if found.unwrap_or(buf.len()) > start + limit_bytes {
        return Err(ProtocolError::ControlLineTooLong);
    }
    Ok(found.map(|end| Line { arguments: &[], next: end + 1 }))
}

/// The arguments of a whole line and where the next one starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) arguments: &'a [u8],
    pub(super) next: usize,
}

/// Finds the end of the line whose arguments start at `start`; bytes before `scanned` hold no line feed.
///
/// Two rules of nats-server that nobody would guess: the first byte of the arguments is never taken for
/// a line end, and one carriage return anywhere after it costs the line its last byte. `limit_bytes`
/// applies to the arguments alone, without verb and line end.
fn find_line(
    buf: &[u8],
    start: usize,
    scanned: usize,
    limit_bytes: usize,
) -> Result<Option<Line<'_>>, ProtocolError> {
    let from = scanned.max(start + 1);
    let found = buf.get(from..).and_then(|rest| memchr(b'\n', rest)).map(|at| from + at);
    let end = found.unwrap_or(buf.len());
    let Some(mut arguments) = buf.get(start..end) else { return Ok(None) };
    if holds_return(arguments)
        && let Some((_, kept)) = arguments.split_last()
    {
        arguments = kept;
    }
    if arguments.len() > limit_bytes {
        return Err(ProtocolError::ControlLineTooLong);
    }
    Ok(found.map(|end| Line { arguments, next: end + 1 }))
}

fn holds_return(arguments: &[u8]) -> bool {
    match arguments {
        [] | [_] => false,
        [.., b'\r'] => true,
        [_, rest @ ..] => memchr(b'\r', rest).is_some(),
    }
}

/// Index of the first byte at or after `from` that is not a blank.
fn skip_blanks(buf: &[u8], from: usize) -> Option<usize> {
    buf.get(from..)?.iter().position(|byte| !is_blank(*byte)).map(|at| from + at)
}

/// Blank or tab.
#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Two to four arguments, the ones in the middle optional: `a b`, `a b c` or `a b c d`.
pub(super) type Arguments<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

/// What separates the arguments of a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separators {
    /// Blank and tab, of PUB and HPUB.
    Blanks,
    /// Carriage return and line feed too, of SUB and UNSUB.
    Spaces,
}

impl Separators {
    #[inline]
    fn include(self, byte: u8) -> bool {
        is_blank(byte) || (self == Self::Spaces && matches!(byte, b'\r' | b'\n'))
    }

    /// One argument, which is not empty.
    #[inline]
    fn argument(self, input: &[u8]) -> Parse<'_, &[u8]> {
        let mut end = memchr2(b' ', b'\t', input).unwrap_or(input.len());
        if self == Self::Spaces
            && let Some(head) = input.get(..end)
        {
            end = memchr2(b'\r', b'\n', head).unwrap_or(end);
        }
        match input.split_at_checked(end) {
            Some((argument @ [_, ..], rest)) => Ok((rest, argument)),
            _ => Err(nom::Err::Error(())),
        }
    }

    /// One argument with at least one separator before it.
    #[inline]
    fn next(self, input: &[u8]) -> Parse<'_, &[u8]> {
        preceded(take_while1(move |byte| self.include(byte)), move |rest| self.argument(rest)).parse(input)
    }

    /// Separators or nothing, up to the end.
    #[inline]
    fn end(self, input: &[u8]) -> Parse<'_, &[u8]> {
        preceded(take_while(move |byte| self.include(byte)), eof).parse(input)
    }

    #[inline]
    fn first(self, input: &[u8]) -> Parse<'_, &[u8]> {
        preceded(take_while(move |byte| self.include(byte)), move |rest| self.argument(rest)).parse(input)
    }

    /// Splits two to four arguments; any other number is no match.
    #[inline]
    pub(super) fn split(self, input: &[u8]) -> Option<Arguments<'_>> {
        let next = || move |rest| self.next(rest);
        let arguments = (move |rest| self.first(rest), next(), opt(next()), opt(next()));
        let mut line = terminated(arguments, move |rest| self.end(rest));
        line.parse(input).ok().map(|(_, arguments)| arguments)
    }

    /// Splits one or two arguments.
    #[inline]
    pub(super) fn split_pair(self, input: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
        let pair = (move |rest| self.first(rest), opt(move |rest| self.next(rest)));
        let mut line = terminated(pair, move |rest| self.end(rest));
        line.parse(input).ok().map(|(_, pair)| pair)
    }
}

/// Reads a size: one to nine decimal digits and nothing else.
pub(super) fn size(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0_usize, |total, digit| {
        digit.is_ascii_digit().then(|| total * 10 + usize::from(digit - b'0'))
    })
}
