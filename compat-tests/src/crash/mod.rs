//! Killing a server amid writes, and checking what it comes back with.
//!
//! Writers put, purge, delete and expire keys, each its own keys, one operation at a time, and write down what was
//! acknowledged. The process is killed at a random moment and started again on the same store. Then every key must
//! show exactly what its writer knows, save that the one operation that was under way may have happened or not, and
//! that a message may have expired meanwhile. A receiver acknowledges messages of another stream and waits for each
//! acknowledgement to be confirmed; such a message must not come again. An operator creates, changes and deletes streams
//! and consumers; each must be there as it was granted last, or as it was asked for when the process ended. Another publisher
//! commits atomic batches, sends fast ones, adds to counters and schedules messages: a batch is there as a whole or not at all, of
//! a fast one what was acknowledged is, a counter has its sum, as has the stream that sources all counters, and a schedule
//! publishes once.

mod acker;
mod composer;
mod model;
pub mod origins;
mod shaper;
mod writer;

use crate::process::{Program, Server, ServerOptions};
use crate::random::Random;
use crate::request::{Requester, header};
use crate::{Error, Result};
use acker::{Acker, Receipts};
use composer::{Composed, Composer};
use model::{Kind, Ledger, Stored};
use rustix::process::Signal;
use serde_json::{Value, json};
use shaper::{Shaper, Shapes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use writer::Writer;

const STREAM: &str = "KV_crash";
const WRITERS: usize = 4;
/// Messages kept for each key.
const HISTORY: usize = 3;
/// The longest time that a round writes before the kill, in milliseconds.
const ROUND_MS_MAX: u64 = 60;
/// How many changes of keys every second round waits for, so that rounds hold something where a disk takes long.
const ACKNOWLEDGED_MIN: u64 = 2 * WRITERS as u64;
/// How many confirmations, changes of streams and consumers, and things composed it waits for, of each.
const OTHERS_MIN: u64 = 2;
/// How long a round waits for what it needs. Only a fault takes so long.
const ACKNOWLEDGED_WAIT: Duration = Duration::from_secs(60);

/// What a run did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    /// Rounds of writing, killing, starting and checking.
    pub rounds: u32,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Messages that were expected and found.
    pub messages_checked: u64,
    /// Acknowledgements of deliveries that were confirmed.
    pub confirmed: u64,
    /// Changes of streams and consumers that were granted.
    pub reshaped: u64,
    /// Batches, increments and schedules that were acknowledged.
    pub composed: u64,
}

/// What is done since a round began.
#[derive(Debug, Default)]
struct Done {
    written: AtomicU64,
    confirmed: AtomicU64,
    reshaped: AtomicU64,
    composed: AtomicU64,
}

impl Done {
    fn is_enough(&self) -> bool {
        let others = [&self.confirmed, &self.reshaped, &self.composed];
        self.written.load(Ordering::SeqCst) >= ACKNOWLEDGED_MIN
            && others.iter().all(|count| count.load(Ordering::SeqCst) >= OTHERS_MIN)
    }
}

/// What those know who work on the server while it is killed.
struct Known {
    ledgers: Vec<Ledger>,
    receipts: Receipts,
    shapes: Shapes,
    composed: Composed,
}

/// Runs `rounds` rounds on `program`, started with `options`, from `seed`.
///
/// # Errors
/// On the first thing that was acknowledged and lost, removed and come back, or counted wrongly, or when the server
/// does not start by itself; the text names round, seed and key.
pub fn run(program: &Program, options: &ServerOptions, rounds: u32, seed: u64) -> Result<Summary> {
    let mut server = Server::start(program, options)?;
    create_bucket(&server)?;
    acker::create(&mut Requester::open(&server)?)?;
    let mut known = Known {
        ledgers: (0..WRITERS).map(Ledger::new).collect(),
        receipts: Receipts::default(),
        shapes: Shapes::new(),
        composed: Composed::default(),
    };
    composer::create(&mut Requester::open(&server)?)?;
    shaper::create(&mut Requester::open(&server)?, &mut known.shapes)?;
    let mut random = Random::new(seed);
    let mut summary = Summary::default();
    let mut last_seq = 0;
    for round in 1..=rounds {
        let place = |error: Error| -> Error { format!("round {round}, seed {seed}: {error}").into() };
        let writing = Duration::from_micros(random.below(ROUND_MS_MAX * 1000));
        summary.acknowledged +=
            write_until_killed(&mut server, &mut known, (writing, round), &mut random).map_err(place)?;
        server.launch().map_err(place)?;
        let mut connection = Requester::open(&server).map_err(place)?;
        for ledger in &mut known.ledgers {
            summary.messages_checked += check(&mut connection, ledger).map_err(place)?;
        }
        last_seq = check_counts(&mut connection, &known.ledgers, last_seq).map_err(place)?;
        shaper::check(&mut connection, &mut known.shapes).map_err(place)?;
        composer::check(&mut connection, &mut known.composed).map_err(place)?;
        summary.rounds = round;
        summary.confirmed = known.receipts.confirmed();
        summary.reshaped = known.shapes.changes();
        summary.composed = known.composed.done();
    }
    server.stop(Signal::TERM)?;
    Ok(summary)
}

fn write_until_killed(
    server: &mut Server,
    known: &mut Known,
    (writing, round): (Duration, u32),
    random: &mut Random,
) -> Result<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(Done::default());
    let mut writers = Vec::new();
    for ledger in &known.ledgers {
        writers.push(Writer::open(server, ledger.clone(), Random::new(random.next()))?);
    }
    let acker = Acker::open(server, std::mem::take(&mut known.receipts))?;
    let shaper = Shaper::open(server, known.shapes.clone(), Random::new(random.next()))?;
    let composer = Composer::open(server, known.composed.clone(), Random::new(random.next()))?;
    let mut threads = Vec::new();
    for writer in writers {
        threads.push(begin(&stop, &done, move |stop, done| writer.run(stop, &done.written)));
    }
    let working = begin(&stop, &done, move |stop, done| acker.run(stop, &done.confirmed));
    let shaping = begin(&stop, &done, move |stop, done| shaper.run(stop, &done.reshaped));
    let composing = begin(&stop, &done, move |stop, done| composer.run(stop, &done.composed));
    let killed = kill_when(server, (writing, round), || done.is_enough());
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = 0;
    for (thread, ledger) in threads.into_iter().zip(&mut known.ledgers) {
        *ledger = thread.join().map_err(|_| "a writer panicked")??;
        acknowledged += ledger.take_acknowledged();
    }
    known.receipts = working.join().map_err(|_| "the receiver panicked")??;
    known.shapes = shaping.join().map_err(|_| "the operator panicked")??;
    known.composed = composing.join().map_err(|_| "the publisher panicked")??;
    killed?;
    Ok(acknowledged)
}

/// Kills a server after some time; in each second round not before `is_enough`, so that rounds hold something where a disk
/// takes long.
fn kill_when(
    server: &mut Server,
    (writing, round): (Duration, u32),
    is_enough: impl Fn() -> bool,
) -> Result<()> {
    std::thread::sleep(writing);
    let deadline = Instant::now() + ACKNOWLEDGED_WAIT;
    while round.is_multiple_of(2) && !is_enough() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(100));
    }
    server.stop(Signal::KILL).map(drop)
}

fn begin<T: Send + 'static>(
    stop: &Arc<AtomicBool>,
    done: &Arc<Done>,
    work: impl FnOnce(&AtomicBool, &Done) -> Result<T> + Send + 'static,
) -> JoinHandle<Result<T>> {
    let (stop, done) = (Arc::clone(stop), Arc::clone(done));
    std::thread::spawn(move || work(&stop, &done))
}

/// Compares every key of a writer with what the server holds, and takes the server's word for what was open.
fn check(connection: &mut Requester, ledger: &mut Ledger) -> Result<u64> {
    let mut found = 0;
    for key in ledger.keys() {
        let stored = read_key(connection, &key)?;
        found += stored.len() as u64;
        ledger.settle(&key, stored, Instant::now())?;
    }
    Ok(found)
}

fn read_key(connection: &mut Requester, key: &str) -> Result<Vec<Stored>> {
    let mut stored = Vec::new();
    let mut from = 1;
    loop {
        let request = json!({"next_by_subj": format!("$KV.crash.{key}"), "seq": from});
        let answer = connection.direct_get(STREAM, &request)?;
        let Some(headers) = &answer.headers else { return Err("a direct get without headers".into()) };
        if headers.starts_with("NATS/1.0 404") {
            return Ok(stored);
        }
        let seq =
            header(headers, "Nats-Sequence").and_then(|seq| seq.parse().ok()).ok_or("no Nats-Sequence")?;
        let kind = match header(headers, "KV-Operation") {
            Some("DEL") => Kind::Delete,
            Some("PURGE") => Kind::Purge,
            _ => Kind::Put,
        };
        stored.push(Stored { seq, kind, value: answer.payload });
        from = seq + 1;
    }
}

/// Stream info must agree with what was read key by key, and sequences never go back.
fn check_counts(connection: &mut Requester, ledgers: &[Ledger], last_seq_before: u64) -> Result<u64> {
    let info = connection.api(&format!("$JS.API.STREAM.INFO.{STREAM}"), &Value::Null)?;
    let state =
        |name: &str| info.pointer(&format!("/state/{name}")).and_then(Value::as_u64).unwrap_or_default();
    let known_last = ledgers.iter().map(Ledger::highest_seq).max().unwrap_or_default().max(last_seq_before);
    if state("last_seq") < known_last {
        return Err(
            format!("last_seq {} is below {known_last}, which was acknowledged", state("last_seq")).into()
        );
    }
    let (low, high) = ledgers.iter().map(Ledger::message_bounds).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let messages = state("messages");
    if messages < low || messages > high {
        return Err(format!("stream info counts {messages} messages, the keys hold {low} to {high}").into());
    }
    Ok(state("last_seq"))
}

fn create_bucket(server: &Server) -> Result<()> {
    let config = json!({
        "name": STREAM, "subjects": ["$KV.crash.>"], "storage": "file", "retention": "limits", "discard": "new",
        "max_msgs_per_subject": HISTORY, "allow_rollup_hdrs": true, "allow_direct": true, "allow_msg_ttl": true,
        "num_replicas": 1,
    });
    Requester::open(server)?.api(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &config)?;
    Ok(())
}
