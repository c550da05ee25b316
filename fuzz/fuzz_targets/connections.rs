//! What a connection begins with: `cargo +nightly fuzz run connections`.

#![no_main]

#[path = "../checks/connections.rs"]
mod connections;

libfuzzer_sys::fuzz_target!(|data: &[u8]| connections::check(data));
