//! The shortest way through the operations that come by the million, for lines in the form that every
//! client library writes: upper case, single blanks, CR LF, and all of the operation at hand. Whatever
//! looks different, right or wrong, is left to the grammar in `line`, which decides the same.

use super::Step;
use super::message::{Message, Whole};

/// Arguments that a line has at most: subject, reply, and two sizes.
const ARGUMENTS_MAX: usize = 4;
/// Digits of a size, at most.
const DIGITS_MAX: usize = 9;

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
    let line = Line::find(rest)?;
    if line.len() > max_control_line {
        return None;
    }
    let argument = |at| line.argument(rest, at);
    let sizes = usize::from(with_headers);
    let reply = match line.blanks.checked_sub(1 + sizes)? {
        0 => None,
        1 => Some(argument(1)?),
        _ => return None,
    };
    let size_bytes = number(argument(line.blanks)?)?;
    let headers_bytes = if with_headers { number(argument(line.blanks - 1)?)? } else { 0 };
    if size_bytes > max_payload || headers_bytes > size_bytes {
        return None;
    }
    let message = Message { subject: argument(0)?, sid: &[], reply, headers_bytes, size_bytes };
    match message.with_body(buf, start + line.next()) {
        Ok(step @ Step::Op { .. }) => Some(step),
        _ => None,
    }
}

/// Where the arguments of a control line stand.
struct Line {
    /// Where each of them ends: the last at the end of the line.
    ends: [usize; ARGUMENTS_MAX],
    /// Blanks between them.
    blanks: usize,
}

impl Line {
    /// The line that begins here, if all of it is there, it ends with CR LF, and what divides it are single blanks.
    #[inline]
    fn find(text: &[u8]) -> Option<Self> {
        let mut line = Self { ends: [0; ARGUMENTS_MAX], blanks: 0 };
        let (words, rest) = text.as_chunks::<8>();
        for (at, word) in words.iter().enumerate() {
            let mut found = blanks_and_below(u64::from_le_bytes(*word));
            while found != 0 {
                if line.ends_at(text, at * 8 + found.trailing_zeros() as usize / 8)? {
                    return Some(line);
                }
                found &= found - 1;
            }
        }
        for at in text.len() - rest.len()..text.len() {
            if text.get(at).is_some_and(|byte| *byte <= b' ') && line.ends_at(text, at)? {
                return Some(line);
            }
        }
        None
    }

    /// Takes in that a blank, or something below, is at `at`. Says whether the line ends there; `None` where it is no line
    /// of that kind.
    #[inline(always)]
    fn ends_at(&mut self, text: &[u8], at: usize) -> Option<bool> {
        *self.ends.get_mut(self.blanks)? = at;
        match text.get(at..)? {
            [b' ', ..] => self.blanks += 1,
            [b'\r', b'\n', ..] => return Some(true),
            _ => return None,
        }
        Some(false)
    }

    /// Bytes of all arguments, and of what divides them.
    fn len(&self) -> usize {
        self.ends.get(self.blanks).copied().unwrap_or_default()
    }

    /// Where what follows the line begins.
    fn next(&self) -> usize {
        self.len() + 2
    }

    /// One of the arguments, unless it is empty.
    #[inline(always)]
    fn argument<'a>(&self, text: &'a [u8], number: usize) -> Option<&'a [u8]> {
        let start = match number.checked_sub(1) {
            Some(before) => self.ends.get(before)? + 1,
            None => 0,
        };
        text.get(start..*self.ends.get(number)?).filter(|argument| !argument.is_empty())
    }
}

/// Flags, each the highest bit of a byte, for the bytes of a word that are a blank or below.
#[inline]
fn blanks_and_below(word: u64) -> u64 {
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    // The highest bit of a byte is set here where the others make at least the byte after the blank.
    let above = (word & !HIGH) + u64::from_le_bytes([0x7f - b' '; 8]);
    !(above | word) & HIGH
}

/// A size.
#[inline]
fn number(digits: &[u8]) -> Option<usize> {
    if digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then_some(number * 10 + usize::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_what_is_below_are_found_wherever_they_stand() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        for window in bytes.windows(8).chain(bytes.iter().rev().copied().collect::<Vec<_>>().windows(8)) {
            let word = u64::from_le_bytes(window.try_into().unwrap());
            let flags = window.iter().map(|byte| if *byte <= b' ' { 0x80 } else { 0 });
            let expected: Vec<u8> = flags.collect();
            assert_eq!(blanks_and_below(word).to_le_bytes(), *expected, "{window:?}");
        }
    }

    #[test]
    fn arguments_are_found_however_long_they_are() {
        for len in 1..40 {
            let subject = "\u{fc}".repeat(len);
            for arguments in
                [vec![&*subject, "12"], vec!["a", &*subject, "12"], vec![&*subject, "b", "1", "12"]]
            {
                let line = format!("{}\r\n", arguments.join(" "));
                let more = format!("{line}more text\r\n");
                for text in [line.as_bytes(), more.as_bytes()] {
                    let found = Line::find(text).unwrap();
                    assert_eq!((found.blanks + 1, found.next()), (arguments.len(), line.len()));
                    for (number, argument) in arguments.iter().enumerate() {
                        assert_eq!(found.argument(text, number), Some(argument.as_bytes()), "{line:?}");
                    }
                }
            }
            for other in ["\t12\r\n", " 1 2 3 4\r\n", " 12\n", " 12\r", " 12\r \n", " \x01\r\n", " 12", ""] {
                assert!(Line::find(format!("{subject}{other}").as_bytes()).is_none(), "{subject}{other:?}");
            }
        }
    }

    #[test]
    fn what_is_no_size_is_none() {
        for (digits, size) in [("0", Some(0)), ("0012", Some(12)), ("123456789", Some(123_456_789))] {
            assert_eq!(number(digits.as_bytes()), size);
        }
        for other in ["1234567890", "-1", "1 ", "1a", "/", ":"] {
            assert_eq!(number(other.as_bytes()), None, "{other}");
        }
    }
}
