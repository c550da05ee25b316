//! What holds for subjects of very many tokens and for values that are nested very deeply: their depth exhausts no stack,
//! and they are found, matched and forgotten as shallow ones are. Shared by the fuzz target and the test that replays its
//! corpus.

use std::ops::ControlFlow;

use jetkv::options::Options;
use jetkv_go_compat::json::{self, Decode, Decoder, Kind, Value};
use jetkv_jetstream::Filter;
use jetkv_jetstream::store::index::SubjectIndex;
use jetkv_protocol::transform::Transform;
use jetkv_protocol::trie::{Found, PatternTrie};
use jetkv_protocol::{ConnectOptions, subject};

/// Far less than a call for each token or level would take, and what a build without optimisation needs.
const STACK_BYTES: usize = 128 << 10;
/// Longest text that a line becomes.
const TEXT_BYTES_MAX: usize = 16 << 10;
const LINES_MAX: usize = 6;

/// Panics when deep input breaks an invariant, and ends the process when it exhausts the stack.
pub(crate) fn check(data: &[u8]) {
    let texts: Vec<Vec<u8>> = data.split(|byte| *byte == b'\n').take(LINES_MAX).map(expanded).collect();
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        subjects(&texts);
        texts.iter().for_each(|text| nested(text));
    });
    if let Err(panic) = thread.expect("a thread starts").join() {
        std::panic::resume_unwind(panic);
    }
}

/// A byte from 0x80 on says that what stands between the one before and it comes a power of two times.
fn expanded(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut unit = Vec::new();
    for byte in line {
        if byte.is_ascii() {
            unit.push(*byte);
            continue;
        }
        let room = TEXT_BYTES_MAX.saturating_sub(text.len()) / unit.len().max(1);
        let times = (1_usize << (byte & 0x0f)).min(room);
        text.extend_from_slice(&unit.repeat(times));
        unit.clear();
    }
    text.extend_from_slice(&unit);
    text
}

fn subjects(texts: &[Vec<u8>]) {
    let patterns: Vec<&[u8]> =
        texts.iter().map(Vec::as_slice).filter(|text| subject::is_valid(text)).collect();
    let literals: Vec<&[u8]> =
        patterns.iter().copied().filter(|text| subject::is_valid_publish(text)).collect();
    let mut trie = PatternTrie::new();
    for pattern in &patterns {
        *trie.get_or_insert_with(pattern, || 0) += 1;
    }
    for literal in &literals {
        let wanted = patterns.iter().filter(|pattern| subject::matches(literal, pattern)).count();
        let mut found = 0;
        trie.visit_matching(literal, |pattern| {
            if let Found::Value(count) = pattern {
                found += count;
            }
            false
        });
        assert_eq!(found, wanted, "{}", literal.escape_ascii());
    }
    for pattern in &patterns {
        assert!(trie.change(pattern, |count| {
            *count -= 1;
            *count > 0
        }));
    }
    assert!(trie.is_empty());
    pairs(&patterns, &literals);
    index(&patterns, &literals);
}

/// Whether no longer token begins with a wildcard: nats-server, and so `is_subset`, takes such a one for the wildcard.
fn has_plain_tokens(pattern: &[u8]) -> bool {
    subject::tokens(pattern).all(|token| token.len() == 1 || !matches!(token.first(), Some(b'*' | b'>')))
}

/// What is said of two patterns agrees with what they match.
fn pairs(patterns: &[&[u8]], literals: &[&[u8]]) {
    for one in patterns {
        for other in patterns {
            for literal in literals {
                let (in_one, in_other) = (subject::matches(literal, one), subject::matches(literal, other));
                assert!(!(in_one && in_other) || subject::collide(one, other));
                assert!(!in_one || in_other || !has_plain_tokens(other) || !subject::is_subset(one, other));
            }
            let (Ok(source), Ok(destination)) = (std::str::from_utf8(one), std::str::from_utf8(other)) else {
                continue;
            };
            let Ok(Some(transform)) = Transform::checked(source, destination) else { continue };
            for literal in literals {
                let mut out = Vec::new();
                let matched = transform.apply(literal, &mut out, || 7);
                assert!(matched || out.is_empty());
            }
        }
    }
}

/// The index of a store finds what the filters match, and forgets all.
fn index(patterns: &[&[u8]], literals: &[&[u8]]) {
    let mut index = SubjectIndex::default();
    for (at, literal) in literals.iter().enumerate() {
        index.record(literal, at as u64 + 1);
    }
    for pattern in patterns {
        let filter = Filter::new([pattern]);
        let mut wanted: Vec<&[u8]> = literals.iter().copied().filter(|one| filter.matches(one)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = Vec::new();
        index.for_each(&filter, |subject, _| {
            found.push(subject.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!(found, wanted);
    }
    for (at, literal) in literals.iter().enumerate() {
        assert!(index.forget(literal, at as u64 + 1));
    }
    assert!(index.is_empty());
}

/// Takes everything that a value holds on its first two levels.
#[derive(Default)]
struct Taken(usize);

impl Decode for Taken {
    fn go_type() -> &'static str {
        "taken"
    }

    fn decode(&mut self, value: Value<'_>, _: &mut Decoder) {
        match value.kind() {
            Kind::Object => value.for_each_field(|_, field| field.for_each_element(|_| self.0 += 1)),
            Kind::Array => value.for_each_element(|element| element.for_each_element(|_| self.0 += 1)),
            _ => self.0 += value.string().len(),
        }
    }
}

/// JSON and configurations are read or refused, the same way each time.
fn nested(text: &[u8]) {
    let connect = |text: &[u8]| ConnectOptions::from_json(text).map_err(|error| error.to_string());
    assert_eq!(connect(text), connect(text));
    let mut taken = Taken::default();
    let lenient = json::decode_lenient(text, &mut taken);
    if lenient.is_ok() {
        assert_eq!(json::decode_strict(text, &mut Taken::default()), Ok(()));
    }
    let text = String::from_utf8_lossy(text);
    // Other files are not the fuzzer's.
    if text.to_ascii_lowercase().contains("include") {
        return;
    }
    let configuration = |text: &str| match Options::from_config_text(text) {
        Ok(options) => format!("{options:?}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(configuration(&text), configuration(&text));
}
