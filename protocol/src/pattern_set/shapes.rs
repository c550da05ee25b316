//! Patterns by their shape, which is where they have wildcards: two of given shapes meet where the tokens that neither
//! leaves open are the same, and what has the same tokens there is found by them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::subject::{self, REST};

/// With more shapes than that on one side, a search in the tree costs less.
const SHAPES_MAX: usize = 32;

/// What a token of a pattern is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Literal,
    /// `*`, or longer and begins so.
    Star,
    /// Longer than `>`, and begins so.
    Odd,
    Rest,
}

/// Where a pattern has wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shape(Box<[Kind]>);

fn kind(token: &[u8]) -> Kind {
    match token.first() {
        Some(b'*') => Kind::Star,
        Some(b'>') if token == REST => Kind::Rest,
        Some(b'>') => Kind::Odd,
        _ => Kind::Literal,
    }
}

impl Shape {
    fn of(pattern: &[u8]) -> (Self, bool) {
        let shape = subject::tokens(pattern).map(kind).collect();
        (Self(shape), subject::has_wildcard(pattern))
    }

    fn ends_open(&self) -> bool {
        self.0.contains(&Kind::Rest)
    }
}

/// A shape, and whether its patterns hold wildcards at all: tokens that merely begin with one do not make one.
type Group = (Shape, bool);

/// The places whose tokens have to be the same for patterns of two groups to meet; `None` where they never do.
fn compared((one, one_wild): &Group, (other, other_wild): &Group) -> Option<Vec<usize>> {
    let (one_len, other_len) = (one.0.len(), other.0.len());
    let both = one.0.iter().zip(&other.0).enumerate();
    match (one_wild, other_wild) {
        (false, false) => (one_len == other_len).then(|| (0..one_len).collect()),
        (true, true) => {
            let reach =
                (one_len >= other_len || one.ends_open()) && (other_len >= one_len || other.ends_open());
            let literal = |(at, (a, b)): (usize, (&Kind, &Kind))| {
                (*a == Kind::Literal && *b == Kind::Literal).then_some(at)
            };
            reach.then(|| both.filter_map(literal).collect())
        }
        (false, true) => within(one, other),
        (true, false) => within(other, one),
    }
}

/// As [`compared`], for a subject without wildcards and a pattern with some.
fn within(literal: &Shape, pattern: &Shape) -> Option<Vec<usize>> {
    let fixed = pattern.0.iter().position(|kind| *kind == Kind::Rest);
    let fits = match fixed {
        Some(fixed) => literal.0.len() > fixed,
        None => literal.0.len() == pattern.0.len(),
    };
    let places = pattern.0.iter().enumerate().take(fixed.unwrap_or(pattern.0.len()));
    fits.then(|| places.filter(|(_, kind)| **kind != Kind::Star).map(|(at, _)| at).collect())
}

/// What patterns hold at some places, and which hold that: the first, and whether there are others.
type Held = HashMap<Vec<u8>, (usize, bool)>;

/// Patterns by number.
type Numbered<'p> = Vec<(usize, &'p [u8])>;

/// What the patterns of a group hold at places; `None` where they meet none of those asked about.
type Table = Option<(Vec<usize>, Held)>;

/// Patterns by their shape.
#[derive(Default)]
pub(super) struct Shapes<'p> {
    groups: Vec<(Group, Numbered<'p>)>,
    numbers: HashMap<Group, usize>,
    /// Groups that were asked about.
    asked: RefCell<HashMap<Group, usize>>,
    /// By the number of the group asked about and of that held.
    tables: RefCell<HashMap<(usize, usize), Table>>,
    /// Patterns that were looked at.
    looked: Cell<usize>,
}

/// The tokens of a pattern at those places, in one text.
fn tokens_at(pattern: &[u8], places: &[usize]) -> Vec<u8> {
    let mut places = places.iter().copied().peekable();
    let mut text = Vec::new();
    for (at, token) in subject::tokens(pattern).enumerate() {
        if places.next_if_eq(&at).is_some() {
            text.extend_from_slice(token);
            text.push(b'.');
        }
    }
    text
}

impl<'p> Shapes<'p> {
    pub(super) fn add(&mut self, number: usize, pattern: &'p [u8]) {
        let group = Shape::of(pattern);
        let next = self.groups.len();
        let at = *self.numbers.entry(group.clone()).or_insert(next);
        if at == next {
            self.groups.push((group, Vec::new()));
        }
        if let Some((_, patterns)) = self.groups.get_mut(at) {
            patterns.push((number, pattern));
        }
    }

    /// Whether a pattern, other than that with the number `except`, meets `pattern`, as [`subject::collide`] says it;
    /// `None` where that is not to be found out by shapes.
    pub(super) fn meets(&self, pattern: &[u8], except: Option<usize>) -> Option<bool> {
        if self.groups.len() > SHAPES_MAX {
            return None;
        }
        let group = Shape::of(pattern);
        let asked = {
            let mut asked = self.asked.borrow_mut();
            let next = asked.len();
            if next >= SHAPES_MAX && !asked.contains_key(&group) {
                return None;
            }
            *asked.entry(group.clone()).or_insert(next)
        };
        let meets =
            (0..self.groups.len()).any(|held| self.meets_group(&group, (asked, held), pattern, except));
        Some(meets)
    }

    fn meets_group(
        &self,
        group: &Group,
        (asked, held): (usize, usize),
        pattern: &[u8],
        except: Option<usize>,
    ) -> bool {
        self.looked.set(self.looked.get() + 1);
        let mut tables = self.tables.borrow_mut();
        let table = tables.entry((asked, held)).or_insert_with(|| self.table(group, held));
        let Some((places, table)) = table else { return false };
        let found = table.get(&tokens_at(pattern, places));
        found.is_some_and(|(first, others)| *others || except != Some(*first))
    }

    fn table(&self, group: &Group, held: usize) -> Table {
        let (of, patterns) = self.groups.get(held)?;
        let places = compared(group, of)?;
        let mut table = Held::new();
        for (number, pattern) in patterns {
            self.looked.set(self.looked.get() + 1);
            let key = tokens_at(pattern, &places);
            table.entry(key).and_modify(|(_, others)| *others = true).or_insert((*number, false));
        }
        Some((places, table))
    }

    /// How many patterns were looked at.
    #[cfg(test)]
    pub(super) fn looked(&self) -> usize {
        self.looked.get()
    }
}
