//! The subjects that messages of an origin get, by the first of its transforms that takes them.

use crate::config::SubjectTransform;
use jetkv_protocol::transform::Transform;
use jetkv_protocol::trie::{Found, PatternTrie};
use smallvec::SmallVec;
use std::borrow::Cow;

/// So few are tried one by one.
const FEW: usize = 8;

/// The transforms of an origin, in order.
#[derive(Debug, Default)]
pub(super) struct Transforms {
    all: Vec<Transform>,
    /// Which of them take what a pattern stands for, where they are many.
    by_source: PatternTrie<SmallVec<[usize; 1]>>,
}

impl Transforms {
    /// Those that are sound; the others are left out, which the log says.
    pub(super) fn new(configured: &[SubjectTransform], stream: &str) -> Self {
        let mut made = Self::default();
        for SubjectTransform { src, dest } in configured {
            match Transform::new(src, dest) {
                Ok(Some(transform)) => {
                    if configured.len() > FEW {
                        let source: &[u8] = if src.is_empty() { b">" } else { src.as_bytes() };
                        made.by_source.get_or_insert_with(source, SmallVec::new).push(made.all.len());
                    }
                    made.all.push(transform);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(stream, %error, "a transform of subjects is left out");
                }
            }
        }
        made
    }

    /// The subject that a message has here.
    pub(super) fn apply<'m>(&self, subject: &'m [u8], random: impl Fn() -> u32) -> Cow<'m, [u8]> {
        let try_one = |transform: &Transform| {
            let mut to = Vec::new();
            transform.apply(subject, &mut to, &random).then_some(to)
        };
        let made = if self.by_source.is_empty() {
            self.all.iter().find_map(try_one)
        } else {
            let mut taking: SmallVec<[usize; 4]> = SmallVec::new();
            self.by_source.visit_matching(subject, |found| {
                if let Found::Value(numbers) = found {
                    taking.extend_from_slice(numbers);
                }
                false
            });
            taking.sort_unstable();
            taking.iter().filter_map(|number| self.all.get(*number)).find_map(try_one)
        };
        made.map_or(Cow::Borrowed(subject), Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Transforms {
        let configured: Vec<SubjectTransform> = pairs
            .iter()
            .map(|(src, dest)| SubjectTransform { src: (*src).into(), dest: (*dest).into() })
            .collect();
        Transforms::new(&configured, "S")
    }

    #[test]
    fn of_many_the_first_that_takes_a_subject_is_applied_as_of_few() {
        let mut pairs =
            vec![("a.*.c", "one.{{wildcard(1)}}"), ("a.>", "two.>"), ("a.b.*", "three.$1"), ("lit", "four")];
        let few = of(&pairs);
        let others: Vec<(String, String)> =
            (0..20_000).map(|at| (format!("o.{at}"), format!("n.{at}"))).collect();
        pairs.extend(others.iter().map(|(src, dest)| (src.as_str(), dest.as_str())));
        let many = of(&pairs);
        assert!(few.by_source.is_empty() && !many.by_source.is_empty());
        for (subject, to) in
            [("a.b.c", "one.b"), ("a.b.d", "two.b.d"), ("lit", "four"), ("none", "none"), ("a", "a")]
        {
            assert_eq!(few.apply(subject.as_bytes(), || 0), to.as_bytes(), "{subject}");
            assert_eq!(many.apply(subject.as_bytes(), || 0), to.as_bytes(), "{subject}");
        }
        assert_eq!(many.apply(b"o.12345", || 0), &b"n.12345"[..]);
        assert_eq!(many.apply(b"o.20000", || 0), &b"o.20000"[..]);
    }

    #[test]
    fn without_a_source_it_takes_all() {
        let pairs = [("", "x.>")].into_iter().chain((0..20).map(|_| ("y", "z"))).collect::<Vec<_>>();
        assert_eq!(of(&pairs).apply(b"y", || 0), &b"x.y"[..]);
    }
}
