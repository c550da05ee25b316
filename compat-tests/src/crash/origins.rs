//! Killing a server whose streams take from each other.
//!
//! Publishers write numbered messages to two streams, each its own subject, and write down what was acknowledged. A mirror
//! follows one of them, a third stream gathers both under other subjects, a fourth gathers from the mirror. After each kill
//! everything acknowledged must arrive everywhere, each message once and in the order of its origin.

use crate::process::{Program, Server, ServerOptions};
use crate::random::Random;
use crate::request::{Requester, header};
use crate::{Error, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Origins, each with the subject that its publisher writes to and what that becomes where both are gathered.
const ORIGINS: [(&str, &str, &str); 2] = [("LEFT", "left", "both.left"), ("RIGHT", "right", "both.right")];
/// The longest time that a round writes before the kill, in milliseconds.
const ROUND_MS_MAX: u64 = 60;
/// How many messages each second round waits for, so that rounds hold something where a disk takes long.
const ACKNOWLEDGED_MIN: u64 = 10;
/// How long everything may take to arrive: origins that did not answer are asked again some seconds later.
const ARRIVAL_WAIT: Duration = Duration::from_secs(60);
/// Messages that are read at once.
const BATCH: u64 = 1000;
const POLL: Duration = Duration::from_millis(10);

/// What a run did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    /// Rounds of writing, killing, starting and checking.
    pub rounds: u32,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that were found at the end, in all streams.
    pub checked: u64,
}

/// Runs `rounds` rounds on `program`, started with `options`, from `seed`.
///
/// # Errors
/// On the first message that was acknowledged and is missing, or is there twice or out of order; the text names round and
/// seed.
pub fn run(program: &Program, options: &ServerOptions, rounds: u32, seed: u64) -> Result<Summary> {
    let mut server = Server::start(program, options)?;
    create(&mut Requester::open(&server)?)?;
    let mut random = Random::new(seed);
    let mut summary = Summary::default();
    // The number of the last message that was acknowledged, by origin.
    let mut acknowledged = [0; ORIGINS.len()];
    for round in 1..=rounds {
        let place = |error: Error| -> Error { format!("round {round}, seed {seed}: {error}").into() };
        let writing = Duration::from_micros(random.below(ROUND_MS_MAX * 1000));
        write_until_killed(&mut server, &mut acknowledged, writing, round).map_err(place)?;
        server.launch().map_err(place)?;
        summary.checked = check(&mut Requester::open(&server)?, acknowledged).map_err(place)?;
        summary.rounds = round;
    }
    summary.acknowledged = acknowledged.iter().sum();
    server.stop(Signal::TERM)?;
    Ok(summary)
}

fn create(client: &mut Requester) -> Result<()> {
    let gathered = |origins: &[(&str, &str, &str)]| -> Vec<Value> {
        let source = |(name, from, to): &(&str, &str, &str)| json!({"name": name, "subject_transforms": [{"src": from, "dest": to}]});
        origins.iter().map(source).collect()
    };
    let configs = [
        json!({"name": "LEFT", "subjects": ["left"], "allow_direct": true}),
        json!({"name": "RIGHT", "subjects": ["right"], "allow_direct": true}),
        json!({"name": "MIRROR", "mirror": {"name": "LEFT"}, "allow_direct": true}),
        json!({"name": "BOTH", "sources": gathered(&ORIGINS), "allow_direct": true}),
        json!({"name": "CHAINED", "sources": [{"name": "MIRROR"}], "allow_direct": true}),
    ];
    for config in configs {
        client.create_stream(&config)?;
    }
    Ok(())
}

fn write_until_killed(
    server: &mut Server,
    acknowledged: &mut [u64; ORIGINS.len()],
    writing: Duration,
    round: u32,
) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for ((_, subject, _), last) in ORIGINS.iter().zip(acknowledged.iter()) {
        let (stop, written, last) = (Arc::clone(&stop), Arc::clone(&written), *last);
        let client = Requester::open(server)?;
        threads.push(std::thread::spawn(move || publish(client, subject, last, &stop, &written)));
    }
    let is_enough = || written.load(Ordering::SeqCst) >= ACKNOWLEDGED_MIN;
    let killed = super::kill_when(server, (writing, round), is_enough);
    stop.store(true, Ordering::SeqCst);
    for (thread, last) in threads.into_iter().zip(acknowledged) {
        *last = thread.join().map_err(|_| "a publisher panicked")??;
    }
    killed?;
    Ok(())
}

/// Publishes numbers behind `last` until the connection closes; the last that was acknowledged. What was not is published
/// again in the next round, so that a number may be there twice in a row in its origin.
fn publish(
    mut client: Requester,
    subject: &str,
    mut last: u64,
    stop: &AtomicBool,
    written: &AtomicU64,
) -> Result<u64> {
    while !stop.load(Ordering::SeqCst) {
        let Some(answer) = client.ask(subject, "", (last + 1).to_string().as_bytes())? else { break };
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        if let Some(error) = answer.get("error") {
            return Err(format!("{subject} was refused: {error}").into());
        }
        last += 1;
        written.fetch_add(1, Ordering::SeqCst);
    }
    Ok(last)
}

/// Waits until everything has arrived, and compares each stream with its origins; says how many messages there are.
fn check(client: &mut Requester, acknowledged: [u64; ORIGINS.len()]) -> Result<u64> {
    let mut origins = Vec::new();
    for ((name, subject, _), last) in ORIGINS.iter().zip(acknowledged) {
        let held = payloads(client, name)?.remove(*subject).unwrap_or_default();
        check_numbers(name, &held, last)?;
        origins.push(held);
    }
    let [left, right] = origins.as_slice() else { return Err("there are two origins".into()) };
    let (lefts, rights) = (left.len() as u64, right.len() as u64);
    let mut checked = lefts + rights;
    let expected = [
        ("MIRROR", vec![("left", left)]),
        ("CHAINED", vec![("left", left)]),
        ("BOTH", vec![("both.left", left), ("both.right", right)]),
    ];
    for (name, subjects) in expected {
        let total: u64 = subjects.iter().map(|(_, held)| held.len() as u64).sum();
        arrive(client, name, total)?;
        let mut found = payloads(client, name)?;
        for (subject, held) in subjects {
            let got = found.remove(subject).unwrap_or_default();
            if got != *held {
                let at = got.iter().zip(held).position(|(got, held)| got != held);
                let at = at.unwrap_or(got.len().min(held.len()));
                return Err(format!(
                    "{name}, {subject}: {} messages of {}, and number {at} is {:?} instead of {:?}",
                    got.len(),
                    held.len(),
                    got.get(at),
                    held.get(at)
                )
                .into());
            }
            checked += got.len() as u64;
        }
        if !found.is_empty() {
            return Err(format!("{name} holds {:?}, too", found.keys()).into());
        }
    }
    Ok(checked)
}

/// Every number up to `last` is there, in order; each may be there again where its first acknowledgement was lost.
fn check_numbers(name: &str, held: &[u64], last: u64) -> Result<()> {
    let mut numbers = held.to_vec();
    numbers.dedup();
    let is_gapless = numbers.iter().zip(1..).all(|(number, wanted)| *number == wanted);
    let found = numbers.len() as u64;
    // One more may have been stored whose acknowledgement did not get through.
    if is_gapless && (found == last || found == last + 1) {
        return Ok(());
    }
    Err(format!("{name}: {last} were acknowledged, there is {held:?}").into())
}

/// Waits until a stream holds `total` messages.
fn arrive(client: &mut Requester, name: &str, total: u64) -> Result<()> {
    let deadline = Instant::now() + ARRIVAL_WAIT;
    loop {
        let info = client.api(&format!("$JS.API.STREAM.INFO.{name}"), &Value::Null)?;
        let messages = info.pointer("/state/messages").and_then(Value::as_u64).unwrap_or_default();
        if messages >= total {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{name}: {messages} of {total} have arrived: {info}").into());
        }
        std::thread::sleep(POLL);
    }
}

/// The numbers that a stream holds, in order, by subject.
fn payloads(client: &mut Requester, stream: &str) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut held: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut seq = 1;
    loop {
        let got = client.direct_gets(stream, &json!({"seq": seq, "batch": BATCH, "next_by_subj": ">"}))?;
        if got.is_empty() {
            return Ok(held);
        }
        for one in got {
            let headers = one.headers.as_deref().unwrap_or_default();
            let at = header(headers, "Nats-Sequence").and_then(|seq| seq.parse::<u64>().ok());
            seq = at.ok_or("no Nats-Sequence")? + 1;
            let subject = header(headers, "Nats-Subject").ok_or("no Nats-Subject")?.to_owned();
            held.entry(subject).or_default().push(std::str::from_utf8(&one.payload)?.parse()?);
        }
    }
}
