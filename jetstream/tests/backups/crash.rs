//! A crash at any step of a restore leaves all of the stream or nothing, and one of a backup leaves the stream alone.

use super::bench::{DELIVER, ask, backup, on_disk, picture, restore, streams};
use jetkv_jetstream::settings::SyncPolicy;
use jetkv_testing::{Fault, SimDisk};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/store";

fn engine(disk: &SimDisk, sync: SyncPolicy) -> jetkv_testing::TestEngine {
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

#[test]
fn a_backup_that_the_disk_interrupts_leaves_the_stream_as_it_was() {
    let disk = SimDisk::new(3);
    let sync = SyncPolicy::Always;
    let first = engine(&disk, sync);
    super::fill(&first, "file");
    ask(&first, "CONSUMER.DELETE.KV_b.forgetful", &json!({}));
    first.engine.shutdown();
    let before = picture(&engine(&disk.clone_of(), sync), "KV_b");
    for after in 0..6 {
        let copy = disk.clone_of();
        let backed_up = engine(&copy, sync);
        backed_up.host.listen(DELIVER, None);
        copy.fail_after(after, 1, Fault::Stop);
        backed_up.request("STREAM.SNAPSHOT.KV_b", &json!({"deliver_subject": DELIVER}).to_string());
        drop(backed_up);
        copy.power_failure();
        assert_eq!(picture(&engine(&copy, sync), "KV_b"), before, "{after}");
        assert_eq!(streams(&copy), ["KV_b"]);
    }
}
