//! What imitates Go, once: the JSON, the durations, the quoting, the times and the words for errors of the
//! operating system that clients of nats-server read and match,
//! and the versions that JetKV stands in for.
//!
//! Everything here is text in a form that Go's standard library or nats-server v2.15.2 fixed. Nothing here knows of messages,
//! streams or connections.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod base62;
mod duration;
pub mod json;
mod os_error;
mod quote;
mod size;
mod time;
pub mod version;

pub use duration::GoDuration;
pub use os_error::os_text;
pub use quote::{push_quoted, quoted, quoted_byte};
pub use size::friendly_bytes;
pub use time::{GoTime, eight_digits, write_time};
