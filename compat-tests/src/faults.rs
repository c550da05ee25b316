//! What each client library shows its user of each fault of the test lab, as a table that is played.
//!
//! `clients/faults.txt` has a case for each kind. A line asks for something, by the harness or by the driver of a library
//! (`clients/README.md`); the rows below a line for the driver say what each library has to answer.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::clients::{Driver, read_lines};
use crate::oracle::{Launch, Tool};
use crate::process::{Program, Server, ServerOptions, command, spawn};
use crate::request::Requester;
use crate::wire::{Connection, Frame};

/// Only a fault takes so long.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long an answer is waited for before the clock is moved again.
const LOOK: Duration = Duration::from_millis(20);
/// Tries of something that works again some time after the fault has gone.
const TRIES_MAX: usize = 60;
/// The scenario of the drivers that does what it is asked for.
const SCENARIO: &str = "faults";
/// Messages of so many bytes: the last but one is too much for who reads nothing, and what is left is little for who comes then.
const FLOOD_MSGS: usize = 12;
const FLOOD_BYTES: usize = 100_000;
/// Syncs are waited for, so that one that fails is seen.
const CONFIG: &str = "lab: true\nmax_pending: 1MB\njetstream { sync_interval: always }\n";
/// The stream of the bucket `b`.
const STREAM: &str = r#"{"name":"KV_b","subjects":["$KV.b.>"],"storage":"file","max_msgs_per_subject":5,
    "discard":"new","allow_direct":true,"allow_rollup_hdrs":true,"deny_delete":true,"num_replicas":1}"#;

/// A line of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who does what.
    pub line: String,
    /// What each library answers, by the name of its tool. One that has no row does not do it.
    pub answers: Vec<(String, String)>,
}

/// What happens to one kind of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The kind.
    pub kind: String,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// Reads the table.
///
/// # Errors
/// A row that belongs to nothing.
pub fn read(text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(kind) = line.strip_prefix("== ") {
            cases.push(Case { kind: kind.to_owned(), steps: Vec::new() });
            continue;
        }
        let case = cases.last_mut().ok_or_else(|| format!("no case before {line}"))?;
        if !line.starts_with(' ') {
            case.steps.push(Step { line: line.to_owned(), answers: Vec::new() });
            continue;
        }
        let step = case.steps.last_mut().ok_or_else(|| format!("no step before {line}"))?;
        let (tools, answer) = line.trim().split_once(' ').ok_or_else(|| format!("no answer in {line}"))?;
        for tool in tools.split(',') {
            step.answers.push((tool.to_owned(), answer.trim().to_owned()));
        }
    }
    Ok(cases)
}

/// Plays all cases with one library on a server of `program`. Gives what was other than the table says, as text that is empty
/// when nothing was.
///
/// # Errors
/// The server or the driver cannot be started, or stays silent.
pub fn play(tool: Tool, launch: &Launch, program: &Program, cases: &[Case]) -> Result<String> {
    let options = ServerOptions { config: Some(CONFIG.to_owned()), ..ServerOptions::default() };
    let server = Server::start(program, &options)?;
    let requests = Requester::open(&server)?;
    let mut world = World { server, requests, asked: None };
    world.prepare()?;
    world.asked = Some(Asked::start(launch, &world.server)?);
    let mut differences = String::new();
    for case in cases {
        world.prepare()?;
        for step in &case.steps {
            let found =
                world.run(tool, step).map_err(|error| format!("{}: {}: {error}", case.kind, step.line))?;
            let Some(found) = found else { continue };
            let found = found.replace(&world.server.dir().display().to_string(), "${dir}");
            let wanted = step.answers.iter().find(|(name, _)| name == tool.name());
            let wanted = wanted.map(|(_, answer)| answer.as_str()).unwrap_or_default();
            if found != wanted {
                let (kind, line) = (&case.kind, &step.line);
                differences.push_str(&format!(
                    "{kind}: {line}\n    {} {found}\n  instead of {wanted}\n",
                    tool.name()
                ));
            }
        }
    }
    Ok(differences)
}

/// The driver, and what it prints.
struct Asked {
    _driver: Driver,
    input: ChildStdin,
    printed: Receiver<String>,
}

impl Asked {
    fn start(launch: &Launch, server: &Server) -> Result<Self> {
        let mut driver = command(&launch.program);
        driver.args(&launch.arguments).arg(server.url()).arg(SCENARIO).current_dir(server.dir());
        driver.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut driver = Driver { child: spawn(driver)? };
        let input = driver.child.stdin.take().ok_or("no input to the driver")?;
        let printed = read_lines(driver.child.stdout.take().ok_or("no output of the driver")?);
        let asked = Self { _driver: driver, input, printed };
        match asked.answer(PATIENCE)? {
            Some(ready) if ready == "{}" => Ok(asked),
            other => Err(format!("the driver began with {other:?}").into()),
        }
    }

    fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    /// What it answers within a time, without what says to what.
    fn answer(&self, limit: Duration) -> Result<Option<String>> {
        let line = match self.printed.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err("the driver has ended".into()),
        };
        let mut fields: BTreeMap<String, Value> = serde_json::from_str(&line)?;
        fields.remove("scenario");
        fields.remove("step");
        Ok(Some(without_chance(&serde_json::to_string(&fields)?)))
    }
}

/// What a library says without the place in its sources, and without how far it has come in connecting again.
fn without_chance(answer: &str) -> String {
    let mut found = answer.to_owned();
    for (from, to) in [("\"(", "): "), (", connectionStatus=", "]")] {
        let Some(start) = found.find(from).map(|at| at + 1) else { continue };
        let Some(length) = found.get(start..).and_then(|rest| rest.find(to)) else { continue };
        let end = start + length + if to == "]" { 0 } else { to.len() };
        found.replace_range(start - usize::from(to == "]")..end, "");
    }
    found
}

/// What a case is played with.
struct World {
    server: Server,
    requests: Requester,
    asked: Option<Asked>,
}

impl World {
    /// An empty bucket, no faults, and the clock of the system.
    fn prepare(&mut self) -> Result<()> {
        self.ask("$JETKV.LAB.STATE.RESET", "{}")?;
        self.ask("$JS.API.STREAM.CREATE.KV_b", STREAM).map(|_| ())
    }

    fn ask(&mut self, subject: &str, body: &str) -> Result<Value> {
        self.requests.api(subject, &serde_json::from_str(body)?)
    }

    /// Does what a line says; gives the answer of the driver where it is one for that.
    fn run(&mut self, tool: Tool, step: &Step) -> Result<Option<String>> {
        let (word, rest) = step.line.split_once(' ').unwrap_or((&step.line, ""));
        match word {
            "fault" => self.ask("$JETKV.LAB.FAULT.ADD", rest).map(|_| None),
            "clear" => self.ask("$JETKV.LAB.FAULT.CLEAR", "{}").map(|_| None),
            "send" => {
                let (subject, body) = rest.split_once(' ').ok_or("no body")?;
                self.requests.send(subject, body.as_bytes()).map(|()| None)
            }
            "flood" => {
                let body = vec![b'v'; FLOOD_BYTES];
                (0..FLOOD_MSGS).try_for_each(|_| self.requests.send(rest, &body)).map(|()| None)
            }
            "restart" => self.restart(rest).map(|()| None),
            "back" => {
                let wanted = json!({"client": "driver", "verb": "CONNECT", "timeout": "3m"});
                self.ask("$JETKV.LAB.JOURNAL.WAIT", &wanted.to_string()).map(|_| None)
            }
            _ if !step.answers.iter().any(|(name, _)| name == tool.name()) => Ok(None),
            "advancing" => self.advancing(rest).map(Some),
            "again" => self.again(rest).map(Some),
            _ => self.drive(&step.line).map(Some),
        }
    }

    fn driver(&mut self) -> Result<&mut Asked> {
        self.asked.as_mut().ok_or_else(|| "no driver".into())
    }

    fn drive(&mut self, line: &str) -> Result<String> {
        let asked = self.driver()?;
        asked.say(line)?;
        asked.answer(PATIENCE)?.ok_or_else(|| "the driver is silent".into())
    }

    /// Lets hours pass until the driver has its answer.
    fn advancing(&mut self, line: &str) -> Result<String> {
        self.driver()?.say(line)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.ask("$JETKV.LAB.TIME.ADVANCE", r#"{"by":"1h"}"#)?;
            if let Some(answer) = self.driver()?.answer(LOOK)? {
                return Ok(answer);
            }
        }
        Err("the driver is silent".into())
    }

    /// Has the driver do something, a minute later each time, until it succeeds, after however many tries.
    fn again(&mut self, line: &str) -> Result<String> {
        for _ in 0..TRIES_MAX {
            if !self.drive(line)?.contains(r#""error""#) {
                return Ok("succeeds".to_owned());
            }
            self.ask("$JETKV.LAB.TIME.ADVANCE", r#"{"by":"1m"}"#)?;
        }
        Ok("fails".to_owned())
    }

    /// Has the server start again, and waits until it listens.
    fn restart(&mut self, fields: &str) -> Result<()> {
        let before = self.server_id()?;
        self.ask("$JETKV.LAB.FAULT.ADD", fields)?;
        let deadline = Instant::now() + PATIENCE;
        while self.server_id().ok().is_none_or(|id| id == before) {
            if Instant::now() > deadline {
                return Err(format!("the server does not come back:\n{}", self.server.log()).into());
            }
            std::thread::sleep(LOOK);
        }
        self.requests = Requester::open(&self.server)?;
        Ok(())
    }

    fn server_id(&self) -> Result<Value> {
        let mut connection = Connection::open(self.server.port("nats").ok_or("no client port")?)?;
        match connection.next(PATIENCE) {
            Some(Frame::Info(info)) => {
                let info: Value = serde_json::from_str(&info)?;
                info.get("server_id").cloned().ok_or_else(|| "a server without an id".into())
            }
            other => Err(format!("{other:?} instead of INFO").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chance_decides_is_left_out() {
        for (said, wanted) in [
            (r#"{"text":"(js.c:535): busy"}"#, r#"{"text":"busy"}"#),
            (r#"{"text":"[reason=TIMEOUT, connectionStatus=CONNECTED]"}"#, r#"{"text":"[reason=TIMEOUT]"}"#),
            (r#"{"text":"busy (code 503)"}"#, r#"{"text":"busy (code 503)"}"#),
        ] {
            assert_eq!(without_chance(said), wanted);
        }
    }

    #[test]
    fn rows_belong_to_the_line_above() {
        let cases = read("# note\n== ack_lost\nfault {}\nput k v\n    go,c {\"value\":1}\n").unwrap();
        assert_eq!(cases.len(), 1);
        assert_eq!(cases[0].steps[1].answers[1], ("c".to_owned(), "{\"value\":1}".to_owned()));
        for wrong in ["put k v", "== a\n    go x", "== a\nput\n    go"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
