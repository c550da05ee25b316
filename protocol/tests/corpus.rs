//! Replays the corpus of the fuzz target `parse_client`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../fuzz/checks/parse_client.rs"]
mod parse_client;

#[test]
fn every_seed_holds_the_invariants() {
    jetkv_testing::corpus::replay("parse_client", 24, 1, 0x21, parse_client::check);
}

#[test]
fn what_chance_makes_of_them_holds_the_invariants() {
    jetkv_testing::corpus::mutate("parse_client", 3000, parse_client::check);
}
