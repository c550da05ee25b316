//! `/leafz`: connections of leaf nodes.

use jetkv_go_compat::{GoDuration, GoTime};
use serde::Serialize;

use super::json::{is_default, time};
use super::page::Page;
use super::query::Query;
use crate::connections::LeafnodeView;
use crate::router::Listed as _;
use crate::snapshot::MonitorSource;

#[derive(Serialize)]
struct Leafz<'a> {
    server_id: &'a str,
    now: GoTime,
    leafnodes: usize,
    leafs: Vec<LeafInfo>,
}

#[derive(Serialize)]
struct LeafInfo {
    id: u64,
    name: String,
    is_spoke: bool,
    #[serde(skip_serializing_if = "is_default")]
    is_isolated: bool,
    account: String,
    ip: String,
    port: u16,
    rtt: String,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    compression: &'static str,
}

impl LeafInfo {
    fn new(view: &LeafnodeView, with_subscriptions: bool) -> Self {
        let subjects = || {
            let texts =
                view.subscriptions.iter().map(|sub| String::from_utf8_lossy(sub.subject()).into_owned());
            texts.collect()
        };
        Self {
            id: view.id,
            name: view.server.clone(),
            is_spoke: view.is_spoke,
            is_isolated: view.is_isolated,
            account: view.account.name().to_owned(),
            ip: view.peer.ip_text(),
            port: view.peer.port(),
            rtt: GoDuration(view.rtt_ns).to_string(),
            in_msgs: view.traffic.in_msgs,
            out_msgs: view.traffic.out_msgs,
            in_bytes: view.traffic.in_bytes,
            out_bytes: view.traffic.out_bytes,
            subscriptions: view.subscriptions.len(),
            subscriptions_list: if with_subscriptions { subjects() } else { Vec::new() },
            compression: "off",
        }
    }
}

pub(super) fn page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let with_subscriptions = query.boolean("subs")? || query.requested("subscriptions") == "true";
    let account = match query.text("acc") {
        "" => query.requested("account"),
        named => named,
    };
    let mut views = source.leafnodes();
    views.retain(|view| account.is_empty() || view.account.name() == account);
    Ok(Page::json(&Leafz {
        server_id: source.server_id(),
        now: time(source.now()),
        leafnodes: views.len(),
        leafs: views.iter().map(|view| LeafInfo::new(view, with_subscriptions)).collect(),
    }))
}
