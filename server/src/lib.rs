//! The JetKV server.
