//! Counters (ADR-49): what increments are answered with, and what is stored of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::{EngineConfig, ManualClock};
use jetkv_testing::{START_NS, TestEngine};
use std::sync::Arc;

const CONFIG: &str =
    r#"{"name":"S","subjects":["s.>"],"allow_msg_counter":true,"allow_atomic":true,"allow_direct":true}"#;

fn add(engine: &TestEngine, subject: &str, increment: &str) -> String {
    engine.publish(subject, &[("Nats-Incr", increment)], "")
}

#[test]
fn counters_grow_beyond_any_machine_word_and_go_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = EngineConfig { store_dir: Some(directory.path().to_owned()), ..EngineConfig::default() };
    let clock = Arc::new(ManualClock::new(START_NS));
    let engine = TestEngine::on(config.clone(), clock.clone()).unwrap();
    assert!(engine.request("STREAM.CREATE.S", CONFIG).contains("did_create"));
    assert_eq!(
        add(&engine, "s.a", "+18446744073709551615"),
        r#"{"stream":"S","seq":1,"val":"18446744073709551615"}"#
    );
    assert_eq!(add(&engine, "s.a", "1"), r#"{"stream":"S","seq":2,"val":"18446744073709551616"}"#);
    assert_eq!(add(&engine, "s.b", "-3"), r#"{"stream":"S","seq":3,"val":"-3"}"#);
    drop(engine);
    let engine = TestEngine::on(config, clock).unwrap();
    assert_eq!(add(&engine, "s.a", "-18446744073709551616"), r#"{"stream":"S","seq":4,"val":"0"}"#);
    assert_eq!(add(&engine, "s.b", "0"), r#"{"stream":"S","seq":5,"val":"-3"}"#);
}

#[test]
fn a_batch_adds_up_within_itself_and_from_what_was_there() {
    let engine = TestEngine::new().unwrap();
    engine.request("STREAM.CREATE.S", &CONFIG.replace("{\"name\"", "{\"storage\":\"memory\",\"name\""));
    add(&engine, "s.a", "40");
    for (seq, subject, last) in [("1", "s.a", false), ("2", "s.b", false), ("3", "s.a", true)] {
        let mut headers = vec![("Nats-Incr", "1"), ("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", seq)];
        headers.extend(last.then_some(("Nats-Batch-Commit", "1")));
        let answer = engine.publish(subject, &headers, "");
        assert_eq!(answer, if last { r#"{"stream":"S","seq":4,"batch":"b","count":3}"# } else { "" });
    }
    assert_eq!(add(&engine, "s.a", "1"), r#"{"stream":"S","seq":5,"val":"43"}"#);
    assert_eq!(add(&engine, "s.b", "1"), r#"{"stream":"S","seq":6,"val":"2"}"#);
}
