//! How connections end, and what the end of one leaves to others. What a client sees was measured on nats-server v2.15.2.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Wire, options, pending_bytes, start};
use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::eventually;

const CONNECT: &str = "CONNECT {\"verbose\":false}\r\nPING\r\n";

/// What a client reads once it has sent `input` in one piece, and whether the connection ends with a reset.
fn ending(server: &Server, before: &[u8], input: &[u8]) -> (String, bool) {
    let mut socket = TcpStream::connect(server.client_address()).unwrap();
    let mut info = [0; 4096];
    assert!(socket.read(&mut info).unwrap() > 0);
    if !before.is_empty() {
        socket.write_all(before).unwrap();
        let mut answers = [0; 4096];
        assert!(socket.read(&mut answers).unwrap() > 0);
    }
    socket.write_all(input).unwrap();
    let mut read = Vec::new();
    let reset = match socket.read_to_end(&mut read) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    };
    (String::from_utf8_lossy(&read).into_owned(), reset)
}

#[test]
fn a_connection_with_unread_input_ends_with_a_reset() {
    let mut limited = options();
    limited.limits.max_payload_bytes = Some(1000);
    let server = start(limited);
    let publish = |size: usize| format!("PUB a {size}\r\n{}\r\n", "x".repeat(size));
    let many = format!("{CONNECT}{}", publish(900).repeat(200));
    let unknown = "-ERR 'Unknown Protocol Operation'\r\n";
    let too_large = "-ERR 'Maximum Payload Violation'\r\n";
    let too_long = "-ERR 'maximum control line exceeded'\r\n";
    for (case, before, input, text, reset) in [
        ("alone", CONNECT, "FOO\r\n".to_owned(), unknown, false),
        ("much behind it", CONNECT, format!("FOO\r\n{}", "PING\r\n".repeat(400)), unknown, true),
        ("more than a first read", CONNECT, publish(1001), too_large, true),
        ("reads have grown", many.as_str(), publish(1001), too_large, false),
        ("a long line", CONNECT, format!("SUB {} 1\r\n", "a".repeat(5000)), too_long, false),
    ] {
        let got = ending(&server, before.as_bytes(), input.as_bytes());
        assert_eq!(got, (text.to_owned(), reset), "{case}");
    }
}

#[test]
fn who_is_refused_with_unread_input_gets_a_reset() {
    let config = "listen: \"127.0.0.1:-1\"\nauthorization { user: a, password: b }";
    let server = Server::start(Options::from_config_text(config).unwrap()).unwrap();
    let connect = "CONNECT {\"user\":\"a\",\"pass\":\"x\",\"verbose\":false}\r\n";
    let refused = "-ERR 'Authorization Violation'\r\n".to_owned();
    let long = format!("{connect}{}", "SUB foo 1\r\n".repeat(200));
    assert_eq!(ending(&server, b"", long.as_bytes()), (refused.clone(), true));
    let short = format!("{connect}PING\r\n");
    assert_eq!(ending(&server, b"", short.as_bytes()), (refused, false));
}

#[test]
fn a_connection_that_lingers_takes_no_place() {
    let mut limited = options();
    limited.limits.max_connections = 2;
    limited.limits.write_deadline = Duration::from_secs(3600);
    let server = start(limited);
    let mut stuck = Wire::client(&server);
    stuck.send("SUB foo 1\r\nPING\r\n");
    stuck.expect("PONG\r\n");
    let mut publisher = Wire::client(&server);
    let value = "v".repeat(1 << 20);
    for _ in 0..24 {
        publisher.send(&format!("PUB foo {}\r\n{value}\r\n", value.len()));
    }
    publisher.send("PING\r\n");
    publisher.expect("PONG\r\n");
    // It does not read, so that much waits for it; the server has more to say and cannot.
    assert!(pending_bytes(&server) > 0);
    stuck.send("FOO\r\n");
    eventually("its place is free", || server.monitor().counts().connections == 1);
    Wire::client(&server);
    drop(stuck);
}

#[test]
fn connections_that_arrive_while_a_server_stops_do_not_keep_it() {
    let server = start(options());
    let address = server.client_address();
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    match TcpStream::connect(address) {
                        Ok(socket) => kept.push(socket),
                        Err(_) => std::thread::yield_now(),
                    }
                    // What the system has room for, and not more.
                    if kept.len() > 100 {
                        kept.clear();
                    }
                }
            })
        })
        .collect();
    eventually("many come", || server.monitor().counts().total_connections > 100);
    let began = Instant::now();
    server.shutdown();
    let took = began.elapsed();
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    // A connection that nobody closes is waited for, for five seconds.
    assert!(took < Duration::from_secs(4), "{took:?}");
}
