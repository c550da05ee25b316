//! Replays the corpus of the fuzz target `parse_config`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/parse_config.rs"]
mod parse_config;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_holds_the_invariants() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/parse_config");
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        parse_config::check(&bytes);
        for at in 0..bytes.len() {
            parse_config::check(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= 0x12;
            parse_config::check(&changed);
        }
        seeds += 1;
    }
    assert!(seeds >= 10, "only {seeds} seeds in {}", folder.display());
}
