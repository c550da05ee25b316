//! States of a whole server that the test lab saves and brings back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::Wire;
use common::lab::{api, ask, lab_request, lab_server};
use serde_json::{Value, json};

fn create(wire: &mut Wire, storage: &str) {
    let config =
        format!(r#"{{"name":"S","subjects":["s.*"],"storage":"{storage}","max_msgs_per_subject":1}}"#);
    api(wire, "STREAM.CREATE.S", &config);
    let durable =
        r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","deliver_subject":"d"}}"#;
    api(wire, "CONSUMER.CREATE.S.C", durable);
    // The first message of `s.a` is replaced, so that sequences have a gap.
    for (subject, value) in [("s.a", "1"), ("s.b", "2"), ("s.a", "3")] {
        assert_eq!(ask(wire, subject, "Nats-Extra: h", value).0.get("error"), None);
    }
}

/// What can be seen of the stream and its consumer.
fn seen(wire: &mut Wire) -> Value {
    let stream = api(wire, "STREAM.INFO.S", "");
    let consumer = api(wire, "CONSUMER.INFO.S.C", "");
    let get = |seq: u32| format!(r#"{{"seq":{seq}}}"#);
    let messages: Vec<Value> =
        [2, 3].map(|seq| api(wire, "STREAM.MSG.GET.S", &get(seq))["message"].clone()).into();
    let position =
        |name: &str| (consumer[name]["consumer_seq"].clone(), consumer[name]["stream_seq"].clone());
    json!({
        "created": stream["created"], "config": stream["config"], "state": stream["state"], "messages": messages,
        "delivered": position("delivered"), "floor": position("ack_floor"), "pending": consumer["num_pending"],
    })
}

fn comes_back(storage: &str) {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    create(&mut wire, storage);
    let before = seen(&mut wire);
    let saved = lab_request(&mut wire, "STATE.SAVE", r#"{"name":"fixture"}"#);
    assert_eq!(
        (&saved["streams"], &saved["consumers"], &saved["messages"]),
        (&json!(1), &json!(1), &json!(2)),
        "{saved}"
    );
    ask(&mut wire, "s.c", "", "4");
    api(&mut wire, "STREAM.CREATE.OTHER", r#"{"name":"OTHER"}"#);
    lab_request(&mut wire, "TIME.ADVANCE", r#"{"by":"1h"}"#);
    let loaded = lab_request(&mut wire, "STATE.LOAD", r#"{"name":"fixture"}"#);
    assert_eq!((loaded.get("error"), &loaded["now"]), (None, &saved["now"]));
    assert_eq!(seen(&mut wire), before);
    assert_eq!(api(&mut wire, "STREAM.NAMES", "")["total"], 1);
    assert!(server.lab().unwrap().time().offset_ns < 3_600_000_000_000);
    // It goes on where it was, and the state can be brought back again.
    assert_eq!(ask(&mut wire, "s.c", "", "4").0["seq"], 4);
    lab_request(&mut wire, "STATE.RESET", "");
    server.lab().unwrap().load("fixture").unwrap();
    assert_eq!(seen(&mut wire), before);
}

#[test]
fn what_is_in_files_comes_back() {
    comes_back("file");
}

#[test]
fn what_is_in_memory_comes_back() {
    comes_back("memory");
}

#[test]
fn states_are_listed_and_dropped() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    let lab = server.lab().unwrap();
    for name in ["b", "a"] {
        lab.save(name).unwrap();
    }
    let listed = lab_request(&mut wire, "STATE.LIST", "");
    let names: Vec<_> =
        listed["states"].as_array().unwrap().iter().map(|state| state["name"].clone()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(lab_request(&mut wire, "STATE.DROP", r#"{"name":"c"}"#)["error"]["code"], 404);
    assert_eq!(lab_request(&mut wire, "STATE.DROP", r#"{"name":"a"}"#)["removed"], 1);
    assert_eq!(lab_request(&mut wire, "STATE.LOAD", r#"{"name":"a"}"#)["error"]["code"], 404);
    assert_eq!(lab_request(&mut wire, "STATE.DROP", "")["removed"], 1);
    for wrong in ["", r#"{"name":""}"#, r#"{"name":1}"#, r#"{"name":"a","more":1}"#] {
        assert_eq!(lab_request(&mut wire, "STATE.SAVE", wrong)["error"]["code"], 400, "{wrong}");
    }
    for number in 0..100 {
        lab.save(&number.to_string()).unwrap();
    }
    lab.save("7").unwrap();
    assert_eq!(lab.save("one more").unwrap_err().code, 400);
}

#[test]
fn ages_are_what_they_were() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    let config = r#"{"name":"S","subjects":["s.*"],"max_age":3600000000000}"#;
    api(&mut wire, "STREAM.CREATE.S", config);
    ask(&mut wire, "s.a", "", "1");
    let lab = server.lab().unwrap();
    lab.save("young").unwrap();
    lab.advance(Duration::from_secs(3_601));
    assert_eq!(api(&mut wire, "STREAM.INFO.S", "")["state"]["messages"], 0);
    lab.load("young").unwrap();
    assert_eq!(api(&mut wire, "STREAM.INFO.S", "")["state"]["messages"], 1);
    lab.advance(Duration::from_secs(3_601));
    assert_eq!(api(&mut wire, "STREAM.INFO.S", "")["state"]["messages"], 0);
}
