//! The `jetkv` binary.

fn main() {}
