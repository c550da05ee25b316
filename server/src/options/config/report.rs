//! What is wrong with a configuration, or only outdated.

use std::fmt;

use crate::options::grammar::{Location, Node};
use jetkv_go_compat::quoted;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    location: Option<Location>,
    text: String,
}

/// Everything that is wrong or outdated in a configuration, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Report {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

pub(super) type Checked<T> = Result<T, Problem>;

impl Problem {
    pub(super) fn at(node: &Node, text: impl Into<String>) -> Self {
        Self { location: Some(node.location.clone()), text: text.into() }
    }

    /// The same, found elsewhere.
    pub(super) fn placed_at(self, node: &Node) -> Self {
        Self { location: Some(node.location.clone()), ..self }
    }

    pub(super) fn general(text: impl Into<String>) -> Self {
        Self { location: None, text: text.into() }
    }

    /// A key that has no meaning.
    pub(super) fn unknown_field(node: &Node, key: &str) -> Self {
        Self::at(node, format!("unknown field {}", quoted(key)))
    }

    /// A key of something that nats-server has and this server lacks.
    pub(super) fn unsupported(node: &Node, key: &str) -> Self {
        Self::at(node, format!("field {} is not supported by JetKV yet", quoted(key)))
    }
}

impl Report {
    pub(super) fn error(&mut self, problem: Problem) {
        self.errors.push(problem);
    }

    pub(super) fn warning(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    /// Takes the value, or notes what is wrong with it.
    pub(super) fn check<T>(&mut self, checked: Checked<T>) -> Option<T> {
        checked.map_err(|problem| self.error(problem)).ok()
    }

    /// The same for a reader that notes problems of its own.
    pub(super) fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Checked<T>) -> Option<T> {
        let checked = read(self);
        self.check(checked)
    }

    /// Something is wrong, so the configuration cannot be used.
    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(out, "{location}: {}", self.text),
            None => out.write_str(&self.text),
        }
    }
}

/// One line each, warnings first, every line ended.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.warnings.iter().chain(&self.errors) {
            writeln!(out, "{problem}")?;
        }
        Ok(())
    }
}
