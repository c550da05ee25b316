//! Six bits of a subject's end, which stand in the reference to its leaf.
//!
//! A filter that ends with a literal behind a wildcard can match any subject below the wildcard. Leaves that were stored at
//! different times lie far from each other in memory, and to look at the end of each would be to wait for each; the tag tells
//! of nearly all beforehand that they end otherwise.

/// What the last two bytes of a subject make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(pub(super) u8);

impl Tag {
    pub(super) const BITS: u32 = 6;
    const MASK: u8 = (1 << Self::BITS) - 1;

    /// The tag of all subjects that end with these bytes, two at least where the subject has as many.
    pub(super) const fn of(end: &[u8]) -> Self {
        let (before, last) = match end {
            [.., before, last] => (*before, *last),
            [last] => (0, *last),
            [] => (0, 0),
        };
        // Two digits are a number then, so that no tag has more than two of the hundred.
        Self::from_bits(before.wrapping_mul(10).wrapping_add(last))
    }

    /// The tag that the lowest bits make.
    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::MASK)
    }
}

/// Some of all tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tags(u64);

impl Tags {
    /// One if a tag is among them, else zero.
    #[inline(always)]
    pub(super) fn holds(self, tag: Tag) -> u64 {
        self.0 >> tag.0 & 1
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        Self(tags.into_iter().fold(0, |all, tag| all | 1 << tag.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::arena::{Kind, Ref};
    use crate::store::index::node::{Inner, Leaf};
    use crate::store::index::tree::Tree;

    /// Each leaf below a node: what the reference to it says, and its subject.
    fn leaves(tree: &Tree, node: Ref, mut subject: Vec<u8>, found: &mut Vec<(Kind, Vec<u8>)>) {
        let cell = tree.arena.get(node);
        if node.is_leaf() {
            subject.extend_from_slice(Leaf::read(cell).unwrap().suffix);
            found.push((node.kind(), subject));
            return;
        }
        let inner = Inner::read(cell).unwrap();
        subject.extend_from_slice(inner.prefix);
        inner.value.into_iter().for_each(|value| leaves(tree, value, subject.clone(), found));
        for (at, byte) in inner.keys().iter().enumerate() {
            leaves(tree, inner.child_at(at).unwrap(), [&subject[..], &[*byte]].concat(), found);
        }
    }

    #[test]
    fn a_leaf_keeps_its_tag_however_the_tree_grows_and_shrinks_around_it() {
        let mut tree = Tree::default();
        let subject = |seq: u64| match seq % 5 {
            0 => format!("{}", seq % 90),
            1 => format!("k.{}", seq % 1000),
            _ => format!("k.{}.{}.{}", seq % 3, seq * seq % 401, seq % 17),
        };
        let mut looked_at = 0;
        for seq in 1..6_000_u64 {
            tree.record(subject(seq).as_bytes(), seq, u64::MAX);
            if seq > 1_500 && seq % 7 != 0 {
                tree.forget(subject(seq - 1_500).as_bytes(), seq - 1_500);
            }
            if seq % 500 == 0 {
                let mut found = Vec::new();
                leaves(&tree, tree.root.unwrap(), Vec::new(), &mut found);
                assert_eq!(found.len(), tree.len);
                for (kind, subject) in &found {
                    assert_eq!(*kind, Kind::Leaf(Tag::of(subject)), "{}", String::from_utf8_lossy(subject));
                }
                looked_at += found.len();
            }
        }
        assert!(looked_at > 5_000, "{looked_at}");
    }

    #[test]
    fn numbers_are_spread_over_all_tags() {
        let mut counts = [0_u32; 1 << Tag::BITS];
        for number in 0..1000 {
            counts[usize::from(Tag::of(format!("k.{number}").as_bytes()).0)] += 1;
        }
        assert!(counts.iter().all(|count| (5..30).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_tag_of_an_end_is_that_of_every_subject_that_ends_so() {
        for end in [".7", ".77", ".a", "..", ".name"] {
            for start in ["", "k", "k.1", "k.1.2"] {
                assert_eq!(Tag::of(format!("{start}{end}").as_bytes()), Tag::of(end.as_bytes()));
            }
        }
    }
}
