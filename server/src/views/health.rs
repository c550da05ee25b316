//! `/healthz`: whether the server can be used.

use hyper::StatusCode;
use serde::Serialize;

use super::page::Page;
use super::query::Query;
use crate::snapshot::MonitorSource;
use jetkv_go_compat::quoted;

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    errors: &'a [Problem],
}

/// What is wrong.
#[derive(Default, Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stream: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    consumer: String,
    error: String,
}

/// What a check found.
struct Finding {
    status: StatusCode,
    /// The word for the state of the server.
    word: &'static str,
    problems: Vec<Problem>,
}

impl Finding {
    fn ok() -> Self {
        Self { status: StatusCode::OK, word: "ok", problems: Vec::new() }
    }

    fn one(status: StatusCode, word: &'static str, problem: Problem) -> Self {
        Self { status, word, problems: vec![problem] }
    }

    fn unavailable(problem: Problem) -> Self {
        Self::one(StatusCode::SERVICE_UNAVAILABLE, "unavailable", problem)
    }

    fn not_found(problem: Problem) -> Self {
        Self::one(StatusCode::NOT_FOUND, "unavailable", problem)
    }
}

/// The parameters.
struct Wanted<'a> {
    account: &'a str,
    stream: &'a str,
    consumer: &'a str,
    server_only: bool,
    enabled_only: bool,
}

pub(super) fn page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let outdated = query.boolean("js-enabled")?;
    if outdated {
        tracing::warn!("Healthcheck: js-enabled deprecated, use js-enabled-only instead");
    }
    let enabled_only = query.boolean("js-enabled-only")? || outdated;
    let server_only = query.boolean("js-server-only")?;
    query.boolean("js-meta-only")?;
    let with_details = query.boolean("details")?;
    let wanted = Wanted {
        account: query.text("account"),
        stream: query.text("stream"),
        consumer: query.text("consumer"),
        server_only,
        enabled_only,
    };
    let finding = check(source, &wanted);
    let Some(first) = finding.problems.first() else {
        let health = Health { status: "ok", error: None, errors: &[] };
        return Ok(Page::compact_json(StatusCode::OK, &health));
    };
    let health = if with_details {
        tracing::warn!("Healthcheck failed: {} errors", finding.problems.len());
        Health { status: "error", error: None, errors: &finding.problems }
    } else {
        tracing::warn!("Healthcheck failed: {}", quoted(&first.error));
        Health { status: finding.word, error: Some(&first.error), errors: &[] }
    };
    Ok(Page::compact_json(finding.status, &health))
}

/// The word for the state of the server.
pub(super) fn word(source: &MonitorSource) -> &'static str {
    let wanted = Wanted { account: "", stream: "", consumer: "", server_only: false, enabled_only: false };
    check(source, &wanted).word
}

fn check(source: &MonitorSource, wanted: &Wanted<'_>) -> Finding {
    let missing = |name: &str, what: &str| {
        let error = format!("{} must not be empty when checking {what} health", quoted(name));
        let problem = Problem { kind: "BAD_REQUEST", error, ..Problem::default() };
        Finding::one(StatusCode::BAD_REQUEST, "error", problem)
    };
    if wanted.account.is_empty() && !wanted.stream.is_empty() {
        return missing("account", "stream");
    }
    if wanted.stream.is_empty() && !wanted.consumer.is_empty() {
        return missing("stream", "consumer");
    }
    if !source.is_healthy() {
        let error = "server is shutting down".to_owned();
        let problem = Problem { kind: "CONNECTION", error, ..Problem::default() };
        return Finding::one(StatusCode::INTERNAL_SERVER_ERROR, "error", problem);
    }
    if wanted.server_only || !source.options().jetstream.enabled {
        return Finding::ok();
    }
    if source.engine().is_none() {
        let error = "JetStream not enabled".to_owned();
        return Finding::unavailable(Problem { kind: "JETSTREAM", error, ..Problem::default() });
    }
    if wanted.enabled_only {
        return Finding::ok();
    }
    let problems = recovered(source, wanted);
    if !problems.is_empty() {
        return Finding { status: StatusCode::SERVICE_UNAVAILABLE, word: "unavailable", problems };
    }
    asset(source, wanted)
}

/// What is stored and is not served, and what is served and cannot be written.
fn recovered(source: &MonitorSource, wanted: &Wanted<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(engine) = source.engine() else { return problems };
    let accounts = source.accounts();
    for name in engine.stored_accounts() {
        if !(wanted.account.is_empty() || wanted.account == name) {
            continue;
        }
        let Some(account) = accounts.iter().find(|account| account.name() == name) else {
            let error = format!("JetStream account '{name}' could not be resolved");
            problems.push(Problem { kind: "ACCOUNT", account: name, error, ..Problem::default() });
            continue;
        };
        let unserved = engine.unserved_streams(account.id()).into_iter();
        let unserved = unserved.map(|stream| (stream, "could not be recovered".to_owned()));
        let broken = engine.stream_names(account.id()).into_iter().filter_map(|stream| {
            let reason = engine.write_error(account.id(), &stream)?;
            Some((stream, format!("write error: {reason}")))
        });
        for (stream, what) in unserved.chain(broken) {
            if wanted.stream.is_empty() || wanted.stream == stream {
                let error = format!("JetStream stream '{name} > {stream}' {what}");
                let account = name.clone();
                problems.push(Problem { kind: "STREAM", account, stream, error, ..Problem::default() });
            }
        }
    }
    problems
}

/// Whether the account, stream and consumer that are asked for are there.
fn asset(source: &MonitorSource, wanted: &Wanted<'_>) -> Finding {
    let (account, stream, consumer) =
        (wanted.account.to_owned(), wanted.stream.to_owned(), wanted.consumer.to_owned());
    let Some(engine) = source.engine().filter(|_| !account.is_empty()) else { return Finding::ok() };
    let found = source.accounts().into_iter().find(|known| known.name() == account && known.has_jetstream());
    let Some(found) = found else {
        let error = format!("JetStream account {} not found", quoted(&account));
        return Finding::not_found(Problem { kind: "ACCOUNT", account, error, ..Problem::default() });
    };
    if stream.is_empty() {
        return Finding::ok();
    }
    if engine.stream(found.id(), &stream).is_none() {
        let error = format!("JetStream stream {} not found on account {}", quoted(&stream), quoted(&account));
        return Finding::not_found(Problem { kind: "STREAM", account, stream, error, ..Problem::default() });
    }
    if consumer.is_empty() || engine.has_consumer(found.id(), &stream, &consumer) {
        return Finding::ok();
    }
    let error = format!(
        "JetStream consumer {} not found for stream {} on account {}",
        quoted(&consumer),
        quoted(&stream),
        quoted(&account)
    );
    Finding::not_found(Problem { kind: "CONSUMER", account, stream, consumer, error })
}
