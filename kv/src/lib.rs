//! Key-Value buckets, typed for in-process use.
//!
//! A bucket is a stream with certain settings ([`BucketConfig`]), a key is one of its subjects, and a value with its
//! revision is a message with its sequence (ADR-8). The official clients keep the same rules over the network, so a
//! bucket can be used by them and by this crate at the same time.
//!
//! [`Buckets`] creates, finds and deletes buckets of an account; [`Bucket`] reads, writes and watches keys.

mod answer;
mod bucket;
mod buckets;
mod config;
mod entry;
mod error;
mod name;
mod watch;

pub use bucket::{Bucket, Create, Remove};
pub use buckets::Buckets;
pub use config::{BucketConfig, BucketStatus, HISTORY_MAX};
pub use entry::{Entry, Operation};
pub use error::Error;
pub use name::{is_bucket_name, is_key, is_key_filter};
pub use watch::{Event, Watch, WatchOptions};
