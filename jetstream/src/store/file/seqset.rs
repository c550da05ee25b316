//! Sets of sequences as `index.db` stores them: the nodes of a balanced tree, each a bitmap of 2,048 sequences.
#![warn(clippy::indexing_slicing)]

use crate::store::varint::Fields;
use std::collections::BTreeMap;

const MAGIC: u8 = 22;
const VERSION: u8 = 2;
/// Words of a bitmap in version 2.
const WORDS: usize = 32;
/// Words of a bitmap in version 1.
const WORDS_V1: usize = 64;

/// A set of sequences in bitmaps of 64.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SeqSet {
    /// Bitmaps by sequence divided by 64; none is empty.
    words: BTreeMap<u64, u64>,
}

impl SeqSet {
    pub(super) fn insert(&mut self, seq: u64) {
        *self.words.entry(seq / 64).or_default() |= 1 << (seq % 64);
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.words.get(&(seq / 64)).is_some_and(|word| word >> (seq % 64) & 1 == 1)
    }

    /// Those from `first` to `last`, ascending.
    pub(super) fn within(&self, first: u64, last: u64) -> impl Iterator<Item = u64> + '_ {
        let words = self.words.range(first / 64..=(last / 64).max(first / 64));
        words
            .flat_map(|(at, word)| {
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
            })
            .filter(move |seq| (first..=last).contains(seq))
    }

    pub(super) fn len(&self) -> u64 {
        self.words.values().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Reads a set and leaves `fields` after it.
    pub(super) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let [magic, version] = fields.array()?;
        let words = match version {
            1 => WORDS_V1,
            2 => WORDS,
            _ => return None,
        };
        if magic != MAGIC {
            return None;
        }
        let nodes = fields.u32_le()?;
        let size = fields.u32_le()?;
        let mut set = Self::default();
        for _ in 0..nodes {
            let base = fields.u64_le()?;
            for word_index in 0..words {
                let word = fields.u64_le()?;
                if word != 0 {
                    *set.words.entry((base / 64).checked_add(word_index as u64)?).or_default() |= word;
                }
            }
            // The height of the node, of no use here.
            fields.bytes(2)?;
        }
        (set.len() == u64::from(size)).then_some(set)
    }

    /// Appends the set in version 2. nats-server rebuilds its tree in the order of the nodes and without balancing,
    /// so they are written parents first, from the middle outwards.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut nodes: Vec<(u64, [u64; WORDS])> = Vec::new();
        for (position, word) in &self.words {
            let base = position / WORDS as u64 * WORDS as u64;
            if nodes.last().is_none_or(|(last, _)| *last != base) {
                nodes.push((base, [0; WORDS]));
            }
            let slot = usize::try_from(position - base).unwrap_or(0);
            if let Some(at) = nodes.last_mut().and_then(|(_, words)| words.get_mut(slot)) {
                *at = *word;
            }
        }
        out.extend_from_slice(&[MAGIC, VERSION]);
        out.extend_from_slice(&u32::try_from(nodes.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.len()).unwrap_or(u32::MAX).to_le_bytes());
        put_subtree(out, &nodes);
    }
}

fn put_subtree(out: &mut Vec<u8>, nodes: &[(u64, [u64; WORDS])]) {
    let (left, right) = nodes.split_at(nodes.len() / 2);
    let Some(((base, words), right)) = right.split_first() else { return };
    out.extend_from_slice(&(base * 64).to_le_bytes());
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let height = u16::try_from(nodes.len().ilog2() + 1).unwrap_or(u16::MAX);
    out.extend_from_slice(&height.to_le_bytes());
    put_subtree(out, left);
    put_subtree(out, right);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_comes_back_as_it_was_written() {
        for step in [1, 3, 700, 5000] {
            let mut set = SeqSet::default();
            for at in 0..1000_u64 {
                set.insert(17 + at * step);
            }
            let mut out = Vec::new();
            set.encode(&mut out);
            out.push(99);
            let mut fields = Fields::new(&out);
            assert_eq!(SeqSet::decode(&mut fields).as_ref(), Some(&set));
            assert_eq!(fields.rest(), [99]);
            assert!(set.contains(17) && !set.contains(16));
            for len in (0..out.len() - 1).step_by(out.len() / 50 + 1) {
                assert_eq!(SeqSet::decode(&mut Fields::new(&out[..len])), None);
            }
        }
    }
}
