//! What JetStream does beside storing and delivering: catching up with an origin, backups, batches.

use crate::client::Client;
use crate::measure::{self, Cost, Latencies};
use crate::workload::{self, Scale};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
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
const PIECE_BYTES: u64 = 128 << 10;
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const INBOX: &str = "_INBOX.features";

/// The rows; an operation is a message.
const ROWS: [&str; 5] =
    ["mirror, catching up", "backup", "restore", "atomic batches of 100", "fast batch, acknowledged by 100"];

/// The rows whose names contain `only`.
pub(crate) fn rows(only: &str) -> Vec<String> {
    ROWS.iter().filter(|name| name.contains(only)).map(|name| (*name).to_owned()).collect()
}

/// What each of [`rows`] costs a server.
pub(crate) fn costs(
    (address, pid): (SocketAddr, u32),
    storage: &str,
    scale: Scale,
    only: &str,
) -> io::Result<Vec<Cost>> {
    let [mirrors, backs_up, restores, atomics, fasts] = ROWS.map(|name| name.contains(only));
    let mut client = Client::connect(&address.into())?;
    let count = scale.pipelined_ops;
    let (mut mirrored, mut backed_up, mut restored) = (None, None, None);
    if mirrors || backs_up || restores {
        client.api(
            "$JS.API.STREAM.CREATE.ORIGIN",
            &json!({"name": "ORIGIN", "subjects": ["o.>"], "storage": storage}),
        )?;
        workload::pipelined(&address.into(), scale, |key, out| write!(out, "o.{key}"), scale.value_bytes)?;
    }
    if mirrors {
        mirrored = Some(measure::measure(pid, || mirror(&mut client, storage, count))?);
        client.api("$JS.API.STREAM.DELETE.MIRROR", &Value::Null)?;
    }
    if backs_up || restores {
        // In a file: what is measured may be larger than the memory.
        let (mut archive, mut told) = (tempfile::tempfile()?, Value::Null);
        let cost = measure::measure(pid, || {
            told = backup(&mut client, &mut archive)?;
            Ok((count, Latencies::default()))
        })?;
        backed_up = Some(cost).filter(|_| backs_up);
        client.api("$JS.API.STREAM.DELETE.ORIGIN", &Value::Null)?;
        if restores {
            archive.rewind()?;
            restored = Some(measure::measure(pid, || restore(&mut client, &told, &mut archive, count))?);
        }
    }
    let batches = json!({
        "name": "BATCHES", "subjects": ["b.>"], "storage": storage, "allow_atomic": true, "allow_batched": true,
    });
    client.api("$JS.API.STREAM.CREATE.BATCHES", &batches)?;
    let batched = atomics.then(|| measure::measure(pid, || atomic(address, scale))).transpose()?;
    let streamed = fasts.then(|| measure::measure(pid, || fast(address, scale))).transpose()?;
    Ok([mirrored, backed_up, restored, batched, streamed].into_iter().flatten().collect())
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

/// Takes a backup; the answer to the request.
fn backup(client: &mut Client, archive: &mut File) -> io::Result<Value> {
    client.subscribe(INBOX.as_bytes(), b"backup");
    client.ping_pong()?;
    let answer = client.api("$JS.API.STREAM.SNAPSHOT.ORIGIN", &json!({"deliver_subject": INBOX}))?;
    loop {
        let (mut is_last, mut ack, mut written) = (false, Vec::new(), Ok(()));
        client.receive(|piece| {
            is_last = piece.payload.is_empty();
            written = archive.write_all(piece.payload);
            ack.extend_from_slice(piece.reply);
        })?;
        written?;
        if is_last {
            client.unsubscribe(b"backup");
            return Ok(answer);
        }
        if !ack.is_empty() {
            client.publish(&ack, None, b"");
            client.flush()?;
        }
    }
}

fn restore(
    client: &mut Client,
    told: &Value,
    archive: &mut File,
    count: u64,
) -> io::Result<(u64, Latencies)> {
    let request = json!({"config": told.get("config"), "state": told.get("state")});
    let answer = client.api("$JS.API.STREAM.RESTORE.ORIGIN", &request)?;
    let subject = answer.get("deliver_subject").and_then(Value::as_str).unwrap_or_default().to_owned();
    client.subscribe(INBOX.as_bytes(), b"restore");
    let (mut last, mut piece) = (Vec::new(), Vec::new());
    loop {
        piece.clear();
        Read::by_ref(archive).take(PIECE_BYTES).read_to_end(&mut piece)?;
        client.request(subject.as_bytes(), INBOX.as_bytes(), &piece, |answer| {
            last.clear();
            last.extend_from_slice(answer.payload);
        })?;
        // The empty piece is the end.
        if piece.is_empty() {
            break;
        }
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
