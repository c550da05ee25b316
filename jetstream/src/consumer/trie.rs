//! Finds the consumers that want a subject.

use hashbrown::HashMap;
use jetkv_protocol::subject::has_wildcard;
use jetkv_protocol::trie::{Found, PatternTrie};
use smallvec::SmallVec;

/// A consumer's place in its stream's table.
pub(crate) type Slot = u32;

/// Slots that share one pattern; nearly always one.
type Slots = SmallVec<[Slot; 2]>;

/// Maps patterns to consumers. A literal pattern costs a lookup in one table however many there are, so ten thousand
/// watchers of other keys cost a publish nothing.
#[derive(Debug, Default)]
pub(crate) struct FilterTrie {
    everything: Slots,
    literals: HashMap<Box<[u8]>, Slots>,
    wild: PatternTrie<Slots>,
}

impl FilterTrie {
    pub(crate) fn insert(&mut self, pattern: Option<&[u8]>, slot: Slot) {
        match pattern {
            None | Some(b">") => push(&mut self.everything, slot),
            Some(pattern) if has_wildcard(pattern) => {
                push(self.wild.get_or_insert_with(pattern, Slots::new), slot)
            }
            Some(literal) => push(self.literals.entry_ref(literal).or_default(), slot),
        }
    }

    pub(super) fn remove(&mut self, pattern: Option<&[u8]>, slot: Slot) {
        match pattern {
            None | Some(b">") => self.everything.retain(|held| *held != slot),
            Some(pattern) if has_wildcard(pattern) => {
                self.wild.change(pattern, |slots| {
                    slots.retain(|held| *held != slot);
                    !slots.is_empty()
                });
            }
            Some(literal) => {
                let Some(slots) = self.literals.get_mut(literal) else { return };
                slots.retain(|held| *held != slot);
                if slots.is_empty() {
                    self.literals.remove(literal);
                }
            }
        }
    }

    /// Appends the consumers that want `subject`, each once, in order of slot.
    pub(crate) fn find(&self, subject: &[u8], found: &mut Vec<Slot>) {
        let start = found.len();
        found.extend_from_slice(&self.everything);
        if let Some(slots) = self.literals.get(subject) {
            found.extend_from_slice(slots);
        }
        if !self.wild.is_empty() {
            self.wild.visit_matching(subject, |pattern| {
                if let Found::Value(slots) = pattern {
                    found.extend_from_slice(slots);
                }
                false
            });
        }
        // Patterns of one consumer may meet in a subject; it is still one consumer.
        if found.len() > start + 1 {
            let mut tail: SmallVec<[Slot; 16]> = found.drain(start..).collect();
            tail.sort_unstable();
            tail.dedup();
            found.extend_from_slice(&tail);
        }
    }

    /// Whether anyone wants `subject`.
    pub(super) fn has(&self, subject: &[u8]) -> bool {
        self.any(subject, |_| true)
    }

    /// Whether `wanted` says yes to a consumer that wants `subject`; it may be asked twice about the same. Allocates
    /// nothing.
    pub(super) fn any(&self, subject: &[u8], mut wanted: impl FnMut(Slot) -> bool) -> bool {
        self.everything.iter().any(|slot| wanted(*slot))
            || self.literals.get(subject).is_some_and(|slots| slots.iter().any(|slot| wanted(*slot)))
            || self.wild.visit_matching(subject, |pattern| match pattern {
                Found::Value(slots) => slots.iter().any(|slot| wanted(*slot)),
                Found::LiteralPlace => false,
            })
    }
}

fn push(slots: &mut Slots, slot: Slot) {
    if !slots.contains(&slot) {
        slots.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetkv_protocol::subject;
    use proptest::prelude::*;

    fn found(trie: &FilterTrie, subject: &[u8]) -> Vec<Slot> {
        let mut found = Vec::new();
        trie.find(subject, &mut found);
        found
    }

    proptest! {
        #[test]
        fn finds_exactly_the_patterns_that_match(
            patterns in proptest::collection::vec("([ab*]\\.){0,2}[ab*>]", 1..12),
            removed in proptest::collection::vec(any::<bool>(), 12),
            subject in "([ab]\\.){0,3}[ab]",
        ) {
            let mut trie = FilterTrie::default();
            for (slot, pattern) in patterns.iter().enumerate() {
                trie.insert(Some(pattern.as_bytes()), slot as Slot);
            }
            let mut wanted = Vec::new();
            for (slot, pattern) in patterns.iter().enumerate() {
                if removed[slot] {
                    trie.remove(Some(pattern.as_bytes()), slot as Slot);
                } else if subject::matches(subject.as_bytes(), pattern.as_bytes()) {
                    wanted.push(slot as Slot);
                }
            }
            prop_assert_eq!(found(&trie, subject.as_bytes()), wanted.clone());
            prop_assert_eq!(trie.has(subject.as_bytes()), !wanted.is_empty());
            let last = wanted.last().copied();
            prop_assert_eq!(trie.any(subject.as_bytes(), |slot| Some(slot) == last), last.is_some());
        }
    }

    #[test]
    fn a_consumer_with_patterns_that_meet_is_found_once() {
        let mut trie = FilterTrie::default();
        trie.insert(Some(b"a.*.c"), 3);
        trie.insert(Some(b"a.b.*"), 3);
        trie.insert(None, 1);
        assert_eq!(found(&trie, b"a.b.c"), [1, 3]);
    }

    #[test]
    fn removal_leaves_no_node_behind() {
        let mut trie = FilterTrie::default();
        for pattern in [&b"a.*.c"[..], b"a.b.>", b"x.y"] {
            trie.insert(Some(pattern), 1);
            trie.remove(Some(pattern), 1);
        }
        assert!(trie.wild.is_empty() && trie.literals.is_empty());
    }
}
