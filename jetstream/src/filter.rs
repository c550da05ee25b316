//! Which subjects of a stream an operation is about.

mod follow;

pub(crate) use follow::{At, Ends, Follow};
use jetkv_protocol::subject::{has_wildcard, matches};

/// A set of subject patterns; a message is meant when its subject matches one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filter {
    /// Every subject.
    #[default]
    All,
    /// One subject without wildcards.
    Literal(Box<[u8]>),
    /// One or more patterns, each of which may hold `*` and `>`.
    Patterns(Patterns),
}

/// Several patterns, in byte order, each once: those that begin alike stand together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(Box<[Box<[u8]>]>);

/// So few patterns are compared with a subject one by one.
const FEW: usize = 8;

impl Filter {
    /// Builds the cheapest filter for `patterns`; no pattern, or `>` among them, means every subject.
    pub fn new<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let mut patterns: Vec<Box<[u8]>> = patterns.into_iter().map(|p| p.as_ref().into()).collect();
        if patterns.is_empty() || patterns.iter().any(|pattern| &**pattern == b">") {
            return Self::All;
        }
        patterns.sort_unstable();
        patterns.dedup();
        match &*patterns {
            [one] if !has_wildcard(one) => Self::Literal(one.clone()),
            _ => Self::Patterns(Patterns(patterns.into())),
        }
    }

    /// Whether a literal `subject` is meant.
    #[must_use]
    pub fn matches(&self, subject: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Literal(literal) => &**literal == subject,
            Self::Patterns(Patterns(patterns)) if patterns.len() <= FEW => {
                patterns.iter().any(|pattern| matches(subject, pattern))
            }
            Self::Patterns(_) => {
                let (mut follow, at) = Follow::new(self);
                follow.bytes(at, subject).is_some_and(|at| follow.accepts(&at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_patterns_match_what_one_of_them_matches(
            patterns in proptest::collection::vec("([ab]|\\*|\\*a|aa|>a)(\\.([ab]|\\*|b\\*|ab)){0,3}(\\.>)?", 1..24),
            subjects in proptest::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,4}", 1..16),
        ) {
            let filter = Filter::new(&patterns);
            for subject in &subjects {
                let expected = patterns.iter().any(|pattern| matches(subject.as_bytes(), pattern.as_bytes()));
                prop_assert_eq!(filter.matches(subject.as_bytes()), expected, "{} in {:?}", subject, patterns);
                // In two parts, the second of which is the end.
                for (begin, end) in (0..=subject.len()).map(|at| subject.as_bytes().split_at(at)) {
                    let (mut follow, at) = Follow::new(&filter);
                    let found = follow.bytes(at, begin).is_some_and(|at| follow.accepts_end(at, end));
                    prop_assert_eq!(found, expected, "{} in {:?}", subject, patterns);
                }
            }
        }
    }

    #[test]
    fn a_subject_is_compared_with_few_of_many_patterns() {
        for form in ["kv.a.{}", "kv.*.{}", "*.{}.>", "kv.{}.*"] {
            let patterns: Vec<String> =
                (0..30_000).map(|number| form.replace("{}", &number.to_string())).collect();
            let filter = Filter::new(&patterns);
            let (mut follow, at) = Follow::new(&filter);
            let subject = patterns[12_345].replace(['*', '>'], "a");
            let at = follow.bytes(at, subject.as_bytes()).unwrap();
            assert!(follow.accepts(&at), "{form}");
            assert!(follow.steps <= 4 * subject.len(), "{} steps for {subject} in {form}", follow.steps);
        }
    }
}
