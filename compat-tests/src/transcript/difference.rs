//! The differences that scenarios declare: what exactly differs, written in a file beside the scenario.
//!
//! Beside `topic/file.txt` stands `topic/file.diff`, with a part for each case that says `differs:`:
//!
//! ```text
//! == title of the section/first cell of the row
//! @ the step, or what else stands above what was recorded
//! - what nats-server did
//! + what JetKV did
//! ```
//!
//! `compat play --record` writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use similar::{ChangeTag, TextDiff};

use super::scenario::Case;
use crate::Result;

/// What stands before the title of a case.
const TITLE: &str = "== ";
/// The title of the only case of a file that has no sections.
const WHOLE_FILE: &str = "(whole file)";

/// The lines that only one side recorded, each group below the step that it belongs to; nothing when all are alike.
pub fn difference(reference: &[String], candidate: &[String]) -> Vec<String> {
    let old: Vec<&str> = reference.iter().map(String::as_str).collect();
    let new: Vec<&str> = candidate.iter().map(String::as_str).collect();
    let mut lines = Vec::new();
    let (mut step, mut said) = ("", "");
    for change in TextDiff::from_slices(&old, &new).iter_all_changes() {
        let text = change.value();
        let mark = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => {
                if !text.starts_with(' ') {
                    step = text;
                }
                continue;
            }
        };
        if step != said {
            lines.push(format!("@ {}", without_line_number(step)));
            said = step;
        }
        // What was recorded may hold line ends of its own.
        lines.extend(text.lines().map(|line| format!("{mark} {}", line.trim()).trim_end().to_string()));
    }
    lines
}

/// A step without its place in the file, which changes with every edit above it.
fn without_line_number(step: &str) -> &str {
    let numbered = step.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    numbered.filter(|(number, _)| number.parse::<usize>().is_ok()).map_or(step, |(_, text)| text)
}

/// The file with the expected differences of a scenario file.
fn beside(scenario: &Path) -> PathBuf {
    scenario.with_extension("diff")
}

/// The name of a case in its file.
fn title(case: &Case) -> &str {
    case.name.split_once(": ").map_or(WHOLE_FILE, |(_, title)| title)
}

/// Gives each case of a scenario file the difference that the file beside it expects.
///
/// # Errors
/// When that file cannot be read.
pub fn read_expected(scenario: &Path, cases: &mut [Case]) -> Result<()> {
    let path = beside(scenario);
    if !path.exists() {
        return Ok(());
    }
    let mut expected = parse(&std::fs::read_to_string(&path)?);
    for case in cases.iter_mut().filter(|case| case.differs.is_some()) {
        case.difference = expected.remove(title(case)).unwrap_or_default();
    }
    Ok(())
}

/// Whether the file beside a scenario file is what these cases of it have, and no more.
pub fn is_current(scenario: &Path, cases: &[Case]) -> bool {
    std::fs::read_to_string(beside(scenario)).unwrap_or_default() == rendered(cases)
}

fn parse(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut title = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix(TITLE) {
            Some(found) => title = found.to_string(),
            None => expected.entry(title.clone()).or_default().push(line.to_string()),
        }
    }
    expected
}

/// Writes what the cases of one scenario file are expected to differ in; in the order of the cases.
///
/// # Errors
/// When the file cannot be written.
pub fn write_expected(scenario: &Path, cases: &[Case]) -> Result<()> {
    Ok(std::fs::write(beside(scenario), rendered(cases))?)
}

fn rendered(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases.iter().filter(|case| case.differs.is_some()) {
        text.push_str(&format!("{TITLE}{}\n", title(case)));
        for line in &case.difference {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|line| (*line).to_string()).collect()
    }

    #[test]
    fn a_difference_stands_below_its_step_wherever_that_is_in_the_file() {
        let reference = lines(&["line 7: a", "    1", "line 8: b", "    2", "    3"]);
        let candidate = lines(&["line 7: a", "    1", "line 8: b", "    3", "    4"]);
        assert_eq!(difference(&reference, &candidate), ["@ b", "- 2", "+ 4"]);
        assert_eq!(difference(&reference, &reference), [""; 0]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let found = parse("== one/row\n@ get /x\n- a\n+ b\n== two\n+ c\n");
        assert_eq!(found["one/row"], ["@ get /x", "- a", "+ b"]);
        assert_eq!(found["two"], ["+ c"]);
    }
}
