//! The structure of a configuration text: keys, maps, arrays, comments, includes.
//!
//! A table of states with a stack of its own, so that no depth of nesting can exhaust the thread's stack. The rules
//! are those of nats-server v2.15.2, observed, oddities included: what it takes is taken, what it refuses is refused
//! with its words.

use super::item::{Item, ItemKind, Lines, Place};
use super::scalar::{self, Fault, is_blank, is_line_end, peek, shown, skip_char, skip_while, split_till};

/// What may stand next.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A key, a comment or the end.
    Top,
    /// The end of a top-level value.
    TopValueEnd,
    /// The same two within braces around the top level.
    BlockStart,
    BlockValueEnd,
    BlockEnd,
    ArrayValue,
    ArrayValueEnd,
    MapKeyStart,
    MapValueEnd,
    /// Nothing: the text is at its end, or wrong.
    Done,
}

/// The items of a configuration text. The last one is [`ItemKind::End`] or [`ItemKind::Error`].
pub(super) fn items(input: &str) -> Vec<Item> {
    let mut lexer =
        Lexer { input, lines: Lines::new(input), rest: input, items: Vec::new(), stack: Vec::new() };
    let mut state = State::Top;
    loop {
        state = match lexer.step(state) {
            Ok(State::Done) => return lexer.items,
            Ok(next) => next,
            Err(fault) => {
                let place = lexer.lines.place(input.len() - fault.rest.len());
                lexer.items.push(Item { kind: ItemKind::Error, text: fault.text, place });
                return lexer.items;
            }
        };
    }
}

struct Lexer<'a> {
    input: &'a str,
    lines: Lines,
    rest: &'a str,
    items: Vec<Item>,
    stack: Vec<State>,
}

type Step<'a> = Result<State, Fault<'a>>;

impl<'a> Lexer<'a> {
    fn step(&mut self, state: State) -> Step<'a> {
        match state {
            State::Top => self.top(),
            State::TopValueEnd => self.top_value_end(),
            State::BlockStart => self.block_start(),
            State::BlockValueEnd => self.block_value_end(),
            State::BlockEnd => self.block_end(),
            State::ArrayValue => self.array_value(),
            State::ArrayValueEnd => self.array_value_end(),
            State::MapKeyStart => self.map_key_start(),
            State::MapValueEnd => self.map_value_end(),
            State::Done => Ok(State::Done),
        }
    }

    /// The place of what is left.
    fn place(&self) -> Place {
        self.lines.place(self.input.len() - self.rest.len())
    }

    fn skip_space(&mut self) {
        self.rest = skip_while(self.rest, char::is_whitespace);
    }

    fn skip_blanks(&mut self) {
        self.rest = skip_while(self.rest, is_blank);
    }

    /// Takes the next character; NUL at the end.
    fn take(&mut self) -> char {
        let c = peek(self.rest);
        self.rest = skip_char(self.rest);
        c
    }

    /// Skips a comment, if one begins here.
    fn comment(&mut self) -> bool {
        if !self.rest.starts_with('#') && !self.rest.starts_with("//") {
            return false;
        }
        self.rest = split_till(self.rest, |c| is_line_end(c) || c == '\0').1;
        true
    }

    fn fault(&self, text: impl Into<String>) -> Step<'a> {
        Err(Fault { rest: self.rest, text: text.into() })
    }

    /// An item whose text ends where the lexer is.
    fn emit(&mut self, kind: ItemKind, text: &str) {
        let mut place = self.place();
        place.column = place.column.saturating_sub(text.len());
        self.items.push(Item { kind, text: text.to_owned(), place });
    }

    fn end(&mut self) -> Step<'a> {
        self.emit(ItemKind::End, "");
        Ok(State::Done)
    }

    fn pop(&mut self) -> State {
        self.stack.pop().unwrap_or(State::Top)
    }

    fn top(&mut self) -> Step<'a> {
        self.skip_space();
        if self.comment() {
            return Ok(State::Top);
        }
        match peek(self.rest) {
            '{' => {
                self.take();
                self.stack.push(State::Top);
                Ok(State::BlockStart)
            }
            '\0' | '/' => self.end_of_text(),
            _ => {
                self.stack.push(State::TopValueEnd);
                self.key()
            }
        }
    }

    /// At the end of the text, or at a slash or NUL that cannot stand here.
    fn end_of_text(&mut self) -> Step<'a> {
        if self.rest.is_empty() {
            return self.end();
        }
        self.take();
        self.fault("Unexpected EOF.")
    }

    fn top_value_end(&mut self) -> Step<'a> {
        loop {
            if self.comment() {
                return Ok(State::Top);
            }
            let c = self.take();
            if is_line_end(c) || matches!(c, '\0' | ';' | ',' | '}') {
                return Ok(State::Top);
            }
            if !is_blank(c) && c != '/' {
                return self.fault(format!(
                    "Expected a top-level value to end with a new line, comment or EOF, but got '{}' instead.",
                    shown(c)
                ));
            }
        }
    }

    fn block_start(&mut self) -> Step<'a> {
        self.skip_space();
        if self.comment() {
            return Ok(State::BlockStart);
        }
        match peek(self.rest) {
            '{' => {
                self.take();
                self.stack.push(State::BlockEnd);
                Ok(State::BlockStart)
            }
            '}' => {
                self.take();
                Ok(self.pop())
            }
            '\0' | '/' => self.end_of_text(),
            _ => {
                self.stack.push(State::BlockValueEnd);
                self.key()
            }
        }
    }

    fn block_value_end(&mut self) -> Step<'a> {
        loop {
            if self.comment() {
                continue;
            }
            if peek(self.rest) == '}' {
                return Ok(State::BlockEnd);
            }
            let c = self.take();
            if is_line_end(c) || matches!(c, ';' | ',') {
                return Ok(State::BlockStart);
            }
            if !is_blank(c) && c != '/' {
                return self.fault(format!(
                    "Expected a block-level value to end with a new line, comment or EOF, but got '{}' instead.",
                    shown(c)
                ));
            }
        }
    }

    fn block_end(&mut self) -> Step<'a> {
        loop {
            if self.comment() {
                return Ok(State::BlockStart);
            }
            let c = self.take();
            match c {
                ';' | ',' => return Ok(State::BlockStart),
                '}' => return Ok(self.pop()),
                c if is_line_end(c) || is_blank(c) || c == '/' => {}
                c => {
                    return self.fault(format!(
                        "Expected a block-level to end with a '}}', but got '{}' instead.",
                        shown(c)
                    ));
                }
            }
        }
    }

    /// A key outside of maps.
    fn key(&mut self) -> Step<'a> {
        match peek(self.rest) {
            c @ (':' | '=') => return self.fault(format!("Unexpected key separator '{c}'")),
            quote @ ('"' | '\'') => {
                self.take();
                let (key, rest) = split_till(self.rest, |c| c == quote || c == '\0');
                let is_empty = key.is_empty();
                self.rest = rest;
                if peek(rest) != quote {
                    return if is_empty { self.end() } else { self.fault("Unexpected EOF.") };
                }
                self.emit(ItemKind::Key, key);
                self.take();
            }
            _ => {
                if self.bare_key() {
                    return self.include();
                }
            }
        }
        self.skip_space();
        match peek(self.rest) {
            ':' | '=' => {
                self.take();
                self.value()
            }
            '\0' => self.end(),
            _ => self.value(),
        }
    }

    /// Takes a key without quotes. True, and no item, when it is the word `include`.
    fn bare_key(&mut self) -> bool {
        let from = self.rest;
        let first_taken = skip_char(from);
        let (_, rest) = split_till(first_taken, |c| c.is_whitespace() || matches!(c, ':' | '=' | '\0'));
        self.rest = rest;
        let key = from.get(..from.len() - rest.len()).unwrap_or(from);
        if peek(rest).is_whitespace() && key.eq_ignore_ascii_case("include") {
            return true;
        }
        self.emit(ItemKind::Key, key);
        false
    }

    /// The name of a file after the word `include`.
    fn include(&mut self) -> Step<'a> {
        self.skip_blanks();
        let quote = peek(self.rest);
        let unexpected = match quote {
            '\'' | '"' => return self.quoted_include(quote),
            '[' => "start of an array",
            '{' => "start of a map",
            '(' => "start of a block",
            '-' => "start of a number",
            '\\' => "escape sequence",
            c if c.is_ascii_digit() => "start of a number",
            c if is_line_end(c) => "new line",
            _ => {
                let (name, rest) = split_till(self.rest, |c| {
                    is_line_end(c) || is_blank(c) || matches!(c, '\0' | ';' | '}' | '\'')
                });
                self.rest = rest;
                self.emit(ItemKind::Include, name);
                if peek(rest) == '\'' {
                    self.take();
                }
                return Ok(self.pop());
            }
        };
        self.take();
        self.fault(format!("Expected include value but found {unexpected}"))
    }

    fn quoted_include(&mut self, quote: char) -> Step<'a> {
        self.take();
        let (name, rest) = split_till(self.rest, |c| c == quote || c == '\0');
        self.rest = rest;
        if peek(rest) != quote {
            let kind = if quote == '"' { "double quoted" } else { "quoted" };
            return self.fault(format!("Unexpected EOF in {kind} include"));
        }
        self.emit(ItemKind::Include, name);
        self.take();
        Ok(self.pop())
    }

    /// A value. What follows it is on the stack.
    fn value(&mut self) -> Step<'a> {
        self.skip_blanks();
        let parsed = match peek(self.rest) {
            '[' => {
                self.take();
                self.emit(ItemKind::ArrayStart, "");
                return Ok(State::ArrayValue);
            }
            '{' => {
                self.take();
                self.emit(ItemKind::MapStart, "");
                return Ok(State::MapKeyStart);
            }
            '\'' => scalar::single_quoted(skip_char(self.rest))?,
            '"' => scalar::double_quoted(skip_char(self.rest))?,
            '-' => scalar::negative(self.rest)?,
            '(' => scalar::block(skip_char(self.rest))?,
            '.' => {
                self.take();
                return self.fault("Floats must start with a digit");
            }
            c if c.is_ascii_digit() => scalar::digit_first(self.rest)?,
            c if is_line_end(c) => {
                self.take();
                return self.fault("Expected value but found new line");
            }
            _ => scalar::bare(self.rest)?,
        };
        let (rest, kind, text) = parsed;
        self.emit_scalar(rest, kind, text);
        Ok(if kind == ItemKind::End { State::Done } else { self.pop() })
    }

    /// An item that begins where the lexer is and ends at `rest`.
    fn emit_scalar(&mut self, rest: &'a str, kind: ItemKind, text: String) {
        let start = self.place();
        let quote = usize::from(matches!(peek(self.rest), '"' | '\'' | '(' | '$'));
        self.rest = rest;
        let line = self.place().line;
        self.items.push(Item { kind, text, place: Place { line, column: start.column + quote } });
    }

    fn array_value(&mut self) -> Step<'a> {
        self.skip_space();
        if self.comment() {
            return Ok(State::ArrayValue);
        }
        match peek(self.rest) {
            ',' | '/' => {
                self.take();
                self.fault("Unexpected array value terminator ','.")
            }
            ']' => Ok(self.array_end()),
            _ => {
                self.stack.push(State::ArrayValueEnd);
                self.value()
            }
        }
    }

    fn array_end(&mut self) -> State {
        self.take();
        self.emit(ItemKind::ArrayEnd, "");
        self.pop()
    }

    fn array_value_end(&mut self) -> Step<'a> {
        self.skip_blanks();
        if self.comment() {
            return Ok(State::ArrayValueEnd);
        }
        if peek(self.rest) == ']' {
            return Ok(self.array_end());
        }
        match self.take() {
            ',' | '/' | '\n' | '\r' => Ok(State::ArrayValue),
            c => self.fault(format!(
                "Expected an array value terminator \",\" or an array terminator \"]\", but got '{}' instead.",
                shown(c)
            )),
        }
    }

    fn map_end(&mut self) -> State {
        self.take();
        self.emit(ItemKind::MapEnd, "");
        self.pop()
    }

    fn map_key_start(&mut self) -> Step<'a> {
        self.skip_space();
        if self.comment() {
            return Ok(State::MapKeyStart);
        }
        match peek(self.rest) {
            c @ (':' | '=') => return self.fault(format!("Unexpected key separator '{c}'.")),
            ']' => return self.fault("Unexpected array end ']' processing map."),
            '}' => return Ok(self.map_end()),
            '\0' => return self.fault("Unexpected EOF processing map."),
            quote @ ('"' | '\'') => {
                self.take();
                let (key, rest) = split_till(self.rest, |c| c == quote || c == '\0');
                self.rest = rest;
                if peek(rest) != quote {
                    let kind = if quote == '"' { "double quoted" } else { "quoted" };
                    return self.fault(format!("Unexpected EOF processing {kind} map key."));
                }
                self.emit(ItemKind::Key, key);
                self.take();
            }
            c => {
                if c == '/' {
                    self.take();
                }
                if self.bare_key() {
                    self.stack.push(State::MapValueEnd);
                    return self.include();
                }
                if peek(self.rest) == '\0' {
                    self.items.pop();
                    return self.fault("Unexpected EOF processing map key.");
                }
            }
        }
        self.skip_space();
        if matches!(peek(self.rest), ':' | '=') {
            self.take();
        }
        self.map_value()
    }

    fn map_value(&mut self) -> Step<'a> {
        self.skip_space();
        match peek(self.rest) {
            ',' => {
                self.take();
                self.fault("Unexpected map value terminator \",\".")
            }
            '}' => Ok(self.map_end()),
            _ => {
                self.stack.push(State::MapValueEnd);
                self.value()
            }
        }
    }

    fn map_value_end(&mut self) -> Step<'a> {
        self.skip_blanks();
        if self.comment() {
            return Ok(State::MapValueEnd);
        }
        if peek(self.rest) == '}' {
            return Ok(self.map_end());
        }
        match self.take() {
            ',' | ';' | '/' | '\n' | '\r' => Ok(State::MapKeyStart),
            c => self.fault(format!(
                "Expected a map value terminator \",\" or a map terminator \"}}\", but got '{}' instead.",
                shown(c)
            )),
        }
    }
}
