//! Sessions of subscriptions and publishes on a few connections: wildcards, queue groups, limits, odd subjects; and the
//! same under permissions, where each connection is another user.

use super::operation::Operation;
use crate::random::Random;

const CONNECTIONS: usize = 3;
/// Tokens of a deep subject, at most.
const DEPTH_MAX: u64 = 48;
/// Control lines in one packet, at most.
const PACKET_MAX: u64 = 6;

/// What users may do, for sessions under permissions. The first token of every subject is the session's own name.
pub(super) const PERMISSIONS: &str = r#"
authorization {
  users: [
    { user: u0, password: p }
    { user: u1, password: p, permissions: {
        publish: { allow: ["*.a.>", "*.b", "*.*.c", "in.>", "$JS.API.>"], deny: ["*.a.b", "*.a.a.>"] }
        subscribe: { allow: ["*.a.>", "*.b.*", "*.c", "in.>"], deny: ["*.a.c"] }
    } }
    { user: u2, password: p, permissions: {
        publish: { deny: ["*.c.>", "*.b"] }
        subscribe: { deny: ["*.b.>", "*.a.a"], allow: ["*.>", "*.*.a A", "*.*.b B"] }
        allow_responses: { max: 2, expires: "1h" }
    } }
  ]
}
"#;

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut next_sid = 1;
    // Where several users are in a queue group, chance says who gets a message, and so who may answer it.
    let mut grouped = [false; CONNECTIONS];
    while operations.len() < length {
        let connection = random.index(CONNECTIONS).unwrap_or_default();
        let text = match random.below(100) {
            0..=24 => {
                next_sid += 1;
                let text = subscribe(&mut random, next_sid);
                if let Some(grouped) = grouped.get_mut(connection) {
                    *grouped |= text.contains(" q");
                }
                text
            }
            25..=31 => unsubscribe(&mut random, next_sid),
            32..=46 => packet(&mut random, &mut next_sid),
            _ => {
                let answerable = grouped.iter().filter(|grouped| **grouped).count() < 2;
                publish(&mut random, answerable)
            }
        };
        operations.push(Operation::Client { connection, text });
    }
    operations
}

/// Several lines that arrive at once: what one of them changes holds for the next. Queue groups and replies stay out, whose
/// receivers are chosen by chance.
fn packet(random: &mut Random, next_sid: &mut u64) -> String {
    let mut text = String::new();
    for _ in 0..random.below(PACKET_MAX - 1) + 2 {
        match random.below(10) {
            0 | 1 => {
                *next_sid += 1;
                text.push_str(&format!("SUB {} {next_sid}\r\n", subject(random, 30)));
            }
            2 => text.push_str(&format!("UNSUB {}\r\n", random.below(*next_sid) + 1)),
            _ => text.push_str(&publish(random, false)),
        }
    }
    text
}

fn token(random: &mut Random) -> &'static str {
    random.pick(&["a", "a", "b", "c"])
}

/// A subject below the session's own name; now and then one that is no valid subject.
fn subject(random: &mut Random, wildcards: u64) -> String {
    let mut tokens = vec!["@".to_string()];
    // Deep ones are alike up to their last token, so that patterns meet them.
    let (shared, count) = match random.chance(8) {
        true => random.pick(&[(7, 8), (15, 16), (16, 17), (32, 33), (DEPTH_MAX - 1, DEPTH_MAX)]),
        false => (0, random.below(4) + 1),
    };
    for index in 1..=count {
        let token = match random.below(100) {
            n if n < wildcards => "*",
            n if n < wildcards + wildcards / 2 && index == count => ">",
            _ if index <= shared => "a",
            97 => random.pick(&["", "a*", ">a", "*b", "é"]),
            98 => random.pick(&["*", ">"]),
            _ => token(random),
        };
        tokens.push(token.to_string());
    }
    tokens.join(".")
}

fn subscribe(random: &mut Random, sid: u64) -> String {
    let mut subject = subject(random, 30);
    if random.chance(8) {
        subject = random.pick(&[">", "*.a", "*.>", "*.*.b"]).to_string();
    }
    // Which member of a group gets a message is chosen at random; sids of equal groups begin alike.
    match random.below(10) {
        0..=2 => {
            let group = random.pick(&["A", "B"]);
            format!("SUB {subject} {group} q{group}{sid}\r\n")
        }
        _ => format!("SUB {subject} {sid}\r\n"),
    }
}

fn unsubscribe(random: &mut Random, sids: u64) -> String {
    let sid = random.below(sids) + 1;
    match random.below(5) {
        // A limit counts the deliveries of one member, which is chance in a group, so groups have none.
        0 | 1 => format!("UNSUB {sid} {}\r\n", random.below(4)),
        2 => format!("UNSUB q{}{sid}\r\n", random.pick(&["A", "B"])),
        // What comes right behind the end of a subscription, and the same sid again.
        3 => {
            let (before, after) = (publish(random, false), publish(random, false));
            format!("UNSUB {sid} 1\r\n{before}SUB @.> {sid}\r\n{after}")
        }
        _ => format!("UNSUB {sid}\r\n"),
    }
}

fn publish(random: &mut Random, answerable: bool) -> String {
    let subject = subject(random, 2);
    let payload = random.pick(&["", "1", "payload"]);
    let reply = if random.chance(15) { format!("{} ", self::subject(random, 0)) } else { String::new() };
    let reply = if answerable { reply } else { String::new() };
    if random.chance(15) {
        let block = "NATS/1.0\r\nA: b\r\n\r\n";
        return format!(
            "HPUB {subject} {reply}{} {}\r\n{block}{payload}\r\n",
            block.len(),
            block.len() + payload.len()
        );
    }
    format!("PUB {subject} {reply}{}\r\n{payload}\r\n", payload.len())
}
