//! Ordered walks over the subjects that match a filter.
//!
//! The filter's patterns are followed byte by byte from the root, so a walk enters only what can still match: the
//! way to the literal prefix, and what a wildcard leaves open.

use super::WalkEnd;
use super::arena::{Kind, Ref};
use super::node::{Inner, Leaf};
use super::seqs::Seqs;
use super::tag::{Tag, Tags};
use super::tree::Tree;
use crate::filter::{At, Ends, Filter, Follow};
use std::ops::{ControlFlow, Range};

/// An inner node on the way, with what is still to be visited below it.
struct Frame<'t, 'f> {
    node: Inner<'t>,
    at: At,
    /// States and key bytes below these belong to the nodes above.
    states_len: usize,
    key_len: usize,
    /// Children that are visited next and last.
    next: usize,
    end: usize,
    /// Those of them that have to be looked at, where something is known beforehand.
    left: Positions,
    /// Only subjects above the bound are visited; this many bytes of the bound are behind, if the way here equals it.
    bound: Option<usize>,
    value_left: bool,
    plain: Plain<'f>,
}

/// What is known beforehand of the leaves right below a node: where a wildcard leaves all open, they are most of a walk.
#[derive(Debug, Clone, Copy)]
enum Plain<'f> {
    /// Each has to be followed.
    None,
    /// All match.
    All,
    /// Those without another dot match.
    WithoutDot,
    /// Only some of those with another dot can match.
    WithDot,
    /// Those match that end so, and their tags are among these.
    Ends(Ends<'f>, Tags),
}

impl Plain<'_> {
    /// Whether a node has to be looked at, as far as the reference to it tells.
    #[inline]
    fn may_match(&self, node: Ref) -> bool {
        match (self, node.kind()) {
            (Plain::Ends(_, tags), Kind::Leaf(tag)) => tags.contain(tag),
            _ => true,
        }
    }
}

/// Some children of a node.
#[derive(Debug, Clone, Copy, Default)]
struct Positions([u64; 4]);

impl Positions {
    #[inline]
    fn add(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    /// The first of them at or behind a position.
    #[inline]
    fn next_from(&self, position: usize) -> Option<usize> {
        let mut above = u64::MAX << (position % 64);
        for at in position / 64..self.0.len() {
            let word = self.0.get(at)? & above;
            if word != 0 {
                return Some(at * 64 + word.trailing_zeros() as usize);
            }
            above = u64::MAX;
        }
        None
    }
}

pub(super) struct Walk<'t, 'f> {
    tree: &'t Tree,
    follow: Follow<'f>,
    /// Visit only what comes after this subject, or with `at_bound` this subject too.
    after: Option<&'f [u8]>,
    at_bound: bool,
    key: Vec<u8>,
    stack: Vec<Frame<'t, 'f>>,
    budget: usize,
}

impl<'t, 'f> Walk<'t, 'f> {
    pub(super) fn run(
        tree: &'t Tree,
        filter: &'f Filter,
        after: Option<&'f [u8]>,
        budget: usize,
        visit: &mut dyn FnMut(&[u8], Seqs<'t>) -> ControlFlow<()>,
    ) -> WalkEnd {
        let mut budget = budget;
        Self::go(tree, filter, (after, false), &mut budget, visit).0
    }

    /// A walk from the beginning that takes what it enters off the budget.
    pub(super) fn within(
        tree: &'t Tree,
        filter: &'f Filter,
        budget: &mut usize,
        visit: &mut dyn FnMut(&[u8], Seqs<'t>) -> ControlFlow<()>,
    ) -> WalkEnd {
        Self::go(tree, filter, (None, false), budget, visit).0
    }

    /// A part of a walk, from a subject on. Where the budget is spent or `visit` breaks off, also says where the next
    /// part begins.
    pub(super) fn part(
        tree: &'t Tree,
        filter: &'f Filter,
        from: Option<&'f [u8]>,
        budget: &mut usize,
        visit: &mut dyn FnMut(&[u8], Seqs<'t>) -> ControlFlow<()>,
    ) -> Option<Vec<u8>> {
        let (end, key) = Self::go(tree, filter, (from, true), budget, visit);
        (end != WalkEnd::Done).then_some(key)
    }

    fn go(
        tree: &'t Tree,
        filter: &'f Filter,
        (after, at_bound): (Option<&'f [u8]>, bool),
        budget: &mut usize,
        visit: &mut dyn FnMut(&[u8], Seqs<'t>) -> ControlFlow<()>,
    ) -> (WalkEnd, Vec<u8>) {
        let Some(root) = tree.root else { return (WalkEnd::Done, Vec::new()) };
        let (follow, at) = Follow::new(filter);
        let (key, stack) = (Vec::with_capacity(64), Vec::with_capacity(16));
        let mut walk = Self { tree, follow, after, at_bound, key, stack, budget: *budget };
        let end = walk.all(root, at, visit);
        *budget = walk.budget;
        (end, walk.key)
    }

    fn all(
        &mut self,
        root: Ref,
        at: At,
        visit: &mut dyn FnMut(&[u8], Seqs<'t>) -> ControlFlow<()>,
    ) -> WalkEnd {
        if let Some(end) = self.enter(root, at, self.after.map(|_| 0), visit) {
            return end;
        }
        loop {
            if let Some(end) = self.plain_nodes(visit) {
                return end;
            }
            let Some((child, byte, at, bound)) = self.next_child() else { return WalkEnd::Done };
            if let Some(byte) = byte {
                self.key.push(byte);
            }
            if let Some(end) = self.enter(child, at, bound, visit) {
                return end;
            }
        }
    }

    /// Goes on below the node that was entered last as long as nothing has to be followed: through leaves of which a look tells
    /// whether they match, and inner nodes within the token that a wildcard stands for.
    fn plain_nodes(&mut self, visit: &mut dyn FnMut(&[u8], Seqs<'t>) -> ControlFlow<()>) -> Option<WalkEnd> {
        while let Some(frame) = self.stack.last_mut() {
            if matches!(frame.plain, Plain::None) || frame.value_left {
                return None;
            }
            let next = frame.left.next_from(frame.next).unwrap_or(frame.end).min(frame.end);
            self.budget = self.budget.saturating_sub(next - frame.next);
            frame.next = next;
            if next == frame.end {
                self.stack.pop();
                continue;
            }
            if self.budget == 0 {
                return None;
            }
            let (_, byte, child) = frame.node.children(next..next + 1).next()?;
            let cell = self.tree.arena.get(child);
            let (inner, leaf) =
                if child.is_leaf() { (None, Leaf::read(cell)) } else { (Inner::read(cell), None) };
            let rest = inner.map(|inner| inner.prefix).or(leaf.map(|leaf| leaf.suffix))?;
            let matches = match &frame.plain {
                Plain::All => true,
                Plain::Ends(ends, _) if byte != b'.' && leaf.is_some() => ends.accept(rest),
                _ if byte == b'.' || memchr::memchr(b'.', rest).is_some() => return None,
                plain => matches!(plain, Plain::WithoutDot),
            };
            #[cfg(test)]
            crate::steps::note();
            self.budget -= 1;
            frame.next += 1;
            if leaf.is_some() && !matches {
                continue;
            }
            self.key.truncate(frame.key_len);
            self.key.push(byte);
            self.key.extend_from_slice(rest);
            if let Some(leaf) = leaf {
                if visit(&self.key, leaf.seqs(&self.tree.lists)?).is_break() {
                    return Some(WalkEnd::Broke);
                }
            } else if let Some(node) = inner {
                let (at, plain, states_len) = (frame.at.clone(), frame.plain, frame.states_len);
                let value_left = node.value.is_some() && self.follow.accepts(&at);
                let left = self.look(&node, 0..node.count, &plain);
                let (key_len, end) = (self.key.len(), node.count);
                let frame = Frame {
                    node,
                    at,
                    states_len,
                    key_len,
                    next: 0,
                    end,
                    left,
                    bound: None,
                    value_left,
                    plain,
                };
                self.stack.push(frame);
            }
        }
        None
    }

    /// What is known of the leaves below a node without following them.
    fn plain(&self, at: &At) -> Plain<'f> {
        match at {
            At::Any => Plain::All,
            At::States(range) if !self.follow.is_within_any(range) => Plain::None,
            At::States(_) if self.follow.accepts(at) => Plain::WithoutDot,
            At::States(range) => self
                .follow
                .ends(range)
                .map_or(Plain::WithDot, |ends| Plain::Ends(ends, ends.iter().map(Tag::of).collect())),
        }
    }

    /// Goes into a node: visits a leaf, or puts an inner node on the stack.
    fn enter(
        &mut self,
        node: Ref,
        at: At,
        bound: Option<usize>,
        visit: &mut dyn FnMut(&[u8], Seqs<'t>) -> ControlFlow<()>,
    ) -> Option<WalkEnd> {
        #[cfg(test)]
        crate::steps::note();
        // The way to the bound is free, so that every part of a walk gets beyond it.
        if bound.is_none() {
            if self.budget == 0 {
                return Some(WalkEnd::Spent);
            }
            self.budget -= 1;
        }
        let cell = self.tree.arena.get(node);
        if node.is_leaf() {
            let leaf = Leaf::read(cell)?;
            if let Some(behind) = bound {
                let rest = self.bound_rest(behind);
                if leaf.suffix < rest || (leaf.suffix == rest && !self.at_bound) {
                    return None;
                }
            }
            if !self.follow.accepts_end(at, leaf.suffix) {
                return None;
            }
            let key_len = self.key.len();
            self.key.extend_from_slice(leaf.suffix);
            if visit(&self.key, leaf.seqs(&self.tree.lists)?).is_break() {
                return Some(WalkEnd::Broke);
            }
            self.key.truncate(key_len);
            return None;
        }
        let inner = Inner::read(cell)?;
        let (mut below, mut first, mut value_left) = (bound, 0, inner.value.is_some());
        if let Some(behind) = bound {
            let rest = self.bound_rest(behind);
            if let Some(rest) = rest.strip_prefix(inner.prefix) {
                // The key that ends here is the bound or below it.
                value_left = value_left && self.at_bound && rest.is_empty();
                below = rest.first().map(|_| behind + inner.prefix.len());
                first = rest.first().map_or(0, |byte| inner.keys().partition_point(|key| key < byte));
            } else if rest > inner.prefix {
                return None;
            } else {
                below = None;
            }
        }
        // Taken before the prefix, so that everything pushed for this node goes with its frame.
        let at = self.follow.bytes(at, inner.prefix)?;
        let mut end = inner.count;
        if let Some(byte) = self.follow.only_byte(&at) {
            let position = inner.position(byte);
            first = first.max(position.unwrap_or(end));
            end = position.map_or(first, |position| position + 1);
        }
        value_left = value_left && self.follow.accepts(&at);
        let plain = if below.is_none() { self.plain(&at) } else { Plain::None };
        self.key.extend_from_slice(inner.prefix);
        let (states_len, key_len) = (self.follow.depth(), self.key.len());
        let left = match plain {
            Plain::None => Positions::default(),
            _ => self.look(&inner, first..end, &plain),
        };
        let (next, bound) = (first, below);
        let frame = Frame { node: inner, at, states_len, key_len, next, end, left, bound, value_left, plain };
        self.stack.push(frame);
        None
    }

    /// Which children of a node may match, as far as the references to them tell. Has the processor fetch them from memory
    /// all at once: cells that were stored at different times lie far from each other, and otherwise each is waited for by
    /// itself.
    fn look(&self, inner: &Inner<'t>, range: Range<usize>, plain: &Plain<'_>) -> Positions {
        let (mut left, mut bytes) = (Positions::default(), 0);
        let fetched = range.start..range.start.saturating_add(self.budget);
        for (position, byte, child) in inner.children(range) {
            if byte == b'.' || plain.may_match(child) {
                left.add(position);
                if fetched.contains(&position) {
                    bytes ^= self.tree.arena.get(child).first().copied().unwrap_or_default();
                }
            }
        }
        std::hint::black_box(bytes);
        left
    }

    fn next_child(&mut self) -> Option<(Ref, Option<u8>, At, Option<usize>)> {
        loop {
            let frame = self.stack.last_mut()?;
            self.follow.go_back(frame.states_len);
            self.key.truncate(frame.key_len);
            let inner = frame.node;
            if std::mem::take(&mut frame.value_left)
                && let Some(value) = inner.value
            {
                return Some((value, None, At::Any, None));
            }
            if frame.next >= frame.end {
                self.stack.pop();
                continue;
            }
            let position = frame.next;
            frame.next += 1;
            let (Some(byte), Some(child)) = (inner.keys().get(position).copied(), inner.child_at(position))
            else {
                continue;
            };
            let after = self.after.unwrap_or_default();
            let bound =
                frame.bound.filter(|behind| after.get(*behind) == Some(&byte)).map(|behind| behind + 1);
            if let Some(at) = self.follow.byte(&frame.at, byte) {
                return Some((child, Some(byte), at, bound));
            }
        }
    }

    fn bound_rest(&self, behind: usize) -> &'f [u8] {
        self.after.and_then(|after| after.get(behind..)).unwrap_or_default()
    }
}

/// Whether the bytes that all subjects share are enough for the filter.
pub(super) fn is_covered(tree: &Tree, filter: &Filter) -> bool {
    let (mut follow, at) = Follow::new(filter);
    if matches!(at, At::Any) {
        return true;
    }
    let Some(root) = tree.root else { return true };
    let cell = tree.arena.get(root);
    if root.is_leaf() {
        let Some(leaf) = Leaf::read(cell) else { return false };
        return follow.bytes(at, leaf.suffix).is_some_and(|at| follow.accepts(&at));
    }
    let Some(inner) = Inner::read(cell) else { return false };
    follow.bytes(at, inner.prefix).is_some_and(|at| matches!(at, At::Any))
}
