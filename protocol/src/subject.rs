//! Subjects: tokens between dots, `*` for any one token, a last `>` for one or more.
//!
//! A subject on the wire is bytes. Functions here never allocate. Their answers on input that is not a
//! valid subject are nats-server v2.15.2's as well, so that both refuse and accept the same things.

use memchr::{memchr, memchr_iter, memchr2};

/// What separates tokens.
pub const SEPARATOR: u8 = b'.';
/// The token that matches any one token.
pub const ANY_TOKEN: &[u8] = b"*";
/// The token that matches the rest, which must not be empty.
pub const REST: &[u8] = b">";

/// The tokens of a subject. An empty subject has one token, the empty one.
pub fn tokens(subject: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    subject.split(|byte| *byte == SEPARATOR)
}

/// How many tokens a subject has; none when it is empty.
#[must_use]
pub fn token_count(subject: &[u8]) -> usize {
    if subject.is_empty() { 0 } else { memchr_iter(SEPARATOR, subject).count() + 1 }
}

/// The token at `index`, counted from zero.
#[must_use]
pub fn token_at(subject: &[u8], index: usize) -> Option<&[u8]> {
    tokens(subject).nth(index)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

/// Whether this is a subject, wildcards allowed: no empty token, no white space, `>` only as the last token.
/// The rule for stream and consumer subjects.
#[must_use]
pub fn is_valid(subject: &[u8]) -> bool {
    is_valid_for_subscription(subject) && !subject.iter().any(|byte| is_space(*byte))
}

/// Whether a SUB to this is accepted: no empty token and `>` only as the last one. White space cannot come
/// from the wire, apart from a form feed, which is accepted.
#[must_use]
pub fn is_valid_for_subscription(subject: &[u8]) -> bool {
    let mut rest_seen = false;
    for token in tokens(subject) {
        if token.is_empty() || rest_seen {
            return false;
        }
        rest_seen = token == REST;
    }
    true
}

/// Whether this is a subject without a NUL and of sound UTF-8, as nats-server asks of the subjects of
/// streams. U+FFFD itself is refused too, because it marks text that was broken earlier.
#[must_use]
pub fn is_valid_text(subject: &[u8]) -> bool {
    memchr(0, subject).is_none()
        && std::str::from_utf8(subject).is_ok_and(|text| !text.contains('\u{fffd}'))
        && is_valid(subject)
}

/// Whether this is a subject without wildcards.
#[must_use]
pub fn is_valid_publish(subject: &[u8]) -> bool {
    is_valid(subject) && !has_wildcard(subject)
}

/// The check of pedantic mode: no empty token and no token that is a wildcard. White space passes.
#[must_use]
pub fn is_valid_literal(subject: &[u8]) -> bool {
    tokens(subject).all(|token| !token.is_empty() && !is_wildcard(token))
}

fn is_wildcard(token: &[u8]) -> bool {
    token == ANY_TOKEN || token == REST
}

/// Whether a token is a wildcard. `*` and `>` within longer tokens are ordinary bytes.
#[must_use]
pub fn has_wildcard(subject: &[u8]) -> bool {
    // Most subjects hold neither byte, and that is quick to see.
    memchr2(b'*', b'>', subject).is_some() && tokens(subject).any(is_wildcard)
}

/// The part of a pattern before its first wildcard, up to and including the separator; the whole of a
/// subject without wildcards. Every subject that the pattern matches starts with it.
#[must_use]
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let mut at = 0;
    for token in tokens(pattern) {
        if is_wildcard(token) {
            return pattern.get(..at).unwrap_or(pattern);
        }
        at += token.len() + 1;
    }
    pattern
}

/// Whether the literal subject is one that the pattern stands for. A wildcard stands for no empty token.
#[must_use]
pub fn matches(literal: &[u8], pattern: &[u8]) -> bool {
    let mut subject = tokens(literal);
    let mut wanted = tokens(pattern);
    loop {
        match (subject.next(), wanted.next()) {
            (None, None) => return true,
            (Some(have), Some(want)) if have == want => {}
            (Some([]), Some(_)) => return false,
            (Some(_), Some(ANY_TOKEN)) => {}
            (Some(_), Some(REST)) => return wanted.next().is_none(),
            _ => return false,
        }
    }
}

/// Whether every subject that `subject` stands for is one that `pattern` stands for. Both may have wildcards.
///
/// As in nats-server, a token of `pattern` that merely starts with `*` counts as a wildcard here.
#[must_use]
pub fn is_subset(subject: &[u8], pattern: &[u8]) -> bool {
    let mut subject = tokens(subject);
    for want in tokens(pattern) {
        let Some(have) = subject.next() else { return false };
        if want.is_empty() {
            return false;
        }
        if want == REST {
            return true;
        }
        if have.is_empty() || have == REST {
            return false;
        }
        let fits =
            if have == ANY_TOKEN { want == ANY_TOKEN } else { want.first() == Some(&b'*') || have == want };
        if !fits {
            return false;
        }
    }
    subject.next().is_none()
}

/// Whether some literal subject is matched by both.
///
/// As in nats-server, when both have wildcards a token that merely starts with `*` or `>` meets any other.
#[must_use]
pub fn collide(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    match (has_wildcard(a), has_wildcard(b)) {
        (false, false) => return false,
        (false, true) => return is_subset(a, b),
        (true, false) => return is_subset(b, a),
        (true, true) => {}
    }
    let reaches = |subject: &[u8], other: usize| {
        token_count(subject) >= other || tokens(subject).any(|token| token == REST)
    };
    if !reaches(a, token_count(b)) || !reaches(b, token_count(a)) {
        return false;
    }
    tokens(a).zip(tokens(b)).all(|(a, b)| match (a.first(), b.first()) {
        (Some(b'*' | b'>'), Some(_)) | (Some(_), Some(b'*' | b'>')) => true,
        (Some(_), Some(_)) => a == b,
        _ => false,
    })
}
