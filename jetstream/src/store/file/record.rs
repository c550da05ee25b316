//! One record of a message block: layout, checksum, reading and writing.
//!
//! `length:4 sequence:8 time:8 subject length:2 subject [header length:4 headers] payload checksum:8`, all little
//! endian; the length covers the whole record, its highest bit says that there are headers. Observed on nats-server
//! v2.15.2.
#![warn(clippy::indexing_slicing)]

use super::hash;
use crate::store::varint::Fields;
use sha2::{Digest, Sha256};

/// Length, sequence, time and subject length.
pub(super) const HEADER_LEN: usize = 22;
/// The checksum at the end.
pub(super) const CHECKSUM_LEN: usize = 8;
/// A record without subject, headers and payload.
pub(super) const EMPTY_LEN: usize = HEADER_LEN + CHECKSUM_LEN;
/// A longer record is taken for damage.
pub(super) const LEN_MAX: usize = 32 << 20;

const HEADERS_BIT: u32 = 1 << 31;
const ERASED_BIT: u64 = 1 << 63;
const TOMBSTONE_BIT: u64 = 1 << 62;

/// What a record says of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It holds this message.
    Message,
    /// It was assigned, and nothing is held here: erased, or skipped.
    Erased,
    /// It was removed; its record is in this block or an earlier one.
    Tombstone,
}

impl Kind {
    const fn bits(self) -> u64 {
        match self {
            Self::Message => 0,
            Self::Erased => ERASED_BIT,
            Self::Tombstone => TOMBSTONE_BIT,
        }
    }
}

/// A record, borrowed from the bytes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    pub(super) seq: u64,
    pub(super) ts_ns: i64,
    pub(super) subject: &'a [u8],
    pub(super) headers: &'a [u8],
    pub(super) payload: &'a [u8],
    /// Bytes of the whole record.
    pub(super) len: usize,
}

/// Length that the record at the beginning of `bytes` claims, if it is one that a record can have.
pub(super) fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let len = (Fields::new(bytes).u32_le()? & !HEADERS_BIT) as usize;
    (EMPTY_LEN..=LEN_MAX).contains(&len).then_some(len)
}

/// Sequence that the record at the beginning of `bytes` claims; 0 where there is none.
pub(super) fn claimed_seq(bytes: &[u8]) -> u64 {
    let seq = bytes.get(4..12).and_then(|bytes| bytes.try_into().ok());
    seq.map_or(0, u64::from_le_bytes) & !(ERASED_BIT | TOMBSTONE_BIT)
}

/// The record at the beginning of `bytes`, its checksum not looked at; `None` where there is no whole record.
pub(super) fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let len = claimed_len(bytes)?;
    let mut fields = Fields::new(bytes.get(..len)?);
    let has_headers = fields.u32_le()? & HEADERS_BIT != 0;
    let tagged_seq = fields.u64_le()?;
    let ts_ns = fields.u64_le()?.cast_signed();
    let subject_len = u16::from_le_bytes(fields.array()?);
    let seq = tagged_seq & !(ERASED_BIT | TOMBSTONE_BIT);
    let kind = if tagged_seq & TOMBSTONE_BIT != 0 {
        Kind::Tombstone
    } else if tagged_seq & ERASED_BIT != 0 || seq == 0 {
        Kind::Erased
    } else {
        Kind::Message
    };
    let content_len = fields.rest().len().checked_sub(CHECKSUM_LEN)?;
    let mut content = Fields::new(fields.bytes(content_len)?);
    let subject = content.bytes(usize::from(subject_len))?;
    let headers = if has_headers {
        let headers_len = content.u32_le()?;
        content.bytes(usize::try_from(headers_len).ok()?)?
    } else {
        &[]
    };
    Some(Record { kind, seq, ts_ns, subject, headers, payload: content.rest(), len })
}

/// The key of a checksum: SHA-256 of a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChecksumKey([u64; 4]);

impl ChecksumKey {
    /// Of the records in a stream's block.
    pub(super) fn block(stream: &str, block: u32) -> Self {
        Self::name(&format!("{stream}-{block}"))
    }

    /// Of the metadata and state of a stream, or of a consumer (`stream/consumer`).
    pub(super) fn name(name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(digest.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    /// `HighwayHash` (64 bits) over the parts, one after the other.
    #[inline]
    pub(super) fn sum(&self, parts: &[&[u8]]) -> [u8; CHECKSUM_LEN] {
        hash::sum(&self.0, parts).to_le_bytes()
    }

    /// Whether the checksum at the end of a whole record, parsed from `bytes`, is right. It covers sequence, time,
    /// subject, headers and payload; the lengths are covered only in that other lengths select other bytes.
    pub(super) fn verifies(&self, record: &Record<'_>, bytes: &[u8]) -> bool {
        let Some(seq_and_time) = bytes.get(4..20) else { return false };
        let Some(stored) = record.len.checked_sub(CHECKSUM_LEN).and_then(|at| bytes.get(at..record.len))
        else {
            return false;
        };
        // Without headers, subject and payload stand together.
        let behind = bytes.get(HEADER_LEN..record.len - CHECKSUM_LEN).filter(|_| record.headers.is_empty());
        stored
            == match behind {
                Some(content) if content.len() == record.subject.len() + record.payload.len() => {
                    self.sum(&[seq_and_time, content])
                }
                _ => self.sum(&[seq_and_time, record.subject, record.headers, record.payload]),
            }
    }
}

/// Length of the record of such a message; `None` where it does not fit the format.
pub(super) fn record_len(subject_len: usize, headers_len: usize, payload_len: usize) -> Option<usize> {
    u16::try_from(subject_len).ok()?;
    let headers = if headers_len == 0 { 0 } else { headers_len.checked_add(4)? };
    let len = EMPTY_LEN.checked_add(subject_len)?.checked_add(headers)?.checked_add(payload_len)?;
    (len <= LEN_MAX).then_some(len)
}

/// Appends a record to `out`. The lengths have been checked with [`record_len`].
pub(super) fn put_message(out: &mut Vec<u8>, key: &ChecksumKey, len: usize, msg: &crate::store::Msg<'_>) {
    let start = out.len();
    out.reserve(len);
    // The checksum covers what stands before the subject length together with what stands behind it, so they stand
    // together for as long as it takes: two steps of the hash instead of five.
    let mut covered = [0; HEADER_LEN];
    if let Some(place) = covered.last_chunk_mut::<16>() {
        *place = seq_and_time(msg.seq, msg.ts_ns);
    }
    out.extend_from_slice(&covered);
    out.extend_from_slice(msg.subject);
    let mut headers_end = 0;
    if !msg.headers.is_empty() {
        out.extend_from_slice(&u32::try_from(msg.headers.len()).unwrap_or(u32::MAX).to_le_bytes());
        headers_end = out.len() - start;
        out.extend_from_slice(msg.headers);
    }
    out.extend_from_slice(msg.payload);
    let record = out.get_mut(start..).unwrap_or_default();
    let from = HEADER_LEN - 16;
    let sum = if headers_end == 0 {
        key.sum(&[record.get(from..).unwrap_or_default()])
    } else {
        let subject_end = HEADER_LEN + msg.subject.len();
        let parts = [record.get(from..subject_end), record.get(headers_end..)];
        key.sum(&parts.map(Option::unwrap_or_default))
    };
    if let Some(place) = record.first_chunk_mut() {
        *place = header(len, !msg.headers.is_empty(), msg.seq, msg.ts_ns, msg.subject.len());
    }
    out.extend_from_slice(&sum);
}

/// Appends a record without content: a tombstone or a skipped sequence.
#[inline(always)]
pub(super) fn put_marker(out: &mut Vec<u8>, key: &ChecksumKey, kind: Kind, seq: u64, ts_ns: i64) {
    let tagged_seq = seq | kind.bits();
    let mut record = [0; EMPTY_LEN];
    if let Some(place) = record.first_chunk_mut() {
        *place = header(EMPTY_LEN, false, tagged_seq, ts_ns, 0);
    }
    if let Some(place) = record.last_chunk_mut() {
        *place = hash::sum_of_array(&key.0, &seq_and_time(tagged_seq, ts_ns)).to_le_bytes();
    }
    out.extend_from_slice(&record);
}

fn seq_and_time(tagged_seq: u64, ts_ns: i64) -> [u8; 16] {
    (u128::from(tagged_seq) | u128::from(ts_ns.cast_unsigned()) << 64).to_le_bytes()
}

/// The fields before the subject.
fn header(
    len: usize,
    has_headers: bool,
    tagged_seq: u64,
    ts_ns: i64,
    subject_len: usize,
) -> [u8; HEADER_LEN] {
    let len = u32::try_from(len).unwrap_or(u32::MAX) | if has_headers { HEADERS_BIT } else { 0 };
    let subject_len = u16::try_from(subject_len).unwrap_or(u16::MAX);
    let mut fields = [0; HEADER_LEN];
    let (start, rest) = fields.split_at_mut(4);
    let (middle, end) = rest.split_at_mut(16);
    start.copy_from_slice(&len.to_le_bytes());
    middle.copy_from_slice(&seq_and_time(tagged_seq, ts_ns));
    end.copy_from_slice(&subject_len.to_le_bytes());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Msg;

    fn sample() -> (ChecksumKey, Vec<u8>) {
        let key = ChecksumKey::block("KV_b", 3);
        let msg = Msg { seq: 7, ts_ns: -5, subject: b"$KV.b.k", headers: b"NATS/1.0\r\n\r\n", payload: b"v" };
        let mut bytes = Vec::new();
        put_message(&mut bytes, &key, record_len(7, 12, 1).unwrap(), &msg);
        (key, bytes)
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let (key, bytes) = sample();
        let record = parse(&bytes).unwrap();
        assert!(key.verifies(&record, &bytes));
        assert_eq!((record.kind, record.seq, record.ts_ns, record.len), (Kind::Message, 7, -5, bytes.len()));
        assert_eq!(
            (record.subject, record.headers, record.payload),
            (&b"$KV.b.k"[..], &b"NATS/1.0\r\n\r\n"[..], &b"v"[..])
        );
        let mut marker = Vec::new();
        put_marker(&mut marker, &key, Kind::Tombstone, 9, 1);
        let record = parse(&marker).unwrap();
        assert!(key.verifies(&record, &marker));
        assert_eq!((record.kind, record.seq, record.len), (Kind::Tombstone, 9, EMPTY_LEN));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed_and_no_cut_parses() {
        let (key, bytes) = sample();
        // The checksum does not cover where headers end and the payload begins.
        let headers_len = (HEADER_LEN + 7) * 8..(HEADER_LEN + 11) * 8;
        for bit in (0..bytes.len() * 8).filter(|bit| !headers_len.contains(bit)) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let same = parse(&damaged)
                .is_some_and(|record| key.verifies(&record, &damaged) && parse(&bytes) == Some(record));
            assert!(
                parse(&damaged).is_none_or(|record| !key.verifies(&record, &damaged)) || same,
                "bit {bit}"
            );
        }
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), None);
        }
    }

    #[test]
    fn a_record_that_the_format_cannot_hold_has_no_length() {
        assert_eq!(record_len(1 << 16, 0, 0), None);
        assert_eq!(record_len(1, 0, LEN_MAX), None);
        assert_eq!(record_len(3, 0, 2), Some(35));
    }
}
