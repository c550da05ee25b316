//! Streams and consumers in `/jsz`.

use jetkv_go_compat::GoTime;
use jetkv_jetstream::config::StreamConfig;
use jetkv_jetstream::origin::SourceInfo;
use jetkv_jetstream::stream::StreamState;
use jetkv_jetstream::{AccountId, Engine, StreamDetail};
use serde::Serialize;
use serde_json::Value;

use super::query::Query;

/// What is to be shown of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub streams: bool,
    consumers: bool,
    /// With the consumers, those that servers made for mirrors and sources.
    direct_consumers: bool,
    config: bool,
}

impl Wanted {
    pub(super) fn new(query: &Query) -> Result<Self, String> {
        let streams = query.boolean("streams")?;
        let consumers = query.boolean("consumers")?;
        let direct_consumers = query.boolean("direct-consumers")?;
        let config = query.boolean("config")?;
        Ok(Self { streams: streams || consumers, consumers, direct_consumers, config })
    }
}

/// One stream.
#[derive(Serialize)]
pub(super) struct StreamPart {
    name: String,
    created: GoTime,
    cluster: ClusterPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<StreamConfig>,
    state: StreamState,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consumer_detail: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    direct_consumer_detail: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<SourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceInfo>,
}

/// A lone server leads everything.
#[derive(Serialize)]
struct ClusterPart {
    leader: String,
}

/// The streams of an account; none when they are not wanted.
pub(super) fn parts(engine: &Engine, account: AccountId, wanted: Wanted) -> Vec<StreamPart> {
    if !wanted.streams {
        return Vec::new();
    }
    let details = engine.stream_details(account, wanted.consumers).into_iter();
    details.map(|detail| part(engine, detail, wanted)).collect()
}

fn part(engine: &Engine, detail: StreamDetail, wanted: Wanted) -> StreamPart {
    let consumer = |info| {
        let mut value = serde_json::to_value(info).unwrap_or_default();
        if let (false, Value::Object(fields)) = (wanted.config, &mut value) {
            fields.shift_remove("config");
        }
        value
    };
    let direct = if wanted.direct_consumers { detail.direct_consumers } else { Vec::new() };
    StreamPart {
        name: detail.name,
        created: detail.created,
        cluster: ClusterPart { leader: engine.config().server_name.clone() },
        config: wanted.config.then(|| (*detail.config).clone()),
        state: detail.state,
        consumer_detail: detail.consumers.into_iter().map(consumer).collect(),
        direct_consumer_detail: direct.into_iter().map(consumer).collect(),
        mirror: detail.mirror,
        sources: detail.sources,
    }
}
