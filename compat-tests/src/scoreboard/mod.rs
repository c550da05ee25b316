//! `COMPATIBILITY.md`: the table of nats-server's features with what JetKV does about each, and the scenarios that
//! prove it.
//!
//! The table is `features.toml`; scenarios name the features they prove. A feature is `yes` only with a scenario that
//! finds no difference, `different` with a reason, `no` when JetKV answers with an error that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use crate::transcript::scenario::Case;
use crate::{Result, workspace_root};

/// What the table says of a feature.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As nats-server does it.
    Yes,
    /// Refused with a clear error.
    No,
    /// Done in another way, for a reason.
    Different,
}

/// A row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// What scenarios call it.
    pub id: String,
    /// What it is.
    pub title: String,
    /// What JetKV does about it.
    pub verdict: Verdict,
    /// Why, for `no` and `different`.
    #[serde(default)]
    pub reason: String,
}

/// Rows that belong together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its heading.
    pub title: String,
    /// Its rows.
    pub features: Vec<Feature>,
}

/// The whole table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its groups in order.
    pub group: Vec<Group>,
}

/// Reads `features.toml`.
///
/// # Errors
/// When it cannot be read or parsed.
pub fn read_table() -> Result<Table> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("features.toml");
    let text = std::fs::read_to_string(&path)?;
    toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// What proves a feature: scenario files, with how many of their cases do.
type Proofs = BTreeMap<String, BTreeMap<String, usize>>;

/// The text of `COMPATIBILITY.md`.
///
/// # Errors
/// With all faults of the table: ids that are not unique or not known, a `yes` without a scenario or with one that
/// differs, a `no` or `different` without a reason.
pub fn render(table: &Table, cases: &[Case]) -> Result<String> {
    let mut proofs = Proofs::new();
    let mut differing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for case in cases {
        let file = case_file(case);
        for id in &case.proves {
            *proofs.entry(id.clone()).or_default().entry(file.clone()).or_default() += 1;
            if let Some(reason) = &case.differs {
                differing.entry(id.clone()).or_default().insert(format!("{}: {reason}", case.name));
            }
        }
    }
    for file in client_proofs() {
        proofs.entry(file.0).or_default().insert(file.1, 1);
    }
    let faults = find_faults(table, &proofs, &differing);
    if !faults.is_empty() {
        return Err(faults.join("\n").into());
    }
    Ok(write_page(table, &proofs, &differing, cases.len()))
}

/// The client drivers prove features of their own.
fn client_proofs() -> Vec<(String, String)> {
    crate::oracle::Tool::DRIVERS
        .iter()
        .map(|tool| (format!("client.{}", tool.name()), format!("compat-tests/clients/{}", tool.name())))
        .collect()
}

fn case_file(case: &Case) -> String {
    let root = workspace_root();
    case.path.strip_prefix(&root).unwrap_or(&case.path).display().to_string()
}

fn find_faults(
    table: &Table,
    proofs: &Proofs,
    differing: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known = BTreeSet::new();
    for feature in table.group.iter().flat_map(|group| &group.features) {
        let id = &feature.id;
        if !known.insert(id.clone()) {
            faults.push(format!("{id}: twice in features.toml"));
        }
        match feature.verdict {
            Verdict::Yes if !proofs.contains_key(id) => {
                faults.push(format!("{id}: yes, but no scenario proves it"))
            }
            Verdict::Yes if differing.contains_key(id) => {
                faults.push(format!("{id}: yes, but a scenario says that it differs"));
            }
            Verdict::No | Verdict::Different if feature.reason.is_empty() => {
                faults.push(format!("{id}: needs a reason"));
            }
            _ => {}
        }
    }
    for id in proofs.keys().filter(|id| !known.contains(*id)) {
        faults.push(format!("{id}: proved by a scenario, but not in features.toml"));
    }
    faults
}

fn write_page(
    table: &Table,
    proofs: &Proofs,
    differing: &BTreeMap<String, BTreeSet<String>>,
    case_count: usize,
) -> String {
    let features: Vec<&Feature> = table.group.iter().flat_map(|group| &group.features).collect();
    let count = |verdict| features.iter().filter(|feature| feature.verdict == verdict).count();
    let mut page = String::from("# Compatibility with nats-server\n\n");
    let _ = writeln!(
        page,
        "Written by `cargo run -p jetkv-compat-tests --bin compat -- scoreboard`; do not edit.\n\n\
         Measured against nats-server {}: {} features, of which {} work as there, {} work differently and {} are\n\
         answered with an error that says so. {case_count} scenario cases are played on both servers and must not differ.\n",
        crate::oracle::SERVER_VERSION,
        features.len(),
        count(Verdict::Yes),
        count(Verdict::Different),
        count(Verdict::No),
    );
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
                .map(|(file, cases)| {
                    let name = file.trim_start_matches("compat-tests/").trim_start_matches("scenarios/");
                    format!("[{}]({file}) ({cases})", name.trim_end_matches(".txt"))
                })
                .collect();
            let _ = writeln!(page, "| {} | {verdict} | {} |", feature.title, links.join(", "));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(verdict: Verdict, reason: &str) -> Table {
        let feature = Feature { id: "a".into(), title: "A".into(), verdict, reason: reason.into() };
        Table { group: vec![Group { title: "G".into(), features: vec![feature] }] }
    }

    #[test]
    fn a_yes_needs_a_scenario_and_a_no_needs_a_reason() {
        let none = Proofs::new();
        assert_eq!(find_faults(&table(Verdict::Yes, ""), &none, &BTreeMap::new()).len(), 1);
        assert_eq!(find_faults(&table(Verdict::No, ""), &none, &BTreeMap::new()).len(), 1);
        assert!(find_faults(&table(Verdict::No, "because"), &none, &BTreeMap::new()).is_empty());
    }
}
