//! Servers for tests, as tests use them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use jetkv_testing::Wire;
use jetkv_testkit::{BucketConfig, TestServer, TestServerError};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

fn with_ttl() -> BucketConfig {
    BucketConfig { ttl: Some(HOUR), ..BucketConfig::new("b") }
}

#[test]
fn keys_expire_when_the_test_says_so() {
    let server = TestServer::start().unwrap();
    let bucket = server.buckets().create(&with_ttl()).unwrap();
    bucket.put("k", b"v").unwrap();
    server.advance(HOUR - SECOND);
    assert_eq!(&bucket.get("k").unwrap().value[..], b"v");
    server.advance(2 * SECOND);
    assert!(bucket.get("k").is_err());
}

#[test]
fn many_in_one_process_are_strangers() {
    let servers: Vec<_> = (0..5).map(|_| TestServer::start().unwrap()).collect();
    for (number, server) in servers.iter().enumerate() {
        let bucket = server.buckets().create(&with_ttl()).unwrap();
        bucket.put("k", number.to_string().as_bytes()).unwrap();
    }
    servers[0].advance(HOUR + SECOND);
    let value = |server: &TestServer| {
        let bucket = server.buckets().bind("b").unwrap();
        bucket.get("k").ok().map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
    };
    let values: Vec<_> = servers.iter().map(value).collect();
    let kept = |number: u32| Some(number.to_string());
    assert_eq!(values, [None, kept(1), kept(2), kept(3), kept(4)]);
}

#[test]
fn a_client_sees_faults_and_what_the_test_stores() {
    let server = TestServer::start().unwrap();
    let bucket = server.buckets().create(&BucketConfig::new("b")).unwrap();
    server.fault(&json!({"kind": "ack_lost", "where": {"subject": "$KV.b.k"}, "times": 1})).unwrap();
    let mut wire = Wire::client_with(server.server().client_address(), "");
    wire.send("SUB ack 1\r\nPUB $KV.b.k ack 1\r\nv\r\nPUB $KV.b.k ack 1\r\nw\r\n");
    assert!(wire.line().starts_with("MSG ack 1 "));
    assert!(wire.line().contains("\"seq\":2"));
    assert_eq!(bucket.get("k").unwrap().revision, 2);
    server.reset().unwrap();
    assert!(server.buckets().names().is_empty());
}

#[test]
fn a_restart_keeps_the_port_and_the_store() {
    let mut server = TestServer::start().unwrap();
    server.buckets().create(&BucketConfig::new("b")).unwrap().put("k", b"v").unwrap();
    let url = server.url();
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(server.buckets().bind("b").unwrap().get("k").unwrap().revision, 1);
}

#[test]
fn one_without_jetstream_is_none() {
    let bare = TestServer::start_with(|options| options.jetstream.enabled = false);
    assert!(matches!(bare, Err(TestServerError::Bare)));
}
