//! A writer: one connection, its own keys, one operation at a time.

use super::STREAM;
use super::model::{Change, Ledger};
use crate::Result;
use crate::process::Server;
use crate::random::Random;
use crate::request::Requester;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The shortest time to live that nats-server accepts.
const TTL: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    connection: Requester,
    ledger: Ledger,
    random: Random,
}

impl Writer {
    pub(super) fn open(server: &Server, ledger: Ledger, random: Random) -> Result<Self> {
        Ok(Self { connection: Requester::open(server)?, ledger, random })
    }

    /// Writes until the connection closes or `stop` is set, and returns what is known then. `written` counts what was
    /// acknowledged.
    pub(super) fn run(mut self, stop: &AtomicBool, written: &AtomicU64) -> Result<Ledger> {
        let keys = self.ledger.keys();
        while !stop.load(Ordering::SeqCst) {
            let at = usize::try_from(self.random.below(keys.len() as u64)).unwrap_or_default();
            let Some(key) = keys.get(at) else { break };
            let change = self.choose(key);
            self.ledger.begin(key, change.clone());
            let Some(seq) = self.send(key, &change)? else { break };
            self.ledger.acknowledge(seq);
            written.fetch_add(1, Ordering::SeqCst);
        }
        Ok(self.ledger)
    }

    fn choose(&mut self, key: &str) -> Change {
        let erasable = self.ledger.newest(key);
        match (self.random.below(20), erasable) {
            (0..=1, _) => Change::Delete,
            (2..=3, _) => Change::Purge,
            (4..=5, Some(seq)) => Change::Erase { seq },
            (6..=7, _) => Change::Put { value: self.ledger.fresh_value(), ttl: Some(TTL) },
            _ => Change::Put { value: self.ledger.fresh_value(), ttl: None },
        }
    }

    /// Sends a change; the outer `None` says that the connection closed without an answer, the inner one that the
    /// change has no sequence of its own.
    fn send(&mut self, key: &str, change: &Change) -> Result<Option<Option<u64>>> {
        let subject = format!("$KV.crash.{key}");
        let answer = match change {
            Change::Put { value, ttl: None } => self.connection.ask(&subject, "", value)?,
            Change::Put { value, ttl: Some(ttl) } => {
                self.connection.ask(&subject, &format!("Nats-TTL: {}s\r\n", ttl.as_secs()), value)?
            }
            Change::Delete => self.connection.ask(&subject, "KV-Operation: DEL\r\n", b"")?,
            Change::Purge => {
                self.connection.ask(&subject, "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n", b"")?
            }
            Change::Erase { seq } => {
                let body = json!({"seq": seq}).to_string();
                self.connection.ask(&format!("$JS.API.STREAM.MSG.DELETE.{STREAM}"), "", body.as_bytes())?
            }
        };
        let Some(answer) = answer else { return Ok(None) };
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        if let Some(error) = answer.get("error") {
            return Err(format!("{change:?} of {key} was refused: {error}").into());
        }
        Ok(Some(answer.get("seq").and_then(Value::as_u64)))
    }
}
