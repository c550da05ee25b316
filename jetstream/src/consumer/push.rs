//! Push consumers: whether someone listens, signs of life, and going when nobody does.

use super::set::Shared;
use super::timers::Kind;
use super::{Consumer, Out, StreamCtx};
use crate::clock::{ElapsedNs, Now};
use crate::config::AckPolicy;
use crate::message::OutMsg;
use crate::outbox::Says;
use rand::Rng as _;
use std::io::Write as _;

/// Idle time after which an ephemeral consumer goes that does not say otherwise.
const INACTIVE_NS: i64 = 5_000_000_000;
const JITTER_NS_MIN: u64 = 100_000_000;
const JITTER_NS_MAX: u64 = 1_000_000_000;

impl Consumer {
    /// Works out after which idle time the consumer goes. A change of a consumer that was not durable until then still
    /// gives it the idle time of one that is not (nats-server v2.15.2), so `is_durable` is what it was before.
    pub(super) fn set_inactive_threshold(&mut self, shared: &mut Shared, is_durable: bool) {
        let mut jitter_ns = || shared.rng.random_range(JITTER_NS_MIN..JITTER_NS_MAX);
        let configured_ns = u64::try_from(self.config.inactive_threshold_ns).unwrap_or(0);
        self.inactive_ns = if configured_ns > 0 {
            configured_ns + if self.is_push() { 0 } else { jitter_ns() }
        } else if is_durable {
            0
        } else {
            self.config.inactive_threshold_ns = INACTIVE_NS;
            INACTIVE_NS.unsigned_abs() + jitter_ns()
        };
    }

    /// Begins to count idle time, where the consumer goes after some.
    pub(super) fn arm_inactive(&mut self, shared: &mut Shared, now: &Now) {
        if self.inactive_ns > 0 {
            let at = now.elapsed().plus(self.inactive_ns);
            shared.timers.arm(&mut self.armed, self.slot, Kind::Inactive, at);
        }
    }

    /// Whether someone listens on the deliver subject changed.
    pub(super) fn set_active(&mut self, shared: &mut Shared, now: &Now, active: bool) {
        if !self.is_push() {
            return;
        }
        let came = active && !self.active;
        self.active = active;
        // Who came may have room; whether it does is asked before anything is sent.
        self.full &= !came && active;
        if active {
            shared.timers.disarm(&mut self.armed, self.slot, Kind::Inactive);
        } else if self.armed.get(Kind::Inactive).is_none() {
            self.arm_inactive(shared, now);
        }
        if came {
            self.feed_soon(shared);
        }
    }

    /// Whether who listens has no room for more. Asked once for each turn; the host tells when there is room.
    pub(super) fn is_full(&mut self, out: &Out<'_>) -> bool {
        self.full = self.is_push() && !out.host.has_room(out.account, self.config.deliver_subject.as_bytes());
        self.full
    }

    /// Notes an acknowledgement as use of the consumer.
    pub(super) fn used(&mut self, shared: &mut Shared, now: &Now) {
        if self.is_push() {
            if self.armed.get(Kind::Inactive).is_some() {
                self.arm_inactive(shared, now);
            }
        } else {
            // The deadline finds out by itself that there was use since it was armed.
            self.requests.used = now.elapsed();
        }
    }

    /// Whether the consumer is to go. Otherwise idle time counts on.
    pub(super) fn is_abandoned(&mut self, shared: &mut Shared, ctx: &mut StreamCtx<'_>) -> bool {
        if self.is_push() {
            return !self.active;
        }
        let (_, mut out) = super::part(ctx);
        self.sweep_requests(shared, &mut out, true);
        let now = ctx.now;
        if !self.requests.is_empty() {
            self.arm_inactive(shared, now);
            return false;
        }
        // Messages may still be worked on for as long as their acknowledgement is awaited.
        let waits = self.pending.iter().map(|pending| pending.since.plus(self.wait_ns(pending.sseq)));
        let idle_since = waits.fold(self.requests.used, ElapsedNs::max);
        let goes = idle_since.plus(self.inactive_ns);
        if goes > now.elapsed() {
            shared.timers.arm(&mut self.armed, self.slot, Kind::Inactive, goes);
            return false;
        }
        true
    }

    /// Shows `to` that the consumer lives and where it stands.
    pub(super) fn send_heartbeat(&self, out: &mut Out<'_>, to: &[u8]) {
        let mut headers = Vec::with_capacity(128);
        let _ = write!(
            headers,
            "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {}\r\nNats-Last-Stream: {}\r\n",
            self.next_dseq - 1,
            self.next_sseq - 1,
        );
        if let Some(asked) = self.flow.as_ref().and_then(|flow| flow.asked()) {
            headers.extend_from_slice(b"Nats-Consumer-Stalled: ");
            headers.extend_from_slice(asked);
            headers.extend_from_slice(b"\r\n");
        }
        headers.extend_from_slice(b"\r\n");
        out.outbox
            .push_as(Says::Status, OutMsg { to, subject: to, reply: b"", headers: &headers, payload: b"" });
    }

    /// The heartbeat fell due; a delivery since then puts it off.
    pub(super) fn heartbeat_due(&mut self, shared: &mut Shared, ctx: &mut StreamCtx<'_>) {
        let interval_ns = u64::try_from(self.config.idle_heartbeat_ns).unwrap_or(0);
        if interval_ns == 0 {
            return;
        }
        if self.heard.plus(interval_ns) <= ctx.now.elapsed() {
            let (_, mut out) = super::part(ctx);
            if self.active {
                self.send_heartbeat(&mut out, self.config.deliver_subject.as_bytes());
                let asked = self.flow.as_ref().is_some_and(|flow| flow.asked().is_some());
                if self.config.ack_policy == AckPolicy::FlowControl && !self.pending.is_empty() && !asked {
                    self.ask_flow_control(shared, &mut out);
                }
            }
            self.heard = ctx.now.elapsed();
            // It looks at the stream anew, so that the next heartbeat tells how far it has seen that nothing is for it.
            self.feed_soon(shared);
        }
        let at = self.heard.plus(interval_ns);
        shared.timers.arm(&mut self.armed, self.slot, Kind::Heartbeat, at);
    }
}
