//! A receiver that acknowledges what it gets, one message at a time, and waits for each acknowledgement to be confirmed.

use crate::Result;
use crate::process::Server;
use crate::request::Requester;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const STREAM: &str = "crash_work";
const CONSUMER: &str = "worker";
/// What was not acknowledged comes again after this time, nanoseconds.
const ACK_WAIT_NS: u64 = 100_000_000;
/// Where the sequence in the stream stands in the reply subject of a delivery.
const STREAM_SEQ_TOKEN: usize = 5;

/// What the receiver knows.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// Messages whose acknowledgement was confirmed.
    acked: BTreeSet<u64>,
}

impl Receipts {
    pub(super) fn confirmed(&self) -> u64 {
        self.acked.len() as u64
    }
}

/// Creates the stream and the consumer that are worked on.
pub(super) fn create(connection: &mut Requester) -> Result<()> {
    let stream = json!({
        "name": STREAM, "subjects": ["crash.work"], "storage": "file", "retention": "limits", "discard": "old",
        "max_msgs": 1000, "num_replicas": 1,
    });
    connection.api(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &stream)?;
    let config = json!({
        "durable_name": CONSUMER, "ack_policy": "explicit", "deliver_policy": "all", "ack_wait": ACK_WAIT_NS,
    });
    let consumer = json!({"stream_name": STREAM, "config": config});
    connection.api(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{CONSUMER}"), &consumer)?;
    Ok(())
}

/// The receiver, with its connection.
pub(super) struct Acker {
    connection: Requester,
    receipts: Receipts,
}

impl Acker {
    pub(super) fn open(server: &Server, receipts: Receipts) -> Result<Self> {
        Ok(Self { connection: Requester::open(server)?, receipts })
    }

    /// Publishes, receives and acknowledges until the connection closes or `stop` is set. `confirmed` counts what was
    /// confirmed.
    ///
    /// # Errors
    /// A message came again whose acknowledgement had been confirmed.
    pub(super) fn run(mut self, stop: &AtomicBool, confirmed: &AtomicU64) -> Result<Receipts> {
        let before = self.receipts.confirmed();
        while !stop.load(Ordering::SeqCst) && work(&mut self.connection, &mut self.receipts)? {
            confirmed.store(self.receipts.confirmed() - before, Ordering::SeqCst);
        }
        Ok(self.receipts)
    }
}

/// One message; `false` where the connection closed.
fn work(connection: &mut Requester, receipts: &mut Receipts) -> Result<bool> {
    let pull = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}");
    if connection.ask("crash.work", "", b"x")?.is_none() {
        return Ok(false);
    }
    let request = json!({"batch": 1, "no_wait": true}).to_string();
    let Some(message) = connection.ask(&pull, "", request.as_bytes())? else { return Ok(false) };
    let Some(reply) = message.reply else { return Ok(true) };
    let seq = reply.split('.').nth(STREAM_SEQ_TOKEN).and_then(|seq| seq.parse().ok());
    let seq: u64 = seq.ok_or_else(|| format!("no sequence in {reply}"))?;
    if receipts.acked.contains(&seq) {
        return Err(format!("message {seq} came again after its acknowledgement was confirmed").into());
    }
    if connection.ask(&reply, "", b"+ACK")?.is_none() {
        return Ok(false);
    }
    receipts.acked.insert(seq);
    Ok(true)
}
