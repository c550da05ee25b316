//! From items to the tree: nesting, numbers, variables, included files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ParseError;
use super::item::{Item, ItemKind};
use super::lex;
use super::value::{Location, Map, Node, Value};

/// Variables in the environment that are being looked up, to notice those that need themselves.
type Pending = HashSet<String>;

/// Included files within each other, at most.
const INCLUDE_DEPTH_MAX: usize = 64;

/// bcrypt hashes look like a variable's name; they need no quotes all the same.
const BCRYPT_PREFIX: &str = "2a$";

/// The tree of a configuration file.
pub(super) fn file(path: &str, depth: usize) -> Result<Map, ParseError> {
    let data = std::fs::read(path).map_err(|error| ParseError::Open { path: path.to_owned(), error })?;
    let text = String::from_utf8_lossy(&data);
    let directory = Path::new(path).parent().unwrap_or_else(|| Path::new("")).to_owned();
    let mut builder = Builder::new(path, directory, depth);
    builder.build(&text, &mut Pending::new())
}

/// The tree of a text that is no file.
pub(super) fn text(text: &str, pending: &mut Pending) -> Result<Map, ParseError> {
    Builder::new("", PathBuf::new(), 0).build(text, pending)
}

/// A map or an array whose end has not come yet.
enum Open {
    Map(Map),
    Array(Vec<Node>),
}

struct Builder {
    file: Arc<str>,
    directory: PathBuf,
    depth: usize,
    open: Vec<Open>,
    keys: Vec<Item>,
}

impl Builder {
    fn new(file: &str, directory: PathBuf, depth: usize) -> Self {
        Self {
            file: Arc::from(file),
            directory,
            depth,
            open: vec![Open::Map(Map::default())],
            keys: Vec::new(),
        }
    }

    fn build(&mut self, text: &str, pending: &mut Pending) -> Result<Map, ParseError> {
        // The end of the text right after a key is an error, unless that "key" is the brace that closes JSON.
        let mut dangling_key = false;
        for item in lex::items(text) {
            if item.kind == ItemKind::End {
                if dangling_key {
                    return Err(ParseError::Invalid { location: self.location(&item) });
                }
                break;
            }
            dangling_key = item.kind == ItemKind::Key && item.text != "}";
            self.take(item, pending)?;
        }
        match self.open.drain(..).next() {
            Some(Open::Map(map)) => Ok(map),
            _ => Ok(Map::default()),
        }
    }

    fn location(&self, item: &Item) -> Location {
        Location { file: Arc::clone(&self.file), place: item.place }
    }

    fn take(&mut self, item: Item, pending: &mut Pending) -> Result<(), ParseError> {
        let value = match item.kind {
            ItemKind::Error => {
                return Err(ParseError::Syntax { line: item.place.line, text: item.text });
            }
            ItemKind::End => return Ok(()),
            ItemKind::Key => {
                self.keys.push(item);
                return Ok(());
            }
            ItemKind::MapStart => {
                self.open.push(Open::Map(Map::default()));
                return Ok(());
            }
            ItemKind::ArrayStart => {
                self.open.push(Open::Array(Vec::new()));
                return Ok(());
            }
            ItemKind::MapEnd | ItemKind::ArrayEnd => match self.close() {
                Some(value) => value,
                None => return Ok(()),
            },
            ItemKind::String => Value::String(item.text.clone()),
            ItemKind::Bool => {
                let text = item.text.to_ascii_lowercase();
                Value::Bool(matches!(text.as_str(), "true" | "yes" | "on"))
            }
            ItemKind::Integer => match integer(&item.text)? {
                Some(number) => Value::Integer(number),
                // A suffix such as "kbb": nats-server drops the value and keeps its key for the next one.
                None => return Ok(()),
            },
            ItemKind::Float => float(&item.text)?,
            ItemKind::Datetime => datetime(&item.text)?,
            ItemKind::Variable => self.variable(&item, pending)?,
            ItemKind::Include => return self.include(&item.text),
        };
        let location = self.location(&item);
        self.set(Node::new(value, location));
        Ok(())
    }

    /// Ends the innermost map or array. The outermost map has no end.
    fn close(&mut self) -> Option<Value> {
        if self.open.len() < 2 {
            return None;
        }
        match self.open.pop()? {
            Open::Map(map) => Some(Value::Map(map)),
            Open::Array(values) => Some(Value::Array(values)),
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

    fn variable(&self, item: &Item, pending: &mut Pending) -> Result<Value, ParseError> {
        let name = &item.text;
        if name.starts_with(BCRYPT_PREFIX) {
            return Ok(Value::String(format!("${name}")));
        }
        for open in self.open.iter().rev() {
            if let Open::Map(map) = open
                && let Some(node) = map.get(name)
            {
                node.mark_used();
                return Ok(node.value.clone());
            }
        }
        let line = item.place.line;
        let name = name.clone();
        match environment(&name, pending) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(ParseError::VariableNotFound { name, line }),
            Err(error) => Err(ParseError::VariableUnparsable { name, line, error: Box::new(error) }),
        }
    }

    fn include(&mut self, name: &str) -> Result<(), ParseError> {
        let failed = |error| ParseError::Include { name: name.to_owned(), error: Box::new(error) };
        if self.depth >= INCLUDE_DEPTH_MAX {
            return Err(failed(ParseError::IncludeDepth));
        }
        let path = joined(&self.directory, name);
        let map = file(&path, self.depth + 1).map_err(failed)?;
        for (key, node) in map.into_entries() {
            if let Some(Open::Map(target)) = self.open.last_mut() {
                target.set(key, node);
            }
        }
        Ok(())
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

/// The value of an environment variable, which may be anything that may stand after a key.
fn environment(name: &str, pending: &mut Pending) -> Result<Option<Value>, ParseError> {
    if !pending.insert(name.to_owned()) {
        return Err(ParseError::VariableCycle { name: name.to_owned() });
    }
    let found = match std::env::var_os(name) {
        Some(value) => {
            let map = text(&format!("pk={}", value.to_string_lossy()), pending);
            map.map(|map| map.get("pk").map(|node| node.value.clone()))
        }
        None => Ok(None),
    };
    pending.remove(name);
    found
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
