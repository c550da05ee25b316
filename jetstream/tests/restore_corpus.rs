//! Replays the corpus of the fuzz target `restore_backup`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../fuzz/checks/restore_backup.rs"]
mod restore_backup;

/// What restoring any of them may take. The longest content of a seed is 4 MiB, of which a piece and a message are held.
#[cfg(target_os = "linux")]
const PEAK_KIB_MAX: u64 = 128 << 10;

#[test]
fn every_seed_is_restored_or_refused() {
    // Each takes a while, so some places have to do.
    jetkv_testing::corpus::replay("restore_backup", 14, 61, 0x15, |data| {
        restore_backup::check(data);
    });
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak_kib < PEAK_KIB_MAX, "{peak_kib} KiB");
    }
}

#[test]
fn the_good_seeds_are_restored() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/restore_backup");
    let mut restored: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| restore_backup::check(&std::fs::read(entry.path()).unwrap()))
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    restored.sort();
    assert_eq!(restored, ["bomb_behind", "consumer", "files", "gap", "good", "many", "pieces", "ttl"]);
}

#[test]
fn what_chance_makes_of_them_holds_the_invariants() {
    jetkv_testing::corpus::mutate("restore_backup", 100, |data| {
        restore_backup::check(data);
    });
}
