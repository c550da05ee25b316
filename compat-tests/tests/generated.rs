//! Generated sessions on nats-server and on JetKV: the same seeds in every run. More of them, and others:
//! `cargo run -p jetkv-compat-tests --bin compat -- generate --seeds 1000 --from 1000`.
#![allow(clippy::unwrap_used)]

use jetkv_compat_tests::generate;
use jetkv_compat_tests::oracle::{self, Tool, Toolbox};

const OPERATIONS_MIN: usize = 10_000;
const FEATURE_SEEDS: u64 = 30;
/// Each has servers of its own.
const RELOAD_SEEDS: u64 = 20;

#[test]
fn sessions_of_two_hundred_seeds_end_alike() {
    let toolbox = Toolbox::default();
    // Reported as skipped by the toolbox; with CI=true it is an error.
    if toolbox.require(Tool::Server).unwrap().is_none() {
        return;
    }
    let reference = toolbox.reference().unwrap();
    let candidate = oracle::jetkv().unwrap();
    let summary = generate::run(&reference, &candidate, 0..generate::SEEDS, None).unwrap();
    println!("{summary}");
    assert!(summary.findings.is_empty(), "{summary}");
    assert!(summary.operations >= OPERATIONS_MIN, "{summary}");
}

#[test]
fn sessions_of_batches_counters_and_schedules_end_alike() {
    let toolbox = Toolbox::default();
    // Reported as skipped by the toolbox; with CI=true it is an error.
    if toolbox.require(Tool::Server).unwrap().is_none() {
        return;
    }
    let (reference, candidate) = (toolbox.reference().unwrap(), oracle::jetkv().unwrap());
    let only = Some(generate::Profile::Features);
    let summary = generate::run(&reference, &candidate, 0..FEATURE_SEEDS, only).unwrap();
    println!("{summary}");
    assert!(summary.findings.is_empty(), "{summary}");
}

#[test]
fn configurations_of_twenty_seeds_are_taken_over_alike() {
    let toolbox = Toolbox::default();
    // Reported as skipped by the toolbox; with CI=true it is an error.
    if toolbox.require(Tool::Server).unwrap().is_none() {
        return;
    }
    let (reference, candidate) = (toolbox.reference().unwrap(), oracle::jetkv().unwrap());
    let report = generate::reloads::run(&reference, &candidate, 0..RELOAD_SEEDS).unwrap();
    println!("{}", report.summary());
    assert!(report.is_good(), "{}{}", report.summary(), report.faults());
}
