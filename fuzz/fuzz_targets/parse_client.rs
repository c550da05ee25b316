//! Bytes from a client: `cargo +nightly fuzz run parse_client`.

#![no_main]

#[path = "../checks/parse_client.rs"]
mod parse_client;

libfuzzer_sys::fuzz_target!(|data: &[u8]| parse_client::check(data));
