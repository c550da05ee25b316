//! What nats-server v2.15.2 answered, byte for byte, to the inputs in `observed.txt` and to a few long ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod responder;

use responder::{Connection, Seen};

/// Bytes written with `\r`, `\n`, `\t`, `\\` and `\xNN`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match rest.next().unwrap() {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => panic!("no escape: {}", char::from(other)),
        });
    }
    out
}

#[test]
fn answers_are_those_of_nats_server() {
    let mut auth = false;
    let mut checked = 0;
    let lines: Vec<_> = include_str!("observed.txt").lines().collect();
    for group in lines.split(|line| line.is_empty()) {
        match group {
            [] => {}
            [heading] if heading.starts_with('#') => auth = heading.contains("with authorization"),
            [input, output, end] => {
                let sent = unescaped(input.strip_prefix("> ").unwrap());
                let bytes = unescaped(output.strip_prefix("< ").unwrap_or_default());
                let seen = Seen { bytes, closed: *end == "closed" };
                let ours = Connection::new(auth).feed(&sent, &[]);
                assert_eq!(
                    ours.bytes.escape_ascii().to_string(),
                    seen.bytes.escape_ascii().to_string(),
                    "{input}"
                );
                assert_eq!(ours.closed, seen.closed, "{input}");
                checked += 1;
            }
            other => panic!("unreadable: {other:?}"),
        }
    }
    assert!(checked > 200, "only {checked} cases");
}
