//! What a token of a destination asks for.

use super::cut::Cut;
use super::{DestinationProblem as Problem, TransformError};

/// A token of a destination, read. Wildcards are counted from one, as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call<'a> {
    /// Plain text.
    None,
    Wildcard {
        of: i64,
    },
    Partition {
        count: u32,
        of: Vec<i64>,
    },
    Cut {
        of: i64,
        cut: Cut,
        size: i32,
    },
    Split {
        of: i64,
        by: &'a str,
    },
    Random {
        below: u32,
    },
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Wildcard,
    Partition,
    Cut(Cut),
    Split,
    Random,
}

/// Functions in the order in which they are looked for. A capital letter in a name may be small.
const FUNCTIONS: [(&str, Function); 10] = [
    ("Wildcard", Function::Wildcard),
    ("Partition", Function::Partition),
    ("SplitFromLeft", Function::Cut(Cut::SplitFromLeft)),
    ("SplitFromRight", Function::Cut(Cut::SplitFromRight)),
    ("SliceFromLeft", Function::Cut(Cut::SliceFromLeft)),
    ("SliceFromRight", Function::Cut(Cut::SliceFromRight)),
    ("Right", Function::Cut(Cut::Right)),
    ("Left", Function::Cut(Cut::Left)),
    ("Split", Function::Split),
    ("Random", Function::Random),
];

/// Whether a token is in the braces of a function.
pub(super) fn looks_like_call(token: &str) -> bool {
    token.len() > 4 && token.starts_with("{{") && token.ends_with("}}")
}

/// Whether a token has a function that exists, with arguments of whatever kind.
pub(super) fn names_function(token: &str) -> bool {
    FUNCTIONS.iter().any(|(name, _)| arguments(token, name).is_some())
}

/// White space as regular expressions of nats-server see it.
pub(super) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

/// Reads a token.
pub(super) fn call(token: &str) -> Result<Call<'_>, TransformError> {
    if let Some(number) = token.strip_prefix('$') {
        // Other subjects begin with a dollar, too.
        return Ok(number.parse().map_or(Call::None, |of| Call::Wildcard { of }));
    }
    if !looks_like_call(token) {
        return Ok(Call::None);
    }
    let found = FUNCTIONS.iter().find_map(|(name, function)| Some((*function, arguments(token, name)?)));
    let Some((function, arguments)) = found else { return Err(Problem::UnknownFunction.at(token)) };
    read(function, &arguments).map_err(|problem| problem.at(token))
}

fn read<'a>(function: Function, arguments: &[&'a str]) -> Result<Call<'a>, Problem> {
    match (function, arguments) {
        (Function::Wildcard, [""]) => Err(Problem::NotEnoughArguments),
        (Function::Wildcard, [of]) => Ok(Call::Wildcard { of: number(of)? }),
        (Function::Partition, [count, of @ ..]) => {
            let count = int32(number(count)?)?;
            Ok(Call::Partition { count, of: of.iter().map(|of| number(of)).collect::<Result<_, _>>()? })
        }
        (Function::Cut(cut), [of, size]) => {
            let of = number(of)?;
            Ok(Call::Cut { of, cut, size: size.trim_matches(' ').parse().map_err(|_| Problem::Argument)? })
        }
        (Function::Split, [of, by]) => {
            let of = number(of)?;
            if by.contains([' ', '.']) { Err(Problem::Argument) } else { Ok(Call::Split { of, by }) }
        }
        (Function::Random, [below]) => {
            let below = int32(number(below)?)?;
            Ok(Call::Random { below: below.cast_signed().unsigned_abs() })
        }
        (Function::Random, _) | (_, [] | [_]) => Err(Problem::NotEnoughArguments),
        _ => Err(Problem::TooManyArguments),
    }
}

fn number(argument: &str) -> Result<i64, Problem> {
    argument.trim_matches(' ').parse().map_err(|_| Problem::Argument)
}

/// The low 32 bits of a number. One that is too large is refused, one that is too small is not (nats-server v2.15.2,
/// observed).
fn int32(number: i64) -> Result<u32, Problem> {
    if number > i64::from(i32::MAX) {
        return Err(Problem::Argument);
    }
    u32::try_from(number.rem_euclid(1 << 32)).map_err(|_| Problem::Argument)
}

/// The arguments of a function where the token has it. What stands before and behind it does not matter.
fn arguments<'a>(token: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut starts = (0..token.len()).filter_map(|at| token.get(at..)?.strip_prefix("{{"));
    let inner = starts.find_map(|rest| {
        let rest = strip_name(rest.trim_start_matches(is_space), name)?;
        let body = rest.trim_start_matches(is_space).strip_prefix('(')?;
        let line = body.split('\n').next()?;
        line.rmatch_indices(')').find_map(|(at, _)| {
            let closes = body.get(at + 1..)?.trim_start_matches(is_space).starts_with("}}");
            if closes { body.get(..at) } else { None }
        })
    })?;
    let (first, others) = inner.split_once(',').map_or((inner, None), |(first, rest)| (first, Some(rest)));
    let others = others.into_iter().flat_map(|rest| rest.split(','));
    Some(std::iter::once(first).chain(others.map(|other| other.trim_start_matches(is_space))).collect())
}

fn strip_name<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    name.chars().try_fold(text, |rest, letter| {
        rest.strip_prefix(letter).or_else(|| rest.strip_prefix(letter.to_ascii_lowercase()))
    })
}
