//! The grammar of configuration files, from text to a tree of values with places.

mod build;
mod digest;
mod item;
mod lex;
mod scalar;
mod value;

pub(crate) use value::{Location, Map, Node, Value};

use std::collections::HashSet;
use std::io;

/// Why a configuration text has no meaning. The texts are nats-server's.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The file cannot be read.
    #[error("open {path}: {}", os_text(.error))]
    Open {
        /// The file's name.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The text does not follow the grammar.
    #[error("Parse error on line {line}: '{text}'")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// What does not fit.
        text: String,
    },
    /// The text ends where a value should stand.
    #[error("config is invalid ({location})")]
    #[allow(private_interfaces)]
    Invalid {
        /// Where the text ends.
        location: Location,
    },
    /// A variable is neither in the file nor in the environment.
    #[error("variable reference for '{name}' on line {line} can not be found")]
    VariableNotFound {
        /// The variable.
        name: String,
        /// Line of the reference, counted from 1.
        line: usize,
    },
    /// A variable of the environment does not follow the grammar.
    #[error("variable reference for '{name}' on line {line} could not be parsed: {error}")]
    VariableUnparsable {
        /// The variable.
        name: String,
        /// Line of the reference, counted from 1.
        line: usize,
        /// What does not fit.
        error: Box<ParseError>,
    },
    /// A variable of the environment needs itself.
    #[error("variable reference cycle for '{name}'")]
    VariableCycle {
        /// The variable.
        name: String,
    },
    /// An included file is wrong.
    #[error("error parsing include file '{name}', {error}")]
    Include {
        /// The file's name as it stands in the text.
        name: String,
        /// What is wrong.
        error: Box<ParseError>,
    },
    /// Files include each other too deeply, or in a circle.
    #[error("too many files include each other")]
    IncludeDepth,
    /// An integer does not fit 64 bits.
    #[error("integer '{text}' is out of the range")]
    IntegerRange {
        /// The number.
        text: String,
    },
    /// A float does not fit 64 bits.
    #[error("float '{text}' is out of the range")]
    FloatRange {
        /// The number.
        text: String,
    },
    /// A date that does not exist.
    #[error("expected Zulu formatted DateTime, but got '{text}'")]
    Datetime {
        /// The date.
        text: String,
    },
}

/// Reads a configuration file and the files it includes. Also gives the fingerprint of what was read.
pub(crate) fn parse_file(path: &str) -> Result<(Map, String), ParseError> {
    let map = build::file(path, 0)?;
    let digest = digest::of(&map);
    Ok((map, digest))
}

/// Reads a configuration text.
pub(crate) fn parse_text(text: &str) -> Result<Map, ParseError> {
    build::text(text, &mut HashSet::new())
}

/// An I/O error in the words of the operating system alone, first letter small: `no such file or directory`.
pub(crate) fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_ascii_lowercase().to_string() + chars.as_str(),
        None => String::new(),
    }
}
