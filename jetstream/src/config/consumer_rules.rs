//! Defaults of a consumer's configuration, and what makes one invalid. Order of checks, codes and texts are those of
//! nats-server v2.15.2.

use super::consumer::{AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy};
use super::stream::{Retention, StreamConfig};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::settings::{AccountLimits, ConsumerSettings};
use jetkv_go_compat::GoDuration;
use jetkv_protocol::pattern_set::PatternSet;
use jetkv_protocol::subject;

const ACK_WAIT_NS: i64 = 30_000_000_000;
const MAX_ACK_PENDING: i64 = 1000;
const MAX_WAITING: i64 = 512;
const PINNED_TTL_NS: i64 = 120_000_000_000;
/// The heartbeat that acknowledgement by flow control asks for.
const FLOW_CONTROL_ACK_HEARTBEAT_NS: i64 = 1_000_000_000;
const NAME_LEN_MAX: usize = 255;
const DESCRIPTION_LEN_MAX: usize = 4 * 1024;
const METADATA_LEN_MAX: usize = 128 * 1024;
const HEARTBEAT_NS_MIN: i64 = 100_000_000;
const REQUEST_EXPIRES_NS_MIN: i64 = 1_000_000;
const API_LEVEL_KEY: &str = "_nats.req.level";

/// Whether something is allowed.
pub type Verdict = Result<(), ApiError>;

/// Raises what is below its floor, or refuses it in pedantic mode.
fn floor(value: &mut i64, floor: i64, pedantic: bool, refusal: &str) -> Verdict {
    if *value < floor {
        if pedantic {
            return Err(errors::PEDANTIC.because(refusal));
        }
        *value = floor;
    }
    Ok(())
}

/// What the account may use. On one server a consumer has one replica, whatever it says.
///
/// # Errors
/// The account has tiers, and none for one replica.
pub(crate) fn account_limits(settings: &ConsumerSettings) -> Result<AccountLimits, ApiError> {
    settings.account.load().for_replicas(1).copied().ok_or_else(|| errors::NO_LIMITS.into())
}

/// Fills in what a request leaves open.
///
/// # Errors
/// In pedantic mode, a value that would be corrected; or the account has no limits that hold for the consumer.
pub fn set_defaults(
    config: &mut ConsumerConfig,
    stream: &StreamConfig,
    settings: &ConsumerSettings,
    pedantic: bool,
) -> Verdict {
    account_limits(settings)?;
    if config.max_deliver == 0 {
        config.max_deliver = -1;
    }
    floor(&mut config.max_deliver, -1, pedantic, "max_deliver must be set to -1")?;
    floor(&mut config.max_waiting, 0, pedantic, "max_waiting must not be negative")?;
    floor(&mut config.max_ack_pending, -1, pedantic, "max_ack_pending must be set to -1")?;
    floor(&mut config.max_request_batch, 0, pedantic, "max_batch must not be negative")?;
    floor(&mut config.max_request_expires_ns, 0, pedantic, "max_expires must not be negative")?;
    floor(&mut config.max_request_bytes, 0, pedantic, "max_bytes must not be negative")?;
    floor(&mut config.idle_heartbeat_ns, 0, pedantic, "idle_heartbeat must not be negative")?;
    floor(&mut config.inactive_threshold_ns, 0, pedantic, "inactive_threshold must not be negative")?;
    floor(&mut config.pinned_ttl_ns, 0, pedantic, "priority_timeout must not be negative")?;

    if !config.is_push() && config.max_waiting == 0 {
        config.max_waiting = MAX_WAITING;
    }
    if config.ack_wait_ns == 0 && matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::All) {
        config.ack_wait_ns = ACK_WAIT_NS;
    }
    if let Some(first_ns) = config.backoff_ns.first().copied() {
        if pedantic && config.ack_wait_ns != first_ns {
            return Err(errors::PEDANTIC.because("first backoff value has to equal batch AckWait"));
        }
        config.ack_wait_ns = first_ns;
    }
    set_stream_defaults(config, stream, settings, pedantic)?;
    if config.priority_policy == PriorityPolicy::PinnedClient && config.pinned_ttl_ns == 0 {
        config.pinned_ttl_ns = PINNED_TTL_NS;
    }
    if config.ack_policy == AckPolicy::FlowControl && !pedantic {
        config.flow_control = true;
        config.idle_heartbeat_ns = FLOW_CONTROL_ACK_HEARTBEAT_NS;
    }
    Ok(())
}

fn set_stream_defaults(
    config: &mut ConsumerConfig,
    stream: &StreamConfig,
    settings: &ConsumerSettings,
    pedantic: bool,
) -> Verdict {
    let limits = &stream.consumer_limits;
    if config.max_ack_pending == 0 {
        if pedantic && limits.max_ack_pending > 0 {
            return Err(
                errors::PEDANTIC.because("max_ack_pending must be set if it's configured in stream limits")
            );
        }
        config.max_ack_pending = limits.max_ack_pending;
    }
    if config.inactive_threshold_ns == 0 {
        if pedantic && limits.inactive_threshold_ns > 0 {
            return Err(errors::PEDANTIC
                .because("inactive_threshold must be set if it's configured in stream limits"));
        }
        config.inactive_threshold_ns = limits.inactive_threshold_ns;
    }
    let (server, account) = (settings.server.load(), account_limits(settings)?);
    if config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None {
        config.max_ack_pending = [server.max_ack_pending, account.max_ack_pending]
            .into_iter()
            .filter(|limit| *limit > 0)
            .fold(MAX_ACK_PENDING, i64::min);
    }
    if !config.is_push() && config.max_request_batch == 0 && server.max_request_batch > 0 {
        if pedantic {
            return Err(
                errors::PEDANTIC.because("max_request_batch must be set if it's JetStream limits are set")
            );
        }
        config.max_request_batch = server.max_request_batch;
    }
    Ok(())
}

/// Whether a stream or consumer may be called so.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([' ', '\t', '\r', '\n', '\x0c', '.', '*', '>', '\\', '/'])
}

/// Refuses an invalid configuration, after [`set_defaults`]. What [`check_filters`] said may have been found out before.
///
/// # Errors
/// What is wrong, as nats-server says it.
pub fn check(
    config: &ConsumerConfig,
    stream: &StreamConfig,
    settings: &ConsumerSettings,
    filters: Option<&Verdict>,
) -> Verdict {
    check_names_and_replicas(config, stream)?;
    check_acks(config)?;
    if config.description.len() > DESCRIPTION_LEN_MAX {
        return Err(errors::CONSUMER_DESCRIPTION_TOO_LONG.with("max", DESCRIPTION_LEN_MAX));
    }
    if config.is_push() {
        check_push(config, stream)?;
    } else {
        check_pull(config, stream, settings)?;
    }
    check_limits(config, stream, settings)?;
    if config.direct {
        if !config.is_push() {
            return Err(errors::CONSUMER_DIRECT_REQUIRES_PUSH.error());
        }
        if config.is_durable() {
            return Err(errors::CONSUMER_DIRECT_REQUIRES_EPHEMERAL.error());
        }
    }
    filters.cloned().unwrap_or_else(|| check_filters(config))?;
    check_start(config)?;
    check_sampling(config)?;
    if config.flow_control && config.idle_heartbeat_ns == 0 {
        return Err(errors::CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS.error());
    }
    if config.is_durable() && !config.name.is_empty() && config.name != config.durable {
        return Err(errors::CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH.error());
    }
    let metadata_len: usize = config.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if metadata_len > METADATA_LEN_MAX {
        let limit = format!("{}KB", METADATA_LEN_MAX / 1024);
        return Err(errors::CONSUMER_METADATA_LENGTH.with("limit", limit));
    }
    check_priority(config)?;
    if stream.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty()) {
        return Err(errors::STREAM_INVALID_CONFIG.because("preferred server not permitted in placement"));
    }
    Ok(())
}

/// Refuses a durable name that is too long, which is looked at no sooner than when a consumer is new.
///
/// # Errors
/// nats-server's.
pub fn check_name_length(config: &ConsumerConfig) -> Verdict {
    if config.durable.len() > NAME_LEN_MAX {
        return Err(errors::CONSUMER_NAME_TOO_LONG.with("max", NAME_LEN_MAX));
    }
    Ok(())
}

fn check_names_and_replicas(config: &ConsumerConfig, stream: &StreamConfig) -> Verdict {
    const CHARACTERS: &str = "'.', '*', '>', '\\', '/'";
    if !config.name.is_empty() && !is_valid_name(&config.name) {
        let reason = format!("consumer name can not contain {CHARACTERS}");
        return Err(errors::STREAM_INVALID_CONFIG.because(reason));
    }
    if config.is_durable() && !is_valid_name(&config.durable) {
        let reason = format!("consumer durable name can not contain {CHARACTERS}");
        return Err(errors::STREAM_INVALID_CONFIG.because(reason));
    }
    if config.num_replicas > 0 && config.num_replicas > stream.num_replicas {
        return Err(errors::CONSUMER_REPLICAS_EXCEEDS_STREAM.error());
    }
    if config.num_replicas < 0 {
        return Err(errors::REPLICAS_COUNT_CANNOT_BE_NEGATIVE.error());
    }
    if stream.retention != Retention::Limits
        && config.num_replicas != 0
        && config.num_replicas != stream.num_replicas
    {
        return Err(errors::CONSUMER_REPLICAS_SHOULD_MATCH_STREAM.error());
    }
    Ok(())
}

fn check_acks(config: &ConsumerConfig) -> Verdict {
    if config.backoff_ns.iter().any(|wait_ns| *wait_ns < 0) {
        return Err(errors::CONSUMER_BACK_OFF_NEGATIVE.error());
    }
    if config.ack_wait_ns < 0 {
        return Err(errors::CONSUMER_ACK_WAIT_NEGATIVE.error());
    }
    if config.ack_policy == AckPolicy::FlowControl {
        let heartbeat = config.idle_heartbeat_ns == FLOW_CONTROL_ACK_HEARTBEAT_NS;
        let rules = [
            (config.is_push(), errors::CONSUMER_ACK_FC_REQUIRES_PUSH.error()),
            (config.flow_control, errors::CONSUMER_ACK_FC_REQUIRES_FC.error()),
            (
                heartbeat,
                errors::STREAM_INVALID_CONFIG.because("flow control ack policy heartbeat needs to be 1s"),
            ),
            (config.max_ack_pending > 0, errors::CONSUMER_ACK_FC_REQUIRES_MAX_ACK_PENDING.error()),
            (
                config.ack_wait_ns == 0 && config.backoff_ns.is_empty(),
                errors::CONSUMER_ACK_FC_REQUIRES_NO_ACK_WAIT.error(),
            ),
            (config.max_deliver <= 0, errors::CONSUMER_ACK_FC_REQUIRES_NO_MAX_DELIVER.error()),
        ];
        if let Some((_, error)) = rules.into_iter().find(|(kept, _)| !kept) {
            return Err(error);
        }
    }
    check_backoff(config)
}

/// Whether every wait of the backoff can come to pass.
fn check_backoff(config: &ConsumerConfig) -> Verdict {
    let steps = i64::try_from(config.backoff_ns.len()).unwrap_or(i64::MAX);
    if steps > 0 && config.max_deliver != -1 && steps > config.max_deliver {
        return Err(errors::CONSUMER_MAX_DELIVER_BACKOFF.error());
    }
    Ok(())
}

fn check_push(config: &ConsumerConfig, stream: &StreamConfig) -> Verdict {
    let deliver = config.deliver_subject.as_bytes();
    if subject::has_wildcard(deliver) {
        return Err(errors::CONSUMER_DELIVER_TO_WILDCARDS.error());
    }
    if !subject::is_valid(deliver) {
        return Err(errors::CONSUMER_INVALID_DELIVER_SUBJECT.error());
    }
    if stream.subjects.iter().any(|captured| subject::is_subset(deliver, captured.as_bytes())) {
        return Err(errors::CONSUMER_DELIVER_CYCLE.error());
    }
    if config.max_waiting != 0 {
        return Err(errors::CONSUMER_PUSH_MAX_WAITING.error());
    }
    if config.max_ack_pending > 0 && config.ack_policy == AckPolicy::None {
        return Err(errors::CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED.error());
    }
    if config.idle_heartbeat_ns > 0 && config.idle_heartbeat_ns < HEARTBEAT_NS_MIN {
        return Err(errors::CONSUMER_SMALL_HEARTBEAT.error());
    }
    Ok(())
}

fn check_pull(config: &ConsumerConfig, stream: &StreamConfig, settings: &ConsumerSettings) -> Verdict {
    if config.ack_policy == AckPolicy::None && stream.retention == Retention::WorkQueue {
        return Err(errors::CONSUMER_PULL_REQUIRES_ACK.error());
    }
    if config.rate_limit_bps > 0 {
        return Err(errors::CONSUMER_PULL_WITH_RATE_LIMIT.error());
    }
    if config.idle_heartbeat_ns > 0 {
        return Err(errors::CONSUMER_HB_REQUIRES_PUSH.error());
    }
    if config.flow_control {
        return Err(errors::CONSUMER_FC_REQUIRES_PUSH.error());
    }
    if config.max_request_expires_ns != 0 && config.max_request_expires_ns < REQUEST_EXPIRES_NS_MIN {
        return Err(errors::CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL.error());
    }
    let batch_max = settings.server.load().max_request_batch;
    if batch_max > 0 && config.max_request_batch > batch_max {
        return Err(errors::CONSUMER_MAX_REQUEST_BATCH_EXCEEDED.with("limit", batch_max));
    }
    Ok(())
}

fn check_limits(config: &ConsumerConfig, stream: &StreamConfig, settings: &ConsumerSettings) -> Verdict {
    let limits = &stream.consumer_limits;
    let server_max = settings.server.load().max_ack_pending;
    let ack_pending = [server_max, account_limits(settings)?.max_ack_pending, limits.max_ack_pending];
    if let Some(limit) = ack_pending.into_iter().find(|limit| *limit > 0 && config.max_ack_pending > *limit) {
        return Err(errors::CONSUMER_MAX_PENDING_ACK_EXCESS.with("limit", limit));
    }
    let idle_ns = limits.inactive_threshold_ns;
    if idle_ns > 0 && config.inactive_threshold_ns > idle_ns {
        return Err(errors::CONSUMER_INACTIVE_THRESHOLD_EXCESS.with("limit", GoDuration(idle_ns)));
    }
    Ok(())
}

/// Refuses filters that are invalid, or cover each other. Of very many that takes a while.
///
/// # Errors
/// What is wrong, as nats-server says it.
pub fn check_filters(config: &ConsumerConfig) -> Verdict {
    const BAD: &str = "invalid subject";
    if !config.filter_subject.is_empty() && !config.filter_subjects.is_empty() {
        return Err(errors::CONSUMER_DUPLICATE_FILTER_SUBJECTS.error());
    }
    if !config.filter_subject.is_empty() && !subject::is_valid(config.filter_subject.as_bytes()) {
        return Err(errors::STREAM_INVALID_CONFIG.because(BAD));
    }
    if config.filter_subjects.iter().any(String::is_empty) {
        return Err(errors::CONSUMER_EMPTY_FILTER.error());
    }
    let all = PatternSet::new(config.filters().map(str::as_bytes));
    for (at, one) in config.filters().enumerate() {
        if !subject::is_valid(one.as_bytes()) {
            return Err(errors::STREAM_INVALID_CONFIG.because(BAD));
        }
        let overlaps = all.may_cover(one.as_bytes(), Some(at))
            && config.filters().enumerate().any(|(other_at, other)| {
                other_at != at && subject::is_subset(one.as_bytes(), other.as_bytes())
            });
        if overlaps {
            return Err(errors::CONSUMER_OVERLAPPING_SUBJECT_FILTERS.error());
        }
    }
    Ok(())
}

fn check_start(config: &ConsumerConfig) -> Verdict {
    let policy = match config.deliver_policy {
        DeliverPolicy::All => "all",
        DeliverPolicy::Last => "last",
        DeliverPolicy::New => "new",
        DeliverPolicy::LastPerSubject => "last per subject",
        DeliverPolicy::ByStartSequence => "by start sequence",
        DeliverPolicy::ByStartTime => "by start time",
    };
    let also_set = |start: &str| {
        let reason =
            format!("consumer delivery policy is deliver {policy}, but optional start {start} is also set");
        Err(errors::CONSUMER_INVALID_POLICY.because(reason))
    };
    let not_set = |what: &str| {
        let reason = format!("consumer delivery policy is deliver {policy}, but optional {what} is not set");
        Err(errors::CONSUMER_INVALID_POLICY.because(reason))
    };
    let (has_seq, has_time) = (config.opt_start_seq > 0, config.opt_start_time.is_some());
    match config.deliver_policy {
        DeliverPolicy::ByStartSequence if !has_seq => not_set("start sequence"),
        DeliverPolicy::ByStartSequence if has_time => also_set("time"),
        DeliverPolicy::ByStartTime if !has_time => not_set("start time"),
        DeliverPolicy::ByStartTime if has_seq => also_set("start sequence"),
        DeliverPolicy::ByStartSequence | DeliverPolicy::ByStartTime => Ok(()),
        _ if has_seq => also_set("sequence"),
        _ if has_time => also_set("time"),
        DeliverPolicy::LastPerSubject if config.filters().next().is_none() => not_set("filter subject"),
        _ => Ok(()),
    }
}

fn check_sampling(config: &ConsumerConfig) -> Verdict {
    if config.sample_frequency.is_empty() {
        return Ok(());
    }
    let text = config.sample_frequency.strip_suffix('%').unwrap_or(&config.sample_frequency);
    match text.parse::<i64>() {
        Ok(percent) if percent >= 0 => Ok(()),
        Ok(_) => Err(errors::CONSUMER_INVALID_SAMPLING.because("<nil>")),
        Err(_) => {
            let quoted = jetkv_go_compat::quoted(text);
            let reason = format!("strconv.Atoi: parsing {quoted}: invalid syntax");
            Err(errors::CONSUMER_INVALID_SAMPLING.because(reason))
        }
    }
}

/// Whether a priority group may be called so.
#[must_use]
pub fn is_valid_group(name: &str) -> bool {
    (1..=16).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_=-".contains(&byte))
}

fn check_priority(config: &ConsumerConfig) -> Verdict {
    if config.priority_policy == PriorityPolicy::None {
        if !config.priority_groups.is_empty() {
            return Err(errors::CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE.error());
        }
        if config.pinned_ttl_ns > 0 {
            return Err(errors::CONSUMER_PINNED_TTL_WITHOUT_PRIORITY_POLICY_NONE.error());
        }
        return Ok(());
    }
    if config.is_push() {
        return Err(errors::CONSUMER_PUSH_WITH_PRIORITY_GROUP.error());
    }
    if config.priority_groups.is_empty() {
        return Err(errors::CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP.error());
    }
    for group in &config.priority_groups {
        if group.is_empty() {
            return Err(errors::CONSUMER_EMPTY_GROUP_NAME.error());
        }
        if !is_valid_group(group) {
            return Err(errors::CONSUMER_INVALID_GROUP_NAME.error());
        }
    }
    Ok(())
}

/// Refuses to change what is fixed once a consumer exists. `bound` says whether someone listens on the present
/// deliver subject.
///
/// # Errors
/// What cannot be changed.
pub fn check_update(old: &ConsumerConfig, new: &ConsumerConfig, bound: bool) -> Verdict {
    if old == new {
        return Ok(());
    }
    let time = |config: &ConsumerConfig| config.opt_start_time.map(jetkv_go_compat::GoTime::ns);
    let fixed = [
        (old.deliver_policy == new.deliver_policy, "deliver policy"),
        (old.memory_storage == new.memory_storage, "storage type"),
        (old.direct == new.direct, "direct"),
        (old.sourcing == new.sourcing, "sourcing"),
        (old.opt_start_seq == new.opt_start_seq, "start sequence"),
        (time(old) == time(new), "start time"),
        (old.ack_policy == new.ack_policy, "ack policy"),
        (old.replay_policy == new.replay_policy, "replay policy"),
        (old.idle_heartbeat_ns == new.idle_heartbeat_ns, "heart beats"),
        (old.flow_control == new.flow_control, "flow control"),
    ];
    if let Some((_, what)) = fixed.into_iter().find(|(same, _)| !same) {
        return Err(errors::CONSUMER_CREATE.because(format_args!("{what} can not be updated")));
    }
    if old.deliver_subject != new.deliver_subject {
        if !old.is_push() {
            return Err(errors::CONSUMER_CREATE.because("can not update pull consumer to push based"));
        }
        if !new.is_push() {
            return Err(errors::CONSUMER_CREATE.because("can not update push consumer to pull based"));
        }
        if bound {
            return Err(errors::CONSUMER_NAME_EXIST.error());
        }
    }
    if old.max_waiting != new.max_waiting {
        return Err(errors::CONSUMER_CREATE.because("max waiting can not be updated"));
    }
    check_backoff(new)
}

/// Stamps the API level that the configuration needs, and drops what only responses carry.
pub fn stamp_metadata(config: &mut ConsumerConfig) {
    config.metadata.remove("_nats.ver");
    config.metadata.remove("_nats.level");
    let paused = config.pause_until.is_some_and(|until| !until.is_zero());
    let prioritized = config.priority_policy != PriorityPolicy::None
        || config.pinned_ttl_ns != 0
        || !config.priority_groups.is_empty();
    let level = match () {
        () if config.ack_policy == AckPolicy::FlowControl => "4",
        () if paused || prioritized => "1",
        () => "0",
    };
    config.metadata.insert(API_LEVEL_KEY.to_owned(), level.to_owned());
}

/// Gives `config` the API level stamp of `old`, so that both can be compared.
pub fn copy_stamp(config: &mut ConsumerConfig, old: &ConsumerConfig) {
    match old.metadata.get(API_LEVEL_KEY) {
        Some(level) => config.metadata.insert(API_LEVEL_KEY.to_owned(), level.clone()),
        None => config.metadata.remove(API_LEVEL_KEY),
    };
}
