//! The journal of the test lab: what clients asked, by each way in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Wire;
use common::lab::{ask, lab_request, lab_server};
use serde_json::{Value, json};

fn subjects(answer: &Value) -> Vec<&str> {
    let entries = answer["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["subject"].as_str().unwrap_or_default()).collect()
}

#[test]
fn what_clients_did_is_listed_counted_and_cleared() {
    let (_directory, server) = lab_server(None);
    let mut one = Wire::client_with(&server, r#","name":"one","pass":"secret""#);
    let mut wire = Wire::client_with(&server, r#","name":"two""#);
    one.send("SUB a.* q 1\r\nHPUB a.b r 12 13\r\nNATS/1.0\r\n\r\nv\r\nUNSUB 1 3\r\nPING\r\n");
    one.expect("HMSG a.b 1 r 12 13\r\nNATS/1.0\r\n\r\nv\r\nPONG\r\n");
    let of_one = lab_request(&mut wire, "JOURNAL.LIST", r#"{"client":"one"}"#);
    let entries = of_one["entries"].as_array().unwrap();
    let verbs: Vec<_> = entries.iter().map(|entry| entry["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["CONNECT", "SUB", "PUB", "UNSUB"]);
    assert!(
        !of_one.to_string().contains("secret")
            && entries[0]["payload"].as_str().unwrap().contains("[REDACTED]")
    );
    assert_eq!(
        (&entries[1]["queue"], &entries[1]["sid"], &entries[1]["account"]),
        (&json!("q"), &json!("1"), &json!("$G"))
    );
    assert_eq!(
        (&entries[2]["reply"], &entries[2]["payload"], &entries[2]["size"]),
        (&json!("r"), &json!("v"), &json!(13))
    );
    assert_eq!(entries[3]["max"], 3);
    wire.send("PUB a.c 0\r\n\r\nPUB x 0\r\n\r\n");
    let found = lab_request(&mut wire, "JOURNAL.LIST", r#"{"subject":"a.*","verb":"PUB"}"#);
    assert_eq!(subjects(&found), ["a.b", "a.c"]);
    let after = json!({"after": entries[2]["number"], "subject": ">", "verb": "PUB", "limit": 1});
    assert_eq!(subjects(&lab_request(&mut wire, "JOURNAL.LIST", &after.to_string())), ["x"]);
    assert_eq!(lab_request(&mut wire, "JOURNAL.COUNT", r#"{"subject":"a.*","verb":"pub"}"#)["count"], 2);
    assert_eq!(lab_request(&mut wire, "JOURNAL.CLEAR", r#"{"client":"one"}"#)["removed"], 4);
    assert_eq!(lab_request(&mut wire, "JOURNAL.COUNT", r#"{"client":"one"}"#)["count"], 0);
    assert_eq!(lab_request(&mut wire, "JOURNAL.LIST", r#"{"verb":"PING"}"#)["error"]["code"], 400);
    lab_request(&mut wire, "STATE.RESET", r#"{"keep":["journal"]}"#);
    assert_ne!(lab_request(&mut wire, "JOURNAL.COUNT", r#"{"subject":"x"}"#)["count"], 0);
    lab_request(&mut wire, "STATE.RESET", "");
    assert_eq!(lab_request(&mut wire, "JOURNAL.COUNT", r#"{"subject":"x"}"#)["count"], 0);
}

#[test]
fn who_waits_is_answered_when_it_is_there() {
    let (_directory, server) = lab_server(None);
    let mut waits = Wire::client(&server);
    let mut other = Wire::client(&server);
    waits.send("SUB waited 9\r\n");
    let body = r#"{"subject":"orders.*","verb":"PUB","count":2,"timeout":"10m"}"#;
    waits.send(&format!("PUB $JETKV.LAB.JOURNAL.WAIT waited {}\r\n{body}\r\n", body.len()));
    // Answered behind the wait, since requests are taken one after the other, and while that still waits.
    assert_eq!(lab_request(&mut other, "TIME.GET", "").get("error"), None);
    other.send("PUB orders.1 0\r\n\r\nPUB other 0\r\n\r\nPUB orders.2 0\r\n\r\n");
    assert!(waits.line().starts_with("MSG waited 9 "));
    let answer: Value = serde_json::from_str(&waits.line()).unwrap();
    assert_eq!(answer["type"], "io.jetkv.lab.v1.journal_wait_response");
    assert_eq!(subjects(&answer), ["orders.1", "orders.2"]);
    let late = lab_request(&mut other, "JOURNAL.WAIT", r#"{"subject":"never","timeout":1000000}"#);
    assert_eq!(late["error"]["code"], 408);
    drop(other);
    let lab = server.lab().unwrap();
    let closed = lab.request("JOURNAL", "WAIT", &json!({"verb": "CLOSE", "timeout": "10m"})).unwrap();
    assert_eq!(closed["entries"][0]["payload"], "Client Closed");
    assert_eq!(lab.request("journal", "count", &json!({"user": 1})).unwrap_err().code, 400);
}

#[test]
fn a_wait_ends_with_the_server() {
    let (_directory, server) = lab_server(None);
    let lab = server.lab().unwrap();
    let waits = std::thread::spawn(move || {
        lab.request("JOURNAL", "WAIT", &json!({"subject": "never", "timeout": "10m"}))
    });
    server.shutdown();
    assert!(waits.join().unwrap().is_err());
}

#[test]
fn a_session_becomes_a_scenario() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client_with(&server, r#","name":"app""#);
    let config = r#"{"name":"S","subjects":["s.*"],"storage":"memory"}"#;
    ask(&mut wire, "$JS.API.STREAM.CREATE.S", "", config);
    ask(&mut wire, "s.a", "", "v");
    let lab = server.lab().unwrap();
    let recorded = lab.request("JOURNAL", "RECORD", &json!({})).unwrap();
    let text = recorded["scenario"].as_str().unwrap();
    let steps: Vec<_> = text.lines().filter(|line| line.contains(" request ")).collect();
    assert_eq!(steps.len(), 2, "{text}");
    assert!(steps[0].ends_with(&format!(" request $JS.API.STREAM.CREATE.S {config}")));
    assert!(steps[1].ends_with(" request s.a v"));
    assert!(text.lines().any(|line| line.starts_with("connect c") && line.contains(r#""name":"app""#)));
}
