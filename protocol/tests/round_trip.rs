//! What one side writes the other reads, however the bytes are cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod responder;

use jetkv_protocol::{ClientOp, Limits, Parser, Publish, ServerOp, ServerParser, Step, encode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use responder::Connection;

/// An operation that owns its bytes; either side's.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Json(String),
    Message { subject: String, sid: String, reply: Option<String>, headers: Vec<u8>, payload: Vec<u8> },
    Sub { subject: String, queue: Option<String>, sid: String },
    Unsub { sid: String, max: Option<u64> },
    Ping,
    Pong,
    Ok,
    Err(String),
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_$.*>-]{1,30}"
}

fn message() -> impl Strategy<Value = Owned> {
    let headers = option::of(vec(any::<u8>(), 1..40)).prop_map(Option::unwrap_or_default);
    (word(), word(), option::of(word()), headers, vec(any::<u8>(), 0..200)).prop_map(
        |(subject, sid, reply, headers, payload)| Owned::Message { subject, sid, reply, headers, payload },
    )
}

fn operation() -> impl Strategy<Value = Owned> {
    prop_oneof![
        "\\{[ -~]{0,40}\\}".prop_map(Owned::Json),
        message(),
        message(),
        (word(), option::of(word()), word()).prop_map(|(subject, queue, sid)| Owned::Sub {
            subject,
            queue,
            sid
        }),
        (word(), option::of(1_u64..1_000_000_000)).prop_map(|(sid, max)| Owned::Unsub { sid, max }),
        Just(Owned::Ping),
        Just(Owned::Pong),
        Just(Owned::Ok),
        "[a-zA-Z][ a-zA-Z]{0,30}[a-zA-Z]".prop_map(Owned::Err),
    ]
}

fn write_as_client(out: &mut Vec<u8>, operation: &Owned) {
    match operation {
        Owned::Json(json) => encode::connect(out, json.as_bytes()),
        Owned::Message { subject, reply, headers, payload, .. } => {
            let reply = reply.as_ref().map(String::as_bytes);
            encode::publish(out, subject.as_bytes(), reply, headers, payload);
        }
        Owned::Sub { subject, queue, sid } => {
            let queue = queue.as_ref().map(String::as_bytes);
            encode::sub(out, subject.as_bytes(), queue, sid.as_bytes());
        }
        Owned::Unsub { sid, max } => encode::unsub(out, sid.as_bytes(), *max),
        Owned::Ping => encode::ping(out),
        Owned::Pong => encode::pong(out),
        Owned::Ok => encode::ok(out),
        Owned::Err(text) => encode::err(out, text),
    }
}

fn write_as_server(out: &mut Vec<u8>, operation: &Owned) {
    match operation {
        Owned::Json(json) => encode::info(out, json.as_bytes()),
        Owned::Message { subject, sid, reply, headers, payload } => {
            let reply = reply.as_ref().map(String::as_bytes);
            encode::msg(out, subject.as_bytes(), sid.as_bytes(), reply, headers, payload);
        }
        other => write_as_client(out, other),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn from_client(op: ClientOp<'_>) -> Owned {
    match op {
        ClientOp::Connect(json) | ClientOp::Info(json) => Owned::Json(text(json)),
        ClientOp::Pub(Publish { subject, reply, headers, payload }) => Owned::Message {
            subject: text(subject),
            sid: String::new(),
            reply: reply.map(text),
            headers: headers.to_vec(),
            payload: payload.to_vec(),
        },
        ClientOp::Sub { subject, queue, sid } => {
            Owned::Sub { subject: text(subject), queue: queue.map(text), sid: text(sid) }
        }
        ClientOp::Unsub { sid, max } => Owned::Unsub { sid: text(sid), max },
        ClientOp::Ping => Owned::Ping,
        ClientOp::Pong => Owned::Pong,
        ClientOp::Ok => Owned::Ok,
        ClientOp::Err(words) => Owned::Err(text(words).trim_matches('\'').to_owned()),
    }
}

fn from_server(op: ServerOp<'_>) -> Owned {
    match op {
        ServerOp::Info(json) => Owned::Json(text(json)),
        ServerOp::Msg { subject, sid, reply, headers, payload } => Owned::Message {
            subject: text(subject),
            sid: text(sid),
            reply: reply.map(text),
            headers: headers.to_vec(),
            payload: payload.to_vec(),
        },
        ServerOp::Ping => Owned::Ping,
        ServerOp::Pong => Owned::Pong,
        ServerOp::Ok => Owned::Ok,
        ServerOp::Err(words) => Owned::Err(text(words)),
    }
}

/// Reads all of `bytes`, of which more and more becomes visible at each of `cuts`.
fn read_all<O>(
    bytes: &[u8],
    cuts: &[usize],
    mut parse: impl FnMut(&[u8]) -> Step<O>,
    mut each: impl FnMut(O),
) -> usize {
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        while start <= end {
            match parse(&bytes[start..end]) {
                Step::Incomplete { need } => {
                    assert!(need > end - start);
                    break;
                }
                Step::Op { op, consumed } => {
                    each(op);
                    start += consumed;
                }
            }
        }
    }
    start
}

fn cuts(seeds: &[prop::sample::Index], length: usize) -> Vec<usize> {
    let mut cuts: Vec<_> = seeds.iter().map(|seed| seed.index(length + 1)).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #[test]
    fn a_server_reads_what_a_client_writes(
        operations in vec(operation(), 1..12),
        seeds in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for operation in &operations {
            write_as_client(&mut bytes, operation);
            expected.push(match operation.clone() {
                Owned::Message { subject, reply, headers, payload, .. } => {
                    Owned::Message { subject, sid: String::new(), reply, headers, payload }
                }
                other => other,
            });
        }
        let mut parser = Parser::new(Limits { headers: true, ..Limits::default() });
        let mut got = Vec::new();
        // `parse` cannot return a borrow from the closure's argument, so each step is made owned.
        let read = read_all(&bytes, &cuts(&seeds, bytes.len()), |buf| owned(parser.parse(buf).unwrap(), from_client), |op| got.push(op));
        prop_assert_eq!(got, expected);
        prop_assert_eq!(read, bytes.len());
    }

    #[test]
    fn a_client_reads_what_a_server_writes(
        operations in vec(operation(), 1..12),
        seeds in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let operations: Vec<_> = operations
            .into_iter()
            .filter(|operation| !matches!(operation, Owned::Sub { .. } | Owned::Unsub { .. }))
            .collect();
        let mut bytes = Vec::new();
        for operation in &operations {
            write_as_server(&mut bytes, operation);
        }
        let mut parser = ServerParser::new();
        let mut got = Vec::new();
        let read = read_all(&bytes, &cuts(&seeds, bytes.len()), |buf| owned(parser.parse(buf).unwrap(), from_server), |op| got.push(op));
        prop_assert_eq!(got, operations);
        prop_assert_eq!(read, bytes.len());
    }

    #[test]
    fn cuts_change_nothing_even_for_broken_input(
        operations in vec(operation(), 1..8),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        seeds in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = b"CONNECT {\"headers\":true}\r\n".to_vec();
        for operation in &operations {
            write_as_client(&mut bytes, operation);
        }
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        let whole = Connection::new(false).feed(&bytes, &[]);
        let cut = Connection::new(false).feed(&bytes, &cuts(&seeds, bytes.len()));
        prop_assert_eq!(&whole, &cut);
        let single: Vec<_> = (0..bytes.len()).collect();
        prop_assert_eq!(&whole, &Connection::new(false).feed(&bytes, &single));
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300), verb in 0_usize..12) {
        let verbs: [&[u8]; 12] = [b"", b"PUB ", b"HPUB ", b"SUB ", b"UNSUB ", b"PING", b"CONNECT ", b"INFO ", b"+OK", b"-ERR ", b"HMSG ", b"MSG "];
        let bytes = [verbs[verb], &bytes].concat();
        Connection::new(false).feed(&bytes, &[]);
        let mut parser = ServerParser::new();
        let mut rest = bytes.as_slice();
        while let Ok(Step::Op { consumed, .. }) = parser.parse(rest) {
            rest = &rest[consumed..];
        }
    }
}

fn owned<T>(step: Step<T>, to_owned: impl FnOnce(T) -> Owned) -> Step<Owned> {
    match step {
        Step::Incomplete { need } => Step::Incomplete { need },
        Step::Op { op, consumed } => Step::Op { op: to_owned(op), consumed },
    }
}
