//! Replays the corpus of the fuzz target `parse_config`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/parse_config.rs"]
mod parse_config;

#[test]
fn every_seed_holds_the_invariants() {
    jetkv_testing::corpus::replay("parse_config", 10, 1, 0x12, parse_config::check);
}

#[test]
fn what_chance_makes_of_them_holds_the_invariants() {
    jetkv_testing::corpus::mutate("parse_config", 1500, parse_config::check);
}
