//! Connections: listening, reading, writing, closing.

mod batch;
mod buffers;
mod client;
mod closing;
mod connect;
mod connection;
mod ending;
mod keepalive;
mod listener;
mod operations;
mod outbound;
pub(crate) mod patience;
mod publish;
mod read_size;
mod reload;
mod subscribe;
pub(crate) mod touched;
mod trace;
pub(crate) mod turn;

pub(crate) use batch::{settle, touch};
pub(crate) use client::DeliverSubject;
pub use client::{Client, Identity};
pub use closing::CloseReason;
pub use listener::BindError;
pub(crate) use listener::{accept_error, bind, listen};
pub(crate) use outbound::Queued;
pub(crate) use trace::TraceOptions;
