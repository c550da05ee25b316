//! `/connz`: connections, those that ended included.

use std::sync::Arc;
use std::time::Duration;

use jetkv_go_compat::GoTime;
use jetkv_jetstream::WallNs;
use jetkv_protocol::subject;
use serde::Serialize;

use super::json::{between, is_default, time, uptime};
use super::page::Page;
use super::query::Query;
use super::subsz::SubscriptionPart;
use crate::certificate::{Certificate, PeerCertificates};
use crate::connections::{ClosedClient, ConnectionHandle, Identity, Peer, Secured};
use crate::options::defaults;
use crate::router::{Listed, Subscription};
use crate::snapshot::MonitorSource;
use jetkv_go_compat::GoDuration;

/// Connections on one page unless asked for otherwise.
const LIMIT: i64 = 1024;

const SORTS: [&str; 15] = [
    "",
    "cid",
    "start",
    "subs",
    "pending",
    "msgs_to",
    "msgs_from",
    "bytes_to",
    "bytes_from",
    "last",
    "idle",
    "uptime",
    "rtt",
    "stop",
    "reason",
];

#[derive(Serialize)]
struct Connz<'a> {
    server_id: &'a str,
    now: GoTime,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    /// `None` where the account that is asked for does not exist.
    connections: Option<Vec<Connection>>,
}

#[derive(Serialize)]
struct Connection {
    cid: u64,
    kind: &'static str,
    #[serde(rename = "type")]
    protocol: &'static str,
    ip: String,
    port: u16,
    start: GoTime,
    last_activity: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<GoTime>,
    #[serde(skip_serializing_if = "is_default")]
    reason: String,
    #[serde(skip_serializing_if = "is_default")]
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    stalls: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "is_default")]
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    lang: String,
    #[serde(skip_serializing_if = "is_default")]
    version: String,
    #[serde(skip_serializing_if = "is_default")]
    tls_version: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    tls_cipher_suite: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_peer_certs: Vec<PeerCertificate>,
    #[serde(skip_serializing_if = "is_default")]
    tls_first: bool,
    #[serde(skip_serializing_if = "is_default")]
    authorized_user: String,
    #[serde(skip_serializing_if = "is_default")]
    account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubscriptionPart>,
    #[serde(skip_serializing_if = "is_default")]
    jwt: String,
    #[serde(skip_serializing_if = "is_default")]
    issuer_key: String,
    #[serde(skip_serializing_if = "is_default")]
    name_tag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Proxy>,
    #[serde(skip)]
    order: Order,
}

/// What connections can be sorted by and are not shown as such.
struct Order {
    start: WallNs,
    last: WallNs,
    stop: Option<WallNs>,
    rtt_ns: i64,
    user: String,
    account: String,
    issuer: String,
    account_tag: String,
    token: String,
    tags: Vec<String>,
    certificates: Option<Arc<PeerCertificates>>,
}

/// What is asked for.
struct Wanted<'a> {
    sort: &'a str,
    with_auth: bool,
    with_subs: bool,
    with_subs_detail: bool,
    offset: usize,
    limit: usize,
    cid: u64,
    open: bool,
    closed: bool,
    user: &'a str,
    account: &'a str,
    /// Only connections with a subscription that shares subjects with this one. Empty: any.
    filter: &'a str,
    /// Only connections of this MQTT client, of which there are none. Empty: any.
    mqtt_client: &'a str,
}

impl<'a> Wanted<'a> {
    fn new(query: &'a Query) -> Result<Self, String> {
        let with_auth = query.boolean("auth")?;
        let (with_subs, with_subs_detail) = query.subscriptions()?;
        let offset = usize::try_from(query.integer("offset")?).unwrap_or(0);
        let limit = Some(query.integer("limit")?).filter(|limit| *limit > 0).unwrap_or(LIMIT);
        let cid = query.unsigned("cid")?;
        let state = query.text("state").to_ascii_lowercase();
        let (open, closed) = match state.as_str() {
            "" | "open" => (true, false),
            "closed" => (false, true),
            "any" | "all" => (true, true),
            _ => return Err(format!("Error decoding state for {}", query.text("state"))),
        };
        let sort = query.text("sort");
        if !SORTS.contains(&sort) {
            return Err(format!("invalid sorting option: {sort}"));
        }
        if matches!(sort, "stop" | "reason") && (open || !closed) {
            return Err(format!("sort by {sort} only valid on closed connections"));
        }
        let account = query.text("acc");
        let filter =
            Some(query.requested("filter_subject")).filter(|filter| *filter != ">").unwrap_or_default();
        if !filter.is_empty() && account.is_empty() {
            return Err("filter by subject only valid with account filtering".to_owned());
        }
        Ok(Self {
            sort,
            with_auth,
            with_subs,
            with_subs_detail,
            offset,
            limit: if cid > 0 { 1 } else { usize::try_from(limit).unwrap_or(usize::MAX) },
            cid,
            open,
            closed,
            user: query.text("user"),
            account,
            filter,
            mqtt_client: query.text("mqtt_client"),
        })
    }

    fn takes_subscriptions(&self, subscriptions: &[Arc<Subscription>]) -> bool {
        let filter = self.filter.as_bytes();
        filter.is_empty() || subscriptions.iter().any(|one| subject::collide(filter, one.subject()))
    }

    fn takes(&self, connection: &Connection) -> bool {
        self.mqtt_client.is_empty()
            && (self.cid == 0 || connection.cid == self.cid)
            && (self.user.is_empty() || connection.order.user == self.user)
            && (self.account.is_empty() || connection.order.account == self.account)
    }

    /// Adds what only shows when asked for.
    fn complete(&self, mut connection: Connection, subscriptions: &[Arc<Subscription>]) -> Connection {
        connection.subscriptions = subscriptions.len();
        if self.with_subs {
            connection.subscriptions_list = subscriptions
                .iter()
                .map(|subscription| String::from_utf8_lossy(subscription.subject()).into_owned())
                .collect();
        }
        if self.with_subs_detail {
            // Connections that ended say which account their subscriptions were in.
            let account = connection.stop.is_some().then_some(connection.order.account.as_str());
            connection.subscriptions_list_detail =
                subscriptions.iter().map(|one| SubscriptionPart::new(one, account)).collect();
        }
        if self.with_auth {
            connection.authorized_user.clone_from(&connection.order.user);
            connection.issuer_key.clone_from(&connection.order.issuer);
            connection.jwt.clone_from(&connection.order.token);
            connection.tags.clone_from(&connection.order.tags);
            // Of connections that ended nobody keeps them.
            let peer = connection.order.certificates.as_ref().filter(|_| connection.stop.is_none());
            let shown = peer.map_or(&[][..], |peer| &peer.shown);
            connection.tls_peer_certs = shown.iter().map(PeerCertificate::new).collect();
            let is_global = connection.order.account == defaults::GLOBAL_ACCOUNT;
            if !is_global {
                connection.account.clone_from(&connection.order.account);
            }
            if !is_global || connection.stop.is_none() {
                connection.name_tag.clone_from(&connection.order.account_tag);
            }
        }
        connection
    }
}

pub(super) fn page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let wanted = Wanted::new(query)?;
    let now = source.now();
    let page = |server_id, total, connections: Option<Vec<Connection>>| {
        Page::json(&Connz {
            server_id,
            now: time(now),
            num_connections: connections.as_ref().map_or(0, Vec::len),
            total,
            offset: wanted.offset,
            limit: wanted.limit,
            connections,
        })
    };
    let knows = |name: &str| source.accounts().iter().any(|account| account.name() == name);
    if !wanted.account.is_empty() && !knows(wanted.account) {
        return Ok(page("", 0, None));
    }
    let (total, mut connections) = gather(source, &wanted, now);
    sort(&mut connections, wanted.sort, now);
    let connections = connections.into_iter().skip(wanted.offset).take(wanted.limit).collect();
    Ok(page(source.server_id(), total, Some(connections)))
}

/// The connections that are asked for, and how many there are when only the account counts.
fn gather(source: &MonitorSource, wanted: &Wanted<'_>, now: WallNs) -> (usize, Vec<Connection>) {
    let mut connections = Vec::new();
    let mut total = 0;
    let mut add = |connection: Connection, subscriptions: &[Arc<Subscription>]| {
        // Of connections that ended it is not known that they were in the global account (nats-server v2.15.2, observed).
        let is_nameless = connection.stop.is_some() && connection.order.account == defaults::GLOBAL_ACCOUNT;
        if !wanted.account.is_empty() && (is_nameless || connection.order.account != wanted.account) {
            return;
        }
        total += 1;
        // Connections that ended are not asked for their subscriptions.
        let listens = connection.stop.is_some() || wanted.takes_subscriptions(subscriptions);
        if listens && wanted.takes(&connection) {
            connections.push(wanted.complete(connection, subscriptions));
        }
    };
    if wanted.open {
        for client in source.clients() {
            add(open(&*client, now), &client.subscriptions());
        }
    }
    if wanted.closed {
        for client in source.closed_clients().0 {
            add(closed(&client), &client.subscriptions);
        }
    }
    (total, connections)
}

fn sort(connections: &mut [Connection], by: &str, now: WallNs) {
    use std::cmp::Reverse;
    let uptime_ns = |one: &Connection| one.order.stop.unwrap_or(now).since(one.order.start);
    connections.sort_by_key(|one| one.cid);
    match by {
        "subs" => connections.sort_by_key(|one| Reverse(one.subscriptions)),
        "pending" => connections.sort_by_key(|one| Reverse(one.pending_bytes)),
        "msgs_to" => connections.sort_by_key(|one| Reverse(one.out_msgs)),
        "msgs_from" => connections.sort_by_key(|one| Reverse(one.in_msgs)),
        "bytes_to" => connections.sort_by_key(|one| Reverse(one.out_bytes)),
        "bytes_from" => connections.sort_by_key(|one| Reverse(one.in_bytes)),
        "last" => connections.sort_by_key(|one| Reverse(one.order.last)),
        "idle" => connections.sort_by_key(|one| one.order.last),
        "uptime" => connections.sort_by_key(|one| uptime_ns(one)),
        "rtt" => connections.sort_by_key(|one| Reverse(one.order.rtt_ns)),
        "stop" => connections.sort_by_key(|one| Reverse(one.order.stop)),
        "reason" => connections.sort_by(|a, b| a.reason.cmp(&b.reason)),
        _ => {}
    }
}

fn open(client: &dyn ConnectionHandle, now: WallNs) -> Connection {
    let traffic = client.traffic();
    let moments = (client.started_at(), client.last_active(), None);
    let base = identified(client.id(), client.identity(), client.peer(), moments, client.rtt_ns());
    let protocol = client.client_type().name();
    let base = under_tls(base, client.secured());
    Connection {
        protocol,
        uptime: uptime(between(moments.0, now)),
        idle: uptime(between(moments.1, now)),
        pending_bytes: client.pending_bytes(),
        in_msgs: traffic.in_msgs,
        out_msgs: traffic.out_msgs,
        in_bytes: traffic.in_bytes,
        out_bytes: traffic.out_bytes,
        stalls: client.stalls(),
        ..base
    }
}

fn closed(client: &ClosedClient) -> Connection {
    let traffic = client.traffic;
    let moments = (client.started_at, client.last_active, Some(client.stopped_at));
    let base = identified(client.id, client.identity.clone(), client.peer, moments, client.rtt_ns);
    let base = under_tls(base, client.secured.as_ref());
    Connection {
        protocol: client.client_type.name(),
        stop: Some(time(client.stopped_at)),
        reason: client.reason.to_string(),
        uptime: uptime(between(client.started_at, client.stopped_at)),
        idle: uptime(between(client.last_active, client.stopped_at)),
        stalls: client.stalls,
        in_msgs: traffic.in_msgs,
        out_msgs: traffic.out_msgs,
        in_bytes: traffic.in_bytes,
        out_bytes: traffic.out_bytes,
        ..base
    }
}

/// The proxy that signed for a client.
#[derive(Serialize)]
struct Proxy {
    key: String,
}

/// What a client showed of itself.
#[derive(Clone, Serialize)]
struct PeerCertificate {
    #[serde(skip_serializing_if = "is_default")]
    subject: String,
    #[serde(skip_serializing_if = "is_default")]
    spki_sha256: String,
    #[serde(skip_serializing_if = "is_default")]
    cert_sha256: String,
}

impl PeerCertificate {
    fn new(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject.to_string(),
            spki_sha256: certificate.key_digest(),
            cert_sha256: certificate.digest(),
        }
    }
}

fn under_tls(connection: Connection, secured: Option<&Secured>) -> Connection {
    let Some(secured) = secured else { return connection };
    let order = Order { certificates: secured.peer.clone(), ..connection.order };
    Connection {
        tls_version: secured.version,
        tls_cipher_suite: secured.cipher_suite.clone(),
        tls_first: secured.is_first,
        order,
        ..connection
    }
}

/// A connection without its counts. The moments are start, last activity and end.
fn identified(
    cid: u64,
    identity: Identity,
    peer: Peer,
    (start, last, stop): (WallNs, WallNs, Option<WallNs>),
    rtt_ns: i64,
) -> Connection {
    let account = identity.account.name().to_owned();
    let issuer = identity.issuer().to_owned();
    let (account_tag, token, tags) = (identity.account.name_tag(), identity.shown_token(), identity.tags());
    Connection {
        cid,
        kind: "Client",
        protocol: "nats",
        ip: peer.ip_text(),
        port: peer.port(),
        start: time(start),
        last_activity: time(last),
        stop: None,
        reason: String::new(),
        rtt: GoDuration(rtt_ns).to_string(),
        uptime: uptime(Duration::ZERO),
        idle: uptime(Duration::ZERO),
        pending_bytes: 0,
        in_msgs: 0,
        out_msgs: 0,
        in_bytes: 0,
        out_bytes: 0,
        stalls: 0,
        subscriptions: 0,
        name: identity.name,
        lang: identity.lang,
        version: identity.version,
        tls_version: "",
        tls_cipher_suite: String::new(),
        tls_peer_certs: Vec::new(),
        tls_first: false,
        authorized_user: String::new(),
        account: String::new(),
        subscriptions_list: Vec::new(),
        subscriptions_list_detail: Vec::new(),
        issuer_key: String::new(),
        jwt: String::new(),
        name_tag: String::new(),
        tags: Vec::new(),
        proxy: (!identity.proxy.is_empty()).then_some(Proxy { key: identity.proxy }),
        order: Order {
            start,
            last,
            stop,
            rtt_ns,
            user: identity.user,
            account,
            issuer,
            account_tag,
            token,
            tags,
            certificates: None,
        },
    }
}
