//! The JetStream stream engine: streams, consumers, stores and the JetStream API.
//!
//! The engine is a state machine with its world passed in. It owns no socket and no runtime; time comes from a
//! [`Clock`], files from a [`Disk`], and whatever must leave the engine is handed to a [`Host`]. The same code
//! therefore runs inside the server, inside a Rust test, and inside a simulation that crashes it.

/// The sources of the tests' crate call the engine by its name.
#[cfg(test)]
extern crate self as jetkv_jetstream;

pub mod api;
mod client;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod disk;
mod due;
pub mod engine;
pub mod error;
pub mod filter;
mod headers;
pub mod message;
pub mod origin;
pub mod outbox;
mod own;
pub mod router;
pub mod settings;
#[cfg(test)]
mod steps;
pub mod store;
pub mod stream;
#[cfg(test)]
#[path = "../../testing/src/world/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod testing;
mod timers;
mod ttl;
mod warnings;

pub use api::{ApiOutcome, ApiRequest, KeyGets};
pub use client::ClientInfo;
pub use clock::{
    AdjustableClock, Clock, Deadline, Deadlines, ElapsedNs, ManualClock, Moved, Now, SystemClock, WallNs,
};
pub use disk::{Disk, DiskFile};
pub use due::{Due, DueKind};
pub use engine::{
    AccountUsage, Engine, EngineError, OwnSubscriptionCounts, RecoveryReport, Removed, SavedStream,
    StreamDetail,
};
pub use error::{ApiError, ErrorDef};
pub use filter::Filter;
pub use message::{AccountId, Inbound, OutMsg};
pub use outbox::Outbox;
pub use own::OwnSubscription;
pub use router::{Delivery, Router};
pub use settings::{
    AccountLimits, BatchLimits, Cipher, Encryption, EngineConfig, EngineSettings, SyncPolicy, TieredLimits,
};
pub use stream::{Host, Stream};
