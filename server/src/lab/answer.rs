//! What is answered.

use jetkv_go_compat::{GoDuration, GoTime, json};
use jetkv_jetstream::Due;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

use super::control::{Advanced, ClockState, Reset};
use super::isolation::Isolated;
use super::journal::Noted;
use super::request::Request;
use super::saved::Summary;
use crate::faults::{Delay, ErrorPart, Fault as Kind, Rule};

/// Why the lab does not do what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{description}")]
pub struct LabError {
    /// As HTTP has them: 400 for a request that makes no sense, 401 without the token, 404 for what is not there, 408 for what
    /// did not come in time, 500 for what failed.
    pub code: u16,
    /// What is wrong.
    pub description: String,
}

impl LabError {
    fn new(code: u16, description: impl Into<String>) -> Self {
        Self { code, description: description.into() }
    }

    pub(super) fn bad_request(description: impl Into<String>) -> Self {
        Self::new(400, description)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "the lab's token is missing or wrong")
    }

    pub(super) fn forbidden(description: impl Into<String>) -> Self {
        Self::new(403, description)
    }

    pub(super) fn not_found(description: impl Into<String>) -> Self {
        Self::new(404, description)
    }

    pub(super) fn wrong_method(description: impl Into<String>) -> Self {
        Self::new(405, description)
    }

    pub(super) fn too_late(description: impl Into<String>) -> Self {
        Self::new(408, description)
    }

    pub(super) fn too_large() -> Self {
        Self::new(413, "the body is too large")
    }

    pub(super) fn failed(description: impl Into<String>) -> Self {
        Self::new(500, description)
    }
}

/// An answer as JSON, with a status as HTTP has them.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// What an answer tells.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Told {
    Clock(Clock),
    Advanced(Moved),
    Next(Next),
    Reset(Cleared),
    Fault { id: u64 },
    Faults { faults: Vec<Fault> },
    FaultsCleared { removed: usize },
    Restarting {},
    Saved(SavedState),
    States { states: Vec<SavedState> },
    StatesDropped { removed: usize },
    Isolated(Isolated),
    Released { account: String },
    Accounts { accounts: Vec<String> },
    Entries { entries: Vec<Noted>, dropped: u64 },
    Count { count: usize },
    EntriesCleared { removed: usize },
    Scenario { scenario: String },
}

/// A rule of faults, and how often it has happened.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    id: u64,
    kind: &'static str,
    r#where: Where,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    probability: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(flatten)]
    own: OwnFields,
    hits: u64,
}

/// What only rules of some kinds have.
#[derive(Debug, Default, Serialize)]
struct OwnFields {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_sec: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'static str>,
}

impl OwnFields {
    fn of(fault: &Kind) -> Self {
        let length = |ns| GoDuration(i64::try_from(ns).unwrap_or(i64::MAX)).to_string();
        match fault {
            Kind::Answer(error) => Self { error: Some(error.clone()), ..Self::default() },
            Kind::DelayAnswer(Delay { by_ns, jitter_ns }) | Kind::Hold(Delay { by_ns, jitter_ns }) => Self {
                by: Some(length(*by_ns)),
                jitter: Some(*jitter_ns).filter(|jitter_ns| *jitter_ns > 0).map(length),
                ..Self::default()
            },
            Kind::Narrow { bytes_per_sec, .. } => {
                Self { bytes_per_sec: Some(*bytes_per_sec), ..Self::default() }
            }
            Kind::Twice => Self { what: Some("message"), ..Self::default() },
            Kind::DeliverTwice => Self { what: Some("delivery"), ..Self::default() },
            Kind::LoseAnswer
            | Kind::NoResponders
            | Kind::Disconnect
            | Kind::StopReading
            | Kind::FailDisk(_) => Self::default(),
        }
    }
}

impl From<&Arc<Rule>> for Fault {
    fn from(rule: &Arc<Rule>) -> Self {
        let aim = rule.aim.clone();
        Self {
            id: rule.id,
            kind: rule.kind,
            r#where: Where { subject: aim.subject, client: aim.client, account: aim.account },
            times: rule.times,
            probability: rule.probability,
            seed: rule.seed,
            own: OwnFields::of(&rule.fault),
            hits: rule.hits(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Where {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Clock {
    now: GoTime,
    offset: String,
    frozen: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Moved {
    now: GoTime,
    fired: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Next {
    now: GoTime,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    next: Option<NextDue>,
}

#[derive(Debug, Serialize)]
struct NextDue {
    at: GoTime,
    r#in: String,
    what: &'static str,
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stream: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
}

/// A state that was saved.
#[derive(Debug, Serialize)]
pub(super) struct SavedState {
    name: String,
    /// The moment that it is of.
    now: GoTime,
    accounts: usize,
    streams: usize,
    consumers: usize,
    messages: u64,
    bytes: usize,
}

impl From<Summary> for SavedState {
    fn from(summary: Summary) -> Self {
        let Summary { name, now, accounts, streams, consumers, msgs, size_bytes } = summary;
        Self { name, now: time(now.ns()), accounts, streams, consumers, messages: msgs, bytes: size_bytes }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Cleared {
    now: GoTime,
    streams: usize,
    consumers: usize,
}

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    told: Option<&'a Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a LabError>,
}

impl Answer {
    /// The answer to a request; one that could not be read has no name.
    pub(super) fn new(request: Option<&Request>, result: &Result<Told, LabError>) -> Self {
        let name = request.map_or("lab", Request::name);
        let envelope = Envelope {
            r#type: format!("io.jetkv.lab.v1.{name}_response"),
            told: result.as_ref().ok(),
            error: result.as_ref().err(),
        };
        let status = result.as_ref().map_or_else(|error| error.code, |_| 200);
        Self { status, body: json::to_vec(&envelope) }
    }
}

impl Answer {
    /// What it says, apart from its type.
    pub(super) fn into_value(self) -> Result<Value, LabError> {
        let unreadable = |_| LabError::failed("the answer is no JSON");
        let mut value: Value = serde_json::from_slice(&self.body).map_err(unreadable)?;
        let Some(fields) = value.as_object_mut() else { return Ok(value) };
        fields.remove("type");
        match fields.get("error") {
            None => Ok(value),
            Some(error) => {
                let description = error.get("description").and_then(Value::as_str).unwrap_or_default();
                Err(LabError::new(self.status, description))
            }
        }
    }
}

impl From<ClockState> for Told {
    fn from(state: ClockState) -> Self {
        let ClockState { now, offset_ns, frozen } = state;
        Self::Clock(Clock { now: time(now.ns()), offset: GoDuration(offset_ns).to_string(), frozen })
    }
}

impl From<Advanced> for Told {
    fn from(Advanced { now, fired }: Advanced) -> Self {
        Self::Advanced(Moved { now: time(now.ns()), fired })
    }
}

impl From<Reset> for Told {
    fn from(Reset { now, removed }: Reset) -> Self {
        let (streams, consumers) = (removed.streams, removed.consumers);
        Self::Reset(Cleared { now: time(now.ns()), streams, consumers })
    }
}

impl Told {
    pub(super) fn fault(id: u64) -> Self {
        Self::Fault { id }
    }

    pub(super) fn cleared(removed: usize) -> Self {
        Self::FaultsCleared { removed }
    }

    /// A rule as it is listed.
    pub(super) fn listed(rule: &Arc<Rule>) -> Fault {
        Fault::from(rule)
    }

    pub(super) fn faults(rules: &[Arc<Rule>]) -> Self {
        Self::Faults { faults: rules.iter().map(Fault::from).collect() }
    }

    pub(super) fn next(state: &ClockState, due: Option<(Due, String)>) -> Self {
        let next = due.map(|(due, account)| {
            let in_ns = i64::try_from(due.in_ns).unwrap_or(i64::MAX);
            NextDue {
                at: time(state.now.plus(in_ns).ns()),
                r#in: GoDuration(in_ns).to_string(),
                what: due.kind.name(),
                account,
                stream: due.stream,
                consumer: due.consumer,
            }
        });
        Self::Next(Next { now: time(state.now.ns()), next })
    }
}

fn time(ns: i64) -> GoTime {
    GoTime::from_ns(ns).utc()
}
