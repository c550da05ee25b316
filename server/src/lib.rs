//! The JetKV server, as a library: a program starts a [`Server`] with [`options::Options`], and reaches it by the network, in
//! memory, or through its engine.
//!
#![doc = include_str!("../../docs/embedding.md")]

mod auth;
#[allow(unreachable_pub)]
mod banner;
mod blocking;
mod claimed;
#[doc(hidden)]
pub mod claims;
mod connections;
mod crossing;
mod events;
#[allow(unreachable_pub)]
mod failure;
mod faults;
mod interfaces;
mod jetstream;
pub mod lab;
mod lifecycle;
#[allow(unreachable_pub)]
mod log;
mod machine;
mod monitor;
mod net;
pub mod options;
#[allow(unreachable_pub)]
mod pid_file;
mod ports_file;
mod program;
#[doc(hidden)]
pub mod router;
#[allow(unreachable_pub)]
mod signals;
mod snapshot;
mod state;
mod timers;
#[allow(unreachable_pub)]
mod traffic;
mod unserved;
mod views;
mod worker;

pub use lifecycle::{Server, StartError};
pub use net::{BindError, MemoryStream};
pub use program::run;
pub use snapshot::{MonitorSource, ProcessUsage, ServerCounts};
pub use traffic::TrafficCounts;
