//! What the engine is started with, and what of it a reload changes.

use std::path::{Path, PathBuf};

use jetkv_jetstream::{BatchLimits, Encryption, EngineConfig, EngineSettings, SyncPolicy};

use crate::machine;
use crate::options::{JetStreamOptions, Options};
use crate::state::Shared;

/// The engine's configuration, from the options.
pub(super) fn engine_config(shared: &Shared, all: &Options) -> EngineConfig {
    let options = &all.jetstream;
    let store_dir = options.store_dir.clone().unwrap_or_else(default_store_dir);
    EngineConfig {
        domain: options.domain.clone().unwrap_or_default(),
        scoped_acks: all.feature_flags.get("js_ack_fc_v2").is_some_and(|on| *on),
        strict: options.strict,
        settings: EngineSettings {
            max_memory_bytes: memory_limit_bytes(options),
            max_file_bytes: disk_limit_bytes(options, &store_dir),
            ..engine_settings(all)
        },
        store_dir: Some(store_dir),
        sync: if options.sync_always {
            SyncPolicy::Always
        } else {
            SyncPolicy::EveryNs(u64::try_from(options.sync_interval.as_nanos()).unwrap_or(u64::MAX))
        },
        encryption: options.encryption_key.clone().map(|key| Encryption {
            key,
            previous_key: options.previous_encryption_key.clone(),
            cipher: options.cipher,
        }),
        server_name: shared.identity.name.clone(),
        server_id: shared.identity.id.clone(),
        max_pending_bytes: u64::try_from(all.limits.max_pending_bytes).unwrap_or(u64::MAX),
        max_buffered_bytes: match options.max_buffered_bytes {
            0 => EngineConfig::default().max_buffered_bytes,
            // A negative number is as good as no limit.
            bytes => u64::try_from(bytes).unwrap_or(u64::MAX),
        },
        seed: rand::random(),
    }
}

/// What the options say of what may change while the engine runs. What it finds out by itself is negative.
fn engine_settings(all: &Options) -> EngineSettings {
    let options = &all.jetstream;
    EngineSettings {
        max_memory_bytes: options.max_memory_bytes,
        max_file_bytes: options.max_store_bytes,
        max_payload_bytes: all.limits.max_payload_bytes.map_or(u64::MAX, |bytes| bytes as u64),
        duplicates_max_ns: i64::try_from(options.limits.duplicate_window.as_nanos()).unwrap_or(i64::MAX),
        max_consumers_per_stream: options.limits.default_max_consumers,
        max_ack_pending: options.limits.max_ack_pending,
        max_request_batch: options.limits.max_request_batch,
        batches: BatchLimits {
            inflight_per_stream_max: options.limits.max_batch_inflight_per_stream,
            inflight_total_max: options.limits.max_batch_inflight_total,
            msgs_max: options.limits.max_batch_size,
            timeout_ns: i64::try_from(options.limits.max_batch_timeout.as_nanos()).unwrap_or(i64::MAX),
        },
    }
}

/// What holds after a reload. What the engine found out when it started stays.
pub(super) fn reloaded_settings(old: &EngineSettings, options: &Options) -> EngineSettings {
    let mut settings = engine_settings(options);
    for (new, old) in [
        (&mut settings.max_memory_bytes, old.max_memory_bytes),
        (&mut settings.max_file_bytes, old.max_file_bytes),
    ] {
        if *new < 0 {
            *new = old;
        }
    }
    settings
}

/// What is configured, else three quarters of the memory that this process may use.
fn memory_limit_bytes(options: &JetStreamOptions) -> i64 {
    if options.max_memory_bytes >= 0 {
        return options.max_memory_bytes;
    }
    three_quarters(machine::memory_bytes())
}

/// What is configured, else three quarters of what is free where streams are kept.
fn disk_limit_bytes(options: &JetStreamOptions, store_dir: &Path) -> i64 {
    if options.max_store_bytes >= 0 {
        return options.max_store_bytes;
    }
    // The directory need not exist yet; the first one above it that does is on the same disk.
    let store_dir = std::path::absolute(store_dir).unwrap_or_else(|_| store_dir.to_owned());
    let free = store_dir.ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok());
    three_quarters(free.map_or(0, |free| free.f_bavail.saturating_mul(free.f_frsize)))
}

fn three_quarters(bytes: u64) -> i64 {
    i64::try_from(bytes / 4 * 3).unwrap_or(i64::MAX)
}

/// Where streams are kept when nothing else is configured: `nats` in the system's temporary directory.
fn default_store_dir() -> PathBuf {
    std::env::temp_dir().join("nats")
}
