use super::{FIRST_MSGS, NODES};
use crate::filter::Filter;
use crate::steps;
use crate::store::index::SubjectIndex;
use crate::testing::TestEngine;
use proptest::prelude::*;
use std::ops::ControlFlow;

proptest! {
    #[test]
    fn the_parts_of_a_walk_are_the_walk(
        subjects in proptest::collection::btree_set("[ab]{1,3}(\\.[ab*]{1,2}){0,3}", 0..60),
        patterns in proptest::collection::vec("([ab]{1,2}|\\*)(\\.([ab]|\\*)){0,2}(\\.>)?", 0..4),
        budget in 1..12_usize,
    ) {
        let mut index = SubjectIndex::default();
        for (at, subject) in subjects.iter().enumerate() {
            index.record(subject.as_bytes(), at as u64 + 1);
        }
        let filter = Filter::new(&patterns);
        let mut whole = Vec::new();
        index.for_each(&filter, |subject, _| {
            whole.push(subject.to_vec());
            ControlFlow::Continue(())
        });
        let (mut parts, mut from, mut count) = (Vec::new(), None::<Vec<u8>>, 0);
        loop {
            let next = index.walk_part(&filter, from.as_deref(), budget, |subject, _| {
                parts.push(subject.to_vec());
                ControlFlow::Continue(())
            });
            count += 1;
            prop_assert!(count < 1_000);
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        prop_assert_eq!(parts, whole);
    }
}

/// Keys, of which every thousandth is rare.
fn bucket(keys: u64) -> TestEngine {
    let engine = TestEngine::new().unwrap();
    let config = r#"{"name":"KV","subjects":["kv.>"],"storage":"memory","max_msgs_per_subject":1}"#;
    assert!(engine.request("STREAM.CREATE.KV", config).contains("did_create"));
    for seq in 1..=keys {
        let sort = if seq % 1_000 == 0 { "rare" } else { "often" };
        engine.publish(&format!("kv.{seq}.{sort}"), &[], "x");
    }
    engine
}

#[test]
fn a_search_in_slices_finds_the_first_and_the_last_that_match() {
    let engine = bucket(3_000);
    let get = |body: &str| {
        let answer = engine.request("STREAM.MSG.GET.KV", body);
        let seq = answer.split("\"seq\":").nth(1).and_then(|rest| rest.split(',').next());
        seq.map_or(0, |seq| seq.parse::<u64>().unwrap())
    };
    assert_eq!(get(r#"{"seq":1,"next_by_subj":"kv.*.rare"}"#), 1_000);
    assert_eq!(get(r#"{"seq":1001,"next_by_subj":"kv.*.rare"}"#), 2_000);
    assert_eq!(get(r#"{"seq":2999,"next_by_subj":"kv.*.often"}"#), 2_999);
    assert_eq!(get(r#"{"seq":3001,"next_by_subj":"kv.*.rare"}"#), 0);
    assert_eq!(get(r#"{"seq":1,"next_by_subj":"kv.*.none"}"#), 0);
    assert_eq!(get(r#"{"last_by_subj":"kv.*.rare"}"#), 3_000);
    assert_eq!(get(r#"{"last_by_subj":"kv.*.often"}"#), 2_999);
    assert_eq!(get(r#"{"last_by_subj":"*.*.*.none"}"#), 0);
    assert_eq!(get(r#"{"last_by_subj":"kv.>"}"#), 3_000);
}

#[test]
fn a_purge_by_a_pattern_takes_what_matches_and_keeps_the_newest() {
    let engine = bucket(3_000);
    let purge = |body: &str| engine.request("STREAM.PURGE.KV", body);
    assert!(purge(r#"{"filter":"kv.*.none"}"#).contains("\"purged\":0"));
    assert!(purge(r#"{"filter":"kv.*.rare","keep":2}"#).contains("\"purged\":1"));
    assert!(purge(r#"{"filter":"kv.*.rare","seq":2001}"#).contains("\"purged\":1"));
    assert!(purge(r#"{"filter":"kv.*.often"}"#).contains("\"purged\":2997"));
    let info = engine.request("STREAM.INFO.KV", r#"{"subjects_filter":"kv.*.>"}"#);
    assert!(info.contains("\"messages\":1,") && info.contains("\"kv.3000.rare\":1"), "{info}");
}

#[test]
fn a_search_in_vain_costs_little_more_than_the_nodes_of_the_index() {
    const KEYS: u64 = 12_000;
    let engine = bucket(KEYS);
    for body in [
        r#"{"seq":1,"next_by_subj":"kv.*.*.none"}"#,
        r#"{"last_by_subj":"kv.*.*.none"}"#,
        r#"{"seq":1,"next_by_subj":"*.*.rare.*"}"#,
    ] {
        let (answer, most, holds) = steps::count(|| engine.request("STREAM.MSG.GET.KV", body));
        assert!(answer.contains("no message found"), "{answer}");
        // Each hold of the lock enters as many nodes as it may, of fewer than two for each key, and looks at few messages.
        let holds_max = 2 * KEYS / NODES as u64 + 4;
        assert!(holds <= holds_max, "{body}: {holds} holds");
        assert!(most <= (NODES + 2 * FIRST_MSGS) as u64, "{body}: {most} steps in one hold");
    }
}
