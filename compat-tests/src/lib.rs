//! JetKV and nats-server side by side.
//!
//! A scenario (a short text file, see [`transcript`]) is played on both servers, each in a process of its own;
//! what may differ is normalised and the two transcripts are compared line by line. The official clients and the
//! `nats` CLI do the same through [`clients`]. [`oracle`] installs the pinned programs that this needs, and
//! [`scoreboard`] writes down which features are proved by which scenarios.

pub mod clients;
pub mod crash;
pub mod faults;
pub mod generate;
pub mod moves;
pub mod oracle;
pub mod process;
pub mod random;
pub mod request;
pub mod scoreboard;
pub mod secure;
pub mod testkit;
pub mod transcript;
pub mod websocket;
pub mod wire;

use std::path::PathBuf;

/// Everything that can stop the harness itself (never a difference between two servers).
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Result of the harness's own operations.
pub type Result<T> = std::result::Result<T, Error>;

/// The root of the workspace: where `Cargo.toml`, `target/` and `COMPATIBILITY.md` are.
pub fn workspace_root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().map(PathBuf::from).unwrap_or(package)
}

/// Where what is built, or installed for tests, goes: `target/`, or `CARGO_TARGET_DIR`.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

/// The folder of the scenario files.
pub fn scenario_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// True where a missing tool must fail the run instead of skipping a part of it.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
