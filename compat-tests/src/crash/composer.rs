//! A publisher of what is more than one message or more than stored: atomic batches, fast batches, increments of counters,
//! which a stream of sources adds up, and messages that are scheduled. One operation at a time, and what was acknowledged is
//! written down.

use crate::Result;
use crate::process::Server;
use crate::random::Random;
use crate::request::{Requester, header};
use crate::wire::Message;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BATCHES: &str = "crash_batches";
const FAST: &str = "crash_fast";
const COUNTERS: &str = "crash_counters";
/// A stream that adds the counters up.
const SUM: &str = "crash_sum";
const SCHEDULES: &str = "crash_schedules";
/// Counters that are added to.
const KEYS: usize = 3;
/// How long it takes at most until all that is due has been published.
const FIRED_WAIT: Duration = Duration::from_secs(20);
/// How long it takes at most until increments have arrived where they are added up: an origin that did not answer is asked
/// again some seconds later.
const ARRIVAL_WAIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// An atomic batch of so many messages.
    Batch { id: u64, messages: u64 },
    /// A fast batch of so many messages, each acknowledged.
    Fast { id: u64, messages: u64 },
    /// A counter is added to.
    Increment { key: usize, by: i64 },
    /// A message that is due at once.
    Schedule { id: u64 },
}

/// What the publisher knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Composed {
    /// Committed since the last check, with how many messages each has.
    batches: BTreeMap<u64, u64>,
    /// Fast batches since the last check, with how many of their messages were acknowledged.
    fast: BTreeMap<u64, u64>,
    sums: [i64; KEYS],
    /// Scheduled since the last check.
    schedules: BTreeSet<u64>,
    under_way: Option<Work>,
    last_id: u64,
    done: u64,
}

impl Composed {
    /// How many operations were acknowledged.
    pub(super) fn done(&self) -> u64 {
        self.done
    }
}

/// Creates the streams that are published to.
pub(super) fn create(connection: &mut Requester) -> Result<()> {
    for (name, subjects, feature) in [
        (BATCHES, "crash.batch.>", "allow_atomic"),
        (FAST, "crash.fast.>", "allow_batched"),
        (COUNTERS, "crash.count.>", "allow_msg_counter"),
        (SCHEDULES, "crash.at.>", "allow_msg_schedules"),
    ] {
        let config = json!({
            "name": name, "subjects": [subjects], "storage": "file", "allow_direct": true, "num_replicas": 1,
            feature: true,
        });
        connection.create_stream(&config)?;
    }
    let transforms = json!([{"src": "crash.count.*", "dest": "crash.sum"}]);
    connection.create_stream(&json!({
        "name": SUM, "storage": "file", "allow_direct": true, "num_replicas": 1, "allow_msg_counter": true,
        "sources": [{"name": COUNTERS, "subject_transforms": transforms}],
    }))
}

/// The publisher, with its connection.
pub(super) struct Composer {
    connection: Requester,
    known: Composed,
    random: Random,
}

impl Composer {
    pub(super) fn open(server: &Server, known: Composed, random: Random) -> Result<Self> {
        Ok(Self { connection: Requester::open(server)?, known, random })
    }

    /// Publishes until the connection closes or `stop` is set. `acknowledged` counts what was acknowledged.
    pub(super) fn run(mut self, stop: &AtomicBool, acknowledged: &AtomicU64) -> Result<Composed> {
        while !stop.load(Ordering::SeqCst) {
            let work = self.choose();
            self.known.under_way = Some(work);
            if !self.send(work)? {
                break;
            }
            self.known.under_way = None;
            self.known.done += 1;
            acknowledged.fetch_add(1, Ordering::SeqCst);
            match work {
                Work::Batch { id, messages } => drop(self.known.batches.insert(id, messages)),
                // Noted message by message.
                Work::Fast { .. } => {}
                Work::Increment { key, by } => {
                    self.known.sums.get_mut(key).into_iter().for_each(|sum| *sum += by);
                }
                Work::Schedule { id } => drop(self.known.schedules.insert(id)),
            }
        }
        Ok(self.known)
    }

    fn choose(&mut self) -> Work {
        self.known.last_id += 1;
        let id = self.known.last_id;
        match self.random.below(5) {
            0 => {
                let key = self.random.index(KEYS).unwrap_or_default();
                let by = i64::try_from(self.random.below(2000)).unwrap_or_default() - 1000;
                Work::Increment { key, by }
            }
            1 => Work::Schedule { id },
            2 => Work::Fast { id, messages: 2 + self.random.below(8) },
            _ => Work::Batch { id, messages: 1 + self.random.below(12) },
        }
    }

    /// Says whether the operation was acknowledged before the connection closed.
    fn send(&mut self, work: Work) -> Result<bool> {
        let connection = &mut self.connection;
        match work {
            Work::Increment { key, by } => {
                let subject = format!("crash.count.{key}");
                is_acknowledged(connection.ask(&subject, &format!("Nats-Incr: {by:+}\r\n"), b"")?)
            }
            Work::Schedule { id } => {
                let headers = format!(
                    "Nats-Schedule: @at 2000-01-01T00:00:00Z\r\nNats-Schedule-Target: crash.at.target.{id}\r\n"
                );
                is_acknowledged(connection.ask(&format!("crash.at.schedule.{id}"), &headers, b"x")?)
            }
            Work::Fast { id, messages } => {
                for number in 1..=messages {
                    // The operations: start, append, and store the last message and end. One message an answer.
                    let operation = if number == 1 { 0 } else { 1 + u64::from(number == messages) };
                    let end = format!(".{id}.1.fail.{number}.{operation}.$FI");
                    let answer = connection.ask_as(&end, &format!("crash.fast.{id}.{number}"), "", b"x")?;
                    if !is_acknowledged(answer)? {
                        return Ok(false);
                    }
                    // The first answer only says that the batch has begun.
                    if number > 1 {
                        self.known.fast.insert(id, number);
                    }
                }
                Ok(true)
            }
            Work::Batch { id, messages } => {
                for number in 1..=messages {
                    let commit = if number == messages { "Nats-Batch-Commit: 1\r\n" } else { "" };
                    let headers = format!("Nats-Batch-Id: {id}\r\nNats-Batch-Sequence: {number}\r\n{commit}");
                    let answer = connection.ask(&format!("crash.batch.{id}.{number}"), &headers, b"x")?;
                    if !is_acknowledged(answer)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

/// Whether an answer came, which must be no error.
fn is_acknowledged(answer: Option<Message>) -> Result<bool> {
    let Some(answer) = answer else { return Ok(false) };
    // Messages of a batch before its end are answered with nothing.
    if !answer.payload.is_empty() {
        let ack: Value = serde_json::from_slice(&answer.payload)?;
        if ack.get("error").is_some() {
            return Err(format!("a publish was refused: {ack}").into());
        }
    }
    Ok(true)
}

/// Holds what the server has against what is known, and from then on knows what the server has.
///
/// # Errors
/// A batch is not there as a whole, or one that was not committed is; an acknowledged message of a fast batch is missing; a
/// counter has another sum, or all of them together have where they are added up; a schedule has published nothing, or twice.
pub(super) fn check(connection: &mut Requester, known: &mut Composed) -> Result<()> {
    let under_way = known.under_way.take();
    check_batches(connection, known, under_way)?;
    check_fast(connection, known, under_way)?;
    check_counters(connection, known, under_way)?;
    check_sum(connection, known.sums.iter().sum())?;
    check_schedules(connection, known, under_way)?;
    (known.batches, known.fast, known.schedules) = Default::default();
    Ok(())
}

/// The numbers of the messages that a stream holds of each batch.
fn numbers(connection: &mut Requester, stream: &str) -> Result<BTreeMap<u64, Vec<u64>>> {
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut from = 1;
    while let Some((seq, subject)) = next_message(connection, stream, from)? {
        let mut tokens = subject.split('.').skip(2).map(str::parse);
        let (Some(Ok(id)), Some(Ok(number))) = (tokens.next(), tokens.next()) else {
            return Err(format!("a message on {subject}").into());
        };
        found.entry(id).or_default().push(number);
        from = seq + 1;
    }
    Ok(found)
}

/// Each message of a fast batch is stored by itself: all that were acknowledged are there, and at most the next one.
fn check_fast(connection: &mut Requester, known: &Composed, under_way: Option<Work>) -> Result<()> {
    let mut found = numbers(connection, FAST)?;
    let begun = match under_way {
        Some(Work::Fast { id, .. }) => Some(id),
        _ => None,
    };
    for id in known.fast.keys().copied().chain(begun).collect::<BTreeSet<u64>>() {
        let acknowledged = known.fast.get(&id).copied().unwrap_or_default();
        let there = found.remove(&id).unwrap_or_default();
        let count = there.len() as u64;
        // Of a batch that had begun the first may be there, and another one.
        let more = if begun == Some(id) { 2 } else { 0 };
        let is_whole = there.iter().copied().eq(1..=count);
        if !is_whole || count < acknowledged || count > acknowledged + more {
            return Err(
                format!("fast batch {id}: {acknowledged} were acknowledged, there is {there:?}").into()
            );
        }
    }
    if !found.is_empty() {
        return Err(format!("nobody sent the fast batches {found:?}").into());
    }
    purge(connection, FAST)
}

fn check_batches(connection: &mut Requester, known: &Composed, under_way: Option<Work>) -> Result<()> {
    let mut found = numbers(connection, BATCHES)?;
    for (id, messages) in &known.batches {
        let whole: Vec<u64> = (1..=*messages).collect();
        let there = found.remove(id);
        if there.as_ref() != Some(&whole) {
            return Err(format!("batch {id} of {messages} messages was committed, there is {there:?}").into());
        }
    }
    for (id, there) in found {
        let messages = there.len() as u64;
        let whole: Vec<u64> = (1..=messages).collect();
        if there != whole || under_way != Some(Work::Batch { id, messages }) {
            return Err(format!("of batch {id} there is {there:?}, under way was {under_way:?}").into());
        }
    }
    purge(connection, BATCHES)
}

fn check_counters(connection: &mut Requester, known: &mut Composed, under_way: Option<Work>) -> Result<()> {
    for (key, sum) in known.sums.iter_mut().enumerate() {
        let found = counter(connection, COUNTERS, &format!("crash.count.{key}"))?;
        let with = match under_way {
            Some(Work::Increment { key: of, by }) if of == key => *sum + by,
            _ => *sum,
        };
        if found != *sum && found != with {
            return Err(format!("counter {key} is {found}, and should be {sum} or {with}").into());
        }
        *sum = found;
    }
    Ok(())
}

/// What a counter holds.
fn counter(connection: &mut Requester, stream: &str, subject: &str) -> Result<i64> {
    let answer = connection.direct_get(stream, &json!({"last_by_subj": subject}))?;
    let value: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    Ok(value.get("val").and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// What the counters hold arrives where they are added up, each increment once.
fn check_sum(connection: &mut Requester, sum: i64) -> Result<()> {
    let deadline = Instant::now() + ARRIVAL_WAIT;
    loop {
        let found = counter(connection, SUM, "crash.sum")?;
        if found == sum {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the counters hold {sum}, together they are {found}").into());
        }
        std::thread::sleep(POLL);
    }
}

fn check_schedules(connection: &mut Requester, known: &Composed, under_way: Option<Work>) -> Result<()> {
    let deadline = Instant::now() + FIRED_WAIT;
    while !subjects(connection, "crash.at.schedule.>")?.is_empty() {
        if Instant::now() > deadline {
            return Err("a schedule that is due does not publish".into());
        }
        std::thread::sleep(POLL);
    }
    let mut found = subjects(connection, "crash.at.target.>")?;
    for id in &known.schedules {
        let times = found.remove(&format!("crash.at.target.{id}"));
        if times != Some(1) {
            return Err(format!("schedule {id} has published {times:?} times").into());
        }
    }
    for (subject, times) in found {
        let is_known =
            matches!(under_way, Some(Work::Schedule { id }) if subject == format!("crash.at.target.{id}"));
        if times != 1 || !is_known {
            return Err(format!("{times} messages on {subject}, under way was {under_way:?}").into());
        }
    }
    purge(connection, SCHEDULES)
}

/// The first message from a sequence on, with its subject.
fn next_message(connection: &mut Requester, stream: &str, from: u64) -> Result<Option<(u64, String)>> {
    let answer = connection.direct_get(stream, &json!({"next_by_subj": ">", "seq": from}))?;
    let headers = answer.headers.as_deref().ok_or("a direct get without headers")?;
    if headers.starts_with("NATS/1.0 404") {
        return Ok(None);
    }
    let seq = header(headers, "Nats-Sequence").and_then(|seq| seq.parse().ok()).ok_or("no Nats-Sequence")?;
    let subject = header(headers, "Nats-Subject").ok_or("no Nats-Subject")?;
    Ok(Some((seq, subject.to_owned())))
}

/// How many messages each subject has.
fn subjects(connection: &mut Requester, filter: &str) -> Result<BTreeMap<String, u64>> {
    let request = json!({"subjects_filter": filter});
    let info = connection.api(&format!("$JS.API.STREAM.INFO.{SCHEDULES}"), &request)?;
    let subjects = info.pointer("/state/subjects").and_then(Value::as_object);
    let counted = subjects.into_iter().flatten();
    Ok(counted.map(|(subject, count)| (subject.clone(), count.as_u64().unwrap_or_default())).collect())
}

fn purge(connection: &mut Requester, stream: &str) -> Result<()> {
    connection.api(&format!("$JS.API.STREAM.PURGE.{stream}"), &Value::Null).map(drop)
}
