//! What slows deliveries down: the receiver's flow control, a rate limit, the original timing.

use super::set::Shared;
use super::{ACK, Consumer, Out, StreamCtx};
use crate::clock::{ElapsedNs, Now};
use crate::config::{AckPolicy, ReplayPolicy};
use crate::message::OutMsg;
use crate::outbox::Says;
use rand::Rng as _;

/// Bytes that may be under way at most.
const WINDOW_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Where the window starts; it doubles with every answer.
const WINDOW_BYTES_START: usize = WINDOW_BYTES_MAX / 16;
const REQUEST: &[u8] = b"NATS/1.0 100 FlowControl Request\r\n\r\n";
const NS_PER_S: f64 = 1e9;

/// The window of a push consumer with flow control.
#[derive(Debug)]
pub(super) struct FlowControl {
    window_bytes: usize,
    under_way_bytes: usize,
    /// What the outstanding request covers.
    asked_bytes: usize,
    /// The reply subject of the outstanding request, empty for none.
    asked: Vec<u8>,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self { window_bytes: WINDOW_BYTES_START, under_way_bytes: 0, asked_bytes: 0, asked: Vec::new() }
    }
}

impl FlowControl {
    pub(super) fn is_stalled(&self) -> bool {
        self.under_way_bytes > self.window_bytes
    }

    /// The subject that the receiver has yet to answer, if any.
    pub(super) fn asked(&self) -> Option<&[u8]> {
        Some(self.asked.as_slice()).filter(|asked| !asked.is_empty())
    }

    /// Counts a delivery; says whether the receiver should be asked.
    fn sent(&mut self, size_bytes: usize, acks_stalled: bool) -> bool {
        self.under_way_bytes += size_bytes;
        if self.asked.is_empty() {
            return self.under_way_bytes > self.window_bytes / 2 || acks_stalled;
        }
        if self.under_way_bytes.saturating_sub(self.asked_bytes) >= self.window_bytes {
            self.asked_bytes += size_bytes;
        }
        false
    }

    /// The receiver answered.
    fn answered(&mut self) {
        self.window_bytes = (self.window_bytes * 2).min(WINDOW_BYTES_MAX);
        self.under_way_bytes = self.under_way_bytes.saturating_sub(self.asked_bytes);
        self.asked_bytes = 0;
        self.asked.clear();
    }
}

impl Consumer {
    /// Counts a delivery against the window, and asks the receiver when half of it is used.
    pub(super) fn flow_sent(&mut self, shared: &mut Shared, out: &mut Out<'_>, size_bytes: usize) {
        let acks_stalled = self.config.ack_policy == AckPolicy::FlowControl && self.is_at_max_ack_pending();
        if self.flow.as_mut().is_some_and(|flow| flow.sent(size_bytes, acks_stalled)) {
            self.ask_flow_control(shared, out);
        }
    }

    /// Asks the receiver to say that it has got this far.
    pub(super) fn ask_flow_control(&mut self, shared: &mut Shared, out: &mut Out<'_>) {
        let Some(flow) = self.flow.as_mut() else { return };
        flow.asked_bytes = flow.under_way_bytes;
        flow.asked.clear();
        flow.asked.extend_from_slice(b"$JS.FC.");
        // Stream and consumer are told as they are in acknowledgements.
        flow.asked.extend_from_slice(self.ack_prefix.get(ACK.len()..).unwrap_or_default());
        for _ in 0..4 {
            flow.asked.push(shared.rng.sample(rand::distr::Alphanumeric));
        }
        let to = self.config.deliver_subject.as_bytes();
        out.outbox.push_as(
            Says::Status,
            OutMsg { to, subject: to, reply: &flow.asked, headers: REQUEST, payload: b"" },
        );
    }

    /// The receiver answered on `subject`.
    pub(super) fn flow_answered(
        &mut self,
        shared: &mut Shared,
        ctx: &mut StreamCtx<'_>,
        subject: &[u8],
        headers: &[u8],
    ) {
        let Some(flow) = self.flow.as_mut().filter(|flow| flow.asked() == Some(subject)) else { return };
        flow.answered();
        if self.config.ack_policy == AckPolicy::FlowControl {
            let headers = jetkv_protocol::headers::Headers::new(headers);
            let number = |key: &[u8]| {
                headers.get(key).and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<u64>().ok())
            };
            let dseq = number(b"Nats-Last-Consumer").unwrap_or(0);
            if let Some(sseq) = number(b"Nats-Last-Stream").filter(|sseq| *sseq > 0) {
                let (store, mut out) = super::part(ctx);
                self.acknowledge(
                    shared,
                    store,
                    &mut out,
                    super::ack::Acked { sseq, dseq, deliveries: 1 },
                    false,
                );
            }
        }
        self.feed_soon(shared);
    }

    /// When a message of `size_bytes`, stored at `ts_ns`, may leave, if not at once.
    pub(super) fn held_until(&mut self, now: &Now, ts_ns: i64, size_bytes: usize) -> Option<ElapsedNs> {
        let replay = self.replay.as_ref().and_then(|replay| replay.due(ts_ns));
        let rate = self.rate.as_mut().and_then(|rate| rate.due(now.elapsed(), size_bytes));
        replay.max(rate).filter(|due| *due > now.elapsed())
    }

    /// Sets up what slows this consumer down, for a stream whose last sequence is `last_seq`.
    pub(super) fn slow_down(&mut self, max_msg_size: i32, max_payload_bytes: u64, now: &Now, last_seq: u64) {
        self.flow = self.config.flow_control.then(FlowControl::default);
        self.replay = (self.config.replay_policy == ReplayPolicy::Original)
            .then_some(Replay { until_seq: last_seq, last: None });
        self.set_rate(max_msg_size, max_payload_bytes, now);
    }

    pub(super) fn set_rate(&mut self, max_msg_size: i32, max_payload_bytes: u64, now: &Now) {
        let burst = u64::try_from(max_msg_size).ok().filter(|size| *size > 0).unwrap_or(max_payload_bytes);
        self.rate = (self.config.rate_limit_bps > 0)
            .then(|| RateLimit::new(self.config.rate_limit_bps, burst, now.elapsed()));
    }
}

/// A bucket of bytes that fills at the configured rate.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes_per_s: f64,
    burst_bytes: f64,
    held_bytes: f64,
    at: ElapsedNs,
}

#[expect(clippy::cast_precision_loss, reason = "rates and sizes are far below 2^52")]
impl RateLimit {
    fn new(bits_per_s: u64, burst_bytes: u64, now: ElapsedNs) -> Self {
        let burst_bytes = burst_bytes.max(1) as f64;
        let bytes_per_s = ((bits_per_s / 8) as f64).max(f64::MIN_POSITIVE);
        Self { bytes_per_s, burst_bytes, held_bytes: burst_bytes, at: now }
    }

    /// When `size_bytes` may leave, if the bucket does not hold them yet.
    fn due(&mut self, now: ElapsedNs, size_bytes: usize) -> Option<ElapsedNs> {
        let elapsed_s = now.since(self.at) as f64 / NS_PER_S;
        self.held_bytes = (self.held_bytes + elapsed_s * self.bytes_per_s).min(self.burst_bytes);
        self.at = now;
        // What exceeds the burst leaves with a full bucket; it would never leave otherwise.
        let missing = (size_bytes as f64).min(self.burst_bytes) - self.held_bytes;
        if missing <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, saturates")]
        let wait_ns = (missing / self.bytes_per_s * NS_PER_S).ceil() as u64;
        Some(now.plus(wait_ns.max(1)))
    }

    pub(super) fn take(&mut self, size_bytes: usize) {
        self.held_bytes = (self.held_bytes - size_bytes as f64).max(0.0);
    }
}

/// Deliveries at the intervals at which the messages were stored, until the end of what was stored is reached.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) until_seq: u64,
    /// Time of the last message delivered, and when it was delivered.
    pub(super) last: Option<(i64, ElapsedNs)>,
}

/// Intervals up to this are not kept.
const REPLAY_NS_MIN: u64 = 1_000_000;

impl Replay {
    fn due(&self, ts_ns: i64) -> Option<ElapsedNs> {
        let (last_ts_ns, delivered) = self.last?;
        let interval_ns = u64::try_from(ts_ns.saturating_sub(last_ts_ns)).unwrap_or(0);
        (interval_ns > REPLAY_NS_MIN).then(|| delivered.plus(interval_ns))
    }
}
