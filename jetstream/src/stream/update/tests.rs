use crate::clock::ManualClock;
use crate::settings::EngineConfig;
use crate::steps;
use crate::store::Msg;
use crate::testing::{START_NS, SimDisk, TestEngine};
use std::sync::Arc;

/// What one hold of the lock may look at.
const STEPS_MAX: u64 = 3 * crate::stream::NODES as u64;
const MSGS: u64 = 10_000;

/// A stream with four messages on each of many subjects.
fn stream() -> Arc<TestEngine> {
    let engine = TestEngine::new().unwrap();
    assert!(engine.request("STREAM.CREATE.S", &config("")).contains("did_create"));
    for number in 0..MSGS {
        engine.publish(&format!("s.{}", number / 4), &[], "x");
    }
    Arc::new(engine)
}

fn config(limits: &str) -> String {
    format!(r#"{{"name":"S","subjects":["s.>"],"storage":"memory"{limits}}}"#)
}

fn update(engine: &TestEngine, limits: &str) -> String {
    engine.request("STREAM.UPDATE.S", &config(limits))
}

fn field(answer: &str, name: &str) -> u64 {
    let rest = answer.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("{name} in {answer}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn tighter_limits_take_what_exceeds_them_without_a_long_hold() {
    for (limits, left) in [
        (r#","max_msgs":5"#, 5),
        (r#","max_msgs_per_subject":1"#, MSGS / 4),
        (r#","max_msgs_per_subject":3,"max_msgs":7400"#, 5_550),
    ] {
        let engine = stream();
        let (answer, most, holds) = steps::count(|| update(&engine, limits));
        let messages = field(&answer, "messages");
        assert!((left..=left + 1).contains(&messages), "{limits}: {messages}");
        assert!(most <= STEPS_MAX, "{limits}: {most} steps in one of {holds} holds");
    }
}

#[test]
fn a_publish_between_two_slices_removes_a_message_and_not_all() {
    let engine = stream();
    let other = engine.clone();
    let between = move || {
        other.publish("s.new", &[], "x");
    };
    let ((answer, most), _, _) = steps::count(|| {
        let mut most = 0;
        let answer = steps::with_between(between, || {
            let (answer, steps, _) = steps::count(|| update(&engine, r#","max_msgs":5"#));
            most = steps;
            answer
        });
        (answer, most)
    });
    assert_eq!(field(&answer, "messages"), 5);
    assert!(field(&answer, "last_seq") > MSGS + 5, "{answer}");
    assert!(most <= STEPS_MAX, "{most} steps");
}

/// Stores a schedule as an older server did, or a mirror does: a stream that does not heed them takes none from publishers.
fn keep_schedule(engine: &TestEngine, target: &str) {
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    let mut inner = stream.lock();
    let seq = inner.store.totals().last_seq + 1;
    let headers = format!("NATS/1.0\r\nNats-Schedule: @every 1s\r\nNats-Schedule-Target: {target}\r\n\r\n");
    let msg =
        Msg { seq, ts_ns: START_NS.ns(), subject: b"s.plan", headers: headers.as_bytes(), payload: b"x" };
    inner.store.append(&msg).unwrap();
    inner.store.flush().unwrap();
}

#[test]
fn a_stream_that_begins_to_heed_schedules_looks_for_them_in_slices() {
    let engine = stream();
    keep_schedule(&engine, "s.old");
    let (other, mut is_first) = (engine.clone(), true);
    let between = move || {
        if std::mem::take(&mut is_first) {
            // It replaces one that is not known yet.
            let at = [("Nats-Schedule", "@every 5s"), ("Nats-Schedule-Target", "s.new")];
            let answer = other.publish("s.plan", &at, "x");
            assert!(!answer.contains("error"), "{answer}");
            other.advance_ns(2_000_000_000);
        }
    };
    let config = r#","allow_msg_schedules":true"#;
    let (most, holds) = steps::with_between(between, || {
        let (answer, most, holds) = steps::count(|| update(&engine, config));
        assert!(answer.contains("\"allow_msg_schedules\":true"), "{answer}");
        (most, holds)
    });
    assert!(most <= STEPS_MAX, "{most} steps in one of {holds} holds");
    let fired = |subject: &str| {
        let inner = engine.engine.stream(engine.account, "S").unwrap();
        inner.lock().store.index().get(subject.as_bytes()).map_or(0, |entry| entry.count)
    };
    engine.advance_ns(2_000_000_000);
    assert_eq!((fired("s.old"), fired("s.new")), (0, 0));
    engine.advance_ns(5_000_000_000);
    assert_eq!((fired("s.old"), fired("s.new")), (0, 1));
}

#[test]
fn schedules_that_were_not_looked_for_before_the_end_are_found_at_the_next_start() {
    let disk = SimDisk::new(1);
    let open = |disk: SimDisk| {
        let config = EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
        let clock = Arc::new(ManualClock::new(START_NS));
        Arc::new(TestEngine::on_disk(config, clock, Arc::new(disk)).unwrap())
    };
    let engine = open(disk.clone());
    let config = |more: &str| format!(r#"{{"name":"S","subjects":["s.>"]{more}}}"#);
    assert!(engine.request("STREAM.CREATE.S", &config("")).contains("did_create"));
    for number in 0..MSGS {
        engine.publish(&format!("s.{number}"), &[], "x");
    }
    keep_schedule(&engine, "s.fired");
    let (other, mut is_first) = (engine.clone(), true);
    let between = move || {
        if std::mem::take(&mut is_first) {
            let stream = other.engine.stream(other.account, "S").unwrap();
            assert!(stream.lock().schedules.are_incomplete());
            stream.shut_down(&*other.host);
        }
    };
    steps::with_between(between, || {
        engine.request("STREAM.UPDATE.S", &config(r#","allow_msg_schedules":true"#));
    });
    engine.engine.shutdown();
    let engine = open(disk.clone_of());
    engine.advance_ns(2_000_000_000);
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    assert_eq!(stream.lock().store.index().get(b"s.fired").map(|entry| entry.count), Some(1));
}

#[test]
fn a_stream_that_begins_to_honour_ttls_looks_for_them_in_slices() {
    let engine = stream();
    let (_, most, holds) = steps::count(|| update(&engine, r#","allow_msg_ttl":true"#));
    assert!(most <= STEPS_MAX && holds > MSGS / STEPS_MAX, "{most} steps in one of {holds} holds");
}
