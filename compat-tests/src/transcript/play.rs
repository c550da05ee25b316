//! Plays one case on one server and records what the server did.

mod callout;
mod cli;
mod outside;
mod secured;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::action::{Action, Goal, Order, Outgoing, SILENCE_LIMIT, WAIT_LIMIT};
use super::claims;
use super::connections::{Client, Clients, describe, publication};
use super::normalise::Normaliser;
use super::pool::Pool;
use super::scenario::{Case, Step};
use super::template::{Variables, decode, expand};
use crate::Result;
use crate::process::{Program, Running, Server};
use crate::wire::Frame;

/// How often `until` and `log` look.
const POLL: Duration = Duration::from_millis(10);
/// How long `until` and `log` wait. Only a fault takes so long.
const CONDITION_WAIT: Duration = Duration::from_secs(30);

/// What a server did in a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// Recorded lines; each step's own line comes before what it saw.
    pub lines: Vec<String>,
    /// Waits that ran out of time. On nats-server these are faults of the scenario.
    pub timeouts: Vec<String>,
}

/// Programs that steps need besides the server.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// The `nats` CLI.
    pub cli: Option<std::path::PathBuf>,
}

/// Plays `case` on a server of `pool`. Pauses, and waits in which nothing may come, last `patience` times what the scenario
/// says: a machine that was too slow for them once gets more time when the case is played again.
///
/// # Errors
/// When the harness itself fails: the server does not start, or a step cannot be carried out.
pub fn play(case: &Case, pool: &mut Pool, tools: &Tools, patience: u32) -> Result<Transcript> {
    if !case.start {
        let dir = tempfile::Builder::new().prefix("jetkv-compat-").tempdir()?;
        let mut player = Player::new(case, pool.program(), tools, None, dir.path())?;
        player.patience = patience;
        return player.play();
    }
    let server = pool.take(&case.options, case.fresh)?;
    let dir = server.dir().to_path_buf();
    let mut player = Player::new(case, pool.program(), tools, Some(server), &dir)?;
    player.patience = patience;
    let transcript = player.play();
    let server = player.server.take();
    drop(player);
    if let (Ok(_), Some(server), false) = (&transcript, server, case.fresh) {
        pool.give_back(&case.options, may_make_streams(case), server);
    }
    transcript
}

/// True unless the steps show that no stream can have been made.
fn may_make_streams(case: &Case) -> bool {
    case.steps.iter().any(|step| {
        matches!(
            step.action,
            Action::Cli { .. }
                | Action::CliBegin { .. }
                | Action::Stop { .. }
                | Action::Signal { .. }
                | Action::Reload { .. }
        ) || step.text.contains("STREAM.CREATE")
            || step.text.contains("STREAM.RESTORE")
    })
}

struct Player<'a> {
    case: &'a Case,
    program: &'a Program,
    tools: &'a Tools,
    server: Option<Server>,
    dir: &'a Path,
    clients: Clients,
    /// CLI commands that go on beside the steps.
    commands: BTreeMap<String, Running>,
    variables: Variables,
    normaliser: Normaliser,
    transcript: Transcript,
    latest_json: Value,
    consumers_named: usize,
    /// By how much pauses are longer than the scenario says.
    patience: u32,
}

impl<'a> Player<'a> {
    fn new(
        case: &'a Case,
        program: &'a Program,
        tools: &'a Tools,
        server: Option<Server>,
        dir: &'a Path,
    ) -> Result<Self> {
        let mut normaliser = Normaliser::new(&case.ignore, &case.sort, &case.masks)?;
        let mut variables = Variables::new();
        variables.insert("dir".to_string(), dir.display().to_string());
        for token in &case.deferred {
            variables.insert(token.name.clone(), claims::token(&token.seed, &token.claims)?);
        }
        normaliser.name_literal(&dir.display().to_string(), "dir");
        normaliser.name_literal(&program.path.display().to_string(), "program");
        if let Some(server) = &server {
            variables.insert("url".to_string(), server.url());
            variables.insert("pid".to_string(), server.pid().unwrap_or_default().to_string());
            for (name, port) in server.ports() {
                variables.insert(format!("port.{name}"), port.to_string());
                normaliser.name_port(*port);
            }
        } else {
            crate::process::write_files(dir, &case.options)?;
        }
        Ok(Self {
            case,
            program,
            tools,
            server,
            dir,
            clients: Clients::new(),
            commands: BTreeMap::new(),
            variables,
            normaliser,
            transcript: Transcript::default(),
            latest_json: Value::Null,
            consumers_named: 0,
            patience: 1,
        })
    }

    fn play(&mut self) -> Result<Transcript> {
        for step in &self.case.steps {
            self.transcript.lines.push(format!("line {}: {}", step.line, self.normaliser.text(&step.text)));
            self.step(step).map_err(|e| format!("{} line {}: {e}", self.case.name, step.line))?;
        }
        self.record_leftovers();
        let may_end = self.ends_stopped();
        if let Some(server) = self.server.as_mut()
            && !server.is_alive()
            && !may_end
        {
            let log = server.log();
            self.line("the server has ended");
            self.transcript.timeouts.push(format!("the server ended by itself:\n{log}"));
        }
        Ok(std::mem::take(&mut self.transcript))
    }

    fn ends_stopped(&self) -> bool {
        self.case.steps.iter().any(|step| matches!(step.action, Action::Stop { .. } | Action::Exited))
    }

    fn record_leftovers(&mut self) {
        let mut clients = std::mem::take(&mut self.clients);
        for (name, client) in &mut clients {
            let frames = client.leftovers(self.patience);
            if !frames.is_empty() {
                self.transcript.lines.push(format!("at the end: {name}"));
                self.record(&frames, None);
            }
        }
    }

    fn line(&mut self, line: impl Into<String>) {
        self.transcript.lines.push(format!("    {}", line.into()));
    }

    fn record(&mut self, frames: &[Frame], from: Option<&str>) {
        for frame in frames {
            for line in describe(frame, &self.normaliser) {
                self.line(from.map_or_else(|| line.clone(), |from| format!("{from}: {line}")));
            }
        }
    }

    fn timed_out(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.line(format!("(timed out: {what})"));
        self.transcript.timeouts.push(what);
    }

    fn server(&mut self) -> Result<&mut Server> {
        self.server.as_mut().ok_or_else(|| "the case has no server (start: no)".into())
    }

    fn bytes(&self, template: &str) -> Result<Vec<u8>> {
        Ok(decode(&expand(template, &self.variables)?))
    }

    fn text(&self, template: &str) -> Result<String> {
        expand(template, &self.variables)
    }

    fn client(&mut self, name: &str) -> Result<&mut Client> {
        self.clients.get_mut(name).ok_or_else(|| format!("no connection named {name:?}").into())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        self.act(&step.action)
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Open { .. } | Action::Connect { .. } => self.act_connect(action),
            Action::Upgrade { .. } | Action::Secure { .. } => self.act_secured(action),
            Action::Request { conn, message } => self.request(conn, message, 1),
            Action::Collect { conn, count, message } => self.request(conn, message, *count),
            Action::Silent { message } => {
                let (subject, headers, payload) = self.fill(message)?;
                let patience = self.patience;
                let client = self.requester("js")?;
                let inbox = client.ask(&subject, &headers, &payload);
                let mut seen = Vec::new();
                let answer = client.answer(&inbox, SILENCE_LIMIT * patience, &mut seen);
                self.record(&seen, None);
                match answer {
                    Some(answer) => self.record(&[Frame::Message(answer)], None),
                    None => self.line("(no answer)"),
                }
                Ok(())
            }
            Action::Capture { name, pointer } => self.capture(name, pointer),
            Action::Repeat { count, action, .. } => {
                for i in 1..=*count {
                    self.variables.insert("i".to_string(), i.to_string());
                    self.act(action)?;
                }
                Ok(())
            }
            Action::Until { message, pointer, value } => self.until(message, pointer, value),
            Action::Get { .. }
            | Action::UntilPage { .. }
            | Action::Run { .. }
            | Action::Reload { .. }
            | Action::Write { .. } => self.act_outside(action),
            Action::Cli { arguments } => self.cli(arguments),
            Action::CliBegin { name, arguments, terminal } => self.cli_begin(name, arguments, *terminal),
            Action::CliPrints { name, text, times } => self.cli_prints(name, text, *times),
            Action::CliEnd { name, signal } => self.cli_end(name, *signal),
            Action::Vouch { conn, how } => self.vouch(conn, how),
            Action::Subscribed { subject, count } => self.subscribed(subject, *count),
            Action::Start
            | Action::Stop { .. }
            | Action::Signal { .. }
            | Action::Log { .. }
            | Action::Exited => self.act_server(action),
            Action::Sleep { time } => {
                std::thread::sleep(*time * self.patience);
                Ok(())
            }
            _ => self.act_connection(action),
        }
    }

    fn act_connect(&mut self, action: &Action) -> Result<()> {
        let port = self.server()?.port("nats").ok_or("the server has no port")?;
        match action {
            Action::Open { conn } => {
                let mut client = Client::open(conn, port, false)?;
                let frames: Vec<Frame> = client.next(WAIT_LIMIT).into_iter().collect();
                self.record(&frames, None);
                self.clients.insert(conn.clone(), client);
            }
            Action::Connect { conn, fields } => {
                let client = Client::open(conn, port, true)?;
                self.introduce(conn, client, fields)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Has a new connection say who it is, and waits until that is taken.
    fn introduce(&mut self, conn: &str, mut client: Client, fields: &str) -> Result<()> {
        client.say_connect(&self.text(fields)?)?;
        let (mut frames, mut whole) = client.until_pong();
        if whole && !client.is_closed() {
            client.send(b"PING\r\n");
            let (more, whole_too) = client.until_pong();
            frames.extend(more);
            whole = whole_too;
        }
        // The INFO before CONNECT, and the one after the first PONG, are subjects of their own scenarios.
        frames.retain(|frame| !matches!(frame, Frame::Info(_)));
        self.record(&frames, None);
        if !whole {
            self.timed_out("PONG after CONNECT");
        }
        self.clients.insert(conn.to_string(), client);
        Ok(())
    }

    fn act_connection(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Send { conn, text, line_end } => {
                let mut bytes = self.bytes(text)?;
                if *line_end {
                    bytes.extend_from_slice(b"\r\n");
                }
                self.client(conn)?.send(&bytes);
            }
            Action::Raw { conn, text } => {
                let bytes = self.bytes(text)?;
                self.client(conn)?.send_raw(&bytes);
            }
            Action::Publish { conn, message } => {
                let (subject, headers, payload) = self.fill(message)?;
                let reply = message.reply.as_ref().map(|reply| self.text(reply)).transpose()?;
                self.client(conn)?.send(&publication(&subject, reply.as_deref(), &headers, &payload));
            }
            Action::Wait { conns, goal, order, limit } => self.wait(conns, goal, *order, *limit)?,
            Action::Sync { conn } => {
                let client = self.client(conn)?;
                client.send(b"PING\r\n");
                let (frames, whole) = client.until_pong();
                self.record(&frames, None);
                if !whole {
                    self.timed_out("PONG");
                }
            }
            Action::Quiet { conn, time } => {
                let deadline = Instant::now() + *time * self.patience;
                while let Some(frame) = {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.client(conn)?.next(left)
                } {
                    self.record(&[frame], None);
                }
            }
            Action::Closed { conn, limit } => self.wait_closed(conn, *limit)?,
            Action::Close { conn } => {
                self.clients.remove(conn);
            }
            Action::Stall { conn, stalls } => self.client(conn)?.set_stalled(*stalls),
            Action::Reply { conn, index, headers, payload } => {
                let payload = self.bytes(payload)?;
                let client = self.client(conn)?;
                let subject =
                    client.reply_subject(*index).ok_or("no message with a reply subject")?.to_string();
                client.send(&publication(&subject, None, headers, &payload));
            }
            _ => return Err("not a connection's verb".into()),
        }
        Ok(())
    }

    fn wait_closed(&mut self, conn: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.client(conn)?.is_closed() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.client(conn)?.next(left) {
                Some(frame) => self.record(&[frame], None),
                None => {
                    self.timed_out("the end of the connection");
                    break;
                }
            }
        }
        Ok(())
    }

    fn wait(&mut self, conns: &[String], goal: &Goal, order: Order, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut lines: Vec<String> = Vec::new();
        let mut seen = 0;
        let share = if conns.len() == 1 { limit } else { Duration::from_millis(5) };
        'waiting: loop {
            for conn in conns {
                if matches!(goal, Goal::Frames(count) if seen >= *count) {
                    break 'waiting;
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if let Some(frame) = self.client(conn)?.next(left.min(share)) {
                    seen += 1;
                    let described = describe(&frame, &self.normaliser);
                    let found =
                        matches!(goal, Goal::Text(text) if described.join("\n").contains(text.as_str()));
                    if order == Order::Sorted {
                        lines.push(described.join("\n    "))
                    } else {
                        lines.extend(described)
                    }
                    if found {
                        break 'waiting;
                    }
                } else if Instant::now() >= deadline || (conns.len() == 1 && self.client(conn)?.is_closed()) {
                    self.timed_out(format!("waiting for {goal:?}; {seen} frames came"));
                    break 'waiting;
                }
            }
        }
        match order {
            Order::Count => lines = vec![format!("{seen} frames")],
            Order::Sorted => lines.sort(),
            Order::Arrival => {}
        }
        for line in lines {
            self.line(line);
        }
        Ok(())
    }

    fn fill(&self, message: &Outgoing) -> Result<(String, Vec<String>, Vec<u8>)> {
        let headers = message.headers.iter().map(|header| self.text(header)).collect::<Result<Vec<_>>>()?;
        Ok((self.text(&message.subject)?, headers, self.bytes(&message.payload)?))
    }

    /// The harness's own connection is made when first used.
    fn requester(&mut self, conn: &str) -> Result<&mut Client> {
        if conn == "js" && self.clients.get("js").is_none_or(Client::is_closed) {
            let port = self.server()?.port("nats").ok_or("the server has no port")?;
            let login = self.text(self.case.login.as_deref().unwrap_or("{}"))?;
            let mut client = Client::open("js", port, true)?;
            client.say_connect(&login)?;
            client.until_pong();
            client.send(b"PING\r\n");
            client.until_pong();
            self.clients.insert("js".to_string(), client);
        }
        self.client(conn)
    }

    fn request(&mut self, conn: &str, message: &Outgoing, count: usize) -> Result<()> {
        let (subject, headers, payload) = self.fill(message)?;
        let client = self.requester(conn)?;
        let inbox = client.ask(&subject, &headers, &payload);
        for _ in 0..count {
            let mut seen = Vec::new();
            let answer = self.requester(conn)?.answer(&inbox, WAIT_LIMIT, &mut seen);
            self.record(&seen, Some(conn));
            let Some(answer) = answer else {
                self.timed_out(format!("an answer to {subject}"));
                return Ok(());
            };
            if let Ok(value) = serde_json::from_slice(&answer.payload) {
                self.learn_consumer(&value, &subject, &payload);
                self.latest_json = value;
            }
            self.record(&[Frame::Message(answer)], None);
        }
        Ok(())
    }

    /// A consumer whose name the server made up is called `<consumer1>`, `<consumer2>`, ... from now on.
    fn learn_consumer(&mut self, answer: &Value, subject: &str, payload: &[u8]) {
        let is_create = answer
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|t| t.ends_with("consumer_create_response"));
        let name = answer.get("name").and_then(Value::as_str).filter(|_| is_create);
        if let Some(name) = name
            && !subject.contains(name)
            && !String::from_utf8_lossy(payload).contains(name)
        {
            self.consumers_named += 1;
            self.normaliser.name_literal(name, &format!("consumer{}", self.consumers_named));
        }
    }

    fn capture(&mut self, name: &str, pointer: &str) -> Result<()> {
        let value =
            self.latest_json.pointer(pointer).ok_or_else(|| format!("no {pointer} in the latest answer"))?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        if value.is_string() {
            self.normaliser.name_literal(&text, name);
        }
        self.variables.insert(name.to_string(), text);
        Ok(())
    }

    fn until(&mut self, message: &Outgoing, pointer: &str, value: &str) -> Result<()> {
        let (subject, headers, payload) = self.fill(message)?;
        self.until_shown("", pointer, value, |play| {
            let client = play.requester("js")?;
            let inbox = client.ask(&subject, &headers, &payload);
            let mut seen = Vec::new();
            let answer = client.answer(&inbox, WAIT_LIMIT, &mut seen);
            Ok(answer.and_then(|a| serde_json::from_slice(&a.payload).ok()).unwrap_or_default())
        })
    }

    /// Looks again and again until what `pointer` points at is `value`; `of` names where that is looked for.
    fn until_shown(
        &mut self,
        of: &str,
        pointer: &str,
        value: &str,
        mut look: impl FnMut(&mut Self) -> Result<Value>,
    ) -> Result<()> {
        let deadline = Instant::now() + CONDITION_WAIT;
        loop {
            let found = pointed(&look(self)?, pointer);
            if found.as_deref().unwrap_or("absent") == value {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.timed_out(format!("{of}{pointer} = {value}; it is {found:?}"));
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    fn act_server(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Start => self.server()?.launch()?,
            Action::Stop { signal } => {
                let status = self.server()?.stop(*signal)?;
                self.line(format!("{status}"));
                self.clients.remove("js");
            }
            Action::Signal { signal } => self.server()?.signal(*signal)?,
            Action::Exited => {
                let status = self.server()?.wait_exit(CONDITION_WAIT)?;
                self.line(format!("{status}"));
            }
            Action::Log { text } => {
                let wanted = self.text(text)?;
                let deadline = Instant::now() + CONDITION_WAIT;
                loop {
                    let log = self.server()?.log();
                    if let Some(found) = log.lines().find(|line| line.contains(&wanted)) {
                        let line = self.normaliser.log(found);
                        self.line(line);
                        return Ok(());
                    }
                    if Instant::now() > deadline {
                        self.timed_out(format!("log line with {wanted:?}"));
                        return Ok(());
                    }
                    std::thread::sleep(POLL);
                }
            }
            _ => return Err("not a server's verb".into()),
        }
        Ok(())
    }
}

/// The value that a pointer finds, as text.
fn pointed(json: &Value, pointer: &str) -> Option<String> {
    json.pointer(pointer).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string))
}

/// Splits at blanks; quotes (single or double) keep blanks together.
pub fn split_arguments(text: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                current.get_or_insert_default();
            }
            (' ', None) => arguments.extend(current.take()),
            (c, _) => current.get_or_insert_default().push(c),
        }
    }
    arguments.extend(current);
    arguments
}
