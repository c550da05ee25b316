//! Pages about other servers: a server that stands alone has none, and says so as nats-server v2.15.2 does.

use hyper::StatusCode;
use jetkv_go_compat::GoTime;
use serde::Serialize;

use super::json::{Empty, time};
use super::page::Page;
use super::query::Query;
use crate::snapshot::MonitorSource;

#[derive(Serialize)]
struct Routez<'a> {
    server_id: &'a str,
    server_name: &'a str,
    now: GoTime,
    num_routes: u32,
    routes: [Empty; 0],
}

#[derive(Serialize)]
struct Gatewayz<'a> {
    server_id: &'a str,
    now: GoTime,
    outbound_gateways: Empty,
    inbound_gateways: Empty,
}

#[derive(Serialize)]
struct Leafz<'a> {
    server_id: &'a str,
    now: GoTime,
    leafnodes: u32,
    leafs: [Empty; 0],
}

/// `/routez`.
pub(super) fn routez(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    query.subscriptions()?;
    Ok(Page::json(&Routez {
        server_id: source.server_id(),
        server_name: source.server_name(),
        now: time(source.now()),
        num_routes: 0,
        routes: [],
    }))
}

/// `/gatewayz`.
pub(super) fn gatewayz(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    query.subscriptions()?;
    query.boolean("accs")?;
    Ok(Page::json(&Gatewayz {
        server_id: source.server_id(),
        now: time(source.now()),
        outbound_gateways: Empty {},
        inbound_gateways: Empty {},
    }))
}

/// `/leafz`.
pub(super) fn leafz(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    query.boolean("subs")?;
    Ok(Page::json(&Leafz { server_id: source.server_id(), now: time(source.now()), leafnodes: 0, leafs: [] }))
}

/// `/ipqueuesz`: queues between the threads of the server that hold something. Here a message is handled by the thread
/// that read it, so that there are no such queues.
pub(super) fn ipqueuesz(query: &Query) -> Result<Page, String> {
    query.boolean("all")?;
    Ok(Page::json(&Empty {}))
}

/// `/raftz`.
pub(super) fn raftz() -> Page {
    Page::text(StatusCode::NOT_FOUND, "No Raft nodes registered")
}
