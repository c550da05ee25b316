//! Streams through the wire: what the server does around the stream engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Wire, pending_bytes, start, with_streams};
use jetkv::Server;
use jetkv::options::{AccountJetStreamTiers, AccountOptions, UserOptions};
use jetkv_jetstream::{ManualClock, WallNs};
use jetkv_testing::eventually;
use tempfile::TempDir;

/// Creates a stream in memory and takes the answer off.
fn create(wire: &mut Wire, name: &str, subjects: &str) {
    let config = format!(
        "{{\"name\":\"{name}\",\"subjects\":[{subjects}],\"storage\":\"memory\",\"allow_direct\":true,\"max_msgs_per_subject\":5}}"
    );
    wire.send(&format!(
        "SUB r 9\r\nPUB $JS.API.STREAM.CREATE.{name} r {}\r\n{config}\r\nUNSUB 9 1\r\n",
        config.len()
    ));
    assert!(wire.line().starts_with("MSG r 9 "));
    let answer = wire.line();
    assert!(answer.contains("\"did_create\":true"), "{answer}");
}

/// Publishes to `KV`, and awaits each acknowledgement before the next message.
fn publish_one_by_one(mut wire: Wire, number: usize, count: usize) {
    wire.send(&format!("SUB a.{number} 1\r\n"));
    for _ in 0..count {
        wire.send(&format!("PUB kv.{number} a.{number} 1\r\nx\r\n"));
        assert!(wire.line().starts_with("MSG a."));
        let ack = wire.line();
        assert!(ack.starts_with("{\"stream\":\"KV\",\"seq\":"), "{ack}");
    }
}

fn server_with_stream() -> (TempDir, Server, Wire) {
    let (directory, options) = with_streams();
    let server = start(options);
    let mut wire = Wire::client(&server);
    create(&mut wire, "KV", "\"kv.>\"");
    (directory, server, wire)
}

#[test]
fn publishes_are_acknowledged_in_order_and_a_get_behind_them_sees_them() {
    let (_directory, _server, mut wire) = server_with_stream();
    wire.send(
        "SUB a 1\r\nPUB kv.x a 1\r\n1\r\nPUB kv.x a 1\r\n2\r\nPUB $JS.API.DIRECT.GET.KV.kv.x a 0\r\n\r\n",
    );
    for seq in 1..=2 {
        assert!(wire.line().starts_with("MSG a 1 "));
        assert_eq!(wire.line(), format!("{{\"stream\":\"KV\",\"seq\":{seq}}}"));
    }
    let line = wire.line();
    let total: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(line.starts_with("HMSG a 1 "), "{line}");
    let body = wire.take(total + 2);
    assert!(body.ends_with(b"\r\n\r\n2\r\n"), "{}", body.escape_ascii());
}

#[test]
fn a_stream_counts_as_somebody_who_listens() {
    let (_directory, _server, mut wire) = server_with_stream();
    wire.send("SUB a 1\r\nPUB kv.x a 1\r\n1\r\n");
    assert!(wire.line().starts_with("MSG a 1 "));
    wire.line();
    wire.send("PUB other a 0\r\n\r\n");
    wire.expect("HMSG a 1 37 37\r\nNATS/1.0 503\r\nNats-Subject: other\r\n\r\n\r\n");
}

#[test]
fn what_a_consumer_delivers_to_the_subject_of_a_stream_enters_that_stream() {
    let (_directory, _server, mut wire) = server_with_stream();
    create(&mut wire, "COPY", "\"copy\"");
    let config = "{\"stream_name\":\"KV\",\"config\":{\"deliver_subject\":\"copy\",\"ack_policy\":\"none\",\"deliver_policy\":\"all\"}}";
    wire.send(&format!("SUB r 1\r\nPUB $JS.API.CONSUMER.CREATE.KV r {}\r\n{config}\r\n", config.len()));
    assert!(wire.line().starts_with("MSG r 1 "));
    let answer = wire.line();
    assert!(!answer.contains("\"error\""), "{answer}");
    wire.send("PUB kv.x 5\r\nhello\r\nPING\r\n");
    wire.expect("PONG\r\n");
    eventually("the message is in the other stream", || {
        wire.send("PUB $JS.API.STREAM.INFO.COPY r 0\r\n\r\n");
        assert!(wire.line().starts_with("MSG r 1 "));
        wire.line().contains("\"messages\":1,")
    });
}

#[test]
fn a_watcher_on_another_connection_gets_what_is_put() {
    let (_directory, server, mut wire) = server_with_stream();
    let mut watcher = Wire::client(&server);
    let config = "{\"stream_name\":\"KV\",\"config\":{\"deliver_subject\":\"w\",\"ack_policy\":\"none\",\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\"kv.>\"}}";
    watcher.send(&format!(
        "SUB w 1\r\nSUB r 2\r\nPUB $JS.API.CONSUMER.CREATE.KV r {}\r\n{config}\r\n",
        config.len()
    ));
    assert!(watcher.line().starts_with("MSG r 2 "));
    watcher.line();
    wire.send("PUB kv.a 1\r\n1\r\nPUB kv.b 1\r\n2\r\n");
    for (key, value) in [("kv.a", "1"), ("kv.b", "2")] {
        assert!(watcher.line().starts_with(&format!("MSG {key} 1 $JS.ACK.KV.")));
        assert_eq!(watcher.line(), value);
    }
}

#[test]
fn a_stream_captures_nothing_of_other_accounts() {
    let (_directory, mut options) = with_streams();
    let user = |name: &str| UserOptions {
        username: name.into(),
        password: name.into(),
        account: Some(name.to_uppercase()),
        permissions: None,
        allowed_connection_types: None,
        proxy_required: false,
    };
    options.accounts = ["A", "B"].map(AccountOptions::new).into();
    options.accounts[0].jetstream = Some(AccountJetStreamTiers::default());
    options.auth.users = vec![user("a"), user("b")];
    let server = start(options);
    let mut a = Wire::client_with(&server, ",\"user\":\"a\",\"pass\":\"a\"");
    create(&mut a, "KV", "\"kv.>\"");
    let mut b = Wire::client_with(&server, ",\"user\":\"b\",\"pass\":\"b\"");
    b.send("SUB r 1\r\nPUB kv.x r 0\r\n\r\n");
    b.expect("HMSG r 1 36 36\r\nNATS/1.0 503\r\nNats-Subject: kv.x\r\n\r\n\r\n");
}

#[test]
fn a_slow_watcher_is_fed_as_fast_as_it_reads_and_gets_everything() {
    const COUNT: usize = 4000;
    let (_directory, server, mut wire) = server_with_stream();
    let payload = "x".repeat(4000);
    for batch in 0..COUNT / 100 {
        let puts: String = (0..100)
            .map(|at| format!("PUB kv.k{} {}\r\n{payload}\r\n", batch * 100 + at, payload.len()))
            .collect();
        wire.send(&puts);
        wire.expect_nothing();
    }
    let mut watcher = Wire::client(&server);
    let config = "{\"stream_name\":\"KV\",\"config\":{\"deliver_subject\":\"w\",\"ack_policy\":\"none\",\"deliver_policy\":\"all\"}}";
    watcher.send(&format!("SUB w 1\r\nPUB $JS.API.CONSUMER.CREATE.KV none {}\r\n{config}\r\n", config.len()));
    // The socket takes some megabytes; what is beyond stays in the stream until the watcher reads.
    let pending = || pending_bytes(&server);
    eventually("the watcher is being fed", || pending() > 500_000);
    assert!(pending() < 4 << 20, "{}", pending());
    for at in 0..COUNT {
        let line = watcher.line();
        assert!(line.starts_with(&format!("MSG kv.k{at} 1 ")), "{at}: {line}");
        watcher.take(payload.len() + 2);
    }
    assert_eq!(server.monitor().counts().slow_consumers, 0);
}

#[test]
fn connections_that_share_commits_each_get_their_acknowledgements() {
    let (_directory, mut options) = with_streams();
    options.jetstream.sync_always = true;
    let server = start(options);
    let mut wire = Wire::client(&server);
    let config = r#"{"name":"KV","subjects":["kv.>"],"storage":"file"}"#;
    wire.send(&format!(
        "SUB r 9\r\nPUB $JS.API.STREAM.CREATE.KV r {}\r\n{config}\r\nUNSUB 9 1\r\n",
        config.len()
    ));
    assert!(wire.line().starts_with("MSG r 9 "));
    wire.line();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let wire = Wire::client(&server);
            scope.spawn(move || publish_one_by_one(wire, number, 20));
        }
    });
    wire.send("SUB a 1\r\nPUB kv.x a 1\r\n1\r\n");
    assert!(wire.line().starts_with("MSG a 1 "));
    assert_eq!(wire.line(), "{\"stream\":\"KV\",\"seq\":161}");
}

#[test]
fn what_several_connections_publish_is_acknowledged_while_others_keep_the_threads_busy() {
    let (_directory, server, _wire) = server_with_stream();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            let mut wire = Wire::client(&server);
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    wire.send("PUB core 1\r\nx\r\nPING\r\n");
                    wire.expect("PONG\r\n");
                }
            });
        }
        let publishers: Vec<_> = (0..8)
            .map(|number| {
                let wire = Wire::client(&server);
                scope.spawn(move || publish_one_by_one(wire, number, 50))
            })
            .collect();
        let results: Vec<_> = publishers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "every acknowledgement arrived");
    });
}

#[test]
fn a_clock_that_is_moved_wakes_the_timers_by_itself() {
    let (_directory, options) = with_streams();
    let clock = Arc::new(ManualClock::new(WallNs::from_ns(1_700_000_000_000_000_000)));
    let server = Server::start_with_clock(options, clock.clone()).unwrap();
    let mut wire = Wire::client(&server);
    create(&mut wire, "KV", "\"kv.>\"");
    let consumer = r#"{"stream_name":"KV","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    let pull = r#"{"expires":5000000000}"#;
    wire.send(&format!(
        "SUB c 1\r\nPUB $JS.API.CONSUMER.DURABLE.CREATE.KV.C c {}\r\n{consumer}\r\n",
        consumer.len()
    ));
    assert!(wire.line().starts_with("MSG c 1 "));
    assert!(wire.line().contains("\"name\":\"C\""));
    wire.send(&format!("SUB p 2\r\nPUB $JS.API.CONSUMER.MSG.NEXT.KV.C p {}\r\n{pull}\r\n", pull.len()));
    let mut waits = || {
        wire.send("PUB $JS.API.CONSUMER.INFO.KV.C c 0\r\n\r\n");
        assert!(wire.line().starts_with("MSG c 1 "));
        wire.line().contains("\"num_waiting\":1")
    };
    eventually("the request waits", &mut waits);
    // Set back, and long after: it is the time that passes which counts.
    clock.step_wall_ns(-3_600_000_000_000);
    clock.advance_elapsed_ns(5_000_000_000);
    assert!(wire.line().starts_with("HMSG p 2 "));
    assert_eq!(wire.line(), "NATS/1.0 408 Request Timeout");
}

#[test]
fn a_batch_of_direct_gets_brings_as_much_as_may_wait_for_a_connection_and_says_how_much_is_left() {
    const MESSAGE_BYTES: usize = 512 << 10;
    const FITTING: usize = 16;
    let (_directory, mut options) = with_streams();
    options.limits.max_pending_bytes = i64::try_from(FITTING * (MESSAGE_BYTES + "kv.x".len())).unwrap();
    let server = start(options);
    let mut wire = Wire::client(&server);
    wire.send("SUB r 9\r\n");
    let config = r#"{"name":"KV","subjects":["kv.>"],"storage":"memory","allow_direct":true}"#;
    wire.send(&format!("PUB $JS.API.STREAM.CREATE.KV r {}\r\n{config}\r\n", config.len()));
    (0..2).for_each(|_| drop(wire.line()));
    let payload = "x".repeat(MESSAGE_BYTES);
    for number in 0..FITTING + 2 {
        wire.send(&format!("PUB kv.{} r {MESSAGE_BYTES}\r\n{payload}\r\n", number % 10));
        (0..2).for_each(|_| drop(wire.line()));
    }
    wire.send("SUB d 1\r\n");
    for (request, left, end) in [
        (r#"{"seq":1,"batch":1000}"#, FITTING + 2, ""),
        (r#"{"multi_last":["kv.>"]}"#, 10, "\r\nNats-UpTo-Sequence: 18"),
    ] {
        wire.send(&format!("PUB $JS.API.DIRECT.GET.KV d {}\r\n{request}\r\n", request.len()));
        let count = left.min(FITTING);
        for _ in 0..count {
            let line = wire.line();
            let total: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(line.starts_with("HMSG d 1 ") && total > MESSAGE_BYTES, "{line}");
            wire.take(total + 2);
        }
        let pending = left - count;
        let last = if end.is_empty() { FITTING } else { FITTING + 2 };
        let status = format!(
            "NATS/1.0 204 EOB\r\nNats-Num-Pending: {pending}\r\nNats-Last-Sequence: {last}{end}\r\n\r\n"
        );
        wire.expect(&format!("HMSG d 1 {0} {0}\r\n{status}\r\n", status.len()));
    }
}
