//! Stream configuration: the shape of `STREAM.CREATE`, `STREAM.UPDATE` and `STREAM.INFO`, and of `meta.inf`.
//!
//! Field order, names and which fields are left out when empty are those of nats-server v2.15.2 (observed), so that
//! both servers print the same bytes for the same configuration.

use jetkv_go_compat::json::{Decode, Decoder, Kind, Value, go_struct};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Configuration of a stream. Durations are nanoseconds; `-1` in a limit means none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StreamConfig {
    /// Name.
    pub name: String,
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Subjects that the stream captures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// When messages are removed.
    pub retention: Retention,
    /// Consumers allowed, -1 for no limit.
    pub max_consumers: i64,
    /// Messages kept, -1 for no limit.
    pub max_msgs: i64,
    /// Bytes kept, -1 for no limit.
    pub max_bytes: i64,
    /// Age at which messages are removed, nanoseconds; 0 for none.
    #[serde(rename = "max_age")]
    pub max_age_ns: i64,
    /// Messages kept of one subject, -1 for no limit.
    pub max_msgs_per_subject: i64,
    /// Largest message (headers and payload) accepted, -1 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_msg_size: i32,
    /// What gives way when a limit is reached.
    pub discard: Discard,
    /// Where messages are kept.
    pub storage: StorageType,
    /// Copies in a cluster.
    pub num_replicas: i64,
    /// Whether publishes go unanswered.
    #[serde(skip_serializing_if = "is_false")]
    pub no_ack: bool,
    /// For how long a `Nats-Msg-Id` is remembered, nanoseconds.
    #[serde(rename = "duplicate_window", skip_serializing_if = "is_zero")]
    pub duplicate_window_ns: i64,
    /// Where in a cluster the stream should live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// The one stream that this one copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSource>,
    /// The streams that this one gathers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<StreamSource>,
    /// Compression of message blocks.
    pub compression: Compression,
    /// Sequence of the first message, 0 for 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub first_seq: u64,
    /// Rewrites subjects before anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_transform: Option<SubjectTransform>,
    /// Publishes again what was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub republish: Option<RePublish>,
    /// Whether `$JS.API.DIRECT.GET` serves this stream.
    pub allow_direct: bool,
    /// Whether a mirror takes part in direct gets of its origin.
    pub mirror_direct: bool,
    /// With discard new: refuse also what exceeds the limit per subject.
    #[serde(skip_serializing_if = "is_false")]
    pub discard_new_per_subject: bool,
    /// Whether the stream is closed for ever.
    pub sealed: bool,
    /// Whether messages cannot be deleted one by one.
    pub deny_delete: bool,
    /// Whether the stream cannot be purged.
    pub deny_purge: bool,
    /// Whether `Nats-Rollup` is honoured.
    pub allow_rollup_hdrs: bool,
    /// Defaults and bounds for consumers.
    pub consumer_limits: ConsumerLimits,
    /// Whether `Nats-TTL` is honoured.
    pub allow_msg_ttl: bool,
    /// Life of subject delete markers, nanoseconds; 0 for no markers.
    #[serde(rename = "subject_delete_marker_ttl", skip_serializing_if = "is_zero")]
    pub subject_delete_marker_ttl_ns: i64,
    /// Whether the stream holds counters.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_msg_counter: bool,
    /// Whether atomic batches are accepted.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_atomic: bool,
    /// Whether scheduled messages are accepted.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_msg_schedules: bool,
    /// How eagerly writes reach the disk.
    #[serde(skip_serializing_if = "PersistMode::is_default")]
    pub persist_mode: PersistMode,
    /// Whether fast batches are accepted.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_batched: bool,
    /// Labels; `_nats.*` belong to the server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl StreamConfig {
    /// Most messages, if there is a limit.
    pub(crate) fn most_msgs(&self) -> Option<u64> {
        limit(self.max_msgs)
    }

    /// Whether messages may have others removed: by a rollup, or as the last one of a schedule.
    pub(crate) fn lets_messages_remove(&self) -> bool {
        self.allow_rollup_hdrs && !self.deny_purge
    }

    /// Most bytes, if there is a limit.
    pub(crate) fn most_bytes(&self) -> Option<u64> {
        limit(self.max_bytes)
    }

    /// Most messages of one subject, if there is a limit.
    pub(crate) fn most_msgs_per_subject(&self) -> Option<u64> {
        limit(self.max_msgs_per_subject)
    }
}

/// A limit that is set.
fn limit(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|most| *most > 0)
}

/// Bounds and defaults that a stream gives its consumers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ConsumerLimits {
    /// Idle time after which consumers go, nanoseconds.
    #[serde(rename = "inactive_threshold", skip_serializing_if = "is_zero")]
    pub inactive_threshold_ns: i64,
    /// Outstanding acknowledgements.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
}

/// Placement in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Placement {
    /// Name of the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Tags that servers must carry. A list without any is not none: with it, there is a placement.
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub tags: Option<Vec<String>>,
    /// Preferred leader.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub preferred: String,
}

/// Another stream that messages come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StreamSource {
    /// Name of the origin.
    pub name: String,
    /// First sequence wanted.
    #[serde(skip_serializing_if = "is_zero")]
    pub opt_start_seq: u64,
    /// First time wanted, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<jetkv_go_compat::GoTime>,
    /// Subjects wanted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    /// Subjects wanted, and what they become.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_transforms: Vec<SubjectTransform>,
    /// An origin in another account or domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalStream>,
    /// A durable consumer at the origin to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<ConsumerSource>,
}

/// Prefixes under which a foreign stream is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ExternalStream {
    /// Prefix of its API.
    pub api: String,
    /// Prefix of deliveries.
    pub deliver: String,
}

/// The durable consumer that a source uses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ConsumerSource {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Deliver subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_subject: String,
}

/// A mapping from subjects to subjects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SubjectTransform {
    /// Pattern of subjects that are mapped.
    pub src: String,
    /// What they become.
    pub dest: String,
}

/// Where stored messages are published again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RePublish {
    /// Pattern of subjects that are published again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub src: String,
    /// What they become.
    pub dest: String,
    /// Whether the payload stays behind.
    #[serde(skip_serializing_if = "is_false")]
    pub headers_only: bool,
}

pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

fn is_none_or_empty(tags: &Option<Vec<String>>) -> bool {
    tags.as_ref().is_none_or(Vec::is_empty)
}

pub(super) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Defines an enumeration that is a JSON string, with Go's error for anything else.
macro_rules! json_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }
        also { $($alias:literal => $target:ident),* }, folds: $folds:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// The value as JSON names it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl Decode for $name {
            fn go_type() -> &'static str {
                concat!("server.", stringify!($name))
            }

            fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
                let raw = value.raw();
                let folded = if $folds { raw.to_ascii_lowercase() } else { raw.to_vec() };
                match std::str::from_utf8(&folded).unwrap_or_default() {
                    $(concat!("\"", $text, "\"") => *self = Self::$variant,)+
                    $(concat!("\"", $alias, "\"") => *self = Self::$target,)*
                    _ => decoder.fail(format!("can not unmarshal {}", jetkv_go_compat::quoted(raw))),
                }
            }
        }
    };
}
#[allow(unused_imports, reason = "one of several users")]
pub(crate) use json_enum;

json_enum! {
    /// When messages are removed.
    Retention {
        /// By limits alone.
        #[default]
        Limits = "limits",
        /// Once every consumer that is interested has acknowledged.
        Interest = "interest",
        /// Once one consumer has acknowledged.
        WorkQueue = "workqueue",
    } also {}, folds: false
}

json_enum! {
    /// What gives way when a limit is reached.
    Discard {
        /// The oldest messages.
        #[default]
        Old = "old",
        /// The new message.
        New = "new",
    } also {}, folds: true
}

json_enum! {
    /// Where messages are kept. A request that does not say means file.
    StorageType {
        /// In files.
        #[default]
        File = "file",
        /// In memory.
        Memory = "memory",
    } also {}, folds: false
}

/// Compression of message blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// S2.
    S2,
}

impl Decode for Compression {
    fn go_type() -> &'static str {
        "server.StoreCompression"
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        if !matches!(value.kind(), Kind::String | Kind::Null) {
            decoder.fail_mismatch(value, "string");
            return;
        }
        let name = value.string();
        match &*name {
            "s2" => *self = Self::S2,
            "none" => *self = Self::None,
            _ => decoder.fail("unknown compression algorithm".into()),
        }
    }
}

json_enum! {
    /// How eagerly writes reach the disk.
    PersistMode {
        /// Flushed before the acknowledgement.
        #[default]
        Default = "default",
        /// Flushed later.
        Async = "async",
    } also { "" => Default }, folds: false
}

impl PersistMode {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

go_struct! { StreamConfig as "StreamConfig" {
    "name" => name, "description" => description, "subjects" => subjects, "retention" => retention,
    "max_consumers" => max_consumers as Int, "max_msgs" => max_msgs, "max_bytes" => max_bytes,
    "max_age" => max_age_ns as Duration, "max_msgs_per_subject" => max_msgs_per_subject,
    "max_msg_size" => max_msg_size, "discard" => discard, "storage" => storage,
    "num_replicas" => num_replicas as Int, "no_ack" => no_ack,
    "duplicate_window" => duplicate_window_ns as Duration, "placement" => placement, "mirror" => mirror,
    "sources" => sources, "compression" => compression, "first_seq" => first_seq,
    "subject_transform" => subject_transform, "republish" => republish, "allow_direct" => allow_direct,
    "mirror_direct" => mirror_direct, "discard_new_per_subject" => discard_new_per_subject, "sealed" => sealed,
    "deny_delete" => deny_delete, "deny_purge" => deny_purge, "allow_rollup_hdrs" => allow_rollup_hdrs,
    "consumer_limits" => consumer_limits, "allow_msg_ttl" => allow_msg_ttl,
    "subject_delete_marker_ttl" => subject_delete_marker_ttl_ns as Duration,
    "allow_msg_counter" => allow_msg_counter, "allow_atomic" => allow_atomic,
    "allow_msg_schedules" => allow_msg_schedules, "persist_mode" => persist_mode,
    "allow_batched" => allow_batched, "metadata" => metadata,
} }
go_struct! { ConsumerLimits as "StreamConsumerLimits" {
    "inactive_threshold" => inactive_threshold_ns as Duration, "max_ack_pending" => max_ack_pending as Int,
} }
go_struct! { Placement as "Placement" { "cluster" => cluster, "tags" => tags, "preferred" => preferred, } }
go_struct! { StreamSource as "StreamSource" {
    "name" => name, "opt_start_seq" => opt_start_seq, "opt_start_time" => opt_start_time,
    "filter_subject" => filter_subject, "subject_transforms" => subject_transforms, "external" => external,
    "consumer" => consumer,
} }
go_struct! { ExternalStream as "ExternalStream" { "api" => api, "deliver" => deliver, } }
go_struct! { ConsumerSource as "StreamConsumerSource" { "name" => name, "deliver_subject" => deliver_subject, } }
go_struct! { SubjectTransform as "SubjectTransformConfig" { "src" => src, "dest" => dest, } }
go_struct! { RePublish as "RePublish" { "src" => src, "dest" => dest, "headers_only" => headers_only, } }
