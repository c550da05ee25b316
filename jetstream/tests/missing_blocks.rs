//! Blocks that are missing after the end of a process are told, as far as they cannot have been deleted in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::clock::ManualClock;
use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{ConsumerState, FileStore, Msg, SequencePair, Store};
use jetkv_jetstream::{AccountId, AccountLimits, Engine, EngineConfig};
use jetkv_testing::{CollectHost, START_NS, SimDisk, TestEngine};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MSGS: u64 = 40;

fn storage(disk: &SimDisk) -> Storage {
    Storage::open(Arc::new(disk.clone()), Path::new("/store"), true).unwrap()
}

fn open(disk: &SimDisk) -> FileStore {
    let options = FileOptions { block_size_bytes: 400, ..FileOptions::default() };
    storage(disk).open_stream("$G", "S", options).unwrap()
}

fn append(store: &mut FileStore, count: u64) {
    for _ in 0..count {
        let seq = store.state().last_seq + 1;
        let msg = Msg { seq, ts_ns: 1, subject: b"s.key", headers: b"", payload: b"some payload or other" };
        store.append(&msg).unwrap();
        store.flush().unwrap();
    }
}

/// A store with messages in some blocks, whose process was killed.
fn killed() -> SimDisk {
    let disk = SimDisk::new(1);
    let options = FileOptions { block_size_bytes: 400, ..FileOptions::default() };
    let mut store = storage(&disk).create_stream("$G", "S", b"{}", options).unwrap();
    append(&mut store, MSGS);
    assert!(store.num_blocks() > 5);
    disk
}

fn block(number: u32) -> PathBuf {
    PathBuf::from(format!("/store/jetstream/$G/streams/S/msgs/{number}.blk"))
}

/// What is told of blocks: the first, the last, and whether they were before all others; and the sequences.
fn lacks(disk: &SimDisk) -> Vec<(u32, u32, bool, u64, u64)> {
    let store = open(disk);
    let told = store.lacks().iter();
    told.map(|lack| {
        let (blocks, seqs) = (&lack.blocks, &lack.seqs);
        (*blocks.start(), *blocks.end(), lack.is_front, *seqs.start(), *seqs.end())
    })
    .collect()
}

#[test]
fn blocks_that_are_gone_without_a_reason_are_told_with_what_they_may_have_held() {
    let disk = killed();
    assert_eq!(lacks(&disk), []);
    disk.remove_file(&block(1)).unwrap();
    let first = open(&disk).state().first_seq;
    assert_eq!(lacks(&disk), [(1, 1, true, 1, first - 1)]);
    disk.remove_file(&block(2)).unwrap();
    disk.remove_file(&block(4)).unwrap();
    let told = lacks(&disk);
    assert!(matches!(told[..], [(1, 2, true, 1, _), (4, 4, false, from, to)] if from < to), "{told:?}");
}

#[test]
fn a_directory_in_the_place_of_a_block_takes_what_that_held_and_nothing_else() {
    let disk = killed();
    disk.remove_file(&block(3)).unwrap();
    disk.create_dir(&block(3)).unwrap();
    let mut store = open(&disk);
    let state = store.state();
    let (from, to) = match store.lacks() {
        [lack] => (*lack.seqs.start(), *lack.seqs.end()),
        lacks => panic!("{lacks:?}"),
    };
    assert_eq!((state.first_seq, state.last_seq, state.msgs), (1, MSGS, MSGS - (to - from + 1)));
    append(&mut store, 1);
    for seq in 1..=MSGS + 1 {
        assert_eq!(store.load(seq).unwrap().is_none(), (from..=to).contains(&seq), "{seq}");
    }
}

#[test]
fn blocks_that_were_deleted_in_order_are_not_told() {
    // Messages were removed one by one, which tombstones tell.
    let disk = killed();
    let mut store = open(&disk);
    let removed = 3 * MSGS / 4;
    for seq in 1..=removed {
        store.remove(seq, None, false).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    assert!(disk.read(&block(1)).is_err() && disk.read(&block(3)).is_err());
    assert_eq!(lacks(&disk), []);
    // All was purged, which a mark tells.
    let disk = killed();
    let mut store = open(&disk);
    store.compact(MSGS + 1).unwrap();
    append(&mut store, MSGS);
    drop(store);
    assert!(disk.read(&block(1)).is_err());
    assert_eq!(lacks(&disk), []);
    // An orderly stop notes which blocks there were.
    let mut store = open(&disk);
    store.close().unwrap();
    append(&mut store, 1);
    drop(store);
    assert_eq!(lacks(&disk), []);
}

fn problems(disk: &SimDisk) -> Vec<String> {
    let config = EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
    let (clock, host) = (Arc::new(ManualClock::new(START_NS)), Arc::new(CollectHost::default()));
    let engine = Engine::new(config, clock, Arc::new(disk.clone()), host).unwrap();
    engine.enable_account(AccountId(1), "$G", AccountLimits::default()).unwrap().problems
}

/// A disk on which a server was killed that had a stream with such limits and several blocks, and a consumer.
fn server(limits: &str) -> SimDisk {
    let disk = SimDisk::new(2);
    let config = EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
    let clock = Arc::new(ManualClock::new(START_NS));
    let engine = TestEngine::on_disk(config, clock, Arc::new(disk.clone())).unwrap();
    let created = engine.request("STREAM.CREATE.S", &format!(r#"{{"name":"S","subjects":["s.>"]{limits}}}"#));
    assert!(created.contains("did_create"), "{created}");
    let payload = "x".repeat(900_000);
    for _ in 0..20 {
        assert!(engine.publish("s.key", &[], &payload).contains("seq"));
    }
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    assert!(!engine.request("CONSUMER.DURABLE.CREATE.S.C", consumer).contains("error"));
    disk
}

#[test]
fn a_missing_first_block_is_told_where_only_a_purge_could_have_deleted_it() {
    for (limits, is_told) in
        [("", true), (r#","max_msgs":10000"#, false), (r#","max_age":999000000000"#, false)]
    {
        let disk = server(limits);
        assert_eq!(problems(&disk), Vec::<String>::new());
        disk.remove_file(&block(1)).unwrap();
        let told = problems(&disk);
        let is_so = told.iter().any(|line| line.contains("blocks from 1 to 1 are not there"));
        assert_eq!(is_so, is_told, "{limits}: {told:?}");
    }
}

#[test]
fn a_stream_that_ends_before_what_a_consumer_was_given_is_told() {
    let disk = server("");
    let state = ConsumerState {
        delivered: SequencePair { consumer_seq: 20, stream_seq: 20 },
        ack_floor: SequencePair { consumer_seq: 20, stream_seq: 20 },
        ..ConsumerState::default()
    };
    storage(&disk).save_consumer("$G", "S", "C", &state).unwrap();
    assert_eq!(problems(&disk), Vec::<String>::new());
    let blocks = disk.list(Path::new("/store/jetstream/$G/streams/S/msgs")).unwrap();
    let last =
        blocks.into_iter().filter(|entry| entry.name.ends_with(".blk")).max_by(|a, b| a.name.cmp(&b.name));
    disk.remove_file(&last.unwrap().path).unwrap();
    let told = problems(&disk);
    assert!(told.iter().any(|line| line.contains("consumer 'C'") && line.contains("up to 20")), "{told:?}");
}
