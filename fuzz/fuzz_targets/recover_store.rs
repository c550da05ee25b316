//! Writes to a stream's directory and damage to it.

#![cfg_attr(fuzzing, no_main)]

#[path = "../checks/recover_store.rs"]
mod recover_store;

jetkv_fuzz::target!("recover_store", recover_store::check);
