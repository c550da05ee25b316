//! Pages about other servers: a server that stands alone has none, and says so as nats-server v2.15.2 does.

use hyper::StatusCode;
use jetkv_go_compat::{GoDuration, GoTime, quoted};
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
struct Profilez {
    profile: Option<Empty>,
    error: String,
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

/// `/ipqueuesz`: queues between the threads of the server that hold something. Here a message is handled by the thread
/// that read it, so that there are no such queues.
pub(super) fn ipqueuesz(query: &Query) -> Result<Page, String> {
    query.boolean("all")?;
    Ok(Page::json(&Empty {}))
}

/// The longest that a profile of the processor may take, in nanoseconds.
const PROFILE_NS_MAX: i64 = 15_000_000_000;

/// The profiles that Go's runtime makes of every program.
const PROFILES: [&str; 7] = ["allocs", "block", "cpu", "goroutine", "heap", "mutex", "threadcreate"];

/// The answer to a request for a profile, as Go makes them of itself: there are none. Who asks for one that there cannot be is told so
/// in nats-server's words.
pub(super) fn profilez(query: &Query) -> Result<Page, String> {
    let duration = GoDuration(query.integer("duration")?);
    let error = match query.text("name") {
        "" => "Profile name not specified".to_owned(),
        "cpu" if duration.0 <= 0 || duration.0 > PROFILE_NS_MAX => {
            format!("Duration {duration} should be between 0s and 15s")
        }
        name if PROFILES.contains(&name) => {
            let refusal = format!(
                "Profile {} is not supported by JetKV: the profiles are of Go's runtime",
                quoted(name)
            );
            tracing::warn!("Refused: {refusal}");
            refusal
        }
        name => format!("Profile {} not found", quoted(name)),
    };
    Ok(Page::json(&Profilez { profile: None, error }))
}

/// `/raftz`.
pub(super) fn raftz() -> Page {
    Page::text(StatusCode::NOT_FOUND, "No Raft nodes registered")
}
