//! Replays the corpus of the fuzz target `handshakes`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/handshakes.rs"]
mod handshakes;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_holds_the_invariants() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/handshakes");
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        handshakes::check(&bytes);
        // Cut off and damaged seeds reach further than whole ones.
        for length in 0..bytes.len() {
            handshakes::check(&bytes[..length]);
            let mut damaged = bytes.clone();
            damaged[length] ^= 0x21;
            handshakes::check(&damaged);
        }
        seeds += 1;
    }
    assert!(seeds >= 12, "only {seeds} seeds in {}", folder.display());
}
