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
