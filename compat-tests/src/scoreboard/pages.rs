//! What the table becomes: a front page that a user reads in two minutes, and the proofs behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::errors::ErrorTable;
use super::{Feature, Proofs, Table, Verdict};
use crate::{Result, workspace_root};

/// Where the front page is, below the workspace.
const FRONT: &str = "COMPATIBILITY.md";
/// Where the proofs are, below the workspace.
const PROOFS: &str = "docs/scoreboard.md";
const WRITTEN_BY: &str =
    "Written by `cargo run -p jetkv-compat-tests --bin compat -- scoreboard`; do not edit.";

/// The texts of both pages.
#[derive(Debug)]
pub struct Pages {
    front: String,
    proofs: String,
}

impl Pages {
    pub(super) fn new(
        table: &Table,
        errors: &ErrorTable,
        proofs: &Proofs,
        differing: &BTreeMap<String, BTreeSet<String>>,
        case_count: usize,
    ) -> Self {
        let mut page = write_proofs(table, proofs, differing);
        let _ = write!(page, "\n{}", errors.render());
        Self { front: write_front(table, errors, case_count), proofs: page }
    }

    fn files(&self) -> [(&'static str, &str); 2] {
        [(FRONT, &self.front), (PROOFS, &self.proofs)]
    }

    /// Writes both pages into the workspace.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self) -> Result<()> {
        for (name, text) in self.files() {
            std::fs::write(place(name), text)?;
        }
        Ok(())
    }

    /// The files in the workspace that do not hold these texts.
    #[must_use]
    pub fn outdated(&self) -> Vec<&'static str> {
        let is_current = |name: &Path, text| std::fs::read_to_string(name).is_ok_and(|found| found == text);
        let files = self.files().into_iter();
        files.filter(|(name, text)| !is_current(&place(name), *text)).map(|(name, _)| name).collect()
    }
}

fn place(name: &str) -> PathBuf {
    workspace_root().join(name)
}

fn count<'a>(features: impl IntoIterator<Item = &'a Feature>, verdict: Verdict) -> usize {
    features.into_iter().filter(|feature| feature.verdict == verdict).count()
}

/// What a user wants to know before a switch: how much is there, what is missing, what is different.
fn write_front(table: &Table, errors: &ErrorTable, case_count: usize) -> String {
    let all = || table.group.iter().flat_map(|group| &group.features);
    let (shown, known) = errors.counts();
    let mut page = format!(
        "# Compatibility with nats-server\n\n{WRITTEN_BY}\n\n\
         Measured against nats-server {}: {} features, of which {} work as there, {} work differently for a reason\n\
         that stands below, and {} are answered with an error that says so. {case_count} scenario cases are played on both\n\
         servers and must not differ; {shown} of {known} errors of the JetStream API are shown by such cases.\n\
         [docs/scoreboard.md](docs/scoreboard.md) names the cases that prove each line.\n\n\
         | area | as there | different | not there |\n|---|---|---|---|\n",
        crate::oracle::SERVER_VERSION,
        all().count(),
        count(all(), Verdict::Yes),
        count(all(), Verdict::Different),
        count(all(), Verdict::No),
    );
    for group in &table.group {
        let [yes, different, no] =
            [Verdict::Yes, Verdict::Different, Verdict::No].map(|verdict| {
                match count(&group.features, verdict) {
                    0 => String::new(),
                    some => some.to_string(),
                }
            });
        let _ = writeln!(page, "| {} | {yes} | {different} | {no} |", group.title);
    }
    page.push_str("\n## What is not there\n\n");
    for group in &table.group {
        let missing = group.features.iter().filter(|feature| feature.verdict == Verdict::No);
        let titles: Vec<&str> = missing.map(|feature| feature.title.as_str()).collect();
        if !titles.is_empty() {
            let _ = writeln!(page, "- {}: {}", group.title, titles.join("; "));
        }
    }
    page.push_str("\n## What is different\n\n");
    for feature in all().filter(|feature| feature.verdict == Verdict::Different) {
        let _ = writeln!(page, "- {}: {}", feature.title, feature.reason);
    }
    page
}

fn write_proofs(table: &Table, proofs: &Proofs, differing: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut page = format!("# What proves each line of the compatibility page\n\n{WRITTEN_BY}\n\n");
    for group in &table.group {
        let _ = writeln!(page, "## {}\n\n| feature | | proved by |\n|---|---|---|", group.title);
        for feature in &group.features {
            let verdict = match feature.verdict {
                Verdict::Yes => "yes".to_string(),
                Verdict::No => format!("**no**: {}", feature.reason),
                Verdict::Different => format!("**different**: {}", feature.reason),
            };
            let links: Vec<String> = proofs
                .get(&feature.id)
                .into_iter()
                .flatten()
                .map(|(file, sections)| link(file, sections))
                .collect();
            let _ = writeln!(page, "| {} | {verdict} | {} |", feature.title, links.join("; "));
        }
        page.push('\n');
    }
    if !differing.is_empty() {
        page.push_str("## Scenarios that differ, and why\n\n");
        for line in differing.values().flatten().collect::<BTreeSet<_>>() {
            let _ = writeln!(page, "- {line}");
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// A scenario file, the sections of it that prove something, and how many cases each has.
fn link(file: &str, sections: &BTreeMap<String, usize>) -> String {
    let name = file.trim_start_matches("compat-tests/").trim_start_matches("scenarios/");
    let named: Vec<String> = sections
        .iter()
        .map(|(title, cases)| {
            let title = title.replace('|', "\\|");
            if title.is_empty() { format!("({cases})") } else { format!("{title} ({cases})") }
        })
        .collect();
    format!("[{}](../{file}) {}", name.trim_end_matches(".txt"), named.join(", ")).trim_end().to_string()
}
