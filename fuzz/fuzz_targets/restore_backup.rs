//! Backups that are restored: `cargo +nightly fuzz run restore_backup`.

#![no_main]

#[path = "../checks/restore_backup.rs"]
mod restore_backup;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    restore_backup::check(data);
});
