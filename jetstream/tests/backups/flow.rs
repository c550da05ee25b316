//! Pieces, acknowledgements and waits.

use super::bench::{DELIVER, acknowledge, ask, backup, pieces, restore, send, simulated, streams};
use jetkv_testing::TestEngine;
use serde_json::json;

const SECOND: u64 = 1_000_000_000;

/// A stream whose backup takes some 200 pieces of 1 KiB.
fn large() -> TestEngine {
    let engine = TestEngine::new().unwrap();
    ask(&engine, "STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s.>"], "storage": "memory"}));
    let mut noise = 1_u64;
    for at in 0..200 {
        let payload: String = (0..1000)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b' ' + (noise >> 57) as u8 % 90)
            })
            .collect();
        engine.publish(&format!("s.{at}"), &[], &payload);
    }
    engine.host.take();
    engine
}

fn begin(engine: &TestEngine) {
    let body = json!({"deliver_subject": DELIVER, "chunk_size": 1024, "window_size": 10 * 1024});
    ask(engine, "STREAM.SNAPSHOT.S", &body);
}

#[test]
fn no_more_is_sent_than_the_window_holds() {
    let engine = large();
    engine.host.listen(DELIVER, None);
    begin(&engine);
    let first = pieces(&engine);
    assert_eq!(first.len(), 10);
    assert!(first.iter().all(|piece| piece.reply.starts_with("$JS.SNAPSHOT.ACK.S.")));
    assert!(first[9].reply.ends_with(".1024.10"), "{}", first[9].reply);
    acknowledge(&engine, &first[..3]);
    assert_eq!(pieces(&engine).len(), 3);
    let progress = engine.engine.backups();
    assert_eq!((progress.len(), progress[0].bytes, progress[0].last_seq), (1, 13 * 1024, 200));
}

#[test]
fn a_slow_reader_holds_nobody_up_and_is_given_up() {
    let engine = large();
    engine.host.listen(DELIVER, None);
    begin(&engine);
    assert_eq!(pieces(&engine).len(), 10);
    // The stream goes on: it takes messages and gives them up.
    assert!(engine.publish("s.new", &[], "x").contains("\"seq\":201"));
    ask(&engine, "STREAM.PURGE.S", &json!({"keep": 1}));
    engine.advance_ns(4 * SECOND);
    assert_eq!(pieces(&engine).len(), 0);
    engine.advance_ns(SECOND);
    let end = pieces(&engine);
    assert_eq!((end.len(), end[0].headers.as_str()), (1, "NATS/1.0 408 No Flow Response\r\n\r\n"));
    assert!(engine.engine.backups().is_empty());
}

#[test]
fn a_backup_waits_for_its_receiver_and_ends_without_it() {
    let engine = large();
    begin(&engine);
    assert_eq!(pieces(&engine).len(), 0, "nobody listens yet");
    engine.host.listen(DELIVER, None);
    engine.interest_changed(DELIVER, true);
    engine.host.sync_all();
    let first = pieces(&engine);
    assert_eq!(first.len(), 10);
    engine.host.unlisten(DELIVER, None);
    engine.interest_changed(DELIVER, false);
    engine.host.sync_all();
    let end = pieces(&engine);
    assert_eq!((end.len(), end[0].headers.as_str()), (1, "NATS/1.0 408 No Interest\r\n\r\n"));
    assert!(!engine.engine.backup_message(engine.account, first[0].reply.as_bytes(), b"", b""), "it is over");
}

#[test]
fn a_receiver_that_is_not_seen_is_sent_to_after_two_seconds() {
    let engine = large();
    begin(&engine);
    engine.advance_ns(2 * SECOND);
    assert_eq!(pieces(&engine).len(), 10);
}

#[test]
fn a_backup_of_a_stream_that_goes_says_so() {
    let engine = large();
    engine.host.listen(DELIVER, None);
    let body = json!({"deliver_subject": DELIVER, "chunk_size": 1024, "window_size": 1024});
    // What is read ahead fills one part of the S2 stream.
    for at in 0..2000 {
        engine.publish(&format!("s.more.{at}"), &[], &"x".repeat(3000));
    }
    engine.host.take();
    ask(&engine, "STREAM.SNAPSHOT.S", &body);
    let mut last = pieces(&engine);
    ask(&engine, "STREAM.DELETE.S", &json!({}));
    while last.last().is_some_and(|piece| !piece.reply.is_empty()) {
        acknowledge(&engine, &last);
        last = pieces(&engine);
    }
    assert_eq!(last.last().unwrap().headers, "NATS/1.0 500 store is closed\r\n\r\n");
}

#[test]
fn an_abandoned_restore_is_given_up_and_leaves_nothing() {
    let (engine, disk) = simulated();
    let config = super::fill(&engine, "file");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    let begun = ask(&engine, "STREAM.RESTORE.KV_b", &json!({"config": config}));
    let subject = begun["deliver_subject"].as_str().unwrap();
    assert!(send(&engine, subject, &archive[..archive.len() - 20]).unwrap().is_null());
    engine.advance_ns(4 * SECOND);
    assert!(send(&engine, subject, &archive[archive.len() - 20..]).unwrap().is_null(), "it listens");
    assert_eq!(engine.engine.backups().len(), 1);
    engine.advance_ns(5 * SECOND);
    assert!(engine.engine.backups().is_empty());
    assert!(send(&engine, subject, b"").is_none(), "nobody listens any more");
    let usage = engine.engine.account_usage(engine.account).unwrap();
    assert_eq!((streams(&disk).len(), usage.storage_bytes), (0, 0));
    assert!(restore(&engine, &config, &archive, 4096)["error"].is_null(), "and another one may come");
}

#[test]
fn pieces_without_a_reply_subject_end_a_restore() {
    let engine = TestEngine::new().unwrap();
    let config = json!({"name": "S", "subjects": ["s"], "storage": "memory"});
    let begun = ask(&engine, "STREAM.RESTORE.S", &json!({ "config": config }));
    let subject = begun["deliver_subject"].as_str().unwrap();
    assert!(engine.engine.backup_message(engine.account, subject.as_bytes(), b"", b"x"));
    engine.host.sync_all();
    assert!(engine.engine.backups().is_empty());
}

#[test]
fn a_shutdown_ends_what_goes_on() {
    let (engine, disk) = simulated();
    let config = super::fill(&engine, "file");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    let mut config = config;
    config["name"] = "OTHER".into();
    config["subjects"] = json!(["other"]);
    let begun = ask(&engine, "STREAM.RESTORE.OTHER", &json!({"config": config}));
    send(&engine, begun["deliver_subject"].as_str().unwrap(), &archive[..100]);
    engine.engine.shutdown();
    assert!(engine.engine.backups().is_empty());
    assert_eq!(streams(&disk), ["KV_b"]);
}

#[test]
fn a_name_that_is_taken_meanwhile_stays_who_took_it() {
    let engine = TestEngine::new().unwrap();
    let config = super::fill(&engine, "memory");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    let refused = ask(&engine, "STREAM.RESTORE.KV_b", &json!({"config": config}));
    assert_eq!(refused["error"]["err_code"], 10130);
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    let begun = ask(&engine, "STREAM.RESTORE.KV_b", &json!({"config": config}));
    let subject = begun["deliver_subject"].as_str().unwrap();
    send(&engine, subject, &archive);
    ask(&engine, "STREAM.CREATE.KV_b", &json!({"name": "KV_b", "subjects": ["x"], "storage": "memory"}));
    assert_eq!(send(&engine, subject, b"").unwrap()["error"]["err_code"], 10130);
    assert_eq!(ask(&engine, "STREAM.INFO.KV_b", &json!({}))["config"]["subjects"], json!(["x"]));
}
