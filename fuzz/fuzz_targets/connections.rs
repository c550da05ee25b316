//! What a connection begins with.

#![cfg_attr(fuzzing, no_main)]

#[path = "../checks/connections.rs"]
mod connections;

jetkv_fuzz::target!("connections", connections::check);
