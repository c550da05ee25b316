//! Whoever changes metadata waits for the disk without a lock that others need; and what became of the change is what the
//! answer says, whichever sync fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::clock::ManualClock;
use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::stream::Inbound;
use jetkv_jetstream::{EngineConfig, SyncPolicy};
use jetkv_testing::{DiskHook, Fault, HookedDisk, START_NS, SimDisk, TestEngine};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const DIR: &str = "/store/jetstream/$G/streams/S";
const STREAM: &str = r#"{"name":"S","subjects":["s.>"],"max_msgs":50}"#;
const CONSUMER: &str = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;

/// What changes, in an order in which each finds what it is about.
const CHANGES: [(&str, &str); 10] = [
    ("STREAM.CREATE.S", STREAM),
    ("CONSUMER.DURABLE.CREATE.S.C", CONSUMER),
    ("STREAM.CREATE.T", r#"{"name":"T","subjects":["t.>"],"first_seq":7}"#),
    ("STREAM.UPDATE.S", r#"{"name":"S","subjects":["s.>","more"],"max_msgs":3}"#),
    (
        "CONSUMER.DURABLE.CREATE.S.C",
        r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","filter_subject":"s.5"}}"#,
    ),
    ("CONSUMER.PAUSE.S.C", r#"{"pause_until":"2100-01-01T00:00:00Z"}"#),
    ("CONSUMER.RESET.S.C", r#"{"seq":1}"#),
    ("CONSUMER.RESET.S.C", ""),
    ("CONSUMER.DELETE.S.C", ""),
    ("STREAM.DELETE.S", ""),
];

type IsLocked = Box<dyn Fn() -> bool + Send>;
type Meanwhile = Box<dyn FnOnce() + Send>;

/// Counts syncs, and those during which a lock is held; and lets something else happen while the first one runs.
#[derive(Default)]
struct Watch {
    is_locked: Mutex<Option<IsLocked>>,
    counts: Mutex<(u32, u32)>,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl Watch {
    fn count(&self) {
        let held = self.is_locked.lock().as_ref().is_some_and(|is_locked| is_locked());
        let mut counts = self.counts.lock();
        *counts = (counts.0 + 1, counts.1 + u32::from(held));
    }
}

impl DiskHook for Watch {
    fn before_sync_of_names(&self) {
        self.count();
    }

    fn sync(&self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.count();
        let meanwhile = self.meanwhile.lock().take();
        meanwhile.into_iter().for_each(|meanwhile| meanwhile());
        sync()
    }
}

fn start(disk: Arc<dyn Disk>, sync: SyncPolicy) -> TestEngine {
    let config = EngineConfig { store_dir: Some("/store".into()), sync, ..EngineConfig::default() };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), disk).unwrap()
}

fn watched(disk: &SimDisk, sync: SyncPolicy) -> (Arc<TestEngine>, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let engine = Arc::new(start(Arc::new(HookedDisk::new(disk.clone(), watch.clone())), sync));
    let watched = Arc::downgrade(&engine);
    *watch.is_locked.lock() = Some(Box::new(move || watched.upgrade().is_some_and(|held| held.is_locked())));
    (engine, watch)
}

fn is_granted(answer: &str) -> bool {
    !answer.is_empty() && !answer.contains("\"error\"")
}

const POLICIES: [SyncPolicy; 2] = [SyncPolicy::EveryNs(120_000_000_000), SyncPolicy::Always];

#[test]
fn nothing_of_the_metadata_is_synced_while_a_lock_is_held() {
    for sync in POLICIES {
        let (engine, watch) = watched(&SimDisk::new(1), sync);
        for (subject, payload) in CHANGES {
            let before = std::mem::take(&mut *watch.counts.lock());
            assert_eq!(before.1, 0);
            let answer = engine.request(subject, payload);
            assert!(is_granted(&answer), "{subject}: {answer}");
            let (syncs, locked) = *watch.counts.lock();
            assert!(syncs > 0 || subject.contains("RESET"), "{subject} {sync:?} is not made durable");
            assert_eq!(locked, 0, "{subject} {sync:?}: of {syncs} syncs");
            for key in 0..6 {
                engine.publish(&format!("s.{key}"), &[], "value");
            }
        }
    }
}

#[test]
fn the_state_of_consumers_is_not_synced_while_a_lock_is_held() {
    let (engine, watch) = watched(&SimDisk::new(2), SyncPolicy::Always);
    engine.request("STREAM.CREATE.S", STREAM);
    engine.request("CONSUMER.DURABLE.CREATE.S.C", CONSUMER);
    engine.publish("s.1", &[], "value");
    engine.host.listen("_INBOX.api", None);
    let sent = engine.request_all("CONSUMER.MSG.NEXT.S.C", "");
    assert!(sent.iter().any(|sent| sent.reply.starts_with("$JS.ACK.")), "{sent:?}");
    *watch.counts.lock() = (0, 0);
    // That it was delivered is saved some time later.
    engine.advance_ns(1_000_000_000);
    let (syncs, locked) = *watch.counts.lock();
    assert!(syncs > 0 && locked == 0, "{locked} of {syncs}");
}

#[test]
fn what_is_taken_up_is_not_synced_while_a_lock_is_held() {
    for sync in POLICIES {
        for (file, subject, payload) in [
            ("meta.inf", "STREAM.CREATE.S", STREAM),
            ("meta.sum", "STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"first_seq":200}"#),
            ("obs/C/meta.inf", "CONSUMER.DURABLE.CREATE.S.C", CONSUMER),
        ] {
            for state_too in [false, true] {
                let disk = SimDisk::new(3);
                let engine = start(Arc::new(disk.clone()), sync);
                engine.request("STREAM.CREATE.S", STREAM);
                engine.publish("s.1", &[], "value");
                engine.request("CONSUMER.DURABLE.CREATE.S.C", CONSUMER);
                engine.engine.shutdown();
                disk.remove_file(&Path::new(DIR).join(file)).unwrap();
                if state_too {
                    disk.replace(&Path::new(DIR).join("obs/C/o.dat"), b"junk", true).unwrap();
                }
                let (engine, watch) = watched(&disk, sync);
                *watch.counts.lock() = (0, 0);
                let answer = engine.request(subject, payload);
                assert!(is_granted(&answer), "{file}: {answer}");
                let (syncs, locked) = *watch.counts.lock();
                assert!(syncs > 0 && locked == 0, "{file} {sync:?}: {locked} of {syncs} syncs");
                for seed in 0..8 {
                    let disk = disk.after_power_failure(seed);
                    let engine = start(Arc::new(disk), sync);
                    let names = engine.request("CONSUMER.NAMES.S", "");
                    let is_there = names.contains("\"C\"") || payload.contains("200");
                    assert!(is_there, "{file} {sync:?} {seed}: {names}");
                }
            }
        }
    }
}

#[test]
fn a_delete_whose_sync_fails_is_answered_as_done_and_lasts_once_the_disk_works() {
    for sync in POLICIES {
        for (subject, look, gone) in [
            ("CONSUMER.DELETE.S.C", "CONSUMER.INFO.S.C", "consumer not found"),
            ("STREAM.DELETE.S", "STREAM.INFO.S", "stream not found"),
        ] {
            let disk = SimDisk::new(4);
            let engine = start(Arc::new(disk.clone()), sync);
            engine.request("STREAM.CREATE.S", STREAM);
            engine.request("CONSUMER.DURABLE.CREATE.S.C", CONSUMER);
            // It is renamed, and no sync after that succeeds.
            disk.fail_after(2, 1000, Fault::Error);
            let answer = engine.request(subject, "");
            assert!(answer.contains(r#""success":true"#), "{subject} {sync:?}: {answer}");
            assert!(engine.request(look, "").contains(gone), "{subject} {sync:?}");
            disk.restart();
            // Any other change makes up for it.
            assert!(is_granted(&engine.request("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"]}"#)));
            for seed in 0..20 {
                let engine = start(Arc::new(disk.after_power_failure(seed)), sync);
                assert!(engine.request(look, "").contains(gone), "{subject} {sync:?} {seed}");
            }
        }
    }
}

const FILTERED: &str =
    r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","filter_subject":"s.5"}}"#;
const PAUSED: &str = r#"{"pause_until":"2100-01-01T00:00:00Z"}"#;
const MORE: &str = r#"{"name":"S","subjects":["s.>","more"],"max_msgs":50}"#;
const FEWER: &str = r#"{"name":"S","subjects":["s.>"],"max_msgs":3}"#;

/// A change, another one while that waits for the disk, what the first is answered, and what is there afterwards.
const MEETINGS: [[&str; 7]; 8] = [
    [
        "CONSUMER.DURABLE.CREATE.S.C",
        FILTERED,
        "CONSUMER.PAUSE.S.C",
        PAUSED,
        r#""s.5""#,
        "CONSUMER.INFO.S.C",
        r#""paused":true"#,
    ],
    [
        "CONSUMER.PAUSE.S.C",
        PAUSED,
        "CONSUMER.DURABLE.CREATE.S.C",
        FILTERED,
        r#""paused":true"#,
        "CONSUMER.INFO.S.C",
        r#""s.5""#,
    ],
    [
        "CONSUMER.PAUSE.S.C",
        PAUSED,
        "CONSUMER.DELETE.S.C",
        "",
        "consumer not found",
        "CONSUMER.NAMES.S",
        r#""total":0"#,
    ],
    [
        "CONSUMER.DURABLE.CREATE.S.C",
        FILTERED,
        "CONSUMER.DELETE.S.C",
        "",
        r#""s.5""#,
        "CONSUMER.INFO.S.C",
        r#""s.5""#,
    ],
    ["CONSUMER.RESET.S.C", "", "CONSUMER.DELETE.S.C", "", "", "CONSUMER.NAMES.S", r#""total":0"#],
    ["STREAM.UPDATE.S", MORE, "STREAM.DELETE.S", "", "stream not found", "STREAM.NAMES", r#""total":0"#],
    [
        "STREAM.UPDATE.S",
        MORE,
        "STREAM.CREATE.U",
        r#"{"name":"U","subjects":["more"]}"#,
        "subjects overlap",
        "STREAM.NAMES",
        r#""total":2"#,
    ],
    ["STREAM.UPDATE.S", MORE, "STREAM.UPDATE.S", FEWER, r#""more""#, "STREAM.INFO.S", r#""max_msgs":50"#],
];

#[test]
fn a_change_that_meets_another_while_it_waits_for_the_disk_is_made_of_what_that_left() {
    for [subject, payload, other, other_payload, answered, look, shows] in MEETINGS {
        for sync in POLICIES {
            let disk = SimDisk::new(5);
            let (engine, watch) = watched(&disk, sync);
            engine.request("STREAM.CREATE.S", STREAM);
            engine.request("CONSUMER.DURABLE.CREATE.S.C", CONSUMER);
            let others = engine.clone();
            *watch.meanwhile.lock() = Some(Box::new(move || {
                let answer = others.request(other, other_payload);
                assert!(is_granted(&answer), "{other}: {answer}");
            }));
            let answer = engine.request(subject, payload);
            // A reset waits for the disk only where everything does.
            let met = watch.meanwhile.lock().take().is_none();
            assert!(met || subject.contains("RESET"), "{subject} {sync:?}");
            if !met {
                continue;
            }
            assert!(answer.contains(answered), "{subject} {sync:?} and {other}: {answer}");
            for engine in [&*engine, &start(Arc::new(disk.clone()), sync)] {
                let found = engine.request(look, "");
                assert!(found.contains(shows), "{subject} {sync:?} and {other}: {found}");
            }
            let entries: Vec<String> =
                disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect();
            assert!(!entries.iter().any(|name| name.ends_with(".tmp")), "{entries:?}");
        }
    }
}

#[test]
fn a_consumer_that_is_granted_as_soon_as_its_stream_is_there_is_kept() {
    for sync in POLICIES {
        let disk = SimDisk::new(8);
        let engine = start(Arc::new(disk.clone()), sync);
        let made = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Again and again while the stream is made, and once more.
            let creates = scope.spawn(|| {
                loop {
                    let was_made = made.load(Ordering::SeqCst);
                    let granted = is_granted(&engine.request("CONSUMER.DURABLE.CREATE.S.C", CONSUMER));
                    if granted || was_made {
                        return granted;
                    }
                }
            });
            let stream = engine.request("STREAM.CREATE.S", STREAM);
            made.store(true, Ordering::SeqCst);
            assert!(creates.join().unwrap(), "{stream}");
        });
        let killed = start(Arc::new(disk.clone_of()), sync);
        let found = killed.request("CONSUMER.INFO.S.C", "");
        assert!(is_granted(&found), "{sync:?}: {found}");
    }
}

#[test]
fn an_update_that_is_refused_takes_nothing_and_one_that_is_granted_lasts() {
    for sync in POLICIES {
        let mut granted = false;
        for step in 0..100 {
            let disk = SimDisk::new(6);
            let engine = start(Arc::new(disk.clone()), sync);
            engine.request("STREAM.CREATE.S", STREAM);
            for key in 0..6 {
                engine.publish(&format!("s.{key}"), &[], "value");
            }
            engine.advance_ns(1_000_000_000);
            disk.fail_after(step, 1, Fault::Error);
            granted = is_granted(&engine.request("STREAM.UPDATE.S", FEWER));
            // Refused once it held, because the removals that follow from it could not be made durable, it lasts.
            let holds = engine.request("STREAM.INFO.S", "").contains("\"max_msgs\":3,");
            let (messages, limit) = if holds { (3, 3) } else { (6, 50) };
            assert!(holds || !granted, "{sync:?} step {step}");
            let is_so = |engine: &TestEngine| {
                let info = engine.request("STREAM.INFO.S", "");
                info.contains(&format!("\"messages\":{messages},"))
                    && info.contains(&format!("\"max_msgs\":{limit},"))
            };
            assert!(is_so(&engine) || holds && !granted, "{sync:?} step {step}, granted: {granted}");
            engine.engine.shutdown();
            disk.restart();
            let again = start(Arc::new(disk.clone()), sync);
            assert!(is_so(&again), "{sync:?} step {step}, granted: {granted}, after a start");
            if granted && step > 20 {
                break;
            }
        }
        assert!(granted, "{sync:?}: nothing was left to fail");
    }
}

/// Publishes what waits for a sync that has been asked for and has not run.
fn queue(engine: &TestEngine, reply: &[u8]) {
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    stream.publish(&Inbound { subject: b"s.1", reply, headers: b"", payload: b"x" });
    stream.commit(&*engine.host);
    assert!(engine.host.take().iter().all(|sent| sent.to.as_bytes() != reply), "its sync has not run");
}

/// Whether `reply` was told that its message is stored.
fn is_stored(engine: &TestEngine, reply: &str) -> bool {
    engine.host.take().iter().any(|sent| sent.to == reply && sent.payload.contains("\"seq\":"))
}

#[test]
fn a_stream_that_ends_waits_for_the_disk_once_and_without_a_lock() {
    let (engine, watch) = watched(&SimDisk::new(1), SyncPolicy::Always);
    assert!(is_granted(&engine.request("STREAM.CREATE.S", STREAM)));
    queue(&engine, b"first");
    *watch.counts.lock() = (0, 0);
    let ending = Arc::downgrade(&engine);
    *watch.meanwhile.lock() = Some(Box::new(move || {
        let engine = ending.upgrade().unwrap();
        let late = Inbound { subject: b"s.1", reply: b"late", headers: b"", payload: b"x" };
        assert!(engine.engine.stream(engine.account, "S").is_none_or(|stream| {
            stream.publish(&late);
            stream.commit(&*engine.host);
            !stream.is_closed()
        }));
    }));
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    assert!(is_granted(&engine.request("STREAM.DELETE.S", "")));
    let (syncs, held) = *watch.counts.lock();
    assert!(syncs > 0 && held == 0, "{held} of {syncs} syncs ran under a lock");
    assert!(is_stored(&engine, "first"));
    engine.host.sync_all();
    assert_eq!(*watch.counts.lock(), (syncs, 0), "the sync that was queued finds nothing");
    assert!(stream.is_closed());
}

#[test]
fn a_server_that_goes_down_waits_for_the_disk_without_a_lock_and_takes_nothing_more() {
    let (engine, watch) = watched(&SimDisk::new(1), SyncPolicy::Always);
    assert!(is_granted(&engine.request("STREAM.CREATE.S", STREAM)));
    queue(&engine, b"first");
    *watch.counts.lock() = (0, 0);
    let (ending, others) = (Arc::downgrade(&engine), watch.clone());
    *watch.meanwhile.lock() = Some(Box::new(move || {
        let engine = ending.upgrade().unwrap();
        let stream = engine.engine.stream(engine.account, "S").unwrap();
        stream.publish(&Inbound { subject: b"s.1", reply: b"late", headers: b"", payload: b"x" });
        stream.commit(&*engine.host);
        // What closes the files afterwards is not asked for by anyone who waits.
        *others.is_locked.lock() = None;
    }));
    engine.engine.shutdown();
    let (syncs, held) = *watch.counts.lock();
    assert!(syncs > 0 && held == 0, "{held} of {syncs} syncs ran under a lock");
    let told = engine.host.take();
    let answered =
        |reply: &str| told.iter().any(|sent| sent.to == reply && sent.payload.contains("\"seq\":1"));
    assert!(answered("first") && told.iter().all(|sent| sent.to != "late"), "{told:?}");
}

#[test]
fn streams_that_cannot_be_deleted_with_all_others_go_on() {
    for sync in POLICIES {
        let disk = SimDisk::new(7);
        let engine = start(Arc::new(disk.clone()), sync);
        for name in ["S", "T", "U"] {
            let config = format!(r#"{{"name":"{name}","subjects":["{name}"]}}"#);
            assert!(is_granted(&engine.request(&format!("STREAM.CREATE.{name}"), &config)));
        }
        disk.fail_after(0, 1000, Fault::Error);
        assert!(engine.engine.reset_account(engine.account).is_err(), "{sync:?}");
        disk.restart();
        for name in ["S", "T", "U"] {
            let answer = engine.publish(name, &[], "x");
            assert!(answer.contains("\"seq\":1"), "{name} {sync:?}: {answer}");
        }
    }
}
