//! A run of messages with neighbouring sequences in one buffer.

use crate::store::Msg;

/// Sequences that one segment spans at most.
pub(super) const SPAN: u64 = 1024;
/// A segment whose buffer reached this size takes no more messages.
const FULL_BYTES: usize = 256 << 10;
/// Dead bytes below this are not worth a compaction.
const COMPACT_BYTES_MIN: usize = 512;
/// The same while messages still come: a key that is written all the time does not make the allocator work.
const COMPACT_OPEN_BYTES_MIN: usize = 16 << 10;
/// Offset of a message that was removed.
const GONE: u32 = u32::MAX;
/// Time, three lengths of up to five bytes.
const RECORD_HEADER_BYTES_MAX: usize = 8 + 3 * 5;

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Sequence relative to the segment's base.
    rel: u16,
    /// Where the record begins, or [`GONE`].
    offset: u32,
}

/// Messages from `base` to below `base + SPAN`. A record in the buffer is its time, the lengths of its parts, and
/// the parts.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    base: u64,
    slots: Vec<Slot>,
    buffer: Vec<u8>,
    live: usize,
    dead_bytes: usize,
    /// Slots before this one are gone.
    front: usize,
    /// No message here is younger.
    ts_max_ns: i64,
    /// Whether messages still come.
    open: bool,
}

impl Segment {
    pub(super) fn new(base: u64) -> Self {
        let (slots, buffer) = (Vec::new(), Vec::new());
        Self { base, slots, buffer, live: 0, dead_bytes: 0, front: 0, ts_max_ns: i64::MIN, open: true }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn ts_max_ns(&self) -> i64 {
        self.ts_max_ns
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.slots.capacity() * size_of::<Slot>() + self.buffer.capacity()
    }

    /// Whether a message at `seq` can be appended here.
    pub(super) fn takes(&self, seq: u64) -> bool {
        self.buffer.len() < FULL_BYTES && seq - self.base < SPAN
    }

    /// Gives back what was reserved for messages that will not come any more.
    pub(super) fn close(&mut self) {
        self.open = false;
        if self.is_wasteful() {
            self.compact();
        } else {
            self.slots.shrink_to_fit();
            self.buffer.shrink_to_fit();
        }
    }

    pub(super) fn append(&mut self, msg: &Msg<'_>) {
        let (Ok(rel), Ok(offset)) = (u16::try_from(msg.seq - self.base), u32::try_from(self.buffer.len()))
        else {
            debug_assert!(false, "the caller asked `takes`");
            return;
        };
        let needed = RECORD_HEADER_BYTES_MAX + msg.content_len();
        if needed > FULL_BYTES / 4 {
            self.buffer.reserve_exact(needed);
        }
        self.buffer.extend_from_slice(&msg.ts_ns.to_le_bytes());
        for length in [msg.subject.len(), msg.headers.len(), msg.payload.len()] {
            put_length(&mut self.buffer, length);
        }
        self.buffer.extend_from_slice(msg.subject);
        self.buffer.extend_from_slice(msg.headers);
        self.buffer.extend_from_slice(msg.payload);
        self.slots.push(Slot { rel, offset });
        self.live += 1;
        self.ts_max_ns = self.ts_max_ns.max(msg.ts_ns);
    }

    pub(super) fn get(&self, seq: u64) -> Option<Msg<'_>> {
        self.slots.get(self.position(seq)?).and_then(|slot| self.read(*slot))
    }

    /// Takes the message at `seq` away; its content is overwritten with zeros if `erase`.
    pub(super) fn remove(&mut self, seq: u64, erase: bool) -> bool {
        let Some(position) = self.position(seq) else { return false };
        let Some(slot) = self.slots.get_mut(position).filter(|slot| slot.offset != GONE) else {
            return false;
        };
        let start = slot.offset as usize;
        slot.offset = GONE;
        let length = self.buffer.get(start..).and_then(record).map_or(0, |(_, length)| length);
        if erase && let Some(bytes) = self.buffer.get_mut(start..start + length) {
            bytes.fill(0);
        }
        self.live -= 1;
        self.dead_bytes += length;
        while self.slots.get(self.front).is_some_and(|slot| slot.offset == GONE) {
            self.front += 1;
        }
        if self.is_wasteful() {
            self.compact();
        }
        true
    }

    /// Whether a third of what is held is of no use any more.
    fn is_wasteful(&self) -> bool {
        let dead = self.dead_bytes + (self.slots.len() - self.live) * size_of::<Slot>();
        let least = if self.open { COMPACT_OPEN_BYTES_MIN } else { COMPACT_BYTES_MIN };
        dead > least && dead * 3 > self.buffer.len() + self.slots.len() * size_of::<Slot>()
    }

    /// Live messages at or after `from_seq`, ascending.
    pub(super) fn up(&self, from_seq: u64) -> impl Iterator<Item = Msg<'_>> {
        let start = self.lower_bound(from_seq).max(self.front);
        self.slots.get(start..).unwrap_or_default().iter().filter_map(|slot| self.read(*slot))
    }

    /// Live messages at or before `upto_seq`, descending.
    pub(super) fn down(&self, upto_seq: u64) -> impl Iterator<Item = Msg<'_>> {
        let end = self.lower_bound(upto_seq.saturating_add(1));
        self.slots.get(self.front..end).unwrap_or_default().iter().rev().filter_map(|slot| self.read(*slot))
    }

    /// How many live messages are at or after `from_seq`.
    pub(super) fn count_from(&self, from_seq: u64) -> u64 {
        if from_seq <= self.base {
            return self.live as u64;
        }
        let slots = self.slots.get(self.lower_bound(from_seq)..).unwrap_or_default();
        slots.iter().filter(|slot| slot.offset != GONE).count() as u64
    }

    fn lower_bound(&self, seq: u64) -> usize {
        let Some(rel) = seq.checked_sub(self.base) else { return 0 };
        self.slots.partition_point(|slot| u64::from(slot.rel) < rel)
    }

    fn position(&self, seq: u64) -> Option<usize> {
        let rel = u16::try_from(seq.checked_sub(self.base)?).ok()?;
        // Without holes the slot stands where its number says.
        let first = self.slots.first()?.rel;
        let guess = usize::from(rel.checked_sub(first)?);
        if self.slots.get(guess).is_some_and(|slot| slot.rel == rel) {
            return Some(guess);
        }
        self.slots.binary_search_by_key(&rel, |slot| slot.rel).ok()
    }

    fn read(&self, slot: Slot) -> Option<Msg<'_>> {
        if slot.offset == GONE {
            return None;
        }
        let (mut msg, _) = record(self.buffer.get(slot.offset as usize..)?)?;
        msg.seq = self.base + u64::from(slot.rel);
        Some(msg)
    }

    /// Copies what is live into memory of its size.
    fn compact(&mut self) {
        let mut slots = Vec::with_capacity(self.live);
        let mut buffer = Vec::with_capacity(self.buffer.len().saturating_sub(self.dead_bytes));
        let mut ts_max_ns = i64::MIN;
        for slot in &self.slots {
            if slot.offset == GONE {
                continue;
            }
            let start = slot.offset as usize;
            let Some((msg, length)) = self.buffer.get(start..).and_then(record) else { continue };
            ts_max_ns = ts_max_ns.max(msg.ts_ns);
            // Cannot exceed the old offset, which fitted.
            slots.push(Slot { rel: slot.rel, offset: u32::try_from(buffer.len()).unwrap_or(GONE) });
            buffer.extend_from_slice(self.buffer.get(start..start + length).unwrap_or_default());
        }
        (self.slots, self.buffer, self.ts_max_ns) = (slots, buffer, ts_max_ns);
        (self.dead_bytes, self.front) = (0, 0);
    }
}

/// The record at the start of `bytes` with its length; its sequence is not part of it.
fn record(bytes: &[u8]) -> Option<(Msg<'_>, usize)> {
    let ts_ns = i64::from_le_bytes(*bytes.first_chunk()?);
    let mut at = 8;
    let mut lengths = [0_usize; 3];
    for length in &mut lengths {
        *length = take_length(bytes, &mut at)?;
    }
    let mut part = |length: usize| {
        let part = bytes.get(at..at + length);
        at += length;
        part
    };
    let (subject, headers, payload) = (part(lengths[0])?, part(lengths[1])?, part(lengths[2])?);
    Some((Msg { seq: 0, ts_ns, subject, headers, payload }, at))
}

/// Seven bits a byte, lowest first; the highest bit says that more follow.
fn put_length(buffer: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        buffer.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    buffer.push(length as u8);
}

fn take_length(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(length);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment_of(count: u64, payload: &[u8]) -> Segment {
        let mut segment = Segment::new(100);
        for seq in 100..100 + count {
            segment.append(&Msg { seq, ts_ns: seq as i64, subject: b"a.b", headers: b"", payload });
        }
        segment
    }

    #[test]
    fn memory_of_removed_messages_is_given_back_and_the_rest_stays_readable() {
        let mut segment = segment_of(200, &[7; 1000]);
        let full = segment.memory_bytes();
        for seq in (100..300).filter(|seq| seq % 10 != 0) {
            assert!(segment.remove(seq, false) && !segment.remove(seq, false));
        }
        assert!(segment.memory_bytes() < full / 4, "{} of {full}", segment.memory_bytes());
        let left: Vec<u64> = segment.up(0).map(|msg| msg.seq).collect();
        assert_eq!(left, (100..300).step_by(10).collect::<Vec<_>>());
        assert_eq!(segment.get(210).unwrap().payload, &[7; 1000]);
        assert_eq!(segment.down(205).map(|msg| msg.seq).next(), Some(200));
        assert_eq!((segment.count_from(201), segment.live()), (9, 20));
    }

    #[test]
    fn an_erased_message_leaves_no_byte_behind() {
        let mut segment = segment_of(2, b"secret");
        segment.remove(100, true);
        let found = segment.buffer.windows(6).filter(|window| *window == b"secret").count();
        assert_eq!(found, 1);
    }
}
