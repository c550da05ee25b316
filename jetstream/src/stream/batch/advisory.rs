//! Telling those who watch that a batch came to nothing.

use crate::stream::Inner;
use jetkv_go_compat::GoTime;
use serde::Serialize;

/// Why a batch was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reason {
    /// Its publisher was silent for too long.
    Timeout,
    /// It has more messages than a batch may have.
    Large,
    /// A message is missing, or there was no room for one.
    Incomplete,
    /// It needs a higher API level.
    Unsupported,
}

#[derive(Serialize)]
struct Abandoned<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: GoTime,
    stream: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
    batch: &'a str,
    reason: Reason,
}

impl Inner {
    /// Queues the advisory, unless nobody listens.
    pub(super) fn advise_abandoned(&mut self, id: &[u8], reason: Reason) {
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.{}", self.config.name);
        if !self.world.host.has_interest(self.account.id, subject.as_bytes(), None) {
            return;
        }
        let body = jetkv_go_compat::json::to_vec(&Abandoned {
            kind: "io.nats.jetstream.advisory.v1.stream_batch_abandoned",
            id: self.world.ids.next(),
            timestamp: GoTime::from_ns(self.stamp_ns()),
            stream: &self.config.name,
            domain: &self.world.config.domain,
            batch: &String::from_utf8_lossy(id),
            reason,
        });
        self.outbox.push_with(subject.as_bytes(), |payload| payload.extend_from_slice(&body));
    }
}
