//! `/healthz`: whether the server can be used.

use hyper::StatusCode;
use serde::Serialize;

use super::page::Page;
use super::query::Query;
use crate::options::quoted;
use crate::snapshot::MonitorSource;

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<&'a Problem>,
}

/// What is wrong.
#[derive(Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stream: String,
    error: String,
}

pub(super) fn page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    for name in ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"] {
        query.boolean(name)?;
    }
    let with_details = query.boolean("details")?;
    let Some((status, problem)) = problem(source, query) else {
        let health = Health { status: "ok", error: None, errors: Vec::new() };
        return Ok(Page::compact_json(StatusCode::OK, &health));
    };
    tracing::warn!("Healthcheck failed: {}", quoted(&problem.error));
    let health = if with_details {
        Health { status: "error", error: None, errors: vec![&problem] }
    } else {
        Health { status: "unavailable", error: Some(&problem.error), errors: Vec::new() }
    };
    Ok(Page::compact_json(status, &health))
}

/// What is wrong, if anything.
fn problem(source: &MonitorSource, query: &Query) -> Option<(StatusCode, Problem)> {
    let (account, stream) = (query.text("account").to_owned(), query.text("stream").to_owned());
    let unavailable = |kind, error: &str| {
        let (account, stream) = (String::new(), String::new());
        Some((StatusCode::SERVICE_UNAVAILABLE, Problem { kind, account, stream, error: error.to_owned() }))
    };
    if !source.is_healthy() {
        return unavailable("CONN", "server is shutting down");
    }
    if source.options().jetstream.enabled && source.engine().is_none() {
        return unavailable("JETSTREAM", "JetStream is not current");
    }
    if account.is_empty() {
        return None;
    }
    let found = source.accounts().into_iter().find(|known| known.name() == account && known.has_jetstream());
    let Some(found) = found else {
        let error = format!("JetStream account \"{account}\" not found");
        let problem = Problem { kind: "ACCOUNT", account, stream: String::new(), error };
        return Some((StatusCode::NOT_FOUND, problem));
    };
    let streams = source.engine().map(|engine| engine.stream_names(found.id())).unwrap_or_default();
    if !stream.is_empty() && !streams.contains(&stream) {
        let error = format!("JetStream stream \"{stream}\" not found on account \"{account}\"");
        return Some((StatusCode::NOT_FOUND, Problem { kind: "STREAM", account, stream, error }));
    }
    None
}
