//! What a crash leaves in a stream although its consumers had acknowledged it goes when the stream is opened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use jetkv_jetstream::clock::ManualClock;
use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::store::file::Storage;
use jetkv_jetstream::store::{ConsumerState, PendingAck, SequencePair};
use jetkv_jetstream::{EngineConfig, SyncPolicy};
use jetkv_testing::{START_NS, SimDisk, TestEngine};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

fn start(disk: &SimDisk) -> TestEngine {
    let config = EngineConfig {
        store_dir: Some("/store".into()),
        sync: SyncPolicy::Always,
        ..EngineConfig::default()
    };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), Arc::new(disk.clone())).unwrap()
}

fn ask(engine: &TestEngine, subject: &str, body: &Value) -> Value {
    let answer: Value = serde_json::from_str(&engine.request(subject, &body.to_string())).unwrap();
    assert!(answer.get("error").is_none(), "{subject}: {answer}");
    answer
}

/// Six messages, of which one consumer has acknowledged all but the second, and the other the first four.
fn crashed(retention: &str, filters: [&str; 2]) -> SimDisk {
    let disk = SimDisk::new(1);
    let engine = start(&disk);
    let config = json!({"name": "S", "subjects": ["s.*"], "retention": retention});
    ask(&engine, "STREAM.CREATE.S", &config);
    for (name, filter) in ["one", "two"].into_iter().zip(filters) {
        let config = json!({"durable_name": name, "ack_policy": "explicit", "filter_subject": filter});
        let request = json!({"stream_name": "S", "config": config});
        ask(&engine, &format!("CONSUMER.DURABLE.CREATE.S.{name}"), &request);
    }
    for at in 0..6 {
        engine.publish(if at % 2 == 0 { "s.a" } else { "s.b" }, &[], "x");
    }
    drop(engine);
    let storage = Storage::open(Arc::new(disk.clone()), Path::new("/store"), true).unwrap();
    let at = |seq| SequencePair { consumer_seq: seq, stream_seq: seq };
    let pending = PendingAck { consumer_seq: 2, ts_ns: START_NS.ns() };
    let one = ConsumerState {
        delivered: at(6),
        ack_floor: at(1),
        pending: [(2, pending)].into(),
        ..ConsumerState::default()
    };
    let two = ConsumerState { delivered: at(4), ack_floor: at(4), ..ConsumerState::default() };
    storage.save_consumer("$G", "S", "one", &one).unwrap();
    storage.save_consumer("$G", "S", "two", &two).unwrap();
    disk
}

fn held(engine: &TestEngine) -> Vec<u64> {
    let info = ask(engine, "STREAM.INFO.S", &json!({"deleted_details": true}));
    let state = &info["state"];
    let deleted = state["deleted"].as_array().cloned().unwrap_or_default();
    let span = state["first_seq"].as_u64().unwrap()..=state["last_seq"].as_u64().unwrap();
    span.filter(|seq| !deleted.contains(&json!(seq))).collect()
}

/// Sequences of what the first consumer is given now.
fn delivered(engine: &TestEngine) -> Vec<u64> {
    engine.host.listen("_INBOX.api", None);
    let sent = engine.request_all("CONSUMER.MSG.NEXT.S.one", r#"{"batch":10,"no_wait":true}"#);
    let seq = |reply: &str| reply.split('.').nth(5).and_then(|token| token.parse().ok());
    let mut seqs: Vec<u64> = sent.iter().filter_map(|sent| seq(&sent.reply)).collect();
    seqs.sort_unstable();
    seqs
}

#[test]
fn an_interest_stream_is_cleaned_of_what_all_acknowledged() {
    let disk = crashed("interest", ["s.*", "s.*"]);
    for start_number in 0..2 {
        assert_eq!(held(&start(&disk)), [2, 5, 6], "start {start_number}");
    }
}

#[test]
fn a_work_queue_is_cleaned_of_what_its_consumers_acknowledged() {
    // One is there for the messages with odd sequences, and two for the others.
    let disk = crashed("workqueue", ["s.a", "s.b"]);
    assert_eq!(held(&start(&disk)), [6]);
}

#[test]
fn nothing_goes_while_the_state_of_a_consumer_is_not_known() {
    let state = Path::new("/store/jetstream/$G/streams/S/obs/two/o.dat");
    let disk = crashed("interest", ["s.*", "s.*"]);
    disk.remove_file(state).unwrap();
    assert_eq!(held(&start(&disk)), [1, 2, 3, 4, 5, 6]);
    let disk = crashed("interest", ["s.*", "s.*"]);
    disk.replace(state, b"\x16\x02\xff", true).unwrap();
    assert_eq!(held(&start(&disk)), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_a_damaged_state_shows_as_acknowledged_stays_and_comes_again() {
    let path = Path::new("/store/jetstream/$G/streams/S/obs/one/o.dat");
    let whole = crashed("workqueue", ["s.*", "t"]).read(path).unwrap();
    // With what proves it, and without, as nats-server writes it.
    for len in [whole.len(), whole.len() - 12] {
        let mut doubtful = 0;
        for at in 16..len * 8 {
            let mut damaged = whole[..len].to_vec();
            damaged[at / 8] ^= 1 << (at % 8);
            let read = ConsumerState::decode(&damaged);
            if read.as_ref().is_some_and(|read| !read.is_doubtful) {
                assert!(len < whole.len(), "bit {at} of {len}");
                continue;
            }
            doubtful += 1;
            let disk = crashed("workqueue", ["s.*", "t"]);
            disk.replace(path, &damaged, true).unwrap();
            let engine = start(&disk);
            assert_eq!(held(&engine), [1, 2, 3, 4, 5, 6], "bit {at} of {len}: {read:?}");
            engine.advance_ns(60_000_000_000);
            assert_eq!(delivered(&engine), [1, 2, 3, 4, 5, 6], "bit {at} of {len}: {read:?}");
        }
        assert!(doubtful > 10);
    }
}
