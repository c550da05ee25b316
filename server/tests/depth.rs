//! Subjects of very many tokens through the wire: no number of them ends the server, and none below the limits of
//! nats-server is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{Wire, options, start};
use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::eventually;

/// Tokens of a subject that fits into a request of 30 KB.
const TOKENS: usize = 15_000;
/// Tokens of a subject on a line of its own.
const LINE_TOKENS: usize = 200_000;

fn with_streams(store_dir: &Path) -> Options {
    let mut options = options();
    options.jetstream.enabled = true;
    options.jetstream.store_dir = Some(store_dir.to_owned());
    options
}

fn with_long_lines(mut options: Options) -> Options {
    options.limits.max_control_line_bytes = 4 << 20;
    options
}

/// `head`, and `token` so many times.
fn deep(head: &str, token: &str, count: usize) -> String {
    format!("{head}{}", format!(".{token}").repeat(count))
}

/// Makes a request and gives the answer.
fn request(wire: &mut Wire, subject: &str, payload: &str) -> String {
    wire.send(&format!("SUB r 9\r\nUNSUB 9 1\r\nPUB {subject} r {}\r\n{payload}\r\n", payload.len()));
    let head = wire.line();
    assert!(head.starts_with("MSG r 9 "), "{head}");
    wire.line()
}

/// Makes a request that has to succeed.
fn ask(wire: &mut Wire, subject: &str, payload: &str) -> String {
    let answer = request(wire, subject, payload);
    let begin: String = answer.chars().take(300).collect();
    assert!(!answer.contains("\"error\""), "{subject}: {begin}");
    answer
}

fn create_consumer(wire: &mut Wire, name: &str, config: &str) {
    let body = format!(r#"{{"stream_name":"S","config":{{"name":"{name}",{config}}}}}"#);
    ask(wire, &format!("$JS.API.CONSUMER.CREATE.S.{name}"), &body);
}

fn server_with_stream(store_dir: &Path) -> (Server, Wire) {
    let server = start(with_streams(store_dir));
    let mut wire = Wire::client(&server);
    ask(&mut wire, "$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["st.>"]}"#);
    (server, wire)
}

#[test]
fn a_consumer_whose_filter_is_deep_goes_by_itself_and_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, mut wire) = server_with_stream(directory.path());
    let filter = format!(r#""filter_subject":"{}""#, deep("st", "*", TOKENS));
    create_consumer(&mut wire, "a", &filter);
    ask(&mut wire, "$JS.API.CONSUMER.DELETE.S.a", "");
    create_consumer(&mut wire, "b", &format!(r#""inactive_threshold":1000000,{filter}"#));
    eventually("the consumer goes", || {
        request(&mut wire, "$JS.API.CONSUMER.INFO.S.b", "").contains("\"err_code\":10014")
    });
    wire.expect_nothing();
}

#[test]
fn a_durable_consumer_whose_filter_is_deep_lives_through_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (server, mut wire) = server_with_stream(directory.path());
    let filter = deep("st", "*", TOKENS);
    create_consumer(
        &mut wire,
        "d",
        &format!(r#""durable_name":"d","ack_policy":"explicit","filter_subject":"{filter}""#),
    );
    drop((wire, server));
    let server = start(with_long_lines(with_streams(directory.path())));
    let mut wire = Wire::client(&server);
    let ack = request(&mut wire, &deep("st", "x", TOKENS), "hello");
    assert!(ack.contains("\"seq\":1"), "{ack}");
    let info = ask(&mut wire, "$JS.API.CONSUMER.INFO.S.d", "");
    assert!(info.contains("\"num_pending\":1"), "{info}");
    wire.send("SUB m 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.d m 0\r\n\r\n");
    assert!(wire.line().starts_with("MSG st.x.x.x"));
    wire.expect("hello\r\n");
    ask(&mut wire, "$JS.API.CONSUMER.DELETE.S.d", "");
    wire.expect_nothing();
}

#[test]
fn streams_take_deep_subjects_and_send_to_deep_subjects() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(with_long_lines(with_streams(directory.path())));
    let (mut wire, mut receiver) = (Wire::client(&server), Wire::client(&server));
    let (taken, republished, delivered) =
        (deep("t", "*", TOKENS), deep("rp", "x", TOKENS), deep("to", "me", TOKENS));
    let config = format!(r#"{{"name":"T","subjects":["{taken}"],"republish":{{"src":">","dest":"rp.>"}}}}"#);
    ask(&mut wire, "$JS.API.STREAM.CREATE.T", &config);
    let config =
        format!(r#"{{"name":"R","subjects":["in"],"republish":{{"src":"in","dest":"{republished}"}}}}"#);
    ask(&mut wire, "$JS.API.STREAM.CREATE.R", &config);
    receiver.send(&format!("SUB {republished} 1\r\nSUB {delivered} 2\r\nSUB rp.t.> 3\r\nPING\r\n"));
    receiver.expect("PONG\r\n");
    let config = format!(r#"{{"stream_name":"R","config":{{"name":"p","deliver_subject":"{delivered}"}}}}"#);
    ask(&mut wire, "$JS.API.CONSUMER.CREATE.R.p", &config);

    let ack = request(&mut wire, "in", "1");
    assert!(ack.contains("\"seq\":1"), "{ack}");
    let mut heads = Vec::new();
    while heads.len() < 2 {
        let line = receiver.line();
        if line.starts_with("MSG ") || line.starts_with("HMSG ") {
            heads.push(line);
        }
    }
    heads.sort();
    assert!(heads.first().unwrap().starts_with(&format!("HMSG {republished} 1 ")));
    assert!(heads.last().unwrap().starts_with("MSG in 2 "));
    let literal = deep("t", "y", TOKENS);
    let ack = request(&mut wire, &literal, "2");
    assert!(ack.contains("\"seq\":1"), "{ack}");
    let republished = loop {
        let line = receiver.line();
        if line.starts_with("HMSG rp.t.") {
            break line;
        }
    };
    assert!(republished.starts_with(&format!("HMSG rp.{literal} 3 ")));
    ask(&mut wire, "$JS.API.STREAM.PURGE.T", &format!(r#"{{"filter":"{taken}"}}"#));
    for name in ["T", "R"] {
        ask(&mut wire, &format!("$JS.API.STREAM.DELETE.{name}"), "");
    }
    wire.expect_nothing();
}

#[test]
fn subscriptions_to_deep_subjects_come_match_and_go_with_their_connection() {
    let server = start(with_long_lines(options()));
    let subscriptions = || server.monitor().counts().subscriptions;
    let own = subscriptions();
    let (mut receiver, mut sender) = (Wire::client(&server), Wire::client(&server));
    let literal = deep("s", "x", LINE_TOKENS);
    let (any, rest) = (deep("s", "*", LINE_TOKENS), deep("s", "*", LINE_TOKENS - 1) + ".>");
    receiver.send(&format!("SUB {literal} 1\r\nSUB {any} 2\r\nSUB {rest} q 3\r\nSUB {any}.x 4\r\nPING\r\n"));
    receiver.expect("PONG\r\n");
    sender.send(&format!("PUB {literal} 2\r\nhi\r\nPING\r\n"));
    sender.expect("PONG\r\n");
    let mut reached: Vec<String> = (0..3)
        .map(|_| {
            let head = receiver.line();
            receiver.expect("hi\r\n");
            head.strip_prefix(&format!("MSG {literal} ")).unwrap().to_owned()
        })
        .collect();
    reached.sort();
    assert_eq!(reached, ["1 2", "2 2", "3 2"]);
    receiver.send("UNSUB 2\r\nPING\r\n");
    receiver.expect("PONG\r\n");
    assert_eq!(subscriptions(), own + 3);
    // What is left goes with the connection.
    drop(receiver);
    eventually("the subscriptions go", || subscriptions() == own);
    sender.expect_nothing();
}

#[test]
fn a_connect_and_a_system_request_may_be_as_deep_as_go_reads_them() {
    let server = start(with_long_lines(options()));
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let mut wire = Wire::connect(&server);
    wire.send(&format!("CONNECT {{\"verbose\":false,\"x\":{}}}\r\nPING\r\n", nested(9_999)));
    wire.expect("PONG\r\n");
    wire.send(&format!("CONNECT {{\"x\":{}}}\r\nPING\r\n", nested(10_000)));
    wire.expect_close();
}
