//! `/debug/vars`: the process.

use serde::Serialize;

use super::page::Page;

/// What every program in Go tells of itself, but for the numbers of Go's memory, which there is none of.
#[derive(Serialize)]
struct Variables {
    cmdline: Vec<String>,
}

pub(super) fn page() -> Page {
    let cmdline = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    Page::json(&Variables { cmdline })
}
