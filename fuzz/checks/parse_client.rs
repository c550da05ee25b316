//! What holds for any bytes that a client may send. Shared by the fuzz target and the test that replays its corpus.

use jetkv_protocol::{ClientOp, ConnectOptions, Headers, Limits, Parser, ServerInfo, Step, encode, subject};

/// Small enough for a fuzzer to reach.
const LIMITS: Limits = Limits { max_control_line: 64, max_payload: 128, headers: true, connect_first: false };

/// Panics when bytes break an invariant of the parser.
pub(crate) fn check(data: &[u8]) {
    let whole = read(data, data.len().max(1));
    assert_eq!(whole, read(data, 1), "byte by byte");
    assert_eq!(whole, read(data, 7), "seven bytes at a time");
}

/// The operations in `data` and the error or the unread rest that ends them, read in pieces of `step` bytes.
fn read(data: &[u8], step: usize) -> (Vec<String>, String) {
    let mut parser = Parser::new(LIMITS);
    let mut seen = Vec::new();
    let mut start = 0;
    let mut end = 0;
    loop {
        let buf = data.get(start..end).unwrap_or_default();
        match parser.parse(buf) {
            Ok(Step::Incomplete { need }) => {
                assert!(need > buf.len(), "asks for {need} bytes and has {}", buf.len());
                assert!(need <= 64 + 64 + 128 + 32, "asks for {need} bytes");
                if end == data.len() {
                    return (seen, format!("unread: {}", buf.escape_ascii()));
                }
                end = data.len().min(end + step);
            }
            Ok(Step::Op { op, consumed }) => {
                assert!(consumed > 0 && consumed <= buf.len());
                inspect(&op);
                seen.push(format!("{op:?}"));
                start += consumed;
            }
            Err(error) => return (seen, format!("{error} {:?}", error.wire_text())),
        }
    }
}

/// Reads what an operation carries, and writes it down and reads it again where that is possible.
fn inspect(op: &ClientOp<'_>) {
    let mut bytes = Vec::new();
    match *op {
        ClientOp::Connect(json) => {
            let _ = ConnectOptions::from_json(json);
            return;
        }
        ClientOp::Info(json) => {
            let _ = ServerInfo::from_json(json);
            return;
        }
        ClientOp::Pub(publish) => {
            let headers = Headers::new(publish.headers);
            for (key, _) in headers.iter() {
                let _ = headers.get_all(key).count();
            }
            let _ = headers.status();
            if publish.subject.is_empty() {
                return;
            }
            encode::publish(&mut bytes, publish.subject, publish.reply, publish.headers, publish.payload);
        }
        ClientOp::Sub { subject, queue, sid } => {
            if subject::is_valid_for_subscription(subject) {
                assert!(subject::is_subset(subject, b">"));
                assert!(subject::collide(subject, b">"));
                assert!(subject.starts_with(subject::literal_prefix(subject)));
            }
            encode::sub(&mut bytes, subject, queue, sid);
        }
        ClientOp::Unsub { sid, max } => encode::unsub(&mut bytes, sid, max),
        ClientOp::Ping => encode::ping(&mut bytes),
        ClientOp::Pong => encode::pong(&mut bytes),
        ClientOp::Ok => encode::ok(&mut bytes),
        ClientOp::Err(_) => return,
    }
    // Written without the blanks it came with, an operation may only have become shorter.
    let again = Parser::new(LIMITS).parse(&bytes).map(|step| match step {
        Step::Op { op, consumed } => (format!("{op:?}"), consumed),
        Step::Incomplete { .. } => (String::new(), 0),
    });
    assert_eq!(again, Ok((format!("{op:?}"), bytes.len())));
}
