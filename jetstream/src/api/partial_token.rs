//! Filters of subjects whose last token ends with a wildcard, as in `$KV.b.k*`.
//!
//! Such a wildcard is an ordinary character, but nats-server v2.15.2 looks subjects up in a radix tree, and where a node of
//! that tree ends right before the wildcard it is taken for one (observed): with `k1` and `k2` in the stream `k*` lists
//! both, with `k1` alone it lists nothing.

use crate::filter::Filter;
use crate::store::index::Seqs;
use crate::stream::Stream;
use hashbrown::{HashMap, HashSet};
use jetkv_protocol::subject;

/// The last token of a filter, which ends with a wildcard and is longer than that.
pub(super) struct PartialToken<'f> {
    /// The tokens before it, with the dot behind them.
    before: &'f [u8],
    /// What stands before the wildcard.
    stem: &'f [u8],
    /// It stands for all that follows, not for the rest of a token.
    is_full: bool,
}

impl<'f> PartialToken<'f> {
    pub(super) fn of(filter: &'f [u8]) -> Option<Self> {
        let (wildcard, rest) = filter.split_last()?;
        let (before, stem) = rest.split_at(memchr::memrchr(b'.', rest).map_or(0, |dot| dot + 1));
        let ends_so = matches!(wildcard, b'*' | b'>') && !stem.is_empty();
        ends_so.then_some(Self { before, stem, is_full: *wildcard == b'>' })
    }

    /// The beginnings of subjects that reach up to the wildcard, and after which at least two subjects differ. `walk`
    /// shows all subjects that a filter takes in.
    pub(super) fn branching(&self, walk: impl FnOnce(&Filter, &mut dyn FnMut(&[u8]))) -> HashSet<Vec<u8>> {
        let mut next: HashMap<Vec<u8>, Option<u8>> = HashMap::new();
        let mut branching = HashSet::new();
        walk(&self.around(), &mut |subject| {
            if let Some((beginning, rest)) = self.split(subject) {
                let byte = rest.first().copied();
                match next.get(beginning) {
                    Some(known) if *known != byte => drop(branching.insert(beginning.to_vec())),
                    Some(_) => {}
                    None => drop(next.insert(beginning.to_vec(), byte)),
                }
            }
        });
        branching
    }

    /// A filter that takes in all subjects that may be listed.
    pub(super) fn around(&self) -> Filter {
        Filter::new([[self.before, b">"].concat()])
    }

    /// The subject up to where the wildcard stands in the filter, and the rest.
    fn split<'s>(&self, subject: &'s [u8]) -> Option<(&'s [u8], &'s [u8])> {
        let mut start = 0;
        for _ in memchr::memchr_iter(b'.', self.before) {
            start += memchr::memchr(b'.', subject.get(start..)?)? + 1;
        }
        let end = start + self.stem.len();
        let (beginning, rest) = subject.split_at_checked(end)?;
        beginning.ends_with(self.stem).then_some((beginning, rest))
    }

    /// Whether the filter lists a subject.
    pub(super) fn lists(&self, subject: &[u8], filter: &[u8], branching: &HashSet<Vec<u8>>) -> bool {
        let Some((beginning, rest)) = self.split(subject) else { return false };
        if !branching.contains(beginning) {
            return rest == filter.get(filter.len() - 1..).unwrap_or_default();
        }
        self.is_full || (!rest.is_empty() && !rest.contains(&b'.'))
    }

    /// Whether no token before it is a wildcard: then all that it lists begins alike.
    pub(super) fn is_one_place(&self) -> bool {
        !subject::has_wildcard(self.before)
    }

    /// Visits what it lists where it [is one place](Self::is_one_place), until `visit` wants no more.
    pub(super) fn each_of_place(&self, stream: &Stream, mut visit: impl FnMut(&[u8], Seqs<'_>) -> bool) {
        let wildcard: &[u8] = if self.is_full { b">" } else { b"*" };
        let beginning = [self.before, self.stem].concat();
        let filter = [&beginning, wildcard].concat();
        let (around, mut next, mut branching) = (self.around(), None, HashSet::new());
        stream.each_subject_from(&around, &beginning, |subject, _| {
            let Some(rest) = subject.strip_prefix(&*beginning) else { return false };
            if *next.get_or_insert(rest.first().copied()) != rest.first().copied() {
                branching.insert(beginning.clone());
            }
            branching.is_empty()
        });
        stream.each_subject_from(&around, &beginning, |subject, seqs| {
            subject.starts_with(&beginning)
                && (!self.lists(subject, &filter, &branching) || visit(subject, seqs))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(filter: &str, subjects: &[&str]) -> Vec<String> {
        let token = PartialToken::of(filter.as_bytes()).unwrap();
        let all = subjects.iter().map(|subject| subject.as_bytes());
        let branching = token.branching(|around, visit| {
            all.clone().filter(|subject| around.matches(subject)).for_each(visit);
        });
        let listed = all.filter(|subject| token.lists(subject, filter.as_bytes(), &branching));
        listed.map(|subject| String::from_utf8(subject.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_wildcard_behind_a_branch_is_one() {
        assert_eq!(listed("b.k*", &["b.k1", "b.k2", "b.x", "b.k3.y"]), ["b.k1", "b.k2"]);
        assert_eq!(listed("b.k>", &["b.k1", "b.k2", "b.x", "b.k3.y"]), ["b.k1", "b.k2", "b.k3.y"]);
        assert_eq!(listed("b.k>", &["b.k", "b.k2"]), ["b.k", "b.k2"]);
        assert_eq!(listed("b.k*", &["b.k", "b.k2"]), ["b.k2"]);
        assert_eq!(listed("*.k*", &["a.k1", "b.k1", "b.k2"]), ["b.k1", "b.k2"]);
    }

    #[test]
    fn a_wildcard_elsewhere_is_a_character() {
        assert!(listed("b.k*", &["b.k1", "b.x"]).is_empty());
        assert_eq!(listed("b.k*", &["b.k*", "b.x"]), ["b.k*"]);
    }

    #[test]
    fn other_filters_have_no_such_token() {
        for filter in ["", "*", ">", "b.*", "b.>", "b.k", "b.*k", "b.k*.x"] {
            assert!(PartialToken::of(filter.as_bytes()).is_none(), "{filter}");
        }
    }
}
