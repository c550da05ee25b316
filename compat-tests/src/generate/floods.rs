//! Floods beside an idle connection: some clients send as much as they can, and one asks now and then. It is answered all the
//! time, hears all that it subscribed to, in order, and afterwards both servers are in the same state.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Summary;
use crate::Result;
use crate::process::{Program, Server, ServerOptions};
use crate::random::Random;
use crate::request::Requester;
use crate::transcript::compare::show_difference;
use crate::wire::{Connection, Frame};

/// How long anything may take that is waited for.
const WAIT: Duration = Duration::from_secs(60);
/// Pause between two questions of the one that is idle.
const IDLE: Duration = Duration::from_millis(5);
/// nats-server drops what goes to a stream or to the API while 10,000 wait there.
const MESSAGES_MAX: u64 = 2_000;
const LARGE_BYTES: usize = 400_000;
const CONSUMERS_MAX: u64 = 60;
const CONNECTIONS_MAX: u64 = 60;

/// What one client sends, and how often.
#[derive(Clone, Copy, Debug)]
enum Flood {
    Pings(u64),
    /// What the idle client subscribed to.
    News(u64),
    /// Requests that nobody answers.
    Unheard(u64),
    /// Messages of the stream, each acknowledged.
    Puts(u64),
    /// Messages of the stream, not acknowledged.
    SilentPuts(u64),
    Infos(u64),
    Gets(u64),
    /// Subscriptions that come and go.
    Subscriptions(u64),
    /// Messages of 400 KB.
    Large(u64),
    /// Consumers that are created: requests of one packet have no order, so none of them is deleted.
    Consumers(u64),
    /// Bytes one by one.
    Pieces(u64),
    /// Connections that come and go.
    Connections(u64),
    /// What no client sends.
    Nonsense,
}

fn flood(random: &mut Random) -> Flood {
    let count = random.below(MESSAGES_MAX) + 1;
    match random.below(13) {
        0 => Flood::Pings(count),
        1 => Flood::News(count),
        2 => Flood::Unheard(count),
        3 => Flood::Puts(count),
        4 => Flood::SilentPuts(count),
        5 => Flood::Infos(count / 4),
        6 => Flood::Gets(count),
        7 => Flood::Subscriptions(count),
        8 => Flood::Large(random.below(20)),
        9 => Flood::Consumers(random.below(CONSUMERS_MAX)),
        10 => Flood::Pieces(random.below(60)),
        11 => Flood::Connections(random.below(CONNECTIONS_MAX)),
        _ => Flood::Nonsense,
    }
}

impl Flood {
    /// What is sent, and how many messages come back.
    fn bytes(self, number: usize, name: &str) -> (Vec<u8>, usize) {
        let inbox = format!("in.{name}.{number}");
        let mut text = format!("SUB {inbox} 1\r\n");
        let mut answers = 0;
        let mut ask = |text: &mut String, subject: String, payload: String| {
            text.push_str(&format!("PUB {subject} {inbox} {}\r\n{payload}\r\n", payload.len()));
            answers += 1;
        };
        match self {
            Self::Pings(count) => (1..=count).for_each(|_| text.push_str("PING\r\n")),
            Self::News(count) => (1..=count).for_each(|at| {
                let news = format!("{number} {at}");
                text.push_str(&format!("PUB news.{name} {}\r\n{news}\r\n", news.len()));
            }),
            Self::Unheard(count) => {
                (1..=count).for_each(|at| ask(&mut text, format!("nobody.{at}"), String::new()));
            }
            Self::Puts(count) => {
                (1..=count)
                    .for_each(|at| ask(&mut text, format!("f{name}.{number}.{}", at % 50), format!("{at}")));
            }
            Self::SilentPuts(count) => (1..=count).for_each(|at| {
                text.push_str(&format!("PUB f{name}.{number}.{at} 4\r\nput.\r\n"));
            }),
            Self::Infos(count) => {
                let subject = format!("$JS.API.STREAM.INFO.F{name}");
                (1..=count).for_each(|_| ask(&mut text, subject.clone(), String::new()));
            }
            Self::Gets(count) => {
                let subject = format!("$JS.API.DIRECT.GET.F{name}");
                (1..=count).for_each(|_| ask(&mut text, subject.clone(), r#"{"seq":1}"#.to_string()));
            }
            Self::Subscriptions(count) => (1..=count).for_each(|at| {
                text.push_str(&format!("SUB s.{name}.{at} {at}0\r\nSUB s.*.{at} q {at}1\r\nUNSUB {at}0\r\n"));
            }),
            Self::Large(count) => (1..=count).for_each(|_| {
                text.push_str(&format!("PUB f{name}.large {LARGE_BYTES}\r\n{}\r\n", "x".repeat(LARGE_BYTES)));
            }),
            Self::Consumers(count) => (1..=count).for_each(|at| {
                let consumer = format!("F{name}.c{number}x{at}");
                let body = json!({"stream_name": format!("F{name}"),
                    "config": {"name": format!("c{number}x{at}"), "ack_policy": "explicit"}});
                ask(&mut text, format!("$JS.API.CONSUMER.CREATE.{consumer}"), body.to_string());
            }),
            Self::Pieces(count) => (1..=count).for_each(|at| {
                text.push_str(&format!("PUB news.{name} 4\r\n{number} {:02}\r\n", at % 100));
            }),
            Self::Connections(_) => {}
            Self::Nonsense => text.push_str(&"NONSENSE\r\n".repeat(500)),
        }
        (text.into_bytes(), answers)
    }
}

const CONNECT: &str = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";

/// One client floods; what it heard, by kind.
fn pour(port: u16, flood: Flood, number: usize, name: &str) -> Result<String> {
    if let Flood::Connections(count) = flood {
        for _ in 0..count {
            let mut connection = Connection::open(port)?;
            connection.send(format!("{CONNECT}PING\r\n").as_bytes())?;
            connection.find(WAIT, |frame| *frame == Frame::Pong).ok_or("no PONG to a new connection")?;
        }
        return Ok(format!("{count} connections"));
    }
    let (bytes, answers) = flood.bytes(number, name);
    let mut connection = Connection::open(port)?;
    connection.send(CONNECT.as_bytes())?;
    let piece = if matches!(flood, Flood::Pieces(_)) { 1 } else { 32 << 10 };
    let refused = bytes.chunks(piece).any(|piece| connection.send(piece).is_err());
    if !refused {
        // It may close in this moment.
        let _ = connection.send(b"PING\r\n");
    }
    let pongs = if let Flood::Pings(count) = flood { count + 1 } else { 1 };
    let mut heard: BTreeMap<String, u64> = BTreeMap::new();
    let deadline = Instant::now() + WAIT;
    let count = |heard: &BTreeMap<String, u64>, kind: &str| heard.get(kind).copied().unwrap_or_default();
    while count(&heard, "PONG") < pongs || count(&heard, "MSG") < answers as u64 {
        let Some(frame) = connection.next(deadline.saturating_duration_since(Instant::now())) else { break };
        let kind = match &frame {
            Frame::Message(_) => "MSG".to_string(),
            Frame::Pong => "PONG".to_string(),
            Frame::Info(_) | Frame::Ping => continue,
            other => format!("{other:?}"),
        };
        *heard.entry(kind).or_default() += 1;
        if frame == Frame::Closed {
            break;
        }
    }
    Ok(format!("{flood:?} heard {heard:?}"))
}

/// Lets the floods of a seed loose on a server, and tells what came of it.
fn play(server: &Server, floods: &[Flood], name: &str) -> Result<Vec<String>> {
    let port = server.port("nats").ok_or("no client port")?;
    let mut asker = Requester::open(server)?;
    let config = json!({"name": format!("F{name}"), "subjects": [format!("f{name}.>")], "allow_direct": true,
        "storage": if name.len().is_multiple_of(2) { "file" } else { "memory" }});
    asker.api(&format!("$JS.API.STREAM.CREATE.F{name}"), &config)?;
    let mut idle = Connection::open(port)?;
    idle.send(format!("{CONNECT}SUB news.{name} 1\r\nPING\r\n").as_bytes())?;
    idle.find(WAIT, |frame| *frame == Frame::Pong).ok_or("no PONG to the idle connection")?;
    let mut lines = std::thread::scope(|scope| -> Result<Vec<String>> {
        let threads: Vec<_> = floods
            .iter()
            .enumerate()
            .map(|(number, flood)| {
                scope.spawn(move || pour(port, *flood, number, name).map_err(|e| e.to_string()))
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            // Without an answer this is an error.
            asker.api("$JS.API.INFO", &Value::Null)?;
            std::thread::sleep(IDLE);
        }
        let done =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked".to_string()));
        Ok(done.map(|line| line.and_then(|line| line).unwrap_or_else(|error| error)).collect())
    })?;
    lines.extend(news(&mut idle, floods)?);
    lines.extend(state(&mut asker, floods, name)?);
    asker.api(&format!("$JS.API.STREAM.DELETE.F{name}"), &Value::Null)?;
    Ok(lines)
}

/// What the idle client heard of each of the others.
fn news(idle: &mut Connection, floods: &[Flood]) -> Result<Vec<String>> {
    let expected = floods.iter().map(|flood| match flood {
        Flood::News(count) | Flood::Pieces(count) => *count,
        _ => 0,
    });
    let mut left = expected.sum::<u64>();
    idle.send(b"PING\r\n")?;
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let deadline = Instant::now() + WAIT;
    let mut is_answered = false;
    while !is_answered || left > 0 {
        match idle.next(deadline.saturating_duration_since(Instant::now())) {
            Some(Frame::Message(message)) => {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                let from = text.split(' ').next().unwrap_or_default().to_string();
                heard.entry(from).or_default().push(text);
                left = left.saturating_sub(1);
            }
            Some(Frame::Pong) => is_answered = true,
            Some(Frame::Info(_) | Frame::Ping) => {}
            Some(other) => return Err(format!("the idle connection got {other:?}").into()),
            None => return Err(format!("the idle connection is behind by {left}").into()),
        }
    }
    Ok(heard.into_iter().map(|(from, texts)| format!("news of {from}: {}", texts.join(","))).collect())
}

/// The stream, once everything that was sent has arrived there.
fn state(asker: &mut Requester, floods: &[Flood], name: &str) -> Result<Vec<String>> {
    let expected: u64 = floods
        .iter()
        .map(|flood| match flood {
            Flood::Puts(count) | Flood::SilentPuts(count) | Flood::Large(count) => *count,
            _ => 0,
        })
        .sum();
    let deadline = Instant::now() + WAIT;
    loop {
        let info = asker.api(&format!("$JS.API.STREAM.INFO.F{name}"), &Value::Null)?;
        let part =
            |of: &str| info.pointer(&format!("/state/{of}")).and_then(Value::as_u64).unwrap_or_default();
        if part("last_seq") >= expected || Instant::now() > deadline {
            let parts = ["messages", "bytes", "first_seq", "last_seq", "num_subjects", "consumer_count"];
            return Ok(parts.iter().map(|of| format!("{of} {}", part(of))).collect());
        }
        std::thread::sleep(IDLE);
    }
}

/// Plays the floods of these seeds, first on the one program, then on the other.
///
/// # Errors
/// When a server cannot be started, or nats-server does not answer the idle client.
pub fn run(reference: &Program, candidate: &Program, seeds: Range<u64>) -> Result<Summary> {
    let options = ServerOptions { flags: vec!["-js".to_string()], ..ServerOptions::default() };
    let servers = [Server::start(reference, &options)?, Server::start(candidate, &options)?];
    let mut summary = Summary::default();
    let mut plays = 0;
    for seed in seeds {
        let mut random = Random::new(seed);
        let floods: Vec<Flood> = (0..random.below(3) + 1).map(|_| flood(&mut random)).collect();
        summary.operations += floods.len();
        summary.confirm(format!("floods-{seed}"), || {
            plays += 1;
            let name = format!("{seed}n{plays:03}");
            let [reference, candidate] = &servers;
            let wanted = play(reference, &floods, &name)?;
            let found = play(candidate, &floods, &name).unwrap_or_else(|error| vec![error.to_string()]);
            Ok((wanted != found).then(|| format!("{floods:?}\n{}", show_difference(&wanted, &found))))
        })?;
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_flood_comes_in_some_seed() {
        let kinds: std::collections::BTreeSet<String> = (0..200)
            .map(|seed| format!("{:?}", flood(&mut Random::new(seed))))
            .map(|text| text.split('(').next().unwrap_or_default().to_string())
            .collect();
        assert_eq!(kinds.len(), 13, "{kinds:?}");
    }
}
