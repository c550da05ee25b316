//! What publishers are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::{Deadline, EngineConfig};
use jetkv_testing::{START_NS, TestEngine};

fn engine(config: &str) -> TestEngine {
    let engine = TestEngine::new().unwrap();
    let name = config.split('"').nth(3).unwrap();
    let answer = engine.request(&format!("STREAM.CREATE.{name}"), config);
    assert!(answer.contains("\"did_create\":true"), "{answer}");
    engine
}

fn refused(err_code: u16, code: u16, text: &str) -> String {
    format!(
        "{{\"error\":{{\"code\":{code},\"err_code\":{err_code},\"description\":\"{text}\"}},\"stream\":\"S\",\"seq\":0}}"
    )
}

fn stored(seq: u64) -> String {
    format!("{{\"stream\":\"S\",\"seq\":{seq}}}")
}

const PLAIN: &str = r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#;
const SECOND_NS: u64 = 1_000_000_000;

#[test]
fn an_id_within_the_window_is_stored_once() {
    let engine =
        engine(r#"{"name":"S","subjects":["s.>"],"storage":"memory","duplicate_window":1000000000}"#);
    let id = [("Nats-Msg-Id", "a")];
    assert_eq!(engine.publish("s.1", &id, "x"), stored(1));
    assert_eq!(engine.publish("s.1", &id, "x"), r#"{"stream":"S","seq":1,"duplicate": true}"#);
    engine.advance_ns(SECOND_NS);
    assert_eq!(engine.publish("s.1", &id, "x"), stored(2));
}

#[test]
fn compare_and_set_goes_by_the_last_sequence_of_the_subject() {
    let engine = engine(PLAIN);
    let expect = |seq: &'static str| [("Nats-Expected-Last-Subject-Sequence", seq)];
    assert_eq!(engine.publish("s.1", &expect("0"), "x"), stored(1));
    assert_eq!(engine.publish("s.2", &[], "x"), stored(2));
    assert_eq!(engine.publish("s.1", &expect("0"), "y"), refused(10071, 400, "wrong last sequence: 1"));
    assert_eq!(engine.publish("s.1", &expect("1"), "y"), stored(3));
    assert_eq!(engine.publish("s.1", &expect("x"), "y"), refused(10071, 400, "wrong last sequence: 3"));
    let other = [
        ("Nats-Expected-Last-Subject-Sequence", "3"),
        ("Nats-Expected-Last-Subject-Sequence-Subject", "s.1"),
    ];
    assert_eq!(engine.publish("s.9", &other, "y"), stored(4));
    let alone = [("Nats-Expected-Last-Subject-Sequence-Subject", "s.1")];
    let text = "missing sequence for expected last sequence per subject";
    assert_eq!(engine.publish("s.9", &alone, "y"), refused(10193, 400, text));
}

#[test]
fn expectations_of_stream_and_last_message_are_checked() {
    let engine = engine(PLAIN);
    assert_eq!(engine.publish("s.1", &[("Nats-Msg-Id", "a")], "x"), stored(1));
    let other = [("Nats-Expected-Stream", "T")];
    assert_eq!(engine.publish("s.1", &other, "x"), refused(10060, 400, "expected stream does not match"));
    let last = [("Nats-Expected-Last-Sequence", "7")];
    assert_eq!(engine.publish("s.1", &last, "x"), refused(10071, 400, "wrong last sequence: 1"));
    let id = [("Nats-Expected-Last-Msg-Id", "b")];
    assert_eq!(engine.publish("s.1", &id, "x"), refused(10070, 400, "wrong last msg ID: a"));
    let both = [("Nats-Expected-Last-Sequence", "1"), ("Nats-Expected-Last-Msg-Id", "a")];
    assert_eq!(engine.publish("s.1", &both, "x"), stored(2));
}

#[test]
fn what_exceeds_a_limit_with_discard_new_is_refused() {
    let engine = engine(
        r#"{"name":"S","subjects":["s.>"],"storage":"memory","discard":"new","max_msgs":2,
            "max_msgs_per_subject":1,"discard_new_per_subject":true}"#,
    );
    assert_eq!(engine.publish("s.1", &[], "x"), stored(1));
    let text = "maximum messages per subject exceeded";
    assert_eq!(engine.publish("s.1", &[], "x"), refused(10077, 503, text));
    assert_eq!(engine.publish("s.2", &[], "x"), stored(2));
    assert_eq!(engine.publish("s.3", &[], "x"), refused(10077, 503, "maximum messages exceeded"));
}

/// As nats-server v2.15.2, whose file store takes records of up to 32 MiB.
#[test]
fn a_message_that_no_record_holds_is_refused_and_uses_no_sequence_up() {
    let directory = tempfile::tempdir().unwrap();
    let store_dir = Some(directory.path().to_owned());
    let engine = TestEngine::with(EngineConfig { store_dir, ..EngineConfig::default() }).unwrap();
    engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"file"}"#);
    let large = "x".repeat(32 << 20);
    assert_eq!(engine.publish("s.1", &[], &large), refused(10077, 503, "message too large"));
    assert_eq!(engine.publish("s.1", &[], "x"), stored(1));
}

#[test]
fn history_keeps_the_newest_of_each_subject() {
    let engine = engine(r#"{"name":"S","subjects":["s.>"],"storage":"memory","max_msgs_per_subject":2}"#);
    for value in ["1", "2", "3"] {
        engine.publish("s.a", &[], value);
    }
    engine.publish("s.b", &[], "1");
    let info = engine.request("STREAM.INFO.S", r#"{"subjects_filter":">"}"#);
    assert!(info.contains(r#""messages":3,"#) && info.contains(r#""first_seq":2,"#), "{info}");
    assert!(info.contains(r#""num_subjects":2,"subjects":{"s.a":2,"s.b":1},"consumer_count":0"#), "{info}");
}

#[test]
fn a_rollup_leaves_only_itself() {
    let engine = engine(
        r#"{"name":"S","subjects":["s.>"],"storage":"memory","max_msgs_per_subject":5,"allow_rollup_hdrs":true}"#,
    );
    engine.publish("s.a", &[], "1");
    engine.publish("s.b", &[], "1");
    assert_eq!(engine.publish("s.a", &[("Nats-Rollup", "sub")], "2"), stored(3));
    let info = engine.request("STREAM.INFO.S", r#"{"deleted_details":true}"#);
    assert!(info.contains(r#""messages":2,"#), "{info}");
    let bad = [("Nats-Rollup", "x")];
    let text = r#"rollup value invalid: \"x\""#;
    assert_eq!(engine.publish("s.a", &bad, "2"), refused(10111, 500, text));
    assert_eq!(engine.publish("s.a", &[("Nats-Rollup", "all")], "3"), stored(4));
    let info = engine.request("STREAM.INFO.S", "");
    assert!(info.contains(r#""messages":1,"#) && info.contains(r#""first_seq":4,"#), "{info}");
}

#[test]
fn a_message_goes_when_its_ttl_is_over() {
    let engine = engine(r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_msg_ttl":true}"#);
    assert_eq!(engine.publish("s.a", &[("Nats-TTL", "2s")], "1"), stored(1));
    assert_eq!(engine.publish("s.b", &[], "1"), stored(2));
    assert_eq!(
        engine.publish("s.b", &[("Nats-TTL", "10ms")], "1"),
        refused(10165, 400, "invalid per-message TTL")
    );
    let goes = START_NS.plus(2 * SECOND_NS as i64);
    assert_eq!(engine.host.wake_at(), Some(Deadline::Wall(goes)));
    engine.advance_ns(2 * SECOND_NS);
    let info = engine.request("STREAM.INFO.S", "");
    assert!(info.contains(r#""messages":1,"#) && info.contains(r#""first_seq":2,"#), "{info}");
}

#[test]
fn a_ttl_on_a_stream_that_does_not_allow_it_is_refused() {
    let engine = engine(PLAIN);
    let answer = engine.publish("s.a", &[("Nats-TTL", "2s")], "1");
    assert_eq!(answer, refused(10166, 400, "per-message TTL is disabled"));
}

#[test]
fn the_last_of_a_subject_leaves_a_marker_that_goes_in_turn() {
    let engine = engine(
        r#"{"name":"S","subjects":["s.>"],"storage":"memory","max_age":1000000000,
            "subject_delete_marker_ttl":60000000000,"allow_direct":true}"#,
    );
    engine.publish("s.a", &[], "1");
    engine.publish("s.a", &[], "2");
    engine.advance_ns(SECOND_NS);
    let got = engine.request_all("DIRECT.GET.S.s.a", "");
    assert!(
        got[0].headers.starts_with(
            "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1m0s\r\nNats-Rollup: sub\r\nNats-Stream: S\r\n\
             Nats-Subject: s.a\r\nNats-Sequence: 3\r\n"
        ),
        "{got:?}"
    );
    let info = engine.request("STREAM.INFO.S", "");
    assert!(info.contains(r#""messages":1,"#), "{info}");
    engine.advance_ns(60 * SECOND_NS);
    let info = engine.request("STREAM.INFO.S", "");
    assert!(info.contains(r#""messages":0,"#), "{info}");
}

#[test]
fn what_never_expires_stays_while_older_and_younger_messages_go() {
    let engine = engine(
        r#"{"name":"S","subjects":["s.>"],"storage":"memory","max_age":1000000000,"allow_msg_ttl":true}"#,
    );
    engine.publish("s.a", &[], "1");
    engine.publish("s.b", &[("Nats-TTL", "never")], "1");
    engine.publish("s.c", &[], "1");
    engine.advance_ns(SECOND_NS);
    let info = engine.request("STREAM.INFO.S", r#"{"subjects_filter":">"}"#);
    assert!(info.contains(r#""subjects":{"s.b":1}"#), "{info}");
}

#[test]
fn features_of_other_streams_are_refused() {
    let engine = engine(PLAIN);
    for (key, value, err_code, text) in [
        ("Nats-Incr", "1", 10168, "message counters is disabled"),
        ("Nats-Incr", "x", 10171, "message counter increment is invalid"),
        ("Nats-Batch-Id", "1", 10174, "atomic publish is disabled"),
        ("Nats-Schedule", "@at 2020-01-01T00:00:00Z", 10188, "message schedules is disabled"),
        ("Nats-Stream-Source", "x", 10227, "message stream source header is not allowed"),
        ("Nats-Rollup", "sub", 10111, "rollup not permitted"),
    ] {
        let code = if err_code == 10111 { 500 } else { 400 };
        assert_eq!(engine.publish("s.a", &[(key, value)], ""), refused(err_code, code, text), "{key}");
    }
}

#[test]
fn what_rolls_up_others_is_counted_once_by_those_who_watch() {
    let engine = engine(r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_rollup_hdrs":true}"#);
    engine.host.listen("d", None);
    for (name, deliver) in [("A", r#"","deliver_subject":"d"#), ("B", "")] {
        let config =
            format!(r#"{{"stream_name":"S","config":{{"name":"{name}","filter_subject":"s.a{deliver}"}}}}"#);
        let answer = engine.request(&format!("CONSUMER.CREATE.S.{name}"), &config);
        assert!(!answer.contains("error"), "{answer}");
    }
    engine.publish("s.a", &[], "1");
    engine.publish("s.a", &[], "2");
    engine.host.pump_all();
    engine.host.take();
    engine.publish("s.a", &[("Nats-Rollup", "sub")], "3");
    let sent = engine.host.take();
    let delivered: Vec<_> = sent.iter().filter(|msg| msg.to == "d").collect();
    assert!(delivered.len() == 1 && delivered[0].reply.ends_with(".0"), "{sent:?}");
    let lagging = engine.request("CONSUMER.INFO.S.B", "");
    assert!(lagging.contains(r#""num_pending":1,"#), "{lagging}");
}
