//! Replays the corpus of the fuzz target `handshakes`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/handshakes.rs"]
mod handshakes;

#[test]
fn every_seed_holds_the_invariants() {
    jetkv_testing::corpus::replay("handshakes", 12, 1, 0x21, handshakes::check);
}

#[test]
fn what_chance_makes_of_them_holds_the_invariants() {
    jetkv_testing::corpus::mutate("handshakes", 3000, handshakes::check);
}
