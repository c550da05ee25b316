//! What a stream tells of itself.

use super::Inner;
use jetkv_go_compat::GoTime;
use serde::{Serialize, Serializer};
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
    #[serde(skip_serializing_if = "SubjectCounts::is_empty")]
    pub(crate) subjects: SubjectCounts,
    /// Sequences missing between first and last.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_deleted: u64,
    /// Which they are, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<u64>,
    /// Consumers.
    pub consumer_count: usize,
}

/// Subjects and how many messages each holds. Their text stands in one piece, as an answer has up to a hundred thousand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SubjectCounts {
    text: String,
    /// Where the text of each ends, and its messages.
    counts: Vec<(usize, u64)>,
}

impl SubjectCounts {
    /// Adds a subject that comes behind all others in byte order.
    pub(crate) fn push(&mut self, subject: &[u8], count: u64) {
        match std::str::from_utf8(subject) {
            Ok(subject) => self.text.push_str(subject),
            Err(_) => self.text.push_str(&String::from_utf8_lossy(subject)),
        }
        self.counts.push((self.text.len(), count));
    }

    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut start = 0;
        self.counts.iter().map(move |(end, count)| {
            let subject = self.text.get(start..*end).unwrap_or_default();
            start = *end;
            (subject, *count)
        })
    }
}

impl Serialize for SubjectCounts {
    /// An object. Subjects that are not text come in the order of what is shown for them, and once.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.iter().map(|(subject, _)| subject).is_sorted_by(|a, b| a < b) {
            return serializer.collect_map(self.iter());
        }
        self.iter().collect::<BTreeMap<_, _>>().serialize(serializer)
    }
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
            subjects: SubjectCounts::default(),
            num_deleted: if zero_deleted { 1 } else { self.store.num_deleted() },
            deleted,
            consumer_count: self.consumers.public_len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SubjectCounts;
    use jetkv_go_compat::json;

    #[test]
    fn subjects_are_an_object_in_order_whatever_bytes_they_have() {
        let shown = |subjects: &[(&[u8], u64)]| {
            let mut counts = SubjectCounts::default();
            subjects.iter().for_each(|(subject, count)| counts.push(subject, *count));
            assert_eq!(counts.len(), subjects.len());
            json::to_string(&counts)
        };
        assert_eq!(shown(&[]), "{}");
        assert_eq!(
            shown(&[(b"a", 1), (b"a.<b>", 2), ("a.é".as_bytes(), 3)]),
            r#"{"a":1,"a.\u003cb\u003e":2,"a.é":3}"#
        );
        // What stands for bytes that are no text comes behind other text, and may be the same for several.
        assert_eq!(
            shown(&[(b"a\x80", 1), (b"a\x81", 2), ("aé".as_bytes(), 3)]),
            "{\"aé\":3,\"a\u{fffd}\":2}"
        );
    }
}
