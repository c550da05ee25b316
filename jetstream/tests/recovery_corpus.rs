//! Replays the corpus of the fuzz target `recover_store`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../fuzz/checks/recover_store.rs"]
mod recover_store;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_holds_the_invariants() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/recover_store");
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        recover_store::check(&bytes);
        // Other steps in the same places reach further than the seed alone.
        for at in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x0d;
            recover_store::check(&changed);
        }
        seeds += 1;
    }
    assert!(seeds >= 12, "only {seeds} seeds in {}", folder.display());
}
