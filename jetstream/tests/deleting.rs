//! A stream that is deleted is gone as a whole or there as a whole, wherever the process or the power ends, and what is
//! left of it stands in nobody's way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::EngineConfig;
use jetkv_jetstream::clock::ManualClock;
use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{ConsumerState, FileStore, Msg, Store};
use jetkv_testing::{Fault, START_NS, SimDisk, TestEngine};
use std::path::Path;
use std::sync::Arc;

const OPTIONS: FileOptions = FileOptions { block_size_bytes: 400, compress: false, fast_start_from_bytes: 0 };
const MSGS: u64 = 50;

fn storage(disk: &SimDisk) -> Storage {
    Storage::open(Arc::new(disk.clone()), Path::new("/store"), true).unwrap()
}

fn fill(store: &mut FileStore, payload: &[u8]) {
    for seq in 1..=MSGS {
        store.append(&Msg { seq, ts_ns: 1, subject: b"$KV.b.key", headers: b"", payload }).unwrap();
    }
}

/// The streams' names, whether they are listed or not.
fn names(disk: &SimDisk) -> Vec<String> {
    let entries = disk.list(Path::new("/store/jetstream/$G/streams")).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_deletion_that_is_interrupted_leaves_all_or_nothing() {
    let disk = SimDisk::new(1);
    let created = storage(&disk);
    let mut store = created.create_stream("$G", "S", b"{}", OPTIONS).unwrap();
    fill(&mut store, b"value");
    created.create_consumer("$G", "S", "C", b"{}", &ConsumerState::default()).unwrap();
    store.sync().unwrap();
    created.sync_metadata().unwrap();
    let (mut whole, mut gone) = (0, 0);
    for power in [false, true] {
        for after in 0..8 {
            let disk = disk.clone_of();
            let before = storage(&disk);
            disk.fail_after(after, 1, Fault::Stop);
            let removed = before.remove_stream("$G", "S");
            assert_eq!(removed.is_err(), disk.is_stopped());
            if power {
                disk.power_failure()
            } else {
                disk.restart()
            }
            let storage = storage(&disk);
            let listed = storage.streams("$G").unwrap();
            assert!(!names(&disk).iter().any(|name| name.starts_with('.')), "rubbish is removed at a start");
            match listed.as_slice() {
                [] => gone += 1,
                [stream] => {
                    assert!(removed.is_err());
                    assert_eq!(stream.meta.as_deref(), Ok(b"{}".as_slice()));
                    assert_eq!(storage.consumers("$G", "S").unwrap().len(), 1);
                    assert_eq!(storage.open_stream("$G", "S", OPTIONS).unwrap().state().msgs, MSGS);
                    whole += 1;
                }
                more => panic!("{more:?}"),
            }
        }
    }
    assert!(whole > 2 && gone > 2, "{whole} {gone}");
}

#[test]
fn a_name_is_free_at_once_however_long_the_old_files_take_to_go() {
    let disk = SimDisk::new(2);
    let storage = storage(&disk);
    let mut rubbish = Vec::new();
    for round in 0..3_u8 {
        let mut store = storage.create_stream("$G", "S", b"{}", OPTIONS).unwrap();
        fill(&mut store, &[round; 9]);
        store.flush().unwrap();
        rubbish.push(storage.discard_stream("$G", "S").unwrap().unwrap());
        // Its owner may still use it: that must not reach the next stream of the name.
        store.flush().unwrap();
    }
    assert!(storage.discard_stream("$G", "S").unwrap().is_none());
    let mut store = storage.create_stream("$G", "S", b"{}", OPTIONS).unwrap();
    fill(&mut store, b"new");
    store.flush().unwrap();
    assert_eq!(names(&disk).len(), 4);
    rubbish.into_iter().rev().for_each(|tree| tree.remove().unwrap());
    assert_eq!(names(&disk), ["S"]);
    let mut store = storage.open_stream("$G", "S", OPTIONS).unwrap();
    assert_eq!(store.state().msgs, MSGS);
    assert_eq!(store.load(1).unwrap().unwrap().payload, b"new");
}

#[test]
fn the_time_of_the_last_message_stays_when_that_is_erased() {
    const SECOND_NS: u64 = 1_000_000_000;
    for body in [r#"{"seq":3}"#, r#"{"seq":3,"no_erase":true}"#] {
        let disk = SimDisk::new(1);
        let start = || {
            let config = EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
            let clock = Arc::new(ManualClock::new(START_NS));
            TestEngine::on_disk(config, clock, Arc::new(disk.clone())).unwrap()
        };
        let engine = start();
        for (name, storage) in [("F", "file"), ("M", "memory")] {
            let config = format!(r#"{{"name":"{name}","subjects":["{name}.>"],"storage":"{storage}"}}"#);
            assert!(engine.request(&format!("STREAM.CREATE.{name}"), &config).contains("did_create"));
        }
        for _ in 0..3 {
            engine.advance_ns(SECOND_NS);
            for subject in ["F.a", "M.a"] {
                assert!(engine.publish(subject, &[], "x").contains("\"seq\""));
            }
        }
        let shows = |engine: &TestEngine, name: &str| {
            let info = engine.request(&format!("STREAM.INFO.{name}"), "");
            let state = r#""first_ts":"2023-11-14T22:13:21Z","last_seq":3,"last_ts":"2023-11-14T22:13:23Z""#;
            assert!(info.contains(r#""messages":2,"#) && info.contains(state), "{body} {info}");
        };
        for name in ["F", "M"] {
            engine.advance_ns(SECOND_NS);
            assert!(engine.request(&format!("STREAM.MSG.DELETE.{name}"), body).contains("true"));
            shows(&engine, name);
        }
        engine.engine.shutdown();
        shows(&start(), "F");
    }
}
