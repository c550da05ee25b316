//! Each fault of the test lab, as each client library shows it to its user (`clients/faults.txt`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use jetkv_compat_tests::faults::{Case, play, read};
use jetkv_compat_tests::oracle::{Tool, Toolbox, jetkv};

fn table() -> Vec<Case> {
    read(include_str!("../clients/faults.txt")).unwrap()
}

fn run(tool: Tool) {
    // None is a skip, reported by the toolbox.
    let Some(launch) = Toolbox::default().require(tool).unwrap() else { return };
    let differences = play(tool, &launch, &jetkv().unwrap(), &table()).unwrap();
    assert!(differences.is_empty(), "the {} client saw something else:\n{differences}", tool.name());
}

#[test]
fn each_fault_is_seen_by_each_client() {
    let kinds = [
        "ack_delay",
        "ack_lost",
        "api_error",
        "bandwidth",
        "disconnect",
        "disk_full",
        "duplicate",
        "latency",
        "no_responders",
        "restart",
        "slow_reader",
        "sync_failure",
    ];
    let table = table();
    assert_eq!(table.iter().map(|case| case.kind.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(kinds));
    for case in &table {
        let said = format!("\"kind\":\"{}\"", case.kind);
        assert!(case.steps.iter().any(|step| step.line.contains(&said)), "{} is never made", case.kind);
        for tool in Tool::DRIVERS {
            let answers = || case.steps.iter().flat_map(|step| &step.answers);
            assert!(answers().any(|(name, _)| name == tool.name()), "{} without {}", case.kind, tool.name());
        }
    }
}

#[test]
fn the_go_client_sees_each_fault() {
    run(Tool::Go);
}

#[test]
fn the_rust_client_sees_each_fault() {
    run(Tool::Rust);
}

#[test]
fn the_python_client_sees_each_fault() {
    run(Tool::Python);
}

#[test]
fn the_javascript_client_sees_each_fault() {
    run(Tool::JavaScript);
}

#[test]
fn the_java_client_sees_each_fault() {
    run(Tool::Java);
}

#[test]
fn the_c_client_sees_each_fault() {
    run(Tool::C);
}
