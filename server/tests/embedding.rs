//! What a program does through the engine of its server reaches the server's clients.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use jetkv::Server;
use jetkv::options::Options;
use jetkv_jetstream::config::StorageType;
use jetkv_kv::{BucketConfig, Buckets};

#[test]
fn a_client_that_watches_gets_what_the_program_puts() {
    // What nobody lets leave comes with a PING, two seconds later. A machine may be that slow once.
    assert!((0..3).any(|_| comes_at_once()));
}

/// Watches a bucket over the network, puts a value, and says whether it came without waiting for something else to be sent.
fn comes_at_once() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options { host: "127.0.0.1".to_owned(), port: 0, ..Options::default() };
    options.jetstream.enabled = true;
    options.jetstream.store_dir = Some(dir.path().to_owned());
    let server = Server::start(options).unwrap();
    let buckets = Buckets::new(server.engine().unwrap(), server.account("$G").unwrap());
    let config = BucketConfig { storage: StorageType::Memory, ..BucketConfig::new("b") };
    let bucket = buckets.create(&config).unwrap();

    let mut client = TcpStream::connect(server.client_address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let consumer = r#"{"stream_name":"KV_b","config":{"deliver_subject":"watch","ack_policy":"none"}}"#;
    let create = format!("PUB $JS.API.CONSUMER.CREATE.KV_b made {}\r\n{consumer}\r\n", consumer.len());
    write!(client, "CONNECT {{}}\r\nSUB watch 1\r\nSUB made 2\r\n{create}").unwrap();
    let mut lines = BufReader::new(client).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("MSG made 2")));
    assert!(lines.next().unwrap().contains("consumer_create_response"));
    let put = Instant::now();
    bucket.put("color", b"red").unwrap();
    assert!(lines.any(|line| line.starts_with("MSG $KV.b.color 1")));
    let took = put.elapsed();
    server.shutdown();
    took < Duration::from_secs(1)
}
