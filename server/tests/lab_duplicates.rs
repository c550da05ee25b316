//! Deliveries that come twice, of each kind that there is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Wire;
use common::lab::{api, lab_request, lab_server};
use serde_json::json;

const RULE: &str = r#"{"kind":"duplicate","what":"delivery","where":{"subject":"s.twice"}}"#;

/// A stream with two messages, of which one is meant.
fn filled(wire: &mut Wire) {
    let config = json!({
        "name": "S", "subjects": ["s.*"], "storage": "memory", "allow_direct": true,
        "republish": {"src": ">", "dest": "again.>"},
    });
    api(wire, "STREAM.CREATE.S", &config.to_string());
    wire.send("PUB s.twice 1\r\na\r\nPUB s.once 1\r\nb\r\n");
    assert_eq!(lab_request(wire, "FAULT.ADD", RULE).get("error"), None);
}

/// A consumer of the stream.
fn consumer(wire: &mut Wire, config: serde_json::Value) {
    let body = json!({"stream_name": "S", "config": config});
    api(wire, "CONSUMER.CREATE.S.C", &body.to_string());
}

/// What comes until the answer to a PING: subjects and payloads, without what is only said to a consumer.
fn received(wire: &mut Wire) -> Vec<(String, String)> {
    wire.send("PING\r\n");
    let mut received = Vec::new();
    loop {
        let line = wire.line();
        if line == "PONG" {
            return received;
        }
        let words: Vec<&str> = line.split(' ').collect();
        assert!(matches!(words[0], "MSG" | "HMSG"), "{line}");
        let (subject, mut payload) = (words[1].to_owned(), wire.line());
        if words[0] == "HMSG" {
            while !payload.is_empty() {
                payload = wire.line();
            }
            payload = wire.line();
        }
        received.push((subject, payload));
    }
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(subject, payload)| ((*subject).to_owned(), (*payload).to_owned())).collect()
}

/// Reads until so many messages have come, which may take the server a moment.
fn receives(wire: &mut Wire, wanted: &[(&str, &str)]) {
    let mut came = Vec::new();
    jetkv_testing::eventually("all came", || {
        came.extend(received(wire));
        came.len() >= wanted.len()
    });
    assert_eq!(came, pairs(wanted));
}

fn hits(wire: &mut Wire) -> serde_json::Value {
    lab_request(wire, "FAULT.LIST", "")["faults"][0]["hits"].clone()
}

#[test]
fn to_a_core_subscription() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    let rule = r#"{"kind":"duplicate","what":"message","where":{"subject":"x"}}"#;
    assert_eq!(lab_request(&mut wire, "FAULT.ADD", rule).get("error"), None);
    wire.send("SUB x 1\r\nSUB y 2\r\nPUB x 1\r\na\r\nPUB y 1\r\nb\r\n");
    receives(&mut wire, &[("x", "a"), ("x", "a"), ("y", "b")]);
}

#[test]
fn of_a_push_consumer() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    filled(&mut wire);
    wire.send("SUB to 1\r\n");
    consumer(&mut wire, json!({"name": "C", "deliver_subject": "to", "ack_policy": "explicit"}));
    receives(&mut wire, &[("s.twice", "a"), ("s.twice", "a"), ("s.once", "b")]);
    let info = api(&mut wire, "CONSUMER.INFO.S.C", "");
    assert_eq!(info["delivered"]["consumer_seq"], 2, "the consumer delivered each once: {info}");
    assert_eq!(hits(&mut wire), 1);
}

#[test]
fn of_a_pull_consumer() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    filled(&mut wire);
    consumer(&mut wire, json!({"name": "C", "ack_policy": "explicit"}));
    wire.send("SUB to 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.C to 1\r\n2\r\n");
    receives(&mut wire, &[("s.twice", "a"), ("s.twice", "a"), ("s.once", "b")]);
}

#[test]
fn of_an_ordered_consumer() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    filled(&mut wire);
    wire.send("SUB to 1\r\n");
    let ordered = json!({
        "name": "C", "deliver_subject": "to", "ack_policy": "none", "max_deliver": 1, "mem_storage": true,
        "flow_control": true, "idle_heartbeat": 5_000_000_000_u64, "inactive_threshold": 300_000_000_000_u64,
        "num_replicas": 1,
    });
    consumer(&mut wire, ordered);
    receives(&mut wire, &[("s.twice", "a"), ("s.twice", "a"), ("s.once", "b")]);
}

#[test]
fn of_a_direct_get() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    filled(&mut wire);
    wire.send("SUB to 1\r\nPUB $JS.API.DIRECT.GET.S.s.twice to 0\r\n\r\n");
    receives(&mut wire, &[("to", "a"), ("to", "a")]);
    wire.send("PUB $JS.API.DIRECT.GET.S.s.once to 0\r\n\r\n");
    receives(&mut wire, &[("to", "b")]);
    assert_eq!(hits(&mut wire), 1);
}

#[test]
fn of_a_republished_message() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    filled(&mut wire);
    wire.send("SUB again.> 1\r\nPUB s.twice 1\r\nc\r\nPUB s.once 1\r\nd\r\n");
    receives(&mut wire, &[("again.s.twice", "c"), ("again.s.twice", "c"), ("again.s.once", "d")]);
}
