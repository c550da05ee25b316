//! The JetStream stream engine.
