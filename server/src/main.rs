//! The `jetkv` binary: a server that stands in for nats-server.

use std::io::Write;
use std::process::ExitCode;

use jetkv::options::{Command, Message};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    match Command::from_arguments(&arguments) {
        Command::Print(message) => print(&message),
        Command::Signal(request) => match request.send() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => print(&Message {
                stdout: String::new(),
                stderr: format!("nats-server: {error}\n"),
                exit_code: 1,
            }),
        },
        Command::Run(_) => ExitCode::SUCCESS,
    }
}

/// Whoever closed standard output or standard error does not want to read, which is no failure.
fn print(message: &Message) -> ExitCode {
    let _ = std::io::stdout().write_all(message.stdout.as_bytes());
    let _ = std::io::stderr().write_all(message.stderr.as_bytes());
    ExitCode::from(message.exit_code)
}
