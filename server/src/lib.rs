//! The JetKV server, as a library: a program starts a [`Server`] with [`options::Options`], and reaches it by the network, in
//! memory, or through its engine.
//!
#![doc = include_str!("../../docs/embedding.md")]

mod auth;
mod banner;
mod blocking;
mod certificate;
mod claimed;
#[doc(hidden)]
pub mod claims;
mod connections;
mod crossing;
mod durations;
mod events;
mod failure;
mod faults;
mod interfaces;
mod jetstream;
mod journal;
pub mod lab;
mod lifecycle;
mod log;
mod machine;
mod monitor;
mod net;
pub mod options;
mod pid_file;
mod ports_file;
mod program;
mod reactor;
#[doc(hidden)]
pub mod router;
mod signals;
mod snapshot;
mod state;
mod tester;
mod timers;
mod traffic;
mod unserved;
mod views;
mod worker;

pub use lifecycle::{Server, StartError};
pub use net::{BindError, MemoryStream};
pub use program::run;
pub use snapshot::{MonitorSource, ProcessUsage, ServerCounts};
pub use traffic::TrafficCounts;
