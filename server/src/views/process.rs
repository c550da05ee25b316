//! `/debug/vars`: the process.

use super::page::Page;
use crate::options::redacted_arguments;

/// What every program in Go tells of itself, but for the numbers of Go's memory, which there is none of: the command line,
/// without secrets.
pub(super) fn page() -> Page {
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    Page::variable("cmdline", &redacted_arguments(arguments))
}
