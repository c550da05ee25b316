//! Connections that go to another thread whenever they wait for their clients: nothing is lost, doubled or out of order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, message, request, with_streams};
use jetkv::Server;
use jetkv::options::Options;
use tempfile::TempDir;

const CLIENTS: usize = 4;
const MESSAGES: usize = 600;
/// Messages that a client sends before it looks for answers, in turn.
const BURSTS: [usize; 5] = [1, 1, 7, 2, 40];

fn start(options: Options) -> Server {
    Server::start_restless(options).expect("the server starts")
}

/// A server with a stream on `s.>`.
fn with_stream() -> (TempDir, Server) {
    let (directory, options) = with_streams();
    let server = start(options);
    let mut wire = Wire::client(&server);
    let config = r#"{"name":"S","subjects":["s.>"],"allow_direct":true}"#;
    wire.send(&format!("SUB made 1\r\n{}", request("STREAM.CREATE.S", "made", config)));
    let (_, answer) = message(&mut wire);
    assert!(!answer.contains("\"error\""), "{answer}");
    (directory, server)
}

/// The numbers of all messages of a client, as it sends them.
fn bursts() -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut from = 0;
    BURSTS.into_iter().cycle().map_while(move |count| {
        let burst = from..(from + count).min(MESSAGES);
        from = burst.end;
        (!burst.is_empty()).then_some(burst)
    })
}

/// Takes the next message off, which has to be a number of this client.
fn number(wire: &mut Wire) -> (usize, usize) {
    let (subject, body) = message(wire);
    let client = subject.rsplit('.').next().unwrap().parse().unwrap();
    (client, body.trim_end().parse().unwrap())
}

#[test]
fn messages_of_clients_to_each_other_keep_their_order() {
    let server = start(common::options());
    let mut wires: Vec<Wire> = (0..CLIENTS).map(|_| Wire::client(&server)).collect();
    for wire in &mut wires {
        wire.send("SUB all.* 1\r\nPING\r\n");
        wire.expect("PONG\r\n");
    }
    std::thread::scope(|scope| {
        for (client, mut wire) in wires.into_iter().enumerate() {
            scope.spawn(move || {
                let mut next = [0; CLIENTS];
                let take = |wire: &mut Wire, next: &mut [usize; CLIENTS]| {
                    let (from, number) = number(wire);
                    assert_eq!(number, next[from], "of {from} to {client}");
                    next[from] += 1;
                };
                for burst in bursts() {
                    let own = burst.end;
                    let text: String =
                        burst.map(|number| format!("PUB all.{client} 4\r\n{number:04}\r\n")).collect();
                    wire.send(&text);
                    // Its own come back in the order in which it sent them, among those of others.
                    while next[client] < own {
                        take(&mut wire, &mut next);
                    }
                }
                while next.iter().any(|count| *count < MESSAGES) {
                    take(&mut wire, &mut next);
                }
                wire.expect_nothing();
            });
        }
    });
}

/// The position that an acknowledgement tells of.
fn acknowledged(answer: &str) -> u64 {
    let (_, rest) = answer.split_once("\"seq\":").unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn puts_gets_and_watches_of_clients_keep_their_order() {
    let (_directory, server) = with_stream();
    let mut watcher = Wire::client(&server);
    let consumer = r#"{"stream_name":"S","config":{"deliver_subject":"w","ack_policy":"none"}}"#;
    watcher.send(&format!("SUB made 1\r\n{}", request("CONSUMER.CREATE.S", "made", consumer)));
    let (_, answer) = message(&mut watcher);
    assert!(!answer.contains("\"error\""), "{answer}");
    watcher.send("SUB w 2\r\nPING\r\n");
    watcher.expect("PONG\r\n");
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut wire = Wire::client(&server);
            scope.spawn(move || {
                wire.send(&format!("SUB _INBOX.{client}.* 1\r\n"));
                let mut last = 0;
                for burst in bursts() {
                    let mut text = String::new();
                    for number in burst.clone() {
                        text.push_str(&format!(
                            "PUB s.{client} _INBOX.{client}.p{number} 4\r\n{number:04}\r\n"
                        ));
                    }
                    let newest = burst.end - 1;
                    text.push_str(&request(
                        &format!("DIRECT.GET.S.s.{client}"),
                        &format!("_INBOX.{client}.g"),
                        "",
                    ));
                    wire.send(&text);
                    let mut numbers = burst;
                    let mut is_got = false;
                    while !is_got || !numbers.is_empty() {
                        let (subject, answer) = message(&mut wire);
                        if subject == format!("_INBOX.{client}.g") {
                            // Acknowledgements may leave with what another thread commits, and behind it, but a get
                            // finds what was put before it.
                            assert!(
                                !is_got && answer.ends_with(&format!("\r\n\r\n{newest:04}\r\n")),
                                "{answer}"
                            );
                            is_got = true;
                            continue;
                        }
                        let number = numbers.next().expect("an acknowledgement too many");
                        assert_eq!(subject, format!("_INBOX.{client}.p{number}"));
                        let seq = acknowledged(&answer);
                        assert!(seq > last, "{seq} after {last}");
                        last = seq;
                    }
                }
                wire.expect_nothing();
            });
        }
        scope.spawn(|| {
            let mut next = [0; CLIENTS];
            for seq in 1..=CLIENTS * MESSAGES {
                let line = watcher.line();
                let words: Vec<&str> = line.split(' ').collect();
                let client: usize = words[1].strip_prefix("s.").unwrap().parse().unwrap();
                let position: Vec<&str> = words[3].split('.').collect();
                assert_eq!(position[5].parse(), Ok(seq), "{line}");
                assert_eq!(watcher.take(6), format!("{:04}\r\n", next[client]).into_bytes());
                next[client] += 1;
            }
            watcher.expect_nothing();
        });
    });
}

#[test]
fn a_server_stops_in_the_middle_of_it() {
    for _ in 0..5 {
        let (_directory, server) = with_stream();
        let mut wires: Vec<Wire> = (0..CLIENTS).map(|_| Wire::client(&server)).collect();
        std::thread::scope(|scope| {
            for wire in &mut wires {
                for number in 0..100 {
                    wire.send(&format!("PUB s.x 4\r\n{number:04}\r\n"));
                }
                scope.spawn(|| wire.expect_close());
            }
            server.shutdown();
        });
    }
}
