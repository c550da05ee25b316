//! Sessions of raw connections: protocol lines cut and mutated anywhere. Both servers must answer and close alike.

use super::operation::Operation;
use crate::random::Random;

/// Lines that leave a connection open, if headers are on.
const LINES: [&str; 36] = [
    "PING\r\n",
    "ping\r\n",
    "PONG\r\n",
    "SUB a 1\r\n",
    "SUB a.* 2\r\n",
    "SUB > q 3\r\n",
    "sub  a.b\t4\r\n",
    "SUB r 5\r\n",
    "SUB a..b 6\r\n",
    "SUB a.>.b q 7\r\n",
    "UNSUB 1\r\n",
    "UNSUB 1 2\r\n",
    "unsub\t3 1\r\n",
    "UNSUB 9\r\n",
    "PUB a 2\r\nhi\r\n",
    "PUB a.b r 0\r\n\r\n",
    "pub a 5\r\nhello\r\n",
    "PUB nobody r 2\r\nhi\r\n",
    "PUB a.* 2\r\nhi\r\n",
    "PUB a..b r 0\r\n\r\n",
    "PUB a. 3\r\nodd\r\n",
    "PUB > 2\r\nhi\r\n",
    "PUB a in.* 2\r\nhi\r\n",
    "PUB _GR_.a 2\r\nhi\r\n",
    "PUB a $JS.ACK.x 2\r\nhi\r\n",
    "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    "HPUB a r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n",
    "HPUB a 0 2\r\nhi\r\n",
    "HPUB a.* 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    "HPUB a. r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    "HPUB nobody r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    "+OK\r\n",
    "+ok and more\r\n",
    "INFO {}\r\n",
    "INFO {\"port\":1}\r\n",
    "HMSG a 1 12 14\r\n\r\n",
];
/// Lines that end it.
const LAST_LINES: [&str; 10] = [
    "PUB a 2\r\nhi!\r\n",
    "PUB > 2\r\nhi!\r\n",
    "PUB .a 1048577\r\nhi\r\n",
    "HPUB a 22 20\r\nNATS/1.0\r\n\r\nhi\r\n",
    "-ERR 'x'\r\n",
    "MSG a 1 2\r\nhi\r\n",
    "HMSG a 1 1\r\nhi\r\n",
    "RS+ a\r\n",
    "A+ a\r\n",
    "HPUB a.. 12 14\r\nNATS/1.0\r\n\r\nhi!\r\n",
];
/// What nats-server v2.15.2 reads of a new connection at once, at most.
const FIRST_READ_BYTES: usize = 512;
/// Tokens of a deep subject: about the limits of what is kept without an allocation, and beyond the longest line.
const DEPTHS: [usize; 9] = [15, 16, 17, 31, 32, 33, 300, 1500, 2100];
/// What stands around a deep subject. It is in no queue group: of several groups, and in one, nothing says who comes first.
const DEEP: [(&str, &str); 5] = [
    ("SUB ", " 8\r\n"),
    ("PUB ", " 2\r\nhi\r\n"),
    ("PUB ", " r 2\r\nhi\r\n"),
    ("PUB a ", " 2\r\nhi\r\n"),
    ("HPUB ", " 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
];
const FLAGS: [&str; 5] = ["verbose", "pedantic", "echo", "headers", "no_responders"];

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    (0..length).map(|_| Operation::Raw { pieces: pieces(&mut random) }).collect()
}

fn pieces(random: &mut Random) -> Vec<Vec<u8>> {
    loop {
        let bytes = lines(random);
        if !is_read_by_pieces(&bytes) {
            return split(random, &bytes);
        }
        if bytes.len() <= FIRST_READ_BYTES {
            return vec![bytes];
        }
    }
}

/// Lines, some of them mutated.
fn lines(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Without CONNECT a connection is verbose and pedantic.
    if random.chance(80) {
        bytes.extend(connect(random).into_bytes());
    }
    let first = if random.chance(85) { bytes.len() } else { 0 };
    for _ in 0..=random.below(5) {
        let lines = if random.chance(5) { LAST_LINES.as_slice() } else { LINES.as_slice() };
        if random.chance(8) {
            bytes.extend(deep_line(random).into_bytes());
        } else {
            bytes.extend(random.pick(lines).as_bytes());
        }
        if random.chance(4) {
            bytes.extend(connect(random).into_bytes());
        }
    }
    if random.chance(50) {
        for _ in 0..=random.below(2) {
            mutate(random, &mut bytes, first);
        }
    }
    // Answers to what came before show when the connection is still served.
    bytes.extend(b"PING\r\n");
    bytes
}

/// A line with a subject of many tokens, which may have wildcards wherever.
fn deep_line(random: &mut Random) -> String {
    let (before, behind) = random.pick(&DEEP);
    let depth = random.pick(&DEPTHS);
    let mut tokens = vec!["a"; depth];
    for token in ["*", "b", "", ">"] {
        let at = if token == ">" { Some(depth - 1) } else { random.index(depth) };
        if random.chance(25)
            && let Some(place) = at.and_then(|at| tokens.get_mut(at))
        {
            *place = token;
        }
    }
    format!("{before}{}{behind}", tokens.join("."))
}

/// Whether what nats-server v2.15.2 makes of the bytes depends on how many of them it reads at once: a carriage return
/// inside a line costs the line the last byte of the first piece, and HMSG from a client must be whole.
fn is_read_by_pieces(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair.starts_with(b"\r") && pair != b"\r\n")
        || bytes.windows(4).any(|word| word.eq_ignore_ascii_case(b"HMSG"))
}

fn connect(random: &mut Random) -> String {
    let mut fields = Vec::new();
    for flag in FLAGS {
        match random.below(5) {
            0 | 1 => fields.push(format!("\"{flag}\":true")),
            _ if flag == "headers" && random.chance(60) => fields.push("\"headers\":true".to_string()),
            2 | 3 => fields.push(format!("\"{flag}\":false")),
            _ => {}
        }
    }
    if random.chance(30) {
        fields.push(format!("\"protocol\":{}", random.pick(&["0", "1", "1", "2"])));
    }
    let odd = ["\"name\":\"n\"", "\"Verbose\":true", "\"lang\":null", "\"user\":1", "\"x\":[{}]"];
    if random.chance(12) {
        fields.push(random.pick(&odd).to_string());
    }
    let verb = random.pick(&["CONNECT ", "CONNECT ", "CONNECT ", "connect\t", "CONNECT"]);
    format!("{verb}{{{}}}\r\n", fields.join(","))
}

/// Changes bytes from `first` on.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, first: usize) {
    let Some(at) = random.index(bytes.len().saturating_sub(first)) else { return };
    let at = first + at;
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
