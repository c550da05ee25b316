//! Header blocks: reading them, and setting one header.

use memchr::memmem;

/// Key and value of every line after the first.
pub(crate) fn lines(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
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

/// The value of one header.
pub(crate) fn header<'a>(block: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    lines(block).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The block with one header more, at its end.
pub(crate) fn add_header(block: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let own = block.len().checked_sub(2).filter(|end| *end > 0).and_then(|end| block.get(..end));
    [own.unwrap_or(b"NATS/1.0\r\n"), key, b": ", value, b"\r\n\r\n"].concat()
}

/// The block with one header set: where it stands already, or else at the end.
pub(crate) fn set_header(block: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let Some(old) = header(block, key) else { return add_header(block, key, value) };
    // The value is a part of the block.
    let start = old.as_ptr().addr() - block.as_ptr().addr();
    let (before, after) = (block.get(..start), block.get(start + old.len()..));
    [before.unwrap_or_default(), value, after.unwrap_or_default()].concat()
}

/// The block without a header; empty where no other is left.
pub(crate) fn without_header(block: &[u8], key: &[u8]) -> Vec<u8> {
    without_headers(block, |line| line.starts_with(key) && line.get(key.len()) == Some(&b':'))
}

/// The block without the lines that `drop` picks; empty where none is left.
pub(crate) fn without_headers(block: &[u8], drop: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len());
    let (mut rest, mut at, mut left) = (block, 0_usize, 0_usize);
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let (line, tail) = rest.split_at(end + 2);
        rest = tail;
        if at > 0 && drop(line) {
            continue;
        }
        left += usize::from(at > 0 && line != b"\r\n");
        at += 1;
        out.extend_from_slice(line);
    }
    if left == 0 { Vec::new() } else { out }
}

/// The block with one header taken out and put in again at the end with a new value.
pub(crate) fn with_header(block: &[u8], key: &str, value: &str) -> Vec<u8> {
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
