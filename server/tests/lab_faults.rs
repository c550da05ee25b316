//! Faults on purpose: messages that come late or twice, readers that read nothing, disks that fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::lab::{ask, lab_request, lab_server, lab_server_with};
use common::{Wire, closed_for};
use jetkv_testing::eventually;
use serde_json::{Value, json};

/// Tries until a store that failed works again: each is a minute later.
const TRIES_MAX: usize = 60;

fn create(wire: &mut Wire, storage: &str) {
    let config = format!(r#"{{"name":"S","subjects":["s.*"],"storage":"{storage}"}}"#);
    assert_eq!(ask(wire, "$JS.API.STREAM.CREATE.S", "", &config).0.get("error"), None);
}

fn add(wire: &mut Wire, rule: &str) {
    assert_eq!(lab_request(wire, "FAULT.ADD", rule).get("error"), None, "{rule}");
}

/// Lets time pass; gives the subjects of what came meanwhile, before the answer.
fn advance(wire: &mut Wire, by: &str) -> Vec<String> {
    let (moved, came) = ask(wire, "$JETKV.LAB.TIME.ADVANCE", "", &json!({ "by": by }).to_string());
    assert_eq!(moved.get("error"), None);
    came.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

fn hits(wire: &mut Wire) -> Value {
    lab_request(wire, "FAULT.LIST", "")["faults"][0]["hits"].clone()
}

#[test]
fn an_acknowledgement_comes_late() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    create(&mut wire, "memory");
    add(&mut wire, r#"{"kind":"ack_delay","by":"1h","where":{"subject":"s.a"}}"#);
    wire.send("SUB late 1\r\nPUB s.a late 1\r\n1\r\n");
    // It is stored all the same.
    assert_eq!(ask(&mut wire, "s.b", "", "2").0["seq"], 2);
    assert!(advance(&mut wire, "59m").is_empty());
    assert_eq!(advance(&mut wire, "1m"), ["late"]);
    assert_eq!(hits(&mut wire), 1);
    // What has no answer has none that is late.
    wire.send("PUB s.a 1\r\n3\r\n");
    assert_eq!(ask(&mut wire, "s.b", "", "4").0["seq"], 4);
    assert!(advance(&mut wire, "2h").is_empty());
}

#[test]
fn an_answer_that_there_is_no_room_for_comes_at_once() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    create(&mut wire, "memory");
    add(&mut wire, r#"{"kind":"latency","by":"1h","where":{"subject":"x"}}"#);
    // Ever smaller, until not even one without a body is held.
    for (bytes, times) in [(1 << 20, 64), (64 << 10, 16), (4 << 10, 16), (256, 20), (0, 20)] {
        let body = "v".repeat(bytes);
        (0..times).for_each(|_| wire.send(&format!("PUB x {bytes}\r\n{body}\r\n")));
    }
    add(&mut wire, r#"{"kind":"ack_delay","by":"1h","where":{"subject":"s.a"}}"#);
    wire.send("SUB late 1\r\nPUB s.a late 1\r\n1\r\n");
    assert!(wire.line().starts_with("MSG late 1 "));
    assert!(wire.line().contains("\"seq\":1"));
}

#[test]
fn what_is_held_falls_due() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    lab_request(&mut wire, "TIME.FREEZE", "");
    add(&mut wire, r#"{"kind":"latency","by":"1h","where":{"subject":"x"}}"#);
    wire.send("SUB x 1\r\nPUB x 1\r\nv\r\n");
    let next = lab_request(&mut wire, "TIME.NEXT", "");
    assert_eq!(
        (&next["what"], &next["in"], &next["account"]),
        (&json!("held"), &json!("1h0m0s"), &json!("$G"))
    );
    assert_eq!(lab_request(&mut wire, "TIME.NEXT", r#"{"account":"$SYS"}"#).get("what"), None);
    let (moved, came) = ask(&mut wire, "$JETKV.LAB.TIME.ADVANCE", "", r#"{"to":"next"}"#);
    assert_eq!((moved.get("error"), came.len()), (None, 1));
}

#[test]
fn messages_come_late_and_in_order() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    create(&mut wire, "memory");
    wire.send("SUB x.* 1\r\nSUB ack 2\r\n");
    add(&mut wire, r#"{"kind":"latency","by":"1m","jitter":"1m","seed":7}"#);
    let sent: Vec<String> = (0..20).map(|number| format!("x.{number}")).collect();
    for subject in &sent {
        wire.send(&format!("PUB {subject} 0\r\n\r\n"));
    }
    wire.send("PUB s.a ack 1\r\n1\r\n");
    wire.send("PING\r\n");
    wire.expect("PONG\r\n");
    assert!(advance(&mut wire, "30s").is_empty());
    let came = advance(&mut wire, "2m");
    assert_eq!(came.split_last(), Some((&"ack".to_owned(), sent.as_slice())));
    // With the rule what is held goes.
    wire.send("PUB x.0 0\r\n\r\n");
    lab_request(&mut wire, "STATE.RESET", "");
    assert!(advance(&mut wire, "1h").is_empty());
}

#[test]
fn a_narrow_line_takes_one_message_after_the_other() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    wire.send("SUB x.* 1\r\n");
    lab_request(&mut wire, "TIME.FREEZE", "");
    add(&mut wire, r#"{"kind":"bandwidth","bytes_per_sec":1000,"where":{"subject":"x.*"}}"#);
    let body = "v".repeat(997);
    for number in 0..3 {
        wire.send(&format!("PUB x.{number} {}\r\n{body}\r\n", body.len()));
    }
    assert!(advance(&mut wire, "999ms").is_empty());
    assert_eq!(advance(&mut wire, "1ms"), ["x.0"]);
    assert_eq!(advance(&mut wire, "2s"), ["x.1", "x.2"]);
}

/// The sequence that the next acknowledgement names, and whether it was there before.
fn acknowledged(wire: &mut Wire) -> (Value, Value) {
    wire.line();
    let ack: Value = serde_json::from_str(&wire.line()).unwrap();
    (ack["seq"].clone(), ack["duplicate"].clone())
}

#[test]
fn a_message_comes_twice() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    create(&mut wire, "memory");
    add(&mut wire, r#"{"kind":"duplicate","times":2,"where":{"subject":"s.*"}}"#);
    wire.send("SUB ack 1\r\nPUB s.a ack 1\r\n1\r\n");
    assert_eq!((acknowledged(&mut wire).0, acknowledged(&mut wire).0), (json!(1), json!(2)));
    wire.send("HPUB s.a ack 28 29\r\nNATS/1.0\r\nNats-Msg-Id: 7\r\n\r\n2\r\n");
    assert_eq!(acknowledged(&mut wire), (json!(3), Value::Null));
    assert_eq!(acknowledged(&mut wire), (json!(3), json!(true)));
}

#[test]
fn a_reader_that_reads_nothing_is_cut_and_one_that_reads_again_gets_all() {
    let (_directory, server) = lab_server_with(|options| options.limits.max_pending_bytes = 1 << 20);
    let mut reader = Wire::client_with(&server, r#","name":"reader""#);
    let mut wire = Wire::client(&server);
    reader.send("SUB x 1\r\nPING\r\n");
    reader.expect("PONG\r\n");
    let rule = r#"{"kind":"slow_reader","where":{"client":"reader"}}"#;
    add(&mut wire, rule);
    assert_eq!(hits(&mut wire), 1);
    wire.send("PUB x 1\r\nv\r\nPING\r\n");
    wire.expect("PONG\r\n");
    eventually("nothing leaves", || common::pending_bytes(&server) >= 11);
    assert_eq!(lab_request(&mut wire, "FAULT.CLEAR", "")["removed"], 1);
    reader.expect("MSG x 1 1\r\nv\r\n");
    add(&mut wire, rule);
    let body = "v".repeat(100_000);
    for _ in 0..12 {
        wire.send(&format!("PUB x {}\r\n{body}\r\n", body.len()));
    }
    closed_for(&server, "Slow Consumer (Pending Bytes)");
    // Whoever came later is not meant.
    let mut another = Wire::client_with(&server, r#","name":"reader""#);
    another.send("SUB y 1\r\nPUB y 0\r\n\r\n");
    another.expect("MSG y 1 0\r\n\r\n");
}

/// Stores a message, a minute later where it cannot be stored yet.
fn store_again(wire: &mut Wire) {
    for _ in 0..TRIES_MAX {
        if ask(wire, "s.a", "", "v").0.get("error").is_none() {
            return;
        }
        lab_request(wire, "TIME.ADVANCE", r#"{"by":"1m"}"#);
    }
    panic!("the store does not work again");
}

#[test]
fn a_full_disk_takes_nothing_until_it_has_room() {
    // A directory of that name above the one that the server makes is no account's.
    let (_directory, server) = lab_server_with(|options| {
        options.jetstream.store_dir = options.jetstream.store_dir.take().map(|dir| dir.join("jetstream"));
    });
    let mut wire = Wire::client(&server);
    create(&mut wire, "file");
    assert_eq!(ask(&mut wire, "s.a", "", "v").0["seq"], 1);
    add(&mut wire, r#"{"kind":"disk_full","where":{"account":"other"}}"#);
    assert_eq!(ask(&mut wire, "s.a", "", "v").0["seq"], 2);
    add(&mut wire, r#"{"kind":"disk_full","where":{"account":"$G"}}"#);
    assert_ne!(ask(&mut wire, "s.a", "", "v").0.get("error"), None);
    let kept = ask(&mut wire, "$JS.API.STREAM.INFO.S", "", "").0["state"]["messages"].clone();
    assert_eq!(kept, 2, "what was refused is not there");
    lab_request(&mut wire, "FAULT.CLEAR", "");
    store_again(&mut wire);
}

#[test]
fn a_sync_that_fails_is_told() {
    let (_directory, server) = lab_server_with(|options| options.jetstream.sync_always = true);
    let mut wire = Wire::client(&server);
    create(&mut wire, "file");
    assert_eq!(ask(&mut wire, "s.a", "", "v").0["seq"], 1);
    add(&mut wire, r#"{"kind":"sync_failure"}"#);
    assert_ne!(ask(&mut wire, "s.a", "", "v").0.get("error"), None);
    eventually("the rule was met", || {
        server.lab().unwrap().request("FAULT", "LIST", &json!({})).unwrap()["faults"][0]["hits"] != 0
    });
    lab_request(&mut wire, "FAULT.CLEAR", "");
    store_again(&mut wire);
}
