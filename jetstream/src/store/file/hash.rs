//! `HighwayHash` with 64 bits, which nats-server's checksums are.

#[cfg(target_arch = "x86_64")]
mod avx2;

use highway::{HighwayHash, HighwayHasher, Key};

/// The hash of the parts, one after the other.
#[inline]
pub(super) fn sum(key: &[u64; 4], parts: &[&[u8]]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the functions are compiled for, and they ask for nothing else.
        #[allow(unsafe_code)]
        return unsafe {
            match parts {
                [whole] => avx2::sum(key, whole),
                _ => avx2::sum_of_parts(key, parts),
            }
        };
    }
    sum_anywhere(key, parts)
}

/// The hash of what is always as long.
#[inline]
pub(super) fn sum_of_array<const N: usize>(key: &[u64; 4], bytes: &[u8; N]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        return unsafe { avx2::sum_of_array(key, bytes) };
    }
    sum_anywhere(key, &[bytes])
}

/// As every processor can.
fn sum_anywhere(key: &[u64; 4], parts: &[&[u8]]) -> u64 {
    let mut hasher = HighwayHasher::new(Key(*key));
    parts.iter().for_each(|part| hasher.append(part));
    hasher.finalize64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_library_whatever_the_lengths_of_the_parts() {
        let bytes: Vec<u8> = (0..200_u32).map(|n| (n * n % 251) as u8).collect();
        let key = [1, u64::MAX, 0x0123_4567_89ab_cdef, 1 << 63];
        assert_eq!(sum(&key, &[]), sum_anywhere(&key, &[]));
        let array: [u8; 16] = std::array::from_fn(|at| bytes[at]);
        assert_eq!(sum_of_array(&key, &array), sum_anywhere(&key, &[&array]));
        for len in 0..bytes.len() {
            let whole = sum_anywhere(&key, &[&bytes[..len]]);
            assert_eq!(sum(&key, &[&bytes[..len]]), whole, "{len}");
            for cut in [0, 1, 7, 16, 31, 32, 33, 64, 100].map(|cut: usize| cut.min(len)) {
                let (one, other) = bytes[..len].split_at(cut);
                let (other, third) = other.split_at(other.len() / 3);
                assert_eq!(sum(&key, &[one, other, third]), whole, "{len} cut at {cut}");
                assert_eq!(sum(&key, &[one, &[], other, third, &[]]), whole, "{len} cut at {cut}");
            }
        }
    }
}
