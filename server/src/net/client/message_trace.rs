//! Messages whose publisher wants to know what becomes of them (ADR-41).

use std::collections::BTreeMap;
use std::sync::Arc;

use jetkv_go_compat::quoted;
use jetkv_jetstream::stream::{Inbound, Stream, TakesLong};
use jetkv_jetstream::{ClientInfo, OutMsg};
use jetkv_protocol::{HeaderBuf, Headers, Publish, Rejection, subject};
use memchr::memmem;
use parking_lot::Mutex;
use rand::Rng;

use super::connection::Connection;
use super::landing::ConnectionLanding;
use crate::connections::ConnectionHandle as _;
use crate::crossing::{self, Landing, Passage};
use crate::events::{self, AwaitedTrace, Egress, MessageTrace};
use crate::net::asked::{Asked, wait_for};
use crate::router::{
    Account, Crossing, Importer, Listed, Matches, Observed, Origin, Subscription, Target, route_observed,
};
use crate::worker::{Batch, LongGet, QueuedRequest, Turn, touch};

const DESTINATION: &str = "Nats-Trace-Dest";
/// A destination that is none: the message was traced before, and is not to be any more.
const DISABLED: &[u8] = b"trace disabled";
const ONLY: &str = "Nats-Trace-Only";
const ORIGIN_ACCOUNT: &str = "Nats-Trace-Origin-Account";
const TRACEPARENT: &[u8] = b"traceparent";

const NO_ECHO: &str = "Not delivered because of no echo";
const CLOSED: &str = "Not delivered because client is closed";
const DENIED: &str = "Not delivered because subscription denies this subject";

/// What becomes of a message that looks as if it were to be traced.
enum Begun {
    /// It is dropped.
    Dropped,
    /// It goes its way, with other headers where such are given.
    Untraced(Option<HeaderBuf>),
    /// It is traced; without being delivered, if that is all.
    Traced(Box<Tracing>),
}

/// A message that is traced.
struct Tracing {
    trace: MessageTrace,
    /// Whether it is not delivered.
    only: bool,
    waits: Vec<Waits>,
}

/// A message that waits for a stream, with the step of the trace that tells of it.
struct Waits {
    step: usize,
    stream: Arc<Stream>,
    msg: QueuedRequest,
}

/// Whether a message may be one to be traced; `external` tells whether the account traces what others trace.
#[inline]
pub(super) fn may_be_traced(headers: &[u8], external: bool) -> bool {
    !headers.is_empty()
        && (memmem::find(headers, b"Nats-Trace-").is_some() || (external && has_traceparent(headers)))
}

fn has_traceparent(headers: &[u8]) -> bool {
    headers.windows(TRACEPARENT.len()).any(|part| part.eq_ignore_ascii_case(TRACEPARENT))
}

/// Whether a `traceparent` says that its trace is recorded.
fn is_sampled(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'-');
    let flags = parts.nth(3).filter(|flags| flags.len() == 2 && parts.next().is_none());
    flags
        .and_then(|flags| std::str::from_utf8(flags).ok())
        .and_then(|flags| i8::from_str_radix(flags, 16).ok())
        .is_some_and(|flags| flags & 1 == 1)
}

impl Connection {
    /// Publishes a message that may be one to be traced.
    #[cold]
    pub(super) fn publish_watched(&mut self, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        match self.begin_message_trace(publish) {
            Begun::Dropped => {}
            Begun::Untraced(None) => self.publish_as_is(turn, publish),
            Begun::Untraced(Some(headers)) => {
                self.publish_as_is(turn, &Publish { headers: headers.as_bytes(), ..*publish });
            }
            Begun::Traced(mut tracing) => {
                self.publish_with_trace(turn, publish, &mut tracing);
                self.end_trace(turn, *tracing);
            }
        }
    }

    fn begin_message_trace(&mut self, publish: &Publish<'_>) -> Begun {
        let headers = Headers::new(publish.headers);
        let named = headers.get(DESTINATION.as_bytes()).filter(|value| !value.is_empty());
        if named == Some(DISABLED) {
            return Begun::Untraced(None);
        }
        let is_external = named.is_none()
            && headers.iter().any(|(key, value)| key.eq_ignore_ascii_case(TRACEPARENT) && is_sampled(value));
        if named.is_none() && !is_external {
            return Begun::Untraced(None);
        }
        let only = !is_external
            && headers.get(ONLY.as_bytes()).is_some_and(|value| {
                [b"1".as_slice(), b"true", b"on"].iter().any(|on| value.eq_ignore_ascii_case(on))
            });
        let stopped = |headers| if only { Begun::Dropped } else { Begun::Untraced(headers) };
        let disabled = || {
            let mut headers = HeaderBuf::from(publish.headers);
            headers.remove(DESTINATION);
            headers.append(DESTINATION, DISABLED);
            Some(headers)
        };
        if let Some(origin) = headers.get(ORIGIN_ACCOUNT.as_bytes()).filter(|value| !value.is_empty()) {
            tracing::error!(
                "{} - Message tracing disabled because of header {} with value={}",
                self.client.label(),
                quoted(ORIGIN_ACCOUNT),
                quoted(origin)
            );
            return stopped(disabled());
        }
        let of_account = self.account.message_trace().filter(|_| is_external);
        let destination = match (named, &of_account) {
            (Some(named), _) => named.to_vec(),
            (None, None) => return Begun::Untraced(None),
            (None, Some(trace))
                if rand::rng().random_range(0..100) <= trace.sampling || trace.sampling >= 100 =>
            {
                trace.subject.clone().into_bytes()
            }
            (None, Some(_)) => return Begun::Untraced(disabled()),
        };
        if !subject::is_valid_publish(&destination) {
            let label = self.client.label();
            tracing::error!(
                "{label} - Destination {} is not valid, won't be able to trace events",
                quoted(&destination)
            );
            return stopped(None);
        }
        if !self.may_trace_to(&destination) {
            return Begun::Dropped;
        }
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in headers.iter().filter(|(key, value)| !key.is_empty() && !value.is_empty()) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            all.entry(text(key)).or_default().push(text(value));
        }
        let who = (self.client.id(), self.client.identity().name);
        let request = (all, publish.size_bytes());
        let trace =
            MessageTrace::new(&self.shared, &self.account, &destination, request, who, publish.subject);
        Begun::Traced(Box::new(Tracing { trace, only, waits: Vec::new() }))
    }

    /// Whether the client may have traces sent to a subject: whether it may publish there. Permission to answer does not
    /// count, and is not used up.
    fn may_trace_to(&mut self, destination: &[u8]) -> bool {
        let denied = self.rules.as_ref().is_some_and(|rules| !rules.permissions().may_publish(destination));
        if denied || self.is_reserved(destination) {
            self.reject(&Rejection::PublishPermission(destination));
            tracing::error!("{} - Publish Violation - Subject {}", self.client.label(), quoted(destination));
            return false;
        }
        true
    }

    fn publish_with_trace(&mut self, turn: &mut Turn<'_>, publish: &Publish<'_>, tracing: &mut Tracing) {
        let mut renamed = Vec::new();
        let is_renamed = self.account.renames() && self.account.rename(publish.subject, &mut renamed);
        let subject = if is_renamed { renamed.as_slice() } else { publish.subject };
        if is_renamed {
            tracing.trace.mapped(subject);
        }
        let reply = publish.reply.unwrap_or_default();
        if !self.may_publish_told(subject, reply, &mut tracing.trace) {
            return;
        }
        if self.verbose {
            self.send_ok();
        }
        let (headers, payload) = (publish.headers, publish.payload);
        let msg = OutMsg { to: subject, subject, reply, headers, payload };
        let account = Arc::clone(&self.account);
        let (mut delivered, ways) = self.route_with_trace(turn, &account, &msg, tracing);
        let crosses = !ways.is_empty();
        if crosses {
            let shared = Arc::clone(&self.shared);
            let landing = ConnectionLanding { connection: self, turn };
            let mut landing = TracedLanding { landing, tracing };
            delivered |= crossing::cross(&shared, &mut landing, events::publish, &account, &msg, ways);
        }
        if subject.first() == Some(&b'$') && !tracing.only {
            delivered |= self.serve(turn, &account, msg, None, crosses);
        }
        if !delivered && self.no_responders && !reply.is_empty() {
            self.answer_no_responders(subject, reply);
        }
    }

    fn route_with_trace(
        &mut self,
        turn: &mut Turn<'_>,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        tracing: &mut Tracing,
    ) -> (bool, Vec<Crossing>) {
        let only = tracing.only;
        let trace = &mut tracing.trace;
        let mut matches = Matches::<Subscription>::default();
        account.matching(msg.to, &mut matches);
        let (is_own, clients) = (account.id() == self.account.id(), self.shared.clients());
        let (here, touched) = (if is_own { "" } else { account.name() }, &turn.worker.touched);
        let Batch { streams, tally, stored_at, .. } = &mut *turn.batch;
        let stored = stored_headers(msg.headers, only);
        let headers = stored.as_bytes();
        let inbound = Inbound { headers, ..Inbound::from(msg) };
        let (mut take_long, mut untraced) = (Vec::new(), Vec::new());
        let mut capture = |trace: &mut MessageTrace, stream: &Arc<Stream>, subject: &[u8]| {
            let step = trace.captured(stream.name());
            match stream.trace_if_short(&Inbound { subject, ..inbound }, only) {
                Ok((at, traced)) => {
                    *stored_at = Some(at);
                    trace.told(step, traced);
                }
                Err(TakesLong) => take_long.push((step, Arc::clone(stream), subject.to_vec())),
            }
            touch(streams, stream);
            Observed::Taken
        };
        let (sender, wants_echo) = (&self.client, self.options.echo);
        let observe = |sub: &Subscription, given: Option<bool>| {
            let (receiver, account, shown) = match sub.target() {
                Target::Receiver(receiver) => (receiver, here, msg.subject.to_vec()),
                Target::Shadowed(shadowed) => {
                    let shown = shadowed.subject_for(msg.subject);
                    trace.exported(&shadowed.importer, &shown);
                    match (&shadowed.to, shadowed.import.allows_trace()) {
                        (Importer::Receiver(receiver), true) => (receiver, &*shadowed.importer, shown),
                        (Importer::Stream(stream), true) if is_own => return capture(trace, stream, &shown),
                        (Importer::Stream(stream), false) if is_own && !only => {
                            untraced.push((Arc::clone(stream), shown));
                            return Observed::Taken;
                        }
                        _ => return Observed::Taken,
                    }
                }
                Target::Stream(stream) => return capture(trace, stream, msg.subject),
                Target::Service(_) | Target::Responses(_) | Target::Relay(_) => return Observed::Taken,
            };
            let client = clients.iter().find(|client| client.id() == receiver.id());
            let is_muted = is_own && receiver.id() == sender.id() && !wants_echo;
            let rules = client.and_then(|client| client.rules());
            let error =
                refusal(given, is_muted, rules.is_some_and(|rules| rules.denies(&shown, sub.queue())));
            let name = client.map(|client| client.identity().name).unwrap_or_default();
            let (subject, queue) = (sub.subject(), sub.queue());
            trace.delivered(Egress { cid: receiver.id(), name, account, subject, queue, error });
            if error.is_empty() { Observed::Taken } else { Observed::Refused }
        };
        let origin = if is_own { Origin::Receiver(&**sender) } else { Origin::Crossed(Some(&**sender)) };
        let routed = route_observed(&matches, origin, msg, touched, only, observe);
        if is_own {
            tally.out_msgs += routed.sent_msgs;
            tally.out_bytes += routed.sent_msgs * (msg.headers.len() + msg.payload.len()) as u64;
        } else {
            crossing::count(&self.shared, account, msg, &routed);
        }
        for (stream, to) in untraced {
            self.publish_later(turn, stream, &OutMsg { to: &to, ..*msg });
        }
        let client = self.client_info();
        tracing.waits.extend(take_long.into_iter().map(|(step, stream, to)| {
            let msg = OutMsg { to: &to, headers, ..*msg };
            Waits { step, stream, msg: Asked { account: account.id(), msg, client }.queued() }
        }));
        (routed.delivered, routed.crossings)
    }

    /// Sends a trace, as soon as all streams have told what they make of the message.
    fn end_trace(&mut self, turn: &mut Turn<'_>, Tracing { trace, only, waits }: Tracing) {
        let trace = Arc::new(Mutex::new(trace));
        for Waits { step, stream, msg } in waits {
            let (get, done) = LongGet::publish(stream, msg);
            let awaited = AwaitedTrace::new(&self.shared, &trace, step, only);
            wait_for((get.traced(Box::new(awaited)), done), turn, &mut self.long_gets);
        }
        MessageTrace::send_if_last(trace, &self.shared);
    }

    /// As [`may_publish`](Self::may_publish), and tells the trace why not.
    fn may_publish_told(&mut self, subject: &[u8], reply: &[u8], trace: &mut MessageTrace) -> bool {
        if self.may_publish(subject, reply) {
            return true;
        }
        let allowed = self.rules.as_ref().is_none_or(|rules| rules.permissions().may_publish(subject));
        let why = if allowed && !self.is_reserved(subject) {
            Rejection::ReplyPermission(reply).wire_text().into_owned()
        } else {
            Rejection::PublishPermission(subject).wire_text().into_owned()
        };
        trace.refused(why);
        false
    }
}

/// The headers of a message as a stream gets it.
fn stored_headers(headers: &[u8], only: bool) -> HeaderBuf {
    let mut stored = HeaderBuf::from(headers);
    if !only {
        // What is read from a stream later is not traced again.
        stored.set(DESTINATION, DISABLED);
    }
    stored
}

/// Where a message that is traced comes in in other accounts.
struct TracedLanding<'a, 'w, 't> {
    landing: ConnectionLanding<'a, 'w>,
    tracing: &'t mut Tracing,
}

/// Why a connection does not get a message, if it does not.
fn refusal(given: Option<bool>, is_muted: bool, denies: bool) -> &'static str {
    match given {
        Some(true) => "",
        _ if is_muted => NO_ECHO,
        _ if denies => DENIED,
        Some(false) => CLOSED,
        None => "",
    }
}

/// Whether a message goes on without being traced.
fn is_untraced(headers: &[u8]) -> bool {
    Headers::new(headers).get(DESTINATION.as_bytes()) == Some(DISABLED)
}

impl Landing for TracedLanding<'_, '_, '_> {
    fn land(
        &mut self,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        asker: Option<&ClientInfo>,
        onward: &mut Vec<Crossing>,
    ) -> bool {
        if is_untraced(msg.headers) {
            return self.landing.land(account, msg, asker, onward);
        }
        let ConnectionLanding { connection, turn } = &mut self.landing;
        let (delivered, ways) = connection.route_with_trace(turn, account, msg, self.tracing);
        let crosses = !ways.is_empty();
        onward.extend(ways);
        let Some(asker) = asker.filter(|_| msg.to.first() == Some(&b'$') && !self.tracing.only) else {
            return delivered;
        };
        let asker = crossing::asker_in(&connection.shared, account, asker);
        connection.serve(turn, account, *msg, Some(Arc::new(asker)), crosses) || delivered
    }

    fn passes(&mut self, account: &Account, msg: &OutMsg<'_>, to: &[u8], is_allowed: bool) -> Passage {
        if is_untraced(msg.headers) {
            return Passage::AsItIs;
        }
        self.tracing.trace.requested(account.name(), msg.subject, to);
        match (is_allowed, self.tracing.only) {
            (true, _) => Passage::Traced,
            (false, true) => Passage::Ends,
            (false, false) => Passage::Untraced,
        }
    }

    fn is_shown_only(&self) -> bool {
        self.tracing.only
    }

    fn sender(&self) -> Option<ClientInfo> {
        self.landing.sender()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_of_traces_are_looked_at() {
        assert!(!may_be_traced(b"", true));
        assert!(!may_be_traced(b"NATS/1.0\r\na: b\r\n\r\n", true));
        assert!(may_be_traced(b"NATS/1.0\r\nNats-Trace-Dest: t\r\n\r\n", false));
        assert!(!may_be_traced(b"NATS/1.0\r\nTraceParent: t\r\n\r\n", false));
        assert!(may_be_traced(b"NATS/1.0\r\nTraceParent: t\r\n\r\n", true));
        assert!(is_sampled(b"00-4b-00-01") && !is_sampled(b"00-4b-00-00") && !is_sampled(b"00-4b-00-01-x"));
    }
}
