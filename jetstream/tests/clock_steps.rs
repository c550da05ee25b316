//! Steps of the wall clock: what is stored ages by the wall clock, what waits goes by the time that passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::{Clock as _, Deadline, EngineConfig, ManualClock, SyncPolicy, WallNs};
use jetkv_testing::{START_NS, TestEngine};
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: i64 = 60_000_000_000;
const HOUR_NS: i64 = 60 * MINUTE_NS;

fn engine(config: &str) -> TestEngine {
    let engine = TestEngine::new().unwrap();
    create(&engine, config);
    engine
}

fn create(engine: &TestEngine, config: &str) {
    let answer = engine.request("STREAM.CREATE.S", config);
    assert!(answer.contains("\"did_create\":true"), "{answer}");
}

fn messages(engine: &TestEngine) -> u64 {
    let info = engine.request("STREAM.INFO.S", "");
    let (_, rest) = info.split_once("\"messages\":").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn what_is_too_old_after_a_step_forward_goes_at_once() {
    let engine = engine(
        r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_msg_ttl":true,"max_age":7200000000000}"#,
    );
    engine.publish("s.ttl", &[("Nats-TTL", "60")], "x");
    engine.publish("s.age", &[], "x");
    engine.step_wall_ns(MINUTE_NS - 1);
    assert_eq!(messages(&engine), 2);
    engine.step_wall_ns(1);
    assert_eq!(messages(&engine), 1);
    engine.step_wall_ns(2 * HOUR_NS);
    assert_eq!(messages(&engine), 0);
}

#[test]
fn age_goes_by_the_wall_after_a_step_backward() {
    let engine = engine(r#"{"name":"S","subjects":["s.>"],"storage":"memory","max_age":60000000000}"#);
    engine.publish("s.a", &[], "x");
    engine.step_wall_ns(-HOUR_NS);
    let next = engine.advance_ns(60 * SECOND_NS);
    assert_eq!((messages(&engine), next.wall), (1, Some(START_NS.plus(MINUTE_NS))));
    engine.step_wall_ns(HOUR_NS);
    assert_eq!(messages(&engine), 0);
}

#[test]
fn an_id_is_known_for_the_window_whatever_the_wall_shows() {
    for by_ns in [HOUR_NS, -HOUR_NS] {
        let engine = engine(r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
        let id = [("Nats-Msg-Id", "a")];
        engine.publish("s.a", &id, "x");
        engine.step_wall_ns(by_ns);
        engine.advance_ns(119 * SECOND_NS);
        assert!(engine.publish("s.a", &id, "x").contains("duplicate"), "{by_ns}");
        engine.advance_ns(SECOND_NS);
        assert_eq!(engine.publish("s.a", &id, "x"), r#"{"stream":"S","seq":2}"#, "{by_ns}");
    }
}

#[test]
fn an_id_found_in_the_store_is_known_for_what_is_left_of_its_window() {
    let dir = tempfile::tempdir().unwrap();
    let config = || EngineConfig { store_dir: Some(dir.path().into()), ..EngineConfig::default() };
    let first = TestEngine::with(config()).unwrap();
    create(&first, r#"{"name":"S","subjects":["s.>"]}"#);
    let id = [("Nats-Msg-Id", "a")];
    first.publish("s.a", &id, "x");
    first.engine.shutdown();
    // Elapsed time means nothing to another process.
    let clock = Arc::new(ManualClock::new(first.clock.wall().plus(MINUTE_NS)));
    clock.advance_elapsed_ns(12 * SECOND_NS);
    let second = TestEngine::on(config(), clock).unwrap();
    second.advance_ns(59 * SECOND_NS);
    assert!(second.publish("s.a", &id, "x").contains("duplicate"));
    second.advance_ns(SECOND_NS);
    assert_eq!(second.publish("s.a", &id, "x"), r#"{"stream":"S","seq":2}"#);
    second.engine.shutdown();
    // A clock that was set back meanwhile keeps no id for longer than the window.
    let third = TestEngine::on(config(), Arc::new(ManualClock::new(START_NS))).unwrap();
    assert!(third.publish("s.a", &id, "x").contains("duplicate"));
    third.advance_ns(120 * SECOND_NS);
    assert_eq!(third.publish("s.a", &id, "x"), r#"{"stream":"S","seq":3}"#);
}

/// A stream that ages is stopped with messages in it, and is served again when what `max_age` says has passed for the first
/// of them: what it holds then, before any timer was run.
fn held_after_a_stop(extra: &str, aged: usize, young: usize) -> (u64, String) {
    let dir = tempfile::tempdir().unwrap();
    let config = || EngineConfig { store_dir: Some(dir.path().into()), ..EngineConfig::default() };
    let first = TestEngine::with(config()).unwrap();
    create(&first, &format!(r#"{{"name":"S","subjects":["s.>"],"max_age":60000000000{extra}}}"#));
    let headers: &[(&str, &str)] =
        if extra.contains("allow_msg_ttl") { &[("Nats-TTL", "never")] } else { &[] };
    first.publish("s.first", &[], "x");
    first.publish("s.never", headers, "x");
    for at in 2..aged {
        first.publish(&format!("s.{}", at % 7), &[], "x");
    }
    first.clock.step_wall_ns(MINUTE_NS / 2);
    for _ in 0..young {
        first.publish("s.young", &[], "x");
    }
    first.engine.shutdown();
    let clock = Arc::new(ManualClock::new(START_NS.plus(MINUTE_NS)));
    let second = TestEngine::on(config(), clock).unwrap();
    (messages(&second), second.request("STREAM.INFO.S", ""))
}

#[test]
fn what_became_too_old_while_nobody_served_it_is_not_seen() {
    for (aged, young) in [(2, 0), (2, 1), (2000, 0), (2000, 3)] {
        let (held, info) = held_after_a_stop("", aged, young);
        assert_eq!(held, young as u64, "{info}");
        assert!(info.contains(&format!("\"last_seq\":{},", aged + young)), "{info}");
        assert!(info.contains(&format!("\"first_seq\":{},", aged + 1)), "{info}");
        // What never expires stays between others.
        let (held, info) = held_after_a_stop(r#","allow_msg_ttl":true"#, aged, young);
        assert_eq!(held, young as u64 + 1, "{info}");
        assert!(info.contains("\"first_seq\":2,"), "{info}");
    }
    // Where markers follow, a timer leaves them.
    let (held, info) = held_after_a_stop(r#","subject_delete_marker_ttl":3600000000000"#, 2, 1);
    assert_eq!(held, 3, "{info}");
}

#[test]
fn the_next_sync_comes_after_its_interval() {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig {
        store_dir: Some(dir.path().into()),
        sync: SyncPolicy::EveryNs(SECOND_NS),
        ..EngineConfig::default()
    };
    let engine = TestEngine::with(config).unwrap();
    create(&engine, r#"{"name":"S","subjects":["s.>"]}"#);
    engine.step_wall_ns(-HOUR_NS);
    engine.publish("s.a", &[], "x");
    let due = engine.clock.elapsed().plus(SECOND_NS);
    assert_eq!(engine.host.wake_at(), Some(Deadline::Elapsed(due)));
}

#[test]
fn clocks_outside_of_what_is_counted_stop_nothing() {
    for wall_ns in [i64::MIN, -HOUR_NS, 0, i64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let config = || EngineConfig { store_dir: Some(dir.path().into()), ..EngineConfig::default() };
        let clock = Arc::new(ManualClock::new(WallNs::from_ns(wall_ns)));
        let engine = TestEngine::on(config(), clock.clone()).unwrap();
        create(
            &engine,
            r#"{"name":"S","subjects":["s.>"],"allow_msg_ttl":true,"max_age":7200000000000,"max_msgs_per_subject":1}"#,
        );
        engine.publish("s.a", &[("Nats-Msg-Id", "a")], "x");
        engine.publish("s.a", &[("Nats-TTL", "60")], "y");
        engine.publish("s.b", &[], "z");
        assert!(engine.publish("s.a", &[("Nats-Msg-Id", "a")], "x").contains("duplicate"), "{wall_ns}");
        let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
        engine.request("CONSUMER.DURABLE.CREATE.S.C", consumer);
        engine.request("CONSUMER.PAUSE.S.C", r#"{"pause_until":"2500-01-01T00:00:00Z"}"#);
        engine.request("CONSUMER.INFO.S.C", "");
        engine.request("STREAM.MSG.GET.S", r#"{"last_by_subj":"s.a"}"#);
        engine.engine.shutdown();
        let engine = TestEngine::on(config(), clock).unwrap();
        assert_eq!(messages(&engine), 2, "{wall_ns}");
        engine.advance_ns(60 * SECOND_NS);
        engine.advance_ns(7200 * SECOND_NS);
        // Past the end of what is counted nothing grows older.
        let left = if wall_ns == i64::MAX { 2 } else { 0 };
        assert_eq!(messages(&engine), left, "{wall_ns}");
        assert!(engine.publish("s.c", &[], "x").contains("\"seq\":4"), "{wall_ns}");
    }
}

#[test]
fn a_schedule_goes_by_the_wall_and_is_caught_up_once() {
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_msg_schedules":true,"allow_msg_ttl":true,
        "allow_rollup_hdrs":true}"#;
    for (by_ns, fires) in [(HOUR_NS, 1), (-HOUR_NS, 0)] {
        let engine = engine(config);
        let plan = [("Nats-Schedule", "@every 30m"), ("Nats-Schedule-Target", "s.target")];
        assert!(engine.publish("s.plan", &plan, "x").contains("\"seq\":1"));
        engine.step_wall_ns(by_ns);
        assert_eq!(messages(&engine), 1 + fires, "a step of {by_ns} ns");
        engine.advance_ns(31 * 60 * SECOND_NS);
        assert_eq!(messages(&engine), 1 + 2 * fires, "half an hour after a step of {by_ns} ns");
    }
}

#[test]
fn a_batch_waits_for_the_time_that_passes_whatever_the_wall_shows() {
    for by_ns in [HOUR_NS, -HOUR_NS] {
        let engine = engine(r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_atomic":true}"#);
        let put = |seq: &str, more: &[(&str, &str)]| {
            let headers = [&[("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", seq)], more].concat();
            engine.publish("s.a", &headers, "x")
        };
        assert_eq!(put("1", &[]), "");
        engine.step_wall_ns(by_ns);
        engine.advance_ns(9 * SECOND_NS);
        assert!(put("2", &[("Nats-Batch-Commit", "1")]).contains("\"count\":2"), "a step of {by_ns} ns");
        assert_eq!(put("1", &[]), "");
        engine.step_wall_ns(by_ns);
        engine.advance_ns(11 * SECOND_NS);
        assert!(put("2", &[("Nats-Batch-Commit", "1")]).contains("\"error\""), "a step of {by_ns} ns");
        assert_eq!(messages(&engine), 2);
    }
}
