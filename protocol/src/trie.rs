//! Values by subject pattern.
//!
//! Anybody may send a pattern or a subject of a few hundred thousand tokens, so nothing here goes a call deeper with
//! each token, dropping included: ways that are still to be gone stand in a list.

mod children;

use std::fmt;

use smallvec::SmallVec;

use crate::subject::{self, ANY_TOKEN, REST, SEPARATOR};
use children::Children;

/// Ways put aside in a search before the list of them takes memory of its own.
const ASIDE_INLINE: usize = 8;

/// Values by subject pattern, found by a subject that the patterns stand for. A search costs what can still match, and
/// at most the number of tokens in all patterns; a change costs the tokens of its pattern.
///
/// ```
/// use jetkv_protocol::trie::{Found, PatternTrie};
///
/// let mut trie = PatternTrie::new();
/// assert!(trie.is_empty());
/// *trie.get_or_insert_with(b"a.*", || 0) += 1;
/// *trie.get_or_insert_with(b"a.b", || 0) += 2;
///
/// let mut sum = 0;
/// trie.visit_matching(b"a.b", |found| {
///     if let Found::Value(value) = found {
///         sum += value;
///     }
///     // It is not enough yet.
///     false
/// });
/// assert_eq!(sum, 3);
///
/// // Nothing of it is left.
/// assert!(trie.change(b"a.b", |_| false));
/// let mut left = Vec::new();
/// trie.for_each(|value| left.push(*value));
/// assert_eq!(left, [1]);
/// ```
pub struct PatternTrie<V> {
    root: Node<V>,
}

/// What a search comes across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'t, V> {
    /// The value of a pattern that stands for the subject.
    Value(&'t V),
    /// Where a pattern that is the subject itself has its place in the order. A caller that keeps those elsewhere
    /// finds out here when it is their turn. Never comes where all patterns that begin like the subject end early.
    LiteralPlace,
}

/// Which subjects, beside the one that was looked for, are those that the same patterns stand for.
///
/// ```
/// use jetkv_protocol::trie::{PatternTrie, Reach};
///
/// let mut trie = PatternTrie::new();
/// trie.get_or_insert_with(b"kv.>", || ());
/// let mut reach = Reach::default();
/// trie.search(b"kv.a", |_| false, &mut reach);
/// assert!(reach.covers(b"kv.a", b"kv.b") && !reach.covers(b"kv.a", b"orders"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// None that is known.
    #[default]
    Itself,
    /// All that have so many first bytes in common with it, and something behind them.
    Start(usize),
    /// Those of them that have a single token behind these bytes.
    OneToken(usize),
}

impl Reach {
    /// Whether the patterns that stand for `subject`, which this was found out for, are those that stand for `other`.
    #[must_use]
    #[inline]
    pub fn covers(self, subject: &[u8], other: &[u8]) -> bool {
        let (len, is_one) = match self {
            Self::Itself => return false,
            Self::Start(len) => (len, false),
            Self::OneToken(len) => (len, true),
        };
        let (Some(start), Some((other_start, rest))) = (subject.get(..len), other.split_at_checked(len))
        else {
            return false;
        };
        start == other_start
            && if is_one { subject::is_one_token(rest) } else { !subject::has_empty_token(rest) }
    }
}

#[derive(Debug)]
struct Node<V> {
    children: Children<Self>,
    /// What follows a `*` here.
    any: Option<Box<Self>>,
    /// The pattern that ends here with `>`.
    rest: Option<Box<V>>,
    /// The pattern that ends here.
    here: Option<Box<V>>,
}

impl<V> PatternTrie<V> {
    /// An empty trie.
    #[must_use]
    pub const fn new() -> Self {
        Self { root: Node::new() }
    }

    /// Whether there is no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// The value of a pattern, made by `new` where there is none yet. What follows a `>` token is not looked at.
    pub fn get_or_insert_with(&mut self, pattern: &[u8], new: impl FnOnce() -> V) -> &mut V {
        let mut node = &mut self.root;
        for token in subject::tokens(pattern) {
            node = match token {
                REST => return node.rest.get_or_insert_with(|| Box::new(new())),
                ANY_TOKEN => node.any.get_or_insert_with(|| Box::new(Node::new())),
                _ => node.children.get_or_insert(token, Node::new),
            };
        }
        node.here.get_or_insert_with(|| Box::new(new()))
    }

    /// Shows a pattern's value to `change`, which says whether it stays; false where there is none.
    pub fn change(&mut self, pattern: &[u8], change: impl FnOnce(&mut V) -> bool) -> bool {
        let mut node = &mut self.root;
        // How many tokens lead to the last node on the way that stays even when this pattern goes.
        let mut stays = 0;
        for (at, token) in subject::tokens(pattern).enumerate() {
            if node.branches() > 1 {
                stays = at;
            }
            if token == REST {
                let Some(value) = &mut node.rest else { return false };
                if !change(value) {
                    node.rest = None;
                    if at > 0 && node.is_empty() {
                        self.prune(pattern, stays);
                    }
                }
                return true;
            }
            let Some(next) = node.below_mut(token) else { return false };
            node = next;
        }
        let Some(value) = &mut node.here else { return false };
        if !change(value) {
            node.here = None;
            if node.is_empty() {
                self.prune(pattern, stays);
            }
        }
        true
    }

    /// Takes away what is below the node that the first `stays` tokens of a pattern lead to, on the way of the pattern.
    fn prune(&mut self, pattern: &[u8], stays: usize) {
        let mut node = &mut self.root;
        let mut tokens = subject::tokens(pattern);
        for token in tokens.by_ref().take(stays) {
            let Some(next) = node.below_mut(token) else { return };
            node = next;
        }
        match tokens.next() {
            Some(ANY_TOKEN) => node.any = None,
            Some(token) => node.children.remove(token),
            None => {}
        }
    }

    /// Shows every value whose pattern stands for the literal `subject` until `visit` says that this is enough; tells
    /// whether it did. A wildcard token of the subject is a token like others, and no pattern's token is named so.
    ///
    /// The order is nats-server's: on each level `>` first, then `*` before letters, but letters before `*` for the last
    /// token.
    pub fn visit_matching<'t>(&'t self, subject: &[u8], visit: impl FnMut(Found<'t, V>) -> bool) -> bool {
        self.search(subject, visit, &mut Reach::Itself)
    }

    /// As [`visit_matching`](Self::visit_matching), and finds out for which other subjects it would show the same. That is
    /// true where `visit` never says that it is enough.
    pub fn search<'t>(
        &'t self,
        subject: &[u8],
        mut visit: impl FnMut(Found<'t, V>) -> bool,
        reach: &mut Reach,
    ) -> bool {
        let mut aside: SmallVec<[Way<'t, '_, V>; ASIDE_INLINE]> = SmallVec::new();
        let mut way = Way { node: &self.root, subject, literally: true };
        // Whether there was one way only so far.
        let mut single = true;
        loop {
            let Way { node, subject: left, literally } = way;
            if node.rest.as_deref().is_some_and(|value| visit(Found::Value(value))) {
                return true;
            }
            if single && node.children.is_empty() && node.any.is_none() {
                // Whatever follows, nothing else can match.
                *reach = Reach::Start(subject.len() - left.len());
                return false;
            }
            let dot = memchr::memchr(SEPARATOR, left);
            if let Some((token, after)) = dot.and_then(|dot| Some((left.get(..dot)?, left.get(dot + 1..)?))) {
                let child = node.children.get(token);
                let child = child.map(|node| Way { node, subject: after, literally });
                let any = node.any.as_deref().map(|node| Way { node, subject: after, literally: false });
                if let Some(next) = any {
                    single &= child.is_none();
                    aside.extend(child);
                    way = next;
                    continue;
                }
                if let Some(next) = child {
                    way = next;
                    continue;
                }
                if single {
                    *reach = Reach::Start(subject.len() - after.len());
                }
            } else {
                if single && node.children.is_empty() {
                    *reach = Reach::OneToken(subject.len() - left.len());
                }
                if node.visit_last(left, literally, &mut visit) {
                    return true;
                }
            }
            match aside.pop() {
                Some(next) => way = next,
                None => return false,
            }
        }
    }

    /// Shows every value, in no order.
    pub fn for_each(&self, mut visit: impl FnMut(&V)) {
        let mut nodes = vec![&self.root];
        while let Some(node) = nodes.pop() {
            [&node.rest, &node.here].into_iter().flatten().for_each(|value| visit(value));
            nodes.extend(node.any.as_deref());
            nodes.extend(node.children.values());
        }
    }
}

impl<V> Default for PatternTrie<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// Says nothing of the patterns: there may be more of them, and longer ones, than anybody can read.
impl<V> fmt::Debug for PatternTrie<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PatternTrie").finish_non_exhaustive()
    }
}

/// A node that a search comes to.
struct Way<'t, 's, V> {
    node: &'t Node<V>,
    /// What of the subject follows.
    subject: &'s [u8],
    /// No wildcard stood for a token so far.
    literally: bool,
}

impl<V> Node<V> {
    const fn new() -> Self {
        Self { children: Children::new(), any: None, rest: None, here: None }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.any.is_none() && self.rest.is_none() && self.here.is_none()
    }

    /// What hangs on this node: nodes and values.
    fn branches(&self) -> usize {
        let of = usize::from;
        self.children.len() + of(self.any.is_some()) + of(self.rest.is_some()) + of(self.here.is_some())
    }

    /// The node that a token of a pattern, but not `>`, leads to.
    fn below_mut(&mut self, token: &[u8]) -> Option<&mut Self> {
        match token {
            ANY_TOKEN => self.any.as_deref_mut(),
            _ => self.children.get_mut(token),
        }
    }

    /// Shows the values of patterns that end with the subject's last token.
    #[inline]
    fn visit_last<'t>(
        &'t self,
        token: &[u8],
        literally: bool,
        visit: &mut impl FnMut(Found<'t, V>) -> bool,
    ) -> bool {
        let here = |node: &'t Self| node.here.as_deref().map(Found::Value);
        self.children.get(token).and_then(here).is_some_and(&mut *visit)
            || (literally && visit(Found::LiteralPlace))
            || self.any.as_deref().and_then(here).is_some_and(visit)
    }

    fn take_below(&mut self, nodes: &mut Vec<Self>) {
        nodes.extend(self.any.take().map(|any| *any));
        self.children.take_into(nodes);
    }
}

/// Without this, the compiler's own way to drop a node goes a call deeper with each token.
impl<V> Drop for Node<V> {
    fn drop(&mut self) {
        let mut nodes = Vec::new();
        self.take_below(&mut nodes);
        while let Some(mut node) = nodes.pop() {
            node.take_below(&mut nodes);
        }
    }
}

#[cfg(test)]
mod tests;
