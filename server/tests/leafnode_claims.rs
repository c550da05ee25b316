//! Leaf nodes of accounts with claims.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use common::{Wire, start};
use jetkv::Server;
use jetkv::claims::encode;
use jetkv::options::Options;
use jetkv_testing::WAIT_MAX;
use nkeys::KeyPair;
use serde_json::json;
use tempfile::TempDir;

/// Bytes of files that a server has for all accounts together.
const DISK: u64 = 1 << 20;
/// What a hub says of itself that is a part of the test, and that it lets the other server in.
const INFO: &str = r#"INFO {"server_id":"ID","server_name":"other","version":"2.15.2","proto":1,"go":"go","host":"h","port":1,"headers":true,"max_payload":1048576,"client_id":7,"nonce":"abc","info_on_connect":true}"#;
const LET_IN: &str = r#"INFO {"server_id":"ID","server_name":"other","version":"2.15.2","proto":1,"go":"go","host":"h","port":1,"headers":true,"max_payload":1048576,"client_id":7,"connect_info":true,"remote_account":"THERE"}"#;

/// A server with two accounts by claims, one of which gets `disk` bytes and is connected to the hub.
struct Spoke {
    server: Server,
    hub: TcpListener,
    /// Signs for users of the other account, which gets what there is.
    other: KeyPair,
    _directory: TempDir,
}

impl Spoke {
    fn new(disk: u64) -> Self {
        let (operator, connected, other) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let account = |of: &KeyPair, disk: u64| {
            let claims = json!({"iss": operator.public_key(), "sub": of.public_key(), "name": "n", "nats": {
                "type": "account", "version": 2, "limits": {"subs": -1, "data": -1, "payload": -1, "imports": -1,
                    "exports": -1, "wildcards": true, "conn": -1, "leaf": -1, "disk_storage": disk,
                    "streams": -1, "consumer": -1}}});
            encode(&claims, &operator).unwrap()
        };
        let operator_claims = json!({"iss": operator.public_key(), "sub": operator.public_key(), "name": "O",
            "nats": {"type": "operator", "version": 2}});
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "listen: \"127.0.0.1:-1\"\nauthorization {{ timeout: 60 }}\noperator: {}\nresolver: MEMORY
            resolver_preload: {{ {}: {}, {}: {} }}
            jetstream {{ store_dir: {:?}, max_file: {DISK}, domain: D }}
            leafnodes {{ reconnect: \"10ms\", remotes: [ {{ url: \"nats-leaf://{}\", account: {}, first_info_timeout: \"60s\" }} ] }}",
            encode(&operator_claims, &operator).unwrap(),
            connected.public_key(),
            account(&connected, disk),
            other.public_key(),
            account(&other, DISK / 2),
            directory.path(),
            hub.local_addr().unwrap(),
            connected.public_key(),
        );
        let server = start(Options::from_config_text(&config).unwrap());
        Self { server, hub, other, _directory: directory }
    }

    /// Plays a hub that asks for the account's JetStream, until `enough` of what came back. A hub that was too slow for the other
    /// server gets another connection.
    fn ask(&self, enough: impl Fn(&mut Hub) -> std::io::Result<bool>) -> bool {
        loop {
            let (socket, _) = self.hub.accept().unwrap();
            socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
            let mut hub = Hub { reader: BufReader::new(socket.try_clone().unwrap()), socket };
            if let Ok(found) = hub.join().and_then(|()| enough(&mut hub)) {
                return found;
            }
        }
    }

    /// Has the server answer somebody of the other account who asks for the same, behind what came over the leaf node
    /// connection.
    fn answer_other(&self) {
        let user = KeyPair::new_user();
        let claims = json!({"iss": self.other.public_key(), "sub": user.public_key(), "name": "u",
            "nats": {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "bearer_token": true}});
        let token = encode(&claims, &self.other).unwrap();
        let mut client = Wire::client_with(&self.server, &format!(",\"jwt\":\"{token}\""));
        client.send("SUB r 1\r\nPUB $JS.API.INFO r 0\r\n\r\n");
        let line = client.line();
        assert!(line.starts_with("MSG r 1"), "{line}");
    }
}

/// A hub that is a part of the test.
struct Hub {
    reader: BufReader<TcpStream>,
    socket: TcpStream,
}

impl Hub {
    fn join(&mut self) -> std::io::Result<()> {
        self.socket.write_all(format!("{INFO}\r\n").as_bytes())?;
        let connect = self.line()?;
        assert!(connect.starts_with("CONNECT {"), "{connect}");
        self.socket.write_all(format!("{LET_IN}\r\nLS+ r\r\nLMSG $JS.D.API.INFO r 0\r\n\r\n").as_bytes())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ if {
                eprint!("< {line}");
                false
            } =>
            {
                unreachable!()
            }
            _ => Ok(line),
        }
    }

    /// Whether an answer came before the server answers PING.
    fn was_answered(&mut self) -> std::io::Result<bool> {
        self.socket.write_all(b"PING\r\n")?;
        let mut found = false;
        loop {
            let line = self.line()?;
            found |= line.starts_with("LMSG r ");
            if line.starts_with("PONG") {
                return Ok(found);
            }
        }
    }
}

#[test]
fn nobody_answers_for_an_account_whose_claims_promise_more_jetstream_than_there_is() {
    let spoke = Spoke::new(2 * DISK);
    let is_answered = spoke.ask(|hub| {
        let before = hub.was_answered()?;
        spoke.answer_other();
        Ok(before | hub.was_answered()?)
    });
    assert!(!is_answered);
}

#[test]
fn the_api_of_an_account_with_claims_answers_over_a_leaf_node_connection() {
    let spoke = Spoke::new(DISK / 2);
    let is_answered = spoke.ask(|hub| {
        loop {
            if hub.line()?.starts_with("LMSG r ") {
                return Ok(true);
            }
        }
    });
    assert!(is_answered);
}
