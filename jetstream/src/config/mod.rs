//! Stream and consumer configuration: the JSON shapes of the JetStream API, their defaults and their rules.

pub mod check;
pub mod consumer;
pub mod consumer_rules;
pub mod metadata;
pub mod origins;
mod refusal;
mod rewrite;
pub mod stream;

pub use check::{ConfigLimits, check, check_update};
pub use consumer::{AckPolicy, ConsumerAction, ConsumerConfig, DeliverPolicy, PriorityPolicy, ReplayPolicy};
pub use refusal::is_valid_asset_name;
pub use stream::{
    Compression, ConsumerLimits, Discard, ExternalStream, PersistMode, Placement, Retention, StorageType,
    StreamConfig, StreamSource, SubjectTransform,
};
