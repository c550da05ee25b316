//! A crash at every step of the commit of a batch, of the process or of the power: all of the batch is there, or nothing
//! of it and all that it would have displaced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::{Cipher, Encryption, EngineConfig, ManualClock, SyncPolicy};
use jetkv_testing::{Fault, START_NS, SimDisk, TestEngine};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Blocks of 32,000 bytes.
const STREAM: &str = r#"{"name":"S","subjects":["s.>"],"allow_atomic":true,"allow_rollup_hdrs":true,
    "allow_msg_schedules":true,"max_msgs_per_subject":1,"max_bytes":120000}"#;
/// What the first message of a batch may have, that ends a schedule, or would.
const ENDS: [(&str, &str); 2] = [("Nats-Scheduler", "s.plan"), ("Nats-Schedule-Next", "purge")];
/// What a message has that is published in ten seconds.
const PLAN: [(&str, &str); 2] =
    [("Nats-Schedule", "@at 2023-11-14T22:13:30Z"), ("Nats-Schedule-Target", "s.5")];
const KEYS: usize = 6;

type Content = BTreeMap<String, String>;

fn start(disk: &SimDisk, sync: SyncPolicy) -> TestEngine {
    start_with(disk, sync, None)
}

fn start_with(disk: &SimDisk, sync: SyncPolicy, cipher: Option<Cipher>) -> TestEngine {
    let key = "a key for tests".to_owned();
    let encryption = cipher.map(|cipher| Encryption { key, previous_key: None, cipher });
    let config =
        EngineConfig { store_dir: Some("/store".into()), sync, encryption, ..EngineConfig::default() };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), Arc::new(disk.clone())).unwrap()
}

/// The newest value of each key, and how many messages there are.
fn content(engine: &TestEngine) -> (Content, String) {
    let mut content = Content::new();
    for key in 0..KEYS {
        let request = format!("{{\"last_by_subj\":\"s.{key}\"}}");
        let answer = engine.request("STREAM.MSG.GET.S", &request);
        if let Some((_, rest)) = answer.split_once("\"data\":\"") {
            content.insert(format!("s.{key}"), rest.split('"').next().unwrap().to_owned());
        }
    }
    let info = engine.request("STREAM.INFO.S", "");
    let messages = info.split("\"messages\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    (content, messages)
}

/// Values for some keys, of which a batch displaces or rolls up some.
fn before(disk: &SimDisk, sync: SyncPolicy, cipher: Option<Cipher>) -> TestEngine {
    let engine = start_with(disk, sync, cipher);
    assert!(engine.request("STREAM.CREATE.S", STREAM).contains("did_create"));
    for key in 0..3 {
        assert!(engine.publish(&format!("s.{key}"), &[], "old").contains("\"seq\""));
    }
    engine.engine.stream(engine.account, "S").unwrap().commit_now(&*engine.host);
    engine.host.sync_all();
    while engine.engine.stream(engine.account, "S").unwrap().sync(&*engine.host) {}
    engine
}

/// Publishes a batch whose first message has these headers, too.
fn batch(engine: &TestEngine, value_bytes: usize, first: &[(&str, &str)]) -> String {
    let value = "v".repeat(value_bytes);
    let mut answer = String::new();
    for seq in 1..=KEYS {
        let number = seq.to_string();
        let mut headers = vec![("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", &*number)];
        if seq == 1 {
            headers.push(("Nats-Rollup", "sub"));
            headers.extend(first);
        }
        if seq == KEYS {
            headers.push(("Nats-Batch-Commit", "1"));
        }
        answer = engine.publish(&format!("s.{}", (seq - 1) % (KEYS - 1)), &headers, &value);
    }
    answer
}

/// Stops the disk after each number of operations in turn; gives the number of steps that there are.
fn crash_everywhere(sync: SyncPolicy, cipher: Option<Cipher>, value_bytes: usize, power: bool) -> u64 {
    crash_a_batch_everywhere(sync, cipher, power, "", &|engine| batch(engine, value_bytes, &[]))
}

/// The same of a batch that `commit` publishes, where the subject `plan` holds a schedule.
fn crash_a_batch_everywhere(
    sync: SyncPolicy,
    cipher: Option<Cipher>,
    power: bool,
    plan: &str,
    commit: &dyn Fn(&TestEngine) -> String,
) -> u64 {
    let (mut kept, mut lost) = (0, 0);
    for step in 0.. {
        let disk = SimDisk::new(step);
        let engine = before(&disk, sync, cipher);
        if !plan.is_empty() {
            assert!(engine.publish(plan, &PLAN, "old").contains("\"seq\""));
            while engine.engine.stream(engine.account, "S").unwrap().sync(&*engine.host) {}
        }
        let old = content(&engine);
        disk.fail_after(step, u64::MAX, Fault::Stop);
        let answer = commit(&engine);
        let stopped = disk.is_stopped();
        drop(engine);
        if power {
            disk.power_failure();
        } else {
            disk.restart();
        }
        let engine = start_with(&disk, sync, cipher);
        let now = content(&engine);
        if now.0.values().any(|value| value.len() > 8) {
            kept += 1;
            assert_eq!(now.1, "5", "step {step}: the whole batch");
            assert!(now.0.values().all(|value| value.len() > 8), "step {step}: {:?}", now.0.keys());
        } else {
            lost += 1;
            assert_eq!(now, old, "step {step}: nothing of the batch");
            assert!(!answer.contains("\"count\""), "step {step}: {answer}");
        }
        assert!(engine.publish("s.5", &[], "more").contains("\"seq\""), "step {step}: it takes messages");
        if !stopped {
            assert!(kept > 0 && lost > 0, "{kept} {lost}");
            return step;
        }
    }
    unreachable!("some step is the last")
}

#[test]
fn a_process_that_ends_leaves_all_of_a_batch_or_nothing() {
    assert!(crash_everywhere(SyncPolicy::EveryNs(1_000_000_000), None, 100, false) >= 1);
    assert!(crash_everywhere(SyncPolicy::EveryNs(1_000_000_000), None, 9_000, false) >= 3);
}

#[test]
fn a_power_failure_leaves_all_of_a_batch_or_nothing() {
    assert!(crash_everywhere(SyncPolicy::Always, None, 100, true) >= 1);
    assert!(crash_everywhere(SyncPolicy::Always, None, 9_000, true) >= 3);
}

#[test]
fn an_encrypted_stream_has_all_of_a_batch_or_nothing() {
    for cipher in [Cipher::ChaCha, Cipher::Aes] {
        for value_bytes in [100, 9_000] {
            let every = SyncPolicy::EveryNs(1_000_000_000);
            assert!(crash_everywhere(every, Some(cipher), value_bytes, false) >= 1);
            assert!(crash_everywhere(SyncPolicy::Always, Some(cipher), value_bytes, true) >= 1);
        }
    }
}

/// What the first message of such a batch says may also be said by what a schedule publishes.
#[test]
fn all_of_a_batch_that_ends_a_schedule_is_there_or_nothing() {
    for plan in ["s.plan", ""] {
        for value_bytes in [100, 20_000] {
            let commit = |engine: &TestEngine| batch(engine, value_bytes, &ENDS);
            let every = SyncPolicy::EveryNs(1_000_000_000);
            let steps = crash_a_batch_everywhere(every, None, false, plan, &commit);
            assert!(steps >= if value_bytes > 100 { 6 } else { 2 }, "{steps}");
            crash_a_batch_everywhere(SyncPolicy::Always, None, true, plan, &commit);
        }
    }
    let commit = |engine: &TestEngine| batch(engine, 20_000, &ENDS);
    crash_a_batch_everywhere(SyncPolicy::Always, Some(Cipher::Aes), true, "", &commit);
}

/// Where the write of a batch is cut after its first message: what was noted of it tells that it is not what a schedule has
/// published, which would look the same.
#[test]
fn the_first_message_of_a_batch_is_taken_away_though_it_ends_a_schedule() {
    let stream = Path::new("/store/jetstream/$G/streams/S");
    let block = stream.join("msgs/1.blk");
    for is_noted in [true, false] {
        let disk = SimDisk::new(1);
        let engine = before(&disk, SyncPolicy::EveryNs(1_000_000_000), None);
        let old = content(&engine);
        let begins = disk.read(&block).unwrap().len();
        assert!(batch(&engine, 100, &ENDS).contains("\"count\":6"));
        drop(engine);
        let written = disk.read(&block).unwrap();
        let len = u32::from_le_bytes(*written[begins..].first_chunk().unwrap()) & 0x7fff_ffff;
        disk.open(&block, false).unwrap().set_len(begins as u64 + u64::from(len)).unwrap();
        if !is_noted {
            disk.remove_dir_all(&stream.join("batches")).unwrap();
        }
        let engine = start(&disk, SyncPolicy::EveryNs(1_000_000_000));
        assert_eq!(content(&engine) == old, is_noted);
        let left = disk.list(&stream.join("batches")).unwrap();
        assert!(left.is_empty(), "what was noted goes: {left:?}");
    }
}

/// Before there were batches, a publisher could have these headers.
#[test]
fn a_stream_without_batches_keeps_a_last_message_with_their_headers() {
    let block = Path::new("/store/jetstream/$G/streams/S/msgs/1.blk");
    let policy = SyncPolicy::EveryNs(1_000_000_000);
    let [with, without] = [true, false].map(|allow_atomic| {
        let disk = SimDisk::new(1);
        let engine = start(&disk, policy);
        let config = format!(r#"{{"name":"S","subjects":["s.>"],"allow_atomic":{allow_atomic}}}"#);
        assert!(engine.request("STREAM.CREATE.S", &config).contains("did_create"));
        (disk, engine)
    });
    for (seq, more) in [("1", ("A", "b")), ("2", ("Nats-Batch-Commit", "1"))] {
        let headers = [("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", seq), more];
        with.1.publish("s.0", &headers, "value");
    }
    drop((with.1, without.1));
    let written = with.0.read(block).unwrap();
    let len = u32::from_le_bytes(*written.first_chunk().unwrap()) & 0x7fff_ffff;
    let first = &written[..usize::try_from(len).unwrap()];
    for (disk, kept) in [(with.0, "\"messages\":0,"), (without.0, "\"messages\":1,")] {
        disk.replace(block, first, true).unwrap();
        let engine = start(&disk, policy);
        let info = engine.request("STREAM.INFO.S", "");
        assert!(info.contains(kept), "{info}");
    }
}

/// What nats-server leaves when it ends amid a commit: the beginning of the batch in the stream, all of it staged. Where
/// nothing is staged, the beginning goes.
#[test]
fn a_batch_that_nats_server_has_begun_to_store_is_completed() {
    let hash = jetkv_go_compat::base62::short_hash("b");
    let streams = Path::new("/store/jetstream/$G/streams");
    for (cut, is_staged) in [(1, true), (2, true), (2, false)] {
        let disk = SimDisk::new(1);
        let engine = start(&disk, SyncPolicy::EveryNs(1_000_000_000));
        for (name, subject) in [("S", "s"), (&*hash, "staged")] {
            let config = format!(r#"{{"name":"{name}","subjects":["{subject}.>"],"allow_atomic":true}}"#);
            assert!(engine.request(&format!("STREAM.CREATE.{name}"), &config).contains("did_create"));
            for (seq, more) in [("1", ("A", "b")), ("2", ("A", "b")), ("3", ("Nats-Batch-Commit", "1"))] {
                let headers = [("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", seq), more];
                engine.publish(&format!("{subject}.{seq}"), &headers, seq);
            }
        }
        drop(engine);
        if is_staged {
            let staged = disk.read(&streams.join(&hash).join("msgs/1.blk")).unwrap();
            let to = streams.join("S/batches").join(&hash).join("msgs");
            disk.create_dir_all(&to).unwrap();
            disk.replace(&to.join("1.blk"), &staged, true).unwrap();
        }
        let block = streams.join("S/msgs/1.blk");
        let record = disk.read(&block).unwrap();
        let len = u32::from_le_bytes(*record.first_chunk().unwrap()) & 0x7fff_ffff;
        // The first two are of the same length.
        disk.open(&block, false).unwrap().set_len(u64::from(len) * cut).unwrap();
        let engine = start(&disk, SyncPolicy::EveryNs(1_000_000_000));
        let info = engine.request("STREAM.INFO.S", "");
        let wanted = if is_staged { "\"messages\":3," } else { "\"messages\":0," };
        assert!(info.contains(wanted), "{cut}, {is_staged}: {info}");
        assert!(
            disk.list(&streams.join("S/batches")).is_ok_and(|left| left.is_empty()),
            "nothing stays staged"
        );
    }
}
