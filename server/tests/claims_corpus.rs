//! Replays the corpus of the fuzz target `claims`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/claims.rs"]
mod claims;

#[test]
fn every_seed_holds_the_invariants() {
    jetkv_testing::corpus::replay("claims", 10, 7, 0x12, claims::check);
}

#[test]
fn what_chance_makes_of_them_holds_the_invariants() {
    jetkv_testing::corpus::mutate("claims", 300, claims::check);
}
