use super::Traced;
use crate::message::Inbound;
use crate::stream::{Stream, TakesLong};
use crate::testing::TestEngine;
use std::sync::Arc;

fn stream(config: &str) -> (TestEngine, Arc<Stream>) {
    let engine = TestEngine::new().unwrap();
    let config = format!(r#"{{"name":"S","subjects":["s.>"],"storage":"memory"{config}}}"#);
    assert!(engine.request("STREAM.CREATE.S", &config).contains("did_create"));
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    (engine, stream)
}

fn block(lines: &[&str]) -> String {
    format!("NATS/1.0\r\n{}\r\n\r\n", lines.join("\r\n"))
}

fn msg(headers: &str) -> Inbound<'_> {
    Inbound { subject: b"s.x", reply: b"reply", headers: headers.as_bytes(), payload: b"hello" }
}

fn answers(engine: &TestEngine, stream: &Stream) -> Vec<String> {
    stream.commit(&*engine.host);
    let sent = engine.host.take();
    sent.into_iter().filter(|sent| sent.to == "reply").map(|sent| sent.payload).collect()
}

fn last_seq(stream: &Stream) -> u64 {
    stream.lock().store.totals().last_seq
}

fn traced(subject: &[u8], no_interest: bool, error: &str) -> Traced {
    Traced { subject: subject.to_vec(), no_interest, error: error.to_owned() }
}

#[test]
fn a_trace_tells_why_a_message_is_refused_and_what_it_is_stored_under() {
    let transform = r#","subject_transform":{"src":"s.*","dest":"u.{{wildcard(1)}}"}"#;
    let full = r#","max_msgs":1,"discard":"new""#;
    let many = "x".repeat(70_000);
    let cases: &[(&str, &str, Traced)] = &[
        ("", "A: b", traced(b"s.x", false, "")),
        (transform, "A: b", traced(b"u.x", false, "")),
        (r#","retention":"interest""#, "A: b", traced(b"s.x", true, "")),
        (full, "A: b", traced(b"s.x", false, "maximum messages exceeded")),
        (r#","max_msg_size":3"#, "A: b", traced(b"", false, "maximum payload exceeded")),
        ("", &many, traced(b"", false, "maximum payload exceeded")),
        ("", "Nats-Expected-Stream: T", traced(b"", false, "expected stream does not match")),
        ("", "Nats-Expected-Last-Sequence: 7", traced(b"", false, "last sequence mismatch: 7 vs 1")),
        (
            "",
            "Nats-Expected-Last-Sequence: x",
            traced(b"", false, "last sequence mismatch: 18446744073709551615 vs 1"),
        ),
        (
            "",
            "Nats-Expected-Last-Subject-Sequence: 7",
            traced(b"", false, "last sequence by subject mismatch: 7 vs 1"),
        ),
        ("", "Nats-Expected-Last-Msg-Id: b", traced(b"", false, r#"last msgid mismatch: "b" vs "a""#)),
        ("", "Nats-Msg-Id: a", traced(b"", false, "msgid is duplicate")),
        ("", "Nats-TTL: 5s", traced(b"", false, "message TTL disabled")),
        (r#","allow_msg_ttl":true"#, "Nats-TTL: x", traced(b"s.x", false, "invalid per-message TTL (10165)")),
        ("", "Nats-Rollup: sub", traced(b"", false, "rollup not permitted")),
        ("", "Nats-Incr: 1", traced(b"", false, "message counters is disabled (10168)")),
    ];
    for (config, line, expected) in cases {
        let (engine, stream) = stream(config);
        engine.publish("s.x", &[("Nats-Msg-Id", "a")], "");
        let line = if *line == many { format!("A: {many}") } else { (*line).to_owned() };
        let before = last_seq(&stream);
        let (_, told) = stream.trace_if_short(&msg(&block(&[&line])), false).unwrap();
        assert_eq!(told, *expected, "{config} {line:.40}");
        assert_eq!(answers(&engine, &stream).len(), 1, "{config} {line:.40}");
        let is_taken = expected.error.is_empty();
        assert_eq!(last_seq(&stream) - before, u64::from(is_taken), "{config} {line:.40}");
    }
}

#[test]
fn what_is_only_traced_is_looked_at_and_changes_nothing() {
    let cases: &[(&str, &str, &str)] = &[
        ("", "A: b", ""),
        // Nothing is looked at that follows from what the stream holds.
        (r#","max_msgs":1,"discard":"new""#, "A: b", ""),
        (r#","allow_rollup_hdrs":true"#, "Nats-Rollup: all", ""),
        (r#","allow_msg_counter":true"#, "Nats-Msg-Id: b", "message counter increment is missing (10169)"),
        ("", "Nats-Expected-Last-Sequence: 7", "last sequence mismatch: 7 vs 1"),
        ("", "Nats-Msg-Id: a", "msgid is duplicate"),
    ];
    for (config, line, error) in cases {
        let (engine, stream) = stream(config);
        let counts = config.contains("counter");
        let before: &[_] = if counts { &[("Nats-Incr", "1")] } else { &[("Nats-Msg-Id", "a")] };
        engine.publish("s.x", before, "");
        let (_, told) = stream.trace_if_short(&msg(&block(&[line])), true).unwrap();
        assert_eq!(told.error, *error, "{config} {line}");
        assert_eq!(told.subject.is_empty(), !error.is_empty(), "{config} {line}");
        assert_eq!(answers(&engine, &stream).len(), usize::from(!error.is_empty()), "{config} {line}");
        let totals = stream.lock().store.totals();
        assert_eq!((totals.msgs, totals.last_seq), (1, 1), "{config} {line}");
    }
}

#[test]
fn what_takes_long_to_find_out_is_traced_by_whoever_has_time() {
    let (engine, stream) = stream("");
    for number in 0..10_000 {
        engine.publish(&format!("s.{number:05}.a"), &[], "x");
    }
    for (seq, error) in [(0, ""), (7, "last sequence by subject mismatch: 7 vs 0")] {
        for only in [true, false] {
            let seq = format!("Nats-Expected-Last-Subject-Sequence: {seq}");
            let headers = block(&[&seq, "Nats-Expected-Last-Subject-Sequence-Subject: s.*.b"]);
            assert_eq!(stream.trace_if_short(&msg(&headers), only), Err(TakesLong));
            assert_eq!(answers(&engine, &stream), [""; 0]);
            assert_eq!(stream.trace_when_known(&msg(&headers), only).error, error);
            let is_answered = !only || !error.is_empty();
            assert_eq!(answers(&engine, &stream).len(), usize::from(is_answered));
        }
    }
    assert_eq!(last_seq(&stream), 10_001);
}
