//! What a consumer remembers across restarts, and its encoding in `o.dat`.
#![warn(clippy::indexing_slicing)]

use super::varint::{Fields, put_uvarint, put_varint};
use highway::{HighwayHash, HighwayHasher, Key};
use std::collections::BTreeMap;

const MAGIC: u8 = 22;
const VERSION: u8 = 2;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Stands before the checksum of all bytes before it. nats-server reads no further than what it knows.
const PROOF: [u8; 4] = *b"jkv1";
const PROOF_LEN: usize = PROOF.len() + size_of::<u64>();

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
    /// It was read, and is not what was written: the checksum is wrong, or it contradicts itself. What nats-server wrote has
    /// no checksum. Of a message that seems acknowledged this proves nothing.
    pub is_doubtful: bool,
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
        let sum = checksum(&out);
        out.extend_from_slice(&PROOF);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads `o.dat` of version 1 (nats-server before 2.2) or 2. `None` where its positions are damaged or it is of another
    /// version; where what follows these cannot be read, the rest is doubtful.
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
        let (floor, delivered) = (state.ack_floor, state.delivered);
        let all = floor.stream_seq | delivered.stream_seq | floor.consumer_seq | delivered.consumer_seq;
        if all >> 63 != 0 {
            return None;
        }
        let pending = state.decode_pending(&mut fields, version);
        let is_cut = pending.and_then(|()| state.decode_redelivered(&mut fields)).is_none();
        state.is_doubtful =
            is_cut || !is_proven(bytes, fields.rest()) || (version == 2 && state.contradicts_itself());
        Some(state)
    }

    /// Whether a message waits for an acknowledgement that was never delivered, or is below the ack floor, or this is
    /// beyond what was delivered.
    pub(crate) fn contradicts_itself(&self) -> bool {
        let (floor, delivered) = (self.ack_floor, self.delivered);
        let is_between = |stream_seq: u64, consumer_seq: u64| {
            (stream_seq > floor.stream_seq && stream_seq <= delivered.stream_seq)
                && (consumer_seq > floor.consumer_seq && consumer_seq <= delivered.consumer_seq)
        };
        floor.stream_seq > delivered.stream_seq
            || floor.consumer_seq > delivered.consumer_seq
            || !self.pending.iter().all(|(seq, pending)| is_between(*seq, pending.consumer_seq))
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
    fn decode_redelivered(&mut self, fields: &mut Fields<'_>) -> Option<()> {
        for _ in 0..fields.count()? {
            let (above_floor, count) = (fields.uvarint()?, fields.uvarint()?);
            if above_floor > 0 && count > 0 {
                self.redelivered.insert(above_floor.wrapping_add(self.ack_floor.stream_seq), count);
            }
        }
        Some(())
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    HighwayHasher::new(Key::default()).hash64(bytes)
}

/// Whether what stands behind a state proves it. Nothing stands there where nats-server wrote it, which is believed.
fn is_proven(bytes: &[u8], behind: &[u8]) -> bool {
    let Some((proof, sum)) = behind.split_at_checked(PROOF.len()) else { return behind.is_empty() };
    let stated = bytes.get(..bytes.len() - behind.len()).map(checksum);
    proof == PROOF && behind.len() == PROOF_LEN && stated.is_some_and(|stated| sum == stated.to_le_bytes())
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
            is_doubtful: false,
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was_written() {
        for state in [ConsumerState::default(), sample()] {
            assert_eq!(ConsumerState::decode(&state.encode()), Some(state));
        }
    }

    #[test]
    fn every_cut_of_a_state_is_refused_or_doubtful_and_never_panics() {
        let encoded = sample().encode();
        // Two bytes at the front, and a byte for each position.
        let begins = 6;
        for len in 0..begins {
            assert_eq!(ConsumerState::decode(&encoded[..len]), None, "cut at {len}");
        }
        for len in begins..encoded.len() {
            let read = ConsumerState::decode(&encoded[..len]).unwrap();
            assert_eq!(
                (read.delivered, read.ack_floor),
                (sample().delivered, sample().ack_floor),
                "cut at {len}"
            );
            // Without what proves it it is what nats-server writes.
            assert_eq!(read.is_doubtful, len != encoded.len() - PROOF_LEN, "cut at {len}");
        }
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        for state in [ConsumerState::default(), ConsumerState::beginning_at(7), sample()] {
            let encoded = state.encode();
            for at in 0..encoded.len() * 8 {
                let mut flipped = encoded.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                let read = ConsumerState::decode(&flipped);
                assert!(read.is_none_or(|read| read.is_doubtful), "{state:?}, bit {at}");
            }
        }
    }

    #[test]
    fn a_state_that_nats_server_wrote_is_believed_unless_it_contradicts_itself() {
        let read = |state: &ConsumerState| {
            let encoded = state.encode();
            ConsumerState::decode(&encoded[..encoded.len() - PROOF_LEN]).unwrap()
        };
        assert_eq!(read(&sample()), sample());
        let ack = |consumer_seq| PendingAck { consumer_seq, ts_ns: NANOS_PER_SECOND };
        for (stream_seq, consumer_seq) in [(30, 9), (41, 9), (31, 8), (31, 13)] {
            let state = ConsumerState { pending: [(stream_seq, ack(consumer_seq))].into(), ..sample() };
            assert!(read(&state).is_doubtful, "{stream_seq} {consumer_seq}");
        }
        for ack_floor in [
            SequencePair { consumer_seq: 13, stream_seq: 30 },
            SequencePair { consumer_seq: 8, stream_seq: 41 },
        ] {
            let state = ConsumerState { ack_floor, pending: BTreeMap::default(), ..sample() };
            assert!(read(&state).is_doubtful, "{ack_floor:?}");
        }
    }

    #[test]
    fn a_huge_count_of_pending_messages_is_not_believed() {
        let mut damaged = vec![MAGIC, VERSION, 0, 0, 0, 0];
        put_uvarint(&mut damaged, u64::MAX);
        let read = ConsumerState::decode(&damaged).unwrap();
        assert!(read.is_doubtful && read.pending.is_empty());
    }
}
