//! The client protocol, byte by byte, as nats-server v2.15.2 was seen to speak it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, options, start};
use std::time::Duration;

#[test]
fn info_comes_first_and_again_after_the_first_ping() {
    let server = start(options());
    let mut wire = Wire::open(&server);
    let first: serde_json::Value = serde_json::from_str(wire.line().strip_prefix("INFO ").unwrap()).unwrap();
    assert_eq!(first["port"], server.client_address().port());
    assert_eq!(first["client_id"], 5);
    assert_eq!(first["client_ip"], "127.0.0.1");
    assert_eq!(first["max_payload"], 1_048_576);
    assert_eq!(first["proto"], 1);
    assert_eq!(first["headers"], true);
    assert!(first.get("auth_required").is_none() && first.get("jetstream").is_none());
    wire.send("CONNECT {\"verbose\":true,\"protocol\":1}\r\nPING\r\n");
    wire.expect("+OK\r\nPONG\r\n");
    let second: serde_json::Value = serde_json::from_str(wire.line().strip_prefix("INFO ").unwrap()).unwrap();
    assert_eq!(second["connect_info"], true);
    assert_eq!(second["remote_account"], "$G");
    wire.send("PING\r\n");
    wire.expect("PONG\r\n");
}

#[test]
fn verbose_answers_each_operation_and_a_sid_in_use_keeps_its_subscription() {
    let server = start(options());
    let mut wire = Wire::connect(&server);
    wire.send(
        "SUB foo.* 1\r\nSUB bar 1\r\nSUB foo..x 2\r\nPUB foo.a r 2\r\nhi\r\nPUB bar 0\r\n\r\nUNSUB 99\r\n",
    );
    wire.expect("+OK\r\n+OK\r\n-ERR 'Invalid Subject'\r\n+OK\r\nMSG foo.a 1 r 2\r\nhi\r\n+OK\r\n+OK\r\n");
}

#[test]
fn pedantic_complains_of_wildcards_in_a_publish() {
    let server = start(options());
    let mut wire = Wire::connect(&server);
    wire.send("CONNECT {\"verbose\":false,\"pedantic\":true}\r\nSUB foo.> 1\r\nPUB foo.* 2\r\nok\r\n");
    wire.expect("-ERR 'Invalid Publish Subject'\r\nMSG foo.* 1 2\r\nok\r\n");
}

#[test]
fn messages_go_to_every_matching_subscription_and_to_one_of_a_queue_group() {
    let server = start(options());
    let mut wire = Wire::client(&server);
    wire.send("SUB a.* 1\r\nSUB a.b 2\r\nSUB > 3\r\nSUB a.c 4\r\nSUB a.b q 5\r\nSUB a.* q 6\r\nPUB a.b 1\r\nx\r\nPING\r\n");
    let mut sids = Vec::new();
    loop {
        let line = wire.line();
        if line == "PONG" {
            break;
        }
        if let Some(rest) = line.strip_prefix("MSG a.b ") {
            sids.push(rest.split(' ').next().unwrap().to_owned());
        }
    }
    sids.sort();
    assert!(sids == ["1", "2", "3", "5"] || sids == ["1", "2", "3", "6"], "{sids:?}");
}

#[test]
fn a_client_without_echo_does_not_get_its_own_messages() {
    let server = start(options());
    let mut quiet = Wire::client_with(&server, ",\"echo\":false");
    let mut other = Wire::client(&server);
    other.send("SUB foo 1\r\nPING\r\n");
    other.expect("PONG\r\n");
    quiet.send("SUB foo 1\r\nPUB foo 1\r\na\r\n");
    quiet.expect_nothing();
    other.expect("MSG foo 1 1\r\na\r\n");
}

#[test]
fn a_request_that_nobody_gets_is_answered_with_a_status() {
    let server = start(options());
    let mut wire = Wire::client(&server);
    wire.send("SUB rep 3\r\nPUB nob rep 0\r\n\r\n");
    wire.expect("HMSG rep 3 35 35\r\nNATS/1.0 503\r\nNats-Subject: nob\r\n\r\n\r\n");
    wire.send("PUB $JS.API.INFO rep 0\r\n\r\n");
    wire.expect("HMSG rep 3 44 44\r\nNATS/1.0 503\r\nNats-Subject: $JS.API.INFO\r\n\r\n\r\n");
}

#[test]
fn reserved_reply_subjects_are_refused() {
    let server = start(options());
    let mut wire = Wire::client(&server);
    wire.send("PUB foo $JS.ACK.1 0\r\n\r\nPUB foo _R_.1 0\r\n\r\nPUB _GR_.a 0\r\n\r\n");
    wire.expect("-ERR 'Permissions Violation for Publish with Reply of \"$JS.ACK.1\"'\r\n");
    wire.expect("-ERR 'Permissions Violation for Publish with Reply of \"_R_.1\"'\r\n");
    wire.expect("-ERR 'Permissions Violation for Publish to \"_GR_.a\"'\r\n");
}

#[test]
fn a_subscription_ends_after_its_last_message() {
    let server = start(options());
    let mut wire = Wire::client(&server);
    let own = server.monitor().counts().subscriptions;
    wire.send("SUB foo 1\r\nUNSUB 1 2\r\nPUB foo 1\r\na\r\nPUB foo 1\r\nb\r\nPUB foo 1\r\nc\r\n");
    wire.expect("MSG foo 1 1\r\na\r\nMSG foo 1 1\r\nb\r\n");
    wire.expect_nothing();
    assert_eq!(server.monitor().counts().subscriptions, own);
    wire.send("SUB foo 1\r\nPUB foo 1\r\nd\r\nUNSUB 1 1\r\nPUB foo 1\r\ne\r\n");
    wire.expect("MSG foo 1 1\r\nd\r\n");
    wire.expect_nothing();
}

#[test]
fn headers_reach_those_who_take_them_and_only_the_payload_the_others() {
    let server = start(options());
    let mut plain = Wire::connect(&server);
    plain.send("CONNECT {\"verbose\":false}\r\nSUB foo 1\r\nPING\r\n");
    plain.expect("PONG\r\n");
    let mut wire = Wire::client(&server);
    wire.send("SUB foo 2\r\nHPUB foo 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    wire.expect("HMSG foo 2 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    plain.expect("MSG foo 1 2\r\nhi\r\n");
}

#[test]
fn bytes_that_are_not_the_protocol_close_the_connection() {
    let server = start(options());
    for (sent, answer) in [
        ("FOO\r\n", "-ERR 'Unknown Protocol Operation'\r\n"),
        ("PUB foo 9999999\r\n", "-ERR 'Maximum Payload Violation'\r\n"),
        ("CONNECT {\"protocol\":5}\r\n", "-ERR 'invalid client protocol'\r\n"),
        ("CONNECT {\"no_responders\":true}\r\n", "-ERR 'no responders requires headers support'\r\n"),
        ("CONNECT {\"user\":\r\n", ""),
        ("PUB foo\r\n", ""),
        ("HPUB foo 1 1\r\n", ""),
    ] {
        let mut wire = Wire::connect(&server);
        wire.send(sent);
        wire.expect_then_close(answer);
    }
    let mut wire = Wire::connect(&server);
    wire.send(&format!("SUB {} 1\r\n", "a".repeat(5000)));
    wire.expect_then_close("-ERR 'maximum control line exceeded'\r\n");
}

#[test]
fn operations_may_come_in_pieces_of_any_size() {
    let server = start(options());
    let mut wire = Wire::client(&server);
    let big = "x".repeat(300_000);
    let text = format!("SUB foo 1\r\nPUB foo {}\r\n{big}\r\nPUB foo r 2\r\nok\r\n", big.len());
    let mut rest = text.as_bytes();
    for size in [1, 2, 3, 5, 7, 11, 13, 64, 1000, 70_000].iter().cycle() {
        let (now, later) = rest.split_at((*size).min(rest.len()));
        wire.send_bytes(now);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    wire.expect(&format!("MSG foo 1 {}\r\n{big}\r\nMSG foo 1 r 2\r\nok\r\n", big.len()));
}

#[test]
fn limits_of_subscriptions_are_kept() {
    let mut limited = options();
    limited.limits.max_subscriptions = 1;
    limited.limits.max_subscription_tokens = 2;
    let server = start(limited);
    let mut wire = Wire::client(&server);
    wire.send("SUB a.b.c 1\r\nSUB a.b 2\r\nSUB a 3\r\n");
    wire.expect("-ERR 'Permissions Violation for Subscription to \"a.b.c\", too many tokens'\r\n");
    wire.expect("-ERR 'maximum subscriptions exceeded'\r\n");
}

#[test]
fn one_connection_too_many_is_told_and_closed() {
    let mut limited = options();
    limited.limits.max_connections = 1;
    let server = start(limited);
    let first = Wire::client(&server);
    let mut second = Wire::connect(&server);
    second.expect_then_close("-ERR 'maximum connections exceeded'\r\n");
    drop(first);
    jetkv_testing::eventually("the first connection is gone", || server.monitor().counts().connections == 0);
    Wire::client(&server);
}

#[test]
fn a_client_that_does_not_answer_is_stale() {
    let mut impatient = options();
    impatient.limits.ping_interval = Duration::from_millis(200);
    impatient.limits.ping_max = 2;
    let server = start(impatient);
    let mut wire = Wire::client(&server);
    wire.expect_then_close("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    jetkv_testing::eventually("it is counted", || server.monitor().counts().stale_connections == 1);
}

#[test]
fn a_client_that_does_not_read_is_cut_and_others_do_not_wait() {
    let mut limited = options();
    limited.limits.max_pending_bytes = 1 << 20;
    let server = start(limited);
    let mut slow = Wire::client(&server);
    slow.send("SUB foo 1\r\nPING\r\n");
    slow.expect("PONG\r\n");
    let mut quick = Wire::client(&server);
    quick.send("SUB bar 1\r\n");
    let payload = "x".repeat(100_000);
    let mut count = 0;
    while server.monitor().counts().slow_consumers == 0 {
        quick.send(&format!("PUB foo {}\r\n{payload}\r\nPUB bar 1\r\na\r\n", payload.len()));
        quick.expect("MSG bar 1 1\r\na\r\n");
        count += 1;
        assert!(count < 2000, "nobody was cut");
    }
    jetkv_testing::eventually("the slow one is gone", || server.monitor().counts().connections == 1);
    common::closed_for(&server, "Slow Consumer (Pending Bytes)");
}

#[test]
fn a_write_that_takes_too_long_cuts_the_connection() {
    let mut limited = options();
    limited.limits.write_deadline = Duration::from_millis(50);
    let server = start(limited);
    let mut slow = Wire::client(&server);
    slow.send("SUB foo 1\r\nPING\r\n");
    slow.expect("PONG\r\n");
    let mut quick = Wire::client(&server);
    let payload = "x".repeat(1_000_000);
    for _ in 0..20 {
        quick.send(&format!("PUB foo {}\r\n{payload}\r\n", payload.len()));
    }
    jetkv_testing::eventually("the slow one is gone", || server.monitor().counts().connections == 1);
    common::closed_for(&server, "Slow Consumer (Write Deadline)");
}
