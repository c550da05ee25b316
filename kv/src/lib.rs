//! Key-Value buckets, typed for in-process use.
