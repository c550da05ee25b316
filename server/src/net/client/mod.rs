//! A client: what is spoken over a link by whoever publishes and subscribes. This file has the client as the rest of the
//! server sees it; `connection.rs` has the task that reads, `operations.rs` the turn, and each other file what comes of
//! some operations.

mod callout;
mod claims;
mod connect;
mod connection;
mod ending;
mod faults;
mod handle;
mod landing;
mod message_trace;
mod operations;
mod proxied;
mod publish;
mod reload;
mod secure;
mod subscribe;
#[cfg(test)]
mod tests;
mod trace;
mod trusted;
mod upgraded;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use jetkv_jetstream::{AccountId, Clock, OutMsg, WallNs};
use jetkv_protocol::encode;
use parking_lot::{Mutex, RwLock};

use crate::auth::DeliveryRules;
use crate::connections::{ConnectionHandle as _, Identity, Peer, ReloadGuard, Secured, TraceOptions};
use crate::net::link::Writer;
use crate::net::outbound::{Drained, Next, Outbound, OutboundLimits};
use crate::net::starved::Starved;
use crate::router::{Account, Admission, DeliverSubject, Listed, Queued, Receipt, Receiver, Subscription};
use crate::traffic::Traffic;
use crate::worker;
pub(super) use connection::serve;
pub(crate) use secure::log_rejected;
pub(crate) use upgraded::{Cookies, Upgraded};

/// A client connection.
pub(super) struct Client {
    id: u64,
    peer: Peer,
    /// Where the client is, as a proxy in front of it says.
    proxied: OnceLock<Peer>,
    /// What its upgrade said, where it speaks over WebSocket.
    upgraded: Option<Box<Upgraded>>,
    started_at: WallNs,
    started: Instant,
    out: Outbound,
    subs: Mutex<HashMap<Box<[u8]>, Arc<Subscription>>>,
    identity: RwLock<Identity>,
    echo: AtomicBool,
    headers: AtomicBool,
    rules: RwLock<Option<Arc<DeliveryRules>>>,
    has_rules: AtomicBool,
    reload: AtomicBool,
    /// Held until the connection has taken a reload over.
    reloading: Mutex<Option<Vec<ReloadGuard>>>,
    traced: AtomicBool,
    /// What it sends is written down in the journal.
    noted: AtomicBool,
    /// One of these two.
    observed: AtomicBool,
    trace_options: Mutex<TraceOptions>,
    /// What went through the connection.
    traffic: Traffic,
    last_active_ns: AtomicI64,
    /// It got messages since the last flush.
    received: AtomicBool,
    clock: Arc<dyn Clock>,
    rtt_ns: AtomicI64,
    /// What was agreed on, where the connection is under TLS.
    tls: OnceLock<Secured>,
    stalls: AtomicU64,
    /// Deliver subjects whose consumers stopped feeding the connection until it has room.
    starved: Starved,
}

impl Client {
    pub(super) fn new(
        id: u64,
        peer: Peer,
        upgraded: Option<Box<Upgraded>>,
        out: Outbound,
        account: Arc<Account>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let now = clock.wall();
        let label = upgraded::label(peer, id, upgraded.as_deref());
        Self {
            id,
            peer,
            proxied: OnceLock::new(),
            upgraded,
            started_at: now,
            started: Instant::now(),
            out,
            subs: Mutex::new(HashMap::new()),
            identity: RwLock::new(Identity {
                account,
                user: String::new(),
                by_key: false,
                token: String::new(),
                claims: None,
                name: String::new(),
                lang: String::new(),
                version: String::new(),
                label,
                protocol: 0,
                proxy: String::new(),
            }),
            echo: AtomicBool::new(true),
            headers: AtomicBool::new(false),
            rules: RwLock::new(None),
            has_rules: AtomicBool::new(false),
            reload: AtomicBool::new(false),
            reloading: Mutex::new(Some(Vec::new())),
            traced: AtomicBool::new(false),
            noted: AtomicBool::new(false),
            observed: AtomicBool::new(false),
            trace_options: Mutex::new(TraceOptions::default()),
            traffic: Traffic::default(),
            last_active_ns: AtomicI64::new(now.ns()),
            received: AtomicBool::new(false),
            clock,
            rtt_ns: AtomicI64::new(0),
            tls: OnceLock::new(),
            stalls: AtomicU64::new(0),
            starved: Starved::default(),
        }
    }

    /// Its number, never used twice by one server.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The other end of the link, whatever a proxy says of the client behind it.
    pub(super) fn direct_peer(&self) -> Peer {
        self.peer
    }

    /// Writes down where the client is as a proxy says it.
    pub(super) fn set_proxied(&self, peer: Peer) {
        // It says so once.
        let _ = self.proxied.set(peer);
    }

    /// What its upgrade said, where it speaks over WebSocket.
    pub(super) fn upgraded(&self) -> Option<&Upgraded> {
        self.upgraded.as_deref()
    }

    /// Its address and number, as log lines begin.
    pub(super) fn bare_label(&self) -> String {
        upgraded::label(self.peer, self.id, self.upgraded())
    }

    /// Tells the peer that the connection ends, where the link has words for that.
    pub(super) fn say_end(&self, payload: Option<Vec<u8>>) {
        self.out.say_end(payload);
    }

    /// Why a write failed, if one did; told once.
    fn take_write_error(&self) -> Option<String> {
        self.out.take_write_error()
    }

    /// When it connected.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn set_identity(&self, identity: Identity) {
        *self.identity.write() = identity;
    }

    pub(super) fn set_rtt_ns(&self, rtt_ns: i64) {
        self.rtt_ns.store(rtt_ns.max(1), Ordering::Relaxed);
    }

    pub(crate) fn set_active(&self, now: WallNs) {
        self.last_active_ns.store(now.ns(), Ordering::Relaxed);
    }

    pub(super) fn set_echo(&self, echo: bool) {
        self.echo.store(echo, Ordering::Relaxed);
    }

    /// Whether it takes and sends headers.
    pub(super) fn has_headers(&self) -> bool {
        self.headers.load(Ordering::Relaxed)
    }

    pub(super) fn set_headers(&self, headers: bool) {
        self.headers.store(headers, Ordering::Relaxed);
    }

    /// Whether the log shows its protocol.
    #[inline]
    pub(super) fn is_traced(&self) -> bool {
        self.traced.load(Ordering::Relaxed)
    }

    /// Whether the log shows what it sends, or the journal of the lab notes it.
    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    /// Has the journal of the lab note what it sends.
    pub(super) fn begin_journal(&self) {
        self.noted.store(true, Ordering::Relaxed);
        self.observed.store(true, Ordering::Relaxed);
    }

    pub(super) fn trace_options(&self) -> TraceOptions {
        *self.trace_options.lock()
    }

    pub(crate) fn set_rules(&self, rules: Option<Arc<DeliveryRules>>) {
        self.has_rules.store(rules.is_some(), Ordering::Release);
        *self.rules.write() = rules;
    }

    /// Number of subscriptions.
    pub(super) fn subscription_count(&self) -> usize {
        self.subs.lock().len()
    }

    pub(super) fn subscription(&self, sid: &[u8]) -> Option<Arc<Subscription>> {
        self.subs.lock().get(sid).cloned()
    }

    pub(super) fn add_subscription(&self, sub: Arc<Subscription>) {
        self.subs.lock().insert(sub.sid().into(), sub);
    }

    pub(crate) fn remove_subscription(&self, sub: &Arc<Subscription>) {
        let mut subs = self.subs.lock();
        if subs.get(sub.sid()).is_some_and(|listed| Arc::ptr_eq(listed, sub)) {
            subs.remove(sub.sid());
        }
    }

    pub(super) fn take_subscriptions(&self) -> HashMap<Box<[u8]>, Arc<Subscription>> {
        std::mem::take(&mut *self.subs.lock())
    }

    /// Queues protocol bytes; they leave at the end of the thread's turn.
    #[inline]
    pub(crate) fn queue(self: &Arc<Self>, write: impl FnOnce(&mut Vec<u8>)) -> Queued {
        worker::with(|worker| {
            let (queued, is_first) = self.out.push(worker.touched.thread(), write);
            if is_first {
                worker.touched.mark(Arc::clone(self) as Arc<dyn Receiver>);
            }
            queued
        })
    }

    /// Whether a reload is to be taken over.
    pub(super) fn must_reload(&self) -> bool {
        self.reload.load(Ordering::Acquire)
    }

    /// What to let go of when the reload is taken over.
    pub(super) fn take_reload(&self) -> Vec<ReloadGuard> {
        let mut reloading = self.reloading.lock();
        self.reload.store(false, Ordering::Release);
        reloading.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// No reload will be taken over any more.
    pub(super) fn end_reloads(&self) {
        *self.reloading.lock() = None;
    }

    pub(crate) fn set_outbound_limits(&self, limits: OutboundLimits) {
        self.out.set_limits(limits);
    }

    /// What waits to be sent to it.
    fn outbound(&self) -> &Outbound {
        &self.out
    }

    /// Takes the link out, so that nothing is written until [`put_link`](Self::put_link) brings one.
    fn take_link(&self) -> Option<Arc<Writer>> {
        self.out.take_link()
    }

    fn put_link(&self, link: Arc<Writer>) {
        self.out.put_link(link);
    }

    /// Whether so much waits for the peer that whoever can should pause.
    pub(super) fn is_pressured(&self) -> bool {
        self.out.is_pressured()
    }

    pub(super) fn has_news(&self) -> bool {
        self.out.has_news()
    }

    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Next {
        self.out.poll_next(context)
    }

    pub(super) fn poll_drained(&self, context: &mut Context<'_>) -> Poll<Drained> {
        self.out.poll_drained(context)
    }

    pub(super) fn blocked_size(&self) -> (usize, usize) {
        self.out.blocked_size()
    }

    pub(super) fn retry_write(&self) -> bool {
        self.out.retry_write()
    }

    pub(super) fn is_late(&self) -> bool {
        self.out.is_late()
    }

    pub(super) fn take_recovered(&self) -> Option<Duration> {
        self.out.take_recovered()
    }

    pub(super) fn release(&self) {
        self.end_reloads();
        self.out.release();
    }
}

impl Receiver for Client {
    fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    fn deliver(&self, sub: &Subscription, msg: &OutMsg<'_>, is_own: bool, thread: u32) -> Receipt {
        if is_own && !self.echo.load(Ordering::Relaxed) {
            return Receipt::CLOSED;
        }
        let mut rules = None;
        if self.has_rules.load(Ordering::Acquire) {
            rules.clone_from(&*self.rules.read());
            if rules.as_ref().is_some_and(|rules| rules.denies(msg.subject, sub.queue())) {
                return Receipt::CLOSED;
            }
        }
        let admission = sub.admit();
        if admission == Admission::No {
            return Receipt::CLOSED;
        }
        let headers = if self.has_headers() { msg.headers } else { &[] };
        let reply = (!msg.reply.is_empty()).then_some(msg.reply);
        let write = |out: &mut Vec<u8>| encode::msg(out, msg.subject, sub.sid(), reply, headers, msg.payload);
        let (queued, is_first) = self.out.push(thread, write);
        if queued.is_accepted() {
            self.traffic.sent(1, (headers.len() + msg.payload.len()) as u64);
            self.received.store(true, Ordering::Relaxed);
            if let (Some(rules), Some(reply)) = (rules, reply) {
                rules.expect_reply(reply);
            }
            if self.is_traced() {
                self.trace_delivery(sub.sid(), headers, *msg);
            }
        }
        Receipt { queued, is_first, is_last: admission == Admission::Last }
    }

    fn flush(&self, now: Option<WallNs>) -> bool {
        if self.received.load(Ordering::Relaxed) {
            self.received.store(false, Ordering::Relaxed);
            self.set_active(now.unwrap_or_else(|| self.clock.wall()));
        }
        self.out.flush()
    }

    fn end_subscription(&self, sub: &Arc<Subscription>) -> Arc<Account> {
        self.remove_subscription(sub);
        self.trace_ended(sub);
        self.account()
    }

    fn starve(&self, account: AccountId, subject: &[u8]) -> bool {
        self.starved.note(&self.out, account, subject)
    }

    fn take_starved(&self) -> Vec<DeliverSubject> {
        self.starved.take()
    }

    fn begin_stall(&self, read_bytes: usize) -> Duration {
        self.stalls.fetch_add(1, Ordering::Relaxed);
        self.out.stall_time(read_bytes)
    }

    fn is_stalling(&self) -> bool {
        self.out.is_stalling()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({} cid:{})", self.peer, self.id)
    }
}
