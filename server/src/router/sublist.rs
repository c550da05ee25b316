//! Which subscriptions a subject reaches.
//!
//! Subscriptions without wildcards live in one hash table keyed by their whole subject, so that a literal match is
//! a single lookup however many tokens the subject has; only patterns are in a trie.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use jetkv_protocol::subject;
use jetkv_protocol::trie::{Found, PatternTrie, Reach};
use smallvec::SmallVec;

/// Something that can be listed under a subject.
pub trait Listed {
    /// The subject, which may hold wildcards.
    fn subject(&self) -> &[u8];
    /// The queue group; empty for none.
    fn queue(&self) -> &[u8];
}

/// The subject is not one that can be subscribed to: an empty token, or `>` before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSubject;

/// Subscriptions by subject.
#[derive(Debug)]
pub struct Sublist<S> {
    hasher: DefaultHashBuilder,
    literals: HashTable<Entry<S>>,
    patterns: PatternTrie<Entry<S>>,
    pattern_count: usize,
    literal_count: usize,
    /// How many subscriptions without wildcards have subjects that begin alike, by [`beginning`].
    beginnings: [u32; BEGINNINGS],
}

/// Bytes that say how a subject begins, and ways to begin that are told apart.
const BEGINNING_BYTES: usize = 4;
const BEGINNINGS: usize = 64;

/// What a subject reaches. Reused from one lookup to the next.
#[derive(Debug)]
pub struct Matches<S> {
    plain: SmallVec<[Plain<S>; 4]>,
    queues: SmallVec<[QueueMatch<S>; 1]>,
}

/// The members of one queue group that a subject reaches, over all patterns that match it.
#[derive(Debug)]
pub struct QueueMatch<S> {
    groups: SmallVec<[Group<S>; 1]>,
    members: usize,
}

/// The members of a queue group on one subject. Copied when it changes, so that a match holds one reference
/// however many members there are.
type Group<S> = Arc<Vec<Arc<S>>>;

#[derive(Debug)]
enum Plain<S> {
    None,
    One(Arc<S>),
    Many(Group<S>),
}

#[derive(Debug)]
struct Entry<S> {
    plain: Plain<S>,
    queues: Vec<Group<S>>,
}

impl<S: Listed> Sublist<S> {
    /// An empty list.
    pub fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            literals: HashTable::new(),
            patterns: PatternTrie::new(),
            pattern_count: 0,
            literal_count: 0,
            beginnings: [0; BEGINNINGS],
        }
    }

    /// Number of subscriptions listed.
    pub fn len(&self) -> usize {
        self.literal_count + self.pattern_count
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a subscription.
    ///
    /// # Errors
    /// [`InvalidSubject`].
    pub fn insert(&mut self, sub: Arc<S>) -> Result<(), InvalidSubject> {
        if !subject::is_valid_for_subscription(sub.subject()) {
            return Err(InvalidSubject);
        }
        if subject::has_wildcard(sub.subject()) {
            let held = Arc::clone(&sub);
            self.patterns.get_or_insert_with(held.subject(), Entry::new).insert(sub);
            self.pattern_count += 1;
            return Ok(());
        }
        if let Some(count) = beginning(sub.subject()).and_then(|at| self.beginnings.get_mut(at)) {
            *count += 1;
        }
        let hash = self.hasher.hash_one(sub.subject());
        match self.literals.find_mut(hash, |entry| entry.subject() == sub.subject()) {
            Some(entry) => entry.insert(sub),
            None => {
                let hasher = &self.hasher;
                self.literals.insert_unique(hash, Entry::with(sub), |entry| hasher.hash_one(entry.subject()));
            }
        }
        self.literal_count += 1;
        Ok(())
    }

    /// Takes a subscription out; tells whether it was there.
    pub fn remove(&mut self, sub: &Arc<S>) -> bool {
        if subject::has_wildcard(sub.subject()) {
            let mut removed = false;
            self.patterns.change(sub.subject(), |entry| {
                removed = entry.remove(sub);
                !entry.is_empty()
            });
            self.pattern_count -= usize::from(removed);
            return removed;
        }
        let hash = self.hasher.hash_one(sub.subject());
        let Ok(mut found) = self.literals.find_entry(hash, |entry| entry.subject() == sub.subject()) else {
            return false;
        };
        // An entry that loses its last subscription loses its key with it, so it has to go as a whole.
        let removed = if found.get().is_only(sub) {
            found.remove();
            true
        } else {
            found.get_mut().remove(sub)
        };
        self.literal_count -= usize::from(removed);
        if let Some(count) = beginning(sub.subject()).and_then(|at| self.beginnings.get_mut(at)) {
            *count -= u32::from(removed);
        }
        removed
    }

    /// Whether no subscription without wildcards has a subject that begins so. `false` promises nothing.
    fn has_no_literal(&self, start: &[u8]) -> bool {
        self.literal_count == 0
            || beginning(start).and_then(|at| self.beginnings.get(at)).is_some_and(|count| *count == 0)
    }

    /// Puts what the literal `subject` reaches into `matches`, replacing what was there. A subject with an empty
    /// token reaches nothing; wildcards in it have no meaning beyond their letters. Tells which other subjects reach the
    /// same.
    pub fn matching(&self, subject: &[u8], matches: &mut Matches<S>) -> Reach {
        matches.clear();
        let mut reach = Reach::Itself;
        let mut literal = None;
        if self.literal_count > 0 {
            let hash = self.hasher.hash_one(subject);
            literal = self.literals.find(hash, |entry| entry.subject() == subject);
        }
        if self.pattern_count > 0 && !subject::has_empty_token(subject) {
            let add = |found| {
                let entry = match found {
                    Found::Value(entry) => Some(entry),
                    Found::LiteralPlace => literal.take(),
                };
                if let Some(entry) = entry {
                    matches.add(entry);
                }
                false
            };
            self.patterns.search(subject, add, &mut reach);
        }
        if let Some(entry) = literal {
            matches.add(entry);
        }
        match reach {
            Reach::Start(len) | Reach::OneToken(len)
                if subject.get(..len).is_some_and(|start| self.has_no_literal(start)) =>
            {
                reach
            }
            _ => Reach::Itself,
        }
    }

    /// Whether some subscription that `wanted` accepts is reached by the literal `subject`.
    pub fn any_match(&self, subject: &[u8], mut wanted: impl FnMut(&S) -> bool) -> bool {
        if self.literal_count > 0 {
            let hash = self.hasher.hash_one(subject);
            if let Some(entry) = self.literals.find(hash, |entry| entry.subject() == subject)
                && entry.iter().any(|sub| wanted(sub))
            {
                return true;
            }
        }
        self.pattern_count > 0
            && !subject::has_empty_token(subject)
            && self.patterns.visit_matching(subject, |found| match found {
                Found::Value(entry) => entry.iter().any(|sub| wanted(sub)),
                Found::LiteralPlace => false,
            })
    }

    /// Every subscription, in no order.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<S>)) {
        for entry in &self.literals {
            entry.iter().for_each(&mut visit);
        }
        self.patterns.for_each(|entry| entry.iter().for_each(&mut visit));
    }
}

impl<S: Listed> Default for Sublist<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Which of the counted ways to begin a subject has, if it has as many bytes as say so.
fn beginning(subject: &[u8]) -> Option<usize> {
    let bytes: &[u8; BEGINNING_BYTES] = subject.first_chunk()?;
    // The highest bits of a product depend on all bits of its factors.
    let mixed = u32::from_le_bytes(*bytes).wrapping_mul(0x9e37_79b1);
    Some((mixed >> (u32::BITS - BEGINNINGS.ilog2())) as usize)
}

impl<S: Listed> Entry<S> {
    fn with(sub: Arc<S>) -> Self {
        let mut entry = Self::new();
        entry.insert(sub);
        entry
    }

    const fn new() -> Self {
        Self { plain: Plain::None, queues: Vec::new() }
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<S>> {
        self.plain.as_slice().iter().chain(self.queues.iter().flat_map(|group| group.iter()))
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn is_only(&self, sub: &Arc<S>) -> bool {
        let mut subs = self.iter();
        subs.next().is_some_and(|only| Arc::ptr_eq(only, sub)) && subs.next().is_none()
    }

    /// The subject of all subscriptions of an entry of the literal table; such an entry is never empty.
    fn subject(&self) -> &[u8] {
        self.iter().next().map_or(&[], |sub| sub.subject())
    }

    fn insert(&mut self, sub: Arc<S>) {
        if sub.queue().is_empty() {
            return self.plain.insert(sub);
        }
        match self.queues.iter_mut().find(|group| group_name(group) == sub.queue()) {
            Some(group) => copied(group).push(sub),
            None => self.queues.push(Arc::new(vec![sub])),
        }
    }

    fn remove(&mut self, sub: &Arc<S>) -> bool {
        if sub.queue().is_empty() {
            return self.plain.remove(sub);
        }
        let Some(at) = self.queues.iter().position(|group| group_name(group) == sub.queue()) else {
            return false;
        };
        let Some(group) = self.queues.get_mut(at) else { return false };
        let Some(member) = group.iter().position(|member| Arc::ptr_eq(member, sub)) else { return false };
        copied(group).swap_remove(member);
        if group.is_empty() {
            self.queues.swap_remove(at);
        }
        true
    }
}

fn group_name<S: Listed>(group: &Group<S>) -> &[u8] {
    group.first().map_or(&[], |member| member.queue())
}

/// The group to change: itself when no match holds it, else a copy that replaces it.
fn copied<S>(group: &mut Group<S>) -> &mut Vec<Arc<S>> {
    Arc::make_mut(group)
}

impl<S> Plain<S> {
    fn as_slice(&self) -> &[Arc<S>] {
        match self {
            Self::None => &[],
            Self::One(sub) => std::slice::from_ref(sub),
            Self::Many(subs) => subs,
        }
    }

    fn insert(&mut self, sub: Arc<S>) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(sub),
            Self::One(first) => Self::Many(Arc::new(vec![first, sub])),
            Self::Many(mut subs) => {
                copied(&mut subs).push(sub);
                Self::Many(subs)
            }
        };
    }

    fn remove(&mut self, sub: &Arc<S>) -> bool {
        let Some(at) = self.as_slice().iter().position(|one| Arc::ptr_eq(one, sub)) else { return false };
        match self {
            Self::Many(subs) if subs.len() > 1 => {
                copied(subs).swap_remove(at);
            }
            _ => *self = Self::None,
        }
        true
    }
}

impl<S> Clone for Plain<S> {
    fn clone(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(sub) => Self::One(Arc::clone(sub)),
            Self::Many(subs) => Self::Many(Arc::clone(subs)),
        }
    }
}

impl<S: Listed> Matches<S> {
    fn add(&mut self, entry: &Entry<S>) {
        if !matches!(entry.plain, Plain::None) {
            self.plain.push(entry.plain.clone());
        }
        for group in &entry.queues {
            let name = group_name(group);
            let known =
                self.queues.iter_mut().find(|queue| queue.groups.first().map(group_name) == Some(name));
            match known {
                Some(queue) => {
                    queue.members += group.len();
                    queue.groups.push(Arc::clone(group));
                }
                None => self.queues.push(QueueMatch {
                    members: group.len(),
                    groups: SmallVec::from_elem(Arc::clone(group), 1),
                }),
            }
        }
    }
}

impl<S> Matches<S> {
    /// Forgets what was found.
    pub fn clear(&mut self) {
        self.plain.clear();
        self.queues.clear();
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }

    /// The one subscription that was found, where it is in no queue group and there is no other.
    #[inline]
    pub fn only(&self) -> Option<&Arc<S>> {
        match (self.plain.as_slice(), self.queues.is_empty()) {
            ([Plain::One(sub)], true) => Some(sub),
            _ => None,
        }
    }

    /// The subscriptions without a queue group.
    pub fn plain(&self) -> impl Iterator<Item = &Arc<S>> {
        self.plain.iter().flat_map(|plain| plain.as_slice().iter())
    }

    /// The queue groups; each is to get the message once.
    pub fn queues(&self) -> impl Iterator<Item = &QueueMatch<S>> {
        self.queues.iter()
    }
}

impl<S> Default for Matches<S> {
    fn default() -> Self {
        Self { plain: SmallVec::new(), queues: SmallVec::new() }
    }
}

impl<S> QueueMatch<S> {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.members
    }

    /// Whether the group has no member; never so in a match.
    pub fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// All members once, beginning with the one at `start`.
    pub fn members_from(&self, start: usize) -> impl Iterator<Item = &Arc<S>> {
        let all = || self.groups.iter().flat_map(|group| group.iter());
        all().skip(start).chain(all().take(start))
    }
}

#[cfg(test)]
#[path = "sublist_tests.rs"]
mod tests;
