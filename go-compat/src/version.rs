//! Which nats-server JetKV stands in for.

/// The version of nats-server that clients are told, and decide by which features there are.
pub const SERVER_VERSION: &str = "2.15.2";

/// The version of Go that it is built with, as `varz` and the log name it.
pub const GO_VERSION: &str = "go1.26.8";

/// Level of that version's JetStream API.
pub const API_LEVEL: u32 = 5;
