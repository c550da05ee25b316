//! Connections: what carries them (`link`), what is spoken over them (`client`, `leaf`), and what all of them share: the listener,
//! the outbound queue, keepalives.

mod asked;
mod client;
mod descriptors;
mod keepalive;
mod leaf;
mod link;
mod listener;
mod outbound;
mod read_size;
mod secure;
mod starved;
mod websocket;

pub(crate) use client::log_rejected;
pub(crate) use descriptors::Acceptor;
pub(crate) use leaf::solicit;
pub use link::MemoryStream;
pub use listener::BindError;
pub(crate) use listener::{Door, accept_error, bind, connect_in_memory, listen};
