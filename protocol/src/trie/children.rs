//! The nodes below one node of the trie of patterns, by token.

use hashbrown::HashMap;

/// Up to this many are looked through one by one.
const FEW_MAX: usize = 6;

/// Nodes by token. Most nodes have a few below them, which are looked through in less time than a hash takes to make.
#[derive(Debug)]
pub(super) enum Children<N> {
    /// In no order.
    Few(Vec<(Box<[u8]>, N)>),
    /// More than that; stays so until all are gone.
    Many(HashMap<Box<[u8]>, N>),
}

impl<N> Children<N> {
    pub(super) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    #[inline]
    pub(super) fn get(&self, token: &[u8]) -> Option<&N> {
        match self {
            Self::Few(few) => few.iter().find(|(known, _)| **known == *token).map(|(_, node)| node),
            Self::Many(many) => many.get(token),
        }
    }

    pub(super) fn get_mut(&mut self, token: &[u8]) -> Option<&mut N> {
        match self {
            Self::Few(few) => few.iter_mut().find(|(known, _)| **known == *token).map(|(_, node)| node),
            Self::Many(many) => many.get_mut(token),
        }
    }

    /// The node of a token; a new one where there is none.
    pub(super) fn get_or_insert(&mut self, token: &[u8], new: impl FnOnce() -> N) -> &mut N {
        if let Self::Few(few) = self
            && few.len() == FEW_MAX
            && !few.iter().any(|(known, _)| **known == *token)
        {
            *self = Self::Many(few.drain(..).collect());
        }
        match self {
            Self::Few(few) => {
                let at = few.iter().position(|(known, _)| **known == *token).unwrap_or(few.len());
                if at == few.len() {
                    few.push((token.into(), new()));
                }
                #[expect(clippy::indexing_slicing, reason = "found there, or pushed there")]
                &mut few[at].1
            }
            Self::Many(many) => many.entry_ref(token).or_insert_with(new),
        }
    }

    pub(super) fn remove(&mut self, token: &[u8]) {
        match self {
            Self::Few(few) => {
                few.retain(|(known, _)| **known != *token);
                if few.is_empty() {
                    *few = Vec::new();
                }
            }
            Self::Many(many) => {
                many.remove(token);
                if many.is_empty() {
                    *self = Self::new();
                }
            }
        }
    }

    /// Moves all nodes to the end of `nodes`.
    pub(super) fn take_into(&mut self, nodes: &mut Vec<N>) {
        match self {
            Self::Few(few) => nodes.extend(few.drain(..).map(|(_, node)| node)),
            Self::Many(many) => nodes.extend(many.drain().map(|(_, node)| node)),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &N> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(_, node)| node);
        few.chain(many.into_iter().flat_map(HashMap::values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_however_many_there_are_and_went() {
        let mut children = Children::new();
        for count in [3_u32, 5, 40, 2] {
            for number in 0..count {
                *children.get_or_insert(&number.to_le_bytes(), || 0) += number + 1;
                assert_eq!(children.get(&number.to_le_bytes()), Some(&(number + 1)));
            }
            assert_eq!(children.values().sum::<u32>(), count * (count + 1) / 2);
            assert_eq!(children.get(b"none"), None);
            for number in 0..count {
                children.remove(&number.to_le_bytes());
                assert_eq!(children.get_mut(&number.to_le_bytes()), None);
            }
            assert!(children.is_empty());
        }
    }
}
