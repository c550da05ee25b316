//! Where the messages of one block are in it.
#![warn(clippy::indexing_slicing)]

/// Sequences without a message that a dense table may bridge beyond as many as it has places.
const GAP_FREE: u64 = 64;
/// Below this size a table is not rewritten to give memory back.
const SHRINK_LEN_MIN: usize = 64;

/// Offset and length of a record in the (uncompressed) content of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u32,
    /// 0 where the message is gone.
    pub(super) len: u32,
}

const GONE: Place = Place { offset: 0, len: 0 };

/// The places of the messages held in one block, by sequence: 8 bytes for each sequence while most of them are held,
/// 16 for each message after that.
#[derive(Debug, Default)]
pub(super) struct RecordTable {
    /// Sequence of the first place in a dense table.
    base_seq: u64,
    /// The sequence of each place, where the table is not dense.
    seqs: Option<Vec<u64>>,
    places: Vec<Place>,
    /// Places before this one are gone.
    head: usize,
    live: usize,
}

impl RecordTable {
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Adds a message; sequences only rise.
    pub(super) fn push(&mut self, seq: u64, place: Place) {
        if self.places.is_empty() {
            (self.base_seq, self.seqs) = (seq, None);
        }
        if self.seqs.is_none() {
            let next = self.base_seq + self.places.len() as u64;
            let gap = seq.saturating_sub(next);
            if gap <= GAP_FREE.max(self.live as u64) {
                let len = self.places.len() + usize::try_from(gap).unwrap_or(0);
                self.places.resize(len, GONE);
            } else {
                self.make_sparse();
            }
        }
        if let Some(seqs) = &mut self.seqs {
            seqs.push(seq);
        }
        self.places.push(place);
        self.live += 1;
    }

    /// The place of a message that is held.
    pub(super) fn get(&self, seq: u64) -> Option<Place> {
        self.places.get(self.position(seq)?).copied().filter(|place| place.len != 0)
    }

    /// Forgets a message and says where it was.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Place> {
        let position = self.position(seq)?;
        let place = self.places.get_mut(position).filter(|place| place.len != 0)?;
        let was = std::mem::replace(place, GONE);
        self.live -= 1;
        while self.places.get(self.head).is_some_and(|place| place.len == 0) {
            self.head += 1;
        }
        let wasted = if self.seqs.is_some() { self.live * 2 } else { self.live * 3 };
        if wasted < self.places.len() && self.places.len() > SHRINK_LEN_MIN {
            self.make_sparse();
        }
        Some(was)
    }

    /// Holds a message again that was removed.
    pub(super) fn restore(&mut self, seq: u64, place: Place) {
        if self.seqs.is_none() && self.position(seq).is_none_or(|at| at >= self.places.len()) {
            self.make_sparse();
        }
        let at = match &mut self.seqs {
            None => usize::try_from(seq - self.base_seq).unwrap_or(usize::MAX),
            Some(seqs) => seqs.binary_search(&seq).unwrap_or_else(|at| {
                seqs.insert(at, seq);
                self.places.insert(at, GONE);
                at
            }),
        };
        if let Some(slot) = self.places.get_mut(at)
            && std::mem::replace(slot, place).len == 0
        {
            self.live += 1;
            self.head = self.head.min(at);
        }
    }

    fn position(&self, seq: u64) -> Option<usize> {
        match &self.seqs {
            Some(seqs) => seqs.binary_search(&seq).ok(),
            None => usize::try_from(seq.checked_sub(self.base_seq)?).ok(),
        }
    }

    /// Messages at or after `from_seq`, ascending.
    pub(super) fn up(&self, from_seq: u64) -> impl DoubleEndedIterator<Item = (u64, Place)> + '_ {
        let start = match &self.seqs {
            Some(seqs) => seqs.partition_point(|seq| *seq < from_seq),
            None => usize::try_from(from_seq.saturating_sub(self.base_seq)).unwrap_or(usize::MAX),
        };
        self.between(start.max(self.head), self.places.len())
    }

    /// Messages at or before `upto_seq`, descending.
    pub(super) fn down(&self, upto_seq: u64) -> impl Iterator<Item = (u64, Place)> + '_ {
        let end = match &self.seqs {
            Some(seqs) => seqs.partition_point(|seq| *seq <= upto_seq),
            None => upto_seq.checked_sub(self.base_seq).map_or(0, |last| {
                usize::try_from(last.saturating_add(1)).unwrap_or(usize::MAX).min(self.places.len())
            }),
        };
        self.between(self.head.min(end), end).rev()
    }

    fn between(&self, start: usize, end: usize) -> impl DoubleEndedIterator<Item = (u64, Place)> + '_ {
        let places = self.places.get(start..end).unwrap_or_default();
        let held = places.iter().enumerate().filter(|(_, place)| place.len != 0);
        held.map(move |(at, place)| (self.seq_at(start + at), *place))
    }

    fn seq_at(&self, position: usize) -> u64 {
        match &self.seqs {
            Some(seqs) => seqs.get(position).copied().unwrap_or(0),
            None => self.base_seq + position as u64,
        }
    }

    fn make_sparse(&mut self) {
        let (seqs, places): (Vec<u64>, Vec<Place>) = self.between(0, self.places.len()).unzip();
        (self.seqs, self.places, self.head) = (Some(seqs), places, 0);
    }

    /// Gives back what was reserved for messages that will not come any more.
    pub(super) fn close(&mut self) {
        self.places.shrink_to_fit();
        if let Some(seqs) = &mut self.seqs {
            seqs.shrink_to_fit();
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.seqs.as_ref().map_or(0, |seqs| seqs.capacity() * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn place(seq: u64) -> Place {
        Place { offset: u32::try_from(seq * 31 % 1000).unwrap(), len: 30 }
    }

    #[test]
    fn a_table_answers_like_a_map_while_it_grows_thins_and_jumps() {
        let mut table = RecordTable::default();
        let mut model = BTreeMap::new();
        let mut seq = 5;
        for step in 0..2000_u64 {
            seq += match step % 97 {
                0 => 7,
                50 => 5000,
                _ => 1,
            };
            table.push(seq, place(seq));
            model.insert(seq, place(seq));
            if step % 3 != 0 || step > 1500 {
                let victim = *model.keys().nth((step * 7 % model.len() as u64) as usize).unwrap();
                assert_eq!(table.remove(victim), model.remove(&victim));
                assert_eq!(table.remove(victim), None);
            }
            if step % 5 == 0 {
                let back = *model.keys().nth((step * 11 % model.len() as u64) as usize).unwrap();
                let was = table.remove(back).unwrap();
                table.restore(back, was);
            }
            let probe = step * 13 % (seq + 3);
            assert_eq!(table.get(probe), model.get(&probe).copied());
            assert_eq!(
                table.up(probe).next(),
                model.range(probe..).next().map(|(seq, place)| (*seq, *place))
            );
            assert_eq!(table.down(probe).next(), model.range(..=probe).next_back().map(|(s, p)| (*s, *p)));
            assert_eq!(table.live(), model.len());
        }
        assert!(table.up(0).eq(model.iter().map(|(seq, place)| (*seq, *place))));
    }
}
