//! Values that hold no other values: strings in all their forms, numbers, dates, variables.
//!
//! Every function here takes the text that is left and gives back what is left after the value, as nom parsers
//! do; the rules are those of nats-server v2.15.2, observed, oddities included.

use nom::bytes::complete::{take_till, take_while};
use nom::character::complete::digit0;

use super::item::ItemKind;

/// What a scalar parser finds: the rest of the text, the kind of value, its text.
pub(super) type Scalar<'a> = Result<(&'a str, ItemKind, String), Fault<'a>>;

/// Why there is no value here.
#[derive(Debug)]
pub(super) struct Fault<'a> {
    /// The text after the character that does not fit.
    pub(super) rest: &'a str,
    /// The error for the user.
    pub(super) text: String,
}

type Leaf<'a> = nom::IResult<&'a str, &'a str, nom::error::Error<&'a str>>;

/// The next character; NUL at the end of the text.
pub(super) fn peek(text: &str) -> char {
    text.chars().next().unwrap_or('\0')
}

/// The text without its first character.
pub(super) fn skip_char(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

/// A blank within a line.
pub(super) fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// A line's end.
pub(super) fn is_line_end(c: char) -> bool {
    c == '\n' || c == '\r'
}

/// Skips characters that satisfy `wanted`. Never fails: nothing to skip is fine.
pub(super) fn skip_while(text: &str, wanted: impl Fn(char) -> bool) -> &str {
    let parsed: Leaf<'_> = take_while(wanted)(text);
    parsed.map_or(text, |(rest, _)| rest)
}

/// Splits the text before the first character that satisfies `end`, or at its end.
pub(super) fn split_till(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    let parsed: Leaf<'_> = take_till(end)(text);
    parsed.map_or((text, ""), |(rest, taken)| (taken, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let parsed: Leaf<'_> = digit0(text);
    parsed.map_or(("", text), |(rest, taken)| (taken, rest))
}

/// A character as an error shows it.
pub(super) fn shown(c: char) -> String {
    if c == '\n' { "\\n".to_owned() } else { c.to_string() }
}

fn fault<'a, T>(rest: &'a str, text: impl Into<String>) -> Result<T, Fault<'a>> {
    Err(Fault { rest, text: text.into() })
}

/// The part of `from` that ends where `rest` begins.
fn taken<'a>(from: &'a str, rest: &str) -> &'a str {
    from.get(..from.len().saturating_sub(rest.len())).unwrap_or(from)
}

fn ends_number(c: char) -> bool {
    is_line_end(c) || is_blank(c) || matches!(c, '\0' | '}' | ';' | ',')
}

fn is_size_suffix(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}

/// A value that begins with a digit: an integer (perhaps with a size suffix), a float, a date, an IP address, or a
/// bare string.
pub(super) fn digit_first(text: &str) -> Scalar<'_> {
    let (number, rest) = digits(text);
    match peek(rest) {
        '-' if number.len() == 4 => date_after_year(text, skip_char(rest)),
        '-' => fault(skip_char(rest), "All ISO8601 dates must be in full Zulu form."),
        '.' => fraction(text, skip_char(rest)),
        c if is_size_suffix(c) => size(text, skip_char(rest)),
        c if ends_number(c) => Ok((rest, ItemKind::Integer, number.to_owned())),
        _ => bare_string_from(text, skip_char(rest)),
    }
}

/// A value that begins with a minus sign.
pub(super) fn negative(text: &str) -> Scalar<'_> {
    let unsigned = skip_char(text);
    let (number, rest) = digits(unsigned);
    if number.is_empty() {
        let after = skip_char(unsigned);
        return match peek(unsigned) {
            '.' => fault(after, "Floats must start with a digit, not '.'."),
            c => fault(after, format!("Expected a digit but got '{}'.", shown(c))),
        };
    }
    match peek(rest) {
        '.' => fraction(text, skip_char(rest)),
        c if is_size_suffix(c) => size(text, skip_char(rest)),
        _ => Ok((rest, ItemKind::Integer, taken(text, rest).to_owned())),
    }
}

/// After the first letter of a size suffix.
fn size<'a>(text: &'a str, after_suffix: &'a str) -> Scalar<'a> {
    let rest = skip_while(after_suffix, |c| matches!(c, 'b' | 'B' | 'i' | 'I'));
    if ends_number(peek(rest)) {
        Ok((rest, ItemKind::Integer, taken(text, rest).to_owned()))
    } else {
        bare_string_from(text, rest)
    }
}

/// After the point of a number: a fraction, or an IP address once a second point shows up.
fn fraction<'a>(text: &'a str, after_point: &'a str) -> Scalar<'a> {
    let (number, rest) = digits(after_point);
    if number.is_empty() {
        let c = shown(peek(rest));
        return fault(
            skip_char(rest),
            format!("Floats must have a digit after the '.', but got '{c}' instead."),
        );
    }
    if peek(rest) != '.' {
        return Ok((rest, ItemKind::Float, taken(text, rest).to_owned()));
    }
    let rest = skip_while(rest, |c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
    Ok((rest, ItemKind::String, taken(text, rest).to_owned()))
}

/// After `YYYY-`.
fn date_after_year<'a>(text: &'a str, after_year: &'a str) -> Scalar<'a> {
    let mut rest = after_year;
    for wanted in "00-00T00:00:00Z".chars() {
        let c = peek(rest);
        rest = skip_char(rest);
        if wanted == '0' && !c.is_ascii_digit() {
            return fault(
                rest,
                format!("Expected digit in ISO8601 datetime, but found '{}' instead.", shown(c)),
            );
        }
        if wanted != '0' && c != wanted {
            let c = shown(c);
            return fault(rest, format!("Expected '{wanted}' in ISO8601 datetime, but found '{c}' instead."));
        }
    }
    Ok((rest, ItemKind::Datetime, taken(text, rest).to_owned()))
}

/// A string between single quotes: nothing in it has a meaning. `text` begins after the quote.
pub(super) fn single_quoted(text: &str) -> Scalar<'_> {
    let (content, rest) = split_till(text, |c| c == '\'' || c == '\0');
    if peek(rest) == '\'' {
        return Ok((skip_char(rest), ItemKind::String, content.to_owned()));
    }
    unterminated(text, rest)
}

/// A string between double quotes, with escapes. `text` begins after the quote.
pub(super) fn double_quoted(text: &str) -> Scalar<'_> {
    let mut bytes = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = split_till(rest, |c| matches!(c, '"' | '\\' | '\0'));
        bytes.extend_from_slice(part.as_bytes());
        match peek(after) {
            '\\' => rest = escape(skip_char(after), &mut bytes)?,
            '"' => return Ok((skip_char(after), ItemKind::String, string_of(bytes))),
            _ if bytes.is_empty() => return unterminated(text, after),
            _ => return fault(after, "Unexpected EOF."),
        }
    }
}

/// The end of the text within quotes. Right after the opening quote it is no error but the end of everything.
fn unterminated<'a>(text: &'a str, rest: &'a str) -> Scalar<'a> {
    if text.is_empty() {
        return Ok((rest, ItemKind::End, String::new()));
    }
    fault(rest, "Unexpected EOF.")
}

/// A string without quotes, which may turn out to be a boolean or a variable.
pub(super) fn bare(text: &str) -> Scalar<'_> {
    bare_string_from(text, text)
}

/// The same when the text up to `rest` is known to belong to it.
fn bare_string_from<'a>(text: &'a str, rest: &'a str) -> Scalar<'a> {
    let mut bytes = taken(text, rest).as_bytes().to_vec();
    let mut rest = rest;
    let mut escaped = false;
    loop {
        let (part, after) = split_till(rest, |c| {
            is_line_end(c) || is_blank(c) || matches!(c, '\\' | '\0' | ';' | ',' | ']' | '}' | '\'')
        });
        bytes.extend_from_slice(part.as_bytes());
        match peek(after) {
            '\\' => {
                escaped = true;
                rest = escape(skip_char(after), &mut bytes)?;
            }
            '\'' => return Ok((skip_char(after), ItemKind::String, string_of(bytes))),
            _ => return Ok(bare_value(after, string_of(bytes), escaped)),
        }
    }
}

fn bare_value(rest: &str, value: String, escaped: bool) -> (&str, ItemKind, String) {
    if escaped {
        return (rest, ItemKind::String, value);
    }
    if ["true", "false", "on", "off", "yes", "no"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return (rest, ItemKind::Bool, value);
    }
    match value.strip_prefix('$') {
        Some(name) => (rest, ItemKind::Variable, name.to_owned()),
        None => (rest, ItemKind::String, value),
    }
}

/// A string between parentheses: `text` begins after the first, the second stands alone in a line.
pub(super) fn block(text: &str) -> Scalar<'_> {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|part| part.find("\n)")).map(|found| found + from) {
        let content_end = at + 1;
        let rest = text.get(content_end + 1..).unwrap_or_default();
        match peek(rest) {
            '\n' => {
                let content = text.get(..content_end).unwrap_or_default();
                return Ok((rest, ItemKind::String, content.to_owned()));
            }
            // At the end of the text the parenthesis counts as part of the string.
            '\0' => return Ok((skip_char(rest), ItemKind::String, text.to_owned())),
            _ => from = content_end,
        }
    }
    fault("", "Unexpected EOF processing block.")
}

/// What follows a backslash. Gives back the text after it.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, Fault<'a>> {
    let rest = skip_char(text);
    let byte = match peek(text) {
        'x' => return hexadecimal(rest, bytes),
        't' => b'\t',
        'n' => b'\n',
        'r' => b'\r',
        '"' => b'"',
        '\\' => b'\\',
        c => {
            let c = shown(c);
            return fault(
                rest,
                format!(
                    "Invalid escape character '{c}'. Only the following escape characters are allowed: \
                     \\xXX, \\t, \\n, \\r, \\\", \\\\."
                ),
            );
        }
    };
    bytes.push(byte);
    Ok(rest)
}

fn hexadecimal<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, Fault<'a>> {
    let second = skip_char(text);
    let rest = skip_char(second);
    for (c, after) in [(peek(text), second), (peek(second), rest)] {
        if is_line_end(c) {
            return fault(after, "Expected two hexadecimal digits after '\\x', but hit end of line");
        }
    }
    let pair = taken(text, rest);
    match u8::from_str_radix(pair, 16) {
        Ok(byte) if pair.len() == 2 => {
            bytes.push(byte);
            Ok(rest)
        }
        _ => fault(rest, format!("Expected two hexadecimal digits after '\\x', but got '{pair}'")),
    }
}

fn string_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
