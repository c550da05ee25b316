//! Consumers wait for receivers that do not keep up, and only those do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, start, with_streams};
use jetkv::Server;
use tempfile::TempDir;

const MAX_PENDING_BYTES: i64 = 1 << 20;
const VALUE_BYTES: usize = 16 * 1024;
/// Far more than the server may hold for a connection, and than the buffers of a socket take.
const BACKLOG: usize = 2000;

fn server_with_stream() -> (TempDir, Server, Wire) {
    let (directory, mut options) = with_streams();
    options.limits.max_pending_bytes = MAX_PENDING_BYTES;
    let server = start(options);
    let mut wire = Wire::client(&server);
    request(&mut wire, "STREAM.CREATE.S", r#"{"name":"S","subjects":["s.*"],"storage":"memory"}"#);
    (directory, server, wire)
}

fn request(wire: &mut Wire, what: &str, body: &str) {
    wire.send(&format!("SUB r 9\r\nPUB $JS.API.{what} r {}\r\n{body}\r\nUNSUB 9 1\r\n", body.len()));
    assert!(wire.line().starts_with("MSG r 9 "));
    let answer = wire.line();
    assert!(!answer.contains("\"error\""), "{answer}");
}

/// A push consumer of everything, without flow control and acknowledgements, that delivers to `deliver`.
fn watch(wire: &mut Wire, deliver: &str, policy: &str) {
    let body = format!(
        r#"{{"stream_name":"S","config":{{"deliver_subject":"{deliver}","ack_policy":"none","deliver_policy":"{policy}"}}}}"#
    );
    request(wire, "CONSUMER.CREATE.S", &body);
}

/// A connection that listens on `deliver`.
fn listener(server: &Server, deliver: &str) -> Wire {
    let mut wire = Wire::client(server);
    wire.send(&format!("SUB {deliver} 1\r\nPING\r\n"));
    wire.expect("PONG\r\n");
    wire
}

fn store(wire: &mut Wire, count: usize) {
    let value = "v".repeat(VALUE_BYTES);
    for _ in 0..count {
        wire.send(&format!("PUB s.a {VALUE_BYTES}\r\n{value}\r\n"));
    }
    wire.send("PING\r\n");
    wire.expect("PONG\r\n");
}

/// Takes the next message off; says its sequence in the stream.
fn take(wire: &mut Wire) -> usize {
    let line = wire.line();
    let mut parts = line.split(' ');
    let seq = parts.nth(3).unwrap().split('.').nth(5).unwrap().parse().unwrap();
    let size: usize = parts.next().unwrap().parse().unwrap();
    wire.take(size + 2);
    seq
}

#[test]
fn a_backlog_larger_than_max_pending_arrives_whole_and_holds_up_nobody() {
    let (_directory, server, mut wire) = server_with_stream();
    store(&mut wire, BACKLOG);
    let mut slow = listener(&server, "slow");
    let mut prompt = listener(&server, "prompt");
    watch(&mut wire, "slow", "all");
    watch(&mut wire, "prompt", "all");
    // The one that reads gets everything while the other reads nothing.
    for seq in 1..=BACKLOG {
        assert_eq!(take(&mut prompt), seq);
    }
    store(&mut wire, 1);
    assert_eq!(take(&mut prompt), BACKLOG + 1, "a put reaches who reads");
    for seq in 1..=BACKLOG + 1 {
        assert_eq!(take(&mut slow), seq);
    }
    assert_eq!(server.monitor().counts().slow_consumers, 0);
}

#[test]
fn a_watcher_that_falls_behind_a_fast_publisher_catches_up() {
    let (_directory, server, mut wire) = server_with_stream();
    let mut slow = listener(&server, "slow");
    watch(&mut wire, "slow", "new");
    store(&mut wire, BACKLOG);
    for seq in 1..=BACKLOG {
        assert_eq!(take(&mut slow), seq);
    }
    assert_eq!(server.monitor().counts().slow_consumers, 0);
}

#[test]
fn many_watches_of_one_connection_share_its_room() {
    let (_directory, server, mut wire) = server_with_stream();
    store(&mut wire, BACKLOG / 20);
    let mut slow = listener(&server, "w");
    for number in 0..20 {
        slow.send(&format!("SUB w.{number} w{number}\r\n"));
    }
    slow.expect_nothing();
    for number in 0..20 {
        watch(&mut wire, &format!("w.{number}"), "all");
    }
    for _ in 0..BACKLOG / 20 * 20 {
        take(&mut slow);
    }
    assert_eq!(server.monitor().counts().slow_consumers, 0);
}

#[test]
fn a_consumer_goes_on_with_whoever_listens_after_the_one_that_was_full_is_gone() {
    let (_directory, server, mut wire) = server_with_stream();
    store(&mut wire, BACKLOG);
    let full = listener(&server, "d");
    let body = r#"{"stream_name":"S","config":{"durable_name":"D","deliver_subject":"d","ack_policy":"none","deliver_policy":"all"}}"#;
    request(&mut wire, "CONSUMER.DURABLE.CREATE.S.D", body);
    drop(full);
    jetkv_testing::eventually("the full one is gone", || server.monitor().counts().connections == 1);
    let mut next = Wire::client(&server);
    next.send("SUB d 1\r\n");
    let mut last = 0;
    while last < BACKLOG {
        let seq = take(&mut next);
        assert!(seq > last);
        last = seq;
    }
}
