//! The JetKV server.

pub mod options;
