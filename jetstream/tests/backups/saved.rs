//! States that are kept in memory: what is brought back is what was there, as often as it is brought back, and a crash on the
//! way leaves all of a stream or nothing.

use super::bench::{ask, on_disk, picture, simulated, streams};
use super::fill;
use jetkv_jetstream::settings::SyncPolicy;
use jetkv_testing::{Fault, SimDisk, TestEngine};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/store";

/// Changes keys, removes others and makes new ones.
fn change(engine: &TestEngine) {
    for at in 0..30 {
        engine.publish(&format!("$KV.b.k{}", at % 4), &[], "another");
        engine.publish(&format!("$KV.b.new{at}"), &[], "new");
    }
    ask(engine, "STREAM.PURGE.KV_b", &json!({"filter": "$KV.b.k5"}));
    ask(engine, "STREAM.MSG.DELETE.KV_b", &json!({"seq": 48}));
}

fn load(engine: &TestEngine, saved: &[jetkv_jetstream::SavedStream]) {
    engine.engine.reset_account(engine.account).unwrap();
    engine.engine.load_account(engine.account, saved).unwrap();
}

#[test]
fn what_was_saved_comes_back_as_often_as_it_is_wanted() {
    for storage in ["file", "memory"] {
        let (engine, _) = simulated();
        fill(&engine, storage);
        let before = picture(&engine, "KV_b");
        let saved = engine.engine.save_account(engine.account).unwrap();
        assert_eq!((saved[0].msgs(), saved[0].consumers()), (26, 3));
        for _ in 0..3 {
            change(&engine);
            assert_ne!(picture(&engine, "KV_b"), before);
            load(&engine, &saved);
            assert_eq!(picture(&engine, "KV_b"), before, "{storage}");
        }
        let ack: Value = serde_json::from_str(&engine.publish("$KV.b.k1", &[], "more")).unwrap();
        assert_eq!(ack["seq"], 49, "sequences go on: {ack}");
        engine.advance_ns(3_000_000_000);
        let info = ask(&engine, "STREAM.INFO.KV_b", &json!({"subjects_filter": "$KV.b.short"}));
        assert!(info["state"]["subjects"].is_null(), "TTLs go on: {info}");
    }
}

#[test]
fn ids_of_messages_that_come_back_are_known_for_as_long_as_before() {
    for storage in ["file", "memory"] {
        let (engine, _) = simulated();
        let config = json!({"name": "S", "subjects": ["s"], "storage": storage});
        ask(&engine, "STREAM.CREATE.S", &config);
        let again = || -> Value {
            serde_json::from_str(&engine.publish("s", &[("Nats-Msg-Id", "one")], "")).unwrap()
        };
        engine.publish("s", &[], "");
        again();
        let saved = engine.engine.save_account(engine.account).unwrap();
        engine.publish("s", &[], "");
        load(&engine, &saved);
        assert_eq!((&again()["duplicate"], &again()["seq"]), (&json!(true), &json!(2)), "{storage}");
        engine.advance_ns(121_000_000_000);
        assert_eq!(again()["seq"], 3, "{storage}");
    }
}

#[test]
fn what_came_back_is_there_after_a_restart_and_goes_on() {
    for sync in [SyncPolicy::Always, SyncPolicy::EveryNs(120_000_000_000)] {
        let disk = SimDisk::new(3);
        let engine = on_disk(Path::new(DIR), Arc::new(disk.clone()), sync);
        fill(&engine, "file");
        // A consumer that asked for memory does not outlive the process.
        ask(&engine, "CONSUMER.DELETE.KV_b.forgetful", &json!({}));
        let before = picture(&engine, "KV_b");
        let saved = engine.engine.save_account(engine.account).unwrap();
        change(&engine);
        load(&engine, &saved);
        engine.engine.shutdown();
        let engine = on_disk(Path::new(DIR), Arc::new(disk.clone()), sync);
        assert_eq!(picture(&engine, "KV_b"), before);
        change(&engine);
        let changed = picture(&engine, "KV_b");
        engine.engine.shutdown();
        assert_eq!(picture(&on_disk(Path::new(DIR), Arc::new(disk), sync), "KV_b"), changed);
    }
}

#[test]
fn a_load_that_is_interrupted_anywhere_leaves_all_of_a_stream_or_nothing() {
    let (mut whole, mut gone) = (0, 0);
    for sync in [SyncPolicy::Always, SyncPolicy::EveryNs(120_000_000_000)] {
        let first = on_disk(Path::new(DIR), Arc::new(SimDisk::new(7)), sync);
        fill(&first, "file");
        ask(&first, "CONSUMER.DELETE.KV_b.forgetful", &json!({}));
        let before = picture(&first, "KV_b");
        let saved = first.engine.save_account(first.account).unwrap();
        for power in [false, true] {
            let mut after = 0;
            loop {
                let disk = SimDisk::new(after);
                let failing = on_disk(Path::new(DIR), Arc::new(disk.clone()), sync);
                disk.fail_after(after, 1, Fault::Stop);
                let loaded = failing.engine.load_account(failing.account, &saved).is_ok();
                let stopped = disk.is_stopped();
                drop(failing);
                if power {
                    disk.power_failure()
                } else {
                    disk.restart()
                }
                let found = on_disk(Path::new(DIR), Arc::new(disk.clone()), sync);
                match streams(&disk).as_slice() {
                    [] => {
                        let may_go = power && sync != SyncPolicy::Always;
                        assert!(!loaded || stopped || may_go, "{after}: what was loaded stays");
                        gone += 1;
                    }
                    [one] => {
                        assert_eq!(one, "KV_b");
                        let kept = picture(&found, "KV_b");
                        if !power || sync == SyncPolicy::Always {
                            assert_eq!(kept, before, "{after} {power} {sync:?}");
                        }
                        whole += 1;
                    }
                    more => panic!("{after}: {more:?}"),
                }
                if !stopped {
                    break;
                }
                after += 1;
            }
        }
    }
    assert!(whole > 10 && gone > 30, "{whole} {gone}");
}
