//! Directories that nats-server v2.15.2 left, kept as fixtures, open with everything that was in them.
//!
//! `JETKV_FIXTURES_DIR` (where to write) makes the fixtures anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[allow(dead_code)]
mod oracle;

use jetkv_jetstream::disk::RealDisk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{Store, StoreError};
use jetkv_jetstream::{Disk, Filter};
use jetkv_testing::SimDisk;
use oracle::{Client, Oracle, Stream, copy_dir, oracle_program, read_store};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nats-server-2.15.2")
}

/// A stream in lines: counters, then sequence, time, subject and digest of headers and payload of each message.
fn describe(name: &str, stream: &Stream) -> String {
    let mut text = format!(
        "{name}: messages {} bytes {} first {} last {} subjects {}\n",
        stream.msgs, stream.bytes, stream.first_seq, stream.last_seq, stream.subjects
    );
    for (seq, message) in &stream.content {
        let digest = Sha256::digest([&message.headers[..], b"|", &message.payload[..]].concat());
        let hex: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "  {seq} {} {} {hex}", message.ts_ns, message.subject).unwrap();
    }
    text
}

/// A fixture on a disk of its own.
fn open(fixture: &str) -> (SimDisk, Storage) {
    let disk = SimDisk::new(1);
    disk.copy_in(&fixtures().join(fixture), Path::new("/store/jetstream/$G/streams")).unwrap();
    let storage = Storage::open(Arc::new(disk.clone()), Path::new("/store"), true).unwrap();
    (disk, storage)
}

fn described(storage: &Storage) -> String {
    let mut text = String::new();
    for stream in storage.streams("$G").unwrap() {
        stream.meta.unwrap();
        let mut store = storage.open_stream("$G", &stream.name, FileOptions::default()).unwrap();
        text += &describe(&stream.name, &read_store(&mut store));
    }
    text
}

fn fill(client: &mut Client) {
    let mut create = |name: &str, extra: serde_json::Value| {
        let mut config = json!({"name": name, "subjects": [format!("{name}.>")], "storage": "file"});
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        client.api(&format!("STREAM.CREATE.{name}"), &config);
    };
    create("KV", json!({"max_msgs_per_subject": 2, "allow_rollup_hdrs": true, "allow_msg_ttl": true}));
    create("PACKED", json!({"compression": "s2", "max_bytes": 125_000}));
    create("HOLES", json!({"first_seq": 100}));
    create("PURGED", json!({}));
    create("WORK", json!({"retention": "workqueue"}));
    for at in 0..24 {
        client.store(&format!("KV.k{}", at % 5), "", format!("value {at}").as_bytes());
    }
    client.store("KV.k0", "KV-Operation: DEL\r\n", b"");
    client.store("KV.k1", "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n", b"");
    client.store("KV.ttl", "Nats-TTL: 1h\r\n", b"lives");
    for at in 0..70 {
        client.store("PACKED.x", "", format!("{at} ").repeat(320).as_bytes());
    }
    for at in 0..12 {
        client.store("HOLES.x", "A: b\r\n", format!("payload {at}").as_bytes());
        client.store("PURGED.x", "", b"gone");
        client.store("WORK.x", "", b"job");
    }
    for seq in [100, 103, 104, 111] {
        client.api("STREAM.MSG.DELETE.HOLES", &json!({"seq": seq, "no_erase": seq % 2 == 0}));
    }
    client.api("STREAM.PURGE.PURGED", &json!({}));
    let config = json!({"durable_name": "worker", "ack_policy": "explicit", "ack_wait": 600_000_000_000_u64});
    client.api("CONSUMER.DURABLE.CREATE.WORK.worker", &json!({"stream_name": "WORK", "config": config}));
    client.fetch("WORK", "worker", 6, |at| at % 3 == 0);
}

#[test]
fn fixtures_are_made_anew_on_demand() {
    let (Some(program), Some(target)) = (oracle_program(), std::env::var_os("JETKV_FIXTURES_DIR")) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Oracle::start(&program, dir.path());
    let mut client = server.connect();
    fill(&mut client);
    let text: String = client.snapshot().iter().map(|(name, stream)| describe(name, stream)).collect();
    server.stop();
    let target = Path::new(&target);
    copy_dir(&dir.path().join("jetstream/$G/streams"), &target.join("stopped"));
    std::fs::write(target.join("stopped.txt"), text).unwrap();
    let storage = Storage::open(Arc::new(RealDisk), dir.path(), false).unwrap();
    assert_eq!(storage.accounts().unwrap(), ["$G"]);
}

#[test]
fn a_directory_of_nats_server_opens_with_everything_in_it() {
    let (_, storage) = open("stopped");
    let expected = std::fs::read_to_string(fixtures().join("stopped.txt")).unwrap();
    assert_eq!(described(&storage), expected);
    assert_eq!(described(&storage), expected, "opening changes nothing");
    let consumer = storage.consumers("$G", "WORK").unwrap().remove(0);
    assert!(consumer.meta.is_ok());
    let state = consumer.state.unwrap().unwrap();
    assert_eq!((state.delivered.stream_seq, state.ack_floor.stream_seq), (6, 1));
    assert_eq!(state.pending.keys().copied().collect::<Vec<_>>(), [2, 3, 5, 6]);
    let mut store = storage.open_stream("$G", "KV", FileOptions::default()).unwrap();
    let expiries = store.take_recovered_expiries();
    let msg = store.load(expiries[0].0).unwrap().unwrap();
    assert_eq!(
        (expiries.len(), msg.subject, expiries[0].1 - msg.ts_ns),
        (1, &b"KV.ttl"[..], 3_600_000_000_000)
    );
}

#[test]
fn a_directory_of_nats_server_stays_the_same_when_closed_by_us() {
    let (_, storage) = open("stopped");
    let expected = std::fs::read_to_string(fixtures().join("stopped.txt")).unwrap();
    for stream in storage.streams("$G").unwrap() {
        let mut store = storage.open_stream("$G", &stream.name, FileOptions::default()).unwrap();
        let next = store.state().last_seq + 1;
        store.skip_to(next, 0).unwrap();
        store.close().unwrap();
    }
    let held = |text: &str| text.lines().filter(|line| line.starts_with(' ')).collect::<String>();
    assert_eq!(held(&described(&storage)), held(&expected));
}

#[test]
fn a_damaged_record_is_told_and_kept_and_costs_no_other() {
    let (disk, storage) = open("stopped");
    let block = Path::new("/store/jetstream/$G/streams/HOLES/msgs/2.blk");
    let content = disk.read(block).unwrap();
    let at = content.windows(9).position(|bytes| bytes == b"payload 5").unwrap();
    disk.flip_bit(block, at * 8).unwrap();
    let mut store = storage.open_stream("$G", "HOLES", FileOptions::default()).unwrap();
    assert!(matches!(store.load(105), Err(StoreError::Damaged { seq: 105, .. })));
    let held: Vec<u64> =
        std::iter::successors(store.next(&Filter::All, 0).unwrap().map(|msg| msg.seq), |seq| {
            store.next(&Filter::All, seq + 1).unwrap().map(|msg| msg.seq)
        })
        .collect();
    assert_eq!(held, [101, 102, 106, 107, 108, 109, 110]);
    let kept = disk.list(Path::new("/store/jetstream/$G/streams/HOLES/quarantine")).unwrap();
    assert_eq!(kept.len(), 1);
    store.skip_to(120, 0).unwrap();
    store.sync().unwrap();
    assert_eq!(disk.read(block).unwrap().len(), content.len(), "nothing is appended to a damaged block");
}

#[test]
fn damaged_metadata_is_told_and_kept() {
    let (disk, storage) = open("stopped");
    disk.flip_bit(Path::new("/store/jetstream/$G/streams/KV/meta.inf"), 100).unwrap();
    let streams = storage.streams("$G").unwrap();
    let damaged: Vec<_> =
        streams.iter().filter(|stream| stream.meta.is_err()).map(|stream| &*stream.name).collect();
    assert_eq!(damaged, ["KV"]);
    assert!(disk.read(Path::new("/store/jetstream/$G/streams/KV/msgs/1.blk")).is_ok());
}
