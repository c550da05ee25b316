//! From items to the tree: nesting, numbers, variables, included files.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::item::{Item, ItemKind};
use super::lex;
use super::value::{Location, Map, Node, Value};
use super::{ParseError, Reference};

/// bcrypt hashes look like a variable's name; they need no quotes all the same.
const BCRYPT_PREFIX: &str = "2a$";

/// The key that a variable of the environment is read as the value of.
const VARIABLE_KEY: &str = "pk";

/// The tree of a configuration file.
pub(super) fn file(path: &str) -> Result<Map, ParseError> {
    Reading { texts: vec![Text::of_file(path.to_owned(), None)?] }.finish()
}

/// The tree of a text that is no file.
pub(super) fn text(text: &str) -> Result<Map, ParseError> {
    Reading { texts: vec![Text::new("", PathBuf::new(), text, None)] }.finish()
}

/// The texts that are being read: each but the first because the one before refers to it. They stand in a list, so that
/// no chain of them exhausts the thread's stack.
struct Reading {
    texts: Vec<Text>,
}

impl Reading {
    fn finish(mut self) -> Result<Map, ParseError> {
        loop {
            let Some(text) = self.texts.last_mut() else { return Ok(Map::default()) };
            let wanted = text.read().map_err(|error| self.within(error, None))?;
            match wanted {
                Some(wanted) => self.begin(&wanted)?,
                None => {
                    if let Some(map) = self.end().map_err(|error| self.within(error, None))? {
                        return Ok(map);
                    }
                }
            }
        }
    }

    /// Says how the text where an error came up was come to.
    fn within(&self, error: ParseError, last: Option<Reference>) -> ParseError {
        let come_to =
            self.texts.iter().filter_map(|text| text.reference.as_ref().map(|wanted| wanted.named()));
        let references: Vec<_> = come_to.chain(last).collect();
        if references.is_empty() { error } else { ParseError::Within { references, error: Box::new(error) } }
    }

    /// Begins with a text that the last one refers to.
    fn begin(&mut self, wanted: &Wanted) -> Result<(), ParseError> {
        let text = match wanted {
            Wanted::File(name) => self.included(name),
            Wanted::Environment(item) => match self.variable(item) {
                Ok(Some(text)) => Ok(text),
                Ok(None) => return Err(self.within(not_found(item), None)),
                Err(error) => Err(error),
            },
        };
        match text {
            Ok(text) => self.texts.push(text),
            Err(error) => return Err(self.within(error, Some(wanted.named()))),
        }
        Ok(())
    }

    fn included(&self, name: &str) -> Result<Text, ParseError> {
        let directory = self.texts.last().map_or(Path::new(""), |text| &text.directory);
        let path = joined(directory, name);
        if self.texts.iter().any(|text| *text.file == *path) {
            return Err(ParseError::IncludeCycle);
        }
        Text::of_file(path, Some(Wanted::File(name.to_owned())))
    }

    /// The value of a variable of the environment, which may be anything that may stand after a key.
    fn variable(&self, item: &Item) -> Result<Option<Text>, ParseError> {
        let is_pending = |text: &Text| match &text.reference {
            Some(Wanted::Environment(pending)) => pending.text == item.text,
            _ => false,
        };
        if self.texts.iter().any(is_pending) {
            return Err(ParseError::VariableCycle { name: item.text.clone() });
        }
        Ok(std::env::var_os(&item.text).map(|value| {
            let text = format!("{VARIABLE_KEY}={}", value.to_string_lossy());
            Text::new("", PathBuf::new(), &text, Some(Wanted::Environment(item.clone())))
        }))
    }

    /// Gives what the last text means to the one that refers to it; the whole tree where none does.
    fn end(&mut self) -> Result<Option<Map>, ParseError> {
        let Some(mut ended) = self.texts.pop() else { return Ok(None) };
        let map = match ended.open.drain(..).next() {
            Some(Open::Map(map)) => map,
            _ => Map::default(),
        };
        match (ended.reference, self.texts.last_mut()) {
            (Some(Wanted::File(_)), Some(text)) => text.take_included(map),
            (Some(Wanted::Environment(item)), Some(text)) => match map.get(VARIABLE_KEY) {
                Some(node) => text.set_at(&item, node.value.clone()),
                None => return Err(not_found(&item)),
            },
            _ => return Ok(Some(map)),
        }
        Ok(None)
    }
}

fn not_found(item: &Item) -> ParseError {
    ParseError::VariableNotFound { name: item.text.clone(), line: item.place.line }
}

/// What a text refers to.
enum Wanted {
    /// A file, by its name in the text.
    File(String),
    /// A variable of the environment.
    Environment(Item),
}

impl Wanted {
    fn named(&self) -> Reference {
        match self {
            Self::File(name) => Reference::Include { name: name.clone() },
            Self::Environment(item) => Reference::Variable { name: item.text.clone(), line: item.place.line },
        }
    }
}

/// A map or an array whose end has not come yet.
enum Open {
    Map(Map),
    Array(Vec<Node>),
}

/// A text, as far as it is read.
struct Text {
    /// Empty where the text is no file.
    file: Arc<str>,
    directory: PathBuf,
    /// How it was come to; nothing for the first.
    reference: Option<Wanted>,
    items: std::vec::IntoIter<Item>,
    open: Vec<Open>,
    keys: Vec<Item>,
    /// The end of the text right after a key is an error, unless that "key" is the brace that closes JSON.
    dangling_key: bool,
}

impl Text {
    fn new(file: &str, directory: PathBuf, text: &str, reference: Option<Wanted>) -> Self {
        Self {
            file: Arc::from(file),
            directory,
            reference,
            items: lex::items(text).into_iter(),
            open: vec![Open::Map(Map::default())],
            keys: Vec::new(),
            dangling_key: false,
        }
    }

    fn of_file(path: String, reference: Option<Wanted>) -> Result<Self, ParseError> {
        let data = match std::fs::read(&path) {
            Ok(data) => data,
            Err(error) => return Err(ParseError::Open { path, error }),
        };
        let directory = Path::new(&path).parent().unwrap_or_else(|| Path::new("")).to_owned();
        Ok(Self::new(&path, directory, &String::from_utf8_lossy(&data), reference))
    }

    /// Reads up to the next text that this one refers to, or to its end.
    fn read(&mut self) -> Result<Option<Wanted>, ParseError> {
        while let Some(item) = self.items.next() {
            if item.kind == ItemKind::End {
                if self.dangling_key {
                    return Err(ParseError::Invalid { location: self.location(&item) });
                }
                return Ok(None);
            }
            self.dangling_key = item.kind == ItemKind::Key && item.text != "}";
            let wanted = self.take(item)?;
            if wanted.is_some() {
                return Ok(wanted);
            }
        }
        Ok(None)
    }

    fn location(&self, item: &Item) -> Location {
        Location { file: Arc::clone(&self.file), place: item.place }
    }

    fn take(&mut self, item: Item) -> Result<Option<Wanted>, ParseError> {
        let value = match item.kind {
            ItemKind::Error => {
                return Err(ParseError::Syntax { line: item.place.line, text: item.text });
            }
            ItemKind::End => return Ok(None),
            ItemKind::Key => {
                self.keys.push(item);
                return Ok(None);
            }
            ItemKind::MapStart => {
                self.open.push(Open::Map(Map::default()));
                return Ok(None);
            }
            ItemKind::ArrayStart => {
                self.open.push(Open::Array(Vec::new()));
                return Ok(None);
            }
            ItemKind::MapEnd | ItemKind::ArrayEnd => match self.close() {
                Some(value) => value,
                None => return Ok(None),
            },
            ItemKind::String => Value::String(item.text.clone()),
            ItemKind::Bool => {
                let text = item.text.to_ascii_lowercase();
                Value::Bool(matches!(text.as_str(), "true" | "yes" | "on"))
            }
            ItemKind::Integer => match integer(&item.text)? {
                Some(number) => Value::Integer(number),
                // A suffix such as "kbb": nats-server drops the value and keeps its key for the next one.
                None => return Ok(None),
            },
            ItemKind::Float => float(&item.text)?,
            ItemKind::Datetime => datetime(&item.text)?,
            ItemKind::Variable => match self.variable(&item.text) {
                Some(value) => value,
                None => return Ok(Some(Wanted::Environment(item))),
            },
            ItemKind::Include => return Ok(Some(Wanted::File(item.text))),
        };
        self.set_at(&item, value);
        Ok(None)
    }

    fn set_at(&mut self, item: &Item, value: Value) {
        let location = self.location(item);
        self.set(Node::new(value, location));
    }

    /// Ends the innermost map or array. The outermost map has no end.
    fn close(&mut self) -> Option<Value> {
        if self.open.len() < 2 {
            return None;
        }
        match self.open.pop()? {
            Open::Map(map) => Some(Value::Map(Rc::new(map))),
            Open::Array(values) => Some(Value::Array(Rc::new(values))),
        }
    }

    fn set(&mut self, mut node: Node) {
        match self.open.last_mut() {
            Some(Open::Array(values)) => values.push(node),
            Some(Open::Map(map)) => {
                if let Some(key) = self.keys.pop() {
                    node.location.place = key.place;
                    map.set(key.text, node);
                }
            }
            None => {}
        }
    }

    /// The value of a variable that the text itself has.
    fn variable(&self, name: &str) -> Option<Value> {
        if name.starts_with(BCRYPT_PREFIX) {
            return Some(Value::String(format!("${name}")));
        }
        let mut maps = self.open.iter().rev().filter_map(|open| match open {
            Open::Map(map) => Some(map),
            Open::Array(_) => None,
        });
        let node = maps.find_map(|map| map.get(name))?;
        node.mark_used();
        Some(node.value.clone())
    }

    fn take_included(&mut self, map: Map) {
        for (key, node) in map.into_entries() {
            if let Some(Open::Map(target)) = self.open.last_mut() {
                target.set(key, node);
            }
        }
    }
}

/// A name relative to a directory, without `.` and `..` where they can be resolved by the text alone; an absolute
/// name is taken as relative too, as nats-server does.
fn joined(directory: &Path, name: &str) -> String {
    use std::path::Component;
    let mut parts = PathBuf::new();
    for component in directory.components().chain(Path::new(name.trim_start_matches('/')).components()) {
        match component {
            Component::CurDir => {}
            Component::ParentDir if parts.file_name().is_some_and(|last| last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.to_string_lossy().into_owned()
}

/// `None`: the suffix is none that has a meaning.
fn integer(text: &str) -> Result<Option<i64>, ParseError> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let number: i64 = digits.parse().map_err(|_| ParseError::IntegerRange { text: text.to_owned() })?;
    let factor: i64 = match suffix.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1000,
        "kb" | "ki" | "kib" => 1 << 10,
        "m" => 1_000_000,
        "mb" | "mi" | "mib" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" | "gi" | "gib" => 1 << 30,
        "t" => 1_000_000_000_000,
        "tb" | "ti" | "tib" => 1 << 40,
        "p" => 1_000_000_000_000_000,
        "pb" | "pi" | "pib" => 1 << 50,
        "e" => 1_000_000_000_000_000_000,
        "eb" | "ei" | "eib" => 1 << 60,
        _ => return Ok(None),
    };
    Ok(Some(number.wrapping_mul(factor)))
}

fn float(text: &str) -> Result<Value, ParseError> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Value::Float(number)),
        _ => Err(ParseError::FloatRange { text: text.to_owned() }),
    }
}

fn datetime(text: &str) -> Result<Value, ParseError> {
    match text.parse::<jiff::Timestamp>() {
        Ok(_) => Ok(Value::Datetime(text.to_owned())),
        Err(_) => Err(ParseError::Datetime { text: text.to_owned() }),
    }
}
