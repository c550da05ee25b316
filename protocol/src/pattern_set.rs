//! Which of many subject patterns meet, without comparing each with each.

mod shapes;

use std::collections::HashMap;

use self::shapes::Shapes;
use crate::subject::{self, ANY_TOKEN, REST};

/// Patterns that are compared with others, by number. What it says is never a wrong "no"; a "yes" is to be confirmed by
/// [`subject::collide`] or [`subject::is_subset`], because tokens that merely begin with a wildcard are taken for one.
///
/// ```
/// use jetkv_protocol::pattern_set::PatternSet;
///
/// let patterns: [&[u8]; 2] = [b"a.*", b"b.>"];
/// let set = PatternSet::new(patterns);
/// assert!(set.may_meet(b"*.x", None) && !set.may_meet(b"c", None));
/// assert!(set.may_cover(b"b.x.y", None));
/// // Compared with the others only.
/// assert!(!set.may_cover(b"a.*", Some(0)));
/// ```
pub struct PatternSet<'p> {
    nodes: Vec<Node>,
    below: HashMap<(usize, &'p [u8]), usize>,
    shapes: Shapes<'p>,
}

#[derive(Default)]
struct Node {
    /// What follows, apart from `*` and `>`, and what begins with `*`.
    children: Vec<usize>,
    /// Those of the children whose token begins with `>`.
    odd: Vec<usize>,
    any: Option<usize>,
    /// Longer tokens that begin with `*`: all of them cover the same.
    star: Option<usize>,
    rest: Ends,
    here: Ends,
    /// Patterns that come through here or end here.
    count: usize,
}

/// Patterns that end at a place.
#[derive(Default)]
struct Ends {
    first: Option<usize>,
    count: usize,
}

impl Ends {
    fn add(&mut self, number: usize) {
        self.first.get_or_insert(number);
        self.count += 1;
    }

    fn has_other(&self, than: Option<usize>) -> bool {
        self.count > 1 || (self.count == 1 && (than.is_none() || self.first != than))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Meets,
    IsCovered,
}

fn is_odd(token: &[u8]) -> bool {
    matches!(token.first(), Some(b'*' | b'>'))
}

impl<'p> PatternSet<'p> {
    /// The patterns, numbered from zero.
    pub fn new(patterns: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut set = Self { nodes: vec![Node::default()], below: HashMap::new(), shapes: Shapes::default() };
        for (number, pattern) in patterns.into_iter().enumerate() {
            set.add(number, pattern);
        }
        set
    }

    fn add(&mut self, number: usize, pattern: &'p [u8]) {
        self.shapes.add(number, pattern);
        let mut at = 0;
        for token in subject::tokens(pattern) {
            let next = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            node.count += 1;
            if token == REST {
                return node.rest.add(number);
            }
            at = if token == ANY_TOKEN {
                *node.any.get_or_insert(next)
            } else if token.first() == Some(&b'*') {
                *node.star.get_or_insert(next)
            } else {
                *self.below.entry((at, token)).or_insert_with(|| {
                    node.children.push(next);
                    if is_odd(token) {
                        node.odd.push(next);
                    }
                    next
                })
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.count += 1;
            node.here.add(number);
        }
    }

    /// Whether a pattern, other than that with the number `except`, may stand for a subject that `pattern` stands for.
    #[must_use]
    pub fn may_meet(&self, pattern: &[u8], except: Option<usize>) -> bool {
        if let Some(meets) = self.shapes.meets(pattern, except) {
            return meets;
        }
        self.search(Question::Meets, pattern, except, &mut 0)
    }

    /// Whether a pattern, other than that with the number `except`, may stand for all that `pattern` stands for.
    #[must_use]
    pub fn may_cover(&self, pattern: &[u8], except: Option<usize>) -> bool {
        self.search(Question::IsCovered, pattern, except, &mut 0)
    }

    /// Counts the nodes that it looks at in `seen`.
    fn search(&self, question: Question, pattern: &[u8], except: Option<usize>, seen: &mut usize) -> bool {
        let tokens: Vec<&[u8]> = subject::tokens(pattern).collect();
        let mut ways = vec![(0, 0)];
        while let Some((at, behind)) = ways.pop() {
            *seen += 1;
            let Some(node) = self.nodes.get(at) else { continue };
            let Some(token) = tokens.get(behind).copied() else {
                if node.here.has_other(except) {
                    return true;
                }
                continue;
            };
            if node.rest.has_other(except) {
                return true;
            }
            if token == REST {
                let beyond = node.count - node.here.count - node.rest.count;
                if question == Question::Meets && beyond > 0 {
                    return true;
                }
                continue;
            }
            let can_be_odd = question == Question::Meets || token != ANY_TOKEN;
            let mut go = |to: usize| ways.push((to, behind + 1));
            node.any.into_iter().chain(node.star.filter(|_| can_be_odd)).for_each(&mut go);
            match question {
                Question::Meets if is_odd(token) => node.children.iter().copied().for_each(go),
                Question::IsCovered if token == ANY_TOKEN => {}
                Question::Meets => {
                    node.odd.iter().copied().for_each(&mut go);
                    self.below.get(&(at, token)).copied().into_iter().for_each(go);
                }
                Question::IsCovered => self.below.get(&(at, token)).copied().into_iter().for_each(go),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::{collide, is_subset};
    use proptest::prelude::*;

    fn pattern() -> impl Strategy<Value = String> {
        let token = prop_oneof![4 => "[ab]", 2 => Just("*".to_owned()), 1 => "[*>][ab]"];
        (proptest::collection::vec(token, 1..5), any::<bool>()).prop_map(|(tokens, rest)| {
            let mut subject = tokens.join(".");
            if rest {
                subject.push_str(".>");
            }
            subject
        })
    }

    proptest! {
        #[test]
        fn no_pattern_that_meets_or_covers_is_overlooked(patterns in proptest::collection::vec(pattern(), 1..12)) {
            let set = PatternSet::new(patterns.iter().map(String::as_bytes));
            for (number, one) in patterns.iter().enumerate() {
                let one = one.as_bytes();
                let mut others = patterns.iter().enumerate().filter(|(other, _)| *other != number);
                let meets = others.clone().any(|(_, other)| collide(one, other.as_bytes()));
                let covered = others.any(|(_, other)| is_subset(one, other.as_bytes()));
                prop_assert!(set.may_meet(one, Some(number)) || !meets);
                prop_assert!(set.may_cover(one, Some(number)) || !covered);
            }
        }

        #[test]
        fn without_odd_tokens_it_is_right(patterns in proptest::collection::vec(pattern(), 1..12)) {
            let plain = |text: &&String| !text.split('.').any(|token| token.len() > 1);
            let patterns: Vec<&String> = patterns.iter().filter(plain).collect();
            let set = PatternSet::new(patterns.iter().map(|text| text.as_bytes()));
            for (number, one) in patterns.iter().enumerate() {
                let one = one.as_bytes();
                let mut others = patterns.iter().enumerate().filter(|(other, _)| *other != number);
                let meets = others.clone().any(|(_, other)| collide(one, other.as_bytes()));
                let covered = others.any(|(_, other)| is_subset(one, other.as_bytes()));
                prop_assert_eq!(set.may_meet(one, Some(number)), meets);
                prop_assert_eq!(set.may_cover(one, Some(number)), covered);
            }
        }
    }

    #[test]
    fn each_of_many_patterns_is_compared_with_few() {
        let literal: Vec<String> = (0..10_000).map(|number| format!("kv.a.{number}")).collect();
        let wild: Vec<String> = (0..10_000).map(|number| format!("kv.*.{number}.>")).collect();
        for patterns in [literal, wild] {
            let set = PatternSet::new(patterns.iter().map(String::as_bytes));
            let mut seen = 0;
            for (number, one) in patterns.iter().enumerate() {
                assert!(!set.search(Question::IsCovered, one.as_bytes(), Some(number), &mut seen));
                assert!(!set.search(Question::Meets, one.as_bytes(), Some(number), &mut seen));
            }
            assert!(seen <= patterns.len() * 12, "{seen} nodes");
        }
    }

    #[test]
    fn wildcards_in_front_and_tokens_that_begin_like_some_cost_no_more() {
        let many = |form: &str| -> Vec<String> {
            (0..10_000).map(|number| form.replace('#', &number.to_string())).collect()
        };
        for (held, asked) in [
            ("a#.b#", "*.x#"),
            ("a#.b#.c#", "*.x#.*"),
            ("*a#.b#", "*x#.c#"),
            (">a#.b#.*", ">x#.c#.*"),
            ("*a#.b#", "a#.c#"),
            ("a#.*.b#", "*.x#.c#"),
        ] {
            let (held, asked) = (many(held), many(asked));
            let set = PatternSet::new(held.iter().map(String::as_bytes));
            let mut seen = 0;
            for one in &asked {
                assert_eq!(set.shapes.meets(one.as_bytes(), None), Some(false), "{one}");
                assert!(!set.search(Question::IsCovered, one.as_bytes(), None, &mut seen), "{one}");
            }
            assert!(seen <= asked.len() * 12, "{seen} nodes");
            assert!(
                set.shapes.looked() <= 4 * (held.len() + asked.len()),
                "{} looked at",
                set.shapes.looked()
            );
        }
    }

    proptest! {
        #[test]
        fn by_shape_they_meet_as_they_do_one_by_one(patterns in proptest::collection::vec(pattern(), 1..12)) {
            let set = PatternSet::new(patterns.iter().map(String::as_bytes));
            for (number, one) in patterns.iter().enumerate() {
                let mut others = patterns.iter().enumerate().filter(|(other, _)| *other != number);
                let meets = others.any(|(_, other)| collide(one.as_bytes(), other.as_bytes()));
                prop_assert_eq!(set.shapes.meets(one.as_bytes(), Some(number)), Some(meets), "{}", one);
            }
        }
    }
}
