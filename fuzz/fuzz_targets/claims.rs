//! Tokens, and claims that somebody signed.

#![cfg_attr(fuzzing, no_main)]

#[path = "../checks/claims.rs"]
mod claims;

jetkv_fuzz::target!("claims", claims::check);
