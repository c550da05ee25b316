//! The tree: finding, adding and removing one subject.

use super::arena::{Arena, Kind, Ref};
use super::long_list::LongList;
use super::node::{self, Inner, Leaf, Shape, Slot, add_child, remove_child, set_slot};
use super::seqs::{FEW_MAX, Seqs};
use super::tag::Tag;
use super::{Recorded, SubjectEntry};
use crate::store::cow_vec::CowVec;
use std::sync::Arc;

/// A long list that shrinks to this length moves back into its leaf.
const LONG_MIN: u64 = FEW_MAX as u64 / 2;

/// A radix tree from subject to sequences whose nodes are as large as their content.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) arena: Arena,
    pub(super) root: Option<Ref>,
    pub(super) lists: CowVec<Arc<LongList>>,
    /// Places in `lists` that are free.
    pub(super) free_lists: Vec<usize>,
    /// Subjects recorded.
    pub(super) len: usize,
    /// Where a leaf is put together before it is stored.
    scratch: Vec<u8>,
}

/// A subject that is new, with its only sequence.
#[derive(Debug, Clone, Copy)]
struct Added<'s> {
    subject: &'s [u8],
    seq: u64,
}

/// Where the way to a subject ends: at a leaf, or at a node that leads no further.
#[derive(Debug, Clone, Copy)]
struct WayEnd<'s> {
    at: Ref,
    /// What of the subject is not spelled before that node.
    rest: &'s [u8],
}

/// The way to a leaf.
#[derive(Debug, Clone, Copy)]
struct Path {
    /// Where the reference to the leaf stands.
    slot: Slot,
    /// Where the reference to the leaf's parent stands.
    parent_slot: Slot,
    leaf: Ref,
}

impl Tree {
    /// A tree whose nodes stand in `arena`.
    pub(super) fn of(
        arena: Arena,
        root: Option<Ref>,
        lists: Vec<Arc<LongList>>,
        free_lists: Vec<usize>,
        len: usize,
    ) -> Self {
        Self { arena, root, lists: lists.into(), free_lists, len, ..Self::default() }
    }

    pub(super) fn seqs(&self, subject: &[u8]) -> Option<Seqs<'_>> {
        let end = self.descend(self.root?, subject, |_| {});
        self.leaf_at(end)?.seqs(&self.lists)
    }

    /// Has a leaf hold these sequences itself.
    fn write_seqs(&mut self, slot: Slot, at: Ref, seqs: &[u64]) {
        let Some(leaf) = Leaf::read(self.arena.get(at)) else { return };
        node::write_leaf(&mut self.scratch, leaf.suffix, seqs);
        let moved = self.arena.replace(at, &self.scratch);
        self.point(slot, at, moved);
    }

    /// Follows a subject to the leaf that may be its own, or as far as the nodes lead. `pass` is told where the reference to
    /// each node on the way stands, but for the root's.
    #[inline(always)]
    fn descend<'s>(&self, root: Ref, subject: &'s [u8], mut pass: impl FnMut(Slot)) -> WayEnd<'s> {
        let (mut at, mut rest) = (root, subject);
        while !at.is_leaf() {
            let step = Inner::read(self.arena.get(at)).and_then(|inner| inner.step(at, rest));
            let Some((slot, below, behind)) = step else { break };
            pass(slot);
            (at, rest) = (below, behind);
        }
        WayEnd { at, rest }
    }

    /// The leaf of the subject that was followed so far, if it has one.
    #[inline(always)]
    fn leaf_at(&self, WayEnd { at, rest }: WayEnd<'_>) -> Option<Leaf<'_>> {
        if !at.is_leaf() {
            return None;
        }
        Leaf::read(self.arena.get(at)).filter(|leaf| leaf.suffix == rest)
    }

    /// Records a sequence above all others of its subject. Where that holds more than `most` then, the lowest is forgotten
    /// for it.
    pub(super) fn record(&mut self, subject: &[u8], seq: u64, most: u64) -> Recorded {
        let alone = Recorded::alone(seq);
        let added = Added { subject, seq };
        let Some(root) = self.root else {
            self.root = Some(self.new_leaf(subject, added));
            return alone;
        };
        let mut slot = Slot::Root;
        let end = self.descend(root, subject, |next| slot = next);
        if end.at.is_leaf() {
            // All but the leaves of long lists are written.
            let cell = self.arena.get_mut(end.at);
            let Some(leaf) = Leaf::read(cell) else { return alone };
            if leaf.suffix == end.rest {
                let body_at = leaf.body_at(cell);
                if let Some((only, len)) = leaf.only().filter(|_| most <= 1)
                    && node::rewrite_one(cell.get_mut(body_at..), len, seq)
                {
                    // It takes the place of the other, and nothing moves.
                    return Recorded { replaced: Some(only), ..alone };
                }
                return self.push(slot, end.at, seq, most).unwrap_or(alone);
            }
        }
        self.grow(slot, end, added);
        alone
    }

    /// Adds a subject where the way to it ends.
    #[inline(never)]
    fn grow(&mut self, slot: Slot, WayEnd { at, rest }: WayEnd<'_>, added: Added<'_>) {
        if at.is_leaf() {
            return self.split_leaf(slot, at, rest, added);
        }
        let Some(inner) = Inner::read(self.arena.get(at)) else { return };
        let Some(behind) = inner.behind_prefix(rest) else {
            let common = common_len(inner.prefix, rest);
            return self.split_inner(slot, at, common, rest, added);
        };
        let Some((byte, after)) = behind.split_first() else { return self.add_value(slot, at, added) };
        let leaf = self.new_leaf(after, added);
        let moved = add_child(&mut self.arena, at, *byte, leaf);
        self.point(slot, at, moved);
    }

    /// Forgets a sequence; says whether it was recorded under `subject`.
    pub(super) fn forget(&mut self, subject: &[u8], seq: u64) -> bool {
        let Some(root) = self.root else { return false };
        let (mut slot, mut parent_slot) = (Slot::Root, Slot::Root);
        let end = self.descend(root, subject, |next| (parent_slot, slot) = (slot, next));
        let Some(leaf) = self.leaf_at(end) else { return false };
        let path = Path { slot, parent_slot, leaf: end.at };
        if let Some(number) = leaf.list() {
            return self.forget_in_list(&path, number, seq);
        }
        let mut seqs = leaf.few();
        let Ok(at) = seqs.binary_search(&seq) else { return false };
        seqs.remove(at);
        if seqs.is_empty() {
            self.remove_leaf(&path);
        } else {
            self.write_seqs(path.slot, path.leaf, &seqs);
        }
        true
    }

    fn forget_in_list(&mut self, path: &Path, number: usize, seq: u64) -> bool {
        let Some(list) = self.lists.to_mut().get_mut(number).map(Arc::make_mut) else { return false };
        if !list.remove(seq) {
            return false;
        }
        self.shrink_list(path.slot, path.leaf, number);
        true
    }

    /// Moves a list that has become short back into its leaf.
    fn shrink_list(&mut self, slot: Slot, leaf: Ref, number: usize) {
        let Some(list) = self.lists.to_mut().get_mut(number).map(Arc::make_mut) else { return };
        if list.len() <= LONG_MIN {
            let seqs: Vec<u64> = std::mem::take(list).iter().collect();
            self.free_lists.push(number);
            self.write_seqs(slot, leaf, &seqs);
        }
    }

    /// Adds to the sequences of a leaf, as [`record`](Self::record) does.
    #[inline(never)]
    fn push(&mut self, slot: Slot, at: Ref, seq: u64, most: u64) -> Option<Recorded> {
        let leaf = Leaf::read(self.arena.get(at))?;
        if let Some(number) = leaf.list() {
            return self.push_to_list(slot, at, number, seq, most);
        }
        let mut seqs = leaf.few();
        seqs.push(seq);
        let replaced = (seqs.len() as u64 > most).then(|| seqs.remove(0));
        let recorded = Recorded {
            entry: SubjectEntry {
                count: seqs.len() as u64,
                first_seq: seqs.first().copied().unwrap_or(seq),
                last_seq: seq,
            },
            replaced,
        };
        if seqs.len() <= FEW_MAX {
            self.write_seqs(slot, at, &seqs);
            return Some(recorded);
        }
        let list = Arc::new(LongList::of(&seqs));
        let number = self.free_lists.pop().unwrap_or(self.lists.len());
        node::write_long_leaf(&mut self.scratch, leaf.suffix, number);
        let lists = self.lists.to_mut();
        match lists.get_mut(number) {
            Some(free) => *free = list,
            None => lists.push(list),
        }
        let moved = self.arena.replace(at, &self.scratch);
        self.point(slot, at, moved);
        Some(recorded)
    }

    fn push_to_list(&mut self, slot: Slot, at: Ref, number: usize, seq: u64, most: u64) -> Option<Recorded> {
        let list = Arc::make_mut(self.lists.to_mut().get_mut(number)?);
        list.push(seq);
        let first_seq = list.entry().first_seq;
        let replaced = (list.len() > most && list.remove(first_seq)).then_some(first_seq);
        let entry = list.entry();
        if replaced.is_some() {
            self.shrink_list(slot, at, number);
        }
        Some(Recorded { entry, replaced })
    }

    fn new_leaf(&mut self, suffix: &[u8], added: Added<'_>) -> Ref {
        self.len += 1;
        node::write_leaf(&mut self.scratch, suffix, &[added.seq]);
        self.arena.store(Kind::Leaf(Tag::of(added.subject)), &self.scratch)
    }

    /// Puts an inner node above a leaf whose subject differs from here on.
    fn split_leaf(&mut self, slot: Slot, at: Ref, rest: &[u8], added: Added<'_>) {
        let Some(leaf) = Leaf::read(self.arena.get(at)) else { return };
        let common = common_len(leaf.suffix, rest);
        let mut shape = Shape {
            prefix: rest.get(..common).unwrap_or_default().to_vec(),
            value: None,
            children: Vec::new(),
        };
        let edge = leaf.suffix.get(common).copied();
        let suffix = leaf.suffix.get(common + 1..).unwrap_or_default();
        leaf.write_with_suffix(&mut self.scratch, [suffix, b"", b""]);
        let old = self.arena.replace(at, &self.scratch);
        match edge {
            None => shape.value = Some(old),
            Some(byte) => shape.children.push((byte, old)),
        }
        self.add_to_shape(&mut shape, rest.get(common..).unwrap_or_default(), added);
        let inner = shape.store(&mut self.arena);
        self.set(slot, inner);
    }

    /// Puts an inner node above one whose prefix differs from `rest` after `common` bytes.
    fn split_inner(&mut self, slot: Slot, at: Ref, common: usize, rest: &[u8], added: Added<'_>) {
        let Some(inner) = Inner::read(self.arena.get(at)) else { return };
        let mut lower = Shape::of(&inner);
        let mut tail = lower.prefix.split_off(common);
        let Some(edge) = tail.first().copied() else { return };
        tail.remove(0);
        let prefix = std::mem::replace(&mut lower.prefix, tail);
        let lower = lower.replace(&mut self.arena, at);
        let mut shape = Shape { prefix, value: None, children: vec![(edge, lower)] };
        self.add_to_shape(&mut shape, rest.get(common..).unwrap_or_default(), added);
        let upper = shape.store(&mut self.arena);
        self.set(slot, upper);
    }

    fn add_to_shape(&mut self, shape: &mut Shape, rest: &[u8], added: Added<'_>) {
        let leaf = self.new_leaf(rest.get(1..).unwrap_or_default(), added);
        let Some(byte) = rest.first() else {
            shape.value = Some(leaf);
            return;
        };
        let at = shape.children.partition_point(|(key, _)| key < byte);
        shape.children.insert(at, (*byte, leaf));
    }

    fn add_value(&mut self, slot: Slot, at: Ref, added: Added<'_>) {
        let leaf = self.new_leaf(b"", added);
        let Some(inner) = Inner::read(self.arena.get(at)) else { return };
        let mut shape = Shape::of(&inner);
        shape.value = Some(leaf);
        let moved = shape.replace(&mut self.arena, at);
        self.point(slot, at, moved);
    }

    fn remove_leaf(&mut self, path: &Path) {
        self.len -= 1;
        self.arena.free(path.leaf);
        let (parent, moved) = match path.slot {
            Slot::Root => {
                self.root = None;
                return;
            }
            Slot::Child(parent, position) => (parent, remove_child(&mut self.arena, parent, position)),
            Slot::Value(parent) => {
                let Some(inner) = Inner::read(self.arena.get(parent)) else { return };
                let mut shape = Shape::of(&inner);
                shape.value = None;
                (parent, shape.replace(&mut self.arena, parent))
            }
        };
        self.point(path.parent_slot, parent, moved);
        self.merge(path.parent_slot, moved);
    }

    /// Joins an inner node with the one node that is left below it.
    fn merge(&mut self, slot: Slot, at: Ref) {
        let Some(inner) = Inner::read(self.arena.get(at)) else { return };
        let (edge, below) = match (inner.value, inner.count) {
            (Some(value), 0) => (None, value),
            (None, 1) => match inner.child_at(0) {
                Some(child) => (inner.keys().first().copied(), child),
                None => return,
            },
            _ => return,
        };
        let prefix = inner.prefix.to_vec();
        self.arena.free(at);
        let edge = edge.as_slice();
        let cell = self.arena.get(below);
        let merged = if below.is_leaf() {
            let Some(leaf) = Leaf::read(cell) else { return };
            leaf.write_with_suffix(&mut self.scratch, [&prefix, edge, leaf.suffix]);
            self.arena.replace(below, &self.scratch)
        } else {
            let Some(inner) = Inner::read(cell) else { return };
            let mut shape = Shape::of(&inner);
            shape.prefix = [&prefix, edge, inner.prefix].concat();
            shape.replace(&mut self.arena, below)
        };
        self.set(slot, merged);
    }

    /// Points `slot` at `to` if that is not where it points already.
    fn point(&mut self, slot: Slot, from: Ref, to: Ref) {
        if from != to {
            self.set(slot, to);
        }
    }

    fn set(&mut self, slot: Slot, to: Ref) {
        if slot == Slot::Root {
            self.root = Some(to);
        } else {
            set_slot(&mut self.arena, slot, to);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.arena.memory_bytes()
            + self.lists.iter().map(|list| list.memory_bytes()).sum::<usize>()
            + self.free_lists.capacity() * size_of::<usize>()
            + self.scratch.capacity()
    }
}

fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
