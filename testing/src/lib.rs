//! For tests only: the engine's [`world`], a client that speaks literal bytes, a request of HTTP, waits, and the corpora of the
//! fuzz targets.
//!
//! Without the feature `world` nothing of JetKV is compiled: so the tests that compare it with nats-server use what is left.

#[allow(clippy::unwrap_used)]
pub mod corpus;
pub mod http;
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod mutation;
mod wait;
#[allow(clippy::unwrap_used, clippy::panic)]
mod wire;
#[cfg(feature = "world")]
pub mod world;

pub use wait::{eventually, until};
pub use wire::{WAIT_MAX, Wire};
#[cfg(feature = "world")]
pub use world::*;
