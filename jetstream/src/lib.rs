//! The JetStream stream engine: streams, consumers, stores and the JetStream API.
//!
//! The engine is a state machine with its world passed in. It owns no socket and no runtime; time comes from a
//! [`Clock`], files from a [`Disk`], and whatever must leave the engine is handed to a [`Host`]. The same code
//! therefore runs inside the server, inside a Rust test, and inside a simulation that crashes it.

pub mod api;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod disk;
pub mod engine;
pub mod filter;
pub mod host;
pub mod outbox;
pub mod settings;
pub mod store;
pub mod stream;
pub mod testing;
mod timers;
mod ttl;
mod world;

pub use api::{ApiError, ApiOutcome, ApiRequest, ClientInfo};
pub use clock::{Clock, Deadline, Deadlines, ElapsedNs, ManualClock, Now, SystemClock, WallNs};
pub use disk::{Disk, DiskFile};
pub use engine::{AccountUsage, Engine, EngineConfig, EngineError, RecoveryReport, StreamDetail, SyncPolicy};
pub use filter::Filter;
pub use host::{AccountId, Delivery, Host, OutMsg};
pub use outbox::Outbox;
pub use settings::{AccountLimits, EngineSettings};
pub use stream::{Inbound, Stream};
