//! Header blocks: `NATS/1.0`, a status perhaps, `Key: value` lines, an empty line.
//!
//! A server passes header blocks on byte for byte. It looks into them for the keys that it knows, by the
//! rules of nats-server v2.15.2: keys match in their exact case, stand at the start of a line and have
//! their colon right behind them.

mod buffer;

pub use buffer::HeaderBuf;

use std::ops::Range;

use memchr::{memchr, memchr_iter};

/// What every header block starts with.
pub const VERSION: &[u8] = b"NATS/1.0";
/// The first line of a block without a status.
pub const VERSION_LINE: &[u8] = b"NATS/1.0\r\n";
/// A block without a status and without lines.
pub const EMPTY: &[u8] = b"NATS/1.0\r\n\r\n";

const CRLF: &[u8] = b"\r\n";

/// A view of a header block, or of no block when there are no bytes.
///
/// ```
/// use jetkv_protocol::headers::{EMPTY, Headers, Status, VERSION, VERSION_LINE};
///
/// let block = Headers::new(b"NATS/1.0 503 None\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n");
/// assert_eq!(block.status(), Some(Status { code: 503, description: b"None" }));
/// assert_eq!(block.get(b"A"), Some(&b"1"[..]));
/// assert_eq!(block.get_all(b"A").count(), 2);
/// assert_eq!(block.iter().last(), Some((&b"A"[..], &b"3"[..])));
/// // Keys match in their exact case.
/// assert!(block.contains(b"B") && !block.contains(b"b"));
/// assert!(block.as_bytes().starts_with(VERSION) && !block.is_empty());
/// assert!(EMPTY.starts_with(VERSION_LINE));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

/// The status that the first line of a block may carry, such as `503` or `100 Idle Heartbeat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status<'a> {
    /// Three digits.
    pub code: u16,
    /// The text behind the code, which may be empty.
    pub description: &'a [u8],
}

impl<'a> Headers<'a> {
    /// A view of `bytes`, which need not be a sound block.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The block as it came.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is no block at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The value of the first line with this key: blanks before it are skipped, all up to CR LF belongs to it.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        let line = find_line(self.bytes, key, 0)?;
        self.bytes.get(line.value)
    }

    /// The values of all lines with this key, in order.
    pub fn get_all<'k>(&self, key: &'k [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'k> {
        let bytes = self.bytes;
        let mut from = 0;
        std::iter::from_fn(move || {
            let line = find_line(bytes, key, from)?;
            from = line.value.end;
            bytes.get(line.value)
        })
    }

    /// Whether a line with this key exists.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        find_line(self.bytes, key, 0).is_some()
    }

    /// Keys and values of all lines in order, as they are written, duplicates included. A line without a
    /// colon is skipped.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        let mut at = line_length(bytes) + CRLF.len();
        std::iter::from_fn(move || {
            loop {
                let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
                let end = line_length(rest);
                let line = rest.get(..end)?;
                at += end + CRLF.len();
                if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                    return Some((line.get(..colon)?, trim_blanks(line.get(colon + 1..)?)));
                }
            }
        })
    }

    /// The status in the first line.
    #[must_use]
    pub fn status(&self) -> Option<Status<'a>> {
        let text = self.bytes.get(..line_length(self.bytes))?.strip_prefix(VERSION)?;
        let (digits, description) = trim_blanks(text).split_at_checked(3)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        Some(Status { code, description: trim_blanks(description) })
    }
}

impl<'a> From<&'a [u8]> for Headers<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes)
    }
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = value {
        value = rest;
    }
    value
}

/// Bytes before the first CR LF, or all when there is none.
fn line_length(bytes: &[u8]) -> usize {
    memchr_iter(b'\r', bytes).find(|at| bytes.get(at + 1) == Some(&b'\n')).unwrap_or(bytes.len())
}

/// Where a key's line is.
struct KeyLine {
    /// First byte of the key.
    start: usize,
    /// The value, without the blanks before it.
    value: Range<usize>,
}

/// Finds the first line with `key` at or after `from`: the key must follow CR LF, with a colon right behind it.
fn find_line(bytes: &[u8], key: &[u8], from: usize) -> Option<KeyLine> {
    let mut at = from;
    while let Some(feed) = memchr(b'\n', bytes.get(at..)?) {
        let start = at + feed + 1;
        let (before, line) = bytes.split_at_checked(start)?;
        if before.ends_with(CRLF)
            && let Some([b':', ..]) = line.strip_prefix(key)
            && !key.is_empty()
        {
            return Some(KeyLine { start, value: value_range(bytes, start + key.len() + 1) });
        }
        at = start;
    }
    None
}

fn value_range(bytes: &[u8], from: usize) -> Range<usize> {
    let rest = bytes.get(from..).unwrap_or_default();
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let start = from + blanks;
    let length = rest.get(blanks..).map_or(0, line_length);
    start..start + length
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Headers<'_> = Headers { bytes: b"NATS/1.0\r\nA:  one\r\na:two\r\nA: three \r\nAB:\r\n\r\n" };

    #[test]
    fn keys_match_exactly_and_in_order() {
        assert_eq!(BLOCK.get(b"A"), Some(b"one".as_slice()));
        assert_eq!(BLOCK.get(b"a"), Some(b"two".as_slice()));
        assert_eq!(BLOCK.get(b"AB"), Some(b"".as_slice()));
        assert_eq!(BLOCK.get(b"B"), None);
        assert_eq!(BLOCK.get_all(b"A").collect::<Vec<_>>(), [b"one".as_slice(), b"three "]);
        assert!(!Headers::new(b"").contains(b"A") && !BLOCK.contains(b""));
    }

    #[test]
    fn a_key_needs_a_line_of_its_own_and_its_colon_at_once() {
        let headers = Headers::new(b"NATS/1.0\r\nX: Key: 1\r\nKey : 2\r\nKeyed: 3\r\nKey: 4\r\n\r\n");
        assert_eq!(headers.get(b"Key"), Some(b"4".as_slice()));
        assert_eq!(Headers::new(b"Key: 1\r\n").get(b"Key"), None);
        assert_eq!(Headers::new(b"NATS/1.0\r\nKey").get(b"Key"), None);
        assert_eq!(Headers::new(b"NATS/1.0\r\nKey: a\rb").get(b"Key"), Some(b"a\rb".as_slice()));
    }

    #[test]
    fn lines_are_listed_as_they_are_written() {
        let expected: [(&[u8], &[u8]); 4] = [(b"A", b"one"), (b"a", b"two"), (b"A", b"three "), (b"AB", b"")];
        assert_eq!(BLOCK.iter().collect::<Vec<_>>(), expected);
        assert_eq!(Headers::new(b"").iter().count(), 0);
        assert_eq!(
            Headers::new(b"junk\r\nno colon\r\nk:v").iter().collect::<Vec<_>>(),
            [(b"k".as_slice(), b"v".as_slice())]
        );
    }

    #[test]
    fn a_status_has_a_code_and_may_have_a_description() {
        let status = |bytes: &'static [u8]| Headers::new(bytes).status();
        assert_eq!(status(b"NATS/1.0 503\r\n\r\n"), Some(Status { code: 503, description: b"" }));
        assert_eq!(
            status(b"NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n"),
            Some(Status { code: 100, description: b"Idle Heartbeat" })
        );
        assert_eq!(BLOCK.status(), None);
        assert_eq!(status(b"NATS/1.0 abc\r\n\r\n"), None);
        assert_eq!(status(b""), None);
    }
}
