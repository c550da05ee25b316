//! Frames of a WebSocket, and the header of a proxy.

#![cfg_attr(fuzzing, no_main)]

#[path = "../checks/handshakes.rs"]
mod handshakes;

jetkv_fuzz::target!("handshakes", handshakes::check);
