//! The two kinds of node, as they stand in their cells.
//!
//! An inner node is a flag, the number of its children, the bytes that all keys below share from here on, perhaps
//! the leaf of the key that ends here, and its children: their key bytes in order, then their references, each in
//! as many places as the cell has room for. A leaf is the form of its sequences, the bytes of the key that no
//! inner node spelled, and the sequences.

use super::arena::{Arena, Kind, REF_BYTES, Ref, cell_bytes};
use super::long_list::LongList;
use super::seqs::{FewSeqs, Form, Seqs, put_few, take_few};
use super::tag::Tags;
use crate::store::varint::{put_uvarint, put_uvarint_over, take_uvarint, uvarint_len};
use std::sync::Arc;

/// Flag, and two bytes of the number of children.
const COUNTS_BYTES: usize = 3;
const HAS_VALUE: u8 = 1;
/// Tells an inner node from a leaf, whose first byte is its kind.
const IS_INNER: u8 = 1 << 7;
/// Children up to this number are looked through at once.
const SCANNED_MAX: usize = 16;
/// A child's key byte and reference.
const CHILD_BYTES: usize = 1 + REF_BYTES;

/// References that are looked at together.
pub(super) const LOOKED_AT: usize = u64::BITS as usize;

const LEAF_ONE: u8 = 0;
const LEAF_FEW: u8 = 1;
const LEAF_LONG: u8 = 2;

/// A leaf, read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf<'c> {
    kind: u8,
    pub(super) suffix: &'c [u8],
    body: &'c [u8],
}

impl<'c> Leaf<'c> {
    #[inline]
    pub(super) fn read(cell: &'c [u8]) -> Option<Self> {
        let (kind, rest) = cell.split_first()?;
        let (suffix, body) = split_counted(rest)?;
        Some(Self { kind: *kind, suffix, body })
    }

    /// The sequences; long lists are looked up in `lists`.
    pub(super) fn seqs<'i>(&self, lists: &'i [Arc<LongList>]) -> Option<Seqs<'i>>
    where
        'c: 'i,
    {
        let form = self.form().or_else(|| Some(Form::Long(lists.get(self.list()?)?)));
        form.map(Seqs)
    }

    /// The sequence of a leaf that holds one, and how many bytes it takes.
    #[inline(always)]
    pub(super) fn only(&self) -> Option<(u64, usize)> {
        if self.kind != LEAF_ONE {
            return None;
        }
        let mut rest = self.body;
        let seq = take_uvarint(&mut rest)?;
        Some((seq, self.body.len() - rest.len()))
    }

    /// The sequences of a leaf that holds them itself, as they stand there.
    #[inline]
    pub(super) fn form(&self) -> Option<Form<'c>> {
        let mut body = self.body;
        match self.kind {
            LEAF_ONE => self.only().map(|(seq, _)| Form::One(seq)),
            LEAF_FEW => take_few(&mut body),
            _ => None,
        }
    }

    /// Where in its cell the suffix ends.
    #[inline]
    pub(super) fn body_at(&self, cell: &[u8]) -> usize {
        cell.len() - self.body.len()
    }

    /// Which long list holds the sequences, if one does.
    pub(super) fn list(&self) -> Option<usize> {
        let mut body = self.body;
        (self.kind == LEAF_LONG).then(|| take_uvarint(&mut body))?.and_then(|list| usize::try_from(list).ok())
    }

    /// The sequences of a leaf that holds them itself.
    pub(super) fn few(&self) -> FewSeqs {
        self.seqs(&[]).map(|seqs| seqs.iter().collect()).unwrap_or_default()
    }

    /// Writes this leaf with another suffix, made of parts.
    pub(super) fn write_with_suffix(&self, out: &mut Vec<u8>, suffix: [&[u8]; 3]) {
        start_leaf(out, self.kind, suffix.iter().map(|part| part.len()).sum());
        suffix.iter().for_each(|part| out.extend_from_slice(part));
        out.extend_from_slice(self.body);
    }
}

/// Splits off bytes behind their number, of which there are seldom more than a byte can say.
#[inline(always)]
fn split_counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    if *len < 0x80 { rest.split_at_checked(usize::from(*len)) } else { split_many(bytes) }
}

#[cold]
fn split_many(mut bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(take_uvarint(&mut bytes)?).ok()?;
    bytes.split_at_checked(len)
}

/// Begins a leaf; its suffix follows.
#[inline]
fn start_leaf(out: &mut Vec<u8>, kind: u8, suffix_len: usize) {
    out.clear();
    out.push(kind);
    put_uvarint(out, suffix_len as u64);
}

/// Writes a leaf that holds `seqs` itself.
pub(super) fn write_leaf(out: &mut Vec<u8>, suffix: &[u8], seqs: &[u64]) {
    let kind = if seqs.len() == 1 { LEAF_ONE } else { LEAF_FEW };
    start_leaf(out, kind, suffix.len());
    out.extend_from_slice(suffix);
    put_few(out, seqs);
}

/// Puts a sequence where another one stands that takes `len` bytes, if it takes as many.
#[inline]
pub(super) fn rewrite_one(body: Option<&mut [u8]>, len: usize, seq: u64) -> bool {
    let Some(body) = body.filter(|_| uvarint_len(seq) == len) else { return false };
    put_uvarint_over(body, seq);
    true
}

/// Writes a leaf whose sequences are in the long list `list`.
pub(super) fn write_long_leaf(out: &mut Vec<u8>, suffix: &[u8], list: usize) {
    start_leaf(out, LEAF_LONG, suffix.len());
    out.extend_from_slice(suffix);
    put_uvarint(out, list as u64);
}

/// Whether an inner node stands in a cell that is in use.
pub(super) fn is_inner(cell: &[u8]) -> bool {
    cell.first().is_some_and(|flags| flags & IS_INNER != 0)
}

/// An inner node, read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inner<'c> {
    cell: &'c [u8],
    pub(super) prefix: &'c [u8],
    pub(super) value: Option<Ref>,
    pub(super) count: usize,
    keys_at: usize,
}

impl<'c> Inner<'c> {
    #[inline]
    pub(super) fn read(cell: &'c [u8]) -> Option<Self> {
        let ([flags, low, high], rest) = cell.split_first_chunk::<COUNTS_BYTES>()?;
        let (prefix, mut rest) = split_counted(rest)?;
        let mut value = None;
        if flags & HAS_VALUE != 0 {
            let (bytes, after) = rest.split_first_chunk::<REF_BYTES>()?;
            value = Some(Ref::from_bytes(*bytes));
            rest = after;
        }
        let count = usize::from(u16::from_le_bytes([*low, *high]));
        Some(Self { cell, prefix, value, count, keys_at: cell.len() - rest.len() })
    }

    /// What follows the prefix in `rest`.
    #[inline]
    pub(super) fn behind_prefix<'r>(&self, rest: &'r [u8]) -> Option<&'r [u8]> {
        // Most nodes have none, and a comparison is a call.
        if self.prefix.is_empty() { Some(rest) } else { rest.strip_prefix(self.prefix) }
    }

    /// Where the reference to the next node towards a subject stands in this one, which stands `at`; that node, and what is
    /// left of the subject's `rest` there.
    #[inline(always)]
    pub(super) fn step<'r>(&self, at: Ref, rest: &'r [u8]) -> Option<(Slot, Ref, &'r [u8])> {
        let behind = self.behind_prefix(rest)?;
        let Some((byte, after)) = behind.split_first() else {
            return Some((Slot::Value(at), self.value?, behind));
        };
        let position = self.position(*byte)?;
        Some((Slot::Child(at, position), self.child_at(position)?, after))
    }

    #[inline]
    fn capacity(&self) -> usize {
        ((self.cell.len() - self.keys_at) / CHILD_BYTES).min(256)
    }

    pub(super) fn keys(&self) -> &'c [u8] {
        self.cell.get(self.keys_at..self.keys_at + self.count).unwrap_or_default()
    }

    /// Where the child for `byte` stands.
    #[inline(always)]
    pub(super) fn position(&self, byte: u8) -> Option<usize> {
        match self.cell.get(self.keys_at..).and_then(|cell| cell.first_chunk()) {
            Some(chunk) if self.count <= SCANNED_MAX => {
                Some(first_equal(chunk, byte)).filter(|at| *at < self.count)
            }
            _ => memchr::memchr(byte, self.keys()),
        }
    }

    pub(super) fn child_at(&self, position: usize) -> Option<Ref> {
        self.cell.get(self.ref_at(position)..)?.first_chunk().map(|bytes| Ref::from_bytes(*bytes))
    }

    /// Which of the children from a position on are inner nodes or leaves with one of the tags: a bit for each of sixty-four,
    /// the first one the lowest.
    #[inline]
    pub(super) fn may_be(&self, from: usize, tags: Tags) -> u64 {
        let to = self.count.min(from + LOOKED_AT);
        let mut refs = self.cell.get(self.ref_at(from)..self.ref_at(to)).unwrap_or_default();
        let mut found = 0;
        // From the last one on, so that each moves those behind it up by one.
        while let Some((before, last)) = refs.split_last_chunk::<REF_BYTES>() {
            found = found << 1 | Ref::may_be(*last, tags);
            refs = before;
        }
        found
    }

    fn ref_at(&self, position: usize) -> usize {
        self.keys_at + self.capacity() + position * REF_BYTES
    }
}

/// Which of sixteen bytes is the first that equals `byte`; 16 where none does.
#[inline(always)]
fn first_equal(bytes: &[u8; SCANNED_MAX], byte: u8) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let wanted = ONES * u64::from(byte);
    // A byte becomes zero where it is equal. Subtracting one borrows from its highest bit there first; what is
    // borrowed further up does not matter.
    let zeros = |bytes: Option<&[u8; 8]>| {
        let differences = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ wanted;
        differences.wrapping_sub(ONES) & !differences & (ONES << 7)
    };
    let at = match zeros(bytes.first_chunk()) {
        0 => 64 + zeros(bytes.last_chunk()).trailing_zeros(),
        low => low.trailing_zeros(),
    };
    (at / 8) as usize
}

/// An inner node, taken out of its cell for a change of its shape.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) prefix: Vec<u8>,
    pub(super) value: Option<Ref>,
    pub(super) children: Vec<(u8, Ref)>,
}

impl Shape {
    pub(super) fn of(inner: &Inner<'_>) -> Self {
        let keys = inner.keys().iter().enumerate();
        Self {
            prefix: inner.prefix.to_vec(),
            value: inner.value,
            children: keys.filter_map(|(at, key)| Some((*key, inner.child_at(at)?))).collect(),
        }
    }

    fn head_bytes(&self) -> usize {
        let prefix = uvarint_len(self.prefix.len() as u64) + self.prefix.len();
        COUNTS_BYTES + prefix + self.value.map_or(0, |_| REF_BYTES)
    }

    pub(super) fn store(&self, arena: &mut Arena) -> Ref {
        let head = self.head_bytes();
        let needed = head + self.children.len() * CHILD_BYTES;
        let capacity = ((cell_bytes(needed) - head) / CHILD_BYTES).min(256);
        let mut out = Vec::with_capacity(head + capacity * CHILD_BYTES);
        out.push(IS_INNER | if self.value.is_some() { HAS_VALUE } else { 0 });
        out.extend_from_slice(&(self.children.len() as u16).to_le_bytes());
        put_uvarint(&mut out, self.prefix.len() as u64);
        out.extend_from_slice(&self.prefix);
        if let Some(value) = self.value {
            out.extend_from_slice(&value.to_bytes());
        }
        out.extend(self.children.iter().map(|(key, _)| *key));
        out.resize(head + capacity, 0);
        out.extend(self.children.iter().flat_map(|(_, child)| child.to_bytes()));
        let cell = arena.alloc(Kind::Inner, needed);
        if let Some(bytes) = arena.get_mut(cell).get_mut(..out.len()) {
            bytes.copy_from_slice(&out);
        }
        cell
    }

    /// Puts the shape in place of what `cell` held, in another cell.
    pub(super) fn replace(&self, arena: &mut Arena, cell: Ref) -> Ref {
        arena.free(cell);
        self.store(arena)
    }
}

/// Where a reference to a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Root,
    Value(Ref),
    Child(Ref, usize),
}

/// Points the slot of an inner node at another cell.
pub(super) fn set_slot(arena: &mut Arena, slot: Slot, to: Ref) {
    let (parent, at) = match slot {
        Slot::Root => return,
        Slot::Value(parent) => {
            let Some(inner) = Inner::read(arena.get(parent)) else { return };
            (parent, inner.keys_at - REF_BYTES)
        }
        Slot::Child(parent, position) => {
            let Some(inner) = Inner::read(arena.get(parent)) else { return };
            (parent, inner.ref_at(position))
        }
    };
    if let Some(bytes) = arena.get_mut(parent).get_mut(at..at + REF_BYTES) {
        bytes.copy_from_slice(&to.to_bytes());
    }
}

/// Adds a child; the node moves if its cell is full.
pub(super) fn add_child(arena: &mut Arena, cell: Ref, byte: u8, child: Ref) -> Ref {
    let Some(inner) = Inner::read(arena.get(cell)) else { return cell };
    let at = inner.keys().partition_point(|key| *key < byte);
    let count = inner.count;
    if count == inner.capacity() {
        let mut shape = Shape::of(&inner);
        shape.children.insert(at, (byte, child));
        return shape.replace(arena, cell);
    }
    let (keys_at, ref_at, ref_end) = (inner.keys_at, inner.ref_at(at), inner.ref_at(count));
    let bytes = arena.get_mut(cell);
    bytes.copy_within(keys_at + at..keys_at + count, keys_at + at + 1);
    bytes.copy_within(ref_at..ref_end, ref_at + REF_BYTES);
    if let Some(key) = bytes.get_mut(keys_at + at) {
        *key = byte;
    }
    if let Some(place) = bytes.get_mut(ref_at..ref_at + REF_BYTES) {
        place.copy_from_slice(&child.to_bytes());
    }
    set_count(bytes, count + 1);
    cell
}

/// Takes a child away; the node moves if a much smaller cell is enough for what is left.
pub(super) fn remove_child(arena: &mut Arena, cell: Ref, position: usize) -> Ref {
    let Some(inner) = Inner::read(arena.get(cell)) else { return cell };
    let count = inner.count;
    let needed = inner.keys_at + (count - 1) * CHILD_BYTES;
    if cell_bytes(needed) * 4 <= inner.cell.len() * 3 {
        let mut shape = Shape::of(&inner);
        shape.children.remove(position);
        return shape.replace(arena, cell);
    }
    let (keys_at, ref_at, ref_end) = (inner.keys_at, inner.ref_at(position), inner.ref_at(count));
    let bytes = arena.get_mut(cell);
    bytes.copy_within(keys_at + position + 1..keys_at + count, keys_at + position);
    bytes.copy_within(ref_at + REF_BYTES..ref_end, ref_at);
    set_count(bytes, count - 1);
    cell
}

fn set_count(bytes: &mut [u8], count: usize) {
    if let Some(place) = bytes.get_mut(1..COUNTS_BYTES) {
        place.copy_from_slice(&(count as u16).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::first_equal;

    #[test]
    fn the_first_equal_byte_is_found_among_any_others() {
        let bytes = *b"ab\0\x01\xff\x80cdab\0\x01\xff\x80cd";
        for byte in 0..=255_u8 {
            let expected = bytes.iter().position(|other| *other == byte).unwrap_or(16);
            assert_eq!(first_equal(&bytes, byte), expected, "{byte}");
        }
    }
}
