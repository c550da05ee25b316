//! Atomic batches (ADR-50): what publishers are told, and that a batch is stored whole or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::{BatchLimits, EngineSettings};
use jetkv_testing::TestEngine;

const PLAIN: &str = r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_atomic":true,
    "allow_rollup_hdrs":true,"allow_msg_ttl":true}"#;
const ABANDONED: &str = "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S";
const SECOND_NS: u64 = 1_000_000_000;

fn engine(config: &str) -> TestEngine {
    let engine = TestEngine::new().unwrap();
    let answer = engine.request("STREAM.CREATE.S", config);
    assert!(answer.contains("\"did_create\":true"), "{answer}");
    engine.host.listen(ABANDONED, None);
    engine.host.take();
    engine
}

/// Publishes message `seq` of a batch, with more headers.
fn put(engine: &TestEngine, id: &str, seq: u64, subject: &str, more: &[(&str, &str)]) -> String {
    let seq = seq.to_string();
    let mut headers = vec![("Nats-Batch-Id", id), ("Nats-Batch-Sequence", &*seq)];
    headers.extend_from_slice(more);
    engine.publish(subject, &headers, "x")
}

const LAST: (&str, &str) = ("Nats-Batch-Commit", "1");

fn refused(answer: &str, err_code: u32, text: &str) {
    let wanted = format!("\"err_code\":{err_code},\"description\":\"{text}\"");
    assert!(answer.contains(&wanted), "{answer}, wanted {wanted}");
}

fn last_seq(engine: &TestEngine) -> u64 {
    let info = engine.request("STREAM.INFO.S", "");
    let (_, rest) = info.split_once("\"last_seq\":").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

/// Why batches were given up since this was last asked.
fn abandoned(engine: &TestEngine) -> Vec<String> {
    let reason = |payload: &str| {
        let (_, rest) = payload.split_once("\"batch\":").unwrap();
        format!("{{\"batch\":{rest}")
    };
    engine.host.take().iter().filter(|sent| sent.to == ABANDONED).map(|sent| reason(&sent.payload)).collect()
}

#[test]
fn a_batch_is_stored_with_its_last_message_and_answered_with_its_size() {
    let engine = engine(PLAIN);
    assert_eq!(put(&engine, "b", 1, "s.1", &[]), "");
    assert_eq!(put(&engine, "b", 2, "s.2", &[]), "");
    assert_eq!(last_seq(&engine), 0, "nothing is stored before");
    assert_eq!(put(&engine, "b", 3, "s.1", &[LAST]), r#"{"stream":"S","seq":3,"batch":"b","count":3}"#);
    let got = engine.request("STREAM.MSG.GET.S", r#"{"last_by_subj":"s.1"}"#);
    assert!(got.contains("\"seq\":3"), "{got}");
    assert_eq!(put(&engine, "b", 1, "s.9", &[LAST]), r#"{"stream":"S","seq":4,"batch":"b","count":1}"#);
}

#[test]
fn an_end_that_is_not_stored_marks_the_message_before_it() {
    let engine = engine(PLAIN);
    put(&engine, "b", 1, "s.1", &[]);
    let answer = put(&engine, "b", 2, "s.1", &[("Nats-Batch-Commit", "eob")]);
    assert_eq!(answer, r#"{"stream":"S","seq":1,"batch":"b","count":1}"#);
    engine
        .request("CONSUMER.CREATE.S.C", r#"{"stream_name":"S","config":{"name":"C","deliver_subject":"d"}}"#);
    engine.host.listen("d", None);
    engine.interest_changed("d", true);
    engine.host.pump_all();
    let sent = engine.host.take();
    let headers: Vec<&str> = sent.iter().filter(|sent| sent.to == "d").map(|sent| &*sent.headers).collect();
    assert_eq!(
        headers,
        ["NATS/1.0\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\nNats-Batch-Commit: 1\r\n\r\n"]
    );
    assert!(abandoned(&engine).is_empty());
    refused(
        &put(&engine, "c", 1, "s.1", &[("Nats-Batch-Commit", "eob")]),
        10176,
        "atomic publish batch is incomplete",
    );
}

#[test]
fn gaps_unknown_ends_and_levels_give_a_batch_up() {
    let engine = engine(PLAIN);
    let incomplete = "atomic publish batch is incomplete";
    refused(&put(&engine, "b", 2, "s.1", &[]), 10176, incomplete);
    assert!(abandoned(&engine).is_empty(), "it was never open");
    put(&engine, "b", 1, "s.1", &[]);
    refused(&put(&engine, "b", 3, "s.1", &[LAST]), 10176, incomplete);
    assert_eq!(abandoned(&engine), [r#"{"batch":"b","reason":"incomplete"}"#]);
    put(&engine, "b", 1, "s.1", &[]);
    refused(
        &put(&engine, "b", 2, "s.1", &[("Nats-Batch-Commit", "2")]),
        10200,
        "atomic publish batch commit is invalid",
    );
    let level = [("Nats-Required-Api-Level", "99")];
    refused(&put(&engine, "b", 1, "s.1", &level), 10185, "JetStream minimum api level required");
    assert_eq!(abandoned(&engine), [r#"{"batch":"b","reason":"unsupported"}"#]);
    refused(&put(&engine, &"x".repeat(65), 1, "s.1", &[]), 10179, "atomic publish batch ID is invalid");
    refused(
        &engine.publish("s.1", &[("Nats-Batch-Id", "b")], ""),
        10175,
        "atomic publish sequence is missing",
    );
    assert_eq!(last_seq(&engine), 0);
}

#[test]
fn a_silent_publisher_loses_its_batch_and_its_place() {
    let engine = engine(PLAIN);
    put(&engine, "b", 1, "s.1", &[]);
    engine.advance_ns(9 * SECOND_NS);
    put(&engine, "b", 2, "s.1", &[]);
    engine.advance_ns(9 * SECOND_NS);
    assert!(abandoned(&engine).is_empty(), "each message gives it more time");
    engine.advance_ns(SECOND_NS);
    assert_eq!(abandoned(&engine), [r#"{"batch":"b","reason":"timeout"}"#]);
    refused(&put(&engine, "b", 3, "s.1", &[LAST]), 10176, "atomic publish batch is incomplete");
}

#[test]
fn the_limits_of_batches_hold_when_they_are_lowered_and_raised() {
    let engine = engine(PLAIN);
    let set = |batches| engine.engine.set_settings(EngineSettings { batches, ..EngineSettings::default() });
    let inflight = "atomic publish too many inflight";
    for _ in 0..2 {
        set(BatchLimits { inflight_per_stream_max: 1, ..BatchLimits::default() });
        put(&engine, "a", 1, "s.1", &[]);
        refused(&put(&engine, "b", 1, "s.1", &[]), 10210, inflight);
        set(BatchLimits { inflight_total_max: 1, ..BatchLimits::default() });
        refused(&put(&engine, "b", 1, "s.1", &[]), 10210, inflight);
        set(BatchLimits { msgs_max: 1, timeout_ns: 5, ..BatchLimits::default() });
        refused(&put(&engine, "a", 2, "s.1", &[LAST]), 10199, "atomic publish batch is too large: 1");
        refused(&put(&engine, "a", 3, "s.1", &[]), 10199, "atomic publish batch is too large: 1");
        assert_eq!(abandoned(&engine), [r#"{"batch":"a","reason":"large"}"#]);
        put(&engine, "c", 1, "s.1", &[]);
        engine.advance_ns(5);
        assert_eq!(abandoned(&engine), [r#"{"batch":"c","reason":"timeout"}"#]);
        set(BatchLimits::default());
        for id in ["a", "b"] {
            put(&engine, id, 1, "s.1", &[]);
            assert!(put(&engine, id, 2, "s.1", &[LAST]).contains("\"count\":2"));
        }
    }
}

/// Commits a batch of two, the second message with these headers; then nothing of it may be there.
fn second_refused(engine: &TestEngine, subject: &str, more: &[(&str, &str)], err_code: u32, text: &str) {
    let before = last_seq(engine);
    put(engine, "b", 1, "s.1", &[("Nats-Msg-Id", "first")]);
    let mut headers = more.to_vec();
    headers.push(LAST);
    refused(&put(engine, "b", 2, subject, &headers), err_code, text);
    assert_eq!(last_seq(engine), before);
    assert!(abandoned(engine).is_empty());
}

#[test]
fn one_message_that_is_refused_refuses_all() {
    let engine = engine(PLAIN);
    engine.publish("s.0", &[("Nats-Msg-Id", "known")], "x");
    let duplicate = "atomic publish batch contains duplicate message id";
    second_refused(&engine, "s.2", &[("Nats-Msg-Id", "first")], 10201, duplicate);
    second_refused(&engine, "s.2", &[("Nats-Msg-Id", "known")], 10201, duplicate);
    let header = "atomic publish unsupported header used: Nats-Expected-Last-Msg-Id";
    second_refused(&engine, "s.2", &[("Nats-Expected-Last-Msg-Id", "known")], 10177, header);
    second_refused(&engine, "s.2", &[("Nats-Expected-Last-Sequence", "1")], 10071, "wrong last sequence: 2");
    second_refused(&engine, "s.2", &[("Nats-Expected-Last-Sequence", "2")], 10164, "wrong last sequence");
    let of_subject = |seq| [("Nats-Expected-Last-Subject-Sequence", seq)];
    second_refused(&engine, "s.0", &of_subject("0"), 10071, "wrong last sequence: 1");
    second_refused(&engine, "s.1", &of_subject("0"), 10164, "wrong last sequence");
    let rollup = |what| [("Nats-Rollup", what)];
    second_refused(&engine, "s.1", &rollup("sub"), 10111, "batch rollup sub invalid");
    second_refused(&engine, "s.2", &rollup("all"), 10111, "batch rollup all invalid");
    second_refused(&engine, "s.2", &[("Nats-TTL", "x")], 10165, "invalid per-message TTL");
    second_refused(&engine, "s.2", &[("Nats-Incr", "1")], 10168, "message counters is disabled");
    let taken = [("Nats-Msg-Id", "first")];
    put(&engine, "b", 1, "s.1", &taken);
    let answer = put(&engine, "b", 2, "s.0", &[of_subject("1")[0], rollup("sub")[0], LAST]);
    assert_eq!(answer, r#"{"stream":"S","seq":3,"batch":"b","count":2}"#);
    assert_eq!(engine.publish("s.1", &taken, ""), r#"{"stream":"S","seq":2,"duplicate": true}"#);
    let info = engine.request("STREAM.INFO.S", "");
    assert!(info.contains(r#""messages":2,"#), "s.0 was rolled up: {info}");
}

#[test]
fn discard_new_refuses_a_batch_for_which_there_is_no_room() {
    let engine = engine(
        r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_atomic":true,"discard":"new","max_msgs":2}"#,
    );
    engine.publish("s.0", &[], "x");
    second_refused(&engine, "s.2", &[], 10077, "maximum messages exceeded");
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_atomic":true,"discard":"new",
        "max_msgs_per_subject":1,"discard_new_per_subject":true}"#;
    engine.request("STREAM.UPDATE.S", config);
    second_refused(&engine, "s.1", &[], 10077, "maximum messages per subject exceeded");
    second_refused(&engine, "s.0", &[], 10077, "maximum messages per subject exceeded");
}

#[test]
fn a_stream_that_ceases_to_allow_batches_forgets_those_that_are_open() {
    let engine = engine(PLAIN);
    put(&engine, "b", 1, "s.1", &[]);
    let without = PLAIN.replace("\"allow_atomic\":true", "\"allow_atomic\":false");
    assert!(!engine.request("STREAM.UPDATE.S", &without).contains("error"));
    refused(&put(&engine, "b", 2, "s.1", &[LAST]), 10174, "atomic publish is disabled");
    engine.request("STREAM.UPDATE.S", PLAIN);
    refused(&put(&engine, "b", 2, "s.1", &[LAST]), 10176, "atomic publish batch is incomplete");
}

#[test]
fn consumers_and_republish_see_a_batch_once_and_in_order() {
    let engine = engine(
        r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_atomic":true,
            "republish":{"src":"s.>","dest":"r.>"}}"#,
    );
    engine.host.listen("d", None);
    engine
        .request("CONSUMER.CREATE.S.C", r#"{"stream_name":"S","config":{"name":"C","deliver_subject":"d"}}"#);
    engine.host.take();
    put(&engine, "b", 1, "s.1", &[]);
    put(&engine, "b", 2, "s.2", &[]);
    assert!(engine.host.take().is_empty(), "what is staged is seen by nobody");
    put(&engine, "b", 3, "s.3", &[LAST]);
    let sent = engine.host.take();
    let to = |to: &str| {
        sent.iter().filter(|sent| sent.to == to).map(|sent| sent.subject.clone()).collect::<Vec<_>>()
    };
    assert_eq!(to("d"), ["s.1", "s.2", "s.3"]);
    assert_eq!([to("r.1"), to("r.2"), to("r.3")].concat(), ["r.1", "r.2", "r.3"]);
}
