//! Text of a configuration file: `cargo +nightly fuzz run parse_config`.

#![no_main]

#[path = "../checks/parse_config.rs"]
mod parse_config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| parse_config::check(data));
