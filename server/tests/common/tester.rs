//! `jetkv lab serve` as a process of its own, and requests to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A service that runs, and a connection to it.
pub struct Service {
    pub process: Child,
    pub port: u16,
    pub dir: tempfile::TempDir,
    pub wire: Wire,
}

/// A connection with an inbox of its own.
pub struct Wire {
    pub socket: BufReader<TcpStream>,
    inbox: u16,
}

/// What tells services and connections of this process apart.
static NUMBER: AtomicU16 = AtomicU16::new(0);
/// Ports of a service: two that run at a time have none in common, so a port of a server that is stopped stays free for it.
pub const PORTS: u16 = 16;

/// An error's code and description.
pub type Refused = (String, String);

pub fn command(dir: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetkv"));
    let low = 20_000 + NUMBER.fetch_add(1, Ordering::Relaxed) * PORTS;
    command.args(["lab", "serve", "--ports", &format!("{low}-{}", low + PORTS - 1), "--dir"]).arg(dir);
    command.env_remove("JETKV_LAB").env_remove("JETKV_LAB_TOKEN");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Starts a service; gives it with the line that it prints.
pub fn start(mut command: Command) -> (Child, String) {
    let mut process = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (process, line.trim().to_owned())
}

pub fn port_of(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.parse().unwrap()
}

impl Wire {
    pub fn connect(port: u16, options: &Value) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let inbox = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut wire = Self { socket: BufReader::new(socket), inbox };
        assert!(wire.line().starts_with("INFO "));
        wire.send(&format!("CONNECT {options}\r\nSUB I.{inbox} 1\r\nPING\r\n"));
        wire
    }

    pub fn open(port: u16) -> Self {
        let mut wire =
            Self::connect(port, &json!({"verbose": false, "headers": true, "no_responders": true}));
        assert_eq!(wire.line(), "PONG");
        wire
    }

    pub fn send(&mut self, text: &str) {
        self.socket.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line, but for a PING, which is answered. Nothing once the connection has ended.
    pub fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            let _ = self.socket.read_line(&mut line);
            if line != "PING\r\n" {
                return line.trim_end().to_owned();
            }
            // Where nobody hears it any more, the next line tells.
            let _ = self.socket.get_mut().write_all(b"PONG\r\n");
        }
    }

    /// Whether nothing more comes but what tells why.
    pub fn ends(&mut self) -> bool {
        loop {
            match self.line().as_str() {
                "" => return true,
                line if line.starts_with("-ERR") || line.starts_with("INFO") => {}
                _ => return false,
            }
        }
    }

    pub fn request(&mut self, subject: &str, body: &str) {
        let (inbox, len) = (self.inbox, body.len());
        self.send(&format!("PUB {subject} I.{inbox} {len}\r\n{body}\r\n"));
    }

    /// The headers and the body of the next answer.
    pub fn answer(&mut self) -> (String, String) {
        let line = self.line();
        let sizes: Vec<&str> = line.split(' ').collect();
        let total: usize = sizes.last().unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
        let headers = if line.starts_with("HMSG") { sizes[sizes.len() - 2].parse().unwrap() } else { 0 };
        let mut bytes = vec![0; total + 2];
        self.socket.read_exact(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        (text[..headers].to_owned(), text[headers..total].to_owned())
    }

    pub fn ask(&mut self, subject: &str, body: &str) -> (String, String) {
        self.request(subject, body);
        self.answer()
    }
}

impl Service {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (process, url) = start(command(dir.path()));
        let port = port_of(&url);
        Self { process, port, dir, wire: Wire::open(port) }
    }

    pub fn try_ask(&mut self, endpoint: &str, request: &Value) -> Result<Value, Refused> {
        self.ask_text(endpoint, &request.to_string())
    }

    pub fn ask_text(&mut self, endpoint: &str, body: &str) -> Result<Value, Refused> {
        let (headers, body) = self.wire.ask(&format!("tester.{endpoint}"), body);
        let header = |name: &str| {
            let line = headers.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.map(str::to_owned)
        };
        match header("Nats-Service-Error") {
            Some(text) => Err((header("Nats-Service-Error-Code").unwrap(), text)),
            None => Ok(serde_json::from_str(&body).unwrap()),
        }
    }

    pub fn ask(&mut self, endpoint: &str, request: &Value) -> Value {
        self.try_ask(endpoint, request).unwrap_or_else(|error| panic!("{endpoint} {request}: {error:?}"))
    }

    pub fn refused(&mut self, endpoint: &str, request: &Value) -> Refused {
        self.try_ask(endpoint, request).expect_err("it is refused")
    }

    pub fn create(&mut self, request: &Value) -> (String, u16) {
        let created = self.ask("create.server", request);
        assert_eq!(created["type"], "io.synadia.ntf.tester.v1.create_response");
        let port = created["servers"][0]["port"].as_u64().unwrap();
        (created["id"].as_str().unwrap().to_owned(), u16::try_from(port).unwrap())
    }

    pub fn folders(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn terminate(process: &mut Child) -> ExitStatus {
    let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    process.wait().unwrap()
}
