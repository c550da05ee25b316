//! The compressed form of a whole block: `cmp`, the algorithm, the original length, an S2 stream of all but the
//! last eight bytes, and these as they are. A block thus ends with the checksum of its last record in both forms.
#![warn(clippy::indexing_slicing)]

use super::record::CHECKSUM_LEN;
use crate::store::varint::{Fields, put_uvarint};
use std::io::{Read, Write};

const MAGIC: &[u8; 4] = b"cmp\x01";
/// A block never comes near this; a larger claim is damage.
const ORIGINAL_LEN_MAX: u64 = 1 << 30;

/// Whether the content of a block file is compressed. A plain block would have to begin with a record of 24,145,251
/// bytes to be mistaken for it; [`decompress`] fails for that one, and it is then read as it is.
pub(super) fn is_compressed(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

/// The content of a block from its compressed form; `None` where that is damaged.
pub(super) fn decompress(file: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Fields::new(file.strip_prefix(MAGIC)?);
    let original_len = fields.uvarint().filter(|len| *len <= ORIGINAL_LEN_MAX)?;
    let (body, checksum) = fields.rest().split_at_checked(fields.rest().len().checked_sub(CHECKSUM_LEN)?)?;
    let mut content = Vec::with_capacity(usize::try_from(original_len).ok()?);
    minlz::s2::Reader::new(body).take(ORIGINAL_LEN_MAX).read_to_end(&mut content).ok()?;
    content.extend_from_slice(checksum);
    (content.len() as u64 == original_len).then_some(content)
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
        assert_eq!(decompress(&file), Some(content));
        for len in 0..file.len().min(64) {
            assert_eq!(decompress(&file[..len]), None);
        }
    }
}
