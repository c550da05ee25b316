//! Where the messages of one block are in it.
#![warn(clippy::indexing_slicing)]

use crate::store::cow_vec::CowVec;
use crate::store::source::{Source, invalid};
use crate::store::varint::put_uvarint;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// Sequences without a message that a dense table may bridge beyond as many as it has places.
const GAP_FREE: u64 = 64;
/// Below this size a table is not rewritten to give memory back.
const SHRINK_LEN_MIN: usize = 64;
/// For how many times as many messages as it holds a table that goes on growing keeps memory.
const GROWING_MAX: usize = 4;

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
    seqs: Option<CowVec<u64>>,
    places: CowVec<Place>,
    /// Places before this one are gone.
    head: usize,
    live: usize,
    /// Nothing is added any more.
    is_closed: bool,
}

impl RecordTable {
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Adds a message; sequences only rise.
    #[inline(always)]
    pub(super) fn push(&mut self, seq: u64, place: Place) {
        if self.places.is_empty() {
            (self.base_seq, self.seqs) = (seq, None);
        }
        if self.seqs.is_none() && seq > self.base_seq + self.places.len() as u64 {
            self.bridge(seq);
        }
        if let Some(seqs) = &mut self.seqs {
            seqs.to_mut().push(seq);
        }
        self.places.to_mut().push(place);
        self.live += 1;
    }

    /// Brings a dense table up to a sequence beyond the next one.
    #[cold]
    fn bridge(&mut self, seq: u64) {
        let gap = seq - (self.base_seq + self.places.len() as u64);
        if gap <= GAP_FREE.max(self.live as u64) {
            let len = self.places.len() + usize::try_from(gap).unwrap_or(0);
            self.places.to_mut().resize(len, GONE);
        } else {
            self.make_sparse();
        }
    }

    /// The place of a message that is held.
    pub(super) fn get(&self, seq: u64) -> Option<Place> {
        self.find(seq).map(|(_, place)| place)
    }

    /// A message that is held: which of the table's, and its place.
    #[inline]
    pub(super) fn find(&self, seq: u64) -> Option<(usize, Place)> {
        let position = self.position(seq)?;
        let place = self.places.get(position).copied().filter(|place| place.len != 0)?;
        Some((position, place))
    }

    /// Forgets a message and says where it was.
    #[cfg(test)]
    pub(super) fn remove(&mut self, seq: u64) -> Option<Place> {
        let (position, _) = self.find(seq)?;
        self.remove_at(position)
    }

    /// Forgets the message that was [found](Self::find) there, and says where it was.
    #[inline(always)]
    pub(super) fn remove_at(&mut self, position: usize) -> Option<Place> {
        let place = self.places.to_mut().get_mut(position).filter(|place| place.len != 0)?;
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
                seqs.to_mut().insert(at, seq);
                self.places.to_mut().insert(at, GONE);
                at
            }),
        };
        if let Some(slot) = self.places.to_mut().get_mut(at)
            && std::mem::replace(slot, place).len == 0
        {
            self.live += 1;
            self.head = self.head.min(at);
        }
    }

    #[inline]
    fn position(&self, seq: u64) -> Option<usize> {
        match &self.seqs {
            // What goes is often the oldest.
            Some(seqs) if seqs.get(self.head) == Some(&seq) => Some(self.head),
            Some(seqs) => seqs.binary_search(&seq).ok(),
            None => usize::try_from(seq.checked_sub(self.base_seq)?).ok(),
        }
    }

    /// The first message that is held.
    #[inline]
    pub(super) fn first(&self) -> Option<(u64, Place)> {
        match self.places.get(self.head) {
            Some(place) if place.len != 0 => return Some((self.seq_at(self.head), *place)),
            _ => {}
        }
        self.between(self.head, self.places.len()).next()
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
        if let Some(seqs) = &mut self.seqs {
            let (seqs, places) = (seqs.to_mut(), self.places.to_mut());
            let mut each = places.iter();
            seqs.retain(|_| each.next().is_some_and(|place| place.len != 0));
            places.retain(|place| place.len != 0);
            self.head = 0;
            // What goes on growing fills its memory again.
            let kept = if self.is_closed { seqs.len() } else { seqs.len() * GROWING_MAX };
            seqs.shrink_to(kept);
            places.shrink_to(kept);
            return;
        }
        let (seqs, places): (Vec<u64>, Vec<Place>) = self.between(0, self.places.len()).unzip();
        (self.seqs, self.places, self.head) = (Some(seqs.into()), places.into(), 0);
    }

    /// Gives back what was reserved for messages that will not come any more.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.places.to_mut().shrink_to_fit();
        if let Some(seqs) = &mut self.seqs {
            seqs.to_mut().shrink_to_fit();
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.seqs.as_ref().map_or(0, |seqs| seqs.capacity() * 8)
    }
}

/// A table as it was at some moment.
#[derive(Debug)]
pub(super) struct TableImage {
    base_seq: u64,
    seqs: Option<Arc<Vec<u64>>>,
    places: Arc<Vec<Place>>,
}

/// Numbers that are converted at once.
const CONVERTED: usize = 4096;

impl RecordTable {
    /// The table as it is now. It is copied with the next change if this is still kept then.
    pub(super) fn image(&mut self) -> TableImage {
        TableImage {
            base_seq: self.base_seq,
            seqs: self.seqs.as_mut().map(CowVec::share),
            places: self.places.share(),
        }
    }

    /// A table that goes on from an image. It is copied with its first change.
    pub(super) fn of(image: &TableImage) -> Self {
        Self {
            base_seq: image.base_seq,
            seqs: image.seqs.as_ref().map(|seqs| Arc::clone(seqs).into()),
            places: Arc::clone(&image.places).into(),
            ..Self::default()
        }
        .counted()
    }

    /// The table with what its places say of it.
    fn counted(mut self) -> Self {
        self.live = self.places.iter().filter(|place| place.len != 0).count();
        self.head = self.places.iter().position(|place| place.len != 0).unwrap_or(self.places.len());
        self
    }

    /// Reads what [`TableImage::write`] wrote.
    pub(super) fn read(source: &mut Source<impl BufRead>) -> io::Result<Self> {
        let base_seq = source.uvarint()?;
        let is_sparse = source.byte()? != 0;
        let count = source.count_of(8)?;
        base_seq.checked_add(count as u64).ok_or_else(invalid)?;
        let mut table = Self { base_seq, ..Self::default() };
        if is_sparse {
            let mut seqs = Vec::new();
            read_words(source, count, &mut seqs, |word| word)?;
            if !seqs.is_sorted_by(|a, b| a < b) {
                return Err(invalid());
            }
            table.seqs = Some(seqs.into());
        }
        let mut places = Vec::new();
        read_words(source, count, &mut places, |word| Place {
            offset: (word & u64::from(u32::MAX)) as u32,
            len: (word >> 32) as u32,
        })?;
        table.places = places.into();
        Ok(table.counted())
    }
}

/// Reads so many numbers of eight bytes.
fn read_words<T>(
    source: &mut Source<impl BufRead>,
    count: usize,
    into: &mut Vec<T>,
    convert: impl Fn(u64) -> T,
) -> io::Result<()> {
    let mut left = count;
    into.reserve_exact(count);
    while left > 0 {
        let part = left.min(CONVERTED);
        let bytes = source.bytes(part * 8)?;
        into.extend(bytes.as_chunks::<8>().0.iter().map(|word| convert(u64::from_le_bytes(*word))));
        left -= part;
    }
    Ok(())
}

fn write_words(out: &mut impl Write, words: impl Iterator<Item = u64>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CONVERTED * 8);
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
        if bytes.len() == CONVERTED * 8 {
            out.write_all(&bytes)?;
            bytes.clear();
        }
    }
    out.write_all(&bytes)
}

impl TableImage {
    /// Bytes that it takes, about.
    pub(super) fn size_bytes(&self) -> u64 {
        (self.places.len() * 8 + self.seqs.as_ref().map_or(0, |seqs| seqs.len() * 8)) as u64
    }

    /// Writes it.
    pub(super) fn write(self, out: &mut impl Write) -> io::Result<()> {
        let mut head = Vec::new();
        put_uvarint(&mut head, self.base_seq);
        head.push(u8::from(self.seqs.is_some()));
        put_uvarint(&mut head, self.places.len() as u64);
        out.write_all(&head)?;
        if let Some(seqs) = self.seqs {
            write_words(out, seqs.iter().copied())?;
        }
        write_words(out, self.places.iter().map(|place| u64::from(place.offset) | u64::from(place.len) << 32))
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

    #[test]
    fn an_image_stays_as_it_was_and_is_read_back() {
        for step in [1, 2, 900] {
            let mut table = RecordTable::default();
            (1..=6_000).for_each(|n| table.push(n * step, place(n)));
            for n in (1..3_000).chain((3_000..6_000).filter(|n| n % 3 == 0)) {
                table.remove(n * step);
            }
            let then: Vec<_> = table.up(0).collect();
            let image = table.image();
            for n in 1..=6_000 {
                table.remove(n * step);
            }
            let mut file = Vec::new();
            image.write(&mut file).unwrap();
            let read = |len: usize| RecordTable::read(&mut Source::new(&file[..len], len as u64));
            let mut same = read(file.len()).unwrap();
            assert!(same.up(0).eq(then.iter().copied()) && same.live() == then.len());
            assert_eq!(same.remove(4_000 * step), Some(place(4_000)));
            assert!((0..file.len()).step_by(97).all(|len| read(len).is_err()));
        }
    }
}
