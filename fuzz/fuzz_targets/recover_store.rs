//! Writes to a stream's directory and damage to it: `cargo +nightly fuzz run recover_store`.

#![no_main]

#[path = "../checks/recover_store.rs"]
mod recover_store;

libfuzzer_sys::fuzz_target!(|data: &[u8]| recover_store::check(data));
