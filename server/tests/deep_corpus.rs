//! Replays the corpus of the fuzz target `deep_input`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/deep_input.rs"]
mod deep_input;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_holds_the_invariants() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/deep_input");
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        deep_input::check(&bytes);
        // Each takes a while; cut off and damaged in some places they reach further than the seed alone.
        for at in (0..bytes.len()).step_by(4) {
            deep_input::check(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= 0x04;
            deep_input::check(&changed);
        }
        seeds += 1;
    }
    assert!(seeds >= 12, "only {seeds} seeds in {}", folder.display());
}
