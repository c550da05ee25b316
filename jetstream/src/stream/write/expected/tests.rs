use crate::message::Inbound;
use crate::steps;
use crate::stream::{Stream, TakesLong};
use crate::testing::TestEngine;
use std::sync::Arc;

/// What one hold of the lock may look at.
const STEPS_MAX: u64 = 3 * crate::stream::NODES as u64;
const KEYS: u64 = 10_000;

/// A stream of keys `s.NUMBER.a`, the first of which is `s.00000.b`.
fn stream() -> (Arc<TestEngine>, Arc<Stream>) {
    let engine = TestEngine::new().unwrap();
    let config = r#"{"name":"S","subjects":["s.>","t"],"storage":"memory","allow_atomic":true}"#;
    assert!(engine.request("STREAM.CREATE.S", config).contains("did_create"));
    for number in 0..KEYS {
        let kind = if number == 0 { "b" } else { "a" };
        engine.publish(&format!("s.{number:05}.{kind}"), &[], "x");
    }
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    (Arc::new(engine), stream)
}

fn block(lines: &[(&str, &str)]) -> String {
    let lines: String = lines.iter().map(|(key, value)| format!("{key}: {value}\r\n")).collect();
    format!("NATS/1.0\r\n{lines}\r\n")
}

fn expects(pattern: &str, seq: u64) -> String {
    let seq = seq.to_string();
    let lines = [
        ("Nats-Expected-Last-Subject-Sequence", &*seq),
        ("Nats-Expected-Last-Subject-Sequence-Subject", pattern),
    ];
    block(&lines)
}

fn msg(headers: &str) -> Inbound<'_> {
    Inbound { subject: b"t", reply: b"reply", headers: headers.as_bytes(), payload: b"x" }
}

fn answer(engine: &TestEngine, stream: &Stream) -> String {
    stream.commit(&*engine.host);
    let sent = engine.host.take();
    sent.into_iter().filter(|sent| sent.to == "reply").map(|sent| sent.payload).collect()
}

#[test]
fn what_takes_long_to_find_out_is_left_to_another_thread_and_found_in_slices() {
    let (engine, stream) = stream();
    for (pattern, last) in [("s.*.b", 1), ("s.*.nothing", 0), ("*.*.*.*", 0)] {
        for (seq, is_right) in [(last, true), (7, false)] {
            let headers = expects(pattern, seq);
            let last_seq = stream.lock().store.totals().last_seq;
            let (refused, most, _) = steps::count(|| stream.publish_if_short(&msg(&headers)));
            assert_eq!(refused, Err(TakesLong), "{pattern}");
            assert!(most <= STEPS_MAX, "{pattern}: {most} steps");
            assert_eq!(answer(&engine, &stream), "", "nothing has happened");
            let (_, most, holds) = steps::count(|| stream.publish_when_known(&msg(&headers)));
            assert!(most <= STEPS_MAX, "{pattern}: {most} steps in one of {holds} holds");
            let answer = answer(&engine, &stream);
            assert_eq!(answer.contains("wrong last sequence"), !is_right, "{pattern}: {answer}");
            assert_eq!(stream.lock().store.totals().last_seq, last_seq + u64::from(is_right));
        }
    }
}

#[test]
fn what_is_found_at_once_needs_no_other_thread() {
    let (engine, stream) = stream();
    for (pattern, last) in [("s.>", KEYS), ("s.*.a", KEYS), ("t.*", 0), ("s.00017.*", 18)] {
        stream.publish_if_short(&msg(&expects(pattern, last))).unwrap();
        let answer = answer(&engine, &stream);
        assert!(answer.contains("\"seq\""), "{pattern}: {answer}");
    }
}

#[test]
fn what_comes_and_goes_between_slices_counts() {
    for (removes, last) in [(false, KEYS + 1), (true, 0)] {
        let (engine, stream) = stream();
        let (other, mut is_first) = (engine.clone(), true);
        let between = move || {
            if !std::mem::take(&mut is_first) {
                return;
            }
            if removes {
                other.request("STREAM.MSG.DELETE.S", r#"{"seq":1}"#);
            } else {
                other.publish("s.new.b", &[], "x");
            }
        };
        let headers = expects("s.*.b", last);
        steps::with_between(between, || stream.publish_when_known(&msg(&headers)));
        let answer = answer(&engine, &stream);
        assert!(answer.contains("\"seq\""), "{removes}: {answer}");
    }
}

#[test]
fn a_batch_is_committed_when_all_that_its_messages_expect_is_known() {
    let (engine, stream) = stream();
    let of_batch = |seq: u64, pattern: &str, commit: bool| {
        let seq = seq.to_string();
        let mut lines = vec![
            ("Nats-Batch-Id", "B"),
            ("Nats-Batch-Sequence", &*seq),
            ("Nats-Expected-Last-Subject-Sequence", "1"),
            ("Nats-Expected-Last-Subject-Sequence-Subject", pattern),
        ];
        if commit {
            lines.push(("Nats-Batch-Commit", "1"));
        }
        block(&lines)
    };
    for number in 1..10 {
        let headers = of_batch(number, "s.*.b", false);
        stream.publish_if_short(&msg(&headers)).unwrap();
    }
    let headers = of_batch(10, "s.*.b", true);
    let (refused, most, _) = steps::count(|| stream.publish_if_short(&msg(&headers)));
    assert_eq!(refused, Err(TakesLong));
    assert!(most <= STEPS_MAX, "{most} steps");
    let (_, most, _) = steps::count(|| stream.publish_when_known(&msg(&headers)));
    assert!(most <= STEPS_MAX, "{most} steps");
    let answer = answer(&engine, &stream);
    assert!(answer.contains("\"count\":10"), "{answer}");
}

#[test]
fn the_end_of_a_large_batch_is_left_to_another_thread() {
    // Bytes of each message, how many there are, whether that is much.
    for (size, count, is_large) in [(600_000, 3, true), (600_000, 2, false), (1, 600, true), (1, 400, false)]
    {
        let (engine, stream) = stream();
        let payload = vec![b'x'; size];
        let message = |at: usize, ends: bool| {
            let at = at.to_string();
            let mut lines = vec![("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", &*at)];
            lines.extend(ends.then_some(("Nats-Batch-Commit", "1")));
            block(&lines)
        };
        for at in 1..count {
            let headers = message(at, false);
            stream.publish_if_short(&Inbound { payload: &payload, ..msg(&headers) }).unwrap();
        }
        assert_eq!(answer(&engine, &stream), "");
        let headers = message(count, true);
        let last = Inbound { payload: &payload, ..msg(&headers) };
        assert_eq!(stream.publish_if_short(&last).is_err(), is_large, "{count} of {size} bytes");
        if is_large {
            assert_eq!(answer(&engine, &stream), "", "nothing has happened");
            stream.publish_when_known(&last);
        }
        let answer = answer(&engine, &stream);
        assert!(answer.contains(&format!("\"count\":{count}")), "{answer}");
    }
}
