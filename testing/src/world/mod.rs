//! The engine's world as a test has it: a simulated disk that crashes, a disk that lets a test look on, a host that records,
//! and an engine on them whose clock a test moves.
//!
//! Unit tests of the engine compile these sources with it (`jetkv_jetstream` is the engine itself there); all others use
//! the crate.

mod engine;
mod hooked;
mod host;
mod seeds;
mod sim;
mod tar;

pub use self::tar::tar_header;
pub use engine::{START_NS, TestEngine};
pub use hooked::{DiskHook, HookedDisk};
pub use host::{CollectHost, Sent};
pub use seeds::seeds;
pub use sim::{Fault, SimDisk};
