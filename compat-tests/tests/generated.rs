//! Generated sessions on nats-server and on JetKV: the same seeds in every run. More of them, and others:
//! `cargo run -p jetkv-compat-tests --bin compat -- generate --seeds 1000 --from 1000`.
#![allow(clippy::unwrap_used)]

use jetkv_compat_tests::generate;
use jetkv_compat_tests::oracle::{self, Tool, Toolbox};

const OPERATIONS_MIN: usize = 10_000;

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
