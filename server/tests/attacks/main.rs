//! Attacks by those whom the server has to listen to: origins of mirrors and sources, services that decide about clients, accounts
//! that push claims; and by strangers who never come to an end. Whatever they send, nobody else waits for it, nothing stays of it, and nobody gets further than he may.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod callout;
mod claims;
#[path = "../common/mod.rs"]
mod common;
mod origins;
mod slow;
