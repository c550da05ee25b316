//! Several operations in one packet: all are taken in before any consumer delivers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, start, with_streams};
use jetkv::Server;
use tempfile::TempDir;

struct Setup {
    _directory: TempDir,
    _server: Server,
    wire: Wire,
}

/// A server with the stream `S`, a consumer `C` with these fields, and `count` messages; what is asked for next comes on
/// a connection that has said all that.
fn setup(fields: &str, count: usize) -> Setup {
    let (directory, options) = with_streams();
    let server = start(options);
    let mut wire = Wire::client(&server);
    wire.send("SUB r 9\r\n");
    let stream = r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#;
    ask(&mut wire, "STREAM.CREATE.S", stream);
    let consumer = format!(
        r#"{{"stream_name":"S","config":{{"name":"C","durable_name":"C","ack_policy":"explicit"{fields}}}}}"#
    );
    ask(&mut wire, "CONSUMER.CREATE.S.C", &consumer);
    for _ in 0..count {
        wire.send("PUB s.1 r 1\r\nx\r\n");
        assert!(wire.line().starts_with("MSG r 9 "));
        wire.line();
    }
    Setup { _directory: directory, _server: server, wire }
}

/// A request of the API; gives the answer.
fn ask(wire: &mut Wire, subject: &str, body: &str) -> String {
    wire.send(&format!("PUB $JS.API.{subject} r {}\r\n{body}\r\n", body.len()));
    let line = wire.line();
    assert!(line.starts_with("MSG r 9 "), "{line}");
    let answer = wire.line();
    assert!(!answer.contains("\"error\""), "{answer}");
    answer
}

fn pull(inbox: &str, body: &str) -> String {
    format!("PUB $JS.API.CONSUMER.MSG.NEXT.S.C {inbox} {}\r\n{body}\r\n", body.len())
}

/// The sids of all messages and the statuses that came. The answer to the first PING may leave ahead of what came with
/// it in one read; what that read brought has left when a second one is answered.
fn received(wire: &mut Wire) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..2 {
        wire.send("PING\r\n");
        loop {
            let line = wire.line();
            if line == "PONG" {
                break;
            }
            let words: Vec<&str> = line.split(' ').collect();
            let size: usize = words.last().unwrap().parse().unwrap();
            let body = String::from_utf8(wire.take(size + 2)).unwrap();
            let status = body.strip_prefix("NATS/1.0 ").and_then(|rest| rest.lines().next());
            let sid = words[2];
            seen.push(status.map_or_else(|| sid.to_owned(), |status| format!("{sid} {status}")));
        }
    }
    seen
}

#[test]
fn pulls_are_served_in_turn() {
    let mut setup = setup("", 5);
    let body = r#"{"batch":2,"expires":60000000000}"#;
    setup.wire.send(&format!("SUB p1 1\r\nSUB p2 2\r\n{}{}", pull("p1", body), pull("p2", body)));
    assert_eq!(received(&mut setup.wire), ["1", "2", "1", "2"]);
}

#[test]
fn a_pull_ahead_of_the_subscription_of_its_inbox_is_served() {
    let mut setup = setup("", 1);
    setup.wire.send(&format!("{}SUB p1 1\r\n", pull("p1", "1")));
    assert_eq!(received(&mut setup.wire), ["1"]);
}

#[test]
fn a_pull_too_many_is_refused() {
    let mut setup = setup(r#","max_waiting":2"#, 5);
    let body = r#"{"batch":1,"expires":60000000000}"#;
    let pulls: String = ["p.1", "p.2", "p.3"].map(|inbox| pull(inbox, body)).concat();
    setup.wire.send(&format!("SUB p.1 1\r\nSUB p.2 2\r\nSUB p.3 3\r\n{pulls}"));
    assert_eq!(received(&mut setup.wire), ["3 409 Exceeded MaxWaiting", "1", "2"]);
}

#[test]
fn a_pull_whose_requester_leaves_gets_nothing() {
    let mut setup = setup("", 3);
    let body = r#"{"batch":3,"expires":60000000000}"#;
    setup.wire.send(&format!("SUB p1 1\r\n{}UNSUB 1\r\n", pull("p1", body)));
    assert!(received(&mut setup.wire).is_empty());
    let info = ask(&mut setup.wire, "CONSUMER.INFO.S.C", "");
    assert!(info.contains(r#""num_ack_pending":0"#) && info.contains(r#""num_pending":3"#), "{info}");
}

#[test]
fn a_subscription_gets_no_more_than_it_asks_for_in_the_same_packet() {
    let mut setup = setup(r#","deliver_subject":"d""#, 10);
    setup.wire.send("SUB d 2\r\nUNSUB 2 5\r\n");
    assert_eq!(received(&mut setup.wire), ["2"; 5]);
}

#[test]
fn a_subscription_that_is_taken_back_gets_nothing() {
    let mut setup = setup(r#","deliver_subject":"d""#, 10);
    setup.wire.send("SUB d 2\r\nSUB d 3\r\nUNSUB 2\r\nUNSUB 3 4\r\n");
    assert_eq!(received(&mut setup.wire), ["3"; 4]);
}

#[test]
fn the_answer_to_a_ping_does_not_wait_for_the_backlog() {
    let mut setup = setup(r#","deliver_subject":"d""#, 3);
    setup.wire.send("SUB d 2\r\nPING\r\n");
    assert_eq!(setup.wire.line(), "PONG");
    assert_eq!(received(&mut setup.wire), ["2"; 3]);
}

#[test]
fn the_members_of_a_queue_group_share_the_backlog() {
    let mut setup = setup(r#","deliver_subject":"d","deliver_group":"g""#, 64);
    setup.wire.send("SUB d g 2\r\nSUB d g 3\r\n");
    let seen = received(&mut setup.wire);
    assert_eq!(seen.len(), 64);
    // That one of the two gets all by chance happens once in 2^63.
    assert!(seen.iter().any(|sid| sid == "2") && seen.iter().any(|sid| sid == "3"), "{seen:?}");
}

#[test]
fn acknowledgements_and_a_pull_behind_them_are_taken_in_together() {
    let mut setup = setup(r#","max_ack_pending":2"#, 4);
    let body = r#"{"batch":2,"expires":60000000000}"#;
    setup.wire.send(&format!("SUB p1 1\r\nSUB p2 2\r\n{}", pull("p1", body)));
    let mut acks = String::new();
    for _ in 0..2 {
        let line = setup.wire.line();
        acks.push_str(&format!("PUB {} 0\r\n\r\n", line.split(' ').nth(3).unwrap()));
        setup.wire.line();
    }
    setup.wire.send(&format!("{acks}{}UNSUB 1\r\n", pull("p2", body)));
    assert_eq!(received(&mut setup.wire), ["2", "2"]);
}

#[test]
fn a_request_of_the_api_between_two_pulls_changes_nothing() {
    let mut setup = setup("", 4);
    let body = r#"{"batch":2,"expires":60000000000}"#;
    let info = "PUB $JS.API.CONSUMER.INFO.S.C nobody 0\r\n\r\n";
    setup.wire.send(&format!("SUB p1 1\r\nSUB p2 2\r\n{}{info}{}", pull("p1", body), pull("p2", body)));
    assert_eq!(received(&mut setup.wire), ["1", "2", "1", "2"]);
}
