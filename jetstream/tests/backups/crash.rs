//! A crash at any step of a restore leaves all of the stream or nothing, and one of a backup leaves the stream alone.

use super::bench::{DELIVER, acknowledge, ask, backup, on_disk, picture, pieces_raw, restore, streams};
use jetkv_jetstream::settings::SyncPolicy;
use jetkv_testing::{Fault, SimDisk, TestEngine};
use serde_json::json;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/store";

fn engine(disk: &SimDisk, sync: SyncPolicy) -> TestEngine {
    on_disk(Path::new(DIR), Arc::new(disk.clone()), sync)
}

#[test]
fn a_restore_that_is_interrupted_anywhere_leaves_all_or_nothing() {
    let (mut whole, mut gone) = (0, 0);
    for sync in [SyncPolicy::Always, SyncPolicy::EveryNs(120_000_000_000)] {
        let filled = SimDisk::new(7);
        let first = engine(&filled, sync);
        super::fill(&first, "file");
        ask(&first, "CONSUMER.DELETE.KV_b.forgetful", &json!({}));
        let before = picture(&first, "KV_b");
        let (answer, archive) = backup(&first, "KV_b", &json!({}));
        let config = &answer["config"];
        for power in [false, true] {
            let mut after = 0;
            loop {
                let disk = SimDisk::new(after);
                let failing = engine(&disk, sync);
                disk.fail_after(after, 1, Fault::Stop);
                let answer = restore(&failing, config, &archive, 400);
                let (answered, stopped) = (answer["error"].is_null(), disk.is_stopped());
                drop(failing);
                if power {
                    disk.power_failure()
                } else {
                    disk.restart()
                }
                let found = engine(&disk, sync);
                match streams(&disk).as_slice() {
                    [] => {
                        assert!(
                            !answered || (power && sync != SyncPolicy::Always),
                            "{after}: what was answered stays"
                        );
                        gone += 1;
                    }
                    [one] => {
                        assert_eq!(one, "KV_b");
                        assert_eq!(picture(&found, "KV_b"), before, "{after}");
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
    assert!(whole > 10 && gone > 50, "{whole} {gone}");
}

#[test]
fn a_restore_that_the_disk_refuses_says_so_and_leaves_nothing() {
    let filled = SimDisk::new(7);
    let first = engine(&filled, SyncPolicy::Always);
    let config = super::fill(&first, "file");
    let (_, archive) = backup(&first, "KV_b", &json!({}));
    for fault in [Fault::Error, Fault::Full] {
        let mut after = 0;
        loop {
            let disk = SimDisk::new(after);
            let failing = engine(&disk, SyncPolicy::Always);
            let begin = disk.operations();
            disk.fail_after(after, 1, fault);
            let answer = restore(&failing, &config, &archive, 400);
            let had_fault = disk.operations() > begin + after;
            disk.restart();
            if answer["error"].is_null() {
                assert_eq!(streams(&disk), ["KV_b"]);
            } else {
                assert!(answer["error"]["description"].as_str().unwrap().len() > 16, "{answer}");
                assert_eq!(streams(&disk), [""; 0], "{fault:?} {after}");
                assert!(restore(&failing, &config, &archive, 400)["error"].is_null(), "{fault:?} {after}");
            }
            if !had_fault {
                break;
            }
            after += 1;
        }
        assert!(after > 20);
    }
}

/// What came of a backup of which `each` piece is told before it is acknowledged: the headers of its end, none where it
/// did not end, and the archive.
fn backed_up(engine: &TestEngine, each: impl Fn(usize)) -> (Option<String>, Vec<u8>) {
    engine.host.listen(DELIVER, None);
    engine.host.take();
    // The smallest pieces, one at a time.
    let body = json!({"deliver_subject": DELIVER, "chunk_size": 1024, "window_size": 1024});
    engine.request("STREAM.SNAPSHOT.KV_b", &body.to_string());
    let mut archive = Vec::new();
    for at in 0.. {
        let pieces = pieces_raw(engine);
        let Some((last, bytes)) = pieces.last() else { break };
        if bytes.is_empty() {
            let end = last.headers.clone();
            archive.extend(pieces.into_iter().flat_map(|(_, bytes)| bytes));
            return (Some(end), archive);
        }
        each(at);
        let (sent, bytes): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
        archive.extend(bytes.concat());
        acknowledge(engine, &sent);
    }
    (None, archive)
}

/// A disk with a stream whose backup takes several pieces, and what the stream holds.
fn stopped() -> (SimDisk, Vec<String>) {
    let disk = SimDisk::new(3);
    let first = engine(&disk, SyncPolicy::Always);
    super::fill(&first, "file");
    ask(&first, "CONSUMER.DELETE.KV_b.forgetful", &json!({}));
    for at in 0..60_u64 {
        // Nothing that is packed to nothing.
        let value: String = (0..20)
            .map(|part| format!("{:x}", (at * 20 + part).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
            .collect();
        assert!(first.publish(&format!("$KV.b.large{at}"), &[], &value).contains("seq"));
    }
    first.engine.shutdown();
    let before = picture(&engine(&disk.clone_of(), SyncPolicy::Always), "KV_b");
    (disk, before)
}

#[test]
fn a_backup_changes_nothing_on_the_disk_and_one_that_a_read_fails_in_says_so() {
    let (disk, before) = stopped();
    let mut failed = 0;
    for after in 0.. {
        let copy = disk.clone_of();
        let backed = engine(&copy, SyncPolicy::Always);
        let operations = copy.operations();
        copy.fail_a_read_after(after);
        let (end, archive) = backed_up(&backed, |_| {});
        let has_failed = copy.has_failed_a_read();
        assert_eq!(copy.operations(), operations, "{after}");
        let end = end.expect("it ends");
        if has_failed {
            assert!(end.contains(" 500 ") && end.contains("EIO"), "{after}: {end}");
            failed += 1;
            let (end, _) = backed_up(&backed, |_| {});
            assert!(end.is_some_and(|end| end.contains(" 204")), "{after}: the next one is whole");
        } else {
            assert!(end.contains(" 204") && archive.len() > 3 * 1024, "{after}: {end} {}", archive.len());
        }
        drop(backed);
        copy.power_failure();
        assert_eq!(picture(&engine(&copy, SyncPolicy::Always), "KV_b"), before, "{after}");
        if !has_failed {
            break;
        }
    }
    assert!(failed > 0, "a backup reads");
}

#[test]
fn a_disk_that_stops_at_any_step_amid_a_backup_keeps_what_was_acknowledged() {
    let (disk, _) = stopped();
    let mut struck = 0;
    for after in 0.. {
        let copy = disk.clone_of();
        let backed = engine(&copy, SyncPolicy::Always);
        copy.fail_after(after, 1, Fault::Stop);
        let last = Cell::new(0);
        let (end, _) = backed_up(&backed, |at| {
            let answer = backed.publish("$KV.b.k1", &[], &format!("amid {at}"));
            let told = answer.split_once("\"seq\":").and_then(|(_, rest)| rest.split([',', '}']).next());
            last.set(told.map_or(last.get(), |seq| seq.parse().unwrap()));
        });
        let stopped = copy.is_stopped();
        assert!(stopped || end.is_some(), "{after}: it ends");
        drop(backed);
        copy.power_failure();
        let found = engine(&copy, SyncPolicy::Always);
        let state = ask(&found, "STREAM.INFO.KV_b", &json!({}))["state"].clone();
        assert!(state["last_seq"].as_u64().unwrap() >= last.get(), "{after}: {state}");
        let (end, _) = backed_up(&found, |_| {});
        assert!(end.is_some_and(|end| end.contains(" 204")), "{after}: the next one is whole");
        if !stopped {
            break;
        }
        struck += 1;
    }
    assert!(struck > 3, "{struck} steps");
}
