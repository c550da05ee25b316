//! Replays the corpus of the fuzz target `deep_input`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/deep_input.rs"]
mod deep_input;

#[test]
fn every_seed_holds_the_invariants() {
    // Each takes a while, so some places have to do.
    jetkv_testing::corpus::replay("deep_input", 12, 4, 0x04, deep_input::check);
}

#[test]
fn what_chance_makes_of_them_holds_the_invariants() {
    jetkv_testing::corpus::mutate("deep_input", 4, deep_input::check);
}
