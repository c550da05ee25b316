//! Replays the corpus of the fuzz target `parse_client`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/parse_client.rs"]
mod parse_client;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_holds_the_invariants() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/parse_client");
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        parse_client::check(&bytes);
        // Cut off and damaged seeds reach further than whole ones.
        for length in 0..bytes.len() {
            parse_client::check(&bytes[..length]);
            let mut damaged = bytes.clone();
            damaged[length] ^= 0x21;
            parse_client::check(&damaged);
        }
        seeds += 1;
    }
    assert!(seeds >= 24, "only {seeds} seeds in {}", folder.display());
}
