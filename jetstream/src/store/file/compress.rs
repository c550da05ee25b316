//! The compressed form of a whole block: `cmp`, the algorithm, the original length, an S2 stream of all but the
//! last eight bytes, and these as they are. A block thus ends with the checksum of its last record in both forms.
#![warn(clippy::indexing_slicing)]

use super::record::CHECKSUM_LEN;
use crate::store::chunk_sum::{CHUNK_SUM_LEN, chunk_sum};
use crate::store::varint::{Fields, put_uvarint};
use std::io::Write;

const MAGIC: &[u8; 4] = b"cmp\x01";
/// A block never comes near this; what is longer is damage.
const CONTENT_LEN_MAX: u64 = 256 << 20;
/// How an S2 stream begins.
const STREAM_ID: &[u8; 10] = b"\xff\x06\0\0S2sTwO";
/// Kinds of the chunks of an S2 stream that hold content.
const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
/// Kinds that hold none and may stand anywhere: what a reader need not know, padding, and the begin of a stream.
const WITHOUT_CONTENT: std::ops::RangeInclusive<u8> = 0x80..=0xff;
/// Content of one chunk.
const CHUNK_LEN_MAX: usize = 4 << 20;

/// Whether the content of a block file is compressed. A plain block would have to begin with a record of 24,145,251
/// bytes to be mistaken for it; [`decompress`] fails for that one, and it is then read as it is.
pub(super) fn is_compressed(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

/// The content of a block from its compressed form.
pub(super) struct Decompressed {
    pub(super) content: Vec<u8>,
    /// Whether all of it is there. Else zeros stand for what cannot be decompressed, as far as its length is known.
    pub(super) whole: bool,
}

/// The content of a block from its compressed form; `None` where nothing of it can be had. The length that the file
/// tells is not needed: records have checksums of their own.
pub(super) fn decompress(file: &[u8]) -> Option<Decompressed> {
    let mut fields = Fields::new(file.strip_prefix(MAGIC)?);
    let told_len = fields.uvarint();
    let (body, checksum) = fields.rest().split_at_checked(fields.rest().len().checked_sub(CHECKSUM_LEN)?)?;
    // A wrong length must not ask for more room than such a stream can need.
    let room = told_len.and_then(|len| usize::try_from(len).ok()).unwrap_or(0).min(body.len() * 16);
    let mut content = Vec::with_capacity(room);
    let whole = unpack(body, &mut content)?;
    content.extend_from_slice(checksum);
    Some(Decompressed { content, whole })
}

/// Appends what can be had of an S2 stream, chunk by chunk: each has a checksum of its own, and needs no other. Says
/// whether that is all; `None` where it is nothing.
fn unpack(body: &[u8], content: &mut Vec<u8>) -> Option<bool> {
    let stream = body.strip_prefix(STREAM_ID);
    let (mut whole, mut any) = (stream.is_some(), false);
    let mut rest = stream.unwrap_or(body);
    while let Some((header, behind)) = rest.split_first_chunk::<4>() {
        let [kind, len @ ..] = *header;
        let len = len.iter().rev().fold(0, |len, byte| len << 8 | usize::from(*byte));
        let Some((chunk, next)) = behind.split_at_checked(len) else { break };
        rest = next;
        if WITHOUT_CONTENT.contains(&kind) {
            continue;
        }
        let plain_len = plain_len(kind, chunk);
        let start = content.len();
        if (start + plain_len.unwrap_or(0)) as u64 > CONTENT_LEN_MAX {
            return any.then_some(false);
        }
        // Zeros stand for what cannot be had, as far as its length is known.
        content.resize(start + plain_len.unwrap_or(0), 0);
        let target = content.get_mut(start..).unwrap_or_default();
        if plain_len.is_some() && unpack_chunk(kind, chunk, target).is_some() {
            any = true;
        } else {
            target.fill(0);
            whole = false;
        }
    }
    whole &= rest.is_empty();
    (whole || any).then_some(whole)
}

/// How long the content of a chunk is.
fn plain_len(kind: u8, chunk: &[u8]) -> Option<usize> {
    let data = chunk.get(CHUNK_SUM_LEN..)?;
    let len = match kind {
        COMPRESSED => minlz::s2::decode_len(data).ok()?.0,
        PLAIN => data.len(),
        _ => return None,
    };
    (len <= CHUNK_LEN_MAX).then_some(len)
}

/// Puts the content of a chunk where it belongs; `None` where it is damaged.
fn unpack_chunk(kind: u8, chunk: &[u8], target: &mut [u8]) -> Option<()> {
    let (sum, data) = chunk.split_first_chunk::<CHUNK_SUM_LEN>()?;
    if kind == PLAIN {
        target.copy_from_slice(data.get(..target.len())?);
    } else {
        minlz::s2::decode_into(target, data).ok()?;
    }
    (chunk_sum(target) == *sum).then_some(())
}

/// The compressed form; `None` where the content is too short to have one.
pub(super) fn compress(content: &[u8]) -> Option<Vec<u8>> {
    let (body, checksum) = content.split_at_checked(content.len().checked_sub(CHECKSUM_LEN)?)?;
    let mut file = MAGIC.to_vec();
    put_uvarint(&mut file, content.len() as u64);
    {
        let mut writer = minlz::s2::Writer::new(&mut file);
        writer.write_all(body).ok()?;
        writer.flush().ok()?;
    }
    file.extend_from_slice(checksum);
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_from_its_compressed_form_and_keeps_its_end() {
        let content: Vec<u8> = (0..60_000)
            .flat_map(|at| format!("record {at} with a payload that repeats itself; ").into_bytes())
            .collect();
        let file = compress(&content).unwrap();
        assert!(is_compressed(&file) && file.len() < content.len() / 2);
        assert_eq!(file[file.len() - 8..], content[content.len() - 8..]);
        assert!(decompress(&file).is_some_and(|found| found.whole && found.content == content));
        for len in 0..file.len().min(14) {
            assert!(decompress(&file[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn any_number_of_chunks_without_content_is_passed_over() {
        let content: Vec<u8> = (0_u32..2_000).flat_map(u32::to_le_bytes).collect();
        let file = compress(&content).unwrap();
        let (head, tail) = file.split_at(file.len() - CHECKSUM_LEN);
        let mut padded = head.to_vec();
        for at in 0..300_000_u32 {
            padded.extend_from_slice(&[[0xfe, 0, 0, 0], [0x99, 0, 0, 0], [0x80, 0, 0, 0]][at as usize % 3]);
        }
        padded.extend_from_slice(STREAM_ID);
        padded.extend_from_slice(tail);
        assert!(decompress(&padded).is_some_and(|found| found.whole && found.content == content));
        // A kind that a reader has to know, and does not.
        let at = head.len();
        padded[at] = 0x02;
        assert!(decompress(&padded).is_some_and(|found| !found.whole && found.content == content));
    }

    #[test]
    fn a_chunk_that_claims_more_than_a_chunk_may_hold_asks_for_no_room() {
        let mut file = MAGIC.to_vec();
        put_uvarint(&mut file, 1 << 30);
        file.extend_from_slice(STREAM_ID);
        for _ in 0..1000 {
            let mut data = vec![0; CHUNK_SUM_LEN];
            put_uvarint(&mut data, u64::from(u32::MAX));
            file.extend_from_slice(&[COMPRESSED, u8::try_from(data.len()).unwrap(), 0, 0]);
            file.extend_from_slice(&data);
        }
        file.extend_from_slice(&[0; CHECKSUM_LEN]);
        assert!(decompress(&file).is_none());
    }

    #[test]
    fn a_wrong_length_costs_nothing_and_a_damaged_chunk_costs_itself() {
        let content: Vec<u8> = (0_u32..2_300_000).flat_map(|at| (at / 3).to_le_bytes()).collect();
        let content = &content[..2_300_000];
        let file = compress(content).unwrap();
        for byte in 4..8 {
            let mut wrong = file.clone();
            wrong[byte] ^= 1;
            let found = decompress(&wrong).unwrap();
            assert!(found.whole && found.content == content, "byte {byte} of the length");
        }
        let mut damaged = file;
        damaged[8 + STREAM_ID.len() + 200] ^= 1;
        let found = decompress(&damaged).unwrap();
        assert!(!found.whole && found.content.len() == content.len());
        assert_eq!(found.content[1 << 20..], content[1 << 20..], "the chunks after the damaged one");
    }
}
