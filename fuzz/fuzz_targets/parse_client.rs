//! Bytes from a client.

#![cfg_attr(fuzzing, no_main)]

#[path = "../checks/parse_client.rs"]
mod parse_client;

jetkv_fuzz::target!("parse_client", parse_client::check);
