//! Consumer configuration: the shape of `CONSUMER.CREATE` and `CONSUMER.INFO`, and of a consumer's `meta.inf`.
//!
//! Field order, names and which fields are left out when empty are those of nats-server v2.15.2 (observed), so that
//! both servers print the same bytes for the same configuration.

use super::stream::{is_false, is_zero, json_enum};
use crate::clock::WallNs;
use crate::filter::Filter;
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::{Decode, Decoder, Value, go_struct};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Configuration of a consumer. Durations are nanoseconds; `-1` in a limit means none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ConsumerConfig {
    /// Name of a durable consumer, empty for an ephemeral one.
    #[serde(rename = "durable_name", skip_serializing_if = "String::is_empty")]
    pub durable: String,
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where it starts.
    pub deliver_policy: DeliverPolicy,
    /// Sequence to start at.
    #[serde(skip_serializing_if = "is_zero")]
    pub opt_start_seq: u64,
    /// Time to start at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<GoTime>,
    /// What must be acknowledged.
    pub ack_policy: AckPolicy,
    /// For how long an acknowledgement is awaited before a message is delivered again.
    #[serde(rename = "ack_wait", skip_serializing_if = "is_zero")]
    pub ack_wait_ns: i64,
    /// Deliveries of one message, -1 for any number.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_deliver: i64,
    /// Waits between the deliveries of one message; the last one repeats.
    #[serde(rename = "backoff", skip_serializing_if = "Vec::is_empty")]
    pub backoff_ns: Vec<i64>,
    /// The one subject, or pattern, wanted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    /// Several subjects, or patterns, wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_subjects: Vec<String>,
    /// How fast stored messages are delivered.
    pub replay_policy: ReplayPolicy,
    /// Bits delivered in a second at most, 0 for any number.
    #[serde(skip_serializing_if = "is_zero")]
    pub rate_limit_bps: u64,
    /// Share of acknowledgements that are reported, as in `50%`.
    #[serde(rename = "sample_freq", skip_serializing_if = "String::is_empty")]
    pub sample_frequency: String,
    /// Pull requests that may wait.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_waiting: i64,
    /// Messages that may await their acknowledgement, -1 for any number.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
    /// Whether deliveries pause until the receiver answers a flow control message.
    #[serde(skip_serializing_if = "is_false")]
    pub flow_control: bool,
    /// Whether payloads stay behind.
    #[serde(skip_serializing_if = "is_false")]
    pub headers_only: bool,
    /// Largest batch of a pull request, 0 for any.
    #[serde(rename = "max_batch", skip_serializing_if = "is_zero")]
    pub max_request_batch: i64,
    /// Longest life of a pull request, 0 for any.
    #[serde(rename = "max_expires", skip_serializing_if = "is_zero")]
    pub max_request_expires_ns: i64,
    /// Most bytes of a pull request, 0 for any number.
    #[serde(rename = "max_bytes", skip_serializing_if = "is_zero")]
    pub max_request_bytes: i64,
    /// Where a push consumer delivers; empty for a pull consumer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_subject: String,
    /// The queue group that a push consumer delivers to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_group: String,
    /// How often a push consumer shows that it lives when it has nothing to deliver.
    #[serde(rename = "idle_heartbeat", skip_serializing_if = "is_zero")]
    pub idle_heartbeat_ns: i64,
    /// Idle time after which the consumer goes.
    #[serde(rename = "inactive_threshold", skip_serializing_if = "is_zero")]
    pub inactive_threshold_ns: i64,
    /// Copies in a cluster.
    pub num_replicas: i64,
    /// Whether its state is not written to disk.
    #[serde(rename = "mem_storage", skip_serializing_if = "is_false")]
    pub memory_storage: bool,
    /// Whether it is internal to the server: neither listed nor counted.
    #[serde(skip_serializing_if = "is_false")]
    pub direct: bool,
    /// Whether it feeds a mirror or source.
    #[serde(skip_serializing_if = "is_false")]
    pub sourcing: bool,
    /// Labels; `_nats.*` belong to the server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When a paused consumer goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_until: Option<GoTime>,
    /// Names of the groups that pull requests may belong to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority_groups: Vec<String>,
    /// Which pull request is served first.
    #[serde(skip_serializing_if = "PriorityPolicy::is_none")]
    pub priority_policy: PriorityPolicy,
    /// Silence after which the pinned client loses its pin.
    #[serde(rename = "priority_timeout", skip_serializing_if = "is_zero")]
    pub pinned_ttl_ns: i64,
}

impl ConsumerConfig {
    /// Whether it is a push consumer.
    #[must_use]
    pub fn is_push(&self) -> bool {
        !self.deliver_subject.is_empty()
    }

    /// Whether it outlives its users' inactivity by default.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        !self.durable.is_empty()
    }

    /// The patterns wanted, none for everything.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        let one = Some(self.filter_subject.as_str()).filter(|subject| !subject.is_empty());
        self.filter_subjects.iter().map(String::as_str).chain(one)
    }

    /// The patterns as a filter for the store.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter::new(self.filters())
    }

    /// The reporting share in percent, 0 for none.
    #[must_use]
    pub fn sample_percent(&self) -> u32 {
        self.sample_frequency.trim_end_matches('%').parse().unwrap_or(0)
    }

    /// When it goes on, if it is paused `now`.
    #[must_use]
    pub fn paused_until(&self, now: WallNs) -> Option<WallNs> {
        let until = self.pause_until.filter(|until| !until.is_zero())?;
        Some(WallNs::from_ns(until.ns())).filter(|until| now < *until)
    }
}

json_enum! {
    /// Where a consumer starts.
    DeliverPolicy {
        /// At the first message of the stream.
        #[default]
        All = "all",
        /// At the last message.
        Last = "last",
        /// After the last message.
        New = "new",
        /// At a sequence.
        ByStartSequence = "by_start_sequence",
        /// At a time.
        ByStartTime = "by_start_time",
        /// With the last message of every subject.
        LastPerSubject = "last_per_subject",
    } also { "undefined" => All }, folds: false
}

json_enum! {
    /// What must be acknowledged.
    AckPolicy {
        /// Nothing.
        #[default]
        None = "none",
        /// Messages; one acknowledgement counts for all before it.
        All = "all",
        /// Every message.
        Explicit = "explicit",
        /// Messages; an answer to flow control counts for all before it.
        FlowControl = "flow_control",
    } also {}, folds: false
}

json_enum! {
    /// How fast stored messages are delivered.
    ReplayPolicy {
        /// As fast as can be.
        #[default]
        Instant = "instant",
        /// At the intervals at which they were stored.
        Original = "original",
    } also {}, folds: false
}

/// Which pull request is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PriorityPolicy {
    /// The oldest.
    #[default]
    None,
    /// The oldest, but some only above thresholds of pending messages.
    Overflow,
    /// Those of one client until it falls silent.
    PinnedClient,
    /// Those with the lowest priority number.
    Prioritized,
}

impl PriorityPolicy {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Serialize for PriorityPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::None => "none",
            Self::Overflow => "overflow",
            Self::PinnedClient => "pinned_client",
            Self::Prioritized => "prioritized",
        })
    }
}

impl Decode for PriorityPolicy {
    fn go_type() -> &'static str {
        "server.PriorityPolicy"
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        *self = match value.raw() {
            b"\"none\"" => Self::None,
            b"\"overflow\"" => Self::Overflow,
            b"\"pinned_client\"" => Self::PinnedClient,
            b"\"prioritized\"" => Self::Prioritized,
            raw => return decoder.fail(format!("unknown priority policy: {}", String::from_utf8_lossy(raw))),
        };
    }
}

go_struct! { ConsumerConfig as "ConsumerConfig" {
    "durable_name" => durable, "name" => name, "description" => description, "deliver_policy" => deliver_policy,
    "opt_start_seq" => opt_start_seq, "opt_start_time" => opt_start_time, "ack_policy" => ack_policy,
    "ack_wait" => ack_wait_ns as Duration, "max_deliver" => max_deliver as Int, "backoff" => backoff_ns as Durations,
    "filter_subject" => filter_subject, "filter_subjects" => filter_subjects, "replay_policy" => replay_policy,
    "rate_limit_bps" => rate_limit_bps, "sample_freq" => sample_frequency, "max_waiting" => max_waiting as Int,
    "max_ack_pending" => max_ack_pending as Int, "flow_control" => flow_control, "headers_only" => headers_only,
    "max_batch" => max_request_batch as Int, "max_expires" => max_request_expires_ns as Duration,
    "max_bytes" => max_request_bytes as Int, "deliver_subject" => deliver_subject,
    "deliver_group" => deliver_group, "idle_heartbeat" => idle_heartbeat_ns as Duration,
    "inactive_threshold" => inactive_threshold_ns as Duration, "num_replicas" => num_replicas as Int,
    "mem_storage" => memory_storage, "direct" => direct, "sourcing" => sourcing, "metadata" => metadata,
    "pause_until" => pause_until, "priority_groups" => priority_groups, "priority_policy" => priority_policy,
    "priority_timeout" => pinned_ttl_ns as Duration,
} }

/// What a create request wants of a consumer that exists, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum ConsumerAction {
    /// Either is fine.
    #[default]
    #[serde(rename = "")]
    CreateOrUpdate,
    /// It must exist.
    #[serde(rename = "update")]
    Update,
    /// It must not exist, or be the same.
    #[serde(rename = "create")]
    Create,
}

impl Decode for ConsumerAction {
    fn go_type() -> &'static str {
        "server.ConsumerAction"
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        *self = match value.raw() {
            b"\"create\"" => Self::Create,
            b"\"update\"" => Self::Update,
            b"\"\"" => Self::CreateOrUpdate,
            raw => return decoder.fail(format!("unknown consumer action: {}", String::from_utf8_lossy(raw))),
        };
    }
}

/// A request to create or update a consumer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CreateConsumerRequest {
    /// The stream, which the subject of the request must name as well.
    #[serde(rename = "stream_name")]
    pub stream: String,
    /// The wanted configuration.
    pub config: ConsumerConfig,
    /// What is wanted of a consumer that exists, or does not.
    pub action: ConsumerAction,
    /// Whether values that would be corrected are refused instead.
    #[serde(skip_serializing_if = "is_false")]
    pub pedantic: bool,
}

go_struct! { CreateConsumerRequest as "CreateConsumerRequest" {
    "stream_name" => stream, "config" => config, "action" => action, "pedantic" => pedantic,
} }
