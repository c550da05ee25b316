//! Subjects: tokens between dots, `*` for any one token, a last `>` for one or more.
//!
//! A subject on the wire is bytes. Functions here never allocate. Their answers on input that is not a
//! valid subject are nats-server v2.15.2's as well, so that both refuse and accept the same things.
//!
//! ```
//! use jetkv_protocol::subject::{self, ANY_TOKEN, REST, SEPARATOR};
//!
//! assert!(subject::matches(b"a.b.c", b"a.*.>") && !subject::matches(b"a.b", b"a.*.>"));
//! assert!(subject::is_subset(b"a.*", b"a.>") && !subject::is_subset(b"a.>", b"a.*"));
//! assert!(subject::collide(b"a.*", b"*.b"));
//!
//! assert_eq!(subject::token_count(b"a.b.c"), 3);
//! assert_eq!(subject::token_at(b"a.b.c", 1), Some(&b"b"[..]));
//! assert_eq!(subject::tokens(b"a.*.>").collect::<Vec<_>>(), [b"a", ANY_TOKEN, REST]);
//! assert_eq!(subject::literal_prefix(b"a.b.*"), [&b"a.b"[..], &[SEPARATOR]].concat());
//!
//! assert!(subject::is_valid(b"a.>") && subject::has_wildcard(b"a.>") && !subject::is_valid(b"a..b"));
//! assert!(subject::is_valid_publish(b"a.b") && !subject::is_valid_publish(b"a.*"));
//! assert!(subject::is_valid_literal(b"a b") && subject::is_valid_for_subscription(b"a.*"));
//! assert!(subject::is_valid_text("a.é".as_bytes()) && !subject::is_valid_text(b"a\xff"));
//! ```

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

/// Whether a subject has an empty token, as an empty subject does. This is asked of most messages, so it looks at eight bytes
/// at a time.
///
/// ```
/// use jetkv_protocol::subject::has_empty_token;
///
/// assert!(!has_empty_token(b"orders.new") && has_empty_token(b"orders..new") && has_empty_token(b""));
/// ```
#[must_use]
#[inline]
pub fn has_empty_token(subject: &[u8]) -> bool {
    let (Some(&first), Some(&last)) = (subject.first(), subject.last()) else { return true };
    if first == SEPARATOR || last == SEPARATOR {
        return true;
    }
    let Some(end) = subject.last_chunk::<8>() else {
        return flags(short_word(subject), SEPARATOR) != 0
            && subject.windows(2).any(|pair| pair == [SEPARATOR; 2]);
    };
    // Whether the byte ahead of a word is a separator, as its flag would stand one byte below.
    let mut before = 0;
    for word in subject.as_chunks::<8>().0 {
        let found = flags(u64::from_le_bytes(*word), SEPARATOR);
        if found & ((found << 8) | before) != 0 {
            return true;
        }
        before = found >> 56;
    }
    let found = flags(u64::from_le_bytes(*end), SEPARATOR);
    found & (found << 8) != 0
}

/// The bytes of what is shorter than a word, in any order and as often as they fit.
#[inline]
fn short_word(text: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    let (Some(first), Some(last)) = (text.first(), text.last()) else { return 0 };
    let middle = text.get(1).unwrap_or(first);
    u64::from_le_bytes([*first, *middle, *last, 0, 0, 0, 0, 0])
}

/// The highest bits of the bytes of a word.
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// Flags, each the highest bit of a byte, for the bytes of a word that are this one.
#[inline]
fn flags(word: u64, byte: u8) -> u64 {
    const LOW: u64 = !HIGH;
    // A byte becomes zero where it is this one, and only then adding to it leaves its highest bit clear.
    let differences = word ^ u64::from_le_bytes([byte; 8]);
    !(((differences & LOW) + LOW) | differences | LOW)
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

/// Whether a subject is seen at once to be a literal one: ASCII without an empty token, and without the bytes that make
/// wildcards. Of others that are literal, too, nothing is said.
///
/// ```
/// use jetkv_protocol::subject::is_plain_literal;
///
/// assert!(is_plain_literal(b"$KV.settings.colour.42"));
/// assert!(!is_plain_literal(b"$KV.settings.*") && !is_plain_literal(b"$KV..colour"));
/// // A literal subject, which takes a longer look.
/// assert!(!is_plain_literal(b"a*b"));
/// ```
#[must_use]
#[inline]
pub fn is_plain_literal(subject: &[u8]) -> bool {
    let (words, rest) = subject.as_chunks::<8>();
    let (Some(last), Some(_)) = (subject.last_chunk::<8>(), words.first()) else {
        return !has_empty_token(subject)
            && subject.iter().all(|byte| byte.is_ascii() && !matches!(byte, b'*' | b'>'));
    };
    if subject.first() == Some(&SEPARATOR) || subject.last() == Some(&SEPARATOR) {
        return false;
    }
    // Whether the byte ahead of a word is a separator, as its flag would stand one byte below.
    let mut before = 0;
    let mut found = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let separators = flags(word, SEPARATOR);
        found |= separators & ((separators << 8) | before) | word & HIGH | wildcard_flags(word);
        before = separators >> 56;
    }
    if !rest.is_empty() {
        // What is left, together with some that were seen.
        let word = u64::from_le_bytes(*last);
        let separators = flags(word, SEPARATOR);
        found |= separators & (separators << 8) | word & HIGH | wildcard_flags(word);
    }
    found == 0
}

/// Flags for the bytes of a word that wildcards are made of.
#[inline]
fn wildcard_flags(word: u64) -> u64 {
    flags(word, b'*') | flags(word, b'>')
}

/// Whether a text is a single token: neither empty nor divided.
///
/// ```
/// assert!(jetkv_protocol::subject::is_one_token(b"colour"));
/// assert!(!jetkv_protocol::subject::is_one_token(b"colour.42"));
/// ```
#[must_use]
#[inline]
pub fn is_one_token(text: &[u8]) -> bool {
    let has_separator = |word| flags(word, SEPARATOR) != 0;
    match text.last_chunk() {
        Some(end) => {
            let words = text.as_chunks::<8>().0;
            !words.iter().any(|word| has_separator(u64::from_le_bytes(*word)))
                && !has_separator(u64::from_le_bytes(*end))
        }
        None => !text.is_empty() && !has_separator(short_word(text)),
    }
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
    let (mut have, mut want) = (literal, pattern);
    let mut starts_token = true;
    loop {
        match (have, want) {
            ([], []) => return true,
            ([first, ..], b">") if starts_token => return *first != SEPARATOR,
            (_, [b'*', rest @ ..]) if starts_token && matches!(rest, [] | [SEPARATOR, ..]) => {
                let length = memchr(SEPARATOR, have).unwrap_or(have.len());
                match have.split_at_checked(length) {
                    Some(([_, ..], after)) => (have, want) = (after, rest),
                    _ => return false,
                }
                starts_token = false;
            }
            ([first, rest @ ..], [wanted, rest_wanted @ ..]) if first == wanted => {
                starts_token = *first == SEPARATOR;
                (have, want) = (rest, rest_wanted);
            }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_empty_token_is_found_wherever_it_is(subject in proptest::collection::vec(
            prop_oneof![2 => Just(b'.'), 3 => Just(b'a'), 1 => prop::sample::select(vec![b'.' | 0x80, b'/', b'-', 0, 255])], 0..40,
        )) {
            prop_assert_eq!(has_empty_token(&subject), tokens(&subject).any(<[u8]>::is_empty));
        }
    }

    #[test]
    fn an_empty_token_in_a_long_subject_is_found() {
        for len in 2..40 {
            let mut subject = vec![b'a'; len];
            assert!(!has_empty_token(&subject));
            for at in 0..len - 1 {
                subject[at..at + 2].fill(b'.');
                assert!(has_empty_token(&subject), "{at} of {len}");
                subject[at] = b'a';
                assert_eq!(has_empty_token(&subject), at + 2 == len);
                subject[at + 1] = b'a';
            }
        }
    }

    #[test]
    fn what_is_a_subject() {
        for good in ["a", "a.b", "*", ">", "a.*.b", "a.>", "f*o.b>r", "$KV.b.k", "a.é"] {
            assert!(is_valid(good.as_bytes()), "{good}");
            assert!(is_valid_text(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b", "a b", " ", "a.\t", "a\r", "a\n", "a.\u{c}b"]
        {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
        assert!(is_valid(b"a\x00\xff") && !is_valid_text(b"a\x00") && !is_valid_text(b"a\xff"));
        assert!(!is_valid_text("a\u{fffd}".as_bytes()));
        assert!(is_valid_for_subscription(b"a\x0cb") && !is_valid_for_subscription(b">.a"));
        assert!(is_valid_literal(b"a b") && !is_valid_literal(b"a.*") && !is_valid_literal(b"a..b"));
        assert!(is_valid_publish(b"a.*b") && !is_valid_publish(b"a.*") && !is_valid_publish(b"a b"));
    }

    #[test]
    fn tokens_are_counted_and_found() {
        assert_eq!((token_count(b""), token_count(b"a"), token_count(b"a.b.")), (0, 1, 3));
        assert_eq!(token_at(b"a.bc.d", 1), Some(b"bc".as_slice()));
        assert_eq!(token_at(b"a.bc.d", 3), None);
        assert_eq!(tokens(b"a..b").collect::<Vec<_>>(), [b"a".as_slice(), b"", b"b"]);
    }

    #[test]
    fn the_literal_prefix_ends_before_the_first_wildcard() {
        for (pattern, prefix) in [
            ("a.b", "a.b"),
            ("a.*.c", "a."),
            ("a.b.>", "a.b."),
            (">", ""),
            ("*", ""),
            ("a.b*", "a.b*"),
            ("", ""),
        ] {
            assert_eq!(literal_prefix(pattern.as_bytes()), prefix.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn no_wildcard_stands_for_nothing() {
        assert!(!matches(b"a", b"a.>"));
        assert!(!matches(b"a.", b"a.>"));
        assert!(!matches(b"a.", b"a.*"));
        assert!(!matches(b"", b">"));
        assert!(matches(b"a.b.c", b"a.>"));
        assert!(!matches(b"a.b", b"a.>.c"));
    }

    /// Patterns over so few letters that they often meet.
    fn pattern() -> impl Strategy<Value = String> {
        let token = prop_oneof![3 => "[ab]", 1 => Just("*".to_owned())];
        (proptest::collection::vec(token, 1..5), any::<bool>()).prop_map(|(tokens, rest)| {
            let mut subject = tokens.join(".");
            if rest {
                subject.push_str(".>");
            }
            subject
        })
    }

    fn naive_matches(literal: &[&str], pattern: &[&str]) -> bool {
        match (literal, pattern) {
            ([], []) => true,
            ([_, ..], [">"]) => true,
            ([have, literal @ ..], [want, pattern @ ..]) => {
                (want == &"*" || have == want) && naive_matches(literal, pattern)
            }
            _ => false,
        }
    }

    /// Every literal of up to six tokens over a, b and one letter that no pattern names.
    fn literals() -> Vec<String> {
        let mut all = Vec::new();
        let mut layer = vec![String::new()];
        for _ in 0..6 {
            layer = layer
                .iter()
                .flat_map(|head| {
                    ["a", "b", "c"].map(|token| {
                        if head.is_empty() { token.to_owned() } else { format!("{head}.{token}") }
                    })
                })
                .collect();
            all.extend(layer.iter().cloned());
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_plain_is_literal_and_what_is_one_token_is_not_divided(text in "[a-z.*>\u{e9}]{0,3}[ab./=?)+]{0,20}[.*>a]?") {
            let bytes = text.as_bytes();
            let plain = text.is_ascii() && !text.contains(['*', '>']) && !has_empty_token(bytes);
            prop_assert_eq!(is_plain_literal(bytes), plain, "{}", text);
            prop_assert!(!plain || is_valid_literal(bytes));
            prop_assert_eq!(has_empty_token(bytes), text.split('.').any(str::is_empty), "{}", text);
            prop_assert_eq!(is_one_token(bytes), !text.is_empty() && !text.contains('.'), "{}", text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn relations_between_patterns_agree_with_the_literals_they_match(a in pattern(), b in pattern()) {
            let (mut both, mut only_a) = (false, false);
            for literal in literals() {
                let tokens: Vec<_> = literal.split('.').collect();
                let expected = naive_matches(&tokens, &a.split('.').collect::<Vec<_>>());
                prop_assert_eq!(matches(literal.as_bytes(), a.as_bytes()), expected, "{} {}", literal, a);
                if expected {
                    prop_assert!(literal.as_bytes().starts_with(literal_prefix(a.as_bytes())));
                }
                let in_b = matches(literal.as_bytes(), b.as_bytes());
                both |= expected && in_b;
                only_a |= expected && !in_b;
            }
            prop_assert_eq!(collide(a.as_bytes(), b.as_bytes()), both);
            prop_assert_eq!(is_subset(a.as_bytes(), b.as_bytes()), !only_a);
        }
    }
}
