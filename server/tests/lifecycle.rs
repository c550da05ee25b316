//! Start, lame duck mode and shutdown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, options, start};
use jetkv::Server;
use std::time::Duration;

#[test]
fn a_port_in_use_is_an_error_that_says_so() {
    let server = start(options());
    let mut taken = options();
    taken.port = server.client_address().port();
    let error = Server::start(taken).err().unwrap().to_string();
    assert!(
        error.starts_with("Error listening on port: 127.0.0.1:") && error.contains("address already in use"),
        "{error}"
    );
}

#[test]
fn shutdown_sends_what_was_accepted_and_closes() {
    let server = start(options());
    let mut wire = Wire::client(&server);
    wire.send("SUB foo 1\r\nPUB foo 5\r\nhello\r\nPING\r\n");
    wire.expect("MSG foo 1 5\r\nhello\r\nPONG\r\n");
    server.shutdown();
    wire.expect_close();
    server.wait();
    assert_eq!(server.monitor().counts().connections, 0);
}

#[test]
fn lame_duck_mode_tells_clients_and_ends_the_server() {
    let mut quick = options();
    quick.lame_duck_grace_period = Duration::from_millis(10);
    quick.lame_duck_duration = Duration::from_millis(30);
    let server = start(quick);
    let mut wire = Wire::client_with(&server, ",\"protocol\":1");
    assert!(wire.line().starts_with("INFO {"));
    server.lame_duck();
    assert!(wire.line().contains("\"ldm\":true"));
    wire.expect_close();
    server.wait();
}

#[test]
fn the_ports_file_is_there_while_the_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut with_file = options();
    with_file.ports_file_dir = Some(directory.path().to_owned());
    let server = start(with_file);
    server.ready(None);
    let file = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(ports["nats"][0], server.client_url());
    server.shutdown();
    assert!(!file.exists());
}

#[tokio::test]
async fn a_server_can_be_started_and_stopped_within_async_code() {
    let server = start(options());
    Wire::client(&server);
    drop(server);
}
