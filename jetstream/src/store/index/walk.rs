//! Ordered walks over the subjects that match a filter.
//!
//! The filter's patterns are followed byte by byte from the root, so a walk enters only what can still match: the
//! way to the literal prefix, and what a wildcard leaves open.

use super::WalkEnd;
use super::arena::Ref;
use super::node::{Inner, Leaf};
use super::seqs::Seqs;
use super::tree::Tree;
use crate::filter::Filter;
use std::ops::{ControlFlow, Range};

/// Where a pattern stands: its number, and how many of its bytes are behind.
type State = (usize, usize);

/// Stale states on the stack are cleared away after so many bytes, where there are more than [`STALE_MAX`].
const STALE_BYTES_MAX: usize = 16;
const STALE_MAX: usize = 64;

/// What one more byte of a subject does to a pattern.
enum Step {
    Dead,
    At(usize),
    /// The rest of the subject does not matter.
    Any,
}

fn is_token(pattern: &[u8], at: usize, token: u8) -> bool {
    pattern.get(at) == Some(&token)
        && (at == 0 || pattern.get(at - 1) == Some(&b'.'))
        && pattern.get(at + 1).is_none_or(|next| *next == b'.')
}

fn arrive(pattern: &[u8], at: usize) -> Step {
    if is_token(pattern, at, b'>') { Step::Any } else { Step::At(at) }
}

fn step(pattern: &[u8], at: usize, byte: u8) -> Step {
    if is_token(pattern, at, b'*') {
        return match byte {
            b'.' if at + 1 < pattern.len() => arrive(pattern, at + 2),
            b'.' => Step::Dead,
            _ => Step::At(at),
        };
    }
    if pattern.get(at) == Some(&byte) { arrive(pattern, at + 1) } else { Step::Dead }
}

fn accepts(pattern: &[u8], at: usize) -> bool {
    at == pattern.len() || (at + 1 == pattern.len() && is_token(pattern, at, b'*'))
}

/// A filter that is followed through the tree; its states stand on a stack beside that of the nodes.
struct Follow<'f> {
    patterns: &'f [Box<[u8]>],
    literal: Option<&'f [u8]>,
    states: Vec<State>,
}

/// The states at a node: a part of the stack, or that anything matches.
#[derive(Debug, Clone)]
enum At {
    Any,
    States(Range<usize>),
}

impl<'f> Follow<'f> {
    fn new(filter: &'f Filter) -> (Self, At) {
        let (patterns, literal): (&[Box<[u8]>], _) = match filter {
            Filter::All => return (Self { patterns: &[], literal: None, states: Vec::new() }, At::Any),
            Filter::Literal(literal) => (&[], Some(&**literal)),
            Filter::Patterns(patterns) => (patterns, None),
        };
        let mut follow = Self { patterns, literal, states: Vec::new() };
        for number in 0..patterns.len().max(usize::from(literal.is_some())) {
            match arrive(follow.pattern(number), 0) {
                Step::Any => return (follow, At::Any),
                step => follow.keep(number, &step),
            }
        }
        let all = 0..follow.states.len();
        (follow, At::States(all))
    }

    fn pattern(&self, number: usize) -> &'f [u8] {
        // A literal is followed byte by byte like the rest; without wildcard tokens it matches itself alone.
        self.literal.or_else(|| self.patterns.get(number).map(|pattern| &**pattern)).unwrap_or_default()
    }

    fn keep(&mut self, number: usize, step: &Step) {
        if let Step::At(at) = step {
            self.states.push((number, *at));
        }
    }

    /// Follows one byte; the new states are pushed on the stack. `None` where nothing can match.
    fn byte(&mut self, from: &At, byte: u8) -> Option<At> {
        let At::States(range) = from else { return Some(At::Any) };
        let start = self.states.len();
        for state in range.clone() {
            let (number, at) = *self.states.get(state)?;
            match step(self.pattern(number), at, byte) {
                Step::Any => {
                    self.states.truncate(start);
                    return Some(At::Any);
                }
                step => self.keep(number, &step),
            }
        }
        (self.states.len() > start).then_some(At::States(start..self.states.len()))
    }

    /// Follows several bytes. Few states but those after the last byte stay on the stack: where many patterns go on
    /// through many bytes, all of them would take the product of both.
    fn bytes(&mut self, from: At, bytes: &[u8]) -> Option<At> {
        let base = self.states.len();
        let mut at = from;
        for part in bytes.chunks(STALE_BYTES_MAX) {
            for byte in part {
                if matches!(at, At::Any) {
                    return Some(at);
                }
                at = self.byte(&at, *byte)?;
            }
            if let At::States(range) = &mut at
                && range.start > base + STALE_MAX
            {
                self.states.drain(base..range.start);
                *range = base..self.states.len();
            }
        }
        Some(at)
    }

    fn accepts(&self, at: &At) -> bool {
        let At::States(range) = at else { return true };
        let states = self.states.get(range.clone()).unwrap_or_default();
        states.iter().any(|(number, at)| accepts(self.pattern(*number), *at))
    }

    /// The one byte that can come next, if there is only one.
    fn only_byte(&self, at: &At) -> Option<u8> {
        let At::States(range) = at else { return None };
        let [(number, at)] = self.states.get(range.clone())? else { return None };
        let pattern = self.pattern(*number);
        if is_token(pattern, *at, b'*') { None } else { pattern.get(*at).copied() }
    }
}

/// An inner node on the way, with what is still to be visited below it.
struct Frame {
    node: Ref,
    at: At,
    /// States and key bytes below these belong to the nodes above.
    states_len: usize,
    key_len: usize,
    /// Children that are visited next and last.
    next: usize,
    end: usize,
    /// Only subjects above the bound are visited; this many bytes of the bound are behind, if the way here equals it.
    bound: Option<usize>,
    value_left: bool,
}

pub(super) struct Walk<'t, 'f> {
    tree: &'t Tree,
    follow: Follow<'f>,
    /// Visit only what comes after this subject.
    after: Option<&'f [u8]>,
    key: Vec<u8>,
    stack: Vec<Frame>,
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
        let Some(root) = tree.root else { return WalkEnd::Done };
        let (follow, at) = Follow::new(filter);
        let (key, stack) = (Vec::with_capacity(64), Vec::with_capacity(16));
        let mut walk = Self { tree, follow, after, key, stack, budget };
        if let Some(end) = walk.enter(root, at, after.map(|_| 0), visit) {
            return end;
        }
        while let Some((child, byte, at, bound)) = walk.next_child() {
            if let Some(byte) = byte {
                walk.key.push(byte);
            }
            if let Some(end) = walk.enter(child, at, bound, visit) {
                return end;
            }
        }
        WalkEnd::Done
    }

    /// Goes into a node: visits a leaf, or puts an inner node on the stack.
    fn enter(
        &mut self,
        node: Ref,
        at: At,
        bound: Option<usize>,
        visit: &mut dyn FnMut(&[u8], Seqs<'t>) -> ControlFlow<()>,
    ) -> Option<WalkEnd> {
        if self.budget == 0 {
            return Some(WalkEnd::Spent);
        }
        self.budget -= 1;
        let cell = self.tree.arena.get(node);
        if node.is_leaf() {
            let leaf = Leaf::read(cell)?;
            if bound.is_some_and(|behind| leaf.suffix <= self.bound_rest(behind)) {
                return None;
            }
            let at = self.follow.bytes(at, leaf.suffix)?;
            if !self.follow.accepts(&at) {
                return None;
            }
            let key_len = self.key.len();
            self.key.extend_from_slice(leaf.suffix);
            let end = visit(&self.key, leaf.seqs(&self.tree.lists)?);
            self.key.truncate(key_len);
            return end.is_break().then_some(WalkEnd::Broke);
        }
        let inner = Inner::read(cell)?;
        let (mut below, mut first, mut value_left) = (bound, 0, inner.value.is_some());
        if let Some(behind) = bound {
            let rest = self.bound_rest(behind);
            if let Some(rest) = rest.strip_prefix(inner.prefix) {
                // The key that ends here is the bound or below it.
                value_left = false;
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
        self.key.extend_from_slice(inner.prefix);
        let (states_len, key_len) = (self.follow.states.len(), self.key.len());
        self.stack.push(Frame { node, at, states_len, key_len, next: first, end, bound: below, value_left });
        None
    }

    fn next_child(&mut self) -> Option<(Ref, Option<u8>, At, Option<usize>)> {
        loop {
            let frame = self.stack.last_mut()?;
            self.follow.states.truncate(frame.states_len);
            self.key.truncate(frame.key_len);
            let Some(inner) = Inner::read(self.tree.arena.get(frame.node)) else {
                self.stack.pop();
                continue;
            };
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
