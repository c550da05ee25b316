//! Finds the extent of JSON values, with Go's syntax errors.

use crate::quoted_byte;
use smallvec::SmallVec;
use std::borrow::Cow;

/// A JSON text that is known to be well-formed, without space around it.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    raw: &'a [u8],
}

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanError {
    /// The text ends before the value does.
    End,
    /// A byte that cannot stand where it stands; `offset` counts the bytes up to and with it.
    Syntax {
        /// What is wrong, in Go's words.
        text: String,
        /// Bytes read until then.
        offset: usize,
    },
}

/// Go's limit.
const DEPTH_MAX: usize = 10_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Object,
    Array,
}

#[derive(Clone, Copy)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    AfterValue,
}

/// Finds the value that starts at or after `from`; gives it and the position after it, or `None` where only space
/// is left.
pub(super) fn next_value(data: &[u8], from: usize) -> Result<Option<(Value<'_>, usize)>, ScanError> {
    let Some(start) = skip_space(data, from) else { return Ok(None) };
    let mut scan = Scan { data, at: start, within: SmallVec::new() };
    let end = scan.value()?;
    Ok(Some((Value { raw: data.get(start..end).unwrap_or_default() }, end)))
}

/// The one value that `data` holds.
pub fn whole_value(data: &[u8]) -> Result<Value<'_>, ScanError> {
    let Some((value, end)) = next_value(data, 0)? else { return Err(ScanError::End) };
    match skip_space(data, end) {
        None => Ok(value),
        Some(at) => Err(syntax(data, at, "after top-level value")),
    }
}

fn skip_space(data: &[u8], from: usize) -> Option<usize> {
    let rest = data.get(from..)?;
    rest.iter().position(|byte| !is_space(*byte)).map(|at| from + at)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn syntax(data: &[u8], at: usize, context: &str) -> ScanError {
    let byte = data.get(at).copied().unwrap_or_default();
    ScanError::Syntax { text: format!("invalid character {} {context}", quoted_byte(byte)), offset: at + 1 }
}

struct Scan<'a> {
    data: &'a [u8],
    at: usize,
    within: SmallVec<[Within; 16]>,
}

impl Scan<'_> {
    /// Iterative, so that deep nesting costs no stack.
    fn value(&mut self) -> Result<usize, ScanError> {
        let mut expect = Expect::Value;
        loop {
            let at = skip_space(self.data, self.at).ok_or(ScanError::End)?;
            let byte = self.data.get(at).copied().ok_or(ScanError::End)?;
            self.at = at;
            expect = match (expect, byte) {
                (Expect::ValueOrEnd, b']') | (Expect::KeyOrEnd, b'}') => self.close(),
                (Expect::Value | Expect::ValueOrEnd, _) => self.begin(byte)?,
                (Expect::Key | Expect::KeyOrEnd, b'"') => {
                    self.string()?;
                    Expect::Colon
                }
                (Expect::Key | Expect::KeyOrEnd, _) => {
                    return Err(self.error("looking for beginning of object key string"));
                }
                (Expect::Colon, b':') => self.step(Expect::Value),
                (Expect::Colon, _) => return Err(self.error("after object key")),
                (Expect::AfterValue, _) => self.after_value(byte)?,
            };
            if matches!(expect, Expect::AfterValue) && self.within.is_empty() {
                return Ok(self.at);
            }
        }
    }

    fn step(&mut self, expect: Expect) -> Expect {
        self.at += 1;
        expect
    }

    fn close(&mut self) -> Expect {
        self.within.pop();
        self.step(Expect::AfterValue)
    }

    fn error(&self, context: &str) -> ScanError {
        syntax(self.data, self.at, context)
    }

    fn begin(&mut self, byte: u8) -> Result<Expect, ScanError> {
        match byte {
            b'{' | b'[' => {
                let (within, expect) = if byte == b'{' {
                    (Within::Object, Expect::KeyOrEnd)
                } else {
                    (Within::Array, Expect::ValueOrEnd)
                };
                self.within.push(within);
                if self.within.len() > DEPTH_MAX {
                    return Err(self.error("exceeded max depth"));
                }
                return Ok(self.step(expect));
            }
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return Err(self.error("looking for beginning of value")),
        }
        Ok(Expect::AfterValue)
    }

    fn after_value(&mut self, byte: u8) -> Result<Expect, ScanError> {
        match (self.within.last(), byte) {
            (Some(Within::Object), b',') => Ok(self.step(Expect::Key)),
            (Some(Within::Array), b',') => Ok(self.step(Expect::Value)),
            (Some(Within::Object), b'}') | (Some(Within::Array), b']') => Ok(self.close()),
            (Some(Within::Object), _) => Err(self.error("after object key:value pair")),
            _ => Err(self.error("after array element")),
        }
    }

    fn peek(&self) -> Result<u8, ScanError> {
        self.data.get(self.at).copied().ok_or(ScanError::End)
    }

    fn string(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                0..0x20 => return Err(self.error("in string literal")),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        match self.peek()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek()?.is_ascii_hexdigit() {
                        return Err(self.error("in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.error("in string escape code")),
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), ScanError> {
        for (position, wanted) in word.bytes().enumerate() {
            if self.peek()? != wanted {
                debug_assert!(position > 0, "the caller looked at the first byte");
                return Err(self.error(&format!("in literal {word} (expecting '{}')", char::from(wanted))));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.data.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    /// A number at the very end of the text is complete, but not one that stops after its sign, point or exponent.
    fn number(&mut self) -> Result<(), ScanError> {
        if self.peek()? == b'-' {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(self.error("in numeric literal"));
            }
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits();
        }
        if self.data.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(self.error("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if matches!(self.data.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return Err(self.error("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(())
    }
}

/// The kinds of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> Value<'a> {
    /// The text of the value.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// What kind of value it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.raw.first() {
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// The text of a number; empty for another kind.
    #[must_use]
    pub fn number(self) -> &'a str {
        if self.kind() == Kind::Number { std::str::from_utf8(self.raw).unwrap_or_default() } else { "" }
    }

    /// The content of a string, with escapes resolved and what is not UTF-8 replaced; empty for another kind.
    #[must_use]
    pub fn string(self) -> Cow<'a, str> {
        if self.kind() != Kind::String {
            return Cow::Borrowed("");
        }
        let inner = self.raw.get(1..self.raw.len().saturating_sub(1)).unwrap_or_default();
        if memchr::memchr(b'\\', inner).is_none() {
            return String::from_utf8_lossy(inner);
        }
        Cow::Owned(unescape(inner))
    }

    /// Visits the elements of an array.
    pub fn for_each_element(self, mut visit: impl FnMut(Value<'a>)) {
        let mut at = 1;
        while let Ok(Some((element, end))) = next_value(self.raw, at) {
            visit(element);
            match skip_space(self.raw, end) {
                Some(comma) if self.raw.get(comma) == Some(&b',') => at = comma + 1,
                _ => return,
            }
        }
    }

    /// Visits the fields of an object.
    pub fn for_each_field(self, mut visit: impl FnMut(&str, Value<'a>)) {
        let mut at = 1;
        while let Ok(Some((key, end))) = next_value(self.raw, at) {
            let Some(colon) = skip_space(self.raw, end) else { return };
            let Ok(Some((value, end))) = next_value(self.raw, colon + 1) else { return };
            visit(&key.string(), value);
            match skip_space(self.raw, end) {
                Some(comma) if self.raw.get(comma) == Some(&b',') => at = comma + 1,
                _ => return,
            }
        }
    }
}

fn unescape(inner: &[u8]) -> String {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        let escaped = rest.get(at + 1).copied().unwrap_or_default();
        rest = rest.get(at + 2..).unwrap_or_default();
        let plain = match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, used) = unicode_escape(rest);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(used..).unwrap_or_default();
                continue;
            }
            other => other,
        };
        out.push(plain);
    }
    out.extend_from_slice(rest);
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads the digits after `\u`, and a second escape where the first is half of a pair.
fn unicode_escape(rest: &[u8]) -> (char, usize) {
    let unit = |bytes: Option<&[u8]>| {
        bytes
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let Some(first) = unit(rest.get(..4)) else { return (char::REPLACEMENT_CHARACTER, 4) };
    let is_first_half = (0xd800..0xdc00).contains(&first) && rest.get(4..6) == Some(b"\\u");
    let second = if is_first_half { unit(rest.get(6..10)) } else { None };
    if let Some(second) = second.filter(|second| (0xdc00..0xe000).contains(second)) {
        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}
