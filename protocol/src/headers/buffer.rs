//! Building and changing header blocks.

use std::ops::Range;

use memchr::{memchr, memmem};

use super::{CRLF, EMPTY, Headers, VERSION, VERSION_LINE, find_line};

/// A header block of our own. Empty until something is put into it; what was there before a change keeps
/// its exact bytes.
///
/// ```
/// use jetkv_protocol::HeaderBuf;
///
/// let mut block = HeaderBuf::new();
/// assert!(block.is_empty());
/// block.append("A", b"one");
/// block.append_number("Nats-Count", 2);
/// block.set("A", b"two");
/// assert_eq!(block.as_bytes(), b"NATS/1.0\r\nA: two\r\nNats-Count: 2\r\n\r\n");
/// block.remove_prefix("Nats-");
/// assert_eq!(block.view().get(b"A"), Some(&b"two"[..]));
/// block.remove("A");
/// assert_eq!(block.into_bytes(), b"");
///
/// let mut status = HeaderBuf::with_status(404, "No Messages");
/// assert_eq!(status.as_bytes(), b"NATS/1.0 404 No Messages\r\n\r\n");
/// status.remove_status();
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderBuf {
    bytes: Vec<u8>,
}

impl HeaderBuf {
    /// No block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A block with a status line and no further lines, such as `NATS/1.0 404 No Messages`.
    #[must_use]
    pub fn with_status(code: u16, description: &str) -> Self {
        let mut bytes = Vec::with_capacity(EMPTY.len() + 5 + description.len());
        bytes.extend_from_slice(VERSION);
        bytes.push(b' ');
        crate::encode::decimal(&mut bytes, u64::from(code));
        if !description.is_empty() {
            bytes.push(b' ');
            bytes.extend_from_slice(description.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        Self { bytes }
    }

    /// The block, or nothing when there is none.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The block, or nothing when there is none.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether there is no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A view for look-ups.
    #[must_use]
    pub fn view(&self) -> Headers<'_> {
        Headers::new(&self.bytes)
    }

    /// Adds a line at the end, after any others with the same key. Line ends within the value become
    /// blanks and blanks around it are dropped; a key that is no HTTP field name adds nothing
    /// (nats-server v2.15.2).
    pub fn append(&mut self, key: &str, value: &[u8]) {
        if !is_field_name(key) {
            self.open();
            self.bytes.extend_from_slice(CRLF);
            return;
        }
        self.open();
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b": ");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(trim(value));
        for byte in self.bytes.get_mut(start..).unwrap_or_default() {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.bytes.extend_from_slice(b"\r\n\r\n");
    }

    /// Adds a line with a decimal number.
    pub fn append_number(&mut self, key: &str, number: u64) {
        self.open();
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b": ");
        crate::encode::decimal(&mut self.bytes, number);
        self.bytes.extend_from_slice(b"\r\n\r\n");
    }

    /// Takes the closing empty line off, or starts the block.
    fn open(&mut self) {
        if self.bytes.len() > CRLF.len() {
            self.bytes.truncate(self.bytes.len() - CRLF.len());
        } else {
            self.bytes.clear();
            self.bytes.extend_from_slice(VERSION_LINE);
        }
    }

    /// Gives the first line with this key another value in its place, or adds a line. One blank before the
    /// old value stays as it is, and so does a lack of one.
    pub fn set(&mut self, key: &str, value: &[u8]) {
        let Some(line) = find_line(&self.bytes, key.as_bytes(), 0) else {
            let closed = self.bytes.ends_with(CRLF);
            if closed {
                self.bytes.truncate(self.bytes.len() - CRLF.len());
            }
            self.bytes.extend_from_slice(key.as_bytes());
            self.bytes.extend_from_slice(b": ");
            self.bytes.extend_from_slice(value);
            self.bytes.extend_from_slice(if closed { b"\r\n\r\n" } else { CRLF });
            return;
        };
        let mut start = line.start + key.len() + 1;
        if self.bytes.get(start) == Some(&b' ') {
            start += 1;
        }
        let Some(length) = self.bytes.get(start..).and_then(|rest| memchr(b'\r', rest)) else { return };
        self.bytes.splice(start..start + length, value.iter().copied());
    }

    /// Takes out all lines with this key. A block that is left without lines goes away as a whole.
    pub fn remove(&mut self, key: &str) {
        while let Some(line) = find_line(&self.bytes, key.as_bytes(), 0) {
            let Some(length) = self.bytes.get(line.start..).and_then(|rest| memmem::find(rest, CRLF)) else {
                return;
            };
            if self.cut(line.start..line.start + length + CRLF.len()) {
                return;
            }
        }
    }

    /// Takes out all lines whose key starts with `prefix`. A block that is left without lines goes away.
    pub fn remove_prefix(&mut self, prefix: &str) {
        if prefix.is_empty() {
            return;
        }
        let mut from = 0;
        while let Some(at) = self.bytes.get(from..).and_then(|rest| memmem::find(rest, prefix.as_bytes())) {
            let start = from + at;
            if start < 1 || self.bytes.get(start - 1) != Some(&b'\n') {
                from = start + prefix.len();
                continue;
            }
            let key_end = start + prefix.len();
            let Some(length) = self.bytes.get(key_end..).and_then(|rest| memmem::find(rest, CRLF)) else {
                return;
            };
            if self.cut(start..key_end + length + CRLF.len()) {
                return;
            }
            from = start;
        }
    }

    /// Takes the status out of the first line. A block that is left without lines goes away.
    pub fn remove_status(&mut self) {
        let Some(end) = memchr(b'\r', &self.bytes) else { return };
        if end <= VERSION.len() || !self.bytes.starts_with(VERSION) {
            return;
        }
        self.bytes.drain(VERSION.len()..end);
        if self.bytes.len() == EMPTY.len() {
            self.bytes.clear();
        }
    }

    /// Takes a range out; true when that ended the block.
    fn cut(&mut self, range: Range<usize>) -> bool {
        self.bytes.drain(range);
        let ended = self.bytes.len() <= EMPTY.len();
        if ended {
            self.bytes.clear();
        }
        ended
    }
}

impl From<&[u8]> for HeaderBuf {
    /// A copy of a block, to be changed.
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }
}

fn trim(value: &[u8]) -> &[u8] {
    let kept = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = value.iter().position(kept).unwrap_or(value.len());
    let end = value.iter().rposition(kept).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// Whether `key` may name a header of HTTP, which is what nats-server asks of the ones it writes.
fn is_field_name(key: &str) -> bool {
    !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::HeaderBuf;

    fn text(headers: &HeaderBuf) -> &str {
        std::str::from_utf8(headers.as_bytes()).unwrap()
    }

    #[test]
    fn lines_are_added_at_the_end() {
        let mut headers = HeaderBuf::new();
        headers.append("Nats-Stream", b"KV_a");
        headers.append_number("Nats-Sequence", 18_446_744_073_709_551_615);
        headers.append("X", b" two\r\nlines\n");
        let expected =
            "NATS/1.0\r\nNats-Stream: KV_a\r\nNats-Sequence: 18446744073709551615\r\nX: two  lines\r\n\r\n";
        assert_eq!(text(&headers), expected);
        headers.append("not a key", b"x");
        assert_eq!(text(&headers), expected);
    }

    #[test]
    fn a_status_line_stands_alone() {
        assert_eq!(text(&HeaderBuf::with_status(503, "")), "NATS/1.0 503\r\n\r\n");
        let mut headers = HeaderBuf::with_status(404, "No Messages");
        assert_eq!(text(&headers), "NATS/1.0 404 No Messages\r\n\r\n");
        headers.append("A", b"b");
        assert_eq!(text(&headers), "NATS/1.0 404 No Messages\r\nA: b\r\n\r\n");
        headers.remove_status();
        assert_eq!(text(&headers), "NATS/1.0\r\nA: b\r\n\r\n");
        let mut alone = HeaderBuf::with_status(404, "x");
        alone.remove_status();
        assert!(alone.is_empty());
    }

    #[test]
    fn setting_replaces_the_first_value_and_nothing_else() {
        let mut headers = HeaderBuf::from(b"NATS/1.0\r\nA:1\r\nB: 22\r\nA: 3\r\n\r\n".as_slice());
        headers.set("A", b"long");
        headers.set("B", b"");
        headers.set("C", b"4");
        assert_eq!(text(&headers), "NATS/1.0\r\nA:long\r\nB: \r\nA: 3\r\nC: 4\r\n\r\n");
    }

    #[test]
    fn removing_takes_every_line_and_leaves_the_rest() {
        let block = b"NATS/1.0\r\nNats-A: 1\r\nX:  y\r\nNats-A:2\r\nNats-B: 3\r\n\r\n".as_slice();
        let mut headers = HeaderBuf::from(block);
        headers.remove("Nats-A");
        assert_eq!(text(&headers), "NATS/1.0\r\nX:  y\r\nNats-B: 3\r\n\r\n");
        let mut headers = HeaderBuf::from(block);
        headers.remove_prefix("Nats-");
        assert_eq!(text(&headers), "NATS/1.0\r\nX:  y\r\n\r\n");
        headers.remove("nothing");
        headers.remove("X");
        assert!(headers.is_empty());
    }

    #[test]
    fn a_prefix_within_a_value_stays() {
        let mut headers = HeaderBuf::from(b"NATS/1.0\r\nX: Nats-A\r\nNats-A: Nats-\r\n\r\n".as_slice());
        headers.remove_prefix("Nats-");
        assert_eq!(text(&headers), "NATS/1.0\r\nX: Nats-A\r\n\r\n");
    }
}
