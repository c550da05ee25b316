//! What is known of a block of messages in memory.

use super::record::{CHECKSUM_LEN, ChecksumKey, Kind, Record};
use super::table::{Place, RecordTable};
use jetkv_protocol::Headers;

/// One file of messages. All but the last are only rewritten as a whole or deleted.
#[derive(Debug)]
pub(super) struct Block {
    /// The number in the file's name; blocks are in the order of their numbers.
    pub(super) index: u32,
    pub(super) key: ChecksumKey,
    /// Where the messages held are.
    pub(super) table: RecordTable,
    /// Sequence of the first record, held or not; `last_seq + 1` where there is none.
    pub(super) first_seq: u64,
    /// Sequence of the last record, held or not; that of the block before where there is none.
    pub(super) last_seq: u64,
    pub(super) last_ts_ns: i64,
    /// Bytes of the content, uncompressed.
    pub(super) len: u64,
    /// Bytes of the messages held.
    pub(super) live_bytes: u64,
    /// Records of messages and skipped sequences, held or not.
    pub(super) records: u64,
    /// Records that say that a message here or in an earlier block was removed.
    pub(super) tombstones: u64,
    /// Messages with a time to live that were ever here.
    pub(super) ttls: u64,
    /// Messages with a schedule that were ever here.
    pub(super) schedules: u64,
    /// Whether the file is compressed.
    pub(super) compressed: bool,
    /// Whether there are bytes in it that could not be read.
    pub(super) damaged: bool,
    /// Whether a rewrite would change nothing.
    pub(super) settled: bool,
    /// The last bytes of the content.
    pub(super) last_checksum: [u8; CHECKSUM_LEN],
}

impl Block {
    pub(super) fn new(stream: &str, index: u32, last_seq: u64, last_ts_ns: i64) -> Self {
        Self {
            index,
            key: ChecksumKey::block(stream, index),
            table: RecordTable::default(),
            first_seq: last_seq.saturating_add(1),
            last_seq,
            last_ts_ns,
            len: 0,
            live_bytes: 0,
            records: 0,
            tombstones: 0,
            ttls: 0,
            schedules: 0,
            compressed: false,
            damaged: false,
            settled: false,
            last_checksum: [0; CHECKSUM_LEN],
        }
    }

    /// The same, without its table.
    pub(super) fn without_table(&self) -> Self {
        Self { table: RecordTable::default(), ..*self }
    }

    pub(super) fn live(&self) -> u64 {
        self.table.live() as u64
    }

    /// Whether records of removed messages are still in the file.
    pub(super) fn has_dead(&self) -> bool {
        self.records > self.live()
    }

    /// Whether more than half of the file could be freed.
    pub(super) fn is_mostly_dead(&self) -> bool {
        !self.settled && self.live_bytes * 2 < self.len
    }

    /// Notes a record at `offset`; `held` says whether its message is.
    pub(super) fn note(&mut self, offset: u64, record: &Record<'_>, held: bool) {
        self.len = offset;
        let Record { kind, seq, ts_ns, headers, len, .. } = *record;
        if held {
            self.note_message((seq, ts_ns), headers, len);
        } else {
            self.note_mark(kind, (seq, ts_ns), len);
        }
    }

    /// Notes a record at the end whose message is held.
    #[inline(always)]
    pub(super) fn note_message(&mut self, (seq, ts_ns): (u64, i64), headers: &[u8], len: usize) {
        let offset = self.len;
        self.note_seq(seq, ts_ns, len);
        if let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(len)) {
            self.table.push(seq, Place { offset, len });
            self.live_bytes += u64::from(len);
            if !headers.is_empty() {
                let headers = Headers::new(headers);
                self.ttls += u64::from(headers.contains(b"Nats-TTL"));
                self.schedules += u64::from(headers.contains(b"Nats-Schedule"));
            }
        }
    }

    /// Notes a record at the end that holds nothing.
    #[inline]
    pub(super) fn note_mark(&mut self, kind: Kind, (seq, ts_ns): (u64, i64), len: usize) {
        if kind == Kind::Tombstone {
            self.len += len as u64;
            self.tombstones += 1;
        } else {
            self.note_seq(seq, ts_ns, len);
        }
    }

    #[inline]
    fn note_seq(&mut self, seq: u64, ts_ns: i64, len: usize) {
        self.len += len as u64;
        if self.records == 0 {
            self.first_seq = seq;
        }
        self.records += 1;
        (self.last_seq, self.last_ts_ns) = (seq, ts_ns);
    }

    /// Forgets a message; says how long its record is.
    pub(super) fn forget(&mut self, seq: u64) -> Option<u64> {
        let (at, _) = self.table.find(seq)?;
        self.forget_at(at)
    }

    /// Forgets the message that was found at a place of the table; says how long its record is.
    #[inline]
    pub(super) fn forget_at(&mut self, at: usize) -> Option<u64> {
        let place = self.table.remove_at(at)?;
        let len = u64::from(place.len);
        self.live_bytes -= len;
        self.settled = false;
        Some(len)
    }

    /// Holds a message again that was forgotten.
    pub(super) fn hold_again(&mut self, seq: u64, place: Place) {
        self.table.restore(seq, place);
        self.live_bytes += u64::from(place.len);
    }

    /// Forgets every message.
    pub(super) fn forget_all(&mut self) {
        self.table = RecordTable::default();
        self.live_bytes = 0;
        self.settled = false;
    }

    /// Whether a record of `seq` may be in the file although the message is removed.
    pub(super) fn may_hold_dead(&self, seq: u64) -> bool {
        self.has_dead() && (self.first_seq..=self.last_seq).contains(&seq)
    }
}
