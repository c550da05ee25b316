//! Ordered walks over the subjects that match a filter.
//!
//! The filter's patterns are followed byte by byte from the root, so a walk enters only what can still match: the
//! way to the literal prefix, and what a wildcard leaves open.

use super::WalkEnd;
use super::arena::Ref;
use super::node::{Inner, LOOKED_AT, Leaf};
use super::prefetch::prefetch;
use super::seqs::Seqs;
use super::tag::{Tag, Tags};
use super::tree::Tree;
use crate::filter::{At, Ends, Filter, Follow};
use std::ops::ControlFlow;

/// Children of a node that are looked into at once, before the first of them is entered.
const AHEAD: usize = 16;
/// So many references that are looked at cost as much as a node that is entered.
const NODE_REFS: usize = 8;

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
    looks: Looks,
    /// What stands in [`Walk::ahead`] for the nodes above.
    ahead_len: usize,
    /// Only subjects above the bound are visited; this many bytes of the bound are behind, if the way here equals it.
    bound: Option<usize>,
    value_left: bool,
    plain: Plain<'f>,
}

impl Frame<'_, '_> {
    /// Leaves the next child behind.
    #[inline]
    fn pass(&mut self, budget: &mut usize) {
        #[cfg(test)]
        crate::steps::note();
        *budget -= 1;
        self.next += 1;
    }
}

/// What was looked at of a node's children before they are visited, where nothing has to be followed.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    /// References to the children before this position were looked at.
    to: usize,
    /// Those of the last sixty-four, or fewer, that may match: a bit for each of them from `from` on.
    left: u64,
    from: usize,
    /// Children before this position were looked into, and what is below them stands in [`Walk::ahead`].
    into: usize,
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

/// What was seen of an inner node before it is entered: which of its children may match, of which there are no more than are
/// looked at together.
#[derive(Debug, Clone, Copy)]
struct Ahead<'t> {
    position: usize,
    node: Inner<'t>,
    left: u64,
}

pub(super) struct Walk<'t, 'f> {
    tree: &'t Tree,
    follow: Follow<'f>,
    /// Visit only what comes after this subject, or with `at_bound` this subject too.
    after: Option<&'f [u8]>,
    at_bound: bool,
    key: Vec<u8>,
    stack: Vec<Frame<'t, 'f>>,
    /// What was seen of children of the nodes on the stack, in their order.
    ahead: Vec<Ahead<'t>>,
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
        let mut walk = Self { tree, follow, after, at_bound, key, stack, ahead: Vec::new(), budget: *budget };
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
        while let Some(next) = self.next_plain() {
            let frame = self.stack.last_mut()?;
            if next == frame.end {
                self.leave();
                continue;
            }
            if self.budget == 0 {
                return None;
            }
            let (byte, child) = (frame.node.keys().get(next).copied()?, frame.node.child_at(next)?);
            let cell = self.tree.arena.get(child);
            if child.is_leaf() {
                let leaf = Leaf::read(cell)?;
                let matches = match &frame.plain {
                    Plain::All => true,
                    _ if byte == b'.' => return None,
                    Plain::Ends(ends, _) => ends.accept(leaf.suffix),
                    plain if memchr::memchr(b'.', leaf.suffix).is_none() => {
                        matches!(plain, Plain::WithoutDot)
                    }
                    _ => {
                        // A byte of the token that a wildcard stands for changes nothing.
                        let matches = self.follow.accepts_end(frame.at.clone(), leaf.suffix);
                        self.follow.go_back(frame.states_len);
                        matches
                    }
                };
                frame.pass(&mut self.budget);
                if matches {
                    spell(&mut self.key, frame.key_len, byte, leaf.suffix);
                    if visit(&self.key, leaf.seqs(&self.tree.lists)?).is_break() {
                        return Some(WalkEnd::Broke);
                    }
                }
                continue;
            }
            let node = Inner::read(cell)?;
            let is_followed = byte == b'.' || memchr::memchr(b'.', node.prefix).is_some();
            if is_followed && !matches!(frame.plain, Plain::All) {
                return None;
            }
            frame.pass(&mut self.budget);
            spell(&mut self.key, frame.key_len, byte, node.prefix);
            self.enter_plain(node, next)?;
        }
        None
    }

    /// Goes into a child of the node that was entered last, of which the same is known.
    fn enter_plain(&mut self, node: Inner<'t>, position: usize) -> Option<()> {
        let above = self.stack.last()?;
        let seen = self.ahead.get(above.ahead_len..).unwrap_or_default();
        let seen = seen.iter().find(|ahead| ahead.position == position);
        let looks = seen.map(|ahead| Looks { to: node.count, left: ahead.left, ..Looks::default() });
        let at = above.at.clone();
        let frame = Frame {
            value_left: node.value.is_some() && self.follow.accepts(&at),
            at,
            states_len: above.states_len,
            key_len: self.key.len(),
            next: 0,
            end: node.count,
            looks: looks.unwrap_or_default(),
            ahead_len: self.ahead.len(),
            bound: None,
            plain: above.plain,
            node,
        };
        self.stack.push(frame);
        Some(())
    }

    /// Which child of the node that was entered last comes next, as far as looks tell, or where its children end. `None` where
    /// the node's children, or its value before them, have to be followed.
    fn next_plain(&mut self) -> Option<usize> {
        loop {
            let frame = self.stack.last_mut()?;
            if matches!(frame.plain, Plain::None) || frame.value_left {
                return None;
            }
            // Those that are behind meanwhile.
            let looks = &mut frame.looks;
            looks.left &= bits_from(frame.next.saturating_sub(looks.from));
            if looks.left == 0 {
                frame.next = frame.next.max(looks.to).min(frame.end);
                if frame.next == frame.end {
                    return Some(frame.end);
                }
                self.look();
                continue;
            }
            frame.next = looks.from + looks.left.trailing_zeros() as usize;
            match frame.plain {
                Plain::Ends(_, tags) if frame.next >= looks.into && self.budget > 0 => self.look_ahead(tags),
                _ => return Some(frame.next),
            }
        }
    }

    /// Looks which of the next children of the node that was entered last may match, as far as the references to them tell.
    fn look(&mut self) {
        let Some(frame) = self.stack.last_mut() else { return };
        let Frame { next, end, .. } = *frame;
        let to = end.min(next + LOOKED_AT);
        let left = match frame.plain {
            Plain::Ends(_, tags) => {
                self.budget = self.budget.saturating_sub((to - next) / NODE_REFS);
                frame.node.may_be(next, tags)
            }
            _ => !bits_from(to - next),
        };
        frame.looks = Looks { to, left, from: next, ..frame.looks };
        fetch(self.tree, &frame.node, next, left, self.budget);
    }

    /// Looks into the next children of the node that was entered last, and into theirs: most have nothing below them that may
    /// match, and are never entered. All that is needed next is fetched at once.
    fn look_ahead(&mut self, tags: Tags) {
        let Some(frame) = self.stack.last_mut() else { return };
        let (tree, budget) = (self.tree, &mut self.budget);
        self.ahead.truncate(frame.ahead_len);
        let looks = &mut frame.looks;
        let mut unseen = looks.left;
        for _ in 0..AHEAD {
            let Some(bit) = take_lowest(&mut unseen).filter(|_| *budget > 0) else { break };
            let position = looks.from + bit;
            looks.into = position + 1;
            let Some((node, left)) = look_into(tree, &frame.node, position, tags, budget) else { continue };
            if left == 0 {
                looks.left &= !(1 << bit);
                continue;
            }
            fetch(tree, &node, 0, left, *budget);
            self.ahead.push(Ahead { position, node, left });
        }
        for ahead in self.ahead.get_mut(frame.ahead_len..).unwrap_or_default() {
            let mut unseen = ahead.left;
            while *budget > 0
                && let Some(bit) = take_lowest(&mut unseen)
                && let Some((_, 0)) = look_into(tree, &ahead.node, bit, tags, budget)
            {
                ahead.left &= !(1 << bit);
            }
            if ahead.left == 0 {
                looks.left &= !(1 << (ahead.position - looks.from));
            }
        }
    }

    /// Leaves the node that was entered last.
    fn leave(&mut self) {
        if let Some(frame) = self.stack.pop() {
            self.ahead.truncate(frame.ahead_len);
        }
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
        let (next, bound, ahead_len) = (first, below, self.ahead.len());
        let frame = Frame {
            node: inner,
            at,
            states_len,
            key_len,
            next,
            end,
            looks: Looks::default(),
            ahead_len,
            bound,
            value_left,
            plain,
        };
        self.stack.push(frame);
        None
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
                self.leave();
                continue;
            }
            let position = frame.next;
            frame.next += 1;
            let (Some(byte), Some(child)) = (inner.keys().get(position).copied(), inner.child_at(position))
            else {
                continue;
            };
            let after = self.after.unwrap_or_default();
            // Only the first child can be on the way to the bound: nothing is before it that was not visited.
            let bound = frame.bound.take();
            if bound.is_some() {
                let at = frame.at.clone();
                let plain = self.plain(&at);
                self.stack.last_mut()?.plain = plain;
            }
            let bound = bound.filter(|behind| after.get(*behind) == Some(&byte)).map(|behind| behind + 1);
            let frame = self.stack.last()?;
            if let Some(at) = self.follow.byte(&frame.at, byte) {
                return Some((child, Some(byte), at, bound));
            }
        }
    }

    fn bound_rest(&self, behind: usize) -> &'f [u8] {
        self.after.and_then(|after| after.get(behind..)).unwrap_or_default()
    }
}

/// Lets a key go on behind its first bytes with those of a child.
#[inline]
fn spell(key: &mut Vec<u8>, len: usize, byte: u8, rest: &[u8]) {
    key.truncate(len);
    key.push(byte);
    key.extend_from_slice(rest);
}

/// The bits of a word from one on.
fn bits_from(bit: usize) -> u64 {
    if bit < LOOKED_AT { u64::MAX << bit } else { 0 }
}

/// Takes the lowest of the bits that are set; says which it was.
#[inline]
fn take_lowest(bits: &mut u64) -> Option<usize> {
    let lowest = (*bits != 0).then(|| bits.trailing_zeros() as usize);
    *bits &= bits.wrapping_sub(1);
    lowest
}

/// Which children of a child may match, and the child. `None` where that is a leaf, has too many children, or a dot leads to
/// it, behind which other leaves may match.
#[inline]
fn look_into<'t>(
    tree: &'t Tree,
    parent: &Inner<'t>,
    position: usize,
    tags: Tags,
    budget: &mut usize,
) -> Option<(Inner<'t>, u64)> {
    let child = parent.child_at(position).filter(|child| !child.is_leaf())?;
    let node = Inner::read(tree.arena.get(child))?;
    let is_dotted = parent.keys().get(position) == Some(&b'.')
        || (!node.prefix.is_empty() && memchr::memchr(b'.', node.prefix).is_some());
    if is_dotted || node.count > LOOKED_AT {
        return None;
    }
    #[cfg(test)]
    crate::steps::note();
    *budget = budget.saturating_sub(1 + node.count / NODE_REFS);
    Some((node, node.may_be(0, tags)))
}

/// Has the processor fetch children of a node from memory all at once, but no more than `most`: cells that were stored at
/// different times lie far from each other, and otherwise each is waited for by itself. There is a bit for each from a position
/// on.
#[inline]
fn fetch(tree: &Tree, node: &Inner<'_>, from: usize, mut children: u64, most: usize) {
    for _ in 0..most {
        let Some(child) = take_lowest(&mut children).and_then(|bit| node.child_at(from + bit)) else {
            return;
        };
        prefetch(tree.arena.get(child));
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
