//! The subject index answers as a sorted map does, in little memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::Filter;
use jetkv_jetstream::store::index::{Recorded, SubjectEntry, SubjectIndex, WalkEnd};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

type Model = BTreeMap<Vec<u8>, BTreeSet<u64>>;

#[derive(Debug, Clone)]
enum Op {
    Record { subject: Vec<u8>, times: u64, gap: u64, most: u64 },
    ForgetOne { subject: prop::sample::Index, seq: prop::sample::Index },
    ForgetFirst { subject: prop::sample::Index, times: usize },
    ForgetSubject { subject: prop::sample::Index },
    ForgetUnknown { subject: Vec<u8>, seq: u64 },
    Walk { filter: Filter, after: Option<Vec<u8>>, budget: usize },
    Seqs { subject: prop::sample::Index, near: prop::sample::Index },
}

fn subject() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "ab", "abc", "x1", "x2", "key"]).prop_map(str::to_owned),
        2 => "[a-e0-9]{1,3}",
        1 => prop::sample::select(vec!["a-very-long-token-that-leaves-do-not-like", "é"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(token, 1..5).prop_map(|tokens| tokens.join(".").into_bytes())
}

fn filter() -> impl Strategy<Value = Filter> {
    let token = prop::sample::select(vec!["a", "b", "ab", "abc", "x1", "*", "*", "*", ">"]);
    let pattern = prop::collection::vec(token, 1..5).prop_map(|tokens| {
        let end = tokens.iter().position(|token| *token == ">").map_or(tokens.len(), |at| at + 1);
        tokens[..end].join(".")
    });
    prop::collection::vec(pattern, 1..4).prop_map(Filter::new)
}

/// How many sequences a subject may have: around those at which it is stored in another form.
fn most() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(u64::MAX), 4 => Just(1_u64), 2 => 2..6_u64, 1 => 30..35_u64, 1 => 62..67_u64]
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<prop::sample::Index>;
    prop_oneof![
        8 => (subject(), prop_oneof![9 => 1..3_u64, 1 => 50..200_u64], 1..300_u64, most())
            .prop_map(|(subject, times, gap, most)| Op::Record { subject, times, gap, most }),
        4 => (pick(), pick()).prop_map(|(subject, seq)| Op::ForgetOne { subject, seq }),
        2 => (pick(), 1..100_usize).prop_map(|(subject, times)| Op::ForgetFirst { subject, times }),
        3 => pick().prop_map(|subject| Op::ForgetSubject { subject }),
        1 => (subject(), 0..500_u64).prop_map(|(subject, seq)| Op::ForgetUnknown { subject, seq }),
        4 => (filter(), prop::option::of(subject()), prop_oneof![Just(usize::MAX), 0..40_usize])
            .prop_map(|(filter, after, budget)| Op::Walk { filter, after, budget }),
        2 => (pick(), pick()).prop_map(|(subject, near)| Op::Seqs { subject, near }),
    ]
}

fn pick_subject(model: &Model, pick: &prop::sample::Index) -> Option<Vec<u8>> {
    (!model.is_empty()).then(|| model.keys().nth(pick.index(model.len())).unwrap().clone())
}

fn forget(index: &mut SubjectIndex, model: &mut Model, subject: &[u8], seq: u64) {
    let seqs = model.get_mut(subject);
    let known = seqs.is_some_and(|seqs| seqs.remove(&seq));
    if model.get(subject).is_some_and(BTreeSet::is_empty) {
        model.remove(subject);
    }
    assert_eq!(index.forget(subject, seq), known);
}

fn check_walk(index: &SubjectIndex, model: &Model, filter: &Filter, after: Option<&[u8]>, budget: usize) {
    let wanted: Vec<_> = model
        .iter()
        .filter(|(subject, _)| filter.matches(subject) && after.is_none_or(|after| &subject[..] > after))
        .map(|(subject, seqs)| (subject.clone(), seqs.iter().copied().collect::<Vec<_>>()))
        .collect();
    let mut found = Vec::new();
    let end = index.walk_after(filter, after, |subject, seqs| {
        found.push((subject.to_vec(), seqs.iter().collect::<Vec<_>>()));
        ControlFlow::Continue(())
    });
    assert_eq!((end, &found), (WalkEnd::Done, &wanted), "{filter:?} after {after:?}");
    if index.is_covered_by(filter) {
        assert!(model.keys().all(|subject| filter.matches(subject)));
    }
    let mut count = 0;
    let end = index.walk_within(filter, &mut { budget }, |_, _| {
        count += 1;
        ControlFlow::Continue(())
    });
    let all = model.keys().filter(|subject| filter.matches(subject)).count();
    assert!(if end == WalkEnd::Done { count == all } else { count <= budget });
}

fn apply(index: &mut SubjectIndex, model: &mut Model, next_seq: &mut u64, op: &Op) {
    match op {
        Op::Record { subject, times, gap, most } => {
            for _ in 0..*times {
                *next_seq += gap;
                let recorded = index.record_within(subject, *next_seq, *most);
                let seqs = model.entry(subject.clone()).or_default();
                seqs.insert(*next_seq);
                let goes = seqs.len() as u64 > *most;
                let replaced = if goes { seqs.pop_first() } else { None };
                let (count, first_seq) = (seqs.len() as u64, *seqs.first().unwrap());
                let entry = SubjectEntry { count, first_seq, last_seq: *next_seq };
                assert_eq!(recorded, Recorded { entry, replaced });
            }
        }
        Op::ForgetOne { subject, seq } => {
            let Some(subject) = pick_subject(model, subject) else { return };
            let seqs = &model[&subject];
            let seq = *seqs.iter().nth(seq.index(seqs.len())).unwrap();
            forget(index, model, &subject, seq);
        }
        Op::ForgetFirst { subject, times } => {
            let Some(subject) = pick_subject(model, subject) else { return };
            for seq in model[&subject].iter().take(*times).copied().collect::<Vec<_>>() {
                forget(index, model, &subject, seq);
            }
        }
        Op::ForgetSubject { subject } => {
            let Some(subject) = pick_subject(model, subject) else { return };
            for seq in model[&subject].iter().rev().copied().collect::<Vec<_>>() {
                forget(index, model, &subject, seq);
            }
        }
        Op::ForgetUnknown { subject, seq } => forget(index, model, subject, *seq),
        Op::Walk { filter, after, budget } => check_walk(index, model, filter, after.as_deref(), *budget),
        Op::Seqs { subject, near } => {
            let Some(subject) = pick_subject(model, subject) else { return };
            let seqs = &model[&subject];
            let near = (seqs.first().unwrap() - 1) + near.index(seqs.len() * 300) as u64;
            assert_eq!(index.at_or_after(&subject, near), seqs.range(near..).next().copied());
            assert_eq!(index.at_or_before(&subject, near), seqs.range(..=near).next_back().copied());
            assert_eq!(index.count_from(&subject, near), seqs.range(near..).count() as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_answers_as_a_sorted_map_does(ops in prop::collection::vec(op(), 1..150)) {
        let (mut index, mut model, mut next_seq) = (SubjectIndex::default(), Model::new(), 0);
        for op in &ops {
            apply(&mut index, &mut model, &mut next_seq, op);
            prop_assert_eq!(index.len(), model.len());
        }
        check_walk(&index, &model, &Filter::All, None, 10);
        for (subject, seqs) in &model {
            let entry = index.get(subject).unwrap();
            let wanted = (seqs.len() as u64, *seqs.first().unwrap(), *seqs.last().unwrap());
            prop_assert_eq!((entry.count, entry.first_seq, entry.last_seq), wanted);
        }
        for (subject, seqs) in std::mem::take(&mut model) {
            for seq in seqs {
                prop_assert!(index.forget(&subject, seq));
            }
        }
        prop_assert!(index.is_empty());
    }
}

/// Tokens that make nodes of one child up to nearly as many as there are bytes, of few lengths, so that many begin alike.
fn wide_token() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[0-9]{1,3}",
        2 => "[!#-)+,/0-=?-~]{1,2}",
        1 => "[\u{a1}-\u{7ff}]",
        1 => prop::sample::select(vec!["7", "77", "g", "a"]).prop_map(str::to_owned),
    ]
}

/// Patterns of which all that match ends alike.
fn ending_filter() -> impl Strategy<Value = Filter> {
    let front = prop::sample::select(vec!["*.*", "k.*", "*", "*.*.*", "*.7"]);
    let end = prop::sample::select(vec!["7", "77", "g", "a", "1.7", "0", "*"]);
    prop::collection::vec((front, end).prop_map(|(front, end)| format!("{front}.{end}")), 1..4)
        .prop_map(Filter::new)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_ends_alike_is_found_in_parts_of_any_size(
        tokens in prop::collection::vec((wide_token(), wide_token(), 0..4_u8), 1..1_500),
        ends in prop::collection::vec(wide_token(), 1..12),
        filters in prop::collection::vec(ending_filter(), 4),
        budgets in prop::collection::vec(prop_oneof![1..20_usize, 20..3_000_usize], 1..6),
    ) {
        let (mut index, mut subjects) = (SubjectIndex::default(), BTreeSet::new());
        for (seq, (a, b, form)) in tokens.iter().enumerate() {
            let end = &ends[seq % ends.len()];
            let subject = match form {
                0 => format!("k.{a}.{end}"),
                1 => format!("{a}.{b}.{end}"),
                2 => format!("k.{a}.{b}.{end}"),
                _ => format!("k.{a}{b}"),
            };
            index.record(subject.as_bytes(), seq as u64 + 1);
            subjects.insert(subject.into_bytes());
        }
        for filter in &filters {
            let wanted: Vec<_> = subjects.iter().filter(|subject| filter.matches(subject)).cloned().collect();
            let (mut found, mut from, mut budgets) = (Vec::new(), None::<Vec<u8>>, budgets.iter().cycle());
            loop {
                let budget = *budgets.next().unwrap();
                let next = index.walk_part(filter, from.as_deref(), budget, |subject, _| {
                    found.push(subject.to_vec());
                    ControlFlow::Continue(())
                });
                prop_assert!(next.is_none() || next > from, "{:?} after {:?}", next, from);
                from = next;
                if from.is_none() {
                    break;
                }
            }
            prop_assert_eq!(&found, &wanted, "{:?}", filter);
        }
    }
}

#[test]
fn subjects_with_one_message_take_a_few_dozen_bytes() {
    const KEYS: u64 = 100_000;
    type Shape = (&'static str, fn(u64) -> String);
    let shapes: [Shape; 3] = [
        ("sequential", |n| format!("$KV.bucket.user.{n}")),
        ("random hex", |n| format!("$KV.bucket.{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        ("uuid-like tokens", |n| {
            let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("$KV.bucket.{:08x}.{:04x}.profile.settings", hash >> 32, hash & 0xffff)
        }),
    ];
    for (name, subject) in shapes {
        let mut index = SubjectIndex::default();
        let mut subject_bytes = 0;
        for n in 0..KEYS {
            let subject = subject(n);
            subject_bytes += subject.len();
            index.record(subject.as_bytes(), 1_000_000 + n);
        }
        let per_key = index.memory_bytes() as f64 / KEYS as f64;
        let subject_bytes = subject_bytes as f64 / KEYS as f64;
        println!("{name}: {per_key:.1} bytes a key in all, of which the subject has {subject_bytes:.1}");
        assert!(per_key < subject_bytes + 60.0);
    }
}

#[test]
fn subjects_that_nest_byte_by_byte_are_walked_without_recursion() {
    let mut index = SubjectIndex::default();
    let long = vec![b'a'; 3_000];
    for len in 1..=long.len() {
        index.record(&long[..len], len as u64);
    }
    let mut last = 0;
    index.for_each(&Filter::All, |subject, entry| {
        assert_eq!(subject.len() as u64, entry.first_seq);
        last = entry.first_seq;
        ControlFlow::Continue(())
    });
    assert_eq!(last, 3_000);
    for len in 1..=long.len() {
        assert!(index.forget(&long[..len], len as u64));
    }
    assert!(index.is_empty());
}

#[test]
fn many_patterns_are_followed_through_long_tokens() {
    let (mut index, mut model) = (SubjectIndex::default(), Model::new());
    for seq in 1..=300_u64 {
        let subject = format!("{}.{}.a{}", "x".repeat(200), "y".repeat(1 + seq as usize % 50), seq % 100);
        index.record(subject.as_bytes(), seq);
        model.entry(subject.into_bytes()).or_default().insert(seq);
    }
    let filter = Filter::new((0..200).step_by(3).flat_map(|n| [format!("*.*.a{n}"), format!("*.yy.a{n}")]));
    check_walk(&index, &model, &filter, None, 10);
    let after = model.keys().nth(50).unwrap();
    check_walk(&index, &model, &filter, Some(after), 10);
}
