//! Frames of a WebSocket, and the header of a proxy: `cargo +nightly fuzz run handshakes`.

#![no_main]

#[path = "../checks/handshakes.rs"]
mod handshakes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| handshakes::check(data));
