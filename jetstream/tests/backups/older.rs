//! Backups that nats-server made, of the kind before version 2.15 and of that since, come back as they were.
//! They were made with `nats stream backup --consumers`, of a bucket with history, deletes and a consumer; beside each
//! stands what the server said of the stream and the consumer.

use super::bench::{ask, restore, simulated, streams};
use jetkv_testing::TestEngine;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const VERSIONS: [&str; 3] = ["2.10.29", "2.14.10", "2.15.2"];

fn fixture(version: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/backups").join(version).join(file)
}

pub(crate) fn document(version: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(version, file)).unwrap()).unwrap()
}

pub(crate) fn archive(version: &str) -> Vec<u8> {
    std::fs::read(fixture(version, "archive.s2")).unwrap()
}

fn check(engine: &TestEngine, version: &str, answer: &Value) {
    let told = document(version, "stream.json");
    let state = ask(engine, "STREAM.INFO.KV_b", &json!({"deleted_details": true}))["state"].clone();
    let is_file = answer["config"]["storage"] == "file";
    for (field, value) in told["state"].as_object().unwrap() {
        if field != "bytes" || is_file {
            assert_eq!(&state[field], value, "{version}: {field}");
        }
    }
    if version != "2.15.2" {
        assert_eq!(answer["created"], told["created"]);
    }
    for seq in 14..=40 {
        let answer = ask(engine, "STREAM.MSG.GET.KV_b", &json!({ "seq": seq }));
        if !told["state"]["deleted"].as_array().unwrap().contains(&seq.into()) {
            let message = &answer["message"];
            assert_eq!(message["subject"], format!("$KV.b.k{}", seq % 9));
            let headers = base64(message["hdrs"].as_str().unwrap());
            assert_eq!(headers, "NATS/1.0\r\nTrace: a  b\r\n\r\n");
            assert_eq!(base64(message["data"].as_str().unwrap()), format!("value {seq}"));
        }
    }
    let consumer = ask(engine, "CONSUMER.INFO.KV_b.durable", &json!({}));
    let told = document(version, "consumer.json");
    for field in ["num_ack_pending", "num_redelivered", "num_pending"] {
        assert_eq!(consumer[field], told[field], "{version}: {field}");
    }
    for pointer in
        ["/delivered/stream_seq", "/delivered/consumer_seq", "/ack_floor/stream_seq", "/config/ack_wait"]
    {
        assert_eq!(consumer.pointer(pointer), told.pointer(pointer), "{version}: {pointer}");
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
}

#[test]
fn backups_of_every_kind_come_back_whole() {
    for version in VERSIONS {
        for storage in ["file", "memory"] {
            for step in [700, 1 << 20] {
                let (engine, disk) = simulated();
                let mut config = document(version, "backup.json")["config"].clone();
                config["storage"] = storage.into();
                let answer = restore(&engine, &config, &archive(version), step);
                assert!(answer["error"].is_null(), "{version}: {answer}");
                check(&engine, version, &answer);
                assert_eq!(streams(&disk).len(), usize::from(storage == "file"), "{version}");
            }
        }
    }
}

#[test]
fn a_backup_of_files_needs_a_place_for_files() {
    let engine = TestEngine::new().unwrap();
    let mut config = document("2.14.10", "backup.json")["config"].clone();
    config["storage"] = "memory".into();
    let answer = restore(&engine, &config, &archive("2.14.10"), 4096);
    assert_eq!(answer["error"]["description"], "restore failed: there is no store directory");
}
