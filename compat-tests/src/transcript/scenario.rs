//! The text format of scenarios; `scenarios/README.md` describes it for writers.

use std::path::{Path, PathBuf};

use super::action::{Action, parse_action};
use super::certificates::Certificates;
use super::claims::{Deferred, Named};
use super::difference;
use crate::Result;
use crate::process::ServerOptions;

/// One playable case: a scenario file, one `==` section of it, or one row of its table.
#[derive(Clone, Debug)]
pub struct Case {
    /// Folder, file, section and row, for reports: `core/wildcards: star/two-tokens`.
    pub name: String,
    /// The file it came from.
    pub path: PathBuf,
    /// The title of its `==` section, or nothing.
    pub section: String,
    /// Ids of the features it proves.
    pub proves: Vec<String>,
    /// Options of its server.
    pub options: ServerOptions,
    /// Whether it wants a server that no other case has used.
    pub fresh: bool,
    /// Whether the harness starts the server (`start: no` leaves that to `run` steps).
    pub start: bool,
    /// Extra CONNECT fields of the harness's own connection, as JSON text.
    pub login: Option<String>,
    /// Paths of fields of which only the form is compared.
    pub ignore: Vec<String>,
    /// Paths of arrays whose order is not defined.
    pub sort: Vec<String>,
    /// Regular expressions replaced by `<masked>` in everything recorded.
    pub masks: Vec<String>,
    /// The reason for a difference that is wanted; the case then fails when there is none.
    pub differs: Option<String>,
    /// What exactly differs then, as [`difference()`](super::difference::difference) tells it.
    pub difference: Vec<String>,
    /// Tokens that are made when it is played.
    pub(super) deferred: Vec<Deferred>,
    /// The steps in order.
    pub steps: Vec<Step>,
}

impl Case {
    /// Everything that the case does, as text: flags, configuration, files and steps.
    pub fn text(&self) -> String {
        let files = self.options.files.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]);
        let mut parts = vec![self.options.flags.join(" ")];
        parts.extend(self.options.environment.iter().map(|(name, value)| format!("{name}={value}")));
        parts.extend(self.options.config.clone());
        parts.extend(self.login.clone());
        parts.extend(files.map(str::to_string));
        parts.extend(self.steps.iter().map(|step| step.text.clone()));
        parts.join("\n")
    }
}

/// A step with its place in the file.
#[derive(Clone, Debug)]
pub struct Step {
    /// Line number, from 1.
    pub line: usize,
    /// Its text as written, for transcripts.
    pub text: String,
    /// What it does.
    pub action: Action,
}

/// A logical line: its first line and its indented continuation lines.
#[derive(Clone, Debug)]
struct Item {
    line: usize,
    first: String,
    more: Vec<String>,
}

/// Reads all scenario files under `path` (a file or a folder), in order of their names.
///
/// # Errors
/// When a file cannot be read or parsed; the text has file and line.
pub fn read_all(path: &Path) -> Result<Vec<Case>> {
    let mut files = Vec::new();
    find_files(path, &mut files)?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let mut parsed = parse(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
        difference::read_expected(&file, &mut parsed)?;
        cases.extend(parsed);
    }
    Ok(cases)
}

fn find_files(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        found.push(path.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))? {
        let entry = entry?.path();
        if entry.is_dir() || entry.extension().is_some_and(|x| x == "txt") {
            find_files(&entry, found)?;
        }
    }
    Ok(())
}

/// Parses the text of one scenario file into its cases.
///
/// # Errors
/// With the line number and what was wrong.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Case>> {
    let items = logical_lines(text)?;
    let mut prelude: Vec<Item> = Vec::new();
    let mut sections: Vec<(String, Vec<Item>)> = Vec::new();
    for item in items {
        if let Some(title) = item.first.strip_prefix("== ") {
            sections.push((title.trim().to_string(), Vec::new()));
        } else if let Some((_, section)) = sections.last_mut() {
            section.push(item);
        } else {
            prelude.push(item);
        }
    }
    if sections.is_empty() {
        sections.push((String::new(), Vec::new()));
    }
    let base = file_label(path);
    let mut cases = Vec::new();
    for (title, section) in sections {
        let name = if title.is_empty() { base.clone() } else { format!("{base}: {title}") };
        let all: Vec<Item> = prelude.iter().cloned().chain(section).collect();
        let first = cases.len();
        expand_table(path, &name, &all, &mut cases)?;
        cases.iter_mut().skip(first).for_each(|case| case.section.clone_from(&title));
    }
    Ok(cases)
}

fn file_label(path: &Path) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().and_then(Path::file_name).map(|s| s.to_string_lossy().into_owned());
    folder.map_or_else(|| stem.clone(), |folder| format!("{folder}/{stem}"))
}

fn logical_lines(text: &str) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            let item = items.last_mut().ok_or_else(|| format!("line {}: nothing to continue", index + 1))?;
            item.more.push(line.to_string());
        } else if !line.starts_with('#') && !line.trim().is_empty() {
            items.push(Item { line: index + 1, first: line.trim_end().to_string(), more: Vec::new() });
        }
    }
    Ok(items)
}

/// Makes one case for each row of the `each` table among the items, or a single one.
fn expand_table(path: &Path, name: &str, items: &[Item], cases: &mut Vec<Case>) -> Result<()> {
    let tables: Vec<&Item> = items.iter().filter(|item| item.first.starts_with("each ")).collect();
    let rest: Vec<Item> = items.iter().filter(|item| !item.first.starts_with("each ")).cloned().collect();
    let table = match tables.as_slice() {
        [] => {
            cases.push(build_case(path, name.to_string(), &rest)?);
            return Ok(());
        }
        [table] => *table,
        [_, second, ..] => return Err(format!("line {}: a second table", second.line).into()),
    };
    let columns: Vec<&str> = table.first.trim_start_matches("each ").split('|').map(str::trim).collect();
    for (offset, row) in table.more.iter().enumerate() {
        if row.trim_start().starts_with("# ") {
            continue;
        }
        let cells: Vec<&str> = cells(row);
        if cells.len() != columns.len() {
            let line = table.line + offset + 1;
            return Err(format!(
                "line {line}: {} cells for {} columns in {row:?}",
                cells.len(),
                columns.len()
            )
            .into());
        }
        let fill = |text: &str| {
            columns
                .iter()
                .zip(&cells)
                .fold(text.to_string(), |text, (column, cell)| text.replace(&format!("${{{column}}}"), cell))
        };
        let filled: Vec<Item> = rest
            .iter()
            .map(|item| Item {
                line: item.line,
                first: fill(&item.first),
                more: item.more.iter().map(|line| fill(line)).collect(),
            })
            .collect();
        let row_name = cells.first().copied().unwrap_or_default();
        let separator = if name.contains(": ") { "/" } else { ": " };
        cases.push(build_case(path, format!("{name}{separator}{row_name}"), &filled)?);
    }
    Ok(())
}

/// The cells of a row: a bar with a blank (or the line's end) on both sides separates them.
fn cells(row: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut start = 0;
    let blank_before = |at: usize| row.get(..at).is_some_and(|before| before.ends_with(' '));
    let blank_after =
        |at: usize| row.get(at + 1..).is_some_and(|after| after.is_empty() || after.starts_with(' '));
    for (at, _) in row.match_indices('|').filter(|(at, _)| blank_before(*at) && blank_after(*at)) {
        cells.push(row.get(start..at).unwrap_or_default().trim());
        start = at + 1;
    }
    cells.push(row.get(start..).unwrap_or_default().trim());
    cells
}

fn build_case(path: &Path, name: String, items: &[Item]) -> Result<Case> {
    let mut case = Case {
        name,
        path: path.to_path_buf(),
        section: String::new(),
        proves: Vec::new(),
        options: ServerOptions::default(),
        fresh: false,
        start: true,
        login: None,
        ignore: Vec::new(),
        sort: Vec::new(),
        masks: Vec::new(),
        differs: None,
        difference: Vec::new(),
        deferred: Vec::new(),
        steps: Vec::new(),
    };
    let items = name_claims(items, &mut case)?;
    for item in &items {
        if !apply_header(&mut case, item)? {
            let text = item.first.clone();
            let action =
                parse_action(&item.first, &item.more).map_err(|e| format!("line {}: {e}", item.line))?;
            case.steps.push(Step { line: item.line, text: with_continuation(text, &item.more), action });
        }
    }
    let says_flags = items.iter().any(|item| item.first.starts_with("server:"));
    if !says_flags && case.options.config.is_none() {
        case.options.flags.push("-js".to_string());
    }
    if case.steps.is_empty() {
        return Err(format!("{}: no steps", case.name).into());
    }
    Ok(case)
}

/// Puts keys and tokens where the case names them, and certificates into files beside the configuration.
fn name_claims(items: &[Item], case: &mut Case) -> Result<Vec<Item>> {
    let mut named = Named::default();
    let mut certificates = Certificates::default();
    let mut rest = Vec::with_capacity(items.len());
    for item in items {
        let line = with_continuation(item.first.clone(), &item.more);
        if let Some(files) = certificates.take(&line).map_err(|e| format!("line {}: {e}", item.line))? {
            case.options.files.extend(files);
            continue;
        }
        let is_name = named.take(&line).map_err(|e| format!("line {}: {e}", item.line))?;
        if !is_name {
            rest.push(item);
        }
    }
    let fill = |item: &&Item| Item {
        line: item.line,
        first: named.fill(&item.first),
        more: item.more.iter().map(|line| named.fill(line)).collect(),
    };
    let filled = rest.iter().map(fill).collect();
    case.deferred = named.deferred;
    Ok(filled)
}

fn with_continuation(mut text: String, more: &[String]) -> String {
    for line in more {
        text.push(' ');
        text.push_str(line.trim());
    }
    text
}

/// Applies a header line; `false` when the item is a step.
fn apply_header(case: &mut Case, item: &Item) -> Result<bool> {
    let Some((key, value)) = item.first.split_once(':') else { return Ok(false) };
    let value = with_continuation(value.trim().to_string(), &item.more);
    let list = || value.split(',').map(|id| id.trim().to_string()).filter(|id| !id.is_empty());
    match key {
        "proves" => case.proves.extend(list()),
        "server" => case.options.flags = value.split_whitespace().map(str::to_string).collect(),
        "environment" => {
            let pairs = value.split_whitespace().filter_map(|pair| pair.split_once('='));
            case.options.environment =
                pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        }
        "config" => case.options.config = Some(block(&item.more)),
        "bare" => case.options.is_bare = yes_or_no(item, &value)?,
        "fresh" => case.fresh = yes_or_no(item, &value)?,
        "start" => case.start = yes_or_no(item, &value)?,
        "login" => case.login = Some(value),
        "ignore" => case.ignore.extend(list()),
        "sort" => case.sort.extend(list()),
        "mask" => case.masks.push(value),
        "differs" => case.differs = Some(value),
        _ => {
            let Some(file) = key.strip_prefix("file ") else { return Ok(false) };
            case.options.files.push((file.trim().to_string(), block(&item.more)));
        }
    }
    Ok(true)
}

fn yes_or_no(item: &Item, value: &str) -> Result<bool> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("line {}: yes or no, not {value:?}", item.line).into()),
    }
}

/// The continuation lines as a text of their own, less the indentation of the first.
pub(super) fn block(lines: &[String]) -> String {
    let indent = lines.first().map_or(0, |line| line.len() - line.trim_start().len());
    let mut text = String::new();
    for line in lines {
        text.push_str(line.get(indent..).unwrap_or_else(|| line.trim_start()));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_rows_become_cases() {
        let text = "# Title\nproves: a, b\nconnect a\n\n== one\na sync\n\n== two\neach n | v\n  x | 1\n  y | 2\na > SUB ${v} 1\n";
        let cases = parse(Path::new("topic/file.txt"), text).unwrap();
        let names: Vec<&str> = cases.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["topic/file: one", "topic/file: two/x", "topic/file: two/y"]);
        assert_eq!(cases[2].steps[1].text, "a > SUB 2 1");
        assert_eq!(cases[0].proves, ["a", "b"]);
    }

    #[test]
    fn cells_may_be_empty_and_hold_bars() {
        assert_eq!(cells("  a | | b||c |"), ["a", "", "b||c", ""]);
    }

    #[test]
    fn a_row_with_a_missing_cell_is_refused() {
        assert!(parse(Path::new("f.txt"), "each a | b\n  x\nsleep 1ms\n").is_err());
    }
}
