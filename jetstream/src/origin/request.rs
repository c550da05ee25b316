//! What an origin is asked for: a consumer, made as nats-server makes it, or the reset of one that somebody made for this.

use super::Here;
use crate::config::consumer::CreateConsumerRequest;
use crate::config::{AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig, StreamSource};
use jetkv_go_compat::base62::short_hash;
use jetkv_go_compat::{GoTime, json};
use std::collections::BTreeMap;

/// The consumer shows as often that it lives.
const HEARTBEAT_NS: i64 = 1_000_000_000;
/// The consumer goes when nobody has listened for so long.
const INACTIVE_NS: i64 = 10_000_000_000;
const ACK_WAIT_NS: i64 = 22 * 3600 * 1_000_000_000;
const API: &str = "$JS.API";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of the random end of a subject.
const RANDOM_DIGITS: usize = 8;

/// Where an origin is read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// The first sequence that is wanted; 0 and 1 for all.
    pub(super) seq: u64,
    /// Nothing was ever stored that would tell.
    pub(super) is_first: bool,
    /// The origin is not the stream that it was.
    pub(super) recreated: bool,
}

/// The name of the consumer for a source of a stream, the same each time.
pub(super) fn consumer_name(
    source: &StreamSource,
    is_mirror: bool,
    config: &StreamConfig,
    here: &Here<'_>,
) -> String {
    let mut id = format!("{} {}", here.stream, here.account);
    if !here.domain.is_empty() {
        id = format!("{id} {}", here.domain);
    }
    let mut id = short_hash(id);
    if is_mirror {
        return format!("JS_MIRROR_{id}");
    }
    let of_same_name = config.sources.iter().filter(|other| other.name == source.name).count();
    if of_same_name > 1 {
        id = format!("{id} {}", source.index_name());
    }
    format!("JS_SRC_{}", short_hash(id))
}

/// A subject that nobody else uses.
pub(super) fn unique(prefix: &str, mut random: u64) -> String {
    let mut subject = format!("{prefix}.");
    for _ in 0..RANDOM_DIGITS {
        let at = usize::try_from(random % 62).unwrap_or_default();
        subject.push(DIGITS.get(at).map_or('0', |digit| char::from(*digit)));
        random /= 62;
    }
    subject
}

/// A subject of the origin's API.
pub(super) fn api_subject(source: &StreamSource, rest: &str) -> String {
    match &source.external {
        Some(external) => format!("{}.{rest}", external.api).replace("..", "."),
        None => format!("{API}.{rest}"),
    }
}

/// The request to make a consumer: subject and body.
pub(super) fn create(
    source: &StreamSource,
    (name, is_mirror): (&str, bool),
    start: &Start,
    is_sourcing: bool,
    here: &Here<'_>,
) -> (String, Vec<u8>) {
    let kind = if is_mirror { "M" } else { "S" };
    let deliver_subject = match source.external.as_ref().map(|external| external.deliver.as_str()) {
        Some(prefix) if !prefix.is_empty() => {
            unique(&format!("{prefix}.{kind}"), here.random).replace("..", ".")
        }
        _ => unique(&format!("$JS.{kind}"), here.random),
    };
    let mut config = ConsumerConfig {
        name: name.to_owned(),
        deliver_subject,
        ack_policy: AckPolicy::None,
        ack_wait_ns: ACK_WAIT_NS,
        max_deliver: 1,
        idle_heartbeat_ns: HEARTBEAT_NS,
        flow_control: true,
        direct: true,
        sourcing: is_sourcing,
        inactive_threshold_ns: INACTIVE_NS,
        metadata: metadata(is_mirror, here),
        ..ConsumerConfig::default()
    };
    begin_at(&mut config, source, is_mirror, start, here);
    config.filter_subject.clone_from(&source.filter_subject);
    match source.subject_transforms.as_slice() {
        [] => {}
        [one] if config.filter_subject.is_empty() => config.filter_subject.clone_from(&one.src),
        all => config.filter_subjects = all.iter().map(|to| to.src.clone()).collect(),
    }
    // Where the one transform of a source is of no subject, nobody hears the request: that is how nats-server takes nothing.
    let is_filtered = !config.filter_subject.is_empty() || !is_mirror && source.subject_transforms.len() == 1;
    let rest = if is_filtered {
        format!("CONSUMER.CREATE.{}.{name}.{}", source.name, config.filter_subject)
    } else {
        format!("CONSUMER.CREATE.{}", source.name)
    };
    let request = CreateConsumerRequest { stream: source.name.clone(), config, ..Default::default() };
    (api_subject(source, &rest), json::to_vec(&request))
}

/// The request to have a consumer of somebody's own go on behind what it knows to be taken.
pub(super) fn reset(source: &StreamSource, consumer: &str) -> String {
    api_subject(source, &format!("CONSUMER.RESET.{}.{consumer}", source.name))
}

/// The request to delete a consumer.
pub(super) fn delete(source: &StreamSource, consumer: &str) -> String {
    api_subject(source, &format!("CONSUMER.DELETE.{}.{consumer}", source.name))
}

fn metadata(is_mirror: bool, here: &Here<'_>) -> BTreeMap<String, String> {
    let prefix = if is_mirror { "_nats.mirror" } else { "_nats.src" };
    let mut metadata = BTreeMap::new();
    metadata.insert(format!("{prefix}.stream"), here.stream.to_owned());
    metadata.insert(format!("{prefix}.acc"), here.account.to_owned());
    if !here.domain.is_empty() {
        metadata.insert(format!("{prefix}.domain"), here.domain.to_owned());
    }
    metadata
}

/// Where the consumer begins: where the stream stands; else where its configuration says.
fn begin_at(
    config: &mut ConsumerConfig,
    source: &StreamSource,
    is_mirror: bool,
    start: &Start,
    here: &Here<'_>,
) {
    let at_seq = |config: &mut ConsumerConfig, seq: u64| {
        config.deliver_policy = DeliverPolicy::ByStartSequence;
        config.opt_start_seq = seq;
    };
    let at_time = |config: &mut ConsumerConfig, time: GoTime| {
        config.deliver_policy = DeliverPolicy::ByStartTime;
        config.opt_start_time = Some(time);
    };
    let last = here.held.last.map(|last| GoTime::from_ns(last.ns()));
    match (source.opt_start_seq, source.opt_start_time) {
        _ if !start.is_first => at_seq(config, start.seq),
        (seq, _) if seq > 0 => at_seq(config, seq),
        (_, Some(time)) => {
            // What is older than the stream's last message came to it already.
            let later = last.filter(|last| !is_mirror && time.ns() < last.ns());
            at_time(config, later.unwrap_or(time));
        }
        (_, None) => {
            if let Some(last) = last.filter(|_| !is_mirror && here.held.first_seq > 1 && !start.recreated) {
                at_time(config, last);
            }
        }
    }
}
