//! The JSON of the system account, field by field as nats-server v2.15.2 writes it.

use std::collections::BTreeMap;

use jetkv_go_compat::GoTime;
use jetkv_jetstream::{ClientInfo, WallNs};
use serde::Serialize;

use crate::connections::ConnectionHandle;
use crate::options::{Permissions, SubjectPermission};
use crate::state::Shared;
use crate::traffic::TrafficCounts;
use jetkv_go_compat::version::SERVER_VERSION;

/// JetStream, binary snapshots and replication traffic in the asset's account.
const FLAGS_WITH_JETSTREAM: u64 = 7;

/// The server, as every event and answer names it.
#[derive(Debug, Serialize)]
pub(crate) struct ServerPart {
    name: String,
    host: String,
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    ver: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    feature_flags: BTreeMap<String, bool>,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: GoTime,
}

impl ServerPart {
    pub(crate) fn new(shared: &Shared) -> Self {
        let options = shared.options();
        let jetstream = shared.jetstream().is_some();
        let mut feature_flags: BTreeMap<String, bool> = [
            ("js_ack_fc_v2", false),
            ("js_api_reply_v2", false),
            ("js_raft_delete_range", true),
            ("js_snapshot_sources", false),
        ]
        .into_iter()
        .map(|(name, on)| (name.to_owned(), on))
        .collect();
        feature_flags.extend(options.feature_flags.clone());
        Self {
            name: shared.identity.name.clone(),
            host: shared.listening().0,
            id: shared.identity.id.clone(),
            cluster: options.cluster_name.clone().unwrap_or_default(),
            domain: options.jetstream.domain.clone().filter(|_| jetstream).unwrap_or_default(),
            ver: SERVER_VERSION,
            tags: options.tags.clone(),
            metadata: options.metadata.clone(),
            feature_flags,
            jetstream,
            flags: if jetstream { FLAGS_WITH_JETSTREAM } else { 0 },
            seq: shared.next_event_seq(),
            time: time(shared.clock.wall()),
        }
    }
}

/// Messages and bytes in one direction.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct DataStats {
    msgs: u64,
    bytes: u64,
}

impl DataStats {
    /// What the server received.
    pub(super) fn received(counts: TrafficCounts) -> Self {
        Self { msgs: counts.in_msgs, bytes: counts.in_bytes }
    }

    /// What the server sent.
    pub(super) fn sent(counts: TrafficCounts) -> Self {
        Self { msgs: counts.out_msgs, bytes: counts.out_bytes }
    }
}

/// A client in an event.
#[derive(Debug, Serialize)]
pub(super) struct ClientPart {
    start: GoTime,
    host: String,
    id: u64,
    acc: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ver: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<GoTime>,
    #[serde(skip_serializing_if = "String::is_empty")]
    jwt: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    issuer_key: String,
    name_tag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    kind: &'static str,
    client_type: &'static str,
}

impl ClientPart {
    /// The same, shown in the account that hears of it.
    pub(super) fn in_account(self, account: &str) -> Self {
        Self { acc: account.to_owned(), ..self }
    }

    /// A client that came, or, with the time of its end, one that went.
    pub(super) fn new(client: &dyn ConnectionHandle, stopped: Option<WallNs>) -> Self {
        let identity = client.identity();
        Self {
            start: time(client.started_at()),
            host: client.peer().ip_text(),
            id: client.id(),
            acc: identity.account.name().to_owned(),
            issuer_key: identity.issuer().to_owned(),
            tags: identity.tags(),
            jwt: identity.token,
            user: identity.user,
            name: identity.name,
            lang: identity.lang,
            ver: identity.version,
            rtt: stopped.map(|_| client.rtt_ns()).filter(|rtt| *rtt > 0),
            stop: stopped.map(time),
            name_tag: identity.account.name_tag(),
            kind: "Client",
            client_type: client.client_type().name(),
        }
    }
}

/// A client as the stream engine shows it.
pub(crate) fn client_info(shared: &Shared, client: &dyn ConnectionHandle) -> ClientInfo {
    let identity = client.identity();
    ClientInfo {
        start: Some(time(client.started_at())),
        host: client.peer().ip_text(),
        id: client.id(),
        account: identity.account.name().to_owned(),
        issuer_key: identity.issuer().to_owned(),
        name_tag: identity.claims.as_ref().map(|claims| claims.name.clone()).unwrap_or_default(),
        tags: identity.tags(),
        service: String::new(),
        user: identity.user,
        name: identity.name,
        lang: identity.lang,
        version: identity.version,
        rtt_ns: client.rtt_ns().unsigned_abs(),
        server: shared.identity.name.clone(),
        kind: "Client".to_owned(),
        client_type: client.client_type().name().to_owned(),
        reply: String::new(),
    }
}

/// Permissions in the answer to a user who asks about itself.
#[derive(Debug, Serialize)]
pub(super) struct PermissionsPart {
    publish: SubjectsPart,
    subscribe: SubjectsPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<ResponsesPart>,
}

#[derive(Debug, Default, Serialize)]
struct SubjectsPart {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ResponsesPart {
    max: i64,
    ttl: i64,
}

impl PermissionsPart {
    pub(super) fn new(permissions: &Permissions) -> Self {
        let subjects = |list: &Option<SubjectPermission>| {
            list.as_ref().map_or_else(SubjectsPart::default, |list| SubjectsPart {
                allow: list.allow.clone().unwrap_or_default(),
                deny: list.deny.clone(),
            })
        };
        Self {
            publish: subjects(&permissions.publish),
            subscribe: subjects(&permissions.subscribe),
            responses: permissions
                .responses
                .map(|responses| ResponsesPart { max: responses.max_messages, ttl: responses.expires_ns }),
        }
    }
}

/// A moment as JSON.
pub(super) fn time(at: WallNs) -> GoTime {
    GoTime::from_ns(at.ns())
}
