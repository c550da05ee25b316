//! Templates as Go's `text/template` has them, as far as configurations need them: fields, variables, `if`, `else`, `with`,
//! `range`, `break`, `continue`, comments, trimmed blanks, pipelines, and the functions `and`, `or`, `not`, `eq`, `ne`, `lt`,
//! `le`, `gt`, `ge`, `len`, `index`, `print`, `println`, `printf`, `hostport`. Whatever else there is in Go is refused when the
//! template is read.

mod functions;
mod lex;
mod parse;
mod run;
mod value;

pub(super) use value::Value;

/// Longest text that a template makes.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Things that a template does, at most: loops within loops come to more than anybody waits for.
const STEPS_MAX: usize = 100_000;
/// How deep things may stand in each other.
const DEPTH_MAX: usize = 64;

/// Why a template cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TemplateError {
    /// It cannot be read.
    Parse(String),
    /// It cannot be carried out.
    Render(String),
}

/// Carries a template out. `name` is for messages.
pub(super) fn render(name: &str, text: &str, data: &Value) -> Result<String, TemplateError> {
    let told = |(line, text): (usize, String)| format!("template: {name}:{line}: {text}");
    let nodes = lex::lex(text).and_then(parse::parse).map_err(|error| TemplateError::Parse(told(error)))?;
    run::run(&nodes, data).map_err(|error| TemplateError::Render(told(error)))
}

#[cfg(test)]
mod tests;
