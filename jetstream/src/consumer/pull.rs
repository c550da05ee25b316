//! Pull requests: what they ask for, the queue in which they wait, and how they end.

use super::set::Shared;
use super::timers::Kind;
use super::{Consumer, Out, StreamCtx};
use crate::clock::{ElapsedNs, Now, WallNs};
use crate::config::PriorityPolicy;
use crate::config::metadata::{LEVEL_STATUS, REQUIRED_LEVEL_HEADER, serves_level};
use crate::headers::header;
use crate::message::OutMsg;
use crate::outbox::Says;
use hashbrown::HashMap;
use jetkv_go_compat::GoDuration;
use jetkv_go_compat::json::{decode_lenient, go_struct};
use std::collections::VecDeque;
use std::io::Write as _;

const NS_PER_S: u64 = 1_000_000_000;
const NO_MESSAGES: &[u8] = b"NATS/1.0 404 No Messages\r\n\r\n";

/// The priority part of a pull request.
/// Heartbeats leave no more often, whatever a request asks for: a shorter interval comes to about this on nats-server
/// v2.15.2 (observed), and would keep a processor busy here.
const HEARTBEAT_MIN_NS: u64 = 500_000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PriorityRequest {
    group: String,
    min_pending: i64,
    min_ack_pending: i64,
    pub(super) id: String,
    priority: i64,
}

go_struct! { PriorityRequest as "PriorityGroup" {
    "group" => group, "min_pending" => min_pending, "min_ack_pending" => min_ack_pending, "id" => id,
    "priority" => priority as Int,
} }

#[derive(Debug, Default)]
struct NextRequest {
    expires_ns: i64,
    batch: i64,
    max_bytes: i64,
    no_wait: bool,
    heartbeat_ns: i64,
    priority: PriorityRequest,
}

go_struct! { NextRequest as "JSApiConsumerGetNextRequest" {
    embed "PriorityGroup" => priority: PriorityRequest,
    "expires" => expires_ns as Duration, "batch" => batch as Int, "max_bytes" => max_bytes as Int,
    "no_wait" => no_wait, "idle_heartbeat" => heartbeat_ns as Duration,
} }

/// A pull request that waits.
#[derive(Debug)]
pub(super) struct Request {
    reply: Box<[u8]>,
    /// Messages still wanted.
    batch: i64,
    delivered: u64,
    /// Bytes still wanted, 0 for any number.
    max_bytes: i64,
    expires: Option<ElapsedNs>,
    heartbeat_ns: u64,
    next_heartbeat: Option<ElapsedNs>,
    no_wait: bool,
    priority: Option<PriorityRequest>,
}

impl Request {
    /// A plain request of one message or `batch`, or a formal one.
    fn parse(payload: &[u8], reply: &[u8], now: ElapsedNs) -> Result<Self, String> {
        let body = payload.trim_ascii();
        let mut request = Self {
            reply: reply.into(),
            batch: 1,
            delivered: 0,
            max_bytes: 0,
            expires: None,
            heartbeat_ns: 0,
            next_heartbeat: None,
            no_wait: false,
            priority: None,
        };
        if body.first() != Some(&b'{') {
            if let Some(batch) = std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()) {
                request.batch = batch;
            }
            return Ok(request);
        }
        let mut next = NextRequest::default();
        decode_lenient(body, &mut next)?;
        let heartbeat_ns = u64::try_from(next.heartbeat_ns).unwrap_or(0);
        // Twice an interval of more than 146 years is negative in nats-server v2.15.2, and so never too large (observed).
        if heartbeat_ns > 0 && next.heartbeat_ns.wrapping_mul(2) > next.expires_ns {
            return Err("heartbeat value too large".to_owned());
        }
        request.batch = next.batch;
        request.max_bytes = next.max_bytes;
        request.no_wait = next.no_wait;
        request.heartbeat_ns = if heartbeat_ns > 0 { heartbeat_ns.max(HEARTBEAT_MIN_NS) } else { 0 };
        request.next_heartbeat = (heartbeat_ns > 0).then(|| now.plus(request.heartbeat_ns));
        request.expires = (next.expires_ns != 0).then(|| now.shifted(next.expires_ns));
        request.priority = Some(next.priority);
        Ok(request)
    }

    fn is_expired(&self, now: ElapsedNs) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn pin_id(&self) -> &str {
        self.priority.as_ref().map_or("", |priority| priority.id.as_str())
    }

    fn group(&self) -> &str {
        self.priority.as_ref().map_or("", |priority| priority.group.as_str())
    }

    fn rank(&self) -> i64 {
        self.priority.as_ref().map_or(i64::from(i32::MAX), |priority| priority.priority)
    }

    fn next_event(&self) -> Option<ElapsedNs> {
        self.next_heartbeat.into_iter().chain(self.expires).min()
    }

    /// Ends or reports with what is left of the request.
    fn status(&self, out: &mut Out<'_>, status: &str) {
        let mut headers = Vec::with_capacity(96);
        let _ = write!(
            headers,
            "NATS/1.0 {status}\r\nNats-Pending-Messages: {}\r\nNats-Pending-Bytes: {}\r\n\r\n",
            self.batch, self.max_bytes
        );
        send_status(out, &self.reply, &headers);
    }
}

fn send_status(out: &mut Out<'_>, to: &[u8], headers: &[u8]) {
    out.outbox.push_as(Says::Status, OutMsg { to, subject: to, reply: b"", headers, payload: b"" });
}

/// Pull requests in the order in which they are served.
#[derive(Debug, Default)]
pub(super) struct Requests {
    queue: VecDeque<Request>,
    /// Last use of the consumer.
    pub(super) used: ElapsedNs,
    swept: ElapsedNs,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn has_no_wait(&self) -> bool {
        self.queue.iter().any(|request| request.no_wait)
    }

    fn insert(&mut self, request: Request, policy: PriorityPolicy) {
        if policy == PriorityPolicy::Prioritized {
            let at = self.queue.partition_point(|held| held.rank() <= request.rank());
            self.queue.insert(at, request);
        } else {
            self.queue.push_back(request);
        }
    }

    /// Where the request at the head wants its message.
    pub(super) fn head_reply(&self) -> &[u8] {
        self.queue.front().map_or(b"", |request| &request.reply)
    }

    /// Whether one more message completes the batch at the head while it still wants bytes.
    pub(super) fn head_completes_early(&self) -> bool {
        self.queue.front().is_some_and(|request| request.batch <= 1 && request.max_bytes > 0)
    }

    /// Counts a message delivered to the head; returns what is left of it as (messages, bytes).
    pub(super) fn served(&mut self, policy: PriorityPolicy, now: ElapsedNs) -> (i64, i64) {
        let Some(mut request) = self.queue.pop_front() else { return (0, 0) };
        request.delivered += 1;
        request.batch -= 1;
        let left = (request.batch, request.max_bytes);
        if request.batch > 0 {
            if request.heartbeat_ns > 0 {
                request.next_heartbeat = Some(now.plus(request.heartbeat_ns));
            }
            self.insert(request, policy);
        }
        left
    }

    /// Gives back a message that reached nobody.
    fn credit(&mut self, reply: &[u8]) {
        if let Some(request) = self.queue.iter_mut().find(|request| *request.reply == *reply) {
            request.batch += 1;
            request.delivered = request.delivered.saturating_sub(1);
        }
    }

    fn next_event(&self) -> Option<ElapsedNs> {
        self.queue.iter().filter_map(Request::next_event).min()
    }
}

/// The client that is served alone.
#[derive(Debug)]
pub(super) struct Pin {
    pub(super) id: String,
    pub(super) since: WallNs,
    group: String,
}

impl Consumer {
    /// A request for messages arrived.
    pub(super) fn request(
        &mut self,
        shared: &mut Shared,
        ctx: &mut StreamCtx<'_>,
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) {
        let (_, mut out) = super::part(ctx);
        if let Err(status) = self.admit(shared, &mut out, reply, headers, payload) {
            if let Some(status) = status {
                let headers = format!("NATS/1.0 {status}\r\n\r\n");
                send_status(&mut out, reply, headers.as_bytes());
            }
            return;
        }
        self.feed_soon(shared);
    }

    /// Queues the request, or says with which status it ends; with none it is dropped in silence.
    fn admit(
        &mut self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> Result<(), Option<String>> {
        if self.is_push() {
            return Err(Some("409 Consumer is push based".to_owned()));
        }
        if !serves_level(header(headers, REQUIRED_LEVEL_HEADER).unwrap_or_default()) {
            return Err(Some(LEVEL_STATUS.to_owned()));
        }
        let request = Request::parse(payload, reply, out.now.elapsed())
            .map_err(|reason| Some(format!("400 Bad Request - {reason}")))?;
        self.check_request_limits(&request, out.now.elapsed()).map_err(Some)?;
        self.check_request_priority(shared, out, &request).map_err(Some)?;
        if self.has_full_queue() && out.now.elapsed().since(self.requests.swept) > NS_PER_S {
            self.sweep_requests(shared, out, false);
        }
        if request.no_wait {
            self.check_no_wait(shared, out, &request).map_err(Some)?;
        }
        if self.has_full_queue() {
            // A client with heartbeats finds out by itself; an answer would have it ask again at once.
            return Err((request.heartbeat_ns == 0).then(|| "409 Exceeded MaxWaiting".to_owned()));
        }
        self.requests.used = out.now.elapsed();
        if let Some(at) = request.next_event() {
            shared.timers.arm_earlier(&mut self.armed, self.slot, Kind::Requests, at);
        }
        self.requests.insert(request, self.config.priority_policy);
        Ok(())
    }

    /// Whether as many requests wait as may.
    pub(super) fn has_full_queue(&self) -> bool {
        !self.is_push() && self.requests.len() >= usize::try_from(self.config.max_waiting).unwrap_or(0)
    }

    fn check_request_limits(&self, request: &Request, now: ElapsedNs) -> Result<(), String> {
        let config = &self.config;
        if config.max_request_batch > 0 && request.batch > config.max_request_batch {
            return Err(format!("409 Exceeded MaxRequestBatch of {}", config.max_request_batch));
        }
        let expires_max_ns = u64::try_from(config.max_request_expires_ns).unwrap_or(0);
        if expires_max_ns > 0 && request.expires.is_some_and(|expires| expires > now.plus(expires_max_ns)) {
            let longest = GoDuration(config.max_request_expires_ns);
            return Err(format!("409 Exceeded MaxRequestExpires of {longest}"));
        }
        if config.max_request_bytes > 0 && request.max_bytes > config.max_request_bytes {
            return Err(format!("409 Exceeded MaxRequestMaxBytes of {}", config.max_request_bytes));
        }
        Ok(())
    }

    fn check_request_priority(
        &mut self,
        shared: &mut Shared,
        out: &Out<'_>,
        request: &Request,
    ) -> Result<(), String> {
        let policy = self.config.priority_policy;
        let Some(priority) = &request.priority else { return Ok(()) };
        let bad = |reason: &str| Err(format!("400 Bad Request - {reason}"));
        let has_threshold = priority.min_pending != 0 || priority.min_ack_pending != 0;
        if has_threshold && policy != PriorityPolicy::Overflow {
            return bad("Not a Overflow Priority consumer");
        }
        if !priority.id.is_empty() && policy != PriorityPolicy::PinnedClient {
            return bad("Not a Pinned Client Priority consumer");
        }
        if !(0..=9).contains(&priority.priority) {
            return bad("Priority must be between 0 and 9");
        }
        if policy == PriorityPolicy::None {
            return Ok(());
        }
        if priority.group.is_empty() {
            return bad("Priority Group missing");
        }
        if !self.config.priority_groups.contains(&priority.group) {
            return bad("Invalid Priority Group");
        }
        if let Some(pin) = &self.pin {
            if priority.id == pin.id {
                self.renew_pin(shared, out.now);
            } else if !priority.id.is_empty() {
                return Err("423 Nats-Pin-Id mismatch".to_owned());
            }
        }
        Ok(())
    }

    fn check_no_wait(
        &mut self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        request: &Request,
    ) -> Result<(), String> {
        let msgs = self.num_pending + self.redelivery.len() as u64;
        if msgs == 0 && request.expires.is_none() {
            self.requests.used = out.now.elapsed();
            return Err("404 No Messages".to_owned());
        }
        if msgs > 0 {
            self.sweep_requests(shared, out, false);
            let wanted: i64 = self.requests.queue.iter().map(|waiting| waiting.batch).sum();
            if i64::try_from(msgs).unwrap_or(i64::MAX) < wanted {
                self.requests.used = out.now.elapsed();
                return Err("408 Requests Pending".to_owned());
            }
        }
        Ok(())
    }

    /// Ends requests that are over or whose requester is gone, and sends the heartbeats that are due. With
    /// `at_end` there is nothing to deliver now, which ends requests that do not wait.
    pub(super) fn sweep_requests(&mut self, shared: &mut Shared, out: &mut Out<'_>, at_end: bool) {
        if self.requests.is_empty() {
            return;
        }
        self.requests.swept = out.now.elapsed();
        let mut queue = std::mem::take(&mut self.requests.queue);
        queue.retain_mut(|request| {
            if request.is_expired(out.now.elapsed()) {
                request.status(out, "408 Request Timeout");
                self.requests.used = self.requests.used.max(request.expires.unwrap_or_default());
                return false;
            }
            if at_end && request.no_wait && (request.expires.is_none() || request.delivered > 0) {
                send_status(out, &request.reply, NO_MESSAGES);
                self.requests.used = self.requests.used.max(out.now.elapsed());
                return false;
            }
            if !out.has_interest(&request.reply) {
                return false;
            }
            if request.next_heartbeat.is_some_and(|at| at <= out.now.elapsed()) {
                self.send_heartbeat(out, &request.reply);
                request.next_heartbeat = Some(out.now.elapsed().plus(request.heartbeat_ns));
            }
            true
        });
        self.requests.queue = queue;
        self.arm_requests(shared);
    }

    /// Has the earliest expiry or heartbeat of a request fall due.
    pub(super) fn arm_requests(&mut self, shared: &mut Shared) {
        match self.requests.next_event() {
            Some(at) => shared.timers.arm(&mut self.armed, self.slot, Kind::Requests, at),
            None => shared.timers.disarm(&mut self.armed, self.slot, Kind::Requests),
        }
    }

    /// Brings the request that gets a message of `size_bytes` to the head of the queue, and takes the bytes from it.
    /// Requests that have ended are answered on the way.
    pub(super) fn select_request(
        &mut self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        size_bytes: usize,
    ) -> bool {
        let size = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        let mut cycled = 0;
        while cycled < self.requests.len() {
            let Some(mut request) = self.requests.queue.pop_front() else { break };
            if request.is_expired(out.now.elapsed()) {
                request.status(out, "408 Request Timeout");
                self.requests.used = self.requests.used.max(request.expires.unwrap_or_default());
                continue;
            }
            let had_pin = self.pin.is_some();
            match self.eligible(shared, out, &mut request) {
                Eligible::Now => {}
                Eligible::Later => {
                    self.requests.queue.push_back(request);
                    cycled += 1;
                    continue;
                }
                Eligible::WrongPin => {
                    request.status(out, "423 Nats-Wrong-Pin-Id");
                    continue;
                }
            }
            if request.max_bytes > 0 && size > request.max_bytes {
                request.status(out, "409 Message Size Exceeds MaxBytes");
                if !had_pin {
                    self.unpin(shared);
                }
                continue;
            }
            if !out.has_interest(&request.reply) {
                continue;
            }
            if request.max_bytes > 0 {
                request.max_bytes -= size;
                if request.max_bytes == 0 {
                    request.batch = 1;
                }
            }
            self.requests.queue.push_front(request);
            return true;
        }
        false
    }

    /// Whether it is the request's turn by the rules of its priority group.
    fn eligible(&mut self, shared: &mut Shared, out: &mut Out<'_>, request: &mut Request) -> Eligible {
        match self.config.priority_policy {
            PriorityPolicy::PinnedClient => match &self.pin {
                None if request.pin_id().is_empty() => {
                    self.pin_to(shared, out, request);
                    Eligible::Now
                }
                Some(pin) if request.pin_id() == pin.id => Eligible::Now,
                Some(_) if request.pin_id().is_empty() => Eligible::Later,
                _ => Eligible::WrongPin,
            },
            PriorityPolicy::Overflow => {
                let Some(priority) = &request.priority else { return Eligible::Now };
                let (min, min_ack) = (priority.min_pending, priority.min_ack_pending);
                let reached =
                    |min: i64, have: u64| min > 0 && u64::try_from(min).is_ok_and(|min| min <= have);
                let free = min <= 0 && min_ack <= 0;
                let overflows = reached(min, self.num_pending) || reached(min_ack, self.pending.len() as u64);
                if free || overflows { Eligible::Now } else { Eligible::Later }
            }
            PriorityPolicy::None | PriorityPolicy::Prioritized => Eligible::Now,
        }
    }

    fn pin_to(&mut self, shared: &mut Shared, out: &mut Out<'_>, request: &mut Request) {
        let group = request.group().to_owned();
        if group.is_empty() {
            return;
        }
        let id = shared.nuid();
        if let Some(priority) = &mut request.priority {
            priority.id.clone_from(&id);
        }
        self.advise_pinned(shared, out, &group, &id);
        self.pin = Some(Pin { id, since: out.now.wall(), group });
        self.renew_pin(shared, out.now);
    }

    fn renew_pin(&mut self, shared: &mut Shared, now: &Now) {
        let ttl_ns = u64::try_from(self.config.pinned_ttl_ns).unwrap_or(0);
        shared.timers.arm(&mut self.armed, self.slot, Kind::Pin, now.elapsed().plus(ttl_ns));
    }

    pub(super) fn unpin(&mut self, shared: &mut Shared) {
        self.pin = None;
        shared.timers.disarm(&mut self.armed, self.slot, Kind::Pin);
    }

    /// The pinned client fell silent.
    pub(super) fn pin_expired(&mut self, shared: &mut Shared, ctx: &mut StreamCtx<'_>) {
        if let Some(pin) = self.pin.take() {
            let (_, mut out) = super::part(ctx);
            self.advise_unpinned(shared, &mut out, &pin.group, "timeout");
            self.feed_soon(shared);
        }
    }

    /// Tells every requester that waits that the consumer is gone.
    pub(super) fn release_requests(&mut self, out: &mut Out<'_>) {
        for request in self.requests.queue.drain(..) {
            send_status(out, &request.reply, b"NATS/1.0 409 Consumer Deleted\r\n\r\n");
        }
    }

    /// Tells every requester that waits that the server goes down, and what of its request is left. Of requests with
    /// the same inbox only the last is told of (nats-server v2.15.2).
    pub(super) fn end_requests(&mut self, out: &mut Out<'_>) {
        if self.config.num_replicas > 1 {
            return;
        }
        let queue = std::mem::take(&mut self.requests.queue);
        let mut last = HashMap::new();
        for (at, request) in queue.iter().enumerate() {
            last.insert(&*request.reply, at);
        }
        for (at, request) in queue.iter().enumerate() {
            if last.get(&*request.reply) == Some(&at) {
                request.status(out, "409 Server Shutdown");
            }
        }
    }

    /// A message for a requester reached nobody; it is delivered again at once.
    pub(super) fn request_missed(
        &mut self,
        shared: &mut Shared,
        ctx: &mut StreamCtx<'_>,
        to: &[u8],
        sseq: u64,
    ) {
        let (_, mut out) = super::part(ctx);
        self.redelivery.take_back(sseq);
        self.sweep_requests(shared, &mut out, false);
        self.requests.credit(to);
        if self.pending.contains(sseq) {
            self.redelivery.push(sseq);
            self.feed_soon(shared);
        }
    }
}

/// Whether a request may be served, by the priorities of its group.
enum Eligible {
    Now,
    Later,
    WrongPin,
}
