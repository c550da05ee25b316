//! Replays the corpus of the fuzz target `connections`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/connections.rs"]
mod connections;

#[test]
fn every_seed_holds_the_invariants() {
    jetkv_testing::corpus::replay("connections", 10, 9, 0x12, connections::check);
}

#[test]
fn what_chance_makes_of_them_holds_the_invariants() {
    jetkv_testing::corpus::mutate("connections", 60, connections::check);
}
