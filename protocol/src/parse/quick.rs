//! The shortest way through the operations that come by the million, for lines in the form that every
//! client library writes: upper case, single blanks, CR LF, and all of the operation at hand. Whatever
//! looks different, right or wrong, is left to the grammar in `line`, which decides the same.

use memchr::memchr;

use super::Step;
use super::line::is_blank;
use super::message::{Message, Whole};

/// A whole PUB or HPUB, when it is one that needs no second look.
#[inline]
pub(super) fn publish<'a>(
    buf: &'a [u8],
    headers_allowed: bool,
    max_control_line: usize,
    max_payload: usize,
) -> Option<Step<Whole<'a>>> {
    let (with_headers, start) = match buf {
        [b'P', b'U', b'B', b' ', ..] => (false, 4),
        [b'H', b'P', b'U', b'B', b' ', ..] if headers_allowed => (true, 5),
        _ => return None,
    };
    let rest = buf.get(start..)?;
    let feed = memchr(b'\n', rest)?;
    let arguments = rest.get(..feed)?.strip_suffix(b"\r")?;
    if arguments.len() > max_control_line {
        return None;
    }
    let (mut arguments, size_bytes) = split_number(arguments)?;
    let mut headers_bytes = 0;
    if with_headers {
        (arguments, headers_bytes) = split_number(arguments)?;
    }
    if size_bytes > max_payload || headers_bytes > size_bytes {
        return None;
    }
    let (subject, reply) = split_reply(arguments)?;
    let message = Message { subject, sid: &[], reply, headers_bytes, size_bytes };
    match message.with_body(buf, start + feed + 1) {
        Ok(step @ Step::Op { .. }) => Some(step),
        _ => None,
    }
}

/// `subject` or `subject reply`.
#[inline]
fn split_reply(arguments: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let Some(end) = first_blank(arguments) else {
        return (!arguments.is_empty()).then_some((arguments, None));
    };
    let subject = arguments.get(..end)?;
    let reply = arguments.get(end + 1..)?;
    let plain = !subject.is_empty() && !reply.is_empty() && first_blank(reply).is_none();
    plain.then_some((subject, Some(reply)))
}

/// Where the first blank or tab stands. Subjects are so short that a call takes longer than to go through them.
#[inline]
fn first_blank(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The highest bit of each byte that is zero, and perhaps of some above the lowest of them.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // Both stand among the bytes up to the blank, of which a subject hardly ever has another.
        if word.wrapping_sub(ONES * (u64::from(b' ') + 1)) & !word & (ONES << 7) == 0 {
            continue;
        }
        let found = zeros(word ^ (ONES * u64::from(b' '))) | zeros(word ^ (ONES * u64::from(b'\t')));
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| is_blank(*byte)).map(|at| words.len() * 8 + at)
}

/// Takes a blank and a size of at most nine digits off the end.
#[inline]
fn split_number(arguments: &[u8]) -> Option<(&[u8], usize)> {
    let mut number = 0;
    let mut place = 1;
    let mut left = arguments;
    while let [rest @ .., digit @ b'0'..=b'9'] = left {
        if place > 100_000_000 {
            return None;
        }
        number += usize::from(digit - b'0') * place;
        place *= 10;
        left = rest;
    }
    match left {
        [rest @ .., b' '] if place > 1 => Some((rest, number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::first_blank;

    #[test]
    fn the_first_blank_is_found_wherever_it_stands() {
        let other = *b"\x1f!\x08\n\0\xa0\x89a.\x7f\xff\r\x0b~>*\x1f!\x08\n\0\xa0\x89a";
        assert_eq!(first_blank(b""), None);
        for len in 0..=other.len() {
            let text = other.get(..len).unwrap();
            assert_eq!(first_blank(text), None, "{len}");
            for at in 0..len {
                for blank in [b' ', b'\t'] {
                    let mut text = text.to_vec();
                    text[at] = blank;
                    assert_eq!(first_blank(&text), Some(at), "{len} {at}");
                    *text.last_mut().unwrap() = b' ';
                    assert_eq!(first_blank(&text), Some(at), "{len} {at}");
                }
            }
        }
    }
}
