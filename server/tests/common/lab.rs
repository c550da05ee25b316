//! A server whose test lab is on, and requests to it.

use jetkv::Server;
use jetkv::options::{LabOptions, Options};
use serde_json::Value;
use tempfile::TempDir;

use super::{Wire, start, with_streams};

/// A server with JetStream and the pages, and its lab on.
pub fn lab_server(token: Option<&str>) -> (TempDir, Server) {
    let token = token.map(str::to_owned);
    lab_server_with(|options| options.lab = Some(LabOptions { token, ..LabOptions::default() }))
}

/// As [`lab_server`], with other options.
pub fn lab_server_with(change: impl FnOnce(&mut Options)) -> (TempDir, Server) {
    let (directory, mut options) = with_streams();
    options.monitor.host = "127.0.0.1".to_owned();
    options.monitor.port = Some(0);
    options.lab = Some(LabOptions::default());
    change(&mut options);
    (directory, start(options))
}

/// A request and its answer. What is delivered on sid 1 meanwhile is given, too.
pub fn ask(wire: &mut Wire, subject: &str, headers: &str, body: &str) -> (Value, Vec<String>) {
    wire.send("SUB answer 9\r\nUNSUB 9 1\r\n");
    if headers.is_empty() {
        wire.send(&format!("PUB {subject} answer {}\r\n{body}\r\n", body.len()));
    } else {
        let headers = format!("NATS/1.0\r\n{headers}\r\n\r\n");
        let (before, all) = (headers.len(), headers.len() + body.len());
        wire.send(&format!("HPUB {subject} answer {before} {all}\r\n{headers}{body}\r\n"));
    }
    let mut delivered = Vec::new();
    loop {
        let line = wire.line();
        let payload = wire.line();
        if line.starts_with("MSG answer 9") {
            return (serde_json::from_str(&payload).unwrap(), delivered);
        }
        delivered.push(line);
    }
}

/// A request to the lab.
pub fn lab_request(wire: &mut Wire, verb: &str, body: &str) -> Value {
    ask(wire, &format!("$JETKV.LAB.{verb}"), "", body).0
}

/// A request of the JetStream API that has to be granted; gives the answer.
pub fn api(wire: &mut Wire, what: &str, body: &str) -> Value {
    let (answer, _) = ask(wire, &format!("$JS.API.{what}"), "", body);
    assert_eq!(answer.get("error"), None, "{what}: {answer}");
    answer
}
