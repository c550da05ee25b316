//! Measurements of how long requests to services take, published in the account of the service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use jetkv_go_compat::{GoTime, json};
use jetkv_jetstream::ClientInfo;
use serde::Serialize;

use super::Publish;
use crate::router::{ExportedService, Response, Tracked};
use crate::state::{Shared, random_id};

const TYPE: &str = "io.nats.server.metric.v1.service_latency";

/// One measurement, as nats-server v2.15.2 writes it; times are nanoseconds.
#[derive(Serialize)]
struct Measurement<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: GoTime,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    requestor: Option<&'a ClientInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responder: Option<ClientInfo>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<&'a str, Vec<&'a str>>,
    start: GoTime,
    service: i64,
    system: i64,
    total: i64,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody waits for the answer any more.
    InterestLost,
    /// Nobody got the request.
    NoDelivery,
    /// The answer did not come in time.
    Timeout,
}

impl Failure {
    fn status(self) -> (u16, &'static str) {
        match self {
            Self::InterestLost => (408, "Request Timeout"),
            Self::NoDelivery => (503, "Service Unavailable"),
            Self::Timeout => (504, "Service Timeout"),
        }
    }
}

fn rtt_ns(client: Option<&ClientInfo>) -> i64 {
    client.map_or(0, |client| i64::try_from(client.rtt_ns).unwrap_or(i64::MAX))
}

fn nanos(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_nanos()).unwrap_or(i64::MAX)
}

impl<'a> Measurement<'a> {
    fn new(shared: &Shared, tracked: &'a Tracked, (status, description): (u16, &'static str)) -> Self {
        let mut header: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, value) in &tracked.headers {
            header.entry(key).or_default().push(value);
        }
        let requestor = tracked.requester.as_ref();
        Self {
            kind: TYPE,
            id: random_id(),
            timestamp: GoTime::from_ns(shared.clock.wall().ns()),
            status,
            description,
            requestor,
            responder: None,
            header,
            start: GoTime::from_ns(tracked.start_ns.saturating_sub(rtt_ns(requestor))),
            service: 0,
            system: 0,
            total: 0,
        }
    }

    fn send(&self, shared: &Arc<Shared>, publish: Publish, export: &ExportedService) {
        let Some(latency) = &export.options.latency else { return };
        if let Some(account) = shared.accounts.get(export.owner) {
            publish(shared, &account, latency.subject.as_bytes(), &json::to_vec(self));
        }
    }
}

/// A request was answered by `responder`.
pub(super) fn answered(
    shared: &Arc<Shared>,
    publish: Publish,
    open: &Response,
    responder: Option<ClientInfo>,
) {
    let Some(tracked) = &open.tracked else { return };
    let begun = Instant::now();
    let waited_ns = nanos(tracked.since);
    let responder_rtt_ns = rtt_ns(responder.as_ref());
    let mut measurement = Measurement::new(shared, tracked, (200, ""));
    measurement.service = waited_ns.saturating_sub(responder_rtt_ns).max(0);
    measurement.total = waited_ns.saturating_add(rtt_ns(tracked.requester.as_ref()));
    if responder_rtt_ns > 0 {
        measurement.system = nanos(begun);
        measurement.total = measurement.total.saturating_add(measurement.system);
    }
    measurement.responder = responder;
    measurement.send(shared, publish, &open.export);
}

/// A request came without a subject to answer to.
pub(super) fn bad_request(
    shared: &Arc<Shared>,
    publish: Publish,
    export: &ExportedService,
    tracked: &Tracked,
) {
    Measurement::new(shared, tracked, (400, "Bad Request")).send(shared, publish, export);
}

/// A request was not answered. Tells so once.
pub(super) fn failed(shared: &Arc<Shared>, publish: Publish, open: &Response, failure: Failure) {
    let Some(tracked) = &open.tracked else { return };
    if !tracked.is_told.swap(true, Ordering::Relaxed) {
        Measurement::new(shared, tracked, failure.status()).send(shared, publish, &open.export);
    }
}
