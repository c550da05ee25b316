//! What moves on the pages, in the answers and in the events of nats-server moves on those of JetKV, and nothing else does,
//! while both take the same steps. What is meant to differ stands in `src/moves/meant.rs`; to see a run by itself:
//! `cargo run -p jetkv-compat-tests --bin compat -- moves`.
#![allow(clippy::unwrap_used)]

use jetkv_compat_tests::moves::{self, steps::STEPS};
use jetkv_compat_tests::oracle::Toolbox;

/// So many fields are looked at, at least: a page that shows nothing would move like any other.
const FIELDS_MIN: usize = 4_000;

#[test]
fn what_moves_on_one_server_moves_on_the_other() {
    // Reported as skipped by the toolbox; with CI=true it is an error.
    let Some((reference, candidate)) = Toolbox::default().servers().unwrap() else { return };
    let summary = moves::run(&reference, &candidate, STEPS).unwrap();
    println!("{summary}");
    assert!(summary.differences.is_empty() && summary.unseen.is_empty(), "{summary}");
    assert!(summary.fields >= FIELDS_MIN, "{summary}");
}
