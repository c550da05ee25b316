//! Tokens, and claims that somebody signed: `cargo +nightly fuzz run claims`.

#![no_main]

#[path = "../checks/claims.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::check(data));
