//! The JetKV server.

pub mod banner;
pub mod interfaces;
pub mod log;
pub mod options;
pub mod pid_file;
pub mod ports_file;
pub mod signals;
