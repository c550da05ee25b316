//! What a consumer remembers across restarts, and its encoding in `o.dat`.
#![warn(clippy::indexing_slicing)]

use super::varint::{Fields, put_uvarint, put_varint};
use std::collections::BTreeMap;

const MAGIC: u8 = 22;
const VERSION: u8 = 2;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A pair of positions: the consumer's own count and the sequence in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequencePair {
    /// Deliveries of this consumer, from 1.
    pub consumer_seq: u64,
    /// Sequence in the stream.
    pub stream_seq: u64,
}

/// A delivery that waits for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PendingAck {
    /// The consumer sequence of the first delivery.
    pub consumer_seq: u64,
    /// Time of the last delivery, nanoseconds since 1970. Kept on disk in whole seconds.
    pub ts_ns: i64,
}

/// What a consumer remembers across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerState {
    /// The last delivery.
    pub delivered: SequencePair,
    /// Everything up to here is acknowledged.
    pub ack_floor: SequencePair,
    /// Deliveries that wait for their acknowledgement, by stream sequence; all above the ack floor.
    pub pending: BTreeMap<u64, PendingAck>,
    /// How often a message was delivered again, by stream sequence; only messages delivered more than once.
    pub redelivered: BTreeMap<u64, u64>,
}

impl ConsumerState {
    /// That of a consumer which has delivered nothing yet and begins with the message at `stream_seq`.
    #[must_use]
    pub fn beginning_at(stream_seq: u64) -> Self {
        let before = SequencePair { consumer_seq: 0, stream_seq: stream_seq.saturating_sub(1) };
        Self { delivered: before, ack_floor: before, ..Self::default() }
    }

    /// The bytes of `o.dat`, version 2, as nats-server v2.15.2 reads and writes them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + 12 * self.pending.len() + 8 * self.redelivered.len());
        out.extend_from_slice(&[MAGIC, VERSION]);
        put_uvarint(&mut out, self.ack_floor.consumer_seq);
        put_uvarint(&mut out, self.ack_floor.stream_seq);
        put_uvarint(&mut out, self.delivered.consumer_seq);
        put_uvarint(&mut out, self.delivered.stream_seq);
        put_uvarint(&mut out, self.pending.len() as u64);
        if let Some(newest_ns) = self.pending.values().map(|pending| pending.ts_ns).max() {
            // Times are stored as seconds before a base; nats-server takes the moment of writing, any base will do.
            let base_s = newest_ns.div_euclid(NANOS_PER_SECOND);
            put_varint(&mut out, base_s);
            for (stream_seq, pending) in &self.pending {
                put_uvarint(&mut out, stream_seq.wrapping_sub(self.ack_floor.stream_seq));
                put_uvarint(&mut out, pending.consumer_seq.wrapping_sub(self.ack_floor.consumer_seq));
                put_varint(&mut out, base_s.wrapping_sub(pending.ts_ns.div_euclid(NANOS_PER_SECOND)));
            }
        }
        put_uvarint(&mut out, self.redelivered.len() as u64);
        for (stream_seq, count) in &self.redelivered {
            put_uvarint(&mut out, stream_seq.wrapping_sub(self.ack_floor.stream_seq));
            put_uvarint(&mut out, *count);
        }
        out
    }

    /// Reads `o.dat` of version 1 (nats-server before 2.2) or 2. `None` where the bytes are damaged or of another
    /// version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let [magic, version] = fields.array()?;
        if magic != MAGIC || !matches!(version, 1 | 2) {
            return None;
        }
        let mut state = Self::default();
        state.ack_floor.consumer_seq = fields.uvarint()?;
        state.ack_floor.stream_seq = fields.uvarint()?;
        state.delivered.consumer_seq = fields.uvarint()?;
        state.delivered.stream_seq = fields.uvarint()?;
        if version == 1 {
            // Version 1 kept the next delivery, counted from the ack floor.
            let floor = state.ack_floor;
            state.delivered.consumer_seq =
                state.delivered.consumer_seq.checked_add(floor.consumer_seq.saturating_sub(1))?;
            state.delivered.stream_seq =
                state.delivered.stream_seq.checked_add(floor.stream_seq.saturating_sub(1))?;
        }
        if (state.ack_floor.stream_seq | state.delivered.stream_seq) >> 63 != 0 {
            return None;
        }
        state.decode_pending(&mut fields, version)?;
        state.decode_redelivered(&mut fields);
        Some(state)
    }

    fn decode_pending(&mut self, fields: &mut Fields<'_>, version: u8) -> Option<()> {
        let count = fields.count()?;
        if count == 0 {
            return Some(());
        }
        let base_s = fields.varint()?;
        for _ in 0..count {
            let stream_seq = fields.uvarint()?.wrapping_add(self.ack_floor.stream_seq);
            let consumer_seq = match version {
                1 => 0,
                _ => fields.uvarint()?.wrapping_add(self.ack_floor.consumer_seq),
            };
            let offset_s = fields.varint()?;
            let at_s =
                if version == 1 { base_s.checked_add(offset_s) } else { base_s.checked_sub(offset_s) }?;
            if stream_seq == 0 {
                return None;
            }
            let ts_ns = at_s.checked_mul(NANOS_PER_SECOND)?;
            self.pending.insert(stream_seq, PendingAck { consumer_seq, ts_ns });
        }
        Some(())
    }

    /// How often messages came again. Where that part is cut off the rest holds, as with nats-server: those come once more
    /// than they should.
    fn decode_redelivered(&mut self, fields: &mut Fields<'_>) {
        for _ in 0..fields.count().unwrap_or(0) {
            let (Some(above_floor), Some(count)) = (fields.uvarint(), fields.uvarint()) else { return };
            if above_floor > 0 && count > 0 {
                self.redelivered.insert(above_floor.wrapping_add(self.ack_floor.stream_seq), count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ConsumerState {
        let ack = |consumer_seq, seconds: i64| PendingAck { consumer_seq, ts_ns: seconds * NANOS_PER_SECOND };
        ConsumerState {
            delivered: SequencePair { consumer_seq: 12, stream_seq: 40 },
            ack_floor: SequencePair { consumer_seq: 8, stream_seq: 30 },
            pending: [(31, ack(9, 1_700_000_000)), (36, ack(11, 1_700_000_050))].into(),
            redelivered: [(31, 2)].into(),
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was_written() {
        for state in [ConsumerState::default(), sample()] {
            assert_eq!(ConsumerState::decode(&state.encode()), Some(state));
        }
    }

    #[test]
    fn every_cut_of_a_state_is_refused_or_shorter_and_never_panics() {
        let encoded = sample().encode();
        let uncounted = ConsumerState { redelivered: BTreeMap::default(), ..sample() };
        // The count of those that came again, and one of them.
        let begins = encoded.len() - 3;
        for len in 0..begins {
            assert_eq!(ConsumerState::decode(&encoded[..len]), None, "cut at {len}");
        }
        for len in begins..encoded.len() {
            assert_eq!(ConsumerState::decode(&encoded[..len]), Some(uncounted.clone()), "cut at {len}");
        }
    }

    #[test]
    fn a_huge_count_of_pending_messages_is_refused() {
        let mut damaged = vec![MAGIC, VERSION, 0, 0, 0, 0];
        put_uvarint(&mut damaged, u64::MAX);
        assert_eq!(ConsumerState::decode(&damaged), None);
    }
}
