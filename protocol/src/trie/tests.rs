use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn found(trie: &PatternTrie<usize>, subject: &str) -> Vec<usize> {
    let mut found = Vec::new();
    trie.visit_matching(subject.as_bytes(), |pattern| {
        if let Found::Value(value) = pattern {
            found.push(*value);
        }
        false
    });
    found
}

proptest! {
    #[test]
    fn finds_the_patterns_that_stand_for_a_subject_through_any_changes(
        changes in proptest::collection::vec(("([abcdefgh*]\\.){0,3}[abcdefgh*>]", any::<bool>()), 1..60),
        subject in "([abcdefgh]\\.){0,4}[abcdefgh]",
    ) {
        let mut trie = PatternTrie::new();
        let mut model = BTreeMap::new();
        for (number, (pattern, add)) in changes.into_iter().enumerate() {
            if add {
                *trie.get_or_insert_with(pattern.as_bytes(), || 0) = number;
                model.insert(pattern, number);
            } else {
                let known = trie.change(pattern.as_bytes(), |_| false);
                prop_assert_eq!(known, model.remove(&pattern).is_some());
            }
        }
        let mut wanted: Vec<usize> = model
            .iter()
            .filter(|(pattern, _)| subject::matches(subject.as_bytes(), pattern.as_bytes()))
            .map(|(_, number)| *number)
            .collect();
        wanted.sort_unstable();
        let mut have = found(&trie, &subject);
        have.sort_unstable();
        prop_assert_eq!(have, wanted);
        let mut all = 0;
        trie.for_each(|_| all += 1);
        prop_assert_eq!(all, model.len());
        for pattern in model.keys() {
            prop_assert!(trie.change(pattern.as_bytes(), |_| true));
            prop_assert!(trie.change(pattern.as_bytes(), |_| false));
        }
        prop_assert!(trie.is_empty());
    }
}

proptest! {
    #[test]
    fn subjects_that_a_search_covers_are_those_of_the_same_patterns(
        patterns in proptest::collection::vec("([abc*]\\.){0,3}[abc*>]", 0..6),
        subjects in proptest::collection::vec("[abc.]{1,7}", 2..20),
    ) {
        let mut trie = PatternTrie::new();
        for (number, pattern) in patterns.iter().enumerate() {
            trie.get_or_insert_with(pattern.as_bytes(), || number);
        }
        let well_formed = |subject: &&String| !subject.split('.').any(str::is_empty);
        for subject in subjects.iter().filter(well_formed) {
            let mut reach = Reach::Itself;
            trie.search(subject.as_bytes(), |_| false, &mut reach);
            let (have, bytes) = (found(&trie, subject), subject.as_bytes());
            for other in &subjects {
                if reach.covers(bytes, other.as_bytes()) {
                    prop_assert!(well_formed(&other), "{} is covered", other);
                    prop_assert_eq!(&found(&trie, other), &have, "{} by {}: {:?}", other, subject, reach);
                }
            }
        }
    }
}

#[test]
fn the_keys_of_a_bucket_the_answers_to_a_client_and_what_nobody_wants_are_covered() {
    let mut trie = PatternTrie::new();
    for pattern in ["$KV.bucket.>", "_INBOX.client.*", "_INBOX.other.*"] {
        trie.get_or_insert_with(pattern.as_bytes(), || 0);
    }
    let covers = |subject: &str, other: &str| {
        let mut reach = Reach::Itself;
        trie.search(subject.as_bytes(), |_| false, &mut reach);
        reach.covers(subject.as_bytes(), other.as_bytes())
    };
    assert!(covers("$KV.bucket.a", "$KV.bucket.b.c") && !covers("$KV.bucket.a", "$KV.bucket."));
    assert!(!covers("$KV.bucket.a", "$KV.bucket") && !covers("$KV.bucket.a", "$KV.other.a"));
    assert!(covers("_INBOX.client.1", "_INBOX.client.23") && !covers("_INBOX.client.1", "_INBOX.client.2.3"));
    assert!(covers("$JS.API.DIRECT.GET.S.a", "$JS.API.INFO") && !covers("$JS.API.INFO", "$JSX.API"));
}

#[test]
fn a_change_that_keeps_the_value_and_one_of_an_unknown_pattern_leave_all_as_it_was() {
    let mut trie = PatternTrie::new();
    *trie.get_or_insert_with(b"a.*.c", || 0) = 1;
    assert!(trie.change(b"a.*.c", |value| {
        *value += 1;
        true
    }));
    for unknown in [&b"a.*"[..], b"a.*.c.d", b"a.*.>", b"b", b">", b"*"] {
        assert!(!trie.change(unknown, |_| false), "{}", unknown.escape_ascii());
    }
    assert_eq!(found(&trie, "a.b.c"), [2]);
}

#[test]
fn a_search_ends_when_it_is_told_so() {
    let mut trie = PatternTrie::new();
    for (value, pattern) in ["a.>", "*.b", "a.*"].into_iter().enumerate() {
        *trie.get_or_insert_with(pattern.as_bytes(), || 0) = value;
    }
    let mut seen = Vec::new();
    let enough = trie.visit_matching(b"a.b", |pattern| {
        seen.push(pattern);
        seen.len() == 2
    });
    assert!(enough);
    assert_eq!(seen, [Found::Value(&1), Found::Value(&0)]);
}

/// Runs `work` where a few hundred calls within each other end the process.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap().join().unwrap();
}

#[test]
fn no_number_of_tokens_exhausts_the_stack() {
    const TOKENS: usize = 300_000;
    on_a_small_stack(|| {
        let subject = vec!["a"; TOKENS].join(".");
        let wild = vec!["*"; TOKENS].join(".");
        let mixed = vec!["*.a"; TOKENS / 2].join(".");
        let (longer, rest) = (format!("{mixed}.b"), format!("{subject}.>"));
        let mut trie = PatternTrie::new();
        for (value, pattern) in [&subject, &wild, &mixed, &longer, &rest].into_iter().enumerate() {
            *trie.get_or_insert_with(pattern.as_bytes(), || 0) = value;
        }
        let mut have = found(&trie, &subject);
        have.sort_unstable();
        assert_eq!(have, [0, 1, 2]);
        assert_eq!(found(&trie, &format!("{subject}.b")), [3, 4]);
        let mut all = 0;
        trie.for_each(|_| all += 1);
        assert_eq!(all, 5);
        assert_eq!(format!("{trie:?}"), "PatternTrie { .. }");
        for pattern in [&wild, &rest, &longer] {
            assert!(trie.change(pattern.as_bytes(), |_| false));
        }
        assert_eq!(found(&trie, &subject).len(), 2);
        drop(trie);
    });
}

#[test]
fn what_a_pattern_leads_through_stays_as_long_as_something_needs_it() {
    let patterns = ["a", "a.b", "a.b.*", "a.b.>", "a.*.c.d", ">", "*"];
    for gone in patterns {
        let mut trie = PatternTrie::new();
        for pattern in patterns {
            trie.get_or_insert_with(pattern.as_bytes(), || 0);
        }
        assert!(trie.change(gone.as_bytes(), |_| false));
        for pattern in patterns {
            assert_eq!(
                trie.change(pattern.as_bytes(), |_| true),
                pattern != gone,
                "{pattern} without {gone}"
            );
        }
    }
}
