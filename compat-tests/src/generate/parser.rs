//! Sessions of raw connections: protocol lines cut and mutated anywhere. Both servers must answer and close alike.

use super::operation::Operation;
use crate::random::Random;

/// Lines that are sent, most of them right.
const LINES: [&str; 24] = [
    "CONNECT {}\r\n",
    "CONNECT {\"verbose\":true}\r\n",
    "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n",
    "CONNECT {\"echo\":false,\"headers\":true}\r\n",
    "PING\r\n",
    "ping\r\n",
    "PONG\r\n",
    "SUB a 1\r\n",
    "SUB a.* 2\r\n",
    "SUB > q 3\r\n",
    "sub  a.b\t4\r\n",
    "UNSUB 1\r\n",
    "UNSUB 1 2\r\n",
    "PUB a 2\r\nhi\r\n",
    "PUB a.b r 0\r\n\r\n",
    "pub a 5\r\nhello\r\n",
    "PUB a 2\r\nhi!\r\n",
    "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    "HPUB a r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n",
    "HPUB a 22 20\r\nNATS/1.0\r\n\r\nhi\r\n",
    "+OK\r\n",
    "-ERR 'x'\r\n",
    "INFO {}\r\n",
    "MSG a 1 2\r\nhi\r\n",
];

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    (0..length).map(|_| Operation::Raw { pieces: pieces(&mut random) }).collect()
}

fn pieces(random: &mut Random) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    // Pedantic until CONNECT says otherwise, and then JetKV refuses a bad subject only after the payload, nats-server
    // v2.15.2 before it; so no connection is pedantic here, and this CONNECT is not mutated.
    let connect = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n".to_vec();
    for _ in 0..=random.below(4) {
        bytes.extend(random.pick(&LINES).as_bytes());
    }
    if random.chance(70) {
        for _ in 0..=random.below(2) {
            mutate(random, &mut bytes);
        }
    }
    // Answers to what came before show when the connection is still served.
    bytes.extend(b"PING\r\n");
    split(random, &[connect, bytes].concat())
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    let Some(at) = random.index(bytes.len()) else { return };
    let odd: u8 = random.pick(b" \t\r\n\0aZ09.*>{}\"-+\x80\xff");
    match random.below(5) {
        0 => {
            bytes.remove(at);
        }
        1 => bytes.insert(at, odd),
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = odd;
            }
        }
        3 => {
            // A run of bytes goes.
            let end = at.saturating_add(usize::try_from(random.below(6)).unwrap_or_default());
            bytes.drain(at..end.min(bytes.len()));
        }
        _ => {
            // A run of bytes comes twice.
            let copy: Vec<u8> = bytes.iter().skip(at).take(8).copied().collect();
            bytes.splice(at..at, copy);
        }
    }
}

fn split(random: &mut Random, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> =
        (0..random.below(4)).filter_map(|_| random.index(bytes.len())).filter(|cut| *cut > 0).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    cuts.dedup();
    let mut start = 0;
    let mut pieces = Vec::new();
    for cut in cuts {
        pieces.push(bytes.get(start..cut).unwrap_or_default().to_vec());
        start = cut;
    }
    pieces
}
