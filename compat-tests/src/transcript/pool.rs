//! Servers shared by cases with equal options.

use super::connections::Client;
use crate::Result;
use crate::process::{Program, Server, ServerOptions};
use crate::wire::{Frame, Message};
use std::path::Path;
use std::time::{Duration, Instant};

/// How many idle servers are kept.
const IDLE_MAX: usize = 3;
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Running servers of one program that no case is using.
#[derive(Debug)]
pub struct Pool {
    program: Program,
    idle: Vec<(ServerOptions, Server)>,
}

impl Pool {
    /// Of servers that run `program`.
    pub fn new(program: &Program) -> Self {
        Self { program: program.clone(), idle: Vec::new() }
    }

    /// The program its servers run.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// An idle server with these options, or a new one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn take(&mut self, options: &ServerOptions, fresh: bool) -> Result<Server> {
        let found = self.idle.iter().position(|(known, _)| known == options).filter(|_| !fresh);
        match found {
            Some(at) => Ok(self.idle.remove(at).1),
            None => Server::start(&self.program, options),
        }
    }

    /// Takes a server back, if it is alive and its streams can be deleted; else it ends.
    pub fn give_back(&mut self, options: &ServerOptions, login: Option<&str>, mut server: Server) {
        if !server.is_alive() || wipe(&server, login).is_err() {
            return;
        }
        if self.idle.len() >= IDLE_MAX {
            self.idle.remove(0);
        }
        self.idle.push((options.clone(), server));
    }
}

/// Deletes all streams of the login's account.
///
/// # Errors
/// When the server does not answer.
pub fn wipe(server: &Server, login: Option<&str>) -> Result<()> {
    let mut client = Client::open("wipe", server.port("nats").ok_or("no port")?, true)?;
    client.say_connect(login.unwrap_or("{}"))?;
    let (frames, whole) = client.until_pong();
    if !whole || frames.contains(&Frame::Closed) {
        return Err("cannot connect for cleaning".into());
    }
    loop {
        let names = ask(&mut client, "$JS.API.STREAM.NAMES")?;
        let parsed: serde_json::Value = serde_json::from_slice(&names.payload).unwrap_or_default();
        let Some(streams) = parsed.get("streams").and_then(|s| s.as_array()).filter(|s| !s.is_empty()) else {
            return wait_for_empty_store(server);
        };
        for stream in streams.iter().filter_map(|name| name.as_str()) {
            let answer = ask(&mut client, &format!("$JS.API.STREAM.DELETE.{stream}"))?;
            if !String::from_utf8_lossy(&answer.payload).contains("\"success\":true") {
                return Err(format!("stream {stream} cannot be deleted").into());
            }
        }
    }
}

/// A stream's folder can outlive the answer to its deletion, and a new stream of the name would find its messages.
fn wait_for_empty_store(server: &Server) -> Result<()> {
    let deadline = Instant::now() + ANSWER_WAIT;
    while holds_streams(&server.dir().join("store").join("jetstream")) {
        if Instant::now() > deadline {
            return Err("folders of deleted streams stay".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn holds_streams(store: &Path) -> bool {
    let Ok(accounts) = std::fs::read_dir(store) else { return false };
    accounts.flatten().any(|account| {
        std::fs::read_dir(account.path().join("streams")).is_ok_and(|mut streams| streams.next().is_some())
    })
}

fn ask(client: &mut Client, subject: &str) -> Result<Message> {
    let inbox = client.ask(subject, &[], b"");
    client
        .answer(&inbox, ANSWER_WAIT, &mut Vec::new())
        .ok_or_else(|| format!("no answer from {subject}").into())
}
