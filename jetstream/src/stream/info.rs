//! What a stream tells of itself.

use super::Inner;
use jetkv_go_compat::GoTime;
use serde::Serialize;
use std::collections::BTreeMap;

/// The `state` of stream information, in nats-server's order of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StreamState {
    /// Messages held.
    pub messages: u64,
    /// What they count for, bytes.
    pub bytes: u64,
    /// First sequence held.
    pub first_seq: u64,
    /// Time of the first message.
    pub first_ts: GoTime,
    /// Last sequence assigned.
    pub last_seq: u64,
    /// Time of the last message.
    pub last_ts: GoTime,
    /// Distinct subjects.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_subjects: u64,
    /// Messages by subject, where asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<String, u64>,
    /// Sequences missing between first and last.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_deleted: u64,
    /// Which they are, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<u64>,
    /// Consumers.
    pub consumer_count: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Inner {
    /// Counters, and with `deleted` the missing sequences, which are those.
    pub(crate) fn state(&self, deleted: Option<Vec<u64>>) -> StreamState {
        let state = self.store.state();
        // What nats-server v2.15.2 says of a stream that never held anything (observed): a first sequence of 1 where
        // it was asked for; else, in a file, that sequence 0 was deleted.
        let never_used = state.first_seq == 0 && state.last_seq == 0;
        let zero_deleted =
            deleted.is_some() && never_used && self.begun_at_seq == 0 && !self.config.storage.is_memory();
        let deleted = if zero_deleted { vec![0] } else { deleted.unwrap_or_default() };
        let time = |ns: i64| if ns == 0 { GoTime::default() } else { GoTime::from_ns(ns) };
        StreamState {
            messages: state.msgs,
            bytes: state.bytes,
            first_seq: if never_used { self.begun_at_seq.min(1) } else { state.first_seq },
            first_ts: time(state.first_ts_ns),
            last_seq: state.last_seq,
            last_ts: time(state.last_ts_ns),
            num_subjects: state.subjects,
            subjects: BTreeMap::new(),
            num_deleted: if zero_deleted { 1 } else { self.store.num_deleted() },
            deleted,
            consumer_count: self.consumers.public_len(),
        }
    }
}
