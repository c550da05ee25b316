//! The rules for stream configurations, in nats-server's order and with its texts.

use super::origins::{Others, check_origins};
use super::refusal::{invalid, is_valid_asset_name, pedantic_error};
use super::rewrite::{check_republish, check_transform};
use super::{Discard, PersistMode, Retention, StorageType, StreamConfig};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use jetkv_protocol::pattern_set::PatternSet;
use jetkv_protocol::subject;

/// Longest name of a stream or consumer.
pub const NAME_MAX_BYTES: usize = 255;
/// Longest description.
pub const DESCRIPTION_MAX_BYTES: usize = 4 * 1024;
/// Most that keys and values of metadata may take together.
pub const METADATA_MAX_BYTES: usize = 128 * 1024;

const REPLICAS_MAX: i64 = 5;
const SHORTEST_NS: i64 = 100_000_000;
const SECOND_NS: i64 = 1_000_000_000;
const DUPLICATES_DEFAULT_NS: i64 = 120 * SECOND_NS;

/// What the server and account allow.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConfigLimits {
    /// Longest dedupe window, 0 for any, nanoseconds.
    pub duplicates_max_ns: i64,
    /// Whether `max_bytes` must be set.
    pub max_bytes_required: bool,
    /// Largest `max_bytes` of a memory stream, 0 or less for any.
    pub memory_max_stream_bytes: i64,
    /// Largest `max_bytes` of a file stream, 0 or less for any.
    pub store_max_stream_bytes: i64,
}

/// Checks a configuration and fills in what it leaves open. With `pedantic`, what would be put right is refused. `others`
/// finds the other streams of the account.
///
/// # Errors
/// nats-server's error for the first rule that is broken.
pub fn check(
    config: &StreamConfig,
    limits: &ConfigLimits,
    pedantic: bool,
    others: &Others<'_>,
) -> Result<StreamConfig, ApiError> {
    check_texts(config)?;
    let mut config = config.clone();
    fill_limits(&mut config, pedantic)?;
    check_times(&mut config, limits, pedantic)?;
    check_policies(&mut config, pedantic)?;
    check_origins(&mut config, others, pedantic)?;
    check_subjects(&mut config)?;
    let most = match config.storage {
        StorageType::Memory => limits.memory_max_stream_bytes,
        StorageType::File => limits.store_max_stream_bytes,
    };
    if limits.max_bytes_required && config.max_bytes <= 0 {
        return Err(errors::STREAM_MAX_BYTES_REQUIRED.into());
    } else if most > 0 && config.max_bytes > most {
        return Err(errors::STREAM_MAX_STREAM_BYTES_EXCEEDED.into());
    }
    check_transform(&config)?;
    check_republish(&mut config, pedantic)?;
    if config.placement.as_ref().is_some_and(|placement| *placement == super::Placement::default()) {
        config.placement = None;
    }
    if config.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty()) {
        return Err(invalid("preferred server not permitted in placement"));
    }
    Ok(config)
}

fn check_texts(config: &StreamConfig) -> Result<(), ApiError> {
    if !is_valid_asset_name(&config.name) {
        return Err(invalid("stream name is required and can not contain '.', '*', '>', '\\', '/'"));
    }
    if config.name.len() > NAME_MAX_BYTES {
        return Err(invalid(format_args!("stream name is too long, maximum allowed is {NAME_MAX_BYTES}")));
    }
    if config.description.len() > DESCRIPTION_MAX_BYTES {
        let most = DESCRIPTION_MAX_BYTES;
        return Err(invalid(format_args!("stream description is too long, maximum allowed is {most}")));
    }
    let metadata: usize = config.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if metadata > METADATA_MAX_BYTES {
        return Err(invalid(format_args!(
            "stream metadata exceeds maximum size of {METADATA_MAX_BYTES} bytes"
        )));
    }
    Ok(())
}

fn fill_limits(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.num_replicas == 0 {
        config.num_replicas = 1;
    }
    if config.num_replicas > REPLICAS_MAX {
        return Err(invalid(format_args!("maximum replicas is {REPLICAS_MAX}")));
    }
    if config.num_replicas < 0 {
        return Err(errors::REPLICAS_COUNT_CANNOT_BE_NEGATIVE.into());
    }
    let mut size = i64::from(config.max_msg_size);
    for (value, name) in [
        (&mut config.max_msgs, "max_msgs"),
        (&mut config.max_msgs_per_subject, "max_msgs_per_subject"),
        (&mut config.max_bytes, "max_bytes"),
        (&mut size, "max_msg_size"),
        (&mut config.max_consumers, "max_consumers"),
    ] {
        if *value < -1 && pedantic {
            return Err(pedantic_error(format_args!("{name} must be set to -1")));
        }
        if *value == 0 || *value < -1 {
            *value = -1;
        }
    }
    config.max_msg_size = i32::try_from(size).unwrap_or(-1);
    Ok(())
}

fn check_times(config: &mut StreamConfig, limits: &ConfigLimits, pedantic: bool) -> Result<(), ApiError> {
    if config.max_age_ns < 0 {
        return Err(invalid("max age can not be negative"));
    }
    if config.max_age_ns != 0 && config.max_age_ns < SHORTEST_NS {
        return Err(invalid("max age needs to be >= 100ms"));
    }
    let most_ns = limits.duplicates_max_ns;
    if config.duplicate_window_ns == 0 && config.mirror.is_none() && config.sources.is_empty() {
        config.duplicate_window_ns = default_window(config.max_age_ns, most_ns, pedantic)?;
    }
    let window_ns = config.duplicate_window_ns;
    if window_ns < 0 {
        return Err(invalid("duplicates window can not be negative"));
    }
    if config.max_age_ns != 0 && window_ns > config.max_age_ns {
        return Err(invalid("duplicates window can not be larger then max age"));
    }
    if most_ns > 0 && window_ns > most_ns {
        let most = jetkv_go_compat::GoDuration(most_ns);
        return Err(invalid(format_args!("duplicates window can not be larger then server limit of {most}")));
    }
    if window_ns > 0 && window_ns < SHORTEST_NS {
        return Err(invalid("duplicates window needs to be >= 100ms"));
    }
    Ok(())
}

fn default_window(max_age_ns: i64, most_ns: i64, pedantic: bool) -> Result<i64, ApiError> {
    let mut window_ns = DUPLICATES_DEFAULT_NS;
    if most_ns > 0 && window_ns > most_ns {
        if pedantic {
            return Err(pedantic_error("duplicate window limits are higher than current limits"));
        }
        window_ns = most_ns;
    }
    if max_age_ns != 0 && max_age_ns < window_ns {
        if pedantic {
            return Err(pedantic_error("duplicate window cannot be bigger than max age"));
        }
        window_ns = max_age_ns;
    }
    Ok(window_ns)
}

fn check_policies(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.deny_purge && config.allow_rollup_hdrs {
        return Err(invalid("roll-ups require the purge permission"));
    }
    check_counter(config)?;
    check_discard_new_per_subject(config)?;
    if config.subject_delete_marker_ttl_ns > 0 {
        if config.subject_delete_marker_ttl_ns < SECOND_NS {
            return Err(invalid("subject delete marker TTL must be at least 1 second"));
        }
        if !config.allow_msg_ttl {
            if pedantic {
                return Err(invalid("subject delete marker cannot be set if message TTLs are disabled"));
            }
            config.allow_msg_ttl = true;
        }
        if !config.allow_rollup_hdrs {
            if pedantic {
                return Err(invalid("subject delete marker cannot be set if roll-ups are disabled"));
            }
            config.allow_rollup_hdrs = true;
            config.deny_purge = false;
        }
    } else if config.subject_delete_marker_ttl_ns < 0 {
        return Err(invalid("subject delete marker TTL must not be negative"));
    }
    check_schedules(config, pedantic)?;
    if config.persist_mode == PersistMode::Async {
        if config.storage != StorageType::File {
            return Err(invalid("async persist mode is only supported on file storage"));
        }
        if config.num_replicas > 1 {
            return Err(invalid("async persist mode is not supported on replicated streams"));
        }
        if config.allow_atomic {
            return Err(invalid("async persist mode is not supported with atomic batch publish"));
        }
    }
    Ok(())
}

/// What schedules need (ADR-51).
fn check_schedules(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if !config.allow_msg_schedules {
        return Ok(());
    }
    if config.discard == Discard::New {
        return Err(invalid("message scheduling cannot use discard new"));
    }
    if !config.allow_rollup_hdrs {
        if pedantic {
            return Err(invalid("message scheduling cannot be set if roll-ups are disabled"));
        }
        config.allow_rollup_hdrs = true;
        config.deny_purge = false;
    }
    Ok(())
}

/// What a counter cannot be together with (ADR-49).
fn check_counter(config: &StreamConfig) -> Result<(), ApiError> {
    if !config.allow_msg_counter {
        return Ok(());
    }
    if config.discard == Discard::New {
        return Err(invalid("counter stream cannot use discard new"));
    }
    if config.allow_msg_ttl {
        return Err(invalid("counter stream cannot use message TTLs"));
    }
    if config.allow_msg_schedules {
        return Err(invalid("counter stream cannot use message schedules"));
    }
    if config.retention != Retention::Limits {
        return Err(invalid("counter stream can only use limits retention"));
    }
    Ok(())
}

pub(super) fn check_discard_new_per_subject(config: &StreamConfig) -> Result<(), ApiError> {
    if !config.discard_new_per_subject {
        return Ok(());
    }
    if config.discard != Discard::New {
        return Err(invalid("discard new per subject requires discard new policy to be set"));
    }
    if config.max_msgs_per_subject <= 0 {
        return Err(invalid("discard new per subject requires max msgs per subject > 0"));
    }
    Ok(())
}

fn check_subjects(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.subjects.is_empty() {
        if config.mirror.is_none() && config.sources.is_empty() {
            config.subjects.push(config.name.clone());
        }
        return Ok(());
    }
    let all = PatternSet::new(config.subjects.iter().map(String::as_bytes));
    for (at, pattern) in config.subjects.iter().enumerate() {
        if !subject::is_valid_text(pattern.as_bytes()) {
            return Err(invalid("invalid subject"));
        }
        let may_meet = all.may_meet(pattern.as_bytes(), Some(at));
        if may_meet && config.subjects.iter().take(at).any(|earlier| earlier == pattern) {
            return Err(invalid("duplicate subjects detected"));
        }
        if pattern == ">" {
            if !config.no_ack {
                return Err(invalid("capturing all subjects requires no-ack to be true"));
            }
            if config.num_replicas != 1 {
                return Err(invalid("capturing all subjects requires replicas of 1"));
            }
        }
        if !config.no_ack {
            check_reserved(pattern.as_bytes())?;
        }
        for later in config.subjects.iter().skip(at + 1).filter(|_| may_meet) {
            if subject::collide(later.as_bytes(), pattern.as_bytes()) {
                let (one, other) = (quote(pattern), quote(later));
                return Err(invalid(format_args!("subject {one} overlaps with {other}")));
            }
        }
    }
    Ok(())
}

fn quote(text: &str) -> String {
    jetkv_go_compat::quoted(text)
}

fn check_reserved(pattern: &[u8]) -> Result<(), ApiError> {
    for namespace in [&b"$JS.>"[..], b"$JSC.>", b"$NRG.>"] {
        if subject::collide(pattern, namespace) && !subject::is_subset(pattern, b"$JS.EVENT.>") {
            return Err(invalid("subjects that overlap with jetstream api require no-ack to be true"));
        }
    }
    if subject::collide(pattern, b"$SYS.>") && !subject::is_subset(pattern, b"$SYS.ACCOUNT.>") {
        return Err(invalid("subjects that overlap with system api require no-ack to be true"));
    }
    Ok(())
}

/// Checks a new configuration against the one that a stream has, and gives what it becomes.
///
/// # Errors
/// As for [`check`].
pub fn check_update(
    old: &StreamConfig,
    new: &StreamConfig,
    limits: &ConfigLimits,
    pedantic: bool,
    others: &Others<'_>,
) -> Result<StreamConfig, ApiError> {
    use super::Retention::WorkQueue;
    let mut config = check(new, limits, pedantic, others)?;
    let refuse = |text: &str| Err(invalid(format_args!("stream configuration update can not {text}")));
    if config.name != old.name {
        return Err(invalid("stream configuration name must match original"));
    }
    if config.num_replicas > 1 {
        return Err(errors::STREAM_REPLICAS_NOT_SUPPORTED.into());
    }
    if config.storage != old.storage {
        return refuse("change storage type");
    }
    let from_or_to_queue = old.retention == WorkQueue || config.retention == WorkQueue;
    if config.retention != old.retention && from_or_to_queue {
        return refuse("change retention policy to/from workqueue");
    }
    if old.sealed && !config.sealed {
        return refuse("unseal a sealed stream");
    }
    if old.deny_delete && !config.deny_delete {
        return refuse("cancel deny message deletes");
    }
    if old.deny_purge && !config.deny_purge {
        return refuse("cancel deny purge");
    }
    // A mirror may become a stream of its own, and nothing else.
    if config.mirror.is_some() && config.mirror != old.mirror {
        return Err(errors::STREAM_MIRROR_NOT_UPDATABLE.into());
    }
    if old.allow_msg_ttl && !config.allow_msg_ttl {
        return Err(invalid("message TTL status can not be disabled"));
    }
    if old.allow_msg_counter != config.allow_msg_counter {
        return refuse("change message counter setting");
    }
    if old.allow_msg_schedules && !config.allow_msg_schedules {
        return Err(invalid("message schedules can not be disabled"));
    }
    if old.persist_mode != config.persist_mode {
        return refuse("change persist mode");
    }
    if config.sealed {
        config.max_age_ns = 0;
        config.discard = Discard::New;
        config.deny_delete = true;
        config.deny_purge = true;
        config.allow_rollup_hdrs = false;
    }
    Ok(config)
}
