//! The delivery of one message: from a publish or from the store to the receiver.

use super::set::Shared;
use super::{Consumer, Out, Position};
use crate::clock::ElapsedNs;
use crate::config::{AckPolicy, PriorityPolicy};
use crate::message::OutMsg;
use crate::outbox::Says;
use crate::store::Msg;
use std::io::Write as _;

/// Buffers for the parts of a delivery that are made up; reused, so that a delivery allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    reply: Vec<u8>,
    headers: Vec<u8>,
}

/// What became of an attempt to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is in the outbox.
    Yes,
    /// No pull request takes it.
    NoRequest,
    /// It may not leave before then.
    HeldUntil(ElapsedNs),
}

impl Consumer {
    /// Delivers `msg` for the `deliveries`th time. Nothing changes unless it is sent.
    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        msg: &Msg<'_>,
        deliveries: u64,
    ) -> Sent {
        let mut scratch = std::mem::take(&mut shared.scratch);
        let sent = self.send_with(&mut scratch, shared, out, msg, deliveries);
        shared.scratch = scratch;
        sent
    }

    fn send_with(
        &mut self,
        scratch: &mut Scratch,
        shared: &mut Shared,
        out: &mut Out<'_>,
        msg: &Msg<'_>,
        deliveries: u64,
    ) -> Sent {
        let first = deliveries == 1;
        let still_pending = self.num_pending.saturating_sub(u64::from(first));
        self.write_reply(&mut scratch.reply, msg, deliveries, still_pending);
        let (mut headers, mut payload) = (msg.headers, msg.payload);
        if self.config.headers_only {
            write_size_header(&mut scratch.headers, msg);
            (headers, payload) = (&scratch.headers, b"");
        }
        let size = |headers: &[u8]| msg.subject.len() + scratch.reply.len() + headers.len() + payload.len();
        if let Some(until) = self.held_until(out.now, msg.ts_ns, size(headers)) {
            return Sent::HeldUntil(until);
        }
        if !self.is_push() && !self.select_request(shared, out, size(headers)) {
            return Sent::NoRequest;
        }
        let pinned;
        if self.config.priority_policy == PriorityPolicy::PinnedClient {
            // A request without a group is served though nobody is pinned; nats-server sends an empty id then.
            let id = self.pin.as_ref().map_or("", |pin| &pin.id);
            pinned = with_header(headers, "Nats-Pin-Id", id);
            headers = &pinned;
        }
        if let Some(rate) = &mut self.rate {
            rate.take(size(headers));
        }
        let to =
            if self.is_push() { self.config.deliver_subject.as_bytes() } else { self.requests.head_reply() };
        let delivery = OutMsg { to, subject: msg.subject, reply: &scratch.reply, headers, payload };
        out.outbox.push_as(Says::Delivered(msg.seq), delivery);
        let routed_len = to.len() + scratch.reply.len() + headers.len() + payload.len();
        self.sent(shared, out, msg, deliveries);
        if self.is_push() {
            self.flow_sent(shared, out, routed_len);
        } else {
            self.request_served(shared, out);
        }
        Sent::Yes
    }

    /// Books a delivery.
    fn sent(&mut self, shared: &mut Shared, out: &Out<'_>, msg: &Msg<'_>, deliveries: u64) {
        let dseq = self.next_dseq;
        self.next_dseq += 1;
        if deliveries == 1 {
            self.num_pending = self.num_pending.saturating_sub(1);
        } else {
            self.redelivery.set_count(msg.seq, deliveries - 1);
        }
        self.delivered = Position { dseq, sseq: self.delivered.sseq.max(msg.seq) };
        if self.config.ack_policy == AckPolicy::None {
            self.floor = self.delivered;
            if out.removes_acked() {
                shared.acked.push(msg.seq);
            }
        } else {
            self.pending.track(msg.seq, dseq, out.now.elapsed());
            self.arm_ack(shared, msg.seq);
        }
        if let Some(replay) = &mut self.replay {
            replay.last = Some((msg.ts_ns, out.now.elapsed()));
        }
        self.last_delivered = Some(out.now.wall());
        self.heard = out.now.elapsed();
        self.mark_dirty(shared, out.now);
    }

    /// Books a delivery against the request at the head.
    fn request_served(&mut self, shared: &mut Shared, out: &mut Out<'_>) {
        self.requests.used = out.now.elapsed();
        let reply = self.requests.head_completes_early().then(|| self.requests.head_reply().to_vec());
        let (msgs, bytes) = self.requests.served(self.config.priority_policy, out.now.elapsed());
        if self.requests.is_empty() {
            self.arm_requests(shared);
        }
        if let Some(reply) = reply {
            let mut headers = Vec::with_capacity(96);
            let _ = write!(
                headers,
                "NATS/1.0 409 Batch Completed\r\nNats-Pending-Messages: {msgs}\r\nNats-Pending-Bytes: {bytes}\r\n\r\n"
            );
            let (to, headers) = (&reply, &headers);
            out.outbox.push_as(Says::Status, OutMsg { to, subject: to, reply: b"", headers, payload: b"" });
        }
    }

    /// Writes the subject on which the message is acknowledged; it says what clients call metadata.
    fn write_reply(&self, reply: &mut Vec<u8>, msg: &Msg<'_>, deliveries: u64, still_pending: u64) {
        reply.clear();
        reply.extend_from_slice(&self.ack_prefix);
        for number in [deliveries, msg.seq, self.next_dseq] {
            write_number(reply, number);
            reply.push(b'.');
        }
        if msg.ts_ns < 0 {
            reply.push(b'-');
        }
        write_number(reply, msg.ts_ns.unsigned_abs());
        reply.push(b'.');
        write_number(reply, still_pending);
    }
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut len = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        len += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - len..).unwrap_or_default());
}

/// The message's headers with the size of the payload that stays behind.
fn write_size_header(headers: &mut Vec<u8>, msg: &Msg<'_>) {
    headers.clear();
    match msg.headers.len().checked_sub(2).and_then(|len| msg.headers.get(..len)) {
        Some(open) => headers.extend_from_slice(open),
        None => headers.extend_from_slice(b"NATS/1.0\r\n"),
    }
    headers.extend_from_slice(b"Nats-Msg-Size: ");
    write_number(headers, msg.payload.len() as u64);
    headers.extend_from_slice(b"\r\n\r\n");
}

/// A header block with one header more.
fn with_header(headers: &[u8], name: &str, value: &str) -> Vec<u8> {
    let open = headers.len().checked_sub(2).and_then(|len| headers.get(..len)).unwrap_or(b"NATS/1.0\r\n");
    let mut out = Vec::with_capacity(open.len() + name.len() + value.len() + 6);
    out.extend_from_slice(open);
    let _ = write!(out, "{name}: {value}\r\n\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 999, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn the_size_header_joins_the_headers_that_are_there() {
        let mut out = Vec::new();
        let mut msg = Msg { seq: 1, ts_ns: 0, subject: b"a", headers: b"", payload: b"12345" };
        write_size_header(&mut out, &msg);
        assert_eq!(out, b"NATS/1.0\r\nNats-Msg-Size: 5\r\n\r\n");
        msg.headers = b"NATS/1.0\r\nA: b\r\n\r\n";
        write_size_header(&mut out, &msg);
        assert_eq!(out, b"NATS/1.0\r\nA: b\r\nNats-Msg-Size: 5\r\n\r\n");
    }
}
