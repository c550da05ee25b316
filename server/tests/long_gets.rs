//! Direct gets that may take long: in the order of their connection, and in nobody's way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, message, request, start, with_streams};
use jetkv::Server;
use jetkv::options::LimitOptions;
use tempfile::TempDir;

/// A server with a bucket of `keys` keys whose values have `size` bytes.
fn with_keys(keys: usize, size: usize) -> (TempDir, Server, Wire) {
    with_limits(keys, size, &LimitOptions::default())
}

/// The same with other limits of connections.
fn with_limits(keys: usize, size: usize, limits: &LimitOptions) -> (TempDir, Server, Wire) {
    let (directory, mut options) = with_streams();
    // A machine that is busy for a while has no part in who is cut.
    options.limits = LimitOptions { write_deadline: options.limits.write_deadline, ..limits.clone() };
    let server = start(options);
    let mut wire = Wire::client(&server);
    let config = r#"{"name":"KV","subjects":["kv.>"],"storage":"memory","allow_direct":true,"max_msgs_per_subject":1}"#;
    wire.send(&format!("SUB made 1\r\n{}", request("STREAM.CREATE.KV", "made", config)));
    assert!(message(&mut wire).1.contains("\"did_create\":true"));
    let value = "x".repeat(size);
    for key in 0..keys {
        let reply = if key + 1 == keys { " made" } else { "" };
        wire.send(&format!("PUB kv.a.{key}{reply} {size}\r\n{value}\r\n"));
    }
    assert!(message(&mut wire).1.contains(&format!("\"seq\":{keys}")));
    (directory, server, wire)
}

#[test]
fn what_comes_behind_a_long_get_is_answered_behind_it() {
    let (_directory, _server, mut wire) = with_keys(3, 1);
    let long = request("DIRECT.GET.KV", "long", r#"{"batch":9,"seq":1}"#);
    let multi = request("DIRECT.GET.KV", "multi", r#"{"multi_last":["kv.>"]}"#);
    let by_pattern = request("DIRECT.GET.KV.kv.a.*", "pattern", "");
    let get = request("DIRECT.GET.KV.kv.a.1", "get", "");
    let put = "PUB kv.a.new put 1\r\nx\r\n";
    wire.send(&format!(
        "SUB get 2\r\nSUB put 3\r\n{get}{long}SUB long 4\r\n{put}{get}{multi}SUB multi 5\r\nSUB pattern 6\r\n{by_pattern}PING\r\n"
    ));
    let mut order: Vec<String> = (0..13).map(|_| message(&mut wire).0).collect();
    assert_eq!(wire.line(), "PONG");
    order.dedup();
    assert_eq!(order, ["get", "long", "put", "get", "multi", "pattern"]);
}

#[test]
fn a_batch_of_many_pieces_brings_every_message_once_and_in_order() {
    let (_directory, _server, mut wire) = with_keys(400, 4_000);
    wire.send("SUB answer 2\r\n");
    for body in [
        r#"{"batch":1000,"next_by_subj":"kv.a.*"}"#,
        r#"{"batch":1000,"seq":1}"#,
        r#"{"multi_last":["kv.a.*"]}"#,
    ] {
        wire.send(&request("DIRECT.GET.KV", "answer", body));
        for seq in 1..=400 {
            let answer = message(&mut wire).1;
            let left = 400 - seq;
            assert!(answer.contains(&format!("\r\nNats-Sequence: {seq}\r\n")), "{seq} of {body}: {answer}");
            assert!(
                answer.contains(&format!("\r\nNats-Num-Pending: {left}\r\n")),
                "{seq} of {body}: {answer}"
            );
        }
        let end = message(&mut wire).1;
        assert!(
            end.starts_with("NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: 400"),
            "{end}"
        );
    }
}

#[test]
fn puts_and_gets_go_on_between_the_answers_of_a_flood_of_long_gets() {
    let (_directory, server, mut wire) = with_keys(20_000, 1);
    // Each looks at every subject, and finds nothing.
    let flood = request("DIRECT.GET.KV", "none", r#"{"next_by_subj":"kv.*.*.x","seq":1}"#);
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let mut other = Wire::client(&server);
            other.send(&format!("SUB none 1\r\n{}", flood.repeat(40)));
            std::thread::spawn(move || {
                (0..40).for_each(|_| assert!(message(&mut other).1.starts_with("NATS/1.0 404")));
            })
        })
        .collect();
    wire.send("SUB put 2\r\nSUB get 3\r\n");
    let get = request("DIRECT.GET.KV.kv.a.1", "get", "");
    let mut rounds = 0;
    while !floods.iter().all(std::thread::JoinHandle::is_finished) {
        wire.send(&format!("PUB kv.a.1 put 1\r\nx\r\n{get}"));
        assert_eq!([message(&mut wire).0, message(&mut wire).0], ["put", "get"]);
        rounds += 1;
    }
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    // Whoever waits for what one connection sent gets his turn once for each of the four, or so.
    assert!(rounds >= 20, "{rounds} puts were answered while 160 searches were");
}

#[test]
fn a_request_with_very_many_filters_lets_others_in() {
    let (_directory, server, mut wire) = with_keys(1_000, 1);
    let filters: Vec<String> = (0..90_000).map(|number| format!("\"kv.{number}\"")).collect();
    let config =
        format!(r#"{{"name":"C","ack_policy":"explicit","filter_subjects":[{}]}}"#, filters.join(","));
    let create =
        request("CONSUMER.CREATE.KV.C", "answer", &format!(r#"{{"stream_name":"KV","config":{config}}}"#));
    let mut asks = Wire::client(&server);
    asks.send(&format!("SUB answer 1\r\n{create}"));
    let answer = std::thread::spawn(move || message(&mut asks).1);
    wire.send("SUB get 3\r\n");
    let mut rounds = 0;
    while !answer.is_finished() {
        let mut newcomer = Wire::client(&server);
        newcomer.send("PING\r\n");
        assert_eq!(newcomer.line(), "PONG");
        wire.send(&request("DIRECT.GET.KV.kv.a.1", "get", ""));
        assert_eq!(message(&mut wire).0, "get");
        rounds += 1;
    }
    assert!(answer.join().unwrap().contains("\"name\":\"C\""));
    assert!(rounds >= 3, "{rounds} others were let in");
}

#[test]
fn a_reader_of_64_mib_of_answers_may_be_slow() {
    const KEYS: usize = 160;
    const BYTES: usize = 512 << 10;
    let (_directory, server, mut other) = with_keys(KEYS, BYTES);
    for body in [r#"{"batch":1000,"seq":1}"#, r#"{"multi_last":["kv.a.*"]}"#] {
        let mut slow = Wire::client(&server);
        slow.send(&format!("SUB answer 2\r\n{}", request("DIRECT.GET.KV", "answer", body)));
        // Others are served while it does not read.
        other.send("SUB get 3\r\n");
        for _ in 0..50 {
            other.send(&request("DIRECT.GET.KV.kv.a.1", "get", ""));
            assert_eq!(message(&mut other).0, "get");
        }
        other.send("UNSUB 3\r\n");
        let mut got = 0;
        let end = loop {
            let answer = message(&mut slow).1;
            if answer.starts_with("NATS/1.0 204") {
                break answer;
            }
            got += 1;
            assert!(answer.contains(&format!("\r\nNats-Sequence: {got}\r\n")), "{body}: {answer:.200}");
        };
        // As many as fit into 64 MiB, and how many are left is told.
        assert_eq!(got, 128, "{body}");
        assert!(end.contains(&format!("Nats-Num-Pending: {}\r\n", KEYS - got)), "{body}: {end}");
        slow.send("PING\r\n");
        // It was not cut, and may be asked whether it is there.
        while slow.line() != "PONG" {}
    }
}

#[test]
fn gets_of_one_packet_are_all_answered_however_much_that_is() {
    const GETS: usize = 200;
    const SIZE: usize = 100_000;
    let limits = LimitOptions { max_pending_bytes: 4 << 20, ..LimitOptions::default() };
    let (_directory, server, mut wire) = with_limits(1, SIZE, &limits);
    let get = request("DIRECT.GET.KV.kv.a.0", "got", "");
    wire.send(&format!("SUB got 2\r\n{}", get.repeat(GETS)));
    // Five times what may wait for a connection.
    for _ in 0..GETS {
        assert!(message(&mut wire).1.len() > SIZE);
    }
    wire.send("PING\r\n");
    assert_eq!(wire.line(), "PONG");
    assert_eq!(server.monitor().counts().slow_consumers, 0);
}

#[test]
fn a_trace_tells_what_becomes_of_a_message_that_takes_long_and_comes_before_what_is_behind_it() {
    let (_directory, _server, mut wire) = with_keys(10_000, 1);
    wire.send("SUB told 2\r\nSUB behind 3\r\n");
    for (seq, only, error) in [
        (7, "true", Some("last sequence by subject mismatch: 7 vs 0")),
        (7, "false", Some("last sequence by subject mismatch: 7 vs 0")),
        (0, "true", None),
        (0, "false", None),
    ] {
        let headers = format!(
            "NATS/1.0\r\nNats-Trace-Dest: told\r\nNats-Trace-Only: {only}\r\nNats-Expected-Last-Subject-Sequence: {seq}\r\n\
             Nats-Expected-Last-Subject-Sequence-Subject: kv.a.*.none\r\n\r\n"
        );
        let (of_headers, of_all) = (headers.len(), headers.len() + 1);
        wire.send(&format!("HPUB kv.a.1 {of_headers} {of_all}\r\n{headers}x\r\nPUB behind 0\r\n\r\n"));
        let (subject, trace) = message(&mut wire);
        assert_eq!(subject, "told");
        let trace: serde_json::Value = serde_json::from_str(&trace).unwrap();
        let step = trace.pointer("/events/1").unwrap();
        assert_eq!(step.get("error").and_then(|error| error.as_str()), error, "{trace}");
        assert_eq!(step.get("subject").is_some(), error.is_none(), "{trace}");
        assert_eq!(message(&mut wire).0, "behind");
    }
    wire.send(&request("STREAM.INFO.KV", "made", ""));
    assert!(message(&mut wire).1.contains("\"last_seq\":10001"));
}
