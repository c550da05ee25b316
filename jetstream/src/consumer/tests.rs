//! Behaviour of consumers over a memory store and a clock that stands still.

mod acks;
mod batches;
mod bench;
mod clock;
mod life;
mod pull;
mod push;
mod turns;
