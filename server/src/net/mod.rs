//! Connections: listening, reading, writing, closing.

mod client;
mod closing;
mod connect;
mod connection;
mod ending;
mod keepalive;
mod listener;
mod operations;
mod outbound;
mod publish;
mod read_size;
mod reload;
mod subscribe;
mod trace;

pub use client::{Client, Identity};
pub use closing::CloseReason;
pub use listener::BindError;
pub(crate) use listener::{accept_error, bind, listen};
pub(crate) use trace::TraceOptions;
