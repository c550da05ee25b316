//! Message schedules (ADR-51) on a clock that the test moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::{EngineConfig, ManualClock};
use jetkv_testing::{START_NS, TestEngine};
use std::sync::Arc;

const CONFIG: &str = r#"{"name":"S","subjects":["s.>"],"allow_msg_schedules":true,"allow_msg_ttl":true,"allow_atomic":true,
    "allow_direct":true}"#;
const SECOND_NS: u64 = 1_000_000_000;
// START_NS is 2023-11-14T22:13:20Z.
const IN_TEN: &str = "@at 2023-11-14T22:13:30Z";

fn memory() -> TestEngine {
    let engine = TestEngine::new().unwrap();
    let config = CONFIG.replace("{\"name\"", "{\"storage\":\"memory\",\"name\"");
    assert!(engine.request("STREAM.CREATE.S", &config).contains("did_create"));
    engine.host.listen("d", None);
    engine
        .request("CONSUMER.CREATE.S.C", r#"{"stream_name":"S","config":{"name":"C","deliver_subject":"d"}}"#);
    engine.host.take();
    engine
}

fn schedule(engine: &TestEngine, subject: &str, pattern: &str, more: &[(&str, &str)]) -> String {
    let mut headers = vec![("Nats-Schedule", pattern), ("Nats-Schedule-Target", "s.target"), ("Mine", "yes")];
    headers.extend_from_slice(more);
    engine.publish(subject, &headers, "payload")
}

/// What was delivered since this was last asked: subject, headers without their first line, payload.
fn delivered(engine: &TestEngine) -> Vec<(String, String, String)> {
    let lines = |block: &str| block.trim_start_matches("NATS/1.0\r\n").trim_end().replace("\r\n", "; ");
    let sent = engine.host.take();
    let of_consumer = sent.iter().filter(|sent| sent.to == "d");
    of_consumer.map(|sent| (sent.subject.clone(), lines(&sent.headers), sent.payload.clone())).collect()
}

fn targets(engine: &TestEngine) -> usize {
    delivered(engine).iter().filter(|(subject, ..)| subject == "s.target").count()
}

#[test]
fn a_moment_comes_once_and_its_schedule_goes() {
    let engine = memory();
    assert_eq!(schedule(&engine, "s.a", IN_TEN, &[]), r#"{"stream":"S","seq":1}"#);
    delivered(&engine);
    engine.advance_ns(10 * SECOND_NS - 1);
    assert!(delivered(&engine).is_empty());
    engine.advance_ns(1);
    let wanted = "Mine: yes; Nats-Scheduler: s.a; Nats-Schedule-Next: purge";
    assert_eq!(delivered(&engine), [("s.target".into(), wanted.into(), "payload".into())]);
    let info = engine.request("STREAM.INFO.S", r#"{"subjects_filter":">"}"#);
    assert!(info.contains(r#""subjects":{"s.target":1}"#), "{info}");
    assert!(engine.advance_ns(3600 * SECOND_NS).wall.is_none(), "nothing is due any more");
}

#[test]
fn an_interval_comes_again_and_is_caught_up_once() {
    let engine = memory();
    schedule(&engine, "s.a", "@every 2s", &[("Nats-Schedule-TTL", "1m"), ("Nats-Schedule-Rollup", "sub")]);
    delivered(&engine);
    engine.advance_ns(2 * SECOND_NS);
    let wanted = "Mine: yes; Nats-Scheduler: s.a; Nats-Schedule-Next: 2023-11-14T22:13:24Z; Nats-TTL: 1m; Nats-Rollup: sub";
    assert_eq!(delivered(&engine), [("s.target".into(), wanted.into(), "payload".into())]);
    engine.advance_ns(2 * SECOND_NS);
    assert_eq!(targets(&engine), 1);
    engine.advance_ns(11 * SECOND_NS);
    assert_eq!(targets(&engine), 1, "what was missed comes once");
    engine.advance_ns(2 * SECOND_NS);
    assert_eq!(targets(&engine), 1);
    let info = engine.request("STREAM.INFO.S", r#"{"subjects_filter":">"}"#);
    assert!(info.contains(r#""subjects":{"s.a":1,"s.target":1}"#), "the last one rolls up: {info}");
}

#[test]
fn what_is_due_together_comes_in_the_order_of_the_schedules() {
    let engine = memory();
    for name in ["s.c", "s.a", "s.b"] {
        schedule(&engine, name, IN_TEN, &[]);
    }
    schedule(&engine, "s.first", "@at 2023-11-14T22:13:25Z", &[]);
    delivered(&engine);
    engine.advance_ns(60 * SECOND_NS);
    let order: Vec<String> = delivered(&engine).into_iter().map(|(_, headers, _)| headers).collect();
    let names: Vec<&str> = order.iter().map(|headers| headers.split("; ").nth(1).unwrap()).collect();
    assert_eq!(
        names,
        ["Nats-Scheduler: s.c", "Nats-Scheduler: s.a", "Nats-Scheduler: s.b", "Nats-Scheduler: s.first"]
    );
}

#[test]
fn another_message_on_its_subject_a_delete_or_a_purge_ends_a_schedule() {
    let engine = memory();
    schedule(&engine, "s.a", IN_TEN, &[]);
    engine.publish("s.a", &[], "plain");
    schedule(&engine, "s.b", IN_TEN, &[]);
    engine.request("STREAM.MSG.DELETE.S", r#"{"seq":3}"#);
    schedule(&engine, "s.c", IN_TEN, &[]);
    engine.request("STREAM.PURGE.S", "");
    schedule(&engine, "s.d", IN_TEN, &[]);
    schedule(&engine, "s.d", "@at 2023-11-14T22:13:40Z", &[]);
    let purge = [("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "s.e")];
    schedule(&engine, "s.e", IN_TEN, &[]);
    assert!(engine.publish("s.x", &purge, "").contains("\"seq\""));
    delivered(&engine);
    engine.advance_ns(10 * SECOND_NS);
    assert_eq!(targets(&engine), 0);
    engine.advance_ns(10 * SECOND_NS);
    assert_eq!(targets(&engine), 1, "the later moment replaced the earlier");
}

#[test]
fn a_source_gives_what_it_has_when_the_moment_comes() {
    let engine = memory();
    let source = [("Nats-Schedule-Source", "s.source")];
    schedule(&engine, "s.a", "@every 2s", &source);
    delivered(&engine);
    engine.advance_ns(2 * SECOND_NS);
    assert_eq!(delivered(&engine)[0].2, "payload", "it has none");
    engine.publish("s.source", &[("Own", "1"), ("Nats-Msg-Id", "i")], "sampled");
    delivered(&engine);
    engine.advance_ns(2 * SECOND_NS);
    let wanted = "Own: 1; Nats-Scheduler: s.a; Nats-Schedule-Next: 2023-11-14T22:13:26Z";
    assert_eq!(delivered(&engine), [("s.target".into(), wanted.into(), "sampled".into())]);
}

#[test]
fn a_batch_may_hold_schedules_and_ends_of_them() {
    let engine = memory();
    let of_batch = |seq: &'static str| [("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", seq)];
    schedule(&engine, "s.a", IN_TEN, &of_batch("1"));
    let last = [of_batch("2")[0], of_batch("2")[1], ("Nats-Batch-Commit", "1")];
    assert!(schedule(&engine, "s.b", IN_TEN, &last).contains("\"count\":2"));
    delivered(&engine);
    engine.advance_ns(10 * SECOND_NS);
    let fired = delivered(&engine);
    let of = |batch: &str, name: &str| {
        format!(
            "Mine: yes; Nats-Batch-Id: b; Nats-Batch-Sequence: {batch}; Nats-Scheduler: {name}; Nats-Schedule-Next: purge"
        )
    };
    let wanted = [of("1", "s.a"), of("2; Nats-Batch-Commit: 1", "s.b")];
    assert_eq!(fired.into_iter().map(|(_, headers, _)| headers).collect::<Vec<_>>(), wanted);
}

#[test]
fn what_samples_messages_of_a_batch_is_no_batch_after_a_crash() {
    for samples in [["s.src1", "s.src2"], ["s.src3", "s.src2"], ["s.src2", "s.src1"]] {
        let directory = tempfile::tempdir().unwrap();
        let config = EngineConfig { store_dir: Some(directory.path().to_owned()), ..EngineConfig::default() };
        let clock = Arc::new(ManualClock::new(START_NS));
        let engine = TestEngine::on(config.clone(), clock.clone()).unwrap();
        assert!(engine.request("STREAM.CREATE.S", CONFIG).contains("did_create"));
        for (subject, seq, ends) in
            [("s.src1", "1", false), ("s.src2", "2", false), ("s.src3", "3", false), ("s.src4", "4", true)]
        {
            let mut headers = vec![("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", seq)];
            headers.extend(ends.then_some(("Nats-Batch-Commit", "1")));
            engine.publish(subject, &headers, seq);
        }
        for (name, source) in ["s.a", "s.b"].into_iter().zip(samples) {
            schedule(&engine, name, IN_TEN, &[("Nats-Schedule-Source", source)]);
        }
        engine.advance_ns(10 * SECOND_NS);
        let messages = |engine: &TestEngine| {
            let info = engine.request("STREAM.INFO.S", r#"{"subjects_filter":">"}"#);
            info.split_once("\"subjects\":{").unwrap().1.split('}').next().unwrap().to_owned()
        };
        let before = messages(&engine);
        assert!(before.contains("\"s.target\":2") && before.contains("\"s.src4\":1"), "{before}");
        drop(engine);
        let engine = TestEngine::on(config, clock).unwrap();
        assert_eq!(messages(&engine), before, "{samples:?}");
    }
}

#[test]
fn schedules_survive_a_stop_and_a_crash() {
    for orderly in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let config = EngineConfig { store_dir: Some(directory.path().to_owned()), ..EngineConfig::default() };
        let clock = Arc::new(ManualClock::new(START_NS));
        let start = || TestEngine::on(config.clone(), clock.clone()).unwrap();
        let engine = start();
        assert!(engine.request("STREAM.CREATE.S", CONFIG).contains("did_create"));
        schedule(&engine, "s.a", IN_TEN, &[]);
        schedule(&engine, "s.b", "@every 4s", &[]);
        schedule(&engine, "s.gone", IN_TEN, &[]);
        engine.request("STREAM.PURGE.S", r#"{"filter":"s.gone"}"#);
        engine.advance_ns(4 * SECOND_NS);
        if orderly {
            engine.engine.shutdown();
        }
        drop(engine);
        let noted = directory.path().join("jetstream/$G/streams/S/msgs/sched.db");
        assert_eq!(noted.exists(), orderly);
        clock.advance_ns(3 * SECOND_NS);
        let engine = start();
        let state = |engine: &TestEngine| {
            let info = engine.request("STREAM.INFO.S", r#"{"subjects_filter":"s.target"}"#);
            info.split_once("\"s.target\":").unwrap().1.split('}').next().unwrap().to_owned()
        };
        assert_eq!(state(&engine), "1");
        engine.advance_ns(SECOND_NS);
        assert_eq!(state(&engine), "2", "orderly: {orderly}");
        assert!(!noted.exists(), "what was noted is not true any more");
        engine.advance_ns(2 * SECOND_NS);
        assert_eq!(state(&engine), "3", "orderly: {orderly}");
        engine.advance_ns(2 * SECOND_NS);
        assert_eq!(state(&engine), "4", "orderly: {orderly}");
    }
}
