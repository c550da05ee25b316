//! Functions that make several tokens of one, or a part of it.

use memchr::memmem;

use crate::subject::SEPARATOR;

/// How a token is cut at a size. A size of zero, or one that the token does not exceed, leaves it whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// In two, so many bytes from its start.
    SplitFromLeft,
    /// In two, so many bytes from its end.
    SplitFromRight,
    /// In pieces of the size; the last may be shorter.
    SliceFromLeft,
    /// In pieces of the size; the first may be shorter.
    SliceFromRight,
    /// Its first bytes are kept.
    Left,
    /// Its last bytes are kept.
    Right,
}

impl Cut {
    pub(super) fn write(self, token: &[u8], size: usize, out: &mut Vec<u8>) {
        if size == 0 || size >= token.len() {
            out.extend_from_slice(token);
            return;
        }
        let (head, tail) = token.split_at(size);
        let (before, end) = token.split_at(token.len() - size);
        match self {
            Self::SplitFromLeft => join([head, tail], out),
            Self::SplitFromRight => join([before, end], out),
            Self::SliceFromLeft => join(token.chunks(size), out),
            Self::SliceFromRight => {
                let (short, pieces) = token.split_at(token.len() % size);
                join(
                    Some(short).filter(|short| !short.is_empty()).into_iter().chain(pieces.chunks(size)),
                    out,
                );
            }
            Self::Left => out.extend_from_slice(head),
            Self::Right => out.extend_from_slice(end),
        }
    }
}

fn join<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (at, piece) in pieces.into_iter().enumerate() {
        if at > 0 {
            out.push(SEPARATOR);
        }
        out.extend_from_slice(piece);
    }
}

/// Appends the pieces of a token between occurrences of `by`, as tokens; with nothing to split by, its characters.
/// Where a token begins with `by` twice, the result begins with a separator (nats-server v2.15.2, observed).
pub(super) fn split(token: &[u8], by: &[u8], out: &mut Vec<u8>) {
    let pieces = if by.is_empty() { characters(token) } else { between(token, by) };
    for (at, piece) in pieces.iter().enumerate() {
        out.extend_from_slice(piece);
        let more_follows = pieces.get(at + 1).is_some_and(|next| !next.is_empty());
        if more_follows && !(at == 0 && piece.is_empty()) {
            out.push(SEPARATOR);
        }
    }
}

fn between<'a>(token: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for at in memmem::find_iter(token, by) {
        pieces.extend(token.get(start..at));
        start = at + by.len();
    }
    pieces.extend(token.get(start..));
    pieces
}

/// Every character; a byte that belongs to none counts as one.
fn characters(token: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    for chunk in token.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        for character in chunk.valid().chars() {
            let (piece, after) = rest.split_at(character.len_utf8().min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.extend(chunk.invalid().chunks(1));
    }
    pieces
}

/// Appends a number in decimal.
pub(super) fn write_number(number: u32, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to memory does not fail.
    let _ = write!(out, "{number}");
}
