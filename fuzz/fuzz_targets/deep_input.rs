//! Deep subjects and deeply nested values.

#![cfg_attr(fuzzing, no_main)]

#[path = "../checks/deep_input.rs"]
mod deep_input;

jetkv_fuzz::target!("deep_input", deep_input::check);
