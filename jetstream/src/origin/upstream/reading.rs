//! How an upstream takes in what its consumer delivers.

use super::{Act, Brought, Heard, Here, NEARLY_THERE, STALLS_MAX, Upstream};
use crate::error::catalogue as errors;
use crate::headers::{add_header, header, lines, without_headers};
use crate::message::OutMsg;
use crate::origin::SOURCE_HEADER;
use crate::origin::name::source_header;
use crate::origin::reply::{Delivered, number};
use jetkv_protocol::subject::is_valid_publish;
use std::borrow::Cow;

/// Where the status of heartbeats and flow control begins.
const CONTROL: &[u8] = b"NATS/1.0 100 ";
const LAST_CONSUMER: &[u8] = b"Nats-Last-Consumer";
const STALLED: &[u8] = b"Nats-Consumer-Stalled";
/// Where consumers are told that all was taken. Whoever delivers says on which subject, and could have the server publish
/// anywhere, where he himself may not.
const FLOW_CONTROL: &[u8] = b"$JS.FC.";
/// Headers that hold for the origin alone.
const FOR_ORIGIN: [&[u8]; 2] = [b"Nats-Expected-", b"Nats-Batch-"];

impl Upstream {
    /// Takes in a delivery.
    pub(super) fn read<'m>(&mut self, msg: &OutMsg<'m>, here: &Here<'_>, acts: &mut Vec<Act>) -> Heard<'m> {
        self.heard = Some(here.now);
        if msg.payload.is_empty() && msg.headers.starts_with(CONTROL) {
            return self.read_control(msg, here, acts);
        }
        let Some(told) = Delivered::parse(msg.reply) else { return Heard::Nothing };
        // Anybody may have a consumer that delivers here.
        if told.count > 1 || told.consumer != self.reads_from.as_bytes() {
            return Heard::Nothing;
        }
        let follows = told.consumer_seq == self.consumer_seq.saturating_add(1);
        if told.stream_seq <= self.seq {
            // It came before, by another consumer.
            self.consumer_seq = self.consumer_seq.saturating_add(u64::from(follows));
            return Heard::Nothing;
        }
        // Of a mirror the next one is good, whatever the consumer counted.
        let is_next = self.is_mirror && self.seq.checked_add(1) == Some(told.stream_seq);
        if !follows && !is_next {
            if told.consumer_seq > self.consumer_seq || self.is_mirror {
                self.begin_again(here, acts);
            }
            return Heard::Nothing;
        }
        self.before_seq = self.seq;
        self.consumer_seq = told.consumer_seq;
        self.seq = told.stream_seq;
        self.lag = told.pending.saturating_sub(1);
        self.stalls_no_more();
        if told.pending < NEARLY_THERE {
            self.answer_now(acts);
        }
        Heard::Store(Brought {
            of: 0,
            subject: self.subject(msg.subject, here),
            headers: self.headers(msg),
            payload: msg.payload,
            seq: told.stream_seq,
            mirrored: self.is_mirror.then_some(told.stored),
        })
    }

    /// Takes in a heartbeat, or a question whether all was taken.
    fn read_control<'m>(&mut self, msg: &OutMsg<'_>, here: &Here<'_>, acts: &mut Vec<Act>) -> Heard<'m> {
        if !msg.reply.is_empty() {
            if !is_flow_control(msg.reply) {
                return Heard::Nothing;
            }
            let (last, seq) = (self.consumer_seq, self.seq);
            let headers =
                format!("NATS/1.0\r\nNats-Last-Consumer: {last}\r\nNats-Last-Stream: {seq}\r\n\r\n");
            answer(acts, msg.reply, headers.into_bytes());
            return Heard::Settle;
        }
        let last = header(msg.headers, LAST_CONSUMER).and_then(number).unwrap_or(0);
        if last > 0 && last != self.consumer_seq {
            self.begin_again(here, acts);
            return Heard::Nothing;
        }
        match header(msg.headers, STALLED).filter(|reply| is_flow_control(reply)) {
            Some(reply) => {
                if self.stalled_on != reply {
                    self.stalled_on = reply.to_vec();
                    self.stalls = 0;
                }
                self.stalls = self.stalls.saturating_add(1);
                if self.stalls == STALLS_MAX {
                    self.error = Some(errors::SOURCE_CONSUMER_FLOW_CONTROL_STALLED.error());
                    let kind = if self.is_mirror { "mirror" } else { "source" };
                    acts.push(Act::Warn(format!(
                        "JetStream stream '{} > {}' {kind} '{}' is stalled on flow control, replies are not reaching the consumer",
                        here.account, here.stream, self.source.name
                    )));
                }
                answer(acts, reply, Vec::new());
                Heard::Settle
            }
            None => {
                self.stalls_no_more();
                Heard::Nothing
            }
        }
    }

    fn stalls_no_more(&mut self) {
        if self.stalled_on.is_empty() {
            return;
        }
        self.stalled_on.clear();
        self.stalls = 0;
        let stalled = errors::SOURCE_CONSUMER_FLOW_CONTROL_STALLED.err_code;
        self.error.take_if(|error| error.err_code == stalled);
    }

    /// The subject that a message has here.
    fn subject<'m>(&self, subject: &'m [u8], here: &Here<'_>) -> Cow<'m, [u8]> {
        let random = || u32::try_from(here.random >> 32).unwrap_or_default();
        self.transforms.apply(subject, random)
    }

    /// The headers that a message has here; of a source they say where it comes from.
    fn headers<'m>(&self, msg: &OutMsg<'m>) -> Cow<'m, [u8]> {
        let drops = |line: &[u8]| {
            FOR_ORIGIN.iter().any(|prefix| line.starts_with(prefix))
                || !self.is_mirror
                    && line.starts_with(SOURCE_HEADER)
                    && line.get(SOURCE_HEADER.len()) == Some(&b':')
        };
        let mut headers = Cow::Borrowed(msg.headers);
        if lines(msg.headers).any(|(key, _)| key.starts_with(b"Nats-")) {
            headers = Cow::Owned(without_headers(msg.headers, drops));
        }
        if self.is_mirror {
            return headers;
        }
        let value = source_header(&self.index_name, self.seq, msg.subject, &self.identity);
        Cow::Owned(add_header(&headers, SOURCE_HEADER, &value))
    }
}

/// Whether a subject is one on which a consumer waits for an answer to its flow control.
fn is_flow_control(subject: &[u8]) -> bool {
    subject.starts_with(FLOW_CONTROL) && is_valid_publish(subject)
}

fn answer(acts: &mut Vec<Act>, to: &[u8], headers: Vec<u8>) {
    let subject = String::from_utf8_lossy(to).into_owned();
    acts.push(Act::Publish { subject, reply: String::new(), headers, payload: Vec::new() });
}
