//! `COMPATIBILITY.md` and `docs/scoreboard.md`: the table of nats-server's features with what JetKV does about each, and
//! the scenarios that prove it.
//!
//! The table is `features.toml`; scenarios name the features they prove. A feature is `yes` only with a scenario that
//! finds no difference, `different` with a reason, `no` when JetKV answers with an error that says so.

pub mod errors;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex_lite::Regex;
use serde::Deserialize;

use crate::transcript::scenario::Case;
use crate::{Result, workspace_root};
use errors::ErrorTable;
pub use pages::Pages;

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
    /// What a case that exercises it must hold, as a regular expression over its flags, configuration and steps. A case
    /// proves a feature only if it names it and holds this.
    #[serde(default)]
    pub shows: String,
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

/// What proves a feature: scenario files, with the sections of each and how many of their cases do.
type Proofs = BTreeMap<String, BTreeMap<String, BTreeMap<String, usize>>>;

/// The pages that the table becomes.
///
/// # Errors
/// With all faults of the table: ids that are not unique or not known, a `yes` without a case that exercises it or with
/// one that differs, a `no` or `different` without a reason, expressions that are none.
pub fn render(table: &Table, errors: &ErrorTable, cases: &[Case]) -> Result<Pages> {
    let mut faults = Vec::new();
    let mut proofs = Proofs::new();
    let mut differing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let shows = expressions(table, &mut faults);
    for case in cases {
        let file = case_file(case);
        let text = case.text();
        for id in &case.proves {
            match shows.get(id.as_str()) {
                None => faults.push(format!("{}: proves {id}, which is not in features.toml", case.name)),
                Some(shows) if !shows.is_match(&text) => continue,
                Some(_) => {}
            }
            let sections = proofs.entry(id.clone()).or_default().entry(file.clone()).or_default();
            *sections.entry(case.section.clone()).or_default() += 1;
            if let Some(reason) = &case.differs {
                differing.entry(id.clone()).or_default().insert(format!("{}: {reason}", case.name));
            }
        }
    }
    for (id, folder) in client_proofs() {
        proofs.entry(id).or_default().entry(folder).or_default();
    }
    faults.extend(find_faults(table, &proofs, &differing));
    faults.extend(errors.faults());
    if !faults.is_empty() {
        faults.dedup();
        return Err(faults.join("\n").into());
    }
    Ok(Pages::new(table, errors, &proofs, &differing, cases.len()))
}

/// What the cases of each feature must hold, by id.
fn expressions<'a>(table: &'a Table, faults: &mut Vec<String>) -> BTreeMap<&'a str, Regex> {
    let mut shows = BTreeMap::new();
    for feature in table.group.iter().flat_map(|group| &group.features) {
        match Regex::new(&feature.shows) {
            Ok(expression) => {
                shows.insert(feature.id.as_str(), expression);
            }
            Err(error) => faults.push(format!("{}: {error}", feature.id)),
        }
    }
    shows
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
                faults.push(format!("{id}: yes, but no case that names it shows {:?}", feature.shows));
            }
            Verdict::Yes if feature.shows.is_empty() && !id.starts_with("client.") => {
                faults.push(format!("{id}: needs what a case must show"));
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
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(verdict: Verdict, reason: &str) -> Table {
        let feature =
            Feature { id: "a".into(), title: "A".into(), verdict, reason: reason.into(), shows: "x".into() };
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
