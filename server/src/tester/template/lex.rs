//! From text to pieces: what is copied, and the words of what is done.

/// A line's number, and what is wrong there.
pub(super) type Fault = (usize, String);

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// Copied as it is.
    Text(String),
    /// What stands between two pairs of braces, with the number of its line.
    Action(usize, Vec<Word>),
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Dot,
    /// `.Name`, and whether it belongs to what stands right before it.
    Field(String, bool),
    /// `$name`, or `$`.
    Variable(String),
    Name(String),
    Text(String),
    Integer(i64),
    Declare,
    Assign,
    Pipe,
    Comma,
    Open,
    Close,
}

/// Takes a template apart.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let (mut rest, mut line, mut trims) = (text, 1, false);
    loop {
        let (copied, action) = match rest.split_once("{{") {
            Some((copied, action)) => (copied, Some(action)),
            None => (rest, None),
        };
        line += lines(copied);
        let mut copied = if trims { copied.trim_start() } else { copied };
        let begins_trimmed = action.is_some_and(|action| {
            action.strip_prefix('-').is_some_and(|inner| inner.starts_with(char::is_whitespace))
        });
        if begins_trimmed {
            copied = copied.trim_end();
        }
        if !copied.is_empty() {
            pieces.push(Piece::Text(copied.to_owned()));
        }
        let Some(action) = action else { return Ok(pieces) };
        let inner = if begins_trimmed { action.get(1..).unwrap_or_default() } else { action };
        let (words, after, ends_trimmed) = match inner.trim_start().strip_prefix("/*") {
            Some(comment) => {
                let (_, after) =
                    comment.split_once("*/").ok_or_else(|| (line, "unclosed comment".to_owned()))?;
                let (after, ends_trimmed) =
                    end(after).ok_or_else(|| (line, "comment ends before closing delimiter".to_owned()))?;
                (None, after, ends_trimmed)
            }
            None => {
                let (words, after, ends_trimmed) = words(inner).map_err(|text| (line, text))?;
                (Some(words), after, ends_trimmed)
            }
        };
        if let Some(words) = words {
            pieces.push(Piece::Action(line, words));
        }
        line += lines(action.get(..action.len() - after.len()).unwrap_or_default());
        (rest, trims) = (after, ends_trimmed);
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// What follows where an action ends here, and whether blanks there go.
fn end(text: &str) -> Option<(&str, bool)> {
    if let Some(after) = text.strip_prefix("}}") {
        return Some((after, false));
    }
    let trimmed = text.trim_start();
    let after = trimmed.strip_prefix("-}}").filter(|_| trimmed.len() < text.len())?;
    Some((after, true))
}

/// The words of an action up to its end, what follows, and whether blanks there go.
fn words(text: &str) -> Result<(Vec<Word>, &str, bool), String> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        if let Some((after, trims)) = end(rest) {
            return Ok((words, after, trims));
        }
        let glued = rest.starts_with(|c: char| !c.is_whitespace()) && !words.is_empty();
        rest = rest.trim_start();
        if let Some((after, trims)) = end(rest) {
            return Ok((words, after, trims));
        }
        let (word, after) = word(rest, glued)?;
        words.push(word);
        rest = after;
    }
}

fn word(text: &str, glued: bool) -> Result<(Word, &str), String> {
    for (sign, word) in [
        (":=", Word::Declare),
        ("=", Word::Assign),
        ("|", Word::Pipe),
        (",", Word::Comma),
        ("(", Word::Open),
        (")", Word::Close),
    ] {
        if let Some(after) = text.strip_prefix(sign) {
            return Ok((word, after));
        }
    }
    let first = text.chars().next().ok_or("unclosed action")?;
    match first {
        '.' => {
            let (name, after) = name(text.get(1..).unwrap_or_default());
            let word = if name.is_empty() { Word::Dot } else { Word::Field(name.to_owned(), glued) };
            Ok((word, after))
        }
        '$' => {
            let (name, after) = name(text.get(1..).unwrap_or_default());
            Ok((Word::Variable(name.to_owned()), after))
        }
        '"' => quoted(text),
        '`' => {
            let inner = text.get(1..).unwrap_or_default();
            let (raw, after) = inner.split_once('`').ok_or("unterminated raw quoted string")?;
            Ok((Word::Text(raw.to_owned()), after))
        }
        _ if first.is_ascii_digit() || first == '-' || first == '+' => {
            let digits = |c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+'));
            let (number, after) = text.split_at(text.find(digits).unwrap_or(text.len()));
            let ends = after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_'));
            match number.parse() {
                Ok(number) if !ends => Ok((Word::Integer(number), after)),
                _ => Err(format!("bad number syntax: {number:?}")),
            }
        }
        _ if first.is_alphabetic() || first == '_' => {
            let (name, after) = name(text);
            Ok((Word::Name(name.to_owned()), after))
        }
        _ => Err(format!("unexpected {first:?} in action")),
    }
}

fn name(text: &str) -> (&str, &str) {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_');
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// A text in double quotes, with the escapes that configurations need.
fn quoted(text: &str) -> Result<(Word, &str), String> {
    let unterminated = || "unterminated quoted string".to_owned();
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Word::Text(value), text.get(at + 1..).unwrap_or_default())),
            '\n' => return Err(unterminated()),
            '\\' => value.push(match chars.next().ok_or_else(unterminated)?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c @ ('"' | '\\' | '\'') => c,
                c => return Err(format!("the escape \\{c} is not served here")),
            }),
            c => value.push(c),
        }
    }
    Err(unterminated())
}
