//! A filter, followed byte by byte through subjects.
//!
//! Patterns stand in byte order, so those that agree with what was followed so far are a range, and a state is such a
//! range: however many patterns there are, a byte costs a search in each of few ranges. Wildcard tokens are ranges of
//! their own, which wait for the end of the token.

use super::{FEW, Filter, Patterns};
use std::ops::Range;

/// Stale states on the stack are cleared away after so many bytes, where there are more than [`STALE_MAX`].
const STALE_BYTES_MAX: usize = 16;
const STALE_MAX: usize = 64;

/// Patterns that go on alike.
#[derive(Debug, Clone, Copy)]
struct State {
    from: usize,
    to: usize,
    /// Bytes of the patterns that are behind.
    at: usize,
    /// The patterns go on with the token `*`, and the subject is within what it stands for. The range may hold others,
    /// whose token merely begins so.
    any: bool,
}

/// A filter that is followed; its states stand on a stack.
pub(crate) struct Follow<'f> {
    patterns: &'f [Box<[u8]>],
    states: Vec<State>,
    /// States that were looked at.
    #[cfg(test)]
    pub(super) steps: usize,
}

/// The states at a place: a part of the stack, or that anything matches.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Any,
    States(Range<usize>),
}

/// A few ends without wildcards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends<'f> {
    patterns: &'f [Box<[u8]>],
    /// Bytes of the patterns in front of their ends.
    behind: usize,
}

impl<'f> Ends<'f> {
    /// Each of them, from its dot on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'f [u8]> + use<'f> {
        let behind = self.behind;
        self.patterns.iter().map(move |pattern| pattern.get(behind..).unwrap_or_default())
    }

    /// Whether the rest of a token with one of the ends is what these bytes are.
    #[inline]
    pub(crate) fn accept(&self, rest: &[u8]) -> bool {
        self.iter().any(|end| {
            // Of most subjects the last byte tells.
            rest.last() == end.last()
                && rest.strip_suffix(end).is_some_and(|token| memchr::memchr(b'.', token).is_none())
        })
    }
}

/// The part of `patterns` within a range that has `byte` at `at`. All of the range are alike before that.
fn narrow(patterns: &[Box<[u8]>], from: usize, to: usize, at: usize, byte: u8) -> Range<usize> {
    let range = patterns.get(from..to).unwrap_or_default();
    let start = range.partition_point(|pattern| pattern.get(at).is_none_or(|have| *have < byte));
    let rest = range.get(start..).unwrap_or_default();
    // Most ranges hold one pattern.
    let len = match rest.first() {
        Some(first) if first.get(at) == Some(&byte) => {
            rest.partition_point(|pattern| pattern.get(at) == Some(&byte))
        }
        _ => 0,
    };
    from + start..from + start + len
}

/// Whether the end of a subject matches that of a pattern; `any` where both begin within what a wildcard stands for.
fn end_matches(pattern: &[u8], any: bool, subject: &[u8]) -> bool {
    let (mut pattern, mut subject, mut any) = (pattern, subject, any);
    loop {
        if any {
            pattern = pattern.get(1..).unwrap_or_default();
            let token = subject.iter().position(|byte| *byte == b'.').unwrap_or(subject.len());
            subject = subject.get(token..).unwrap_or_default();
            any = false;
        }
        match (pattern.split_first(), subject.split_first()) {
            (None, None) => return true,
            (Some((wanted, after)), Some((byte, rest))) if wanted == byte => {
                (pattern, subject) = (after, rest);
                if *byte == b'.' {
                    if pattern == b">" {
                        return true;
                    }
                    any = matches!(pattern, [b'*'] | [b'*', b'.', ..]);
                }
            }
            _ => return false,
        }
    }
}

impl<'f> Follow<'f> {
    /// Where subjects begin.
    pub(crate) fn new(filter: &'f Filter) -> (Self, At) {
        let patterns: &[Box<[u8]>] = match filter {
            Filter::All => &[],
            // Without wildcard tokens it matches itself alone.
            Filter::Literal(literal) => std::slice::from_ref(literal),
            Filter::Patterns(Patterns(patterns)) => patterns,
        };
        let mut follow = Self {
            patterns,
            states: Vec::new(),
            #[cfg(test)]
            steps: 0,
        };
        if *filter == Filter::All || follow.arrive(0..patterns.len(), 0) {
            follow.states.clear();
            return (follow, At::Any);
        }
        let all = 0..follow.states.len();
        (follow, At::States(all))
    }

    /// The patterns of a range have a token that begins at `at`. Says whether anything may follow.
    fn arrive(&mut self, range: Range<usize>, at: usize) -> bool {
        let Range { start, end } = range;
        let rest = narrow(self.patterns, start, end, at, b'>');
        let ends = |number: usize, at: usize| self.patterns.get(number).is_some_and(|one| one.len() == at);
        if !rest.is_empty() && ends(rest.start, at + 1) {
            return true;
        }
        let any = narrow(self.patterns, start, end, at, b'*');
        let on = narrow(self.patterns, any.start, any.end, at + 1, b'.');
        let wild = on.len() + usize::from(!any.is_empty() && ends(any.start, at + 1));
        if wild < end - start {
            self.states.push(State { from: start, to: end, at, any: false });
        }
        if wild > 0 {
            self.states.push(State { from: any.start, to: any.end, at, any: true });
        }
        false
    }

    /// Follows one byte; the new states are pushed on the stack. `None` where nothing can match.
    pub(crate) fn byte(&mut self, from: &At, byte: u8) -> Option<At> {
        let At::States(range) = from else { return Some(At::Any) };
        if byte != b'.' && self.is_within_any(range) {
            return Some(from.clone());
        }
        let start = self.states.len();
        for number in range.clone() {
            let state = *self.states.get(number)?;
            #[cfg(test)]
            {
                self.steps += 1;
            }
            let State { from, to, at, any } = state;
            if any && byte != b'.' {
                self.states.push(state);
                continue;
            }
            let at = at + usize::from(any);
            let range = narrow(self.patterns, from, to, at, byte);
            if range.is_empty() {
                continue;
            }
            if byte != b'.' {
                self.states.push(State { from: range.start, to: range.end, at: at + 1, any: false });
            } else if self.arrive(range, at + 1) {
                self.states.truncate(start);
                return Some(At::Any);
            }
        }
        (self.states.len() > start).then_some(At::States(start..self.states.len()))
    }

    /// Whether all that can match is in the middle of what one wildcard stands for.
    pub(crate) fn is_within_any(&self, range: &Range<usize>) -> bool {
        matches!(self.states.get(range.clone()), Some([State { any: true, .. }]))
    }

    /// The ends that a subject may have which goes on with the rest of a token that one wildcard stands for, each of them a
    /// dot and what is behind it. `None` where these are not a few without wildcards.
    pub(crate) fn ends(&self, range: &Range<usize>) -> Option<Ends<'f>> {
        let Some([State { from, to, at, any: true }]) = self.states.get(range.clone()) else { return None };
        let (patterns, behind) = (self.patterns.get(*from..*to)?, at + 1);
        let is_plain = |pattern: &[u8]| {
            let end = pattern.get(behind..).unwrap_or_default();
            // A dot alone ends no subject.
            end.len() > 1 && end.starts_with(b".") && memchr::memchr2(b'*', b'>', end).is_none()
        };
        (patterns.len() <= FEW && patterns.iter().all(|pattern| is_plain(pattern)))
            .then_some(Ends { patterns, behind })
    }

    /// Follows several bytes. Few states but those after the last byte stay on the stack: where many patterns go on
    /// through many bytes, all of them would take the product of both.
    pub(crate) fn bytes(&mut self, from: At, bytes: &[u8]) -> Option<At> {
        let base = self.states.len();
        let mut at = from;
        let mut bytes = bytes;
        if let At::States(range) = &at
            && self.is_within_any(range)
        {
            // What the wildcard stands for ends with a dot, or where the subject does.
            let Some(dot) = memchr::memchr(b'.', bytes) else { return Some(at) };
            bytes = bytes.get(dot..).unwrap_or_default();
        }
        for part in bytes.chunks(STALE_BYTES_MAX) {
            for byte in part {
                if matches!(at, At::Any) {
                    return Some(at);
                }
                at = self.byte(&at, *byte)?;
            }
            if let At::States(range) = &mut at
                && range.start > base + STALE_MAX
            {
                self.states.drain(base..range.start);
                *range = base..self.states.len();
            }
        }
        Some(at)
    }

    /// Whether a subject that ends here matches.
    pub(crate) fn accepts(&self, at: &At) -> bool {
        let At::States(range) = at else { return true };
        let states = self.states.get(range.clone()).unwrap_or_default();
        states.iter().any(|state| {
            let end = state.at + usize::from(state.any);
            self.patterns.get(state.from).is_some_and(|first| first.len() == end)
        })
    }

    /// Whether a subject matches that ends with these bytes.
    pub(crate) fn accepts_end(&mut self, from: At, bytes: &[u8]) -> bool {
        if let At::States(range) = &from
            && let Some([State { from, to, at, any }]) = self.states.get(range.clone())
            && to - from == 1
        {
            let pattern = self.patterns.get(*from).and_then(|pattern| pattern.get(*at..));
            return pattern.is_some_and(|pattern| end_matches(pattern, *any, bytes));
        }
        self.bytes(from, bytes).is_some_and(|at| self.accepts(&at))
    }

    /// The one byte that can come next, if there is only one.
    pub(crate) fn only_byte(&self, at: &At) -> Option<u8> {
        let At::States(range) = at else { return None };
        let [State { from, to, at, any: false }] = self.states.get(range.clone())? else { return None };
        let first = self.patterns.get(*from)?.get(*at)?;
        let last = self.patterns.get(to.checked_sub(1)?)?.get(*at)?;
        (first == last).then_some(*first)
    }

    /// How many states stand on the stack.
    pub(crate) fn depth(&self) -> usize {
        self.states.len()
    }

    /// Takes states from the stack until `depth` are left.
    pub(crate) fn go_back(&mut self, depth: usize) {
        self.states.truncate(depth);
    }
}
