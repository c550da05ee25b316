//! Traces of messages (ADR-41): what became of a message on its way, told to whoever asked for that.

use std::collections::BTreeMap;
use std::sync::Arc;

use jetkv_go_compat::{GoTime, json};
use jetkv_jetstream::stream::Traced;
use parking_lot::Mutex;
use serde::Serialize;

use super::encoding::Encoding;
use super::model::{ServerPart, time};
use super::send;
use crate::router::Account;
use crate::state::Shared;
use crate::worker::AwaitsVerdict;

/// A client, among the kinds of connection.
const CLIENT: u8 = 0;

/// A trace that is being written.
pub(crate) struct MessageTrace {
    account: Arc<Account>,
    destination: Vec<u8>,
    headers: BTreeMap<String, Vec<String>>,
    size_bytes: usize,
    steps: Vec<Step>,
    now: GoTime,
}

/// One step of a message, in nats-server's words.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Step {
    #[serde(rename = "in")]
    Ingress {
        ts: GoTime,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        acc: String,
        subj: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        error: String,
    },
    #[serde(rename = "sm")]
    Mapping { ts: GoTime, to: String },
    #[serde(rename = "se")]
    StreamExport { ts: GoTime, acc: String, to: String },
    #[serde(rename = "si")]
    ServiceImport { ts: GoTime, acc: String, from: String, to: String },
    #[serde(rename = "js")]
    JetStream {
        ts: GoTime,
        stream: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        subject: String,
        #[serde(skip_serializing_if = "is_not")]
        nointerest: bool,
        #[serde(skip_serializing_if = "String::is_empty")]
        error: String,
    },
    #[serde(rename = "eg")]
    Egress {
        ts: GoTime,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        acc: String,
        sub: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        queue: String,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: &'static str,
    },
}

#[derive(Serialize)]
struct Told<'a> {
    server: ServerPart,
    request: Request<'a>,
    events: &'a [Step],
}

#[derive(Serialize)]
struct Request<'a> {
    header: &'a BTreeMap<String, Vec<String>>,
    msgsize: usize,
}

/// Who gets a message, as a trace names it.
pub(crate) struct Egress<'a> {
    pub cid: u64,
    pub name: String,
    /// The account, where that is another one. Empty: the same.
    pub account: &'a str,
    pub subject: &'a [u8],
    pub queue: &'a [u8],
    /// Why it does not get it. Empty: it does.
    pub error: &'static str,
}

/// A stream has still to say what becomes of the message.
pub(crate) struct AwaitedTrace {
    shared: Arc<Shared>,
    trace: Arc<Mutex<MessageTrace>>,
    step: usize,
    only: bool,
}

impl AwaitedTrace {
    /// Of a trace that is sent when all have told what they know who share it. It is `step` that is awaited; the stream
    /// does not take the message if it is `only` traced.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        trace: &Arc<Mutex<MessageTrace>>,
        step: usize,
        only: bool,
    ) -> Self {
        Self { shared: Arc::clone(shared), trace: Arc::clone(trace), step, only }
    }
}

impl AwaitsVerdict for AwaitedTrace {
    fn only(&self) -> bool {
        self.only
    }

    fn end(self: Box<Self>, traced: Traced) {
        let Self { shared, trace, step, .. } = *self;
        trace.lock().told(step, traced);
        MessageTrace::send_if_last(trace, &shared);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_not(flag: &bool) -> bool {
    !*flag
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl MessageTrace {
    /// Begins the trace of a message that a client publishes on `subject`.
    pub(crate) fn new(
        shared: &Shared,
        account: &Arc<Account>,
        destination: &[u8],
        (headers, size_bytes): (BTreeMap<String, Vec<String>>, usize),
        (cid, name): (u64, String),
        subject: &[u8],
    ) -> Self {
        let now = time(shared.clock.wall());
        let acc = account.name().to_owned();
        let ingress = Step::Ingress {
            ts: now,
            kind: CLIENT,
            cid,
            name,
            acc,
            subj: text(subject),
            error: String::new(),
        };
        let (account, destination) = (Arc::clone(account), destination.to_vec());
        Self { account, destination, headers, size_bytes, steps: vec![ingress], now }
    }

    /// The message goes no further, and why.
    pub(crate) fn refused(&mut self, why: String) {
        if let Some(Step::Ingress { error, .. }) = self.steps.first_mut() {
            *error = why;
        }
    }

    /// The message goes on under another subject.
    pub(crate) fn mapped(&mut self, to: &[u8]) {
        self.steps.push(Step::Mapping { ts: self.now, to: text(to) });
    }

    /// A stream gets it. Gives the step, of which is [told](Self::told) what the stream makes of it.
    pub(crate) fn captured(&mut self, stream: &str) -> usize {
        let (subject, error) = (String::new(), String::new());
        let stream = stream.to_owned();
        self.steps.push(Step::JetStream { ts: self.now, stream, subject, nointerest: false, error });
        self.steps.len() - 1
    }

    /// What the stream of a step makes of it.
    pub(crate) fn told(&mut self, step: usize, traced: Traced) {
        if let Some(Step::JetStream { subject, nointerest, error, .. }) = self.steps.get_mut(step) {
            *subject = text(&traced.subject);
            *nointerest = traced.no_interest;
            *error = traced.error;
        }
    }

    /// It goes into another account, which imports it.
    pub(crate) fn exported(&mut self, account: &str, to: &[u8]) {
        self.steps.push(Step::StreamExport { ts: self.now, acc: account.to_owned(), to: text(to) });
    }

    /// It is a request to a service of another account.
    pub(crate) fn requested(&mut self, account: &str, from: &[u8], to: &[u8]) {
        let (from, to) = (text(from), text(to));
        self.steps.push(Step::ServiceImport { ts: self.now, acc: account.to_owned(), from, to });
    }

    /// A connection gets it, or does not.
    pub(crate) fn delivered(&mut self, egress: Egress<'_>) {
        self.steps.push(Step::Egress {
            ts: self.now,
            kind: CLIENT,
            cid: egress.cid,
            name: egress.name,
            acc: egress.account.to_owned(),
            sub: text(egress.subject),
            queue: text(egress.queue),
            error: egress.error,
        });
    }

    /// Tells what became of the message, if nobody else shares the trace: the last who does sends it.
    pub(crate) fn send_if_last(trace: Arc<Mutex<Self>>, shared: &Arc<Shared>) {
        if let Some(trace) = Arc::into_inner(trace) {
            trace.into_inner().send(shared);
        }
    }

    /// Tells what became of the message.
    pub(crate) fn send(&self, shared: &Arc<Shared>) {
        let told = Told {
            server: ServerPart::new(shared),
            request: Request { header: &self.headers, msgsize: self.size_bytes },
            events: &self.steps,
        };
        let payload = json::to_vec(&told);
        let accepted = self.headers.get("Accept-Encoding").and_then(|values| values.first());
        let (headers, payload) = match accepted.and_then(|header| Encoding::accepted(header.as_bytes())) {
            Some(encoding) => encoding.encode(payload),
            None => (&b""[..], payload),
        };
        send(shared, &self.account, &self.destination, headers, &payload);
    }
}
