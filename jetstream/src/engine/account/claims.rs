//! Which subjects the streams of an account capture. Whether others meet them is found out without a look at each stream.

use crate::config::StreamConfig;
use jetkv_protocol::subject::{self, REST};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A subject of a stream, by its place in the configuration.
type Claim = (Arc<StreamConfig>, usize);

/// A place that a token leads to from another one.
type Edge = (usize, Box<[u8]>);

/// The beginning of all subjects.
const ROOT: usize = 0;

/// The subjects of streams, token by token. Nothing goes a call deeper with each token, as a subject may have many.
#[derive(Default)]
pub(super) struct Claims {
    edges: BTreeMap<Edge, usize>,
    places: Vec<Place>,
    /// Places that nothing leads to.
    free: Vec<usize>,
}

#[derive(Default)]
struct Place {
    /// Edges that lead on from here.
    edges: usize,
    /// Subjects that end here, with `>` or without.
    here: SmallVec<[Claim; 1]>,
    rest: SmallVec<[Claim; 1]>,
}

impl Place {
    fn is_needless(&self) -> bool {
        self.edges == 0 && self.here.is_empty() && self.rest.is_empty()
    }

    fn ends(&mut self, with_rest: bool) -> &mut SmallVec<[Claim; 1]> {
        if with_rest { &mut self.rest } else { &mut self.here }
    }
}

/// Which of the places behind one are meant.
#[derive(Clone, Copy)]
enum Way {
    /// What the token with this number, and those behind it, may meet.
    Token(usize),
    /// All.
    All,
}

/// Whether a token is compared as a wildcard, in whichever way subjects are compared.
fn is_odd(token: &[u8]) -> bool {
    matches!(token.first(), Some(b'*' | b'>'))
}

impl Claims {
    pub(super) fn add(&mut self, config: &Arc<StreamConfig>) {
        for (number, pattern) in config.subjects.iter().enumerate() {
            self.add_one((Arc::clone(config), number), pattern.as_bytes());
        }
    }

    fn add_one(&mut self, claim: Claim, pattern: &[u8]) {
        if self.places.is_empty() {
            self.places.push(Place::default());
        }
        let (mut at, mut with_rest) = (ROOT, false);
        for token in subject::tokens(pattern) {
            // What follows makes no difference to what it meets.
            if token == REST {
                with_rest = true;
                break;
            }
            let edge = (at, Box::from(token));
            at = match self.edges.get(&edge) {
                Some(to) => *to,
                None => self.lead_on(edge),
            };
        }
        if let Some(place) = self.places.get_mut(at) {
            place.ends(with_rest).push(claim);
        }
    }

    fn lead_on(&mut self, edge: Edge) -> usize {
        let to = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        if let Some(place) = self.places.get_mut(edge.0) {
            place.edges += 1;
        }
        self.edges.insert(edge, to);
        to
    }

    /// Takes away what was added of the same configuration.
    pub(super) fn remove(&mut self, config: &Arc<StreamConfig>) {
        for pattern in &config.subjects {
            self.remove_one(config, pattern.as_bytes());
        }
    }

    fn remove_one(&mut self, config: &Arc<StreamConfig>, pattern: &[u8]) {
        let (mut at, mut with_rest, mut way) = (ROOT, false, Vec::new());
        for token in subject::tokens(pattern) {
            if token == REST {
                with_rest = true;
                break;
            }
            let edge = (at, Box::from(token));
            let Some(to) = self.edges.get(&edge).copied() else { return };
            way.push((edge, to));
            at = to;
        }
        if let Some(place) = self.places.get_mut(at) {
            place.ends(with_rest).retain(|(held, _)| !Arc::ptr_eq(held, config));
        }
        while let Some((edge, to)) = way.pop() {
            if !self.places.get(to).is_some_and(Place::is_needless) {
                break;
            }
            if let Some(before) = self.places.get_mut(edge.0) {
                before.edges -= 1;
            }
            self.edges.remove(&edge);
            self.free.push(to);
        }
    }

    /// Whether a subject of a stream with another name meets one of these.
    pub(super) fn meets_another(&self, config: &StreamConfig) -> bool {
        config.subjects.iter().any(|pattern| self.meets_other_than(&config.name, pattern.as_bytes(), &mut 0))
    }

    /// Counts the places that it looks at in `seen`.
    fn meets_other_than(&self, name: &str, pattern: &[u8], seen: &mut usize) -> bool {
        let tokens: Vec<&[u8]> = subject::tokens(pattern).collect();
        let meets = |(config, number): &Claim| {
            let theirs = config.subjects.get(*number);
            config.name != name && theirs.is_some_and(|theirs| subject::collide(pattern, theirs.as_bytes()))
        };
        let mut ways = vec![(ROOT, Way::Token(0))];
        while let Some((at, way)) = ways.pop() {
            *seen += 1;
            let Some(place) = self.places.get(at) else { continue };
            let token = match way {
                Way::Token(number) => tokens.get(number).map(|token| (*token, number + 1)),
                Way::All => None,
            };
            let ends_here = token.is_none() && place.here.iter().any(meets);
            let goes_on = token.is_some() || matches!(way, Way::All);
            if ends_here || (goes_on && place.rest.iter().any(meets)) {
                return true;
            }
            match token {
                None if !goes_on => {}
                None | Some((REST, _)) => self.behind(at, &[], &[]).for_each(|to| ways.push((to, Way::All))),
                Some((token, next)) if is_odd(token) => {
                    self.behind(at, &[], &[]).for_each(|to| ways.push((to, Way::Token(next))));
                }
                Some((token, next)) => {
                    let odd = self.behind(at, b"*", b"+").chain(self.behind(at, b">", b"?"));
                    let same = self.edges.get(&(at, Box::from(token))).copied();
                    ways.extend(odd.chain(same).map(|to| (to, Way::Token(next))));
                }
            }
        }
        false
    }

    /// Places that tokens from one to below another lead to; an empty one is no bound.
    fn behind(&self, at: usize, from: &[u8], to: &[u8]) -> impl Iterator<Item = usize> {
        let end = if to.is_empty() { (at + 1, Box::default()) } else { (at, Box::from(to)) };
        self.edges.range((at, Box::from(from))..end).map(|(_, to)| *to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(name: String, subjects: Vec<String>) -> Arc<StreamConfig> {
        Arc::new(StreamConfig { name, subjects, ..StreamConfig::default() })
    }

    fn pattern() -> impl Strategy<Value = String> {
        let token =
            prop_oneof![4 => "[ab]", 2 => Just("*".to_owned()), 1 => "[*>][ab]", 1 => Just(">".to_owned())];
        (proptest::collection::vec(token, 1..5), any::<bool>()).prop_map(|(tokens, rest)| {
            let mut subject = tokens.join(".");
            if rest {
                subject.push_str(".>");
            }
            subject
        })
    }

    fn naive(held: &[Arc<StreamConfig>], asked: &StreamConfig) -> bool {
        let others = held.iter().filter(|other| other.name != asked.name);
        let mut theirs = others.flat_map(|other| &other.subjects);
        theirs.any(|theirs| {
            asked.subjects.iter().any(|own| subject::collide(own.as_bytes(), theirs.as_bytes()))
        })
    }

    proptest! {
        #[test]
        fn subjects_meet_as_they_do_one_by_one_whatever_came_and_went(
            changes in proptest::collection::vec(
                (0_u8..6, proptest::collection::vec(pattern(), 0..4), any::<bool>()),
                1..40,
            ),
        ) {
            let (mut claims, mut held) = (Claims::default(), Vec::<Arc<StreamConfig>>::new());
            for (name, subjects, stays) in changes {
                let asked = stream(name.to_string(), subjects);
                prop_assert_eq!(claims.meets_another(&asked), naive(&held, &asked), "{:?}", asked.subjects);
                held.retain(|known| {
                    if known.name == asked.name {
                        claims.remove(known);
                    }
                    known.name != asked.name
                });
                if stays {
                    claims.add(&asked);
                    held.push(asked);
                }
            }
            held.iter().for_each(|known| claims.remove(known));
            prop_assert!(claims.edges.is_empty());
            prop_assert_eq!(claims.free.len() + 1, claims.places.len().max(1));
        }
    }

    #[test]
    fn a_subject_is_compared_with_few_of_many() {
        let mut claims = Claims::default();
        for number in 0..10_000 {
            claims.add(&stream(number.to_string(), vec![format!("$KV.{number}.>"), format!("a.{number}.b")]));
        }
        for pattern in ["$KV.new.>", "$KV.9999", "a.new.b", "a.77.*"] {
            let mut seen = 0;
            assert!(!claims.meets_other_than("", pattern.as_bytes(), &mut seen) || pattern == "a.77.*");
            assert!(seen <= 8, "{seen} places for {pattern}");
        }
    }
}
