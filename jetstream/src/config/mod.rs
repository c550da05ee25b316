//! Stream and consumer configuration: the JSON shapes of the JetStream API, their defaults and their rules.

pub mod stream;

pub use stream::{Compression, ConsumerLimits, Discard, PersistMode, Retention, StorageType, StreamConfig};
