//! From pieces to what is to be done.

use super::DEPTH_MAX;
use super::functions::Function;
use super::lex::{Fault, Piece, Word};

/// A step, with the number of its line.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(usize, Pipeline),
    If { line: usize, test: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { line: usize, test: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { line: usize, over: Pipeline, each: Vec<Node>, otherwise: Vec<Node> },
    Break,
    Continue,
}

/// Commands, each of which gets what the one before it gives; and the variables that get what the last one gives.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// Whether the variables are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or a value, with arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) words: Vec<Operand>,
}

/// A value, and fields of it.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Function(Function),
    Nil,
    Bool(bool),
    Integer(i64),
    Text(String),
    Inner(Box<Pipeline>),
}

/// How a list of steps ended.
enum Stop {
    Text,
    Else(Vec<Word>),
    End,
}

/// Reads a template.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader { pieces: pieces.into_iter(), line: 1, depth: 0, loops: 0 };
    let (nodes, end) = reader.list()?;
    match end {
        Stop::Text => Ok(nodes),
        Stop::Else(_) => Err((reader.line, "unexpected {{else}}".to_owned())),
        Stop::End => Err((reader.line, "unexpected {{end}}".to_owned())),
    }
}

struct Reader {
    pieces: std::vec::IntoIter<Piece>,
    line: usize,
    depth: usize,
    loops: usize,
}

impl Reader {
    fn list(&mut self) -> Result<(Vec<Node>, Stop), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err((self.line, "things stand too deep in each other".to_owned()));
        }
        let mut nodes = Vec::new();
        let end = loop {
            match self.pieces.next() {
                None => break Stop::Text,
                Some(Piece::Text(text)) => nodes.push(Node::Text(text)),
                Some(Piece::Action(line, words)) => {
                    self.line = line;
                    match self.action(words)? {
                        Ok(node) => nodes.extend(node),
                        Err(end) => break end,
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    /// What an action is: a step, or the end of a list of them.
    fn action(&mut self, words: Vec<Word>) -> Result<Result<Option<Node>, Stop>, Fault> {
        let line = self.line;
        let keyword = match words.first() {
            Some(Word::Name(name)) => name.clone(),
            _ => String::new(),
        };
        let rest = || words.get(1..).unwrap_or_default().to_vec();
        let node = match &*keyword {
            "end" if words.len() == 1 => return Ok(Err(Stop::End)),
            "else" => return Ok(Err(Stop::Else(rest()))),
            "if" => self.branch(rest(), "if")?,
            "with" => self.branch(rest(), "with")?,
            "range" => self.branch(rest(), "range")?,
            "break" | "continue" if self.loops == 0 => {
                return Err((line, format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
            }
            "break" if words.len() == 1 => Node::Break,
            "continue" if words.len() == 1 => Node::Continue,
            "define" | "template" | "block" => {
                return Err((line, format!("{{{{{keyword}}}}} is not served here")));
            }
            _ => Node::Print(line, self.pipeline(words, "command")?),
        };
        Ok(Ok(Some(node)))
    }

    fn branch(&mut self, words: Vec<Word>, keyword: &str) -> Result<Node, Fault> {
        let line = self.line;
        let test = self.pipeline(words, keyword)?;
        let is_loop = usize::from(keyword == "range");
        self.loops += is_loop;
        let (then, end) = self.list()?;
        self.loops -= is_loop;
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Text => return Err((self.line, "unexpected EOF".to_owned())),
            Stop::Else(words) => self.otherwise(words, keyword)?,
        };
        Ok(match keyword {
            "if" => Node::If { line, test, then, otherwise },
            "with" => Node::With { line, test, then, otherwise },
            _ => Node::Range { line, over: test, each: then, otherwise },
        })
    }

    fn otherwise(&mut self, words: Vec<Word>, keyword: &str) -> Result<Vec<Node>, Fault> {
        match words.first() {
            None => match self.list()? {
                (nodes, Stop::End) => Ok(nodes),
                (_, Stop::Else(_)) => Err((self.line, "expected end; found {{else}}".to_owned())),
                (_, Stop::Text) => Err((self.line, "unexpected EOF".to_owned())),
            },
            Some(Word::Name(name)) if name == keyword && keyword != "range" => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err((self.line, "things stand too deep in each other".to_owned()));
                }
                let node = self.branch(words.get(1..).unwrap_or_default().to_vec(), keyword)?;
                self.depth -= 1;
                Ok(vec![node])
            }
            Some(_) => Err((self.line, "unexpected words behind else".to_owned())),
        }
    }

    fn pipeline(&self, words: Vec<Word>, of: &str) -> Result<Pipeline, Fault> {
        let mut words = Words { words: words.into_iter(), depth: 0 };
        let pipeline = words.pipeline(of).map_err(|text| (self.line, text))?;
        match words.words.next() {
            None => Ok(pipeline),
            Some(word) => Err((self.line, format!("unexpected {word:?} in {of}"))),
        }
    }
}

struct Words {
    words: std::vec::IntoIter<Word>,
    depth: usize,
}

impl Words {
    fn pipeline(&mut self, of: &str) -> Result<Pipeline, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("things stand too deep in each other".to_owned());
        }
        let (variables, declares) = self.variables()?;
        let mut commands = Vec::new();
        loop {
            let command = self.command()?;
            if command.words.is_empty() {
                return Err(format!("missing value for {of}"));
            }
            commands.push(command);
            if !self.take(&Word::Pipe) {
                break;
            }
        }
        self.depth -= 1;
        Ok(Pipeline { variables, declares, commands })
    }

    /// Takes the next word if it is this one.
    fn take(&mut self, word: &Word) -> bool {
        let is_next = self.words.as_slice().first() == Some(word);
        if is_next {
            self.words.next();
        }
        is_next
    }

    /// `$a :=`, `$a, $b :=` or `$a =` in front of a pipeline.
    fn variables(&mut self) -> Result<(Vec<String>, bool), String> {
        let (names, sign) = match self.words.as_slice() {
            [Word::Variable(one), sign @ (Word::Declare | Word::Assign), ..] => (vec![one.clone()], sign),
            [
                Word::Variable(one),
                Word::Comma,
                Word::Variable(two),
                sign @ (Word::Declare | Word::Assign),
                ..,
            ] => (vec![one.clone(), two.clone()], sign),
            _ => return Ok((Vec::new(), false)),
        };
        let declares = *sign == Word::Declare;
        if names.iter().any(String::is_empty) {
            return Err("a variable needs a name".to_owned());
        }
        for _ in 0..names.len() * 2 {
            self.words.next();
        }
        Ok((names, declares))
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut words: Vec<Operand> = Vec::new();
        let ends = |word: &Word| {
            matches!(word, Word::Pipe | Word::Close | Word::Comma | Word::Declare | Word::Assign)
        };
        while !self.words.as_slice().first().is_none_or(ends) {
            let Some(word) = self.words.next() else { break };
            let base = match word {
                Word::Field(name, glued) => {
                    match words.last_mut().filter(|_| glued) {
                        Some(operand) => operand.fields.push(name),
                        None => words.push(Operand { base: Base::Dot, fields: vec![name] }),
                    }
                    continue;
                }
                Word::Dot => Base::Dot,
                Word::Variable(name) => Base::Variable(name),
                Word::Text(text) => Base::Text(text),
                Word::Integer(number) => Base::Integer(number),
                Word::Name(name) => match &*name {
                    "true" | "false" => Base::Bool(name == "true"),
                    "nil" => Base::Nil,
                    _ => Base::Function(Function::named(&name)?),
                },
                Word::Open => {
                    let inner = self.pipeline("parenthesized pipeline")?;
                    if !self.take(&Word::Close) {
                        return Err("unclosed left paren".to_owned());
                    }
                    Base::Inner(Box::new(inner))
                }
                other => return Err(format!("unexpected {other:?} in command")),
            };
            words.push(Operand { base, fields: Vec::new() });
        }
        Ok(Command { words })
    }
}
