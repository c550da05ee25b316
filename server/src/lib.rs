//! The JetKV server, as a library: a program starts a [`Server`] with [`options::Options`], and reaches it by the network, in
//! memory, or through its engine.
//!
#![doc = include_str!("../../docs/embedding.md")]

mod auth;
pub mod banner;
mod blocking;
mod connections;
mod crossing;
mod events;
pub mod failure;
mod faults;
pub mod interfaces;
mod jetstream;
pub mod lab;
mod lifecycle;
pub mod log;
mod machine;
mod monitor;
mod net;
pub mod options;
pub mod pid_file;
pub mod ports_file;
pub mod router;
pub mod signals;
mod snapshot;
mod state;
mod timers;
pub mod traffic;
mod unserved;
mod views;
mod worker;

pub use lifecycle::{Server, StartError};
pub use net::{BindError, MemoryStream};
pub use snapshot::{MonitorSource, ProcessUsage, ServerCounts};
pub use state::ReloadAsk;
