//! What happens to receivers that do not keep up, and to those who publish to them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Wire, closed_for, options, start};
use jetkv::Server;
use jetkv::options::{LimitOptions, WriteTimeout};
use jetkv_testing::eventually;

/// More than the buffers of a socket take.
const LARGE_BYTES: usize = 16 << 20;
const MESSAGE_BYTES: usize = 64 << 10;

fn server(limits: LimitOptions) -> Server {
    let mut options = options();
    options.limits = limits;
    start(options)
}

/// Limits under which nobody is cut because a test is slow to read.
fn patient() -> LimitOptions {
    options().limits
}

fn listener(server: &Server) -> Wire {
    let mut wire = Wire::client(server);
    wire.send("SUB foo 1\r\nPING\r\n");
    wire.expect("PONG\r\n");
    wire
}

/// Publishes messages until as many bytes are sent.
fn flood(wire: &mut Wire, bytes: usize) {
    let value = "v".repeat(MESSAGE_BYTES);
    for _ in 0..bytes / MESSAGE_BYTES {
        wire.send(&format!("PUB foo {MESSAGE_BYTES}\r\n{value}\r\n"));
    }
    wire.send("PING\r\n");
    while wire.line() != "PONG" {}
}

/// Limits under which a write to a receiver that does not read is soon late.
fn impatient(write_timeout: WriteTimeout) -> LimitOptions {
    LimitOptions {
        write_timeout,
        write_deadline: Duration::from_secs(2),
        max_payload_bytes: Some(LARGE_BYTES),
        ..LimitOptions::default()
    }
}

#[test]
fn a_producer_waits_for_a_receiver_that_fills_up() {
    let server = server(LimitOptions { max_pending_bytes: 8 << 20, ..patient() });
    let _slow = listener(&server);
    flood(&mut Wire::client(&server), 32 << 20);
    assert!(server.monitor().counts().stalls > 0);
    // Waiting does not last for ever: in the end the receiver is cut.
    assert_eq!(server.monitor().counts().slow_consumers, 1);
}

#[test]
fn without_stalls_a_receiver_that_fills_up_loses_messages_and_stays() {
    let limits = LimitOptions { max_pending_bytes: 8 << 20, no_fast_producer_stall: true, ..patient() };
    let server = server(limits);
    let mut slow = listener(&server);
    flood(&mut Wire::client(&server), 32 << 20);
    let counts = server.monitor().counts();
    assert_eq!((counts.stalls, counts.slow_consumers), (0, 0));
    // What was not dropped arrives, and then whatever follows.
    let mut publisher = Wire::client(&server);
    let mut received = 0;
    loop {
        let line = slow.line();
        let size_bytes: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
        slow.take(size_bytes + 2);
        if size_bytes == 3 {
            break;
        }
        received += size_bytes;
        // Once there is room again nothing is dropped.
        if received == 4 << 20 {
            publisher.send("PUB foo 3\r\nend\r\n");
        }
    }
    assert!((4 << 20..32 << 20).contains(&received), "{received}");
}

#[test]
fn a_receiver_whose_write_is_late_is_cut() {
    for write_timeout in [WriteTimeout::Default, WriteTimeout::Close] {
        let server = server(impatient(write_timeout));
        let _slow = listener(&server);
        let value = "v".repeat(LARGE_BYTES);
        Wire::client(&server).send(&format!("PUB foo {LARGE_BYTES}\r\n{value}\r\n"));
        closed_for(&server, "Slow Consumer (Write Deadline)");
        assert_eq!(server.monitor().counts().slow_consumers, 1);
    }
}

#[test]
fn a_late_write_is_tried_again_as_long_as_it_gets_on() {
    let server = server(impatient(WriteTimeout::Retry));
    let mut slow = listener(&server);
    let value = "v".repeat(LARGE_BYTES);
    let mut publisher = Wire::client(&server);
    publisher.send(&format!("PUB foo {LARGE_BYTES}\r\n{value}\r\nPING\r\n"));
    eventually("the write is late", || server.monitor().counts().slow_consumers == 1);
    assert_eq!(slow.line(), format!("MSG foo 1 {LARGE_BYTES}"));
    slow.take(LARGE_BYTES + 2);
    // One that takes nothing at all from one deadline to the next is cut all the same.
    let stuck = listener(&server);
    publisher.send(&format!("PUB foo {LARGE_BYTES}\r\n{value}\r\n"));
    drop(slow);
    closed_for(&server, "Slow Consumer (Write Deadline)");
    drop(stuck);
}

#[test]
fn receivers_that_do_not_read_cost_one_that_does_nothing() {
    const STUCK: usize = 40;
    const BYTES: usize = 24 << 20;
    // Less than the healthy one has room for: what is asked is what the others do to it, not how soon a test reads.
    const PIECE_BYTES: usize = 512 << 10;
    let server = server(LimitOptions { max_pending_bytes: 1 << 20, ..patient() });
    let mut stuck: Vec<_> = (0..STUCK / 2).map(|_| listener(&server)).collect();
    let mut healthy = listener(&server);
    stuck.extend((0..STUCK / 2).map(|_| listener(&server)));
    let mut publisher = Wire::client(&server);
    for _ in 0..BYTES / PIECE_BYTES {
        flood(&mut publisher, PIECE_BYTES);
        for _ in 0..PIECE_BYTES / MESSAGE_BYTES {
            assert_eq!(healthy.line(), format!("MSG foo 1 {MESSAGE_BYTES}"));
            healthy.take(MESSAGE_BYTES + 2);
        }
    }
    eventually("those that do not read are cut", || server.monitor().counts().slow_consumers == STUCK as u64);
}
