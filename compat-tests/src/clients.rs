//! The KV scenario list, run by a driver program over each client library (see `clients/README.md`).

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::oracle::{Launch, Tool, Toolbox};
use crate::process::{Program, Server, ServerOptions, command, spawn};
use crate::transcript::compare::show_difference;
use crate::transcript::normalise::Normaliser;
use crate::{Error, Result};

/// Time limit of one driver on one server.
const DRIVER_LIMIT: Duration = Duration::from_secs(180);

/// Runs the driver of a client library against both programs at the same time and compares what it printed.
/// `Ok(None)` means that its toolchain is missing; an empty text that both runs saw the same.
///
/// # Errors
/// When a driver cannot be installed or fails on the reference.
pub fn compare(
    tool: Tool,
    toolbox: &Toolbox,
    reference: &Program,
    candidate: &Program,
) -> Result<Option<String>> {
    let Some(launch) = toolbox.require(tool)? else { return Ok(None) };
    let (expected, found) = std::thread::scope(|scope| {
        let other = scope.spawn(|| observe(&launch, candidate));
        let expected = observe(&launch, reference);
        let found = other.join().unwrap_or_else(|_| Err(Error::from("the run panicked")));
        (expected, found)
    });
    let expected = expected?;
    let found = found.unwrap_or_else(|error| vec![format!("failed: {error}")]);
    if expected == found {
        println!("ok        clients/{} ({} observations)", tool.name(), expected.len());
        return Ok(Some(String::new()));
    }
    Ok(Some(show_difference(&expected, &found)))
}

/// The normalised lines that a driver prints against a fresh server of `program`.
///
/// # Errors
/// When the driver fails or takes too long; the text has what it printed.
pub fn observe(launch: &Launch, program: &Program) -> Result<Vec<String>> {
    let options = ServerOptions { flags: vec!["-js".to_string()], ..ServerOptions::default() };
    let mut server = Server::start(program, &options)?;
    let mut driver = command(&launch.program);
    driver.args(&launch.arguments).arg(server.url()).current_dir(server.dir());
    let errors = server.dir().join("driver-errors.txt");
    driver.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&errors)?);
    let mut driver = spawn(driver)?;
    let mut input = driver.stdin.take().ok_or("no input to the driver")?;
    let printed = read_lines(driver.stdout.take().ok_or("no output of the driver")?);
    let normaliser = Normaliser::default();
    let deadline = Instant::now() + DRIVER_LIMIT;
    let mut lines = Vec::new();
    let outcome: Result<()> = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = printed.recv_timeout(left) else {
            break if left.is_zero() { Err("the driver took too long".into()) } else { Ok(()) };
        };
        if line == r#"{"marker":"restart"}"# {
            server.stop(Signal::TERM)?;
            server.launch()?;
            writeln!(input, "go")?;
        }
        lines.push(normaliser.text(&line));
    };
    if outcome.is_err() {
        let _ = driver.kill();
    }
    let status = driver.wait()?;
    if outcome.is_ok() && status.success() {
        return Ok(lines);
    }
    let errors = std::fs::read_to_string(&errors).unwrap_or_default();
    let last = lines.iter().rev().take(5).rev().cloned().collect::<Vec<_>>().join("\n");
    Err(format!("the driver ended with {status}:\n{errors}\nits last lines:\n{last}").into())
}

fn read_lines(output: std::process::ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
