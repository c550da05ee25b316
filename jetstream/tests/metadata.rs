//! Streams and consumers that are created, changed and deleted are as they were or as they were to be, wherever the
//! process or the power ends, and whatever the disk refuses; and what cannot be read is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::disk::{Disk, RealDisk};
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::{EngineConfig, ManualClock, SyncPolicy};
use jetkv_testing::{Fault, START_NS, SimDisk, TestEngine};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STREAM: &str = r#"{"name":"S","subjects":["s.>"],"max_msgs":50}"#;
const CONSUMER: &str = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
const MSGS: u64 = 6;
const ACKED: u64 = 2;
const DIR: &str = "/store/jetstream/$G/streams/S";
const DEFAULT_SYNC: SyncPolicy = SyncPolicy::EveryNs(120_000_000_000);

fn start(disk: &SimDisk, sync: SyncPolicy) -> TestEngine {
    let config = EngineConfig { store_dir: Some("/store".into()), sync, ..EngineConfig::default() };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), Arc::new(disk.clone())).unwrap()
}

fn ask(engine: &TestEngine, subject: &str, payload: &str) -> String {
    engine.request(subject, payload)
}

fn fill(engine: &TestEngine) {
    assert!(ask(engine, "STREAM.CREATE.S", STREAM).contains("did_create"));
    for key in 0..MSGS {
        engine.publish(&format!("s.{key}"), &[], "value");
    }
    assert!(!ask(engine, "CONSUMER.DURABLE.CREATE.S.C", CONSUMER).contains("error"));
    engine.host.listen("_INBOX.api", None);
    for _ in 0..ACKED {
        let sent = engine.request_all("CONSUMER.MSG.NEXT.S.C", "");
        let delivered = sent.iter().find(|sent| sent.reply.starts_with("$JS.ACK.")).expect("a delivery");
        engine.control(&delivered.reply, "", "+ACK").unwrap().commit(&*engine.host);
    }
}

/// A disk on which a server stopped in order that had a stream with messages, and a consumer.
fn with_stream(seed: u64, sync: SyncPolicy) -> SimDisk {
    let disk = SimDisk::new(seed);
    let engine = start(&disk, sync);
    fill(&engine);
    engine.engine.shutdown();
    disk
}

/// A request, and what the answer to another one holds once it has taken effect.
struct Change {
    subject: &'static str,
    payload: &'static str,
    look: &'static str,
    shows: &'static str,
    /// Whether what is looked at is durable without `sync_interval: always`.
    is_metadata: bool,
}

const CHANGES: [Change; 9] = [
    Change {
        subject: "STREAM.CREATE.T",
        payload: r#"{"name":"T","subjects":["t.>"],"first_seq":7}"#,
        look: "STREAM.INFO.T",
        shows: r#""last_seq":6,"#,
        is_metadata: false,
    },
    Change {
        subject: "STREAM.CREATE.T",
        payload: r#"{"name":"T","subjects":["t.>"]}"#,
        look: "STREAM.INFO.T",
        shows: r#""name":"T""#,
        is_metadata: true,
    },
    Change {
        subject: "STREAM.UPDATE.S",
        payload: r#"{"name":"S","subjects":["s.>","more"],"max_msgs":50}"#,
        look: "STREAM.INFO.S",
        shows: r#""more""#,
        is_metadata: true,
    },
    Change {
        subject: "STREAM.DELETE.S",
        payload: "",
        look: "STREAM.INFO.S",
        shows: "stream not found",
        is_metadata: true,
    },
    Change {
        subject: "CONSUMER.DURABLE.CREATE.S.D",
        payload: r#"{"stream_name":"S","config":{"durable_name":"D","ack_policy":"explicit","deliver_policy":"new"}}"#,
        look: "CONSUMER.INFO.S.D",
        shows: r#""delivered":{"consumer_seq":0,"stream_seq":6}"#,
        is_metadata: true,
    },
    Change {
        subject: "CONSUMER.DURABLE.CREATE.S.C",
        payload: r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","filter_subject":"s.5"}}"#,
        look: "CONSUMER.INFO.S.C",
        shows: r#""num_pending":1"#,
        is_metadata: true,
    },
    Change {
        subject: "CONSUMER.PAUSE.S.C",
        payload: r#"{"pause_until":"2100-01-01T00:00:00Z"}"#,
        look: "CONSUMER.INFO.S.C",
        shows: r#""paused":true"#,
        is_metadata: true,
    },
    Change {
        subject: "CONSUMER.RESET.S.C",
        payload: r#"{"seq":1}"#,
        look: "CONSUMER.INFO.S.C",
        shows: r#""num_pending":6"#,
        is_metadata: false,
    },
    Change {
        subject: "CONSUMER.DELETE.S.C",
        payload: "",
        look: "CONSUMER.INFO.S.C",
        shows: "consumer not found",
        is_metadata: true,
    },
];

impl Change {
    /// Whether it has taken effect. Nothing else may have changed.
    fn is_done(&self, engine: &TestEngine, place: &str) -> bool {
        let done = ask(engine, self.look, "").contains(self.shows);
        let is_deleted = |subject| done && self.subject == subject;
        if !is_deleted("STREAM.DELETE.S") {
            let info = ask(engine, "STREAM.INFO.S", "");
            assert!(info.contains(&format!("\"messages\":{MSGS}")), "{place}: {info}");
            let info = ask(engine, "CONSUMER.INFO.S.C", "");
            assert!(is_deleted("CONSUMER.DELETE.S.C") || !info.contains("error"), "{place}: {info}");
        }
        done
    }
}

fn check_all_served(engine: &TestEngine, place: &str) {
    assert!(engine.engine.unserved_streams(engine.account).is_empty(), "{place}: a stream is not served");
}

fn is_granted(answer: &str) -> bool {
    !answer.is_empty() && !answer.contains("\"error\"")
}

#[test]
fn a_change_that_is_interrupted_anywhere_is_made_or_not() {
    for (seed, sync) in [(1, DEFAULT_SYNC), (2, SyncPolicy::Always)] {
        let base = with_stream(seed, sync);
        for change in &CHANGES {
            let (mut steps, mut made) = (0, 0);
            loop {
                let disk = base.clone_of();
                let engine = start(&disk, sync);
                disk.fail_after(steps, 1, Fault::Stop);
                let granted = is_granted(&ask(&engine, change.subject, change.payload));
                let over = !disk.is_stopped();
                // What cannot be taken back is granted even if the last sync fails, as it does here; but a process that
                // has ended grants nothing.
                let is_final = change.subject.contains("DELETE") || change.subject.contains("RESET");
                let granted = granted && (over || !is_final || sync != SyncPolicy::Always);
                for power in [false, true] {
                    let place = format!("{} {sync:?}, step {steps}, power {power}", change.subject);
                    // Without `always`, the answer does not wait for the disk; what comes after it in the background does.
                    let lasts = !power || sync == SyncPolicy::Always || (change.is_metadata && over);
                    for seed in 0..if power { 8 } else { 1 } {
                        let disk = if power { disk.after_power_failure(seed) } else { disk.clone_of() };
                        disk.restart();
                        let engine = start(&disk, sync);
                        check_all_served(&engine, &place);
                        let found = change.is_done(&engine, &place);
                        assert!(found || !granted || !lasts, "{place}: granted, and not there");
                        made += u32::from(found);
                    }
                }
                if over {
                    break;
                }
                steps += 1;
            }
            assert!(steps > 0 && made > 0, "{}: {steps} {made}", change.subject);
        }
    }
}

#[test]
fn a_change_that_the_disk_refuses_is_not_made() {
    for (seed, sync) in [(3, DEFAULT_SYNC), (4, SyncPolicy::Always)] {
        let base = with_stream(seed, sync);
        for (fault, count) in [(Fault::Error, 1), (Fault::Full, 1), (Fault::Full, 1000)] {
            for change in &CHANGES {
                for steps in 0..14 {
                    let disk = base.clone_of();
                    let engine = start(&disk, sync);
                    disk.fail_after(steps, count, fault);
                    let answer = ask(&engine, change.subject, change.payload);
                    let granted = is_granted(&answer);
                    disk.restart();
                    let place = format!("{} {sync:?}, {fault:?} {count} at {steps}", change.subject);
                    let done = change.is_done(&engine, &place);
                    assert_eq!(done, granted, "{place}, now: {answer}");
                    if count == 1 {
                        check_all_served(&engine, &place);
                    }
                    // A disk that refuses all cannot have anything put back.
                    if count == 1 || !granted {
                        let found = change.is_done(&start(&disk, sync), &place);
                        assert!(found == granted || count > 1, "{place}, after a restart");
                    }
                }
            }
        }
    }
}

#[test]
fn a_new_stream_keeps_what_was_acknowledged_before_the_last_sync() {
    let disk = SimDisk::new(5);
    let engine = start(&disk, DEFAULT_SYNC);
    fill(&engine);
    engine.clock.advance_ns(121_000_000_000);
    engine.engine.tick();
    engine.host.sync_all();
    for seed in 0..40 {
        let engine = start(&disk.after_power_failure(seed), DEFAULT_SYNC);
        let info = ask(&engine, "STREAM.INFO.S", "");
        assert!(info.contains(&format!("\"messages\":{MSGS}")), "{info}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Missing,
    Empty,
    Flipped,
}

fn damage(disk: &SimDisk, file: &str, damage: Damage) {
    let path = Path::new(DIR).join(file);
    match damage {
        Damage::Missing => disk.remove_file(&path).unwrap(),
        Damage::Empty => disk.replace(&path, b"", true).unwrap(),
        Damage::Flipped => disk.flip_bit(&path, 80).unwrap(),
    }
}

#[test]
fn a_stream_without_readable_metadata_is_taken_up_by_the_next_create() {
    let base = with_stream(6, DEFAULT_SYNC);
    let kinds: [&[(&str, Damage)]; 7] = [
        &[("meta.inf", Damage::Empty)],
        &[("meta.inf", Damage::Missing)],
        &[("meta.sum", Damage::Missing)],
        &[("meta.sum", Damage::Empty)],
        &[("meta.inf", Damage::Empty), ("meta.sum", Damage::Empty)],
        &[("meta.inf", Damage::Flipped)],
        &[("meta.inf", Damage::Missing), ("meta.sum", Damage::Missing)],
    ];
    for kind in kinds {
        let disk = base.clone_of();
        kind.iter().for_each(|(file, what)| damage(&disk, file, *what));
        let engine = start(&disk, DEFAULT_SYNC);
        assert_eq!(engine.engine.unserved_streams(engine.account), ["S"], "{kind:?}");
        let memory = ask(&engine, "STREAM.CREATE.S", r#"{"name":"S","subjects":["m"],"storage":"memory"}"#);
        assert!(memory.contains("did_create"), "{memory}");
        assert!(ask(&engine, "STREAM.DELETE.S", "").contains("true"), "a stream in memory has no files");
        let created = ask(&engine, "STREAM.CREATE.S", STREAM);
        assert!(created.contains(&format!("\"messages\":{MSGS}")), "{kind:?}: {created}");
        for engine in [&engine, &start(&disk, DEFAULT_SYNC)] {
            let info = ask(engine, "CONSUMER.INFO.S.C", "");
            assert!(info.contains(&format!("\"num_pending\":{}", MSGS - ACKED)), "{kind:?}: {info}");
            assert!(engine.engine.unserved_streams(engine.account).is_empty(), "{kind:?}");
        }
    }
}

#[test]
fn a_stream_that_is_lost_before_it_is_durable_is_taken_up_with_the_messages_that_are_there() {
    for file in ["meta.inf", "meta.sum", "obs/C/meta.inf"] {
        let disk = SimDisk::new(11);
        let engine = start(&disk, DEFAULT_SYNC);
        fill(&engine);
        // The consumer's state is saved; and the marks are there as if nothing had been synced.
        engine.advance_ns(1_000_000_000);
        disk.open(&Path::new(DIR).join("meta.new"), true).unwrap();
        disk.open(&Path::new(DIR).join("obs/C/meta.new"), true).unwrap();
        damage(&disk, file, Damage::Empty);
        disk.restart();
        let engine = start(&disk, DEFAULT_SYNC);
        if !file.starts_with("obs") {
            assert_eq!(engine.engine.unserved_streams(engine.account), ["S"], "{file}");
            let created = ask(&engine, "STREAM.CREATE.S", STREAM);
            assert!(created.contains(&format!("\"messages\":{MSGS}")), "{file}: {created}");
        }
        assert!(!ask(&engine, "CONSUMER.DURABLE.CREATE.S.C", CONSUMER).contains("error"), "{file}");
        for engine in [&engine, &start(&disk, DEFAULT_SYNC)] {
            let info = ask(engine, "CONSUMER.INFO.S.C", "");
            assert!(info.contains(&format!("\"num_pending\":{}", MSGS - ACKED)), "{file}: {info}");
        }
        let names = disk.list(Path::new(DIR)).unwrap();
        assert!(!names.iter().any(|entry| entry.name == "meta.new"), "{file}: it is durable now");
    }
}

#[test]
fn what_does_not_fit_a_new_stream_is_kept_under_its_name() {
    let quarantine = Path::new("/store/jetstream/$G/quarantine");
    let unfit = [(r#"{"name":"S","subjects":["s.>"],"first_seq":200}"#, None), (STREAM, Some("msgs/1.key"))];
    for (config, key) in unfit {
        let disk = with_stream(7, DEFAULT_SYNC);
        for round in 1..3 {
            damage(&disk, "meta.sum", Damage::Missing);
            if let Some(key) = key {
                disk.replace(&Path::new(DIR).join(key), b"key", true).unwrap();
            }
            let engine = start(&disk, DEFAULT_SYNC);
            // What the first round publishes is below the first sequence of the second.
            let config = if round == 1 { config.replace("200", "100") } else { config.to_owned() };
            let created = ask(&engine, "STREAM.CREATE.S", &config);
            assert!(created.contains("\"messages\":0"), "{created}");
            let kept: Vec<PathBuf> =
                disk.list(quarantine).unwrap().into_iter().map(|entry| entry.path).collect();
            assert_eq!(kept.len(), round, "{kept:?}");
            assert!(!disk.list(&kept[0].join("msgs")).unwrap().is_empty());
            engine.publish("s.x", &[], "value");
            assert_eq!(ask(&start(&disk, DEFAULT_SYNC), "STREAM.NAMES", "").matches("\"S\"").count(), 1);
            // The next round has something in its way, too.
            damage(&disk, "meta.inf", Damage::Flipped);
        }
    }
}

#[test]
fn consumers_without_readable_metadata_go_on_where_they_were() {
    let base = with_stream(8, DEFAULT_SYNC);
    let going_on = format!("\"num_pending\":{}", MSGS - ACKED);
    // nats-server does not look at the checksum of a consumer, but wants it to be there.
    for (file, what, is_served) in [
        ("meta.inf", Damage::Missing, false),
        ("meta.inf", Damage::Empty, false),
        ("meta.sum", Damage::Missing, false),
        ("meta.sum", Damage::Empty, true),
        ("meta.sum", Damage::Flipped, true),
    ] {
        let disk = base.clone_of();
        damage(&disk, &format!("obs/C/{file}"), what);
        let engine = start(&disk, DEFAULT_SYNC);
        let info = ask(&engine, "CONSUMER.INFO.S.C", "");
        assert_eq!(info.contains(&going_on), is_served, "{file} {what:?}: {info}");
        assert!(ask(&engine, "CONSUMER.DURABLE.CREATE.S.C", CONSUMER).contains(&going_on), "{file} {what:?}");
        let info = ask(&start(&disk, DEFAULT_SYNC), "CONSUMER.INFO.S.C", "");
        assert!(info.contains(&going_on), "{file} {what:?}: {info}");
    }
    let disk = base.clone_of();
    damage(&disk, "obs/C/meta.inf", Damage::Missing);
    disk.replace(&Path::new(DIR).join("obs/C/o.dat"), b"junk", true).unwrap();
    let engine = start(&disk, DEFAULT_SYNC);
    let created = ask(&engine, "CONSUMER.DURABLE.CREATE.S.C", CONSUMER);
    assert!(created.contains(&format!("\"num_pending\":{MSGS}")), "{created}");
    assert_eq!(disk.read(&Path::new(DIR).join("quarantine/C.o.dat.1")).unwrap(), b"junk");
}

#[test]
fn accounts_beside_the_directory_are_moved_into_it() {
    let disk = with_stream(9, DEFAULT_SYNC);
    disk.rename(Path::new("/store/jetstream/$G"), Path::new("/store/$G")).unwrap();
    let engine = start(&disk, DEFAULT_SYNC);
    assert!(ask(&engine, "STREAM.INFO.S", "").contains(&format!("\"messages\":{MSGS}")));
    assert!(disk.list(Path::new("/store/$G")).unwrap().is_empty());
}

#[test]
fn a_second_server_on_the_directory_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Storage::open(Arc::new(RealDisk), dir.path(), false).unwrap();
    let first = open();
    assert!(!first.is_shared() && open().is_shared());
    drop(first);
    let second = open();
    assert!(!second.is_shared());
    second.release();
    assert!(!open().is_shared(), "whoever keeps the one that was given free");
}

#[test]
fn an_erasure_that_finds_no_room_is_refused_and_removes_nothing() {
    for sync in [DEFAULT_SYNC, SyncPolicy::Always] {
        let disk = with_stream(10, sync);
        let engine = start(&disk, sync);
        for steps in 0..6 {
            disk.fail_after(steps, 1000, Fault::Full);
            let answer = ask(&engine, "STREAM.MSG.DELETE.S", r#"{"seq":3}"#);
            disk.restart();
            assert!(!answer.is_empty(), "{sync:?} {steps}: no answer");
            // That the new file took the old one's place cannot be undone.
            if is_granted(&answer) || answer.contains("could not sync") {
                continue;
            }
            for engine in [&engine, &start(&disk, sync)] {
                let found = ask(engine, "STREAM.MSG.GET.S", r#"{"seq":3}"#);
                assert!(
                    found.contains("\"subject\":\"s.2\""),
                    "{sync:?} {steps}: {answer}, and then {found}"
                );
            }
        }
        assert!(is_granted(&ask(&engine, "STREAM.MSG.DELETE.S", r#"{"seq":2}"#)));
        assert!(ask(&start(&disk, sync), "STREAM.MSG.GET.S", r#"{"seq":2}"#).contains("no message found"));
    }
}

/// What nats-server v2.15.2 serves of streams whose stored subjects are these, in the order of their names; `None` where it
/// leaves the stream on the disk. Older servers let subjects begin and end with blanks.
const STORED_SUBJECTS: [(&str, &str, Option<&str>); 15] = [
    ("blanks", r#""subjects":["foo","bar"," baz "]"#, Some(r#"["foo","bar","baz"]"#)),
    ("breaks", r#""subjects":["\tbreaks\n"]"#, Some(r#"["breaks"]"#)),
    ("dots", r#""subjects":["a..b"]"#, None),
    ("empty", r#""subjects":[""]"#, None),
    ("hard", r#""subjects":["\u00a0hard"]"#, Some("[\"\u{a0}hard\"]")),
    ("inner", r#""subjects":["a b"]"#, None),
    ("mirror", r#""subjects":["a.b"],"mirror":{"name":"blanks"}"#, Some("null")),
    ("mirrorbad", r#""subjects":["a b"],"mirror":{"name":"blanks"}"#, None),
    ("none", r#""subjects":[]"#, Some(r#"["none"]"#)),
    ("only", r#""subjects":["only"," "]"#, None),
    ("overlap", r#""subjects":["ov.x"," ov.x"]"#, None),
    ("taken1", r#""subjects":["taken.*"]"#, Some(r#"["taken.*"]"#)),
    ("taken2", r#""subjects":[" taken.x"]"#, None),
    ("wide", r#""subjects":["\u2003 \u00a0 wide\u000b"]"#, Some(r#"["wide"]"#)),
    ("wildcards", r#""subjects":["q.>.b"]"#, None),
];

#[test]
fn blanks_around_stored_subjects_do_not_keep_a_stream_from_being_served() {
    let disk = SimDisk::new(11);
    let storage = Storage::open(Arc::new(disk.clone()), Path::new("/store"), false).unwrap();
    for (name, subjects, _) in STORED_SUBJECTS {
        let meta =
            format!(r#"{{"Created":"2024-01-01T00:00:00Z","name":"{name}",{subjects},"storage":"file"}}"#);
        storage.create_stream("$G", name, meta.as_bytes(), FileOptions::default()).unwrap();
    }
    drop(storage);
    for when in ["opened", "opened again"] {
        let engine = start(&disk, DEFAULT_SYNC);
        for (name, stored, served) in STORED_SUBJECTS {
            let answer = ask(&engine, &format!("STREAM.INFO.{name}"), "");
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            let Some(served) = served else {
                let code = answer.pointer("/error/err_code").and_then(serde_json::Value::as_u64);
                assert_eq!(code, Some(10059), "{when}: {name} of {stored}: {answer}");
                continue;
            };
            let served: serde_json::Value = serde_json::from_str(served).unwrap();
            let found = answer.pointer("/config/subjects").cloned().unwrap_or_default();
            assert_eq!(found, served, "{when}: {name} of {stored}: {answer}");
        }
        engine.publish("baz", &[], "value");
        engine.engine.shutdown();
    }
    let info = ask(&start(&disk, DEFAULT_SYNC), "STREAM.INFO.blanks", "");
    assert!(info.contains(r#""messages":2,"#), "{info}");
}
