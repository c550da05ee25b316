//! The `jetkv` binary: a server that stands in for nats-server.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    jetkv::run(&arguments)
}
