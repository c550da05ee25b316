//! Direct gets: every form, and every way to ask wrongly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_testing::{Sent, TestEngine};

fn engine() -> TestEngine {
    let engine = TestEngine::new().unwrap();
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_direct":true}"#;
    engine.request("STREAM.CREATE.S", config);
    for (subject, value) in [("s.a", "1"), ("s.b", "2"), ("s.a", "3"), ("s.c", "4")] {
        engine.publish(subject, &[], value);
        engine.clock.advance_ns(1_000_000_000);
    }
    engine
}

fn payloads(sent: &[Sent]) -> Vec<&str> {
    sent.iter().map(|msg| msg.payload.as_str()).collect()
}

fn status(sent: &[Sent]) -> &str {
    sent[0].headers.lines().next().unwrap()
}

#[test]
fn one_message_is_found_by_sequence_by_subject_and_by_time() {
    let engine = engine();
    let get = |body: &str| engine.request_all("DIRECT.GET.S", body);
    assert_eq!(payloads(&get(r#"{"seq":2}"#)), ["2"]);
    assert_eq!(payloads(&get(r#"{"last_by_subj":"s.a"}"#)), ["3"]);
    assert_eq!(payloads(&get(r#"{"last_by_subj":"s.*"}"#)), ["4"]);
    assert_eq!(payloads(&get(r#"{"next_by_subj":"s.a"}"#)), ["1"]);
    assert_eq!(payloads(&get(r#"{"seq":2,"next_by_subj":"s.a"}"#)), ["3"]);
    assert_eq!(payloads(&get(r#"{"start_time":"2023-11-14T22:13:22Z"}"#)), ["3"]);
    assert_eq!(payloads(&engine.request_all("DIRECT.GET.S.s.a", "")), ["3"]);
    let one = get(r#"{"seq":2}"#);
    assert_eq!(
        one[0].headers,
        "NATS/1.0\r\nNats-Stream: S\r\nNats-Subject: s.b\r\nNats-Sequence: 2\r\n\
         Nats-Time-Stamp: 2023-11-14T22:13:21Z\r\n\r\n"
    );
    assert_eq!(get(r#"{"seq":2,"no_hdr":true}"#)[0].headers, "");
}

#[test]
fn a_batch_counts_down_and_ends_with_its_own_mark() {
    let engine = engine();
    let sent = engine.request_all("DIRECT.GET.S", r#"{"seq":1,"batch":3}"#);
    assert_eq!(payloads(&sent), ["1", "2", "3", ""]);
    assert!(sent[0].headers.ends_with("Nats-Num-Pending: 3\r\nNats-Last-Sequence: 0\r\n\r\n"), "{sent:?}");
    assert!(sent[2].headers.ends_with("Nats-Num-Pending: 1\r\nNats-Last-Sequence: 2\r\n\r\n"), "{sent:?}");
    assert_eq!(sent[3].headers, "NATS/1.0 204 EOB\r\nNats-Num-Pending: 1\r\nNats-Last-Sequence: 3\r\n\r\n");
    let bare = engine.request_all("DIRECT.GET.S", r#"{"seq":1,"batch":3,"no_hdr":true}"#);
    assert_eq!((payloads(&bare), bare[0].headers.as_str()), (vec!["1", "2", "3", ""], ""));
    assert_eq!(bare[3].headers, "NATS/1.0 204 EOB\r\nNats-Num-Pending: 4\r\nNats-Last-Sequence: 3\r\n\r\n");
    let sent = engine.request_all("DIRECT.GET.S", r#"{"seq":1,"batch":9,"max_bytes":5}"#);
    assert_eq!(payloads(&sent), ["1", "2", ""]);
}

#[test]
fn the_last_of_many_subjects_are_those_up_to_a_sequence_or_time() {
    let engine = engine();
    let get = |body: &str| engine.request_all("DIRECT.GET.S", body);
    let sent = get(r#"{"multi_last":["s.>"]}"#);
    assert_eq!(payloads(&sent), ["2", "3", "4", ""]);
    assert_eq!(
        sent[3].headers,
        "NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: 4\r\nNats-UpTo-Sequence: 4\r\n\r\n"
    );
    assert_eq!(payloads(&get(r#"{"multi_last":["s.>"],"up_to_seq":2}"#)), ["1", "2", ""]);
    let body = r#"{"multi_last":["s.>"],"up_to_time":"2023-11-14T22:13:22Z"}"#;
    assert_eq!(payloads(&get(body)), ["1", "2", ""]);
    assert_eq!(status(&get(r#"{"multi_last":["q.>"]}"#)), "NATS/1.0 404 No Results");
}

#[test]
fn a_bad_request_says_what_is_wrong() {
    let engine = engine();
    for (body, wanted) in [
        ("", "NATS/1.0 408 Empty Request"),
        ("{}", "NATS/1.0 408 Empty Request"),
        ("{", "NATS/1.0 408 Malformed Request"),
        (r#"{"seq":1,"last_by_subj":"s.a"}"#, "NATS/1.0 408 Bad Request"),
        (r#"{"last_by_subj":"s.a","batch":2}"#, "NATS/1.0 408 Bad Request"),
        (r#"{"seq":99}"#, "NATS/1.0 404 Message Not Found"),
    ] {
        assert_eq!(status(&engine.request_all("DIRECT.GET.S", body)), wanted, "{body}");
    }
    assert_eq!(status(&engine.request_all("DIRECT.GET.NONE", "")), "NATS/1.0 503");
}
