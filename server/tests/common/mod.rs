//! A server in this process, and clients that speak literal bytes.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod lab;
pub mod leafs;
pub mod tester;

use std::ops::{Deref, DerefMut};

use jetkv::Server;
use jetkv::options::{LimitOptions, Options};
use jetkv_testing::{WAIT_MAX, eventually};
use tempfile::TempDir;

/// Options of a server on loopback, on a port of its own, that cuts nobody because a test is slow to read.
pub fn options() -> Options {
    let limits = LimitOptions { write_deadline: 2 * WAIT_MAX, ..LimitOptions::default() };
    Options { host: "127.0.0.1".to_owned(), port: 0, limits, ..Options::default() }
}

/// As [`options`], with JetStream, whose streams are in a directory of their own.
pub fn with_streams() -> (TempDir, Options) {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options();
    options.jetstream.enabled = true;
    options.jetstream.store_dir = Some(directory.path().to_owned());
    (directory, options)
}

/// A server that stops at the end of the test.
pub fn start(options: Options) -> Server {
    Server::start(options).expect("the server starts")
}

/// A connection to a server of this process.
pub struct Wire(jetkv_testing::Wire);

impl Wire {
    /// Connects, and takes INFO off.
    pub fn connect(server: &Server) -> Self {
        Self(jetkv_testing::Wire::connect(server.client_address()))
    }

    /// Connects and leaves INFO to be read.
    pub fn open(server: &Server) -> Self {
        Self(jetkv_testing::Wire::open(server.client_address()))
    }

    /// Connects without verbose and pedantic, with headers and no-responders, and waits until the server answers.
    pub fn client(server: &Server) -> Self {
        Self::client_with(server, "")
    }

    /// As [`client`](Self::client), with more fields in CONNECT, such as `,"user":"a"`.
    pub fn client_with(server: &Server, fields: &str) -> Self {
        Self(jetkv_testing::Wire::client_with(server.client_address(), fields))
    }
}

impl Deref for Wire {
    type Target = jetkv_testing::Wire;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Wire {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A request to the API, as a client writes it.
pub fn request(subject: &str, reply: &str, body: &str) -> String {
    format!("PUB $JS.API.{subject} {reply} {}\r\n{body}\r\n", body.len())
}

/// The next message: its subject, and headers and payload.
pub fn message(wire: &mut Wire) -> (String, String) {
    let line = wire.line();
    let words: Vec<&str> = line.split(' ').collect();
    assert!(matches!(words[0], "MSG" | "HMSG"), "{line}");
    let size: usize = words.last().unwrap().parse().unwrap();
    let body = wire.take(size + 2);
    (words[1].to_owned(), String::from_utf8_lossy(&body).into_owned())
}

/// The connections that `/connz` shows.
pub fn connections(server: &Server, query: &str) -> Vec<serde_json::Value> {
    let (status, page) = server.page("/connz", query);
    assert_eq!(status, 200, "{page}");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    page["connections"].as_array().unwrap().clone()
}

/// Waits until a connection was closed for this reason: a client may see its end before the server has noted it.
pub fn closed_for(server: &Server, reason: &str) {
    eventually(reason, || {
        connections(server, "state=closed").iter().any(|closed| closed["reason"] == reason)
    });
}

/// Bytes that wait for the connection that most wait for.
pub fn pending_bytes(server: &Server) -> u64 {
    connections(server, "").iter().filter_map(|one| one["pending_bytes"].as_u64()).max().unwrap()
}
