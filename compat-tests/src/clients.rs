//! The KV scenario list, run by a driver program over each client library (see `clients/README.md`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::oracle::{Launch, Tool, Toolbox};
use crate::process::{Program, Server, ServerOptions, command, spawn};
use crate::transcript::compare::{PLAYS_MAX, show_difference};
use crate::transcript::normalise::Normaliser;
use crate::wire::Connection;
use crate::{Error, Result};

/// Time limit of one driver on one server. jnats alone takes half a minute to find its watcher's consumer gone.
const DRIVER_LIMIT: Duration = Duration::from_secs(1_200);
/// How long the server may take to make the stream that stays.
const ANCHOR_WAIT: Duration = Duration::from_secs(30);
/// In the line that a driver prints when a scenario cannot go on.
const STOPPED: &str = r#""step":"stopped""#;
/// The scenario that has time pass.
pub const EXPIRY: &str = "ttl";
/// Scenario name of lines that a driver printed outside of any scenario.
const NO_SCENARIO: &str = "driver";

/// What a driver saw: scenario names in the order in which they ran, each with its normalised lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    order: Vec<String>,
    lines: BTreeMap<String, Vec<String>>,
}

impl Observations {
    fn push(&mut self, scenario: &str, line: String) {
        if !self.lines.contains_key(scenario) {
            self.order.push(scenario.to_string());
        }
        self.lines.entry(scenario.to_string()).or_default().push(line);
    }

    /// What a scenario printed.
    pub fn of(&self, scenario: &str) -> &[String] {
        self.lines.get(scenario).map_or(&[], Vec::as_slice)
    }
}

/// Runs the driver of a client library against both programs at the same time and compares what it printed, scenario
/// by scenario. `Ok(None)` means that its toolchain is missing; an empty text that both runs saw the same.
///
/// `only` names one scenario; without it all are run. A scenario that shows a difference is run again, and most of its runs
/// must show none: libraries, drivers and both servers race with themselves now and then.
///
/// # Errors
/// When a driver cannot be installed.
pub fn compare(
    tool: Tool,
    toolbox: &Toolbox,
    reference: &Program,
    candidate: &Program,
    only: Option<&str>,
) -> Result<Option<String>> {
    let Some(launch) = toolbox.require(tool)? else { return Ok(None) };
    let mut differences = String::new();
    for (scenario, difference) in differing(tool, &launch, reference, candidate, only.unwrap_or("all")) {
        // Lines outside of any scenario say that the driver as a whole stopped.
        let again = if scenario == NO_SCENARIO { "all" } else { scenario.as_str() };
        let (mut good, mut bad) = (0, 1);
        while good <= PLAYS_MAX / 2 && bad <= PLAYS_MAX / 2 {
            match differing(tool, &launch, reference, candidate, again).is_empty() {
                true => good += 1,
                false => bad += 1,
            }
        }
        if bad > PLAYS_MAX / 2 {
            differences.push_str(&difference);
        }
    }
    Ok(Some(differences))
}

/// Runs a scenario, or all, on both programs; the scenarios that differ, each with the difference.
fn differing(
    tool: Tool,
    launch: &Launch,
    reference: &Program,
    candidate: &Program,
    scenario: &str,
) -> Vec<(String, String)> {
    let (expected, found) = std::thread::scope(|scope| {
        let other = scope.spawn(|| observe(launch, candidate, scenario));
        let expected = observe(launch, reference, scenario);
        let found =
            other.join().unwrap_or_else(|_| (Observations::default(), Err("the run panicked".into())));
        (expected, found)
    });
    let (mut expected, outcome) = expected;
    if let Err(error) = outcome {
        expected.push(NO_SCENARIO, format!("failed on the reference: {error}"));
    }
    let (mut found, outcome) = found;
    if let Err(error) = outcome {
        found.push(NO_SCENARIO, format!("failed: {error}"));
    }
    report(tool, &expected, &found)
}

/// Prints a line for each scenario and returns the differences.
fn report(tool: Tool, expected: &Observations, found: &Observations) -> Vec<(String, String)> {
    let mut differences = Vec::new();
    let unexpected = found.order.iter().filter(|name| !expected.lines.contains_key(*name));
    for scenario in expected.order.iter().chain(unexpected) {
        let (wanted, seen) = (expected.of(scenario), found.of(scenario));
        // Both may have stopped at the same place: then the driver is at fault, and the rest was never compared.
        if let Some(line) = wanted.iter().find(|line| line.contains(STOPPED) && wanted == seen) {
            println!("STOPPED   clients/{}/{scenario}\n{line}", tool.name());
            differences.push((
                scenario.clone(),
                format!("--- {}/{scenario} stopped on both servers\n{line}\n", tool.name()),
            ));
            continue;
        }
        if wanted == seen {
            println!("ok        clients/{}/{scenario} ({} observations)", tool.name(), wanted.len());
            continue;
        }
        let difference = format!("--- {}/{scenario}\n{}\n", tool.name(), show_difference(wanted, seen));
        println!("DIFFERENT clients/{}/{scenario}\n{difference}", tool.name());
        differences.push((scenario.clone(), difference));
    }
    differences
}

/// The normalised lines that a driver prints against a fresh server of `program`, and whether it came to its end.
pub fn observe(launch: &Launch, program: &Program, scenario: &str) -> (Observations, Result<()>) {
    let mut seen = Observations::default();
    let outcome = drive(launch, program, scenario, &mut seen);
    (seen, outcome)
}

fn drive(launch: &Launch, program: &Program, scenario: &str, seen: &mut Observations) -> Result<()> {
    let mut options = ServerOptions { flags: vec!["-js".to_string()], ..ServerOptions::default() };
    if scenario == EXPIRY {
        options.environment.push(("JETKV_LAB".to_string(), "1".to_string()));
    }
    let mut server = Server::start(program, &options)?;
    anchor(&server)?;
    let mut driver = command(&launch.program);
    driver.args(&launch.arguments).arg(server.url()).arg(scenario).current_dir(server.dir());
    let errors = server.dir().join("driver-errors.txt");
    driver.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&errors)?);
    let mut driver = Driver { child: spawn(driver)? };
    let input = driver.child.stdin.take().ok_or("no input to the driver")?;
    let printed = read_lines(driver.child.stdout.take().ok_or("no output of the driver")?);
    let outcome = follow(&mut server, input, &printed, seen);
    let status = if outcome.is_ok() { driver.child.wait()? } else { driver.end()? };
    match outcome {
        Ok(()) if status.success() => Ok(()),
        _ => {
            let reason = outcome.err().map_or_else(|| format!("it ended with {status}"), |e| e.to_string());
            let errors = std::fs::read_to_string(&errors).unwrap_or_default();
            Err(format!("the driver against {}: {reason}\n{errors}", program.name).into())
        }
    }
}

/// A driver process that does not outlive its run.
pub(crate) struct Driver {
    pub(crate) child: Child,
}

impl Driver {
    fn end(&mut self) -> Result<std::process::ExitStatus> {
        // An error means that it has ended already.
        let _ = self.child.kill();
        Ok(self.child.wait()?)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Makes a stream that stays. nats-server removes an account's folder of streams with its last stream, and a stream
/// that is made at that moment fails: an order of events that no scenario is about.
fn anchor(server: &Server) -> Result<()> {
    let body = r#"{"name":"ANCHOR","subjects":["anchor"],"storage":"file"}"#;
    let mut connection = Connection::open(server.port("nats").unwrap_or_default())?;
    let request = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB anchor-answer 1\r\nPUB $JS.API.STREAM.CREATE.ANCHOR anchor-answer {}\r\n{body}\r\n",
        body.len()
    );
    connection.send(request.as_bytes())?;
    let deadline = Instant::now() + ANCHOR_WAIT;
    while let Some(frame) = connection.next(deadline.saturating_duration_since(Instant::now())) {
        if let crate::wire::Frame::Message(message) = frame {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            return if text.contains("\"error\"") { Err(text.into()) } else { Ok(()) };
        }
    }
    Err("no answer to the creation of a stream".into())
}

/// Collects what the driver prints and does what it asks for, until its output ends.
fn follow(
    server: &mut Server,
    mut input: ChildStdin,
    printed: &Receiver<String>,
    seen: &mut Observations,
) -> Result<()> {
    let mut normaliser = Normaliser::default();
    if let Some(port) = server.port("nats") {
        normaliser.name_port(port);
    }
    let deadline = Instant::now() + DRIVER_LIMIT;
    loop {
        let line = match printed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => return Err("it took too long".into()),
        };
        let Ok(mut value) = serde_json::from_str::<Value>(&line) else {
            seen.push(NO_SCENARIO, normaliser.text(&line));
            continue;
        };
        if let Some(signal) = value.get("ask").and_then(Value::as_str) {
            server.stop(signal_of(signal)?)?;
            server.launch()?;
            writeln!(input, "done")?;
            continue;
        }
        let scenario = value.get("scenario").and_then(Value::as_str).unwrap_or(NO_SCENARIO).to_string();
        drop_volatile(&mut value);
        seen.push(&scenario, normaliser.text(&value.to_string()));
    }
}

fn signal_of(name: &str) -> Result<Signal> {
    match name {
        "KILL" => Ok(Signal::KILL),
        "TERM" => Ok(Signal::TERM),
        other => Err(Error::from(format!("a driver asked for the signal {other}"))),
    }
}

/// Removes what differs between any two runs and has no fixed shape in text: durations measured by a service, a
/// record's digest over its own time.
fn drop_volatile(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["processing_time", "average_processing_time", "ack_floor_time"] {
                if map.contains_key(name) {
                    map.insert(name.to_string(), Value::from("<duration>"));
                }
            }
            map.values_mut().for_each(drop_volatile);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_volatile),
        _ => {}
    }
}

pub(crate) fn read_lines(output: std::process::ChildStdout) -> Receiver<String> {
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
