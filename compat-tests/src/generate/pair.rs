//! Runs a session on two servers in step and stops at the first difference.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::operation::{AT_SIGN, Answers, Gone, OWN_NAME, Operation, REVISION, Request, SOON};
use super::same;
use super::side::{ANSWER_WAIT, Answered, Side, in_order};
use crate::Result;
use crate::process::{Program, ServerOptions};
use crate::transcript::normalise::Normaliser;
use crate::wire::{Connection, Frame, Message};

/// How often, and how far apart, a question is repeated whose answers differ: servers finish some work only after they
/// have answered.
const READ_TRIES: usize = 25;
const READ_PAUSE: Duration = Duration::from_millis(20);
/// How long deliveries may be behind those of the other server.
const DELIVERY_WAIT: Duration = Duration::from_secs(5);
/// A raw connection that was silent for so long has nothing more to say.
const RAW_QUIET: Duration = Duration::from_millis(30);
const RAW_WAIT: Duration = Duration::from_secs(1);
/// Two servers that have said equally much and then nothing for so long have said all.
const ANSWER_QUIET: Duration = Duration::from_millis(80);
/// As long where an answer is owed: what follows goes by what the request has changed.
const OWED_QUIET: Duration = Duration::from_secs(2);
/// So many looks at both, one [`POLL`] each, take in what a request brings at once.
const SETTLE_POLLS: usize = 5;
/// How long something that is awaited may take on either side. nats-server lets ten seconds go before it asks an origin again.
const AWAIT_WAIT: Duration = Duration::from_secs(60);
/// Of streams that gather from others, when something came last.
const IGNORED: &str = ".active";
/// How far ahead of its request a moment is that stands for [`SOON`].
const SOON_AHEAD: Duration = Duration::from_millis(300);
/// How long a heartbeat may take to come.
const HEARTBEAT_WAIT: Duration = Duration::from_millis(400);
/// An acknowledgement that asks for more.
const NEXT: &str = "+NXT";
/// Where the time stands in an ack subject.
const ACK_TIME_TOKEN: usize = 7;
/// Where the messages go that a `+NXT` asks for.
const NEXT_INBOX: &str = "w3";
const POLL: Duration = Duration::from_millis(2);

/// What came of a session.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// How many answers the reference gave to each operation.
    pub answer_counts: Vec<usize>,
    /// The operation that differed, and how; the session ended there.
    pub difference: Option<(usize, String)>,
    /// Whether what differs is what the session awaited, and neither server came to: the session is wrong then.
    pub in_vain: bool,
    /// The operations as they were played, with what stood for a revision filled in.
    pub played: Vec<Operation>,
}

/// Two running servers that sessions share.
#[derive(Debug)]
pub struct Pair {
    reference: Side,
    candidate: Side,
    normaliser: Normaliser,
    sessions: u64,
    /// Of each subject of the session, the newest sequence that the reference told.
    revisions: HashMap<String, u64>,
    /// Whether the reference refused the request before.
    was_refused: bool,
    /// The sequence that it told in the answer to it.
    stored: Option<u64>,
    /// Whether the session awaited something that has come on neither side.
    in_vain: bool,
}

impl Pair {
    /// Starts both.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(reference: &Program, candidate: &Program, options: &ServerOptions) -> Result<Self> {
        Ok(Self {
            reference: Side::start(reference, options)?,
            candidate: Side::start(candidate, options)?,
            normaliser: Normaliser::new(&[IGNORED.to_string()], &[], &[])?,
            sessions: 0,
            revisions: HashMap::new(),
            was_refused: false,
            stored: None,
            in_vain: false,
        })
    }

    /// What the servers were started with.
    pub fn options(&self) -> &ServerOptions {
        self.reference.options()
    }

    /// Runs a session under a name of its own and removes its streams afterwards.
    ///
    /// # Errors
    /// When a server cannot be started or reached at all.
    pub fn run(&mut self, operations: &[Operation]) -> Result<Run> {
        self.sessions += 1;
        // A fixed width keeps sizes in bytes equal from run to run.
        let name = format!("G{:05}", self.sessions);
        let clients = operations
            .iter()
            .map(|operation| match operation {
                Operation::Client { connection, .. } => connection + 1,
                _ => 0,
            })
            .max()
            .unwrap_or_default();
        self.reference.begin(&name, clients)?;
        self.candidate.begin(&name, clients)?;
        let mut run = Run::default();
        self.revisions.clear();
        self.in_vain = false;
        for (index, operation) in operations.iter().enumerate() {
            let operation = self.with_revision(operation);
            let shown = self.with_ack_subject(&name, &operation);
            let (count, mut difference) = self.step(&name, &operation)?;
            run.answer_counts.push(count);
            run.played.push(self.with_stored(shown));
            if difference.is_none() {
                difference = self.compare_pushes();
            }
            if let Some(difference) = difference {
                run.difference = Some((index, difference));
                run.in_vain = self.in_vain;
                break;
            }
        }
        self.remove_streams(&name, operations);
        Ok(run)
    }

    fn step(&mut self, name: &str, operation: &Operation) -> Result<(usize, Option<String>)> {
        match operation {
            Operation::Request(request) => {
                let requests = [own(request, name)];
                Ok(self.request([&requests, &requests]))
            }
            Operation::Packet { operations } => {
                let reference = packed(&self.reference, operations, name);
                let candidate = packed(&self.candidate, operations, name);
                Ok(self.request([&reference, &candidate]))
            }
            Operation::Acknowledge { nth, pushed, payload } => Ok(self.acknowledge(*nth, *pushed, payload)),
            Operation::Ask { subject, inbox, headers, payload } => {
                self.ask(name, subject, inbox, headers, payload);
                Ok((0, None))
            }
            Operation::Await { request, pointer, value } => {
                Ok(self.await_value(&own(request, name), pointer, value))
            }
            Operation::Expiring { request, stream, gone } => {
                Ok(self.expire(own(request, name), stream, *gone))
            }
            Operation::Heartbeat { inbox } => Ok(self.heartbeat(inbox)),
            Operation::AnswerFlow { inbox } => {
                self.answer_flow(inbox);
                Ok((0, None))
            }
            Operation::Client { connection, text } => Ok(self.client(*connection, name, text)),
            Operation::Raw { pieces } => self.raw(pieces),
            Operation::Restart { kill } => {
                let signal = if *kill { Signal::KILL } else { Signal::TERM };
                self.reference.restart(signal)?;
                let restarted = self.candidate.restart(signal);
                Ok((0, restarted.err().map(|error| error.to_string())))
            }
            Operation::Pause { duration_ms } => {
                std::thread::sleep(Duration::from_millis(*duration_ms));
                Ok((0, None))
            }
        }
    }

    fn with_revision(&self, operation: &Operation) -> Operation {
        match operation {
            Operation::Request(request) => {
                let revision = self.revisions.get(&request.subject).copied().unwrap_or_default().to_string();
                let headers =
                    request.headers.iter().map(|header| header.replace(REVISION, &revision)).collect();
                Operation::Request(Request { headers, ..request.clone() })
            }
            Operation::Packet { operations } => {
                let operations = operations.iter().map(|operation| self.with_revision(operation)).collect();
                Operation::Packet { operations }
            }
            other => other.clone(),
        }
    }

    /// With the sequence that the operation's request was told.
    fn with_stored(&self, operation: Operation) -> Operation {
        match operation {
            Operation::Expiring { request, stream, gone: Gone::Stored(_) } => {
                Operation::Expiring { request, stream, gone: Gone::Stored(self.stored) }
            }
            other => other,
        }
    }

    /// An acknowledgement as the request that it is, so that a scenario acknowledges the same message. The time and the
    /// count of pending messages in its subject mean nothing to a server.
    fn with_ack_subject(&self, name: &str, operation: &Operation) -> Operation {
        if let Operation::Packet { operations } = operation {
            let operations =
                operations.iter().map(|operation| self.with_ack_subject(name, operation)).collect();
            return Operation::Packet { operations };
        }
        let Operation::Acknowledge { nth, pushed, payload } = operation else { return operation.clone() };
        let Some(subject) = self.reference.ack_subject(*nth, *pushed) else { return operation.clone() };
        let mut tokens: Vec<String> =
            subject.replace(name, &OWN_NAME.to_string()).split('.').map(str::to_string).collect();
        tokens.truncate(ACK_TIME_TOKEN);
        let subject = format!("{}.0.0", tokens.join("."));
        if payload.starts_with(NEXT) {
            let (inbox, headers) = (NEXT_INBOX.to_string(), Vec::new());
            return Operation::Ask { subject, inbox, headers, payload: payload.clone() };
        }
        Operation::request(subject, payload)
    }

    /// Sends requests, the ones of the reference and those of the candidate, each in one packet, and compares the answers.
    fn request(&mut self, requests: [&[Request]; 2]) -> (usize, Option<String>) {
        let [reference, candidate] = requests;
        let tries = if reference.iter().all(|request| request.is_read) { READ_TRIES } else { 1 };
        let mut result = (0, None);
        for attempt in 0..tries {
            if attempt > 0 {
                std::thread::sleep(READ_PAUSE);
            }
            let mut answered = [self.reference.ask(reference), self.candidate.ask(candidate)];
            self.receive(&mut answered);
            result = self.compare_answers(reference, &answered);
            let is_silent = answered.iter().flatten().any(|one| one.frames.is_empty());
            if result.1.is_none() || is_silent {
                break;
            }
        }
        result
    }

    /// How many answers the reference gave, and the first difference. What it told of sequences is remembered.
    fn compare_answers(
        &mut self,
        requests: &[Request],
        answered: &[Vec<Answered>; 2],
    ) -> (usize, Option<String>) {
        let [reference, candidate] = answered;
        let (mut count, mut difference) = (0, None);
        (self.was_refused, self.stored) =
            (reference.iter().flat_map(|one| &one.frames).any(is_refusal), None);
        for (request, (one, other)) in requests.iter().zip(reference.iter().zip(candidate)) {
            count += one.frames.len();
            if let Some(seq) = one.frames.iter().find_map(told_sequence) {
                let subject = request.subject.replacen(self.reference.name(), &OWN_NAME.to_string(), 1);
                self.revisions.insert(subject, seq);
                self.stored = Some(seq);
            }
            // The status repeats the ack subject, whose count of pending messages may lag.
            let are_unheard =
                is_acknowledgement(request) && is_unheard(&one.frames) && is_unheard(&other.frames);
            if difference.is_none() && !are_unheard {
                let found = same::difference(&self.normaliser, &one.frames, &other.frames);
                difference = match requests {
                    [_] => found,
                    _ => found.map(|text| format!("of the packet's {}: {text}", request.subject)),
                };
            }
        }
        (count, difference)
    }

    /// What both answer. Where both have said equally much and fall silent, no more is awaited: some requests have no
    /// answer, and how many messages a pull brings is not always known beforehand.
    fn receive(&mut self, answered: &mut [Vec<Answered>; 2]) {
        let deadline = Instant::now() + ANSWER_WAIT;
        let mut quiet_since = Instant::now();
        let mut count = 0;
        let [reference, candidate] = answered;
        let total = |answered: &[Answered]| answered.iter().map(|one| one.frames.len()).sum::<usize>();
        while reference.iter().chain(&*candidate).any(|one| !one.is_complete) && Instant::now() < deadline {
            self.reference.receive_answers(reference, POLL);
            self.candidate.receive_answers(candidate, POLL);
            let (one, other) = (total(reference), total(candidate));
            if one + other != count {
                (count, quiet_since) = (one + other, Instant::now());
            }
            let is_owed = reference.iter().chain(&*candidate).any(Answered::is_awaited);
            let quiet = if is_owed { OWED_QUIET } else { ANSWER_QUIET };
            if one == other && quiet_since.elapsed() > quiet {
                break;
            }
        }
        self.reference.end_answers(reference);
        self.candidate.end_answers(candidate);
    }

    fn ask(&mut self, name: &str, subject: &str, inbox: &str, headers: &[String], payload: &str) {
        let (subject, payload) = (subject.replace(OWN_NAME, name), payload.replace(OWN_NAME, name));
        let headers = own_headers(headers, name);
        for side in [&mut self.reference, &mut self.candidate] {
            side.ask_for_pushes(&subject, inbox, &headers, &payload);
        }
        self.settle();
    }

    /// Repeats a read until a field of what both answer has the value.
    fn await_value(&mut self, request: &Request, pointer: &str, value: &str) -> (usize, Option<String>) {
        let requests = std::slice::from_ref(request);
        let deadline = Instant::now() + AWAIT_WAIT;
        loop {
            let mut answered = [self.reference.ask(requests), self.candidate.ask(requests)];
            self.receive(&mut answered);
            let values = answered.map(|side| values_at(&side, pointer));
            let have_it = values.each_ref().map(|values| values.iter().any(|found| found == value));
            if have_it == [true, true] {
                return (1, None);
            }
            if Instant::now() > deadline {
                self.in_vain = have_it == [false, false];
                let [reference, candidate] = values.map(|values| values.join(" "));
                let text = format!("{pointer} = {value} awaited\n- {reference}\n+ {candidate}");
                return (0, Some(text));
            }
            std::thread::sleep(READ_PAUSE);
        }
    }

    /// Sends a request, and waits until what it has time take away is gone on both.
    fn expire(&mut self, request: Request, stream: &str, gone: Gone) -> (usize, Option<String>) {
        let requests = [request];
        let result = self.request([&requests, &requests]);
        let gone = if let Gone::Stored(_) = gone { Gone::Stored(self.stored) } else { gone };
        let shown = Operation::shows_gone(&stream.replace(OWN_NAME, self.reference.name()), gone);
        let Some(Operation::Await { request, pointer, value }) =
            shown.filter(|_| result.1.is_none() && !self.was_refused)
        else {
            return result;
        };
        (result.0, self.await_value(&request, &pointer, &value).1)
    }

    /// Answers flow control on both sides, where both have asked. How often they ask is a matter of time.
    fn answer_flow(&mut self, inbox: &str) {
        if self.reference.has_flow_request(inbox) && self.candidate.has_flow_request(inbox) {
            self.reference.answer_flow(inbox);
            self.candidate.answer_flow(inbox);
            self.settle();
        }
    }

    /// Lets both work off a request that may stay without an answer.
    fn settle(&mut self) {
        for _ in 0..SETTLE_POLLS {
            self.reference.receive_pushes(POLL);
            self.candidate.receive_pushes(POLL);
        }
    }

    /// Waits for the next heartbeat on `inbox` and compares it.
    fn heartbeat(&mut self, inbox: &str) -> (usize, Option<String>) {
        let sid = format!("p{inbox}");
        let deadline = Instant::now() + HEARTBEAT_WAIT;
        self.reference.heartbeats.clear();
        self.candidate.heartbeats.clear();
        let has_come = |side: &Side| side.heartbeats.contains_key(&sid);
        while !(has_come(&self.reference) && has_come(&self.candidate)) && Instant::now() < deadline {
            self.reference.receive_pushes(POLL);
            self.candidate.receive_pushes(POLL);
        }
        let frames =
            |side: &Side| side.heartbeats.get(&sid).cloned().map(Frame::Message).into_iter().collect();
        let [reference, candidate]: [Vec<Frame>; 2] = [frames(&self.reference), frames(&self.candidate)];
        (reference.len(), same::difference(&self.normaliser, &reference, &candidate))
    }

    fn acknowledge(&mut self, nth: usize, pushed: bool, payload: &str) -> (usize, Option<String>) {
        let subjects = [&self.reference, &self.candidate].map(|side| side.ack_subject(nth, pushed));
        let [Some(reference), Some(candidate)] = subjects else { return (0, None) };
        if payload.starts_with(NEXT) {
            // It is a pull at the same time, and what it brings may come later.
            self.reference.ask_for_pushes(&reference, NEXT_INBOX, &[], payload);
            self.candidate.ask_for_pushes(&candidate, NEXT_INBOX, &[], payload);
            self.settle();
            return (0, None);
        }
        let request = |subject| acknowledgement(subject, payload);
        self.request([&[request(reference)], &[request(candidate)]])
    }

    fn client(&mut self, connection: usize, name: &str, text: &str) -> (usize, Option<String>) {
        let bytes = text.replace(OWN_NAME, name).into_bytes();
        let [reference, candidate] = [&mut self.reference, &mut self.candidate].map(|side| {
            let mut lines: Vec<String> = side
                .client(connection, &bytes)
                .into_iter()
                .filter(|(_, frame)| is_own(frame, name))
                .map(|(connection, frame)| delivery(connection, frame))
                .collect();
            lines.sort();
            lines
        });
        let difference = (reference != candidate)
            .then(|| crate::transcript::compare::show_difference(&reference, &candidate));
        (reference.len(), difference)
    }

    fn raw(&mut self, pieces: &[Vec<u8>]) -> Result<(usize, Option<String>)> {
        let mut connections = [self.reference.raw(pieces)?, self.candidate.raw(pieces)?];
        let mut frames = [Vec::new(), Vec::new()];
        let deadline = Instant::now() + RAW_WAIT;
        let mut quiet_since = Instant::now();
        while Instant::now() < deadline {
            let mut any = false;
            for (connection, frames) in connections.iter_mut().zip(&mut frames) {
                any |= receive(connection, frames);
            }
            if any {
                quiet_since = Instant::now();
            }
            let [reference, candidate] = frames.clone().map(told_once);
            let are_even = reference.len() == candidate.len();
            let are_closed = connections.iter().all(Connection::is_closed);
            if are_even && (are_closed || quiet_since.elapsed() > RAW_QUIET) {
                break;
            }
        }
        let [reference, candidate] = frames.map(told_once);
        Ok((reference.len(), same::difference(&self.normaliser, &reference, &candidate)))
    }

    /// Waits until both have delivered equally much, and compares it.
    fn compare_pushes(&mut self) -> Option<String> {
        let deadline = Instant::now() + DELIVERY_WAIT;
        self.reference.receive_pushes(Duration::ZERO);
        self.candidate.receive_pushes(Duration::ZERO);
        while self.reference.pushed.len() != self.candidate.pushed.len() && Instant::now() < deadline {
            self.reference.receive_pushes(POLL);
            self.candidate.receive_pushes(POLL);
        }
        let frames = |side: &Side| in_order(&side.pushed).into_iter().map(Frame::Message).collect::<Vec<_>>();
        let difference =
            same::difference(&self.normaliser, &frames(&self.reference), &frames(&self.candidate));
        difference.map(|difference| format!("of what was pushed, {difference}"))
    }

    fn remove_streams(&mut self, name: &str, operations: &[Operation]) {
        for stream in ["@E", "@S", "@R", "@M", "@A", "@B", "@C", "KV_@"] {
            let is_used = operations.iter().any(|operation| match operation {
                Operation::Request(request) => request.subject.ends_with(stream),
                _ => false,
            });
            if is_used {
                let subject = format!("STREAM.DELETE.{}", stream.replace(OWN_NAME, name));
                if let Operation::Request(request) = Operation::api(&subject, "") {
                    let requests = [request];
                    self.request([&requests, &requests]);
                }
            }
        }
    }
}

fn own(request: &Request, name: &str) -> Request {
    Request {
        subject: request.subject.replace(OWN_NAME, name),
        headers: own_headers(&request.headers, name),
        payload: request.payload.replace(OWN_NAME, name),
        ..request.clone()
    }
}

fn own_headers(headers: &[String], name: &str) -> Vec<String> {
    let soon = jiff::Timestamp::now().checked_add(SOON_AHEAD).unwrap_or(jiff::Timestamp::MAX).to_string();
    let own = |header: &String| header.replace(OWN_NAME, name).replace(AT_SIGN, "@").replace(SOON, &soon);
    headers.iter().map(own).collect()
}

/// The values that a field has in what was answered.
fn values_at(answered: &[Answered], pointer: &str) -> Vec<String> {
    let value = |frame: &Frame| match answer(frame)?.pointer(pointer)? {
        Value::String(found) => Some(found.clone()),
        Value::Number(found) => Some(found.to_string()),
        _ => None,
    };
    answered.iter().flat_map(|one| &one.frames).filter_map(value).collect()
}

/// An answer in JSON.
fn answer(frame: &Frame) -> Option<Value> {
    let Frame::Message(message) = frame else { return None };
    serde_json::from_slice(&message.payload).ok()
}

fn is_refusal(frame: &Frame) -> bool {
    answer(frame).is_some_and(|answer| answer.get("error").is_some())
}

fn acknowledgement(subject: String, payload: &str) -> Request {
    let (headers, payload) = (Vec::new(), payload.to_string());
    Request { subject, headers, payload, answers: Answers::One, is_read: false }
}

fn is_acknowledgement(request: &Request) -> bool {
    request.subject.starts_with("$JS.ACK.")
}

/// What a packet asks of one side. An acknowledgement for which there is no message yet is left out.
fn packed(side: &Side, operations: &[Operation], name: &str) -> Vec<Request> {
    operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::Request(request) => Some(own(request, name)),
            Operation::Acknowledge { nth, pushed, payload } => {
                side.ack_subject(*nth, *pushed).map(|subject| acknowledgement(subject, payload))
            }
            _ => None,
        })
        .collect()
}

/// Wide subscriptions also see what the servers and other connections send.
fn is_own(frame: &Frame, name: &str) -> bool {
    match frame {
        Frame::Message(message) => message.subject.contains(name),
        _ => true,
    }
}

/// A delivery as text. The member of a queue group (a sid `qG...` of group `G`) that gets a message is chosen at random.
/// Which of several subscriptions to a reply subject hears that nobody listened depends on what nats-server's cache of
/// subjects held before.
fn delivery(connection: usize, frame: Frame) -> String {
    match frame {
        Frame::Message(message) if message.sid.starts_with('q') => {
            let sid = message.sid.chars().take(2).collect();
            format!("queue: {}", same::show(&Frame::Message(Message { sid, ..message })))
        }
        Frame::Message(message) if is_no_responders(&message) => {
            let sid = "any".to_string();
            format!("{connection}: {}", same::show(&Frame::Message(Message { sid, ..message })))
        }
        frame => format!("{connection}: {}", same::show(&frame)),
    }
}

/// How often a pedantic client is told of a bad subject depends on whether a read brought the whole message.
fn told_once(mut frames: Vec<Frame>) -> Vec<Frame> {
    let is_refusal = |frame: &Frame| matches!(frame, Frame::Err(text) if text == "'Invalid Publish Subject'");
    frames.dedup_by(|one, other| is_refusal(one) && is_refusal(other));
    frames
}

fn receive(connection: &mut Connection, frames: &mut Vec<Frame>) -> bool {
    let mut any = false;
    while let Some(frame) = connection.next(POLL) {
        if frame != Frame::Ping {
            frames.push(frame);
            any = true;
        }
    }
    any
}

/// The sequence that an acknowledgement of a publish tells.
fn told_sequence(frame: &Frame) -> Option<u64> {
    let answer = answer(frame)?;
    answer.get("stream")?;
    answer.get("seq")?.as_u64()
}

fn is_unheard(frames: &[Frame]) -> bool {
    matches!(frames, [Frame::Message(message)] if is_no_responders(message))
}

fn is_no_responders(message: &Message) -> bool {
    message.headers.as_ref().is_some_and(|headers| headers.starts_with("NATS/1.0 503"))
}
