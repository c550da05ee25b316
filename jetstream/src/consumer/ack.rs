//! Acknowledgements: what a receiver says of a delivery, and what follows.

use super::set::Shared;
use super::{Consumer, Out, Position, StreamCtx, part};
use crate::config::AckPolicy;
use crate::message::OutMsg;
use crate::outbox::Says;
use crate::store::Store;
use jetkv_go_compat::GoDuration;
use jetkv_go_compat::json::{decode_lenient, go_struct};
use jetkv_protocol::subject::tokens;

/// Why a delivery ends whose message left the stream.
pub(super) const REMOVED_UNACKED: &str = "Unacknowledged message was deleted";

const TOKENS_V1: usize = 9;
const TOKENS_V2: usize = 11;

/// The delivery that an acknowledgement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acked {
    pub(super) sseq: u64,
    pub(super) dseq: u64,
    pub(super) deliveries: u64,
}

/// A subject on which a consumer is spoken to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control<'a> {
    Ack { consumer: &'a [u8], acked: Acked },
    Flow { consumer: &'a [u8] },
    Next { consumer: &'a [u8] },
}

impl<'a> Control<'a> {
    /// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`, also with domain
    /// and account hash before the stream; `$JS.FC.…` likewise; and `….CONSUMER.MSG.NEXT.<stream>.<consumer>`.
    pub(super) fn parse(subject: &'a [u8]) -> Option<Self> {
        let mut parts = tokens(subject);
        if parts.next() != Some(b"$JS") {
            return None;
        }
        match parts.next()? {
            b"ACK" => Self::parse_ack(subject),
            b"FC" => {
                let names = tokens(subject).count();
                let at = if names == 5 { 3 } else { 5 };
                Some(Self::Flow { consumer: tokens(subject).nth(at)? })
            }
            _ => {
                let mut last = tokens(subject).rev();
                let consumer = last.next()?;
                let _stream = last.next()?;
                (last.next() == Some(b"NEXT") && last.next() == Some(b"MSG"))
                    .then_some(Self::Next { consumer })
            }
        }
    }

    fn parse_ack(subject: &'a [u8]) -> Option<Self> {
        let skip = match tokens(subject).count() {
            TOKENS_V1 => 3,
            TOKENS_V2.. => 5,
            _ => return None,
        };
        let mut parts = tokens(subject).skip(skip);
        let consumer = parts.next()?;
        let mut number = || parts.next().map(parse_number);
        let (deliveries, sseq, dseq) = (number()?, number()?, number()?);
        Some(Self::Ack { consumer, acked: Acked { sseq, dseq, deliveries } })
    }
}

/// Reads a number; what is none counts as the largest, which no delivery has.
fn parse_number(token: &[u8]) -> u64 {
    std::str::from_utf8(token).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
struct NakOptions {
    delay_ns: i64,
}

go_struct! { NakOptions as "ConsumerNakOptions" { "delay" => delay_ns as Duration, } }

/// The delay that a negative acknowledgement asks for, as JSON or as a bare duration.
fn nak_delay_ns(argument: &[u8]) -> Option<i64> {
    let argument = argument.trim_ascii();
    if argument.first() == Some(&b'{') {
        let mut options = NakOptions::default();
        return decode_lenient(argument, &mut options).ok().map(|()| options.delay_ns);
    }
    std::str::from_utf8(argument).ok().and_then(|text| GoDuration::parse(text).ok()).map(|wait| wait.0)
}

impl Consumer {
    /// The receiver of a delivery says `payload` about it.
    pub(super) fn on_ack(
        &mut self,
        shared: &mut Shared,
        ctx: &mut StreamCtx<'_>,
        acked: Acked,
        reply: &[u8],
        payload: &[u8],
    ) {
        if matches!(self.config.ack_policy, AckPolicy::None | AckPolicy::FlowControl) {
            return;
        }
        self.used(shared, ctx.now);
        let was_stalled = self.is_at_max_ack_pending();
        let (store, mut out) = part(ctx);
        let mut answer = true;
        let mut next = None;
        match payload {
            b"" | b"+ACK" | b"+OK" => answer = self.acknowledge(shared, store, &mut out, acked, true),
            [b'+', b'N', b'X', b'T', rest @ ..] => {
                self.acknowledge(shared, store, &mut out, acked, true);
                (answer, next) = (false, Some(rest));
            }
            [b'-', b'N', b'A', b'K', rest @ ..] => self.negative(shared, &mut out, acked, rest),
            b"+WPI" => self.progress(shared, &out, acked.sseq),
            [b'+', b'T', b'E', b'R', b'M', rest @ ..] => {
                let reason = String::from_utf8_lossy(rest.trim_ascii());
                answer = self.terminate(shared, store, &mut out, acked, &reason);
            }
            _ => {}
        }
        let says_ack = matches!(payload, b"" | b"+ACK" | b"+OK");
        if answer && !reply.is_empty() && (acked.sseq > 0 || says_ack) {
            let taken = OutMsg { to: reply, subject: reply, reply: b"", headers: b"", payload: b"" };
            out.outbox.push_as(Says::Status, taken);
            self.note_confirmed(shared, out.outbox);
        }
        if let Some(request) = next {
            self.request(shared, ctx, reply, b"", request);
        }
        // Also where the request was refused: the acknowledgement alone may let others have more.
        if was_stalled || !self.redelivery.is_empty() {
            self.feed_soon(shared);
        }
    }

    /// Counts the message as done, and with [`AckPolicy::All`] every message before it. Says whether the
    /// acknowledgement is for something that was delivered.
    pub(super) fn acknowledge(
        &mut self,
        shared: &mut Shared,
        store: &mut dyn Store,
        out: &mut Out<'_>,
        acked: Acked,
        sample: bool,
    ) -> bool {
        let Acked { sseq, dseq, .. } = acked;
        if sseq >= self.next_sseq && !self.config.flow_control {
            if sseq > store.totals().last_seq {
                tracing::warn!(consumer = %self.name, sseq, "acknowledgement past the end of the stream");
            }
            return false;
        }
        match self.config.ack_policy {
            AckPolicy::Explicit => {
                if let Some(pending) = self.pending.get(sseq).copied() {
                    if sample {
                        self.sample_ack(shared, out, acked, pending.since);
                    }
                    self.pending.remove(sseq);
                    self.move_floor(Position { dseq: pending.dseq, sseq });
                    self.let_go(shared, out, sseq);
                } else if self.redelivery.is_counted(sseq) {
                    // It was given up after too many deliveries; now the stream may remove it.
                    self.let_go(shared, out, sseq);
                }
                self.redelivery.forget_count(sseq);
                self.redelivery.dequeue(sseq);
            }
            AckPolicy::All | AckPolicy::FlowControl => {
                if dseq <= self.floor.dseq || sseq <= self.floor.sseq {
                    return true;
                }
                self.floor = Position { dseq, sseq };
                self.lagging_floor = None;
                while let Some(pending) = self.pending.pop_through(sseq) {
                    self.redelivery.forget_count(pending.sseq);
                    self.redelivery.dequeue(pending.sseq);
                    self.let_go(shared, out, pending.sseq);
                }
            }
            AckPolicy::None => return true,
        }
        self.last_acked = Some(out.now.wall());
        self.mark_dirty(shared, out.now);
        true
    }

    /// Lets the stream remove a message, if it removes what was acknowledged.
    fn let_go(&self, shared: &mut Shared, out: &Out<'_>, sseq: u64) {
        if out.removes_acked() {
            shared.acked.push(sseq);
        }
    }

    /// Moves the ack floor after the delivery at `acked` is done.
    pub(super) fn move_floor(&mut self, acked: Position) {
        if self.pending.is_empty() {
            self.floor = self.delivered;
            self.lagging_floor = None;
            self.settled_sseq = self.next_sseq - 1;
            return;
        }
        if acked.dseq == self.floor.dseq + 1 {
            self.floor = self.floor_past(acked);
        }
        if let Some(told) = self.lagging_floor
            && acked.dseq == told.dseq + 1
        {
            self.lagging_floor = Some(self.floor_past(acked));
        }
    }

    /// The ack floor once the delivery at `acked`, the first above it, is done.
    pub(super) fn floor_past(&self, acked: Position) -> Position {
        match self.pending.first_after(acked.sseq) {
            Some(next) => Position { dseq: next.dseq.saturating_sub(1), sseq: next.sseq - 1 },
            None => acked,
        }
    }

    /// The ack floor as it is told.
    pub(super) fn told_floor(&self) -> Position {
        self.lagging_floor.unwrap_or(self.floor)
    }

    fn negative(&mut self, shared: &mut Shared, out: &mut Out<'_>, acked: Acked, argument: &[u8]) {
        let Acked { sseq, dseq, .. } = acked;
        if dseq <= self.floor.dseq || dseq > self.next_dseq || !self.pending.contains(sseq) {
            return;
        }
        self.advise_nak(shared, out, acked);
        if !argument.trim_ascii().is_empty() {
            if let Some(delay_ns) = nak_delay_ns(argument) {
                self.redelivery.dequeue(sseq);
                // The wait is set so that it ends after the delay.
                let wait_ns = i64::try_from(self.wait_ns(sseq)).unwrap_or(i64::MAX);
                let began = out.now.elapsed().shifted(delay_ns.saturating_sub(wait_ns));
                self.pending.touch(sseq, began);
                self.last_delivered = Some(out.now.wall());
                self.arm_ack(shared, sseq);
                self.mark_dirty(shared, out.now);
                return;
            }
            let argument = String::from_utf8_lossy(argument);
            tracing::warn!(consumer = %self.name, %argument, "bad delay of a negative acknowledgement");
        }
        self.redelivery.push(sseq);
    }

    /// The receiver still works on it: the wait begins anew.
    fn progress(&mut self, shared: &mut Shared, out: &Out<'_>, sseq: u64) {
        if self.pending.touch(sseq, out.now.elapsed()) {
            self.last_delivered = Some(out.now.wall());
            self.mark_dirty(shared, out.now);
        }
    }

    /// The message is not to be delivered again, though it was not acknowledged.
    pub(super) fn terminate(
        &mut self,
        shared: &mut Shared,
        store: &mut dyn Store,
        out: &mut Out<'_>,
        acked: Acked,
        reason: &str,
    ) -> bool {
        let done = self.acknowledge(shared, store, out, acked, false);
        self.advise_terminated(shared, out, acked, reason);
        done
    }

    /// Whether the message is still wanted: it was not delivered yet, or not acknowledged.
    pub(super) fn needs(&self, sseq: u64) -> bool {
        let unacked = match self.config.ack_policy {
            AckPolicy::Explicit => {
                sseq > self.floor.sseq && (sseq >= self.next_sseq || self.pending.contains(sseq))
            }
            AckPolicy::None | AckPolicy::All | AckPolicy::FlowControl => sseq > self.floor.sseq,
        };
        unacked || self.redelivery.is_counted(sseq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_ack_subjects_are_read() {
        let acked = Acked { sseq: 7, dseq: 3, deliveries: 2 };
        let wanted = Some(Control::Ack { consumer: b"C", acked });
        assert_eq!(Control::parse(b"$JS.ACK.S.C.2.7.3.1700000000.0"), wanted);
        assert_eq!(Control::parse(b"$JS.ACK._.hash.S.C.2.7.3.1700000000.0"), wanted);
        assert_eq!(Control::parse(b"$JS.ACK.hub.hash.S.C.2.7.3.1700000000.0.token"), wanted);
        assert_eq!(Control::parse(b"$JS.ACK.S.C.2.7.3.1700000000"), None);
        assert_eq!(Control::parse(b"$JS.FC.S.C.abcd"), Some(Control::Flow { consumer: b"C" }));
        assert_eq!(Control::parse(b"$JS.FC._.hash.S.C.abcd"), Some(Control::Flow { consumer: b"C" }));
        assert_eq!(Control::parse(b"$JS.API.CONSUMER.MSG.NEXT.S.C"), Some(Control::Next { consumer: b"C" }));
        assert_eq!(
            Control::parse(b"$JS.hub.API.CONSUMER.MSG.NEXT.S.C"),
            Some(Control::Next { consumer: b"C" })
        );
        assert_eq!(Control::parse(b"$KV.b.key"), None);
    }

    #[test]
    fn delays_are_read_from_json_and_from_durations() {
        assert_eq!(nak_delay_ns(br#" {"delay": 2000000000}"#), Some(2_000_000_000));
        assert_eq!(nak_delay_ns(b" 2s "), Some(2_000_000_000));
        assert_eq!(nak_delay_ns(b"soon"), None);
    }
}
