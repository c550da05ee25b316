//! Backups and restores: what comes back is what was there, whoever reads slowly holds nobody up, and what is broken or
//! hostile leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod bench;
mod crash;
mod flow;
mod hostile;
mod older;
mod saved;

use bench::{ask, backup, picture, restore, simulated};
use jetkv_testing::TestEngine;
use serde_json::{Value, json};
use std::sync::Arc;

/// A bucket with history, deletes, TTLs and consumers with state.
fn fill(engine: &TestEngine, storage: &str) -> Value {
    let config = json!({
        "name": "KV_b", "subjects": ["$KV.b.>"], "storage": storage, "max_msgs_per_subject": 3,
        "allow_rollup_hdrs": true, "allow_direct": true, "allow_msg_ttl": true, "discard": "new",
        "metadata": {"owner": "test"}, "first_seq": 5,
    });
    ask(engine, "STREAM.CREATE.KV_b", &config);
    for at in 0..40 {
        engine.publish(&format!("$KV.b.k{}", at % 9), &[("Trace", "a  b")], &format!("value {at}"));
    }
    engine.publish("$KV.b.k1", &[("KV-Operation", "DEL")], "");
    engine.publish("$KV.b.k2", &[("KV-Operation", "PURGE"), ("Nats-Rollup", "sub")], "");
    engine.publish("$KV.b.short", &[("Nats-TTL", "2")], "goes");
    engine.publish("$KV.b.long", &[("Nats-TTL", "1h")], "stays");
    let consumer = |name: &str, more: Value| {
        let mut config = json!({"name": name, "ack_policy": "explicit", "max_deliver": 4});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(
            engine,
            &format!("CONSUMER.CREATE.KV_b.{name}"),
            &json!({"stream_name": "KV_b", "config": config}),
        );
    };
    consumer("durable", json!({"durable_name": "durable"}));
    consumer("ephemeral", json!({"inactive_threshold": 3_600_000_000_000_u64, "filter_subject": "$KV.b.k1"}));
    consumer("forgetful", json!({"mem_storage": true, "inactive_threshold": 3_600_000_000_000_u64}));
    engine.host.listen("_INBOX.api", None);
    let pull = |_| engine.request_all("CONSUMER.MSG.NEXT.KV_b.durable", "1").remove(0).reply;
    let acks: Vec<String> = (0..5).map(pull).collect();
    for ack in [&acks[0], &acks[2]] {
        engine.control(ack, "", "+ACK").unwrap().commit(&*engine.host);
    }
    ask(engine, "STREAM.MSG.DELETE.KV_b", &json!({"seq": 40}));
    config
}

#[test]
fn a_stream_comes_back_as_it_was_from_file_and_memory_and_across() {
    for from in ["file", "memory"] {
        for to in ["file", "memory"] {
            for step in [100, 1 << 20] {
                let (engine, _) = simulated();
                fill(&engine, from);
                let before = picture(&engine, "KV_b");
                let (answer, archive) = backup(&engine, "KV_b", &json!({}));
                assert_eq!(answer["type"], "io.nats.jetstream.api.v1.stream_snapshot_response");
                assert_eq!(answer["state"]["consumer_count"], 3);
                ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
                let mut config = answer["config"].clone();
                config["storage"] = to.into();
                let answer = restore(&engine, &config, &archive, step);
                assert_eq!(answer["type"], "io.nats.jetstream.api.v1.stream_create_response");
                assert!(answer["error"].is_null(), "{answer}");
                let after = picture(&engine, "KV_b");
                if from == to {
                    assert_eq!(after, before);
                } else {
                    assert_eq!(after[2..], before[2..], "but for what the storage makes of sizes");
                }
            }
        }
    }
}

#[test]
fn a_restored_stream_is_there_after_a_restart_and_goes_on() {
    let (engine, disk) = simulated();
    let config = fill(&engine, "file");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    restore(&engine, &config, &archive, 4096);
    // A consumer that asked for memory does not outlive the process.
    ask(&engine, "CONSUMER.DELETE.KV_b.forgetful", &json!({}));
    let before = picture(&engine, "KV_b");
    let clock = engine.clock.clone();
    engine.engine.shutdown();
    let config =
        jetkv_jetstream::settings::EngineConfig { store_dir: Some("/store".into()), ..Default::default() };
    let engine = TestEngine::on_disk(config, clock, Arc::new(disk)).unwrap();
    assert_eq!(picture(&engine, "KV_b"), before);
    let ack: Value = serde_json::from_str(&engine.publish("$KV.b.k1", &[], "more")).unwrap();
    assert_eq!(ack["seq"], 49, "sequences go on: {ack}");
    engine.advance_ns(3_000_000_000);
    let info = ask(&engine, "STREAM.INFO.KV_b", &json!({"subjects_filter": "$KV.b.short"}));
    assert!(info["state"]["subjects"].is_null(), "TTLs go on: {info}");
}

#[test]
fn what_expired_meanwhile_is_not_restored_and_keeps_its_sequence() {
    let engine = TestEngine::new().unwrap();
    let config = fill(&engine, "memory");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    engine.advance_ns(60_000_000_000);
    let answer = restore(&engine, &config, &archive, 4096);
    assert_eq!((&answer["state"]["last_seq"], &answer["state"]["num_subjects"]), (&json!(48), &json!(10)));
}

#[test]
fn ttls_go_on_in_memory() {
    let engine = TestEngine::new().unwrap();
    let config = fill(&engine, "memory");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    assert_eq!(restore(&engine, &config, &archive, 4096)["state"]["num_subjects"], 11);
    engine.advance_ns(3_000_000_000);
    assert_eq!(ask(&engine, "STREAM.INFO.KV_b", &json!({}))["state"]["num_subjects"], 10);
}

#[test]
fn consumers_stay_out_of_a_backup_where_they_are_not_wanted() {
    let engine = TestEngine::new().unwrap();
    let config = fill(&engine, "memory");
    let (answer, archive) = backup(&engine, "KV_b", &json!({"no_consumers": true, "jsck": true}));
    assert_eq!(answer["state"]["consumer_count"], 3, "as nats-server says");
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    assert_eq!(restore(&engine, &config, &archive, 4096)["state"]["consumer_count"], 0);
}

#[test]
fn empty_streams_come_back_empty_and_with_their_sequences() {
    let engine = TestEngine::new().unwrap();
    for (first_seq, publishes, purge) in [(0, 0, false), (7, 0, false), (0, 3, true)] {
        let config = json!({"name": "S", "subjects": ["s"], "storage": "memory", "first_seq": first_seq});
        ask(&engine, "STREAM.CREATE.S", &config);
        for _ in 0..publishes {
            engine.publish("s", &[], "x");
        }
        if purge {
            ask(&engine, "STREAM.PURGE.S", &json!({}));
        }
        let before = ask(&engine, "STREAM.INFO.S", &json!({}))["state"].clone();
        let (_, archive) = backup(&engine, "S", &json!({}));
        ask(&engine, "STREAM.DELETE.S", &json!({}));
        restore(&engine, &config, &archive, 4096);
        assert_eq!(ask(&engine, "STREAM.INFO.S", &json!({}))["state"], before);
        ask(&engine, "STREAM.DELETE.S", &json!({}));
    }
}

#[test]
fn advisories_tell_of_backups_and_restores() {
    let engine = TestEngine::new().unwrap();
    let config = fill(&engine, "memory");
    engine.host.listen("_INBOX.backup", None);
    engine.host.take();
    let told = |engine: &TestEngine| {
        let mut sent = engine.host.take();
        sent.retain(|sent| sent.to.starts_with("$JS.EVENT.ADVISORY.STREAM."));
        sent.into_iter()
            .map(|sent| {
                let payload: Value = serde_json::from_str(&sent.payload).unwrap();
                assert_eq!(payload["stream"], "KV_b");
                let kind = payload["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
                (sent.to.replace("$JS.EVENT.ADVISORY.STREAM.", ""), kind, payload)
            })
            .collect::<Vec<_>>()
    };
    ask(&engine, "STREAM.SNAPSHOT.KV_b", &json!({"deliver_subject": "_INBOX.backup"}));
    let events = told(&engine);
    let names: Vec<_> = events.iter().map(|(to, kind, _)| (to.as_str(), kind.as_str())).collect();
    let wanted =
        [("SNAPSHOT_CREATE.KV_b", "snapshot_create"), ("SNAPSHOT_COMPLETE.KV_b", "snapshot_complete")];
    assert_eq!(names, wanted);
    assert!(events[0].2["state"]["messages"].is_u64() && events[0].2["client"].is_object());
    assert!(
        events[1].2["start"].is_string() && events[1].2["end"].is_string() && events[1].2["error"].is_null()
    );
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    engine.host.take();
    let answer = ask(&engine, "STREAM.RESTORE.KV_b", &json!({"config": config}));
    let events = told(&engine);
    assert_eq!(events[0].1, "restore_create");
    let subject = answer["deliver_subject"].as_str().unwrap();
    for piece in [archive.as_slice(), b""] {
        assert!(engine.engine.backup_message(engine.account, subject.as_bytes(), b"_INBOX.r", piece));
        engine.host.sync_all();
    }
    let events = told(&engine);
    let names: Vec<_> = events.iter().map(|(to, _, _)| to.as_str()).collect();
    assert_eq!(names, ["CREATED.KV_b", "RESTORE_COMPLETE.KV_b"]);
    assert_eq!(events[1].2["bytes"], archive.len());
}
