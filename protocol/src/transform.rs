//! Subject transforms: what a subject becomes that matches a pattern (ADR-30).
//!
//! The destination's tokens are literal text, `$2` or `{{wildcard(2)}}` for what the second `*` of the pattern stands
//! for, a function of such a token, or a last `>` for the rest. Grammar, leniency and texts are those of nats-server
//! v2.15.2 (observed).

mod cut;
mod function;

use smallvec::SmallVec;
use thiserror::Error;

use crate::subject::{self, ANY_TOKEN, REST, SEPARATOR};
use cut::{Cut, split, write_number};
use function::{Call, call};

/// Why a transform cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransformError {
    /// Pattern or destination is no subject, only one of them ends in `>`, or the destination has a `*`.
    #[error("invalid subject")]
    Subject,
    /// The destination does not say how to make a subject. The token at fault is empty where none can be named.
    #[error("invalid mapping destination: {problem}{}{token}", if token.is_empty() { "" } else { " in " })]
    Destination {
        /// What is wrong.
        problem: DestinationProblem,
        /// Where.
        token: String,
    },
}

/// What is wrong with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DestinationProblem {
    /// It is no subject.
    #[error("invalid transform")]
    Transform,
    /// There is no function of that name.
    #[error("unknown function")]
    UnknownFunction,
    /// The pattern has fewer wildcards.
    #[error("wildcard index out of range")]
    WildcardOutOfRange,
    /// An argument is missing.
    #[error("not enough arguments passed to the function")]
    NotEnoughArguments,
    /// There are arguments left over.
    #[error("too many arguments passed to the function")]
    TooManyArguments,
    /// Not all that the pattern's wildcards stand for is used, where that must be told from the result.
    #[error("not using all of the token wildcard(s)")]
    UnusedWildcard,
    /// A function other than that of a wildcard, where what went in must be told from the result.
    #[error("the only mapping function allowed for import transforms is {{{{Wildcard()}}}}")]
    NotReversible,
    /// An argument is not what the function takes.
    #[error("function argument is invalid or in the wrong format")]
    Argument,
}

impl DestinationProblem {
    fn at(self, token: impl Into<String>) -> TransformError {
        TransformError::Destination { problem: self, token: token.into() }
    }
}

/// A transform, ready to be applied.
///
/// ```
/// use jetkv_protocol::transform::{DestinationProblem, Transform, TransformError};
///
/// let transform = Transform::new("orders.*.*", "sold.$2.$1")?.expect("there is something to change");
/// let mut to = Vec::new();
/// assert!(transform.apply(b"orders.eu.7", &mut to, || 0));
/// assert_eq!(to, b"sold.7.eu");
/// // A subject that is known to match.
/// to.clear();
/// transform.apply_to_any(b"orders.*.7", &mut to, || 0);
/// assert_eq!(to, b"sold.7.*");
///
/// // Only what can be taken back is reversible.
/// assert!(Transform::reversible("a.*", "b.$1")?.is_some());
/// assert!(Transform::reversed("a.*", "b.$1").is_some());
///
/// let error: TransformError = Transform::checked("a.*", "b.{{wildcard(2)}}").unwrap_err();
/// assert!(error.to_string().contains(&DestinationProblem::WildcardOutOfRange.to_string()), "{error}");
/// # Ok::<(), jetkv_protocol::transform::TransformError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    source: Box<[u8]>,
    parts: Vec<Part>,
    /// Where what `>` stands for begins in a subject, counted in tokens, if the destination wants it.
    rest_from: Option<usize>,
    /// From everything to everything: subjects stay as they are, whatever they are.
    is_identity: bool,
}

/// The tokens of a subject, which usually has few.
type Tokens<'s> = SmallVec<[&'s [u8]; 16]>;

/// What makes one token of the result, or several where a token is split. Tokens of the subject are counted from zero.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Token(usize),
    Cut {
        token: usize,
        cut: Cut,
        size: usize,
    },
    Split {
        token: usize,
        by: Box<[u8]>,
    },
    /// Of no tokens: of the whole subject.
    Partition {
        tokens: Vec<usize>,
        count: u32,
    },
    Random {
        below: u32,
    },
}

impl Transform {
    /// Makes a transform of subjects that match `source`, where empty means all. An empty destination stands for no
    /// transform.
    ///
    /// # Errors
    /// [`TransformError`].
    pub fn new(source: &str, destination: &str) -> Result<Option<Self>, TransformError> {
        if destination.is_empty() {
            return Ok(None);
        }
        let source = if source.is_empty() { ">" } else { source };
        let (from, to) = (source.as_bytes(), destination.as_bytes());
        let sound = |subject| subject::is_valid_for_subscription(subject);
        let has_rest = |subject| subject::tokens(subject).next_back() == Some(REST);
        let has_any = subject::tokens(to).any(|token| token == ANY_TOKEN);
        if !sound(from) || !sound(to) || has_any || has_rest(from) != has_rest(to) {
            return Err(TransformError::Subject);
        }
        let wildcards: Vec<usize> =
            subject::tokens(from).enumerate().filter(|(_, t)| *t == ANY_TOKEN).map(|(at, _)| at).collect();
        let is_literal = wildcards.is_empty() && !has_rest(from);
        let tokens = destination.split('.').filter(|token| *token != ">");
        let parts = tokens.map(|token| Part::new(token, &wildcards, is_literal)).collect::<Result<_, _>>()?;
        Ok(Some(Self {
            source: from.into(),
            parts,
            rest_from: has_rest(from).then(|| subject::token_count(from) - 1),
            is_identity: source == ">" && destination == ">",
        }))
    }

    /// As [`Transform::new`], with the rules that hold where the destination is configured for publishes.
    ///
    /// # Errors
    /// [`TransformError`].
    pub fn checked(source: &str, destination: &str) -> Result<Option<Self>, TransformError> {
        if destination.is_empty() {
            return Ok(None);
        }
        let mut rest_seen = false;
        for token in destination.split('.') {
            if token.is_empty() || rest_seen {
                return Err(DestinationProblem::Transform.at(token));
            }
            if function::looks_like_call(token) {
                if !function::names_function(token) {
                    return Err(DestinationProblem::UnknownFunction.at(token));
                }
            } else if token == ">" {
                rest_seen = true;
            } else if token.contains(function::is_space) {
                return Err(DestinationProblem::Transform.at(""));
            }
        }
        Self::new(source, destination)
    }

    /// As [`Transform::new`], for a destination that must be told back: it uses each wildcard of the pattern, and no function
    /// besides.
    ///
    /// # Errors
    /// [`TransformError`].
    pub fn reversible(source: &str, destination: &str) -> Result<Option<Self>, TransformError> {
        let wildcards = subject::tokens(source.as_bytes()).filter(|token| *token == ANY_TOKEN).count();
        let has_wildcard = subject::has_wildcard(source.as_bytes());
        let mut used = 0;
        for token in destination.split('.').filter(|_| has_wildcard) {
            match call(token)? {
                Call::None => {}
                Call::Wildcard { .. } => used += 1,
                _ => return Err(DestinationProblem::NotReversible.at(token)),
            }
        }
        let transform = Self::new(source, destination)?;
        if used < wildcards {
            return Err(DestinationProblem::UnusedWildcard.at(destination));
        }
        Ok(transform)
    }

    /// The transform back from what a [reversible](Self::reversible) one of `source` to `destination` makes. `None` where
    /// there is none.
    pub fn reversed(source: &str, destination: &str) -> Option<Self> {
        let (pattern, placeholders) = with_wildcards(destination);
        let mut placeholders = placeholders.into_iter();
        let mut tokens = Vec::new();
        for token in source.split('.') {
            tokens.push(if token == "*" { placeholders.next()? } else { token.to_owned() });
        }
        Self::reversible(&pattern, &tokens.join(".")).ok().flatten()
    }

    /// Appends what `subject` becomes, and says whether it matches the pattern. Nothing is appended where not.
    /// `random` gives a number that nobody can guess; it is asked where the destination wants one.
    ///
    /// The result need not be a sound subject: splitting a token can leave an empty one.
    pub fn apply(&self, subject: &[u8], out: &mut Vec<u8>, random: impl FnMut() -> u32) -> bool {
        if self.is_identity {
            out.extend_from_slice(subject);
            return true;
        }
        let matches = || &*self.source == REST || subject::is_subset(subject, &self.source);
        if !subject::is_valid_literal(subject) || !matches() {
            return false;
        }
        self.apply_to_any(subject, out, random);
        true
    }

    /// As [`Transform::apply`], for a subject that is known to match, although it may hold wildcards or empty tokens.
    pub fn apply_to_any(&self, subject: &[u8], out: &mut Vec<u8>, mut random: impl FnMut() -> u32) {
        // Found once: a part that counted to its token for itself would make this quadratic.
        let tokens: Tokens<'_> = subject::tokens(subject).collect();
        for (at, part) in self.parts.iter().enumerate() {
            if at > 0 {
                out.push(SEPARATOR);
            }
            part.write(subject, &tokens, out, &mut random);
        }
        if let Some(from) = self.rest_from {
            for (at, token) in tokens.iter().enumerate().skip(from) {
                if at > from || !self.parts.is_empty() {
                    out.push(SEPARATOR);
                }
                out.extend_from_slice(token);
            }
        }
    }
}

impl Part {
    /// Reads a token of a destination. `wildcards` are the places of the pattern's wildcards; a pattern that is
    /// `literal` leaves only functions that need none.
    fn new(token: &str, wildcards: &[usize], literal: bool) -> Result<Self, TransformError> {
        let place = |number: i64| match usize::try_from(number) {
            // A number below one means the first token of the subject (observed).
            Err(_) | Ok(0) => Ok(0),
            Ok(number) => wildcards
                .get(number - 1)
                .copied()
                .ok_or_else(|| DestinationProblem::WildcardOutOfRange.at(format!("{token}: [{number}]"))),
        };
        Ok(match call(token)? {
            Call::None => Self::Text(token.as_bytes().into()),
            Call::Random { below } => Self::Random { below },
            Call::Partition { count, .. } if literal => Self::Partition { tokens: Vec::new(), count },
            Call::Partition { count, of } => {
                Self::Partition { count, tokens: of.into_iter().map(place).collect::<Result<_, _>>()? }
            }
            _ if literal => return Err(DestinationProblem::WildcardOutOfRange.at(token)),
            Call::Wildcard { of } => Self::Token(place(of)?),
            Call::Cut { of, cut, size } => {
                Self::Cut { token: place(of)?, cut, size: usize::try_from(size).unwrap_or(0) }
            }
            Call::Split { of, by } => Self::Split { token: place(of)?, by: by.as_bytes().into() },
        })
    }

    fn write(&self, subject: &[u8], tokens: &[&[u8]], out: &mut Vec<u8>, random: &mut impl FnMut() -> u32) {
        let of = |token: &usize| tokens.get(*token).copied().unwrap_or_default();
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Token(token) => out.extend_from_slice(of(token)),
            Self::Cut { token, cut, size } => cut.write(of(token), *size, out),
            Self::Split { token, by } => split(of(token), by, out),
            Self::Partition { tokens: among, count } => {
                let hash =
                    if among.is_empty() { fnv1a(subject.iter()) } else { fnv1a(among.iter().flat_map(of)) };
                write_number(hash.checked_rem(*count).unwrap_or(0), out);
            }
            Self::Random { below } => {
                write_number((random() >> 1).checked_rem(*below).unwrap_or(0), out);
            }
        }
    }
}

/// A destination as a pattern of what it makes, and what stood where the pattern has a `*`.
///
/// ```
/// use jetkv_protocol::transform::with_wildcards;
///
/// assert_eq!(with_wildcards("b.$1"), ("b.*".to_owned(), vec!["$1".to_owned()]));
/// ```
#[must_use]
pub fn with_wildcards(destination: &str) -> (String, Vec<String>) {
    let mut placeholders = Vec::new();
    let tokens = destination.split('.').map(|token| {
        let is_number =
            token.strip_prefix('$').is_some_and(|rest| rest.starts_with(|first| matches!(first, '1'..='9')));
        let is_call = function::looks_like_call(token) && matches!(call(token), Ok(Call::Wildcard { .. }));
        if is_number || is_call {
            placeholders.push(token.to_owned());
            return "*";
        }
        token
    });
    let pattern = tokens.collect::<Vec<_>>().join(".");
    (pattern, placeholders)
}

/// A pattern as a destination that leaves what matches it as it is: each `*` is numbered.
///
/// ```
/// use jetkv_protocol::transform::with_placeholders;
///
/// assert_eq!(with_placeholders("a.*.*"), "a.$1.$2");
/// ```
#[must_use]
pub fn with_placeholders(pattern: &str) -> String {
    let mut number = 0;
    let tokens = pattern.split('.').map(|token| {
        if token == "*" {
            number += 1;
            return format!("${number}");
        }
        token.to_owned()
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// FNV-1a of 32 bits, which decides partitions.
fn fnv1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
