//! Reading all records of a block in order, past damage.
#![warn(clippy::indexing_slicing)]

use super::record::{ChecksumKey, EMPTY_LEN, HEADER_LEN, Kind, Record, claimed_len, claimed_seq, parse};
use std::ops::Range;

/// While looking for the end of damage, a record whose sequence is this far above the one before is not believed.
const SEQ_JUMP_MAX: u64 = 1 << 32;
/// What looks like a record and is none costs a checksum over the length that it claims. So many bytes, times the
/// length of the block, are spent on that; bytes that were made to look like records could take hours otherwise.
const WASTE_FACTOR: u64 = 8;

/// What stands at a place in a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole record with the right checksum, and where it begins.
    Record(usize, Record<'a>),
    /// Bytes that are no record.
    Damage(Damage),
}

impl<'a> Found<'a> {
    /// A record of a message or a mark.
    pub(super) fn sequenced(&self) -> Option<&Record<'a>> {
        match self {
            Self::Record(_, record) if record.kind != Kind::Tombstone && record.seq != 0 => Some(record),
            _ => None,
        }
    }
}

/// A stretch of a block that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    /// Offsets in the (uncompressed) content.
    pub(super) range: Range<usize>,
    /// The sequence that its first bytes claim, if they look like the begin of a message's record.
    pub(super) claimed_seq: Option<u64>,
    /// Whether it is what a write leaves that did not get to its end: too short for the record that it begins with,
    /// or zeros to the end.
    pub(super) torn: bool,
}

/// Everything in the content of a block, in order.
pub(super) struct Scan<'a> {
    content: &'a [u8],
    key: ChecksumKey,
    at: usize,
    last_seq: u64,
    /// Bytes spent on checksums of what proved to be no record.
    wasted_bytes: u64,
    next_unfit: NextUnfit,
}

/// Where the next byte is that no subject has, so that none is looked at again for each subject that it might be in.
#[derive(Default)]
struct NextUnfit {
    /// It is the first one at or after this offset,
    from: usize,
    /// and this is where it is; the end of the content where there is none.
    at: usize,
    /// Bytes looked at.
    looked_bytes: u64,
}

impl NextUnfit {
    /// Whether a message's subject may stand there.
    fn allows(&mut self, content: &[u8], subject: Range<usize>) -> bool {
        if subject.start < self.from || subject.start > self.at || self.looked_bytes == 0 {
            let rest = content.get(subject.start..).unwrap_or_default();
            let len = rest.iter().position(|byte| b"\0\t\n\r ".contains(byte)).unwrap_or(rest.len());
            (self.from, self.at) = (subject.start, subject.start + len);
            self.looked_bytes += len as u64 + 1;
        }
        subject.end <= self.at
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(content: &'a [u8], key: ChecksumKey) -> Self {
        Self { content, key, at: 0, last_seq: 0, wasted_bytes: 0, next_unfit: NextUnfit::default() }
    }

    /// Whether it was given up to look for records behind damage, since too much looked like one.
    pub(super) fn gave_up(&self) -> bool {
        self.wasted_bytes > (self.content.len() as u64).saturating_mul(WASTE_FACTOR)
    }

    fn valid_at(&mut self, offset: usize) -> Option<Record<'a>> {
        let bytes = self.content.get(offset..)?;
        let record = parse(bytes)?;
        if self.key.verifies(&record, bytes) {
            return Some(record);
        }
        self.wasted_bytes = self.wasted_bytes.saturating_add(record.len as u64);
        None
    }

    /// Whether fields are those of a record, before its checksum is looked at.
    fn is_plausible(&mut self, offset: usize, record: &Record<'_>) -> bool {
        let subject = offset + HEADER_LEN..offset + HEADER_LEN + record.subject.len();
        match record.kind {
            Kind::Message => !subject.is_empty() && self.next_unfit.allows(self.content, subject),
            // What was erased in its place keeps the length of its subject.
            Kind::Erased => true,
            Kind::Tombstone => subject.is_empty(),
        }
    }

    /// Where the first record after damage at `start` begins, or the end of the block.
    fn end_of_damage(&mut self, start: usize) -> usize {
        let end = self.content.len();
        let claimed = self.content.get(start..).and_then(claimed_len).map(|len| start + len);
        if let Some(next) = claimed.filter(|next| *next == end || self.valid_at(*next).is_some()) {
            return next;
        }
        // Candidates are judged by their fields before the checksum is computed: most offsets fail at once, by length
        // or sequence.
        let seq_max = self.last_seq.saturating_add(SEQ_JUMP_MAX);
        for offset in start + 1..=end.saturating_sub(EMPTY_LEN) {
            let Some(bytes) = self.content.get(offset..) else { break };
            let fits = claimed_len(bytes).is_some_and(|len| len <= bytes.len());
            if !fits || !(1..=seq_max).contains(&claimed_seq(bytes)) {
                continue;
            }
            if !parse(bytes).is_some_and(|record| self.is_plausible(offset, &record)) {
                continue;
            }
            if self.gave_up() {
                return end;
            }
            if self.valid_at(offset).is_some() {
                return offset;
            }
        }
        end
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let start = self.at;
        let bytes = self.content.get(start..).filter(|bytes| !bytes.is_empty())?;
        if let Some(record) = self.valid_at(start) {
            self.at += record.len;
            self.last_seq = self.last_seq.max(record.seq);
            return Some(Found::Record(start, record));
        }
        let end = self.end_of_damage(start);
        self.at = end;
        let short = bytes.len() < EMPTY_LEN || claimed_len(bytes).is_some_and(|len| len > bytes.len());
        let torn = end == self.content.len() && (short || bytes.iter().all(|byte| *byte == 0));
        let claimed_seq = bytes
            .get(4..12)
            .and_then(|seq| Some(u64::from_le_bytes(seq.try_into().ok()?)))
            .filter(|seq| *seq > self.last_seq && *seq <= self.last_seq.saturating_add(SEQ_JUMP_MAX));
        Some(Found::Damage(Damage { range: start..end, claimed_seq, torn }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{put_marker, put_message, record_len};
    use super::*;
    use crate::store::Msg;

    fn block() -> (ChecksumKey, Vec<u8>, Vec<usize>) {
        let key = ChecksumKey::block("S", 1);
        let mut content = Vec::new();
        let mut starts = Vec::new();
        for seq in 1..=5 {
            starts.push(content.len());
            let msg = Msg { seq, ts_ns: 1, subject: b"s", headers: b"", payload: b"payload" };
            put_message(&mut content, &key, record_len(1, 0, 7).unwrap(), &msg);
        }
        starts.push(content.len());
        put_marker(&mut content, &key, Kind::Tombstone, 2, 1);
        (key, content, starts)
    }

    fn seqs(content: &[u8], key: ChecksumKey) -> (Vec<u64>, Vec<Damage>) {
        let (mut seqs, mut damage) = (Vec::new(), Vec::new());
        for found in Scan::new(content, key) {
            match found {
                Found::Record(_, record) => seqs.push(record.seq),
                Found::Damage(found) => damage.push(found),
            }
        }
        (seqs, damage)
    }

    #[test]
    fn a_flipped_bit_anywhere_costs_no_record_but_its_own() {
        let (key, content, starts) = block();
        for bit in 0..content.len() * 8 {
            let mut damaged = content.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let hit = starts.iter().rposition(|start| *start <= bit / 8).unwrap();
            let mut expected = vec![1, 2, 3, 4, 5, 2];
            let all = expected.clone();
            expected.remove(hit);
            let (found, damage) = seqs(&damaged, key);
            if found != all {
                assert_eq!(found, expected, "bit {bit}");
                assert_eq!(damage.len(), 1);
                assert_eq!(damage[0].range.start, starts[hit]);
            }
        }
    }

    #[test]
    fn a_cut_block_ends_in_a_torn_record() {
        let (key, content, starts) = block();
        for len in 0..content.len() {
            let (found, damage) = seqs(&content[..len], key);
            let whole = starts.iter().filter(|start| **start <= len).count() - 1;
            assert_eq!(found.len(), whole, "cut at {len}");
            if starts.contains(&len) {
                assert!(damage.is_empty());
            } else {
                assert!(damage[0].torn, "cut at {len}");
            }
        }
        let mut padded = content.clone();
        padded.extend_from_slice(&[0; 4096]);
        let (found, damage) = seqs(&padded, key);
        assert!(found.len() == 6 && damage[0].torn);
    }

    #[test]
    fn bytes_that_may_be_in_many_subjects_are_looked_at_once() {
        let key = ChecksumKey::block("S", 1);
        let mut content = Vec::new();
        let msg = Msg { seq: 0x0101_0101_0101_0100, ts_ns: 1, subject: b"s", headers: b"", payload: b"" };
        put_message(&mut content, &key, record_len(1, 0, 0).unwrap(), &msg);
        // Each of these claims the longest subject there is, in which one byte far behind can not be.
        while content.len() < 1 << 20 {
            for _ in 0..2_600 {
                content.extend_from_slice(&[1; 12]);
                content.extend_from_slice(&[0xff; 12]);
            }
            content.push(b' ');
        }
        content.resize(17 << 20, b' ');
        put_message(&mut content, &key, record_len(1, 0, 0).unwrap(), &Msg { seq: msg.seq + 1, ..msg });
        let mut scan = Scan::new(&content, key);
        let found: Vec<_> = scan.by_ref().collect();
        assert!(
            matches!(&found[..], [Found::Record(..), Found::Damage(_), Found::Record(..)]),
            "{}",
            found.len()
        );
        assert!(scan.next_unfit.looked_bytes <= content.len() as u64, "{}", scan.next_unfit.looked_bytes);
    }

    #[test]
    fn bytes_made_to_look_like_records_cost_time_in_proportion_to_their_length() {
        let key = ChecksumKey::block("S", 1);
        let len = 4 << 20;
        // Each of these claims to go on nearly to the end, and has a subject that a message may have.
        let mut content = Vec::with_capacity(len);
        while content.len() + 64 < len {
            let claimed = u32::try_from(len - content.len() - 1).unwrap();
            content.extend_from_slice(&claimed.to_le_bytes());
            content.extend_from_slice(&1_u64.to_le_bytes());
            content.extend_from_slice(&1_i64.to_le_bytes());
            content.extend_from_slice(&2_u16.to_le_bytes());
            content.extend_from_slice(b"abcd");
        }
        content.resize(len, b'.');
        let mut scan = Scan::new(&content, key);
        let found: Vec<_> = scan.by_ref().collect();
        assert!(scan.gave_up());
        assert!(matches!(&found[..], [Found::Damage(damage)] if damage.range == (0..content.len())));
        assert!(scan.wasted_bytes <= (WASTE_FACTOR + 1) * content.len() as u64);
    }
}
