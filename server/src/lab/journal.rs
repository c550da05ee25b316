//! Requests about the journal, and what is told of its entries.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jetkv_go_compat::{GoDuration, GoTime};
use jetkv_protocol::{Headers, subject};
use serde::{Deserialize, Serialize};

use super::answer::LabError;
use super::request::{Length, read};
use crate::journal::{Entry, Filter, Verb};

/// Entries that are told where nothing else is asked for.
const LIMIT: usize = 1_000;
/// How long entries are waited for where nothing else is asked for, and at most.
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Entries that are meant, and how many of the latest of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) filter: Filter,
    pub(super) limit: usize,
}

/// Entries that are waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) wanted: Wanted,
    /// How many there have to be.
    pub(super) count: usize,
    pub(super) timeout: Duration,
}

/// Somebody waits for entries.
pub(super) struct Wait {
    pub(super) awaited: Awaited,
    /// Until when, by the real clock.
    pub(super) until: Instant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    verb: Option<String>,
    #[serde(default)]
    after: Option<u64>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    count: Option<usize>,
    #[serde(default)]
    timeout: Option<Length>,
}

impl Body {
    fn filter(self) -> Result<Filter, LabError> {
        let Self { subject, client, account, verb, after, .. } = self;
        if let Some(pattern) = subject.as_ref().filter(|pattern| !subject::is_valid(pattern.as_bytes())) {
            return Err(LabError::bad_request(format!("{pattern} is no subject")));
        }
        let verb = verb.map(|name| {
            Verb::parse(&name).ok_or_else(|| LabError::bad_request(format!("the journal knows no {name}")))
        });
        Ok(Filter { subject, client, account, verb: verb.transpose()?, after })
    }

    fn refuse(&self, limit: bool, waits: bool) -> Result<(), LabError> {
        let odd = [
            ("limit", limit && self.limit.is_some()),
            ("count", waits && self.count.is_some()),
            ("timeout", waits && self.timeout.is_some()),
        ];
        match odd.iter().find(|(_, is_odd)| *is_odd) {
            Some((field, _)) => Err(LabError::bad_request(format!("wrong body: {field} says nothing here"))),
            None => Ok(()),
        }
    }
}

impl Wanted {
    /// Reads the body of a list.
    pub(super) fn read(body: &[u8]) -> Result<Self, LabError> {
        let body: Body = read(body)?;
        body.refuse(false, true)?;
        let limit = body.limit.unwrap_or(LIMIT);
        Ok(Self { filter: body.filter()?, limit })
    }

    /// Reads a body that only says which entries are meant.
    pub(super) fn read_filter(body: &[u8]) -> Result<Filter, LabError> {
        let body: Body = read(body)?;
        body.refuse(true, true)?;
        body.filter()
    }
}

impl Awaited {
    /// Reads the body of a wait.
    pub(super) fn read(body: &[u8]) -> Result<Self, LabError> {
        let body: Body = read(body)?;
        let timeout = match &body.timeout {
            None => TIMEOUT,
            Some(Length(GoDuration(ns))) => u64::try_from(*ns).map(Duration::from_nanos).unwrap_or_default(),
        };
        if timeout > TIMEOUT_MAX {
            return Err(LabError::bad_request("nothing is waited for longer than ten minutes"));
        }
        let (limit, count) = (body.limit.unwrap_or(LIMIT), body.count.unwrap_or(1));
        Ok(Self { wanted: Wanted { filter: body.filter()?, limit }, count, timeout })
    }
}

/// An entry as it is told.
#[derive(Debug, Serialize)]
pub(super) struct Noted {
    number: u64,
    at: GoTime,
    verb: &'static str,
    client_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    client: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reply: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    queue: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// Of a payload that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    size: usize,
}

impl From<Entry> for Noted {
    fn from(entry: Entry) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in Headers::new(&entry.headers).iter() {
            headers.entry(text(name)).or_default().push(text(value));
        }
        let has_payload = entry.is_whole() && matches!(entry.verb, Verb::Connect | Verb::Pub | Verb::Close);
        let (payload, payload_base64) = match std::str::from_utf8(&entry.payload) {
            _ if !has_payload => (None, None),
            Ok(payload) => (Some(payload.to_owned()), None),
            Err(_) => (None, Some(BASE64_STANDARD.encode(&entry.payload))),
        };
        Self {
            number: entry.number,
            at: GoTime::from_ns(entry.at.ns()).utc(),
            verb: entry.verb.name(),
            client_id: entry.client_id,
            client: entry.client,
            account: entry.account,
            subject: text(&entry.subject),
            reply: text(&entry.reply),
            queue: text(&entry.queue),
            sid: text(&entry.sid),
            max: entry.max,
            headers,
            payload,
            payload_base64,
            size: entry.size_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_which_entries_are_meant() {
        let wanted = Wanted::read(br#"{"subject":"$KV.b.>","client":"c","verb":"hpub","limit":3}"#).unwrap();
        let filter = Filter {
            subject: Some("$KV.b.>".to_owned()),
            client: Some("c".to_owned()),
            verb: Some(Verb::Pub),
            ..Filter::default()
        };
        assert_eq!(wanted, Wanted { filter, limit: 3 });
        assert_eq!(Wanted::read_filter(b""), Ok(Filter::default()));
        let awaited = Awaited::read(br#"{"count":2,"timeout":"1s"}"#).unwrap();
        assert_eq!((awaited.count, awaited.timeout), (2, Duration::from_secs(1)));
        assert_eq!(Awaited::read(br#"{"timeout":"-1s"}"#).unwrap().timeout, Duration::ZERO);
    }

    #[test]
    fn a_body_that_makes_no_sense_is_refused() {
        for wrong in [
            "[]",
            r#"{"verb":"PING"}"#,
            r#"{"subject":"a..b"}"#,
            r#"{"limit":-1}"#,
            r#"{"count":1}"#,
            r#"{"user":"a"}"#,
        ] {
            assert_eq!(Wanted::read(wrong.as_bytes()).map_err(|error| error.code), Err(400), "{wrong}");
        }
        assert!(Wanted::read_filter(br#"{"limit":1}"#).is_err());
        for wrong in [r#"{"timeout":"11m"}"#, r#"{"timeout":"soon"}"#, r#"{"count":"two"}"#] {
            assert_eq!(Awaited::read(wrong.as_bytes()).map_err(|error| error.code), Err(400), "{wrong}");
        }
    }

    #[test]
    fn a_payload_that_is_no_text_is_told_all_the_same() {
        let entry = Entry {
            number: 1,
            at: jetkv_jetstream::WallNs::from_ns(0),
            verb: Verb::Pub,
            client_id: 2,
            client: String::new(),
            account: "$G".to_owned(),
            subject: b"a".to_vec(),
            reply: Vec::new(),
            queue: Vec::new(),
            sid: Vec::new(),
            max: None,
            headers: b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n".to_vec(),
            payload: vec![0xff],
            size_bytes: 26,
        };
        let told = serde_json::to_value(Noted::from(entry)).unwrap();
        assert_eq!(
            told,
            serde_json::json!({
                "number": 1, "at": "1970-01-01T00:00:00Z", "verb": "PUB", "client_id": 2, "account": "$G",
                "subject": "a", "headers": {"A": ["1", "2"]}, "payload_base64": "/w==", "size": 26
            })
        );
    }
}
