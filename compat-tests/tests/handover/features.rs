//! Mirrors, sources, counters, schedules and a batch that is under way change hands with their directory.

use super::{Picture, compare, picture_of, servers};
use jetkv_compat_tests::Result;
use jetkv_compat_tests::process::{Program, Server, ServerOptions};
use jetkv_compat_tests::request::Requester;
use jetkv_testing::until;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// Messages of a fast batch that is open when its server ends.
const OPEN: u64 = 2;
/// What holds still between one server and the next.
const STREAMS: [&str; 9] =
    ["ORIGIN", "OTHER", "MIRROR", "GATHERED", "CHAINED", "COUNTER", "SUMS", "SCHEDULES", "BATCHES"];
/// Messages of the origins before the first server ends.
const FILLED: u64 = 40;

#[test]
fn origins_counters_schedules_and_batches_change_hands() {
    let Some((theirs, ours)) = servers() else { return };
    hand_over(&theirs, &ours, Signal::TERM).expect("the directory changes hands");
    for signal in [Signal::TERM, Signal::KILL] {
        hand_over(&ours, &theirs, signal).expect("the directory changes hands");
    }
}

#[test]
fn open_batches_of_a_killed_server_are_over_and_what_they_stored_is_there() {
    let Some((theirs, ours)) = servers() else { return };
    hand_over_batches(&theirs, &ours).expect("the directory changes hands");
    hand_over_batches(&ours, &theirs).expect("the directory changes hands");
}

/// Each server in turn is killed with open batches.
fn hand_over_batches(first: &Program, second: &Program) -> Result<()> {
    let options = ServerOptions { flags: vec!["-js".into()], ..ServerOptions::default() };
    let mut server = Server::start(first, &options)?;
    let mut client = Requester::open(&server)?;
    create_batches(&mut client)?;
    for (round, program) in [second, first, second].into_iter().enumerate() {
        open_batches(&mut client, round)?;
        server.stop(Signal::KILL)?;
        server.hand_over(program)?;
        client = Requester::open(&server)?;
        check_batches(&mut client, round)?;
        let batches = client.api("$JS.API.STREAM.INFO.BATCHES", &Value::Null)?;
        if batches.pointer("/state/messages") != Some(&json!(0)) {
            return Err(format!("round {round}: half a batch is there: {batches}").into());
        }
    }
    server.stop(Signal::TERM)?;
    Ok(())
}

/// The first server ends by `signal` the first time, and all by SIGTERM after that: what nats-server acknowledges is not
/// always written at once.
fn hand_over(first: &Program, second: &Program, signal: Signal) -> Result<()> {
    let options = ServerOptions { flags: vec!["-js".into()], ..ServerOptions::default() };
    let mut server = Server::start(first, &options)?;
    let mut client = Requester::open(&server)?;
    fill(&mut client)?;
    let mut sent = FILLED;
    let mut before = still_picture(&mut client, sent)?;
    let mut signals = [signal, Signal::TERM, Signal::TERM].into_iter();
    for (round, program) in [second, first, second].into_iter().enumerate() {
        stage(&mut client, round)?;
        server.stop(signals.next().unwrap_or(Signal::TERM))?;
        server.hand_over(program)?;
        client = Requester::open(&server)?;
        let after = still_picture(&mut client, sent)?;
        compare(&before, &after, &format!("{signal:?}, round {round}, now on {}", program.name))?;
        check_staged(&mut client, round)?;
        sent += change(&mut client, round)?;
        before = still_picture(&mut client, sent)?;
    }
    server.stop(Signal::TERM)?;
    Ok(())
}

fn fill(client: &mut Requester) -> Result<()> {
    let configs = [
        json!({"name": "ORIGIN", "subjects": ["o.>"]}),
        json!({"name": "OTHER", "subjects": ["p.>"]}),
        json!({"name": "MIRROR", "mirror": {"name": "ORIGIN"}}),
        json!({"name": "GATHERED", "subjects": ["own.>"], "sources": [
            {"name": "ORIGIN", "subject_transforms": [{"src": "o.*", "dest": "g.$1"}]},
            {"name": "OTHER"},
            {"name": "OTHER", "filter_subject": "p.1"},
        ]}),
        json!({"name": "CHAINED", "sources": [{"name": "MIRROR"}]}),
        json!({"name": "COUNTER", "subjects": ["c.>"], "allow_msg_counter": true, "allow_direct": true}),
        json!({"name": "SUMS", "allow_msg_counter": true, "allow_direct": true, "sources": [
            {"name": "COUNTER", "subject_transforms": [{"src": "c.*", "dest": "sums.$1"}]},
        ]}),
        json!({"name": "SCHEDULES", "subjects": ["s.>"], "allow_msg_schedules": true, "allow_msg_ttl": true}),
        json!({"name": "SOON", "subjects": ["soon.>"], "allow_msg_schedules": true}),
    ];
    create_batches(client)?;
    for config in &configs {
        client.create_stream(config)?;
    }
    for at in 0..FILLED {
        client.publish(&format!("o.{}", at % 5), "Trace: a  b\r\n", b"of the origin")?;
        client.publish(&format!("p.{}", at % 2), "", b"of the other")?;
    }
    client.publish("own.a", "", b"of nobody else")?;
    for at in 0..10 {
        client.publish(&format!("c.{}", at % 3), "Nats-Incr: 99999999999999999999\r\n", b"")?;
    }
    let headers = "Nats-Schedule: @at 2199-01-01T00:00:00Z\r\nNats-Schedule-Target: s.target\r\n";
    client.publish("s.later", headers, b"later")?;
    let headers =
        "Nats-Schedule: @every 2000h\r\nNats-Schedule-Target: s.target\r\nNats-Schedule-TTL: 1h\r\n";
    client.publish("s.often", headers, b"often")
}

fn create_batches(client: &mut Requester) -> Result<()> {
    client.create_stream(&json!({"name": "BATCHES", "subjects": ["b.>"], "allow_atomic": true}))?;
    client.create_stream(&json!({"name": "FAST", "subjects": ["fast.>"], "allow_batched": true}))
}

/// Begins batches that nobody ends, and a schedule that is due when the next server is there.
fn stage(client: &mut Requester, round: usize) -> Result<()> {
    open_batches(client, round)?;
    let due = jiff::Timestamp::now().checked_add(Duration::from_secs(1))?;
    let headers = format!("Nats-Schedule: @at {due}\r\nNats-Schedule-Target: soon.target\r\n");
    client.publish("soon.schedule", &headers, b"soon")
}

/// A step of a fast batch each message of which is answered.
fn fast(client: &mut Requester, batch: &str, seq: u64, step: u8) -> Result<Value> {
    let end = format!(".{batch}.1.fail.{seq}.{step}.$FI");
    let answer = client.ask_as(&end, "fast.a", "", b"of a fast batch")?.ok_or("closed")?;
    Ok(serde_json::from_slice(&answer.payload)?)
}

/// An atomic batch, and a fast one all of whose messages are acknowledged.
fn open_batches(client: &mut Requester, round: usize) -> Result<()> {
    let batch = |seq: u64| format!("Nats-Batch-Id: staged{round}\r\nNats-Batch-Sequence: {seq}\r\n");
    for seq in 1..=3 {
        let answer = client.ask("b.staged", &batch(seq), b"of no batch")?.ok_or("closed")?;
        if !answer.payload.is_empty() {
            return Err(format!("staged: {}", String::from_utf8_lossy(&answer.payload)).into());
        }
    }
    for seq in 1..=OPEN {
        let answer = fast(client, &format!("open{round}"), seq, u8::from(seq > 1))?;
        if answer.get("error").is_some() {
            return Err(format!("fast: {answer}").into());
        }
    }
    Ok(())
}

/// What was staged is gone, and what was due has come, once.
fn check_staged(client: &mut Requester, round: usize) -> Result<()> {
    check_batches(client, round)?;
    let soon = until_at_least(client, "SOON", "/state/subjects/soon.target", 1);
    if soon.pointer("/state/messages") != Some(&json!(1)) {
        return Err(format!("the schedule did not go: {soon}").into());
    }
    client.api("$JS.API.STREAM.PURGE.SOON", &Value::Null)?;
    Ok(())
}

/// Nobody can go on with a batch of the server before, begun anew it is another one, and what a fast one stored is there.
fn check_batches(client: &mut Requester, round: usize) -> Result<()> {
    let headers =
        format!("Nats-Batch-Id: staged{round}\r\nNats-Batch-Sequence: 4\r\nNats-Batch-Commit: 1\r\n");
    let answer = client.ask("b.staged", &headers, b"")?.ok_or("closed")?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    if answer.get("error").is_none() {
        return Err(format!("a batch outlived its server: {answer}").into());
    }
    let stored = client.api("$JS.API.STREAM.INFO.FAST", &Value::Null)?;
    // Each round before stored one message more.
    let last_seq = u64::try_from(round)? * (OPEN + 1) + OPEN;
    if stored.pointer("/state/last_seq") != Some(&json!(last_seq)) {
        return Err(format!("round {round}: not all of a fast batch is there: {stored}").into());
    }
    let open = format!("open{round}");
    let answer = fast(client, &open, OPEN + 1, 1)?;
    if answer.get("error").is_none() {
        return Err(format!("a fast batch outlived its server: {answer}").into());
    }
    let answer = fast(client, &open, 1, 2)?;
    if answer.get("count") != Some(&json!(1)) {
        return Err(format!("a fast batch cannot be begun anew: {answer}").into());
    }
    Ok(())
}

/// Goes on with everything; says how many messages the origins got.
fn change(client: &mut Requester, round: usize) -> Result<u64> {
    for at in 0..5 {
        client.publish(&format!("o.{at}"), "", format!("round {round}").as_bytes())?;
        client.publish(&format!("p.{}", at % 2), "", format!("round {round}").as_bytes())?;
    }
    client.publish("c.1", "Nats-Incr: -12345678901234567890123\r\n", b"")?;
    let batch =
        |seq: u64, rest: &str| format!("Nats-Batch-Id: {round}\r\nNats-Batch-Sequence: {seq}\r\n{rest}");
    client.ask("b.1", &batch(1, ""), b"one")?;
    client.publish("b.2", &batch(2, "Nats-Batch-Commit: 1\r\n"), b"two")?;
    let headers = "Nats-Schedule: @at 2199-01-01T00:00:00Z\r\nNats-Schedule-Target: s.target\r\n";
    client.publish(&format!("s.round{round}"), headers, b"later")?;
    Ok(5)
}

/// What there is once everything has come that the origins hold: `sent` messages each.
fn still_picture(client: &mut Requester, sent: u64) -> Result<Picture> {
    let firsts = client.api("$JS.API.STREAM.INFO.OTHER", &json!({"subjects_filter": "p.1"}))?;
    let firsts = firsts.pointer("/state/subjects/p.1").and_then(Value::as_u64).unwrap_or_default();
    let counted = until_at_least(client, "COUNTER", "/state/last_seq", 10);
    let counted = counted.pointer("/state/last_seq").and_then(Value::as_u64).unwrap_or_default();
    let wanted =
        [("MIRROR", sent), ("GATHERED", 1 + 2 * sent + firsts), ("CHAINED", sent), ("SUMS", counted)];
    for (stream, last_seq) in wanted {
        until_at_least(client, stream, "/state/last_seq", last_seq);
    }
    let mut picture = picture_of(client, &STREAMS)?;
    for (stream, last_seq) in wanted {
        let info = client.api(&format!("$JS.API.STREAM.INFO.{stream}"), &Value::Null)?;
        if info.pointer("/state/messages") != Some(&json!(last_seq)) {
            return Err(format!("{stream} holds more than {last_seq}: {info}").into());
        }
    }
    for sum in ["sums.0", "sums.1", "sums.2"] {
        let got = client.direct_get("SUMS", &json!({"last_by_subj": sum}))?;
        picture.insert(sum.to_owned(), vec![String::from_utf8_lossy(&got.payload).into_owned()]);
    }
    Ok(picture)
}

/// Waits until a number in the information about a stream has reached `least`.
fn until_at_least(client: &mut Requester, stream: &str, pointer: &str, least: u64) -> Value {
    until(&format!("{stream}: {pointer} reaches {least}"), || {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let info = client.api(&subject, &json!({"subjects_filter": ">"}));
        let info = info.map_err(|error| error.to_string())?;
        // Names of subjects hold no slashes or tildes, so that they need no escapes in a pointer.
        match info.pointer(pointer).and_then(Value::as_u64) {
            Some(number) if number >= least => Ok(info),
            _ => Err(info.to_string()),
        }
    })
}
