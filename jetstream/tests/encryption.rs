//! Encryption at rest: nothing can be read from the disk, everything from the store; and whatever interrupts a change of
//! key or cipher, all is there with the next start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{ConsumerState, FileStore, Msg, Store, StoreError};
use jetkv_jetstream::{Cipher, Encryption, EngineConfig, Filter, ManualClock, SyncPolicy};
use jetkv_testing::{Fault, START_NS, SimDisk, TestEngine};
use std::path::Path;
use std::sync::Arc;

/// In subjects, headers, payloads, configurations and states.
const SECRET: &[u8] = b"ecret";

fn with(key: &str, previous: Option<&str>, cipher: Cipher) -> Option<Encryption> {
    Some(Encryption { key: key.to_owned(), previous_key: previous.map(str::to_owned), cipher })
}

fn storage(disk: &SimDisk, encryption: Option<Encryption>) -> Storage {
    Storage::open(Arc::new(disk.clone()), Path::new("/store"), true).unwrap().encrypted(encryption)
}

/// The files in which something can be read.
fn readable(disk: &SimDisk, dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in disk.list(dir).unwrap() {
        if entry.is_dir {
            found.extend(readable(disk, &entry.path));
        } else if disk.read(&entry.path).unwrap().windows(SECRET.len()).any(|bytes| bytes == SECRET) {
            found.push(entry.path.display().to_string());
        }
    }
    found
}

const META: &[u8] = br#"{"config":"secret"}"#;

/// Blocks of a few messages, some compressed, with removed ones among them.
fn fill(storage: &Storage, compress: bool) -> FileStore {
    let options = FileOptions { block_size_bytes: 400, compress, fast_start_from_bytes: 0 };
    let mut store = storage.create_stream("A", "S", META, options).unwrap();
    for seq in 1..=9_u64 {
        let subject = format!("secret.{}", seq % 3);
        let payload = format!("secret {seq} {}", "secret".repeat(5));
        let (subject, payload) = (subject.as_bytes(), payload.as_bytes());
        let headers = b"NATS/1.0\r\nSecret: 1\r\n\r\n";
        store.append(&Msg { seq, ts_ns: 10, subject, headers, payload }).unwrap();
        if seq % 3 == 0 {
            store.remove(seq - 1, None, false).unwrap();
        }
    }
    let mut state = ConsumerState::default();
    state.delivered.consumer_seq = 7;
    storage.create_consumer("A", "S", "C", META, &state).unwrap();
    store.sync().unwrap();
    store
}

/// All that can be seen of the stream and its consumer.
fn picture(storage: &Storage) -> Result<Vec<String>, StoreError> {
    let streams = storage.streams("A")?;
    let meta = streams.into_iter().next().map(|stream| stream.meta);
    let mut seen = vec![format!("{meta:?}")];
    let options = FileOptions { block_size_bytes: 400, compress: false, fast_start_from_bytes: 0 };
    let mut store = storage.open_stream("A", "S", options)?;
    let mut next = 0;
    while let Some(msg) = store.next(&Filter::All, next)? {
        next = msg.seq + 1;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (subject, headers, payload) = (text(msg.subject), text(msg.headers), text(msg.payload));
        seen.push(format!("{} {subject} {headers} {payload}", msg.seq));
    }
    seen.push(format!("{:?} {:?}", store.state(), store.damaged()));
    seen.push(format!("{:?}", storage.consumers("A", "S")?));
    Ok(seen)
}

/// Stops the disk after each operation of the change in turn.
fn change_with_crashes(from: Option<Encryption>, to: Option<Encryption>, compress: bool, power: bool) {
    let mut step = 0;
    loop {
        let disk = SimDisk::new(step);
        let before = storage(&disk, from.clone());
        fill(&before, compress).close().unwrap();
        before.sync_metadata().unwrap();
        for file in ["index.db", "jetkv.db"] {
            let file = Path::new("/store/jetstream/A/streams/S/msgs").join(file);
            disk.open(&file, false).unwrap().sync().unwrap();
        }
        disk.sync_dir(Path::new("/store/jetstream/A/streams/S/msgs")).unwrap();
        let expected = picture(&before).unwrap();
        disk.fail_after(step, u64::MAX, Fault::Stop);
        let changed = Storage::open(Arc::new(disk.clone()), Path::new("/store"), true);
        let changed = changed.and_then(|storage| picture(&storage.encrypted(to.clone())));
        let stopped = disk.is_stopped();
        if power {
            disk.power_failure()
        } else {
            disk.restart()
        }
        let after = storage(&disk, to.clone());
        assert_eq!(picture(&after).unwrap(), expected, "step {step}");
        assert_eq!(readable(&disk, Path::new("/store")), Vec::<String>::new(), "step {step}");
        assert_eq!(picture(&after).unwrap(), expected, "step {step}, again");
        if !stopped {
            assert_eq!(changed.unwrap(), expected);
            assert!(step > 25, "{step} steps");
            return;
        }
        step += 1;
    }
}

#[test]
fn a_change_that_is_interrupted_anywhere_loses_nothing() {
    let (chacha, aes) = (Cipher::ChaCha, Cipher::Aes);
    for power in [false, true] {
        change_with_crashes(None, with("k", None, chacha), true, power);
    }
    change_with_crashes(with("k", None, chacha), with("k", None, aes), false, false);
    change_with_crashes(with("old", None, aes), with("new", Some("old"), aes), true, true);
}

#[test]
fn a_change_that_fails_is_made_with_the_next_start() {
    for fault in [Fault::Error, Fault::Full] {
        for after in (0..120).step_by(3) {
            let disk = SimDisk::new(after);
            let before = storage(&disk, None);
            fill(&before, false).close().unwrap();
            before.sync_metadata().unwrap();
            let expected = picture(&before).unwrap();
            disk.fail_after(after, 2, fault);
            let to = with("k", None, Cipher::Aes);
            let _ = Storage::open(Arc::new(disk.clone()), Path::new("/store"), true)
                .and_then(|storage| picture(&storage.encrypted(to.clone())));
            disk.restart();
            assert_eq!(picture(&storage(&disk, to)).unwrap(), expected, "{fault:?} after {after}");
        }
    }
}

#[test]
fn what_cannot_be_decrypted_is_told_and_left_alone() {
    let disk = SimDisk::new(1);
    let right = with("right", None, Cipher::ChaCha);
    fill(&storage(&disk, right.clone()), false).close().unwrap();
    let expected = picture(&storage(&disk, right.clone())).unwrap();
    for (keys, problem) in [
        (None, "Error decrypting our stream metafile: encryption not enabled"),
        (with("wrong", None, Cipher::ChaCha), "Error decrypting our stream metafile: unable to recover keys"),
        (with("wrong", Some("other"), Cipher::Aes), "unable to recover keys"),
    ] {
        let wrong = storage(&disk, keys);
        let meta = wrong.streams("A").unwrap().remove(0).meta.unwrap_err();
        assert!(meta.contains(problem), "{meta}");
        assert!(wrong.locked("A", "S").is_some());
        let consumer = wrong.consumers("A", "S").unwrap().remove(0).meta.unwrap_err();
        assert!(consumer.contains("our consumer metafile"), "{consumer}");
    }
    // The cipher is found out, and the previous key is as good as the new one.
    for keys in [right, with("new", Some("right"), Cipher::Aes), with("new", None, Cipher::Aes)] {
        assert_eq!(picture(&storage(&disk, keys)).unwrap(), expected);
    }
}

#[test]
fn a_key_file_that_is_damaged_is_told_and_a_block_without_its_key_is_kept_aside() {
    let disk = SimDisk::new(1);
    let keys = with("k", None, Cipher::Aes);
    fill(&storage(&disk, keys.clone()), false).close().unwrap();
    let dir = Path::new("/store/jetstream/A/streams/S");
    disk.remove_file(&dir.join("msgs/2.key")).unwrap();
    disk.replace(&dir.join("msgs/3.key"), &[0; 64], false).unwrap();
    let held = storage(&disk, keys.clone()).open_stream("A", "S", FileOptions::default()).unwrap().state();
    assert!((1..10).contains(&held.msgs), "{held:?}");
    for kept in ["2.blk.1", "3.blk.1", "3.key.1"] {
        assert!(disk.read(&dir.join("quarantine").join(kept)).is_ok(), "{kept}");
    }
    disk.replace(&dir.join("meta.key"), &[0; 12], false).unwrap();
    let meta = storage(&disk, keys).streams("A").unwrap().remove(0).meta;
    assert_eq!(meta, Err("Bad stream encryption key length of 12".to_owned()));
}

fn start(disk: &SimDisk, encryption: Option<Encryption>) -> TestEngine {
    let sync = SyncPolicy::Always;
    let config =
        EngineConfig { store_dir: Some("/store".into()), sync, encryption, ..EngineConfig::default() };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), Arc::new(disk.clone())).unwrap()
}

#[test]
fn an_engine_leaves_nothing_that_can_be_read() {
    let disk = SimDisk::new(1);
    let keys = with("k", None, Cipher::ChaCha);
    let engine = start(&disk, keys.clone());
    let config = r#"{"name":"S","subjects":["secret.>"],"max_bytes":40000,"metadata":{"a":"secret"}}"#;
    assert!(engine.request("STREAM.CREATE.S", config).contains("did_create"));
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","description":"secret"}}"#;
    assert!(engine.request("CONSUMER.DURABLE.CREATE.S.C", consumer).contains("\"config\""));
    for number in 0..2000 {
        let answer = engine.publish(&format!("secret.{number}"), &[("Nats-Msg-Id", "secret")], "secret");
        assert!(answer.contains("\"seq\""), "{answer}");
    }
    let update = config.replace("40000", "50000");
    assert!(engine.request("STREAM.UPDATE.S", &update).contains("50000"));
    let before = engine.request("STREAM.INFO.S", "");
    drop(engine);
    let engine = start(&disk, keys);
    assert_eq!(engine.request("STREAM.INFO.S", ""), before);
    assert!(engine.request("CONSUMER.INFO.S.C", "").contains("secret"));
    drop(engine);
    assert_eq!(readable(&disk, Path::new("/store")), Vec::<String>::new());
    // A mark that it is new does not make a stream with a wrong key go.
    let mark = Path::new("/store/jetstream/$G/streams/S/meta.new");
    disk.replace(mark, b"", true).unwrap();
    for keys in [None, with("wrong", None, Cipher::Aes)] {
        assert!(start(&disk, keys).request("STREAM.INFO.S", "").contains("10059"));
    }
    // What is there under the name is not replaced because the key is wrong.
    let engine = start(&disk, with("wrong", None, Cipher::ChaCha));
    assert!(engine.request("STREAM.INFO.S", "").contains("10059"));
    assert!(engine.request("STREAM.CREATE.S", config).contains("error creating store for stream"));
    drop(engine);
    let engine = start(&disk, with("k", None, Cipher::ChaCha));
    assert_eq!(engine.request("STREAM.INFO.S", ""), before);
}
