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
