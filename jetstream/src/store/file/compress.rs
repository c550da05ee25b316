//! The compressed form of a whole block: `cmp`, the algorithm, the original length, an S2 stream of all but the
//! last eight bytes, and these as they are. A block thus ends with the checksum of its last record in both forms.
#![warn(clippy::indexing_slicing)]

use super::record::CHECKSUM_LEN;
use crate::store::varint::{Fields, put_uvarint};
use std::io::{Read, Write};

const MAGIC: &[u8; 4] = b"cmp\x01";
/// A block never comes near this; what is longer is damage.
const CONTENT_LEN_MAX: u64 = 256 << 20;
/// How an S2 stream begins.
const STREAM_ID: &[u8; 10] = b"\xff\x06\0\0S2sTwO";
/// Kinds of the chunks of an S2 stream that hold content.
const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
/// Content of one chunk.
const CHUNK_LEN_MAX: u64 = 4 << 20;

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
    let whole = minlz::s2::Reader::new(body).take(CONTENT_LEN_MAX).read_to_end(&mut content).is_ok();
    if !whole {
        content = chunks(body)?;
    }
    content.extend_from_slice(checksum);
    Some(Decompressed { content, whole })
}

/// What can be had of an S2 stream, chunk by chunk: each has a checksum of its own, and needs no other.
fn chunks(body: &[u8]) -> Option<Vec<u8>> {
    let mut rest = body.strip_prefix(STREAM_ID).unwrap_or(body);
    let (mut content, mut any) = (Vec::new(), false);
    while let Some((header, behind)) = rest.split_first_chunk::<4>() {
        let [kind, len @ ..] = *header;
        let len = len.iter().rev().fold(0, |len, byte| len << 8 | usize::from(*byte));
        let Some((data, next)) = behind.split_at_checked(len) else { break };
        let chunk = rest.get(..4 + len)?;
        let start = content.len();
        if minlz::s2::Reader::with_ignore_stream_id(chunk).read_to_end(&mut content).is_ok() {
            any = true;
        } else {
            let plain_len = match kind {
                COMPRESSED => data.get(4..).and_then(|data| Fields::new(data).uvarint()),
                PLAIN => (len as u64).checked_sub(4),
                _ => None,
            };
            let plain_len = plain_len.filter(|len| *len <= CHUNK_LEN_MAX).unwrap_or(0);
            content.truncate(start);
            content.resize(start + usize::try_from(plain_len).unwrap_or(0), 0);
        }
        if content.len() as u64 > CONTENT_LEN_MAX {
            break;
        }
        rest = next;
    }
    any.then_some(content)
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
