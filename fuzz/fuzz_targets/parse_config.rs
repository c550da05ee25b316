//! Text of a configuration file.

#![cfg_attr(fuzzing, no_main)]

#[path = "../checks/parse_config.rs"]
mod parse_config;

jetkv_fuzz::target!("parse_config", parse_config::check);
