//! Stream and consumer configuration: the JSON shapes of the JetStream API, their defaults and their rules.

pub mod consumer;
pub mod consumer_rules;
pub mod duration;
pub mod stream;

pub use consumer::{AckPolicy, ConsumerAction, ConsumerConfig, DeliverPolicy, PriorityPolicy, ReplayPolicy};
pub use stream::{Compression, ConsumerLimits, Discard, PersistMode, Retention, StorageType, StreamConfig};
