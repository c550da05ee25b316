//! Deep subjects and deeply nested values: `cargo +nightly fuzz run deep_input`.

#![no_main]

#[path = "../checks/deep_input.rs"]
mod deep_input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| deep_input::check(data));
