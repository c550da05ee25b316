//! Backups that are restored.

#![cfg_attr(fuzzing, no_main)]

#[path = "../checks/restore_backup.rs"]
mod restore_backup;

jetkv_fuzz::target!("restore_backup", restore_backup::check);
