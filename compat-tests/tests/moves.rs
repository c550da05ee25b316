//! What moves on the pages, in the answers and in the events of nats-server moves on those of JetKV, and nothing else does,
//! while both take the same steps. What is meant to differ stands in `src/moves/meant.rs`; to see a run by itself:
//! `cargo run -p jetkv-compat-tests --bin compat -- moves`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use jetkv_compat_tests::moves::{self, steps::STEPS};
use jetkv_compat_tests::oracle::Toolbox;
use jetkv_compat_tests::process::{Program, Server, ServerOptions, Signal};
use jetkv_compat_tests::request::Requester;
use jetkv_compat_tests::wire::{Connection, Frame};

/// So many fields are looked at, at least: a page that shows nothing would move like any other.
const FIELDS_MIN: usize = 4_000;
const INFO_WAIT: Duration = Duration::from_secs(60);

#[test]
fn what_moves_on_one_server_moves_on_the_other() {
    // Reported as skipped by the toolbox; with CI=true it is an error.
    let Some((reference, candidate)) = Toolbox::default().servers().unwrap() else { return };
    let summary = moves::run(&reference, &candidate, STEPS).unwrap();
    println!("{summary}");
    assert!(summary.differences.is_empty() && summary.unseen.is_empty(), "{summary}");
    assert!(summary.fields >= FIELDS_MIN, "{summary}");
}

/// Requests to the API, each with its payload. What they answer is compared elsewhere.
const REQUESTS: [(&str, &str); 16] = [
    ("INFO", ""),
    ("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"]}"#),
    ("STREAM.CREATE.D", r#"{"name":"D","subjects":["a","b","c.*"],"storage":"memory","allow_direct":true}"#),
    ("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"]}"#),
    (
        "CONSUMER.CREATE.S.P",
        r#"{"stream_name":"S","config":{"name":"P","durable_name":"P","ack_policy":"explicit"}}"#,
    ),
    (
        "CONSUMER.CREATE.S",
        r#"{"stream_name":"S","config":{"ack_policy":"none","deliver_subject":"d","inactive_threshold":3600000000000}}"#,
    ),
    (
        "CONSUMER.CREATE.D.M",
        r#"{"stream_name":"D","config":{"name":"M","mem_storage":true,"inactive_threshold":3600000000000}}"#,
    ),
    (
        "CONSUMER.CREATE.S.P",
        r#"{"stream_name":"S","config":{"name":"P","durable_name":"P","ack_policy":"explicit"}}"#,
    ),
    (
        "CONSUMER.CREATE.S.P",
        r#"{"stream_name":"S","config":{"name":"P","durable_name":"P","ack_policy":"explicit","description":"x"}}"#,
    ),
    ("STREAM.UPDATE.S", r#"{"name":"S","subjects":["s.>","t"]}"#),
    ("STREAM.CREATE.BAD", r#"{"name":"BAD","subjects":["s.x"]}"#),
    (
        "CONSUMER.CREATE.S.BAD",
        r#"{"stream_name":"S","config":{"name":"BAD","ack_policy":"all","max_waiting":-5}}"#,
    ),
    ("CONSUMER.DELETE.S.P", ""),
    ("STREAM.PURGE.S", ""),
    ("STREAM.DELETE.D", ""),
    ("STREAM.CREATE.D", r#"{"name":"D","subjects":["a"]}"#),
];

/// The number that a new connection gets.
fn next_number(server: &Server) -> u64 {
    let mut connection = Connection::open(server.port("nats").unwrap()).unwrap();
    let Some(Frame::Info(info)) = connection.next(INFO_WAIT) else {
        unreachable!("INFO is what comes first")
    };
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    info.get("client_id").and_then(serde_json::Value::as_u64).unwrap()
}

/// The numbers that connections get from the start on, after each request, and after another start on the same store.
fn numbers(program: &Program) -> Vec<(&'static str, u64)> {
    let options = ServerOptions { flags: vec!["-js".to_string()], ..ServerOptions::default() };
    let mut server = Server::start(program, &options).unwrap();
    let mut numbers = vec![("the start", next_number(&server))];
    let mut client = Requester::open(&server).unwrap();
    for (request, body) in REQUESTS {
        client.ask(&format!("$JS.API.{request}"), "", body.as_bytes()).unwrap().unwrap();
        numbers.push((request, next_number(&server)));
    }
    server.stop(Signal::TERM).unwrap();
    server.launch().unwrap();
    numbers.push(("another start", next_number(&server)));
    numbers
}

#[test]
fn connections_are_numbered_alike() {
    let Some((reference, candidate)) = Toolbox::default().servers().unwrap() else { return };
    assert_eq!(numbers(&reference), numbers(&candidate));
}
