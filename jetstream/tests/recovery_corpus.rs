//! Replays the corpus of the fuzz target `recover_store`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../fuzz/checks/recover_store.rs"]
mod recover_store;

#[test]
fn every_seed_holds_the_invariants() {
    // Each takes a while, so some places have to do.
    jetkv_testing::corpus::replay("recover_store", 12, 7, 0x0d, recover_store::check);
}

#[test]
fn what_chance_makes_of_them_holds_the_invariants() {
    jetkv_testing::corpus::mutate("recover_store", 100, recover_store::check);
}
