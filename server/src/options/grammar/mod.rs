//! The grammar of configuration files, from text to a tree of values with places.

mod build;
mod digest;
mod item;
mod lex;
mod scalar;
mod value;
mod walk;

pub(crate) use value::{Location, Map, Node, Value};

use std::fmt;
use std::io;

use jetkv_go_compat::os_text;

/// Why a configuration text has no meaning. The texts are nats-server's.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The file cannot be read.
    #[error("{} {path}: {}", attempted(.error), os_text(.error))]
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
    /// A variable of the environment needs itself.
    #[error("variable reference cycle for '{name}'")]
    VariableCycle {
        /// The variable.
        name: String,
    },
    /// A file includes itself, perhaps through others. nats-server reads on until it has no memory left.
    #[error("the file includes itself")]
    IncludeCycle,
    /// Something is wrong in an included file or in a variable of the environment.
    #[error("{}{error}", within_text(.references))]
    Within {
        /// What leads there, from the outermost text on; not empty.
        references: Vec<Reference>,
        /// What is wrong; no further [`ParseError::Within`].
        error: Box<ParseError>,
    },
    /// Maps and arrays are nested too deeply for JSON, which the fingerprint of the configuration is made of.
    #[error("{}invalid character '{opening}' exceeded max depth", MARSHAL_TEXT.repeat((*within).min(MARSHAL_TEXTS_MAX)))]
    Depth {
        /// Maps and arrays around the one that is too deep, and itself.
        within: usize,
        /// What opens the innermost one.
        opening: char,
    },
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

/// How a text is referred to by another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A file is included.
    Include {
        /// The file's name as it stands in the text.
        name: String,
    },
    /// A variable of the environment is used.
    Variable {
        /// The variable.
        name: String,
        /// Line of the reference, counted from 1.
        line: usize,
    },
}

/// What nats-server says for each value around one that JSON cannot have.
const MARSHAL_TEXT: &str = "json: error calling MarshalJSON for type *conf.token: ";
/// It says so at most this often here, which is half a megabyte; there, as often as there are values.
const MARSHAL_TEXTS_MAX: usize = 10_000;

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Include { name } => write!(out, "error parsing include file '{name}', "),
            Self::Variable { name, line } => {
                write!(out, "variable reference for '{name}' on line {line} could not be parsed: ")
            }
        }
    }
}

fn within_text(references: &[Reference]) -> String {
    references.iter().map(Reference::to_string).collect()
}

/// Reads a configuration file and the files it includes. Also gives the fingerprint of what was read.
pub(crate) fn parse_file(path: &str) -> Result<(Map, String), ParseError> {
    let map = build::file(path)?;
    let digest = digest::of(&map)?;
    Ok((map, digest))
}

/// Reads a configuration text.
pub(crate) fn parse_text(text: &str) -> Result<Map, ParseError> {
    build::text(text)
}

/// A directory can be opened, but not read.
fn attempted(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" }
}

#[cfg(test)]
mod tests;
