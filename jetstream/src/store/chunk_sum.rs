//! The checksum with which each chunk of an S2 or Snappy stream begins that has content.

use crc::{CRC_32_ISCSI, Crc, Table};

pub(super) const CHUNK_SUM_LEN: usize = 4;

/// Sixteen bytes at a step: a backup is made of little else.
static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What stands before the content of a chunk (the framing format of Snappy, which S2 has, too).
pub(super) fn chunk_sum(content: &[u8]) -> [u8; CHUNK_SUM_LEN] {
    CRC32C.checksum(content).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_chunk_is_that_of_the_library_that_writes_chunks() {
        for len in [0, 1, 15, 16, 17, 4096, 65_537] {
            let content: Vec<u8> = (0..len).map(|at: u32| (at % 251 * (at % 241)) as u8).collect();
            assert_eq!(chunk_sum(&content), minlz::crc::crc(&content).to_le_bytes(), "{len}");
        }
    }
}
