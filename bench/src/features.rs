//! What JetStream does beside storing and delivering: catching up with an origin, backups, batches.

use crate::client::Client;
use crate::measure::{self, Cost, Latencies};
use crate::workload::{self, Scale};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// Messages of an atomic batch, and batches under way.
const BATCH: u64 = 100;
const BATCHES: u64 = 8;
/// Messages of a fast batch that one answer acknowledges, and such answers that are waited for at most.
const FLOW: u64 = 100;
const FLOWS: u64 = 4;
/// How much of a backup a message brings back.
const PIECE_BYTES: usize = 128 << 10;
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const INBOX: &str = "_INBOX.features";

/// The rows; an operation is a message.
pub(crate) const ROWS: [&str; 5] =
    ["mirror, catching up", "backup", "restore", "atomic batches of 100", "fast batch, acknowledged by 100"];

/// What each row costs a server.
pub(crate) fn costs(address: SocketAddr, pid: u32, storage: &str, scale: Scale) -> io::Result<[Cost; 5]> {
    let mut client = Client::connect(&address.into())?;
    let count = scale.pipelined_ops;
    client.api(
        "$JS.API.STREAM.CREATE.ORIGIN",
        &json!({"name": "ORIGIN", "subjects": ["o.>"], "storage": storage}),
    )?;
    workload::pipelined(&address.into(), scale, |key, out| write!(out, "o.{key}"), scale.value_bytes)?;
    let mirror = measure::measure(pid, || mirror(&mut client, storage, count))?;
    let mut taken = (Value::Null, Vec::new());
    let backup = measure::measure(pid, || {
        taken = backup(&mut client)?;
        Ok((count, Latencies::default()))
    })?;
    client.api("$JS.API.STREAM.DELETE.MIRROR", &Value::Null)?;
    client.api("$JS.API.STREAM.DELETE.ORIGIN", &Value::Null)?;
    let restore = measure::measure(pid, || restore(&mut client, &taken.0, &taken.1, count))?;
    let batches = json!({
        "name": "BATCHES", "subjects": ["b.>"], "storage": storage, "allow_atomic": true, "allow_batched": true,
    });
    client.api("$JS.API.STREAM.CREATE.BATCHES", &batches)?;
    let atomic = measure::measure(pid, || atomic(address, scale))?;
    let fast = measure::measure(pid, || fast(address, scale))?;
    Ok([mirror, backup, restore, atomic, fast])
}

fn mirror(client: &mut Client, storage: &str, count: u64) -> io::Result<(u64, Latencies)> {
    let config = json!({"name": "MIRROR", "mirror": {"name": "ORIGIN"}, "storage": storage});
    client.api("$JS.API.STREAM.CREATE.MIRROR", &config)?;
    loop {
        let info = client.api("$JS.API.STREAM.INFO.MIRROR", &Value::Null)?;
        if info.pointer("/state/messages") == Some(&json!(count)) {
            return Ok((count, Latencies::default()));
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The answer to the request, and the backup.
fn backup(client: &mut Client) -> io::Result<(Value, Vec<u8>)> {
    client.subscribe(INBOX.as_bytes(), b"backup");
    client.ping_pong()?;
    let answer = client.api("$JS.API.STREAM.SNAPSHOT.ORIGIN", &json!({"deliver_subject": INBOX}))?;
    let mut archive = Vec::new();
    loop {
        let (mut is_last, mut ack) = (false, Vec::new());
        client.receive(|piece| {
            is_last = piece.payload.is_empty();
            archive.extend_from_slice(piece.payload);
            ack.extend_from_slice(piece.reply);
        })?;
        if is_last {
            client.unsubscribe(b"backup");
            return Ok((answer, archive));
        }
        if !ack.is_empty() {
            client.publish(&ack, None, b"");
            client.flush()?;
        }
    }
}

fn restore(client: &mut Client, told: &Value, archive: &[u8], count: u64) -> io::Result<(u64, Latencies)> {
    let request = json!({"config": told.get("config"), "state": told.get("state")});
    let answer = client.api("$JS.API.STREAM.RESTORE.ORIGIN", &request)?;
    let subject = answer.get("deliver_subject").and_then(Value::as_str).unwrap_or_default().to_owned();
    client.subscribe(INBOX.as_bytes(), b"restore");
    let mut last = Vec::new();
    for piece in archive.chunks(PIECE_BYTES).chain([&b""[..]]) {
        client.request(subject.as_bytes(), INBOX.as_bytes(), piece, |answer| {
            last.clear();
            last.extend_from_slice(answer.payload);
        })?;
    }
    client.unsubscribe(b"restore");
    let last: Value = serde_json::from_slice(&last)?;
    if last.pointer("/state/messages") == Some(&json!(count)) {
        return Ok((count, Latencies::default()));
    }
    Err(io::Error::other(format!("not restored: {last}")))
}

/// Publishes batches; the last message of each asks for an answer.
fn atomic(address: SocketAddr, scale: Scale) -> io::Result<(u64, Latencies)> {
    let mut client = Client::connect(&address.into())?;
    client.subscribe(INBOX.as_bytes(), b"1");
    let payload = vec![b'v'; scale.value_bytes];
    let batches = scale.pipelined_ops / BATCH;
    let (mut sent, mut answered) = (0, 0);
    while answered < batches {
        while sent < batches && sent - answered < BATCHES {
            for seq in 1..=BATCH {
                let commit = if seq == BATCH { "Nats-Batch-Commit: 1\r\n" } else { "" };
                let headers = format!(
                    "NATS/1.0\r\nNats-Batch-Id: {sent}\r\nNats-Batch-Sequence: {seq}\r\n{commit}\r\n"
                );
                let reply = (seq == BATCH).then_some(INBOX.as_bytes());
                client.publish_with(format!("b.{seq}").as_bytes(), reply, headers.as_bytes(), &payload);
            }
            client.flush()?;
            sent += 1;
        }
        granted(&mut client)?;
        answered += 1;
    }
    Ok((batches * BATCH, Latencies::default()))
}

/// Publishes one batch, each message of which is stored by itself.
fn fast(address: SocketAddr, scale: Scale) -> io::Result<(u64, Latencies)> {
    let mut client = Client::connect(&address.into())?;
    client.subscribe(format!("{INBOX}.>").as_bytes(), b"1");
    let payload = vec![b'v'; scale.value_bytes];
    let flows = scale.pipelined_ops / FLOW;
    let mut answered = 0;
    for flow in 0..flows {
        for at in 1..=FLOW {
            let seq = flow * FLOW + at;
            let step = match seq {
                1 => 0,
                _ if seq == flows * FLOW => 2,
                _ => 1,
            };
            let reply = format!("{INBOX}.batch.{FLOW}.fail.{seq}.{step}.$FI");
            client.publish(format!("b.{at}").as_bytes(), Some(reply.as_bytes()), &payload);
        }
        client.flush()?;
        while flow + 1 - answered > FLOWS {
            granted(&mut client)?;
            answered += 1;
        }
    }
    // The last answer says that all of the batch is stored.
    loop {
        let mut is_last = false;
        client.receive(|answer| is_last = answer.payload.windows(8).any(|part| part == b"\"stream\""))?;
        if is_last {
            return Ok((flows * FLOW, Latencies::default()));
        }
    }
}

fn granted(client: &mut Client) -> io::Result<()> {
    let mut refused = None;
    client.receive(|answer| {
        if answer.payload.windows(8).any(|part| part == b"\"error\":") {
            refused = Some(String::from_utf8_lossy(answer.payload).into_owned());
        }
    })?;
    refused.map_or(Ok(()), |answer| Err(io::Error::other(answer)))
}
