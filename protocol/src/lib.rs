//! The NATS client protocol: bytes to operations and back.
