//! What is told of backups and restores.

use crate::client::ClientInfo;
use crate::message::{AccountId, OutMsg};
use crate::stream::StreamState;
use crate::stream::world::World;
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json;
use serde::Serialize;

#[derive(Serialize)]
struct Event<'a, T> {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    timestamp: GoTime,
    stream: &'a str,
    #[serde(flatten)]
    what: T,
}

/// Whose request it was, and where.
#[derive(Serialize)]
struct Asked<'a> {
    client: &'a ClientInfo,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
}

#[derive(Serialize)]
struct SnapshotBegun<'a> {
    state: &'a StreamState,
    #[serde(flatten)]
    asked: Asked<'a>,
}

#[derive(Serialize)]
struct SnapshotEnded<'a> {
    start: GoTime,
    end: GoTime,
    #[serde(flatten)]
    asked: Asked<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct RestoreEnded<'a> {
    start: GoTime,
    end: GoTime,
    bytes: u64,
    #[serde(flatten)]
    asked: Asked<'a>,
}

/// Tells what becomes of one backup or restore.
pub(super) struct Advisor<'a> {
    pub(super) world: &'a World,
    pub(super) account: AccountId,
    pub(super) stream: &'a str,
    pub(super) client: &'a ClientInfo,
}

impl Advisor<'_> {
    fn asked(&self) -> Asked<'_> {
        Asked { client: self.client, domain: &self.world.config.domain }
    }

    fn tell<T: Serialize>(&self, event: &str, what: T) {
        let kind = format!("io.nats.jetstream.advisory.v1.{}", event.to_ascii_lowercase());
        let (id, timestamp) = (self.world.ids.next(), self.world.now_time());
        let payload = json::to_vec(&Event { kind, id, timestamp, stream: self.stream, what });
        self.send(event, &payload);
    }

    /// Sends an advisory about the stream.
    pub(super) fn send(&self, event: &str, payload: &[u8]) {
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.{event}.{}", self.stream);
        let to = subject.as_bytes();
        self.world.host.deliver(self.account, OutMsg { to, subject: to, reply: b"", headers: b"", payload });
    }

    pub(super) fn snapshot_begun(&self, state: &StreamState) {
        self.tell("SNAPSHOT_CREATE", SnapshotBegun { state, asked: self.asked() });
    }

    pub(super) fn snapshot_ended(&self, start: GoTime, error: &str) {
        let end = self.world.now_time();
        self.tell("SNAPSHOT_COMPLETE", SnapshotEnded { start, end, asked: self.asked(), error });
    }

    pub(super) fn restore_begun(&self) {
        self.tell("RESTORE_CREATE", self.asked());
    }

    pub(super) fn restore_ended(&self, start: GoTime, bytes: u64) {
        let end = self.world.now_time();
        self.tell("RESTORE_COMPLETE", RestoreEnded { start, end, bytes, asked: self.asked() });
    }
}
