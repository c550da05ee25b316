//! Listeners of what is not served yet: they are open, and whoever connects is told so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use jetkv::Server;
use jetkv::options::Options;

/// Longest wait for an answer that comes at once.
const WAIT_MAX: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"
listen: "127.0.0.1:-1"
cluster { name: c, listen: "127.0.0.1:-1", authorization { user: r, password: s, timeout: 2 }, routes = [] }
"#;

fn started(directory: &Path) -> Server {
    let mut options = Options::from_config_text(CONFIG).unwrap();
    options.ports_file_dir = Some(directory.to_owned());
    let server = Server::start(options).unwrap();
    server.ready(None);
    server
}

/// The address in the ports file's only URL of a listener.
fn address(directory: &Path, listener: &str) -> String {
    let path = directory.join(format!("nats-server_{}.ports", std::process::id()));
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let urls = ports[listener].as_array().unwrap();
    assert_eq!(urls.len(), 1, "{ports}");
    urls[0].as_str().unwrap().split_once("://").unwrap().1.to_owned()
}

/// Everything that comes after something was said, until the server closes.
fn answer(address: &str, said: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.write_all(said).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn whoever_connects_is_told_that_nobody_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let server = started(directory.path());
    let connect = b"CONNECT {\"user\":\"r\",\"pass\":\"s\"}\r\nPING\r\n";
    for said in [b"".as_slice(), connect] {
        let expected = "-ERR 'route connections are not supported by JetKV yet'\r\n";
        assert_eq!(answer(&address(directory.path(), "cluster"), said), expected);
    }
    server.shutdown();
}

#[test]
fn a_taken_port_is_named_with_its_listener() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let reason = format!("listen tcp 127.0.0.1:{port}: bind: address already in use");
    for (block, said) in [
        ("websocket { no_tls: true, ", "Unable to listen for websocket connections:".to_owned()),
        ("leafnodes { ", format!("Error listening on leafnode port: {port} -")),
        ("cluster { ", format!("Error listening on router port: {port} -")),
    ] {
        let config = format!("listen: \"127.0.0.1:-1\"\n{block} listen: \"127.0.0.1:{port}\" }}");
        let error = Server::start(Options::from_config_text(&config).unwrap()).err().unwrap();
        assert_eq!(error.to_string(), format!("{said} {reason}"));
    }
}

#[test]
fn what_would_connect_elsewhere_or_share_streams_is_refused() {
    for (config, said) in [
        ("cluster { port: -1, routes: [\"nats://a:1\"] }", "field \"routes\" is not supported by JetKV yet"),
        (
            "server_name: n, jetstream: enabled, cluster { name: c, port: -1 }",
            "field \"cluster\" is not supported by JetKV yet where JetStream is enabled",
        ),
    ] {
        let error = Options::from_config_text(config).unwrap_err().to_string();
        assert!(error.contains(said), "{config}: {error}");
    }
    // A cluster without a port is none.
    let options = Options::from_config_text("jetstream: enabled, cluster { name: c }").unwrap();
    assert_eq!(options.unserved_listeners, []);
}
