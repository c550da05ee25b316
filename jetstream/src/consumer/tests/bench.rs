//! A stream reduced to what its consumers see of it.

use crate::clock::{Clock as _, ManualClock, Now, WallNs};
use crate::config::{ConsumerAction, ConsumerConfig, Retention, StreamConfig};
use crate::consumer::{ConsumerInfo, Consumers, Known, StreamCtx};
use crate::error::ApiError;
use crate::message::{AccountId, OutMsg};
use crate::outbox::Outbox;
use crate::router::{Delivery, Router};
use crate::settings::ConsumerSettings;
use crate::store::memory::MemoryStore;
use crate::store::{Msg, Store};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) const SECOND: u64 = 1_000_000_000;

/// Somebody listens on the subjects that it holds; with `$all`, on all.
#[derive(Default)]
pub(super) struct Listeners(Mutex<HashSet<Vec<u8>>>);

impl Router for Listeners {
    fn deliver(&self, _: AccountId, _: OutMsg<'_>) -> Delivery {
        Delivery::Sent
    }

    fn has_interest(&self, _: AccountId, subject: &[u8], _: Option<&[u8]>) -> bool {
        let held = self.0.lock();
        held.contains(subject) || (subject.starts_with(b"$JS.EVENT") && held.contains(&b"$events"[..]))
    }

    fn has_exact_interest(&self, account: AccountId, subject: &[u8], _: &[u8]) -> bool {
        self.has_interest(account, subject, None)
    }
}

/// A message that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) reply: String,
    pub(super) headers: String,
    pub(super) payload: String,
}

impl Left {
    /// The first line of the headers.
    pub(super) fn status(&self) -> &str {
        self.headers.split("\r\n").next().unwrap().trim_start_matches("NATS/1.0").trim()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Deliveries, stream sequence, consumer sequence and pending count of a delivery.
    pub(super) fn meta(&self) -> (u64, u64, u64, u64) {
        let part = |at: usize| self.reply.split('.').nth(4 + at).unwrap().parse().unwrap();
        (part(0), part(1), part(2), part(4))
    }
}

pub(super) struct Bench {
    pub(super) consumers: Consumers,
    pub(super) store: MemoryStore,
    pub(super) outbox: Outbox,
    pub(super) listeners: Listeners,
    pub(super) config: StreamConfig,
    pub(super) clock: Arc<ManualClock>,
    now: Now,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::at(Arc::new(ManualClock::new(WallNs::from_ns(1_700_000_000 * SECOND as i64))))
    }

    pub(super) fn at(clock: Arc<ManualClock>) -> Self {
        let config = StreamConfig {
            name: "S".into(),
            subjects: vec!["s.>".into()],
            max_consumers: -1,
            max_msgs_per_subject: -1,
            num_replicas: 1,
            ..StreamConfig::default()
        };
        let settings = ConsumerSettings { account_name: "$G".into(), ..ConsumerSettings::default() };
        Self {
            consumers: Consumers::new(settings),
            store: MemoryStore::default(),
            outbox: Outbox::new(),
            listeners: Listeners::default(),
            config,
            now: Now::new(clock.clone()),
            clock,
        }
    }

    pub(super) fn with_retention(retention: Retention) -> Self {
        let mut bench = Self::new();
        bench.config.retention = retention;
        bench
    }

    pub(super) fn with<R>(&mut self, act: impl FnOnce(&mut Consumers, &mut StreamCtx<'_>) -> R) -> R {
        self.now.renew();
        let mut ctx = StreamCtx {
            account: AccountId(1),
            config: &self.config,
            store: &mut self.store,
            outbox: &mut self.outbox,
            host: &self.listeners,
            now: &self.now,
            known: &Known::default(),
        };
        act(&mut self.consumers, &mut ctx)
    }

    pub(super) fn listen(&mut self, subject: &str) {
        self.interest(subject, true);
        self.feed();
    }

    /// Somebody listens on `subject` from now on, or nobody any more; nothing is fed.
    pub(super) fn interest(&mut self, subject: &str, present: bool) {
        let mut listeners = self.listeners.0.lock();
        if present {
            listeners.insert(subject.as_bytes().to_vec());
        } else {
            listeners.remove(subject.as_bytes());
        }
        drop(listeners);
        self.with(|consumers, ctx| consumers.interest_changed(ctx, subject.as_bytes(), None, present));
    }

    /// Somebody listens on an inbox from now on.
    pub(super) fn hear(&mut self, inbox: &str) {
        self.listeners.0.lock().insert(inbox.as_bytes().to_vec());
    }

    pub(super) fn unlisten(&mut self, subject: &str) {
        self.interest(subject, false);
        self.feed();
    }

    pub(super) fn create(&mut self, json: &str) -> Result<ConsumerInfo, ApiError> {
        self.create_as(json, ConsumerAction::CreateOrUpdate)
    }

    pub(super) fn create_as(&mut self, json: &str, action: ConsumerAction) -> Result<ConsumerInfo, ApiError> {
        let mut config = ConsumerConfig::default();
        jetkv_go_compat::json::decode_strict(json.as_bytes(), &mut config).unwrap();
        let info = self.with(|consumers, ctx| consumers.create(ctx, config, action, false, None))?;
        self.pump();
        Ok(info.made().unwrap().info)
    }

    pub(super) fn info(&mut self, name: &str) -> ConsumerInfo {
        self.with(|consumers, ctx| consumers.info_by_name(ctx, name)).unwrap()
    }

    pub(super) fn feed(&mut self) {
        self.with(Consumers::feed);
    }

    pub(super) fn pump(&mut self) {
        self.feed();
        while self.with(|consumers, ctx| consumers.pump(ctx, 100)) {}
        self.remove_acked();
    }

    pub(super) fn publish(&mut self, subject: &str, payload: &str) -> u64 {
        self.publish_with(subject, "", payload)
    }

    pub(super) fn publish_with(&mut self, subject: &str, headers: &str, payload: &str) -> u64 {
        let seq = self.store_with(subject, headers, payload);
        self.pump();
        seq
    }

    /// As [`publish`](Self::publish), in the middle of a turn of work.
    pub(super) fn store_only(&mut self, subject: &str, payload: &str) -> u64 {
        self.store_with(subject, "", payload)
    }

    fn store_with(&mut self, subject: &str, headers: &str, payload: &str) -> u64 {
        let msg = Msg {
            seq: self.store.state().last_seq + 1,
            ts_ns: self.clock.wall().ns(),
            subject: subject.as_bytes(),
            headers: headers.as_bytes(),
            payload: payload.as_bytes(),
        };
        self.store.append(&msg).unwrap();
        self.with(|consumers, ctx| consumers.on_stored(ctx, &msg));
        msg.seq
    }

    pub(super) fn remove(&mut self, seq: u64) {
        let subject = self.store.load(seq).unwrap().unwrap().subject.to_vec();
        self.store.remove(seq, None, false).unwrap();
        self.with(|consumers, ctx| consumers.on_removed(ctx, seq, &subject));
    }

    fn remove_acked(&mut self) {
        while let Some(seq) = self.consumers.take_removable() {
            if self.store.load(seq).unwrap().is_some() {
                self.remove(seq);
            }
        }
    }

    pub(super) fn control(&mut self, subject: &str, reply: &str, payload: &str) {
        self.take_in(subject, reply, payload);
        self.pump();
    }

    /// As [`control`](Self::control), in the middle of a turn of work.
    pub(super) fn take_in(&mut self, subject: &str, reply: &str, payload: &str) {
        self.with(|consumers, ctx| {
            consumers.control(ctx, subject.as_bytes(), reply.as_bytes(), b"", payload.as_bytes())
        });
    }

    /// Asks for messages; somebody listens on `inbox` from then on.
    pub(super) fn next(&mut self, consumer: &str, inbox: &str, payload: &str) {
        self.listeners.0.lock().insert(inbox.as_bytes().to_vec());
        self.control(&format!("$JS.API.CONSUMER.MSG.NEXT.S.{consumer}"), inbox, payload);
    }

    pub(super) fn advance(&mut self, by_ns: u64) {
        let until = self.clock.elapsed().plus(by_ns);
        loop {
            let next = self.consumers.next_deadlines();
            let (now, wall) = (self.clock.elapsed(), self.clock.wall());
            let by_wall = next.wall.map(|at| now.plus(u64::try_from(at.since(wall)).unwrap_or(0)));
            let at = by_wall.into_iter().chain(next.elapsed).min();
            let Some(at) = at.filter(|at| *at <= until) else { break };
            self.clock.advance_ns(at.since(now));
            self.tick();
        }
        self.clock.advance_ns(until.since(self.clock.elapsed()));
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        self.with(|consumers, ctx| consumers.tick(ctx));
        self.pump();
    }

    /// What left since the last call.
    pub(super) fn left(&mut self) -> Vec<Left> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let left = self
            .outbox
            .iter()
            .map(|msg| Left {
                to: text(msg.to),
                subject: text(msg.subject),
                reply: text(msg.reply),
                headers: text(msg.headers),
                payload: text(msg.payload),
            })
            .collect();
        self.outbox.clear();
        left
    }

    /// Payloads that left since the last call.
    pub(super) fn payloads(&mut self) -> Vec<String> {
        self.left().into_iter().map(|msg| msg.payload).collect()
    }

    pub(super) fn statuses(&mut self) -> Vec<String> {
        self.left().iter().map(|msg| msg.status().to_owned()).collect()
    }
}
