//! Directories change hands between nats-server and this store, both ways, and nothing is lost or comes back.
//!
//! Needs nats-server v2.15.2, which is installed on first use where Go is at hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod oracle;

use jetkv_jetstream::disk::RealDisk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{ConsumerState, FileStore, Msg, SequencePair, Store};
use oracle::{Client, Oracle, Stream, copy_dir, oracle_program, read_store};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn create(client: &mut Client, name: &str, extra: serde_json::Value) {
    let mut config =
        json!({"name": name, "subjects": [format!("{name}.>")], "storage": "file", "num_replicas": 1});
    for (key, value) in extra.as_object().unwrap() {
        config[key] = value.clone();
    }
    client.api(&format!("STREAM.CREATE.{name}"), &config);
}

fn fill(client: &mut Client) {
    create(client, "HISTORY", json!({"max_msgs_per_subject": 5, "allow_rollup_hdrs": true}));
    for round in 0..8 {
        for key in 0..20 {
            client.store(&format!("HISTORY.k{key}"), "", format!("{round} of {key}").as_bytes());
        }
    }
    client.store("HISTORY.k3", "KV-Operation: DEL\r\n", b"");
    client.store("HISTORY.k4", "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n", b"");
    create(client, "ONE", json!({"max_msgs_per_subject": 1, "max_bytes": 100_000}));
    for at in 0..1500 {
        client.store(&format!("ONE.k{}", at * 7 % 60), "", &vec![b'x'; at % 100]);
    }
    create(
        client,
        "TTL",
        json!({"allow_msg_ttl": true, "subject_delete_marker_ttl": 60_000_000_000_u64, "allow_rollup_hdrs": true}),
    );
    for (key, ttl) in [("a", "1h"), ("b", "3600"), ("c", "never")] {
        client.store(&format!("TTL.{key}"), &format!("Nats-TTL: {ttl}\r\n"), b"lives");
    }
    create(client, "SQUEEZED", json!({"compression": "s2", "max_bytes": 125_000}));
    for at in 0..900 {
        client.store(
            &format!("SQUEEZED.{at}"),
            "",
            format!("the same words again and again {at}").as_bytes(),
        );
    }
    create(client, "BIG", json!({}));
    for at in 0..12_u8 {
        client.store("BIG.m", "", &vec![at; 900_000]);
    }
    create(client, "HOLES", json!({"first_seq": 1000}));
    for at in 0..60 {
        client.store(&format!("HOLES.{}", at % 7), "A: b\r\n", format!("payload {at}").as_bytes());
    }
    for seq in [1000, 1001, 1010, 1011, 1030, 1059] {
        client.api("STREAM.MSG.DELETE.HOLES", &json!({"seq": seq, "no_erase": seq % 2 == 0}));
    }
    client.api("STREAM.PURGE.HOLES", &json!({"filter": "HOLES.3", "keep": 2}));
    create(client, "PURGED", json!({}));
    for _ in 0..10 {
        client.store("PURGED.x", "", b"gone");
    }
    client.api("STREAM.PURGE.PURGED", &json!({}));
    create(client, "EMPTY", json!({}));
    create(client, "WORK", json!({"retention": "workqueue"}));
    for at in 0..30 {
        client.store(&format!("WORK.{at}"), "", b"job");
    }
    let consumer = json!({"stream_name": "WORK", "config": {"durable_name": "worker", "ack_policy": "explicit", "ack_wait": 600_000_000_000_u64}});
    client.api("CONSUMER.DURABLE.CREATE.WORK.worker", &consumer);
    client.fetch("WORK", "worker", 20, |at| at % 3 == 0);
}

fn storage(dir: &Path) -> Storage {
    Storage::open(Arc::new(RealDisk), dir, false).unwrap()
}

fn options(name: &str) -> FileOptions {
    let block_size_bytes = if matches!(name, "ONE" | "SQUEEZED") { 32_000 } else { 4 << 20 };
    FileOptions { block_size_bytes, compress: name == "SQUEEZED", fast_start_from_bytes: 0 }
}

fn open_all(storage: &Storage) -> BTreeMap<String, FileStore> {
    let streams = storage.streams("$G").unwrap();
    streams
        .into_iter()
        .map(|stream| {
            stream.meta.unwrap();
            let store = storage.open_stream("$G", &stream.name, options(&stream.name)).unwrap();
            (stream.name, store)
        })
        .collect()
}

fn compare(ours: &mut BTreeMap<String, FileStore>, theirs: &BTreeMap<String, Stream>, when: &str) {
    assert!(ours.keys().eq(theirs.keys()));
    for (name, store) in ours {
        same(&read_store(store), &theirs[name], &format!("{name}, {when}"));
    }
}

fn same(found: &Stream, expected: &Stream, what: &str) {
    let missing: Vec<_> = expected.content.keys().filter(|seq| !found.content.contains_key(seq)).collect();
    let excess: Vec<_> = found.content.keys().filter(|seq| !expected.content.contains_key(seq)).collect();
    assert!(missing.is_empty() && excess.is_empty(), "{what}: missing {missing:?}, excess {excess:?}");
    for (seq, message) in &expected.content {
        assert!(found.content[seq] == *message, "{what}: message {seq} differs");
    }
    let counters =
        |stream: &Stream| (stream.msgs, stream.bytes, stream.first_seq, stream.last_seq, stream.subjects);
    assert_eq!(counters(found), counters(expected), "{what}: messages, bytes, first, last, subjects");
}

/// Changes every stream as an engine would: puts that replace, deletes, purges, gaps.
fn change(stores: &mut BTreeMap<String, FileStore>) {
    for (name, store) in stores {
        let per_subject = match name.as_str() {
            "ONE" => 1,
            "HISTORY" => 5,
            _ => u64::MAX,
        };
        let puts = match name.as_str() {
            "ONE" => 700,
            "BIG" => 2,
            _ => 40,
        };
        for at in 0..puts {
            let subject = format!("{name}.k{}", at % 30);
            let headers = if name == "TTL" { "NATS/1.0\r\nNats-TTL: 2h\r\n\r\n" } else { "" };
            let state = store.state();
            let payload = vec![b'p'; at % 50];
            let msg = Msg {
                seq: state.last_seq + 1,
                ts_ns: state.last_ts_ns.max(1_700_000_000_000_000_000) + 1,
                subject: subject.as_bytes(),
                headers: headers.as_bytes(),
                payload: &payload,
            };
            store.append(&msg).unwrap();
            if let Some(entry) =
                store.index().get(subject.as_bytes()).filter(|entry| entry.count > per_subject)
            {
                store.remove(entry.first_seq, Some(subject.as_bytes()), false).unwrap();
            }
            if name == "SQUEEZED" && store.state().bytes > 120_000 {
                store.remove(store.state().first_seq, None, false).unwrap();
            }
            if at % 10 == 0 {
                store.flush().unwrap();
            }
        }
        let state = store.state();
        match name.as_str() {
            "HOLES" => {
                store.remove(state.last_seq - 3, None, true).unwrap();
                store.remove(state.last_seq, None, false).unwrap();
                store.compact(1020).unwrap();
                store.skip_to(state.last_seq + 5, 0).unwrap();
            }
            "PURGED" => {
                store.compact(state.last_seq + 1).unwrap();
            }
            "BIG" => {
                store.compact(state.first_seq + 9).unwrap();
            }
            _ => {}
        }
        store.flush().unwrap();
    }
}

/// Saves the consumer as it is after one more acknowledgement, the oldest.
fn acknowledge_one(storage: &Storage, mut state: ConsumerState) -> ConsumerState {
    let (stream_seq, pending) = state.pending.pop_first().unwrap();
    state.ack_floor = SequencePair { consumer_seq: pending.consumer_seq, stream_seq };
    storage.save_consumer("$G", "WORK", "worker", &state).unwrap();
    state
}

fn hand_over_and_back(clean: bool) {
    let Some(program) = oracle_program() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Oracle::start(&program, dir.path());
    let mut client = server.connect();
    fill(&mut client);
    let before = client.snapshot();
    if clean {
        server.stop()
    } else {
        server.kill()
    }

    let storage = storage(dir.path());
    let mut stores = open_all(&storage);
    if clean {
        compare(&mut stores, &before, "as nats-server left it");
    }
    let consumers = storage.consumers("$G", "WORK").unwrap();
    let state = consumers[0].state.clone().unwrap().unwrap();
    assert_eq!((state.delivered.stream_seq, state.pending.len(), state.ack_floor.stream_seq), (20, 13, 1));
    if !clean {
        // Limits that nats-server did not note are for the engine to enforce; the crash of our own side counts here.
        return;
    }
    change(&mut stores);
    let state = acknowledge_one(&storage, state);
    let changed: BTreeMap<String, Stream> =
        stores.iter_mut().map(|(name, store)| (name.clone(), read_store(store))).collect();
    // What a process leaves that is killed now.
    let killed = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), killed.path());
    let unfinished = leave_unfinished(killed.path());
    for store in stores.values_mut() {
        store.close().unwrap();
    }
    drop(stores);
    compare(&mut open_all(&storage), &changed, "reopened by ourselves");
    for (left, how) in [(dir.path(), "closed"), (killed.path(), "killed")] {
        for round in 0..2 {
            let server = Oracle::start(&program, left);
            let mut client = server.connect();
            let found = client.snapshot();
            let info = client.api("CONSUMER.INFO.WORK.worker", &json!({}));
            assert_eq!(info["num_ack_pending"], state.pending.len());
            assert_eq!(info["delivered"]["stream_seq"], state.delivered.stream_seq);
            assert_eq!(info["ack_floor"]["stream_seq"], state.ack_floor.stream_seq);
            for (name, stream) in &found {
                same(stream, &changed[name], &format!("{name}, {how}, start {round} of nats-server"));
            }
            server.stop();
        }
        compare(&mut open_all(&self::storage(left)), &changed, how);
        assert_eq!(self::storage(left).consumers("$G", "WORK").unwrap().len(), 1);
    }
    for path in unfinished {
        assert!(!path.exists(), "{} is still there", path.display());
    }
}

/// Leaves what changes of metadata leave that did not come to their end.
fn leave_unfinished(dir: &Path) -> Vec<PathBuf> {
    let stream = dir.join("jetstream/$G/streams/WORK");
    let mut left = Vec::new();
    for dir in [stream.clone(), stream.join("obs/worker")] {
        left.extend(["meta.inf.3.tmp", "meta.sum.3.tmp", "meta.sum.tmp"].map(|file| dir.join(file)));
    }
    left.push(stream.join("obs/worker/o.dat.3.tmp"));
    for path in &left {
        std::fs::write(path, "not whole").unwrap();
    }
    left
}

#[test]
fn a_directory_left_in_order_changes_hands_and_returns() {
    hand_over_and_back(true);
}

#[test]
fn a_directory_of_a_killed_server_opens() {
    hand_over_and_back(false);
}
