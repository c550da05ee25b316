//! Connections: what carries them (`link`), what is spoken over them (`client`), and what all of them share: the listener,
//! the outbound queue, keepalives, and the reasons to close.

mod client;
mod closing;
mod keepalive;
mod link;
mod listener;
mod outbound;
mod read_size;

pub use client::{Client, Identity, Secured};
pub(crate) use client::{TraceOptions, log_rejected};
pub use closing::CloseReason;
pub use link::{MemoryStream, Peer};
pub use listener::BindError;
pub(crate) use listener::{accept_error, bind, connect_in_memory, listen};
