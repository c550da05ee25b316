//! The NATS client protocol: bytes to operations and back.
//!
//! Nothing here does I/O, waits, or reads a clock. [`Parser`] turns what a client sent into borrowed
//! [`ClientOp`]s, [`ServerParser`] does the same for what a server sent, [`encode`] writes either
//! side's operations, and the remaining modules know the parts that operations carry: [`headers`],
//! [`subject`]s, the INFO and CONNECT objects.
//!
//! The rules are those of nats-server v2.15.2, leniency included; where a rule is surprising, the
//! item that implements it says so.

#![warn(clippy::indexing_slicing)]

pub mod connect;
pub mod encode;
mod error;
pub mod headers;
pub mod info;
mod op;
mod parse;
pub mod pattern_set;
mod proxy_header;
pub mod subject;
pub mod transform;
pub mod trie;
pub mod websocket;

pub use connect::ConnectOptions;
pub use error::{BadArguments, ProtocolError, Rejection};

pub use headers::{HeaderBuf, Headers};
pub use info::ServerInfo;
pub use op::{ClientOp, LeafMsg, LeafOp, Publish, ServerOp};
pub use parse::{
    DEFAULT_MAX_CONTROL_LINE, DEFAULT_MAX_PAYLOAD, LeafParsed, LeafParser, Limits, Parsed, Parser,
    ServerParsed, ServerParser, Step,
};
pub use proxy_header::{ProxyHeader, ProxyHeaderError};
