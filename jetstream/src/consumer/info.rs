//! What `CONSUMER.INFO` says.

use super::set::Shared;
use super::{Consumer, Out, Position};
use crate::clock::WallNs;
use crate::config::ConsumerConfig;
use jetkv_go_compat::GoTime;
use serde::Serialize;

/// A position and when it was last moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SequenceInfo {
    /// Count of the consumer's deliveries.
    pub consumer_seq: u64,
    /// Sequence in the stream.
    pub stream_seq: u64,
    /// Last move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active: Option<GoTime>,
}

impl SequenceInfo {
    fn new(position: Position, last: Option<WallNs>) -> Self {
        Self {
            consumer_seq: position.dseq,
            stream_seq: position.sseq,
            last_active: last.map(|at| GoTime::from_ns(at.ns())),
        }
    }
}

/// The state of a priority group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PriorityGroupState {
    /// Name.
    pub group: String,
    /// The client that is served alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pinned_client_id: String,
    /// Since when; Go's zero time without a pin.
    pub pinned_ts: GoTime,
}

/// A consumer as the API shows it; fields in nats-server's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsumerInfo {
    /// Its stream.
    pub stream_name: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: GoTime,
    /// Its configuration.
    pub config: ConsumerConfig,
    /// The last delivery.
    pub delivered: SequenceInfo,
    /// Everything up to here is acknowledged.
    pub ack_floor: SequenceInfo,
    /// Deliveries that wait for their acknowledgement.
    pub num_ack_pending: usize,
    /// Messages delivered more than once.
    pub num_redelivered: usize,
    /// Pull requests that wait.
    pub num_waiting: usize,
    /// Messages that match and were never delivered.
    pub num_pending: u64,
    /// Whether someone listens on the deliver subject.
    #[serde(skip_serializing_if = "is_false")]
    pub push_bound: bool,
    /// Whether it is paused.
    #[serde(skip_serializing_if = "is_false")]
    pub paused: bool,
    /// For how long still, nanoseconds.
    #[serde(rename = "pause_remaining", skip_serializing_if = "is_zero")]
    pub pause_remaining_ns: i64,
    /// When this was gathered.
    pub ts: GoTime,
    /// Its priority groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority_groups: Vec<PriorityGroupState>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl Consumer {
    /// What there is to say; ends requests that are over, so that they are not counted.
    pub(super) fn info(&mut self, shared: &mut Shared, out: &mut Out<'_>) -> ConsumerInfo {
        if !self.is_push() {
            self.sweep_requests(shared, out, false);
        }
        let now = out.now.wall();
        let paused_until = self.config.paused_until(now);
        let groups = self.config.priority_groups.first().map(|group| PriorityGroupState {
            group: group.clone(),
            pinned_client_id: self.pin.as_ref().map_or_else(String::new, |pin| pin.id.clone()),
            pinned_ts: self.pin.as_ref().map_or_else(GoTime::default, |pin| GoTime::from_ns(pin.since.ns())),
        });
        // nats-server tells how far it has looked of one in memory that has delivered nothing, and always of one that
        // feeds a mirror or source (observed).
        let in_memory = self.config.memory_storage || out.config.storage.is_memory();
        let shows_looked = self.config.direct || (in_memory && self.delivered == Position::default());
        let delivered = if shows_looked {
            Position { dseq: self.next_dseq - 1, sseq: self.next_sseq - 1 }
        } else {
            self.delivered
        };
        ConsumerInfo {
            stream_name: out.config.name.clone(),
            name: self.name.to_string(),
            created: GoTime::from_ns(self.created_ns),
            config: self.config.clone(),
            delivered: SequenceInfo::new(delivered, self.last_delivered),
            ack_floor: SequenceInfo::new(self.told_floor(), self.last_acked),
            num_ack_pending: self.pending.len(),
            // With a single delivery nothing is redelivered; the counts only mark what was given up.
            num_redelivered: if self.config.max_deliver == 1 { 0 } else { self.redelivery.counted() },
            num_waiting: self.requests.len(),
            num_pending: self.num_pending,
            push_bound: self.is_push() && self.active,
            paused: paused_until.is_some(),
            pause_remaining_ns: paused_until.map_or(0, |until| until.since(now)),
            ts: GoTime::from_ns(now.ns()),
            priority_groups: groups.into_iter().collect(),
        }
    }
}
