//! The JetKV server.

pub mod log;
pub mod options;
