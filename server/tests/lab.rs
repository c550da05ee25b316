//! The test lab, by each way in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, Instant};

use common::lab::{api, ask, lab_request as lab, lab_server};
use common::{Wire, options, start};
use jetkv_testing::http;
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

fn messages(wire: &mut Wire, stream: &str) -> Value {
    api(wire, &format!("STREAM.INFO.{stream}"), "")["state"]["messages"].clone()
}

#[test]
fn an_hour_passes_at_once_and_what_is_due_happens() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    let config =
        r#"{"name":"S","subjects":["s.*"],"allow_msg_ttl":true,"storage":"memory","max_age":86400000000000}"#;
    api(&mut wire, "STREAM.CREATE.S", config);
    let (stored, _) = ask(&mut wire, "s.ttl", "Nats-TTL: 10s", "v");
    assert_eq!(stored["seq"], 1);
    ask(&mut wire, "s.kept", "", "v");
    let next = lab(&mut wire, "TIME.NEXT", "");
    assert_eq!(
        (&next["what"], &next["stream"], &next["account"]),
        (&json!("ttl"), &json!("S"), &json!("$G"))
    );
    let moved = lab(&mut wire, "TIME.ADVANCE", r#"{"by":"1h"}"#);
    assert_eq!(moved["type"], "io.jetkv.lab.v1.time_advance_response");
    assert_eq!(messages(&mut wire, "S"), 1);
    assert_eq!(lab(&mut wire, "TIME.NEXT", r#"{"stream":"S"}"#)["what"], "max_age");
    lab(&mut wire, "TIME.ADVANCE", r#"{"to":"next"}"#);
    assert_eq!(messages(&mut wire, "S"), 0);
    assert!(server.lab().unwrap().time().offset_ns >= 86_000_000_000_000);
}

#[test]
fn what_an_advance_delivers_has_left_before_its_answer() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    api(&mut wire, "STREAM.CREATE.S", r#"{"name":"S","subjects":["s.*"],"storage":"memory"}"#);
    wire.send("SUB deliver 1\r\n");
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","deliver_subject":"deliver","ack_policy":"explicit","ack_wait":30000000000,"max_deliver":3}}"#;
    api(&mut wire, "CONSUMER.CREATE.S.C", consumer);
    wire.send("PUB s.a 1\r\nv\r\n");
    assert!(wire.line().contains("$JS.ACK.S.C.1.1.1."));
    wire.line();
    let (moved, delivered) = ask(&mut wire, "$JETKV.LAB.TIME.ADVANCE", "", r#"{"by":"1h"}"#);
    let tries: Vec<bool> = delivered.iter().map(|line| line.contains("$JS.ACK.S.C.")).collect();
    assert_eq!(tries, [true, true], "two redeliveries, in order: {delivered:?}");
    assert!(delivered[0].contains(".C.2.1.2.") && delivered[1].contains(".C.3.1.3."));
    assert!(moved["fired"].as_u64().unwrap() >= 2);
}

#[test]
fn a_frozen_clock_stands_still_until_it_is_resumed() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    let frozen = lab(&mut wire, "TIME.FREEZE", "");
    assert_eq!(frozen["frozen"], true);
    assert_eq!(lab(&mut wire, "TIME.GET", "")["now"], frozen["now"]);
    let control = server.lab().unwrap();
    let before = control.time().now;
    assert_eq!(control.advance(HOUR).now, before.plus(3_600_000_000_000));
    assert_eq!(control.time().now, before.plus(3_600_000_000_000));
    assert!(!control.resume().frozen);
    assert_eq!(lab(&mut wire, "STATE.RESET", r#"{"keep":["clock"]}"#)["streams"], 0);
    assert!(control.time().offset_ns > 3_000_000_000_000);
    control.reset().unwrap();
    assert_eq!(control.time().offset_ns, 0);
}

#[test]
fn a_heartbeat_of_a_millisecond_does_not_hold_up_a_year() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    api(&mut wire, "STREAM.CREATE.S", r#"{"name":"S","subjects":["s.*"],"storage":"memory"}"#);
    wire.send("SUB deliver 1\r\n");
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","deliver_subject":"deliver","idle_heartbeat":100000000}}"#;
    api(&mut wire, "CONSUMER.CREATE.S.C", consumer);
    let before = server.lab().unwrap().time().now;
    let (moved, _) = ask(&mut wire, "$JETKV.LAB.TIME.ADVANCE", "", r#"{"by":"8760h"}"#);
    assert!(moved["fired"].as_u64().unwrap() <= 10_000);
    assert!(server.lab().unwrap().time().now >= before.plus(8760 * 3_600_000_000_000));
}

#[test]
fn a_reset_takes_streams_and_leaves_connections() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    wire.send("SUB kept 1\r\n");
    for stream in ["A", "B"] {
        api(&mut wire, &format!("STREAM.CREATE.{stream}"), &format!(r#"{{"name":"{stream}"}}"#));
    }
    api(
        &mut wire,
        "CONSUMER.CREATE.A.C",
        r#"{"stream_name":"A","config":{"durable_name":"C","ack_policy":"explicit"}}"#,
    );
    let reset = lab(&mut wire, "STATE.RESET", r#"{"account":"$G"}"#);
    assert_eq!((&reset["streams"], &reset["consumers"]), (&json!(2), &json!(1)));
    assert_eq!(api(&mut wire, "STREAM.NAMES", "")["total"], 0);
    wire.send("PUB kept 1\r\nv\r\n");
    assert_eq!(wire.line(), "MSG kept 1 1");
    wire.line();
    assert_eq!(lab(&mut wire, "STATE.RESET", r#"{"account":"none"}"#)["error"]["code"], 404);
}

#[test]
fn who_does_not_show_the_token_is_refused() {
    let (_directory, server) = lab_server(Some("secret"));
    let mut wire = Wire::client(&server);
    assert_eq!(lab(&mut wire, "TIME.GET", "")["error"]["code"], 401);
    for shown in ["Authorization: secret", "Authorization: Bearer secre", "Authorization: Bearer secrets"] {
        assert_eq!(ask(&mut wire, "$JETKV.LAB.TIME.GET", shown, "").0["error"]["code"], 401, "{shown}");
    }
    let shown = "Authorization: Bearer secret";
    assert_eq!(ask(&mut wire, "$JETKV.LAB.TIME.GET", shown, "").0.get("error"), None);
}

#[test]
fn an_acknowledgement_is_lost_and_the_message_is_not() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    api(&mut wire, "STREAM.CREATE.S", r#"{"name":"S","subjects":["s.*"],"storage":"memory"}"#);
    let rule = r#"{"kind":"ack_lost","where":{"subject":"s.a"},"times":1}"#;
    assert_eq!(lab(&mut wire, "FAULT.ADD", rule)["id"], 1);
    wire.send("SUB acks 2\r\nPUB s.a acks 1\r\n1\r\nPUB s.a acks 1\r\n2\r\n");
    assert!(wire.line().starts_with("MSG acks 2 "));
    assert!(wire.line().contains(r#""seq":2"#), "the first was stored, and its answer lost");
    let listed = lab(&mut wire, "FAULT.LIST", "");
    assert_eq!((&listed["faults"][0]["hits"], &listed["faults"][0]["kind"]), (&json!(1), &json!("ack_lost")));
    assert_eq!(lab(&mut wire, "FAULT.CLEAR", r#"{"id":7}"#)["error"]["code"], 404);
    assert_eq!(lab(&mut wire, "FAULT.CLEAR", r#"{"id":1}"#)["removed"], 1);
}

#[test]
fn every_way_in_lists_a_rule_with_all_that_it_was_given() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    let control = server.lab().unwrap();
    let rule = json!({"kind": "ack_delay", "by": "1h", "jitter": "1m", "probability": 0.5, "seed": 7});
    assert_eq!(control.fault(&rule), Ok(1));
    let expected = json!([{"id": 1, "kind": "ack_delay", "where": {}, "probability": 0.5, "seed": 7,
        "by": "1h0m0s", "jitter": "1m0s", "hits": 0}]);
    assert_eq!(json!(control.faults()), expected);
    assert_eq!(lab(&mut wire, "FAULT.LIST", "")["faults"], expected);
    let answer = http::get(server.serve_monitoring().unwrap().unwrap(), "/lab/v1/fault/list").unwrap();
    let listed: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &listed["faults"]), (200, &expected));
}

#[test]
fn a_request_fails_as_often_as_it_is_told_to() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    let rule = json!({"kind": "api_error", "where": {"api": "STREAM.CREATE.*"}, "times": 2,
        "code": 503, "err_code": 10008, "description": "not now"});
    let control = server.lab().unwrap();
    control.fault(&rule).unwrap();
    for _ in 0..2 {
        let (answer, _) = ask(&mut wire, "$JS.API.STREAM.CREATE.S", "", r#"{"name":"S"}"#);
        let error = json!({"code": 503, "err_code": 10008, "description": "not now"});
        assert_eq!(answer["error"], error);
    }
    api(&mut wire, "STREAM.CREATE.S", r#"{"name":"S"}"#);
    assert!(control.fault(&json!({"kind": "flood"})).is_err());
}

#[test]
fn nobody_listens_and_connections_are_cut_by_name() {
    let (_directory, server) = lab_server(None);
    let mut other = Wire::client_with(&server, r#","name":"other""#);
    let mut wire = Wire::client_with(&server, r#","name":"one""#);
    let rule = r#"{"kind":"no_responders","where":{"subject":"svc.>","client":"one"}}"#;
    lab(&mut other, "FAULT.ADD", rule);
    lab(&mut other, "FAULT.ADD", r#"{"kind":"disconnect","where":{"client":"one","subject":"cut"}}"#);
    other.send("SUB svc.a 1\r\nPING\r\n");
    other.expect("PONG\r\n");
    wire.send("SUB r 1\r\nPUB svc.a r 0\r\n\r\n");
    wire.expect("HMSG r 1 37 37\r\nNATS/1.0 503\r\nNats-Subject: svc.a\r\n\r\n\r\n");
    wire.send("PUB cut 0\r\n\r\n");
    wire.expect_close();
    other.send("PUB svc.a r 0\r\n\r\n");
    other.expect("MSG svc.a 1 r 0\r\n\r\n");
    let reset = lab(&mut other, "STATE.RESET", "");
    assert_eq!(reset.get("error"), None);
    assert_eq!(lab(&mut other, "FAULT.LIST", "")["faults"], json!([]));
}

#[test]
fn the_same_by_http() {
    let (_directory, server) = lab_server(None);
    let address = server.serve_monitoring().unwrap().unwrap();
    let http = |head: &str, body: &str| {
        let answer = http::request(address, head, body).unwrap();
        (answer.status, answer.text())
    };
    let (status, body) = http("GET /lab/v1/time/get HTTP/1.1\r\n", "");
    let clock: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &clock["frozen"]), (200, &json!(false)));
    assert_eq!(http("POST /lab/v1/time/advance HTTP/1.1\r\n", r#"{"by":"1h"}"#).0, 200);
    assert!(server.lab().unwrap().time().offset_ns >= 3_600_000_000_000);
    assert_eq!(http("GET /lab/v1/time/advance HTTP/1.1\r\n", "").0, 405);
    assert_eq!(http("DELETE /lab/v1/state/reset HTTP/1.1\r\n", "").0, 405);
    assert_eq!(http("POST /lab/v1/time/travel HTTP/1.1\r\n", "").0, 404);
    assert_eq!(http("POST /lab/v1/time/advance HTTP/1.1\r\n", "{").0, 400);
    assert_eq!(http("POST /lab/v1/time/freeze HTTP/1.1\r\nOrigin: http://evil.example\r\n", "").0, 403);
    assert_eq!(http("POST /lab/v1/time/advance HTTP/1.1\r\n", &" ".repeat((1 << 20) + 1)).0, 413);
    assert!(!server.lab().unwrap().time().frozen);
}

#[test]
fn the_same_from_the_command_line() {
    let (_directory, server) = lab_server(Some("secret"));
    let run = |text: &str| {
        let text = format!("{text} --server {}", server.client_url());
        jetkv::lab::command::run(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    };
    let done = run("time advance by=2h --token secret");
    assert_eq!((done.exit_code, done.stderr.as_str()), (0, ""));
    assert!(done.stdout.contains(r#""type":"io.jetkv.lab.v1.time_advance_response""#));
    assert!(server.lab().unwrap().time().offset_ns >= 7_200_000_000_000);
    let refused = run("time get --token wrong");
    assert_eq!(refused.exit_code, 1);
    assert!(refused.stdout.contains(r#""code":401"#));
}

#[test]
fn a_server_without_a_lab_has_none_of_it() {
    let mut options = options();
    options.monitor.host = "127.0.0.1".to_owned();
    options.monitor.port = Some(0);
    let server = start(options);
    assert!(server.lab().is_none());
    let mut wire = Wire::client(&server);
    wire.send("SUB answer 9\r\nPUB $JETKV.LAB.TIME.GET answer 0\r\n\r\n");
    wire.expect("HMSG answer 9 51 51\r\nNATS/1.0 503\r\nNats-Subject: $JETKV.LAB.TIME.GET\r\n\r\n\r\n");
    let address = server.serve_monitoring().unwrap().unwrap();
    assert_eq!(http::get(address, "/lab/v1/time/get").unwrap().status, 404);
    let missing = jetkv::lab::command::run(&["time".into(), "get".into(), "-s".into(), server.client_url()]);
    assert!(missing.stderr.contains("no test lab"), "{}", missing.stderr);
}

#[test]
fn a_server_that_stops_does_not_wait_for_its_lab() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    lab(&mut wire, "TIME.FREEZE", "");
    let began = Instant::now();
    server.shutdown();
    assert!(began.elapsed() < Duration::from_secs(60));
    wire.expect_close();
}
