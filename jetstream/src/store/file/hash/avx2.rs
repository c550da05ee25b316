//! `HighwayHash` with 64 bits, four lanes at once.
//!
//! The crate `highway` is made for input that comes bit by bit: it puts its state into memory between two calls, and copies
//! the end of what came. Records are short and there as a whole, and two are hashed for a message that replaces another; so
//! a hash of one goes through registers alone.
#![warn(clippy::indexing_slicing)]

use std::arch::x86_64::{
    __m256i, _mm_cvtsi32_si128, _mm_cvtsi128_si64, _mm256_add_epi64, _mm256_castsi256_si128,
    _mm256_mul_epu32, _mm256_or_si256, _mm256_permutevar8x32_epi32, _mm256_set_epi64x, _mm256_set1_epi32,
    _mm256_setr_epi32, _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_sll_epi32, _mm256_srl_epi32,
    _mm256_srli_epi64, _mm256_xor_si256,
};

/// Bytes that are taken in at once.
const PACKET_BYTES: usize = 32;
/// Digits of pi, as other hashes begin with.
const MUL0: [u64; 4] =
    [0xdbe6_d5d5_fe4c_ce2f, 0xa409_3822_299f_31d0, 0x1319_8a2e_0370_7344, 0x243f_6a88_85a3_08d3];
const MUL1: [u64; 4] =
    [0x3bd3_9e10_cb0e_f593, 0xc0ac_f169_b5f1_8a8c, 0xbe54_66cf_34e9_0c6c, 0x4528_21e6_38d0_1377];

/// The hash of bytes that stand together.
#[target_feature(enable = "avx2")]
pub(super) fn sum(key: &[u64; 4], bytes: &[u8]) -> u64 {
    sum_here(key, bytes)
}

/// As [`sum`], compiled for this length.
#[target_feature(enable = "avx2")]
pub(super) fn sum_of_array<const N: usize>(key: &[u64; 4], bytes: &[u8; N]) -> u64 {
    sum_here(key, bytes)
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_here(key: &[u64; 4], bytes: &[u8]) -> u64 {
    let mut state = State::new(key);
    let end = state.take_whole(bytes);
    state.finish(end)
}

/// The hash of the parts, one after the other.
#[target_feature(enable = "avx2")]
pub(super) fn sum_of_parts(key: &[u64; 4], parts: &[&[u8]]) -> u64 {
    let mut state = State::new(key);
    let Some((last, before)) = parts.split_last() else { return state.finish(&[]) };
    let mut held = Held::default();
    for part in before {
        if let Some(rest) = held.fill(part, &mut state) {
            held.keep(state.take_whole(rest));
        }
    }
    match held.fill(last, &mut state) {
        Some(rest) => {
            let end = state.take_whole(rest);
            state.finish(end)
        }
        None => state.finish(held.bytes()),
    }
}

/// The beginning of a packet, the rest of which is in the next part.
#[derive(Default)]
struct Held {
    packet: [u8; PACKET_BYTES],
    len: usize,
}

impl Held {
    fn bytes(&self) -> &[u8] {
        self.packet.get(..self.len).unwrap_or_default()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(place) = self.packet.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Takes the packet in that a part makes whole, and gives what is left of the part; `None` where it is not whole yet.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn fill<'p>(&mut self, part: &'p [u8], state: &mut State) -> Option<&'p [u8]> {
        if self.len == 0 {
            return Some(part);
        }
        let Some((more, rest)) = part.split_at_checked(PACKET_BYTES - self.len) else {
            self.keep(part);
            return None;
        };
        self.keep(more);
        self.len = 0;
        state.take(lanes_of(&self.packet));
        Some(rest)
    }
}

#[derive(Clone, Copy)]
struct State {
    v0: __m256i,
    v1: __m256i,
    mul0: __m256i,
    mul1: __m256i,
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes(words: &[u64; 4]) -> __m256i {
    let [a, b, c, d] = words.map(u64::cast_signed);
    _mm256_set_epi64x(d, c, b, a)
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes_of(packet: &[u8; PACKET_BYTES]) -> __m256i {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(packet.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    lanes(&words)
}

impl State {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(key: &[u64; 4]) -> Self {
        let (key, mul0, mul1) = (lanes(key), lanes(&MUL0), lanes(&MUL1));
        // The halves of each lane change places.
        let swapped = _mm256_shuffle_epi32::<0b10_11_00_01>(key);
        Self { v0: _mm256_xor_si256(key, mul0), v1: _mm256_xor_si256(swapped, mul1), mul0, mul1 }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn take(&mut self, packet: __m256i) {
        let Self { v0, v1, mul0, mul1 } = self;
        *v1 = _mm256_add_epi64(*v1, _mm256_add_epi64(packet, *mul0));
        *mul0 = _mm256_xor_si256(*mul0, _mm256_mul_epu32(*v1, _mm256_srli_epi64::<32>(*v0)));
        *v0 = _mm256_add_epi64(*v0, *mul1);
        *mul1 = _mm256_xor_si256(*mul1, _mm256_mul_epu32(*v0, _mm256_srli_epi64::<32>(*v1)));
        *v0 = _mm256_add_epi64(*v0, zipped(*v1));
        *v1 = _mm256_add_epi64(*v1, zipped(*v0));
    }

    /// Takes all whole packets in, and gives what is left.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn take_whole<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (packets, rest) = bytes.as_chunks::<PACKET_BYTES>();
        packets.iter().for_each(|packet| self.take(lanes_of(packet)));
        rest
    }

    /// Takes the end in, less than a packet, and gives the hash.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn finish(mut self, end: &[u8]) -> u64 {
        if !end.is_empty() {
            let len = end.len() as i32;
            self.v0 = _mm256_add_epi64(self.v0, _mm256_set1_epi32(len));
            // The halves of each lane are rotated by that length.
            let (up, down) = (_mm_cvtsi32_si128(len), _mm_cvtsi32_si128(32 - len));
            self.v1 = _mm256_or_si256(_mm256_sll_epi32(self.v1, up), _mm256_srl_epi32(self.v1, down));
            self.take(lanes_of(&last_packet(end)));
        }
        for _ in 0..4 {
            // All that is in one half of the state meets the other: the order of all 32 bits is the opposite in each
            // lane, and that of the lanes is by halves.
            let order = _mm256_setr_epi32(5, 4, 7, 6, 1, 0, 3, 2);
            self.take(_mm256_permutevar8x32_epi32(self.v0, order));
        }
        let sum =
            _mm256_add_epi64(_mm256_add_epi64(self.v0, self.mul0), _mm256_add_epi64(self.v1, self.mul1));
        _mm_cvtsi128_si64(_mm256_castsi256_si128(sum)).cast_unsigned()
    }
}

/// The bytes of each half in the order that mixes them best.
#[inline]
#[target_feature(enable = "avx2")]
fn zipped(v: __m256i) -> __m256i {
    const HIGH: i64 = 0x0708_0609_0d0a_040b;
    const LOW: i64 = 0x000f_010e_0502_0c03;
    _mm256_shuffle_epi8(v, _mm256_set_epi64x(HIGH, LOW, HIGH, LOW))
}

/// The packet that less than a packet makes: whole words of four bytes stand where they would, and what is left of it at a
/// place of its own.
#[inline]
fn last_packet(end: &[u8]) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    let (mut at, mut rest) = (0, end);
    if let Some((bytes, after)) = rest.split_first_chunk::<16>() {
        put(&mut packet, 0, bytes);
        (at, rest) = (16, after);
    }
    if let Some((bytes, after)) = rest.split_first_chunk::<8>() {
        put(&mut packet, at, bytes);
        (at, rest) = (at + 8, after);
    }
    if let Some((bytes, after)) = rest.split_first_chunk::<4>() {
        put(&mut packet, at, bytes);
        rest = after;
    }
    if end.len() >= 16 {
        if let Some(bytes) = end.last_chunk::<4>() {
            put(&mut packet, PACKET_BYTES - 4, bytes);
        }
    } else if let (Some(first), Some(middle), Some(last)) =
        (rest.first(), rest.get(rest.len() / 2), rest.last())
    {
        put(&mut packet, 16, &[*first, *middle, *last]);
    }
    packet
}

#[inline]
fn put<const N: usize>(packet: &mut [u8; PACKET_BYTES], at: usize, bytes: &[u8; N]) {
    if let Some(place) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = *bytes;
    }
}
