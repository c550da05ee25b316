//! A server of an instance, in this process.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use jetkv_go_compat::os_text;

use super::plan::{CONFIG_FILE, Files, Plan};
use crate::options::{Command, CommandLine, Options, stay_at};
use crate::{Server, StartError};

/// Why a server does not start.
#[derive(Debug)]
pub(super) enum NodeError {
    /// Its configuration makes no sense.
    Config(String),
    /// Somebody else has one of its ports by now.
    Listen(String),
    Other(String),
}

impl NodeError {
    pub(super) fn text(&self) -> &str {
        let (Self::Config(text) | Self::Listen(text) | Self::Other(text)) = self;
        text
    }
}

/// A server that runs, or did.
pub(super) struct Node {
    pub(super) plan: Plan,
    /// What it calls itself: its configuration may say something else than the plan.
    pub(super) name: String,
    /// Where clients reach it without a proxy.
    pub(super) port: u16,
    /// Where it may listen.
    host: String,
    running: Option<(Server, CommandLine)>,
}

/// Writes files that others cannot read. Folders are made.
pub(super) fn write(dir: &Path, files: &Files) -> io::Result<()> {
    for (path, text) in files {
        let path = dir.join(path);
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = fs::OpenOptions::new();
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
    }
    Ok(())
}

/// The options that the configuration of a server asks for, on this address where it names none.
fn read(line: &CommandLine, options: Options, host: &str) -> Result<Options, NodeError> {
    let mut options = options;
    // What the log of a process is, its own command line says.
    options.log = line.options.log.clone();
    stay_at(&mut options, host).map_err(|other| {
        NodeError::Config(format!("a server of this service listens on {host}, not on {other}"))
    })?;
    Ok(options)
}

impl Node {
    /// Starts a server whose files are written.
    pub(super) fn start_new(plan: Plan, host: &str) -> Result<Self, NodeError> {
        let name = plan.name.clone();
        let mut node = Self { port: plan.port, plan, name, host: host.to_owned(), running: None };
        node.start()?;
        Ok(node)
    }

    /// Starts it, by the configuration that is there now.
    pub(super) fn start(&mut self) -> Result<(), NodeError> {
        let path = self.plan.dir.join(CONFIG_FILE);
        let arguments = ["-c".to_owned(), path.display().to_string()];
        let line = match Command::from_arguments(&arguments) {
            Command::Run(line) => *line,
            Command::Print(message) => {
                let text = message.stderr.trim();
                let text = text.strip_prefix("nats-server: ").unwrap_or(text);
                return Err(NodeError::Config(format!("could not process config file: {text}")));
            }
            Command::Signal(_) | Command::Lab(_) => {
                return Err(NodeError::Other("no configuration".to_owned()));
            }
        };
        let options = read(&line, line.options.clone(), &self.host)?;
        let server = Server::start(options).map_err(|error| {
            let text = format!("server {} failed to start: {error}", self.plan.name);
            match error {
                StartError::Listen { .. }
                | StartError::Monitor { .. }
                | StartError::Websocket { .. }
                | StartError::Unserved { .. } => NodeError::Listen(text),
                _ => NodeError::Other(text),
            }
        })?;
        match server.serve_monitoring() {
            Ok(address) => server.ready(address),
            Err(error) => {
                server.shutdown();
                return Err(NodeError::Other(os_text(&error)));
            }
        }
        server.monitor().server_name().clone_into(&mut self.name);
        self.port = server.client_address().port();
        self.running = Some((server, line));
        Ok(())
    }

    /// Whether clients can connect.
    pub(super) fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|(server, _)| !server.has_failed())
    }

    /// Ends it, and waits for that. What it stored stays.
    pub(super) fn stop(&mut self) {
        if let Some((server, _)) = self.running.take() {
            server.shutdown();
        }
    }

    /// Has it read its configuration again.
    pub(super) fn reload(&self) -> Result<(), String> {
        let Some((server, line)) = &self.running else { return Err("server is not running".to_owned()) };
        let options = line.reload().map_err(|error| error.to_string().trim_end().to_owned())?;
        let options = read(line, options, &self.host).map_err(|error| error.text().to_owned())?;
        server.reload(options).map(drop).map_err(|error| error.to_string())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}
