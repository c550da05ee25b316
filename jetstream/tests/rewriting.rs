//! Subjects that a stream changes: what it stores, and what it publishes again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::clock::{ManualClock, WallNs};
use jetkv_jetstream::stream::Inbound;
use jetkv_jetstream::{EngineConfig, SyncPolicy};
use jetkv_testing::{SimDisk, TestEngine};
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;

fn create(engine: &TestEngine, config: &str) {
    let answer = engine.request("STREAM.CREATE.S", config);
    assert!(answer.contains("\"did_create\":true"), "{answer}");
}

#[test]
fn a_message_is_published_again_before_its_acknowledgement_and_not_before_it_is_durable() {
    let config = EngineConfig {
        store_dir: Some("/store".into()),
        sync: SyncPolicy::Always,
        ..EngineConfig::default()
    };
    let clock = Arc::new(ManualClock::new(WallNs::from_ns(1_700_000_000 * SECOND_NS as i64)));
    let engine = TestEngine::on_disk(config, clock, Arc::new(SimDisk::new(1))).unwrap();
    create(&engine, r#"{"name":"S","subjects":["s.>"],"republish":{"src":"s.>","dest":"r.>"}}"#);
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    engine.host.listen("r.>", None);
    engine.host.take();
    for payload in ["one", "two"] {
        let payload = payload.as_bytes();
        stream.publish(&Inbound { subject: b"s.a", reply: b"ack", headers: b"", payload });
    }
    stream.commit(&*engine.host);
    assert!(engine.host.take().is_empty(), "nothing is on the disk");
    engine.host.sync_all();
    let sent = engine.host.take();
    let order: Vec<_> = sent.iter().map(|msg| msg.to.as_str()).collect();
    assert_eq!(order, ["r.a", "ack", "r.a", "ack"]);
    let headers = "NATS/1.0\r\nNats-Stream: S\r\nNats-Subject: s.a\r\nNats-Sequence: 2\r\n\
                   Nats-Time-Stamp: 2023-11-14T22:13:20Z\r\nNats-Last-Sequence: 1\r\n\r\n";
    assert_eq!(sent.get(2).map(|msg| (msg.headers.as_str(), msg.payload.as_str())), Some((headers, "two")));
}

#[test]
fn a_marker_stands_under_the_subject_that_it_marks() {
    let engine = TestEngine::new().unwrap();
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","subject_delete_marker_ttl":60000000000,
        "max_age":1000000000,"subject_transform":{"src":">","dest":"t.>"}}"#;
    create(&engine, config);
    engine.publish("s.a", &[], "x");
    engine.advance_ns(SECOND_NS);
    let info = engine.request("STREAM.INFO.S", r#"{"subjects_filter":">"}"#);
    assert!(info.contains(r#""subjects":{"t.s.a":1}"#), "{info}");
    assert!(info.contains(r#""last_seq":2"#), "{info}");
}
