//! The rules of `deny.toml` that can be checked without network, over what cargo says of the packages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use jetkv_compat_tests::workspace_root;
use serde::Deserialize;

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skipped>,
}

/// A version that may stand beside another one of the same package.
#[derive(Deserialize)]
struct Skipped {
    #[serde(rename = "crate")]
    package: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Nothing for the packages of this workspace.
    source: Option<String>,
}

impl Package {
    fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

fn rules() -> Rules {
    toml::from_str(&std::fs::read_to_string(workspace_root().join("deny.toml")).unwrap()).unwrap()
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(workspace_root())
        .output()
        .expect("cargo tells what the workspace is built from");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

/// Whether the licences that `expression` asks for can be had from those allowed. Expressions of packages are flat but for
/// an alternative in parentheses, and older ones write a slash for "or".
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    expression.replace('/', " OR ").split(" AND ").all(|part| {
        let part = part.trim().trim_start_matches('(').trim_end_matches(')');
        part.split(" OR ").any(|license| allowed.contains(license.trim()))
    })
}

#[test]
fn licences_are_among_those_allowed() {
    let allowed = rules().licenses.allow;
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(|license| is_allowed(license, &allowed)))
        .map(|package| format!("{}: {:?}", package.id(), package.license))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_package_is_there_twice_but_for_those_named() {
    let skipped: BTreeSet<String> = rules().bans.skip.into_iter().map(|skipped| skipped.package).collect();
    let packages = packages();
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in &packages {
        versions.entry(&package.name).or_default().insert(package.id());
    }
    let twice = |ids: &BTreeSet<String>| ids.difference(&skipped).count() > 1;
    let wrong: Vec<_> = versions.values().filter(|ids| twice(ids)).collect();
    assert!(wrong.is_empty(), "in several versions: {wrong:#?}");
    let needed = |id: &&String| versions.values().any(|ids| ids.len() > 1 && ids.contains(*id));
    let stale: Vec<_> = skipped.iter().filter(|id| !needed(id)).collect();
    assert!(stale.is_empty(), "named in deny.toml, but not there twice: {stale:#?}");
}

#[test]
fn packages_come_from_one_registry() {
    let packages = packages();
    let sources: BTreeSet<&str> = packages.iter().filter_map(|package| package.source.as_deref()).collect();
    assert!(sources.len() <= 1, "{sources:#?}");
    assert!(sources.iter().all(|source| source.starts_with("registry+")), "{sources:#?}");
}

#[test]
fn expressions_are_read_as_written() {
    let allowed: BTreeSet<String> = ["MIT", "Unicode-3.0"].map(String::from).into();
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("Apache-2.0/MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
