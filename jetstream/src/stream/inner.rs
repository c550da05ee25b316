//! What a stream's lock guards.

use super::batch::Batches;
use super::busy::Busy;
use super::commit::CommitState;
use super::expiry::Expiry;
use super::listening::DirectGets;
use super::purge::{PurgeRequest, Purging};
use super::removals::Removals;
use super::schedule::Schedules;
use super::write::{Acks, Dedupe, Lasts, Refusal, Rewrite, RollingUp};
use crate::clock::{Deadline, Deadlines, Now, WallNs};
use crate::config::{Retention, StorageType, StreamConfig};
use crate::consumer::{Consumers, Known, StreamCtx};
use crate::error::ApiError;
use crate::error::catalogue::STREAM_STORE_FAILED;
use crate::filter::Filter;
use crate::headers::header;
use crate::origin::Origins;
use crate::outbox::Outbox;
use crate::settings::{ConsumerSettings, EngineSettings, Tier, TieredLimits, Watched};
use crate::store::{Derived, Store, StoreError, StoreImage, msg_size_file, msg_size_memory};
use crate::stream::world::{AccountShare, World};
use crate::ttl::{Ttl, parse_ttl};
use std::sync::Arc;

/// The state of a stream.
pub(crate) struct Inner {
    pub(super) world: Arc<World>,
    pub(super) account: Arc<AccountShare>,
    pub(super) settings: Watched<EngineSettings>,
    pub(super) limits: Watched<TieredLimits>,
    /// What of the limits holds here: what held when the stream began, or was changed last.
    pub(super) tier: Tier,
    pub(crate) config: Arc<StreamConfig>,
    pub(crate) created_ns: i64,
    pub(crate) store: Box<dyn Store>,
    pub(crate) consumers: Consumers,
    /// In a box, since every commit that lets something leave changes it for an empty one.
    pub(crate) outbox: Box<Outbox>,
    /// What was found out for the request that is served.
    pub(crate) known: Known,
    /// What goes while a question is asked in slices.
    pub(super) removals: Removals,
    /// A purge that goes on in slices.
    pub(super) purging: Option<Box<Purging>>,
    /// What is known of the last messages under patterns, for the message that is taken.
    pub(super) lasts: Lasts,
    /// Why the last message that was refused was.
    pub(super) refused: Option<Refusal>,
    /// A message that rolls up many, while it is taken.
    pub(super) rolling_up: Option<Box<RollingUp>>,
    /// The configuration has changed, and what the stream holds is brought within its limits in slices.
    pub(super) is_tightening: bool,
    /// When the lock was taken.
    pub(crate) now: Now,
    pub(crate) closed: bool,
    /// The stream is about to be closed: it takes nothing more, and what it did is made as durable as configured.
    pub(super) is_ending: bool,
    /// Told while the lock is held for long.
    pub(super) busy: Busy,
    pub(super) acks: Acks,
    pub(super) dedupe: Dedupe,
    pub(super) expiry: Expiry,
    pub(super) rewrite: Rewrite,
    pub(super) batches: Batches,
    pub(super) schedules: Schedules,
    /// The `Nats-Msg-Id` of the last message, empty where it had none.
    pub(super) last_msg_id: Vec<u8>,
    /// Subject of a message that is being removed; kept for its memory.
    pub(super) scratch: Vec<u8>,
    pub(super) gets: DirectGets,
    /// The first sequence that was asked for when the store was opened: an update of it moves nothing.
    pub(super) begun_at_seq: u64,
    /// What the stream takes from others.
    pub(crate) origins: Origins,
    /// What is not as durable as configured.
    pub(super) commit: CommitState,
    /// Bytes that the account has been charged for.
    charged_bytes: u64,
    timer: u64,
    armed: Deadlines,
}

impl Inner {
    pub(super) fn new(
        world: &Arc<World>,
        account: &Arc<AccountShare>,
        config: StreamConfig,
        created_ns: i64,
        store: Box<dyn Store>,
        timer: u64,
    ) -> Self {
        let mut consumers = Consumers::new(consumer_settings(world, account));
        consumers.count_in(Arc::clone(&account.own));
        let mut inner = Self {
            acks: Acks::new(&config.name, &world.config.domain),
            dedupe: Dedupe::new(config.duplicate_window_ns),
            rewrite: Rewrite::new(&config),
            batches: Batches::default(),
            schedules: Schedules::default(),
            settings: world.settings.watch(),
            limits: account.limits.watch(),
            tier: account.limits.load().tier(),
            world: world.clone(),
            account: account.clone(),
            begun_at_seq: config.first_seq,
            config: Arc::new(config),
            created_ns,
            store,
            consumers,
            outbox: Box::default(),
            known: Known::default(),
            removals: Removals::default(),
            purging: None,
            is_tightening: false,
            lasts: Lasts::default(),
            refused: None,
            rolling_up: None,
            now: Now::new(world.clock.clone()),
            closed: false,
            is_ending: false,
            busy: Busy::default(),
            expiry: Expiry::default(),
            last_msg_id: Vec::new(),
            scratch: Vec::new(),
            gets: DirectGets::default(),
            origins: Origins::default(),
            commit: CommitState::default(),
            charged_bytes: 0,
            timer,
            armed: Deadlines::default(),
        };
        inner.recover();
        inner.follow_up();
        inner
    }

    /// What it counts for.
    pub(crate) fn tier(&self) -> Tier {
        self.tier
    }

    /// Consumers, and the context that they work with.
    pub(crate) fn parts(&mut self) -> (&mut Consumers, StreamCtx<'_>) {
        let ctx = StreamCtx {
            account: self.account.id,
            config: &self.config,
            store: &mut *self.store,
            outbox: &mut self.outbox,
            host: &*self.world.host,
            now: &self.now,
            known: &self.known,
        };
        (&mut self.consumers, ctx)
    }

    /// What a message with such parts counts for.
    #[inline]
    pub(super) fn msg_size(&self, subject: &[u8], headers: &[u8], payload: &[u8]) -> u64 {
        let (subject_len, headers_len, payload_len) = (subject.len(), headers.len(), payload.len());
        match self.config.storage {
            StorageType::Memory => msg_size_memory(subject_len, headers_len, payload_len),
            StorageType::File => msg_size_file(subject_len, headers_len, payload_len),
        }
    }

    /// What messages are stamped with.
    pub(super) fn stamp_ns(&self) -> i64 {
        self.now.wall().ns()
    }

    /// Rebuilds from the stored messages what is not stored itself: ids in the dedupe window, TTLs, the age check.
    fn recover(&mut self) {
        let expiries = self.store.take_recovered_expiries();
        if self.config.allow_msg_ttl {
            self.expiry = Expiry::of(expiries);
        }
        if let Err(error) = self.recover_batch() {
            tracing::error!(stream = %self.config.name, %error, "cannot tell whether a batch is whole");
        }
        // A crash may have come between a message and the removals that follow from it, and a directory of another
        // server may hold more than it says.
        if let Err(error) = self.enforce_recovered() {
            tracing::error!(stream = %self.config.name, %error, "cannot hold a stream against its limits");
        }
        self.recover_schedules();
        self.recover_origins();
        if let Err(error) = self.expire_recovered() {
            tracing::error!(stream = %self.config.name, %error, "cannot remove what expired while it was not served");
        }
        let state = self.store.state();
        if state.msgs > 0 {
            self.expiry.may_age(state.first_ts_ns, self.config.max_age_ns);
        }
        self.reload_last_msg_id();
        if self.dedupe.window_ns() <= 0 {
            return;
        }
        let window_start_ns = self.stamp_ns().saturating_sub(self.dedupe.window_ns());
        let known = self.store.recovered();
        let holds = known.ids_window_ns.is_none_or(|window_ns| window_ns == self.dedupe.window_ns());
        let known_from = known.ids_from.filter(|_| holds).unwrap_or(0);
        if known_from > self.store.totals().last_seq {
            return;
        }
        let Ok(first) = self.store.seq_at_time(window_start_ns) else { return };
        let mut from = first.max(known_from);
        // Damaged messages are passed over: an id is not known then.
        while let Ok(Some(msg)) = self.store.next(&Filter::All, from) {
            let seq = msg.seq;
            from = seq.saturating_add(1);
            if let Some(id) = header(msg.headers, b"Nats-Msg-Id") {
                // It came before now, whatever the clock showed then.
                let came = self.now.elapsed_at(WallNs::from_ns(msg.ts_ns)).min(self.now.elapsed());
                self.dedupe.remember(id, seq, came);
            }
        }
    }

    /// Reads the id of the last message from the store.
    pub(super) fn reload_last_msg_id(&mut self) {
        let last_seq = self.store.totals().last_seq;
        self.last_msg_id.clear();
        if let Ok(Some(msg)) = self.store.load(last_seq) {
            self.last_msg_id.extend_from_slice(header(msg.headers, b"Nats-Msg-Id").unwrap_or_default());
        }
    }

    /// Removes a message whose subject is known. Says whether it was there.
    pub(super) fn remove(&mut self, seq: u64, subject: &[u8], erase: bool) -> Result<bool, StoreError> {
        if self.store.remove(seq, Some(subject), erase)?.is_none() {
            return Ok(false);
        }
        self.touch();
        self.is_gone(seq, subject);
        Ok(true)
    }

    /// Tells of a message that the store does not hold any more.
    #[inline]
    pub(super) fn is_gone(&mut self, seq: u64, subject: &[u8]) {
        self.origins_lose(|_, told| told == seq);
        self.expiry.forget(seq);
        self.removals.note(seq, subject);
        self.schedules.forget(seq);
        if !self.consumers.is_empty() {
            let (consumers, mut ctx) = self.parts();
            consumers.on_removed(&mut ctx, seq, subject);
        }
    }

    /// Removes a message. Says whether it was there.
    pub(crate) fn remove_seq(&mut self, seq: u64, erase: bool) -> Result<bool, StoreError> {
        self.commit.removed();
        let mut subject = std::mem::take(&mut self.scratch);
        subject.clear();
        let held = match self.store.load(seq) {
            Ok(Some(msg)) => {
                subject.extend_from_slice(msg.subject);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        let removed = match held {
            Ok(true) => self.remove(seq, &subject, erase),
            other => other,
        };
        self.scratch = subject;
        removed
    }

    /// Draws the consequences of what was done: messages that no consumer retains go, the account is charged.
    #[inline]
    pub(super) fn follow_up(&mut self) {
        if self.closed {
            return;
        }
        if self.consumers.let_something_go() {
            self.remove_let_go();
        }
        let bytes = self.store.totals().bytes;
        if bytes != self.charged_bytes {
            self.charge(bytes);
        }
    }

    /// Removes messages that no consumer retains.
    #[inline(never)]
    fn remove_let_go(&mut self) {
        if self.consumers.take_deserted() {
            self.drop_all();
        }
        while let Some(seq) = self.consumers.take_removable() {
            if self.config.retention == Retention::Limits {
                continue;
            }
            if let Err(error) = self.remove_seq(seq, false) {
                tracing::error!(stream = %self.config.name, seq, %error, "cannot remove an acknowledged message");
                self.consumers.remove_later(seq);
                break;
            }
        }
    }

    /// Nobody waits for anything that the stream holds.
    #[cold]
    fn drop_all(&mut self) {
        if let Err(error) = self.purge_here(&PurgeRequest::default()) {
            tracing::error!(stream = %self.config.name, %error, "cannot remove what nobody waits for");
            self.fail_half_way(error);
        }
    }

    /// Looks for a part of what nobody waits for any more, and removes it. Says whether there is more.
    pub(crate) fn sweep(&mut self) -> bool {
        if self.closed {
            return false;
        }
        let (consumers, mut ctx) = self.parts();
        let more = consumers.sweep(&mut ctx);
        self.follow_up();
        more
    }

    fn charge(&mut self, bytes: u64) {
        let delta = signed(bytes) - signed(self.charged_bytes);
        self.account.usage.add(self.config.storage, delta);
        self.account.used.note(self.tier);
        self.world.usage.add(self.config.storage, delta);
        self.charged_bytes = bytes;
    }

    /// Tells the timers when this stream next has something to do, where that is sooner than they know. A later deadline than
    /// the armed one needs no arming: the tick at the armed one finds out.
    pub(super) fn arm(&mut self) {
        if !self.takes_more() {
            return;
        }
        let Deadlines { wall, elapsed } = self.consumers.next_deadlines();
        let armed = &mut self.armed;
        let is_sooner = armed.hasten(self.dedupe.deadline().map(Deadline::Elapsed))
            | armed.hasten(self.batches.deadline().map(Deadline::Elapsed))
            | armed.hasten(self.commit.sync_due().map(Deadline::Elapsed))
            | armed.hasten(self.origins.deadline().map(Deadline::Elapsed))
            | armed.hasten(self.schedules.deadline())
            | armed.hasten(self.expiry.deadline())
            | armed.hasten(wall.map(Deadline::Wall))
            | armed.hasten(elapsed.map(Deadline::Elapsed));
        if is_sooner {
            for next in self.world.timers.arm(self.timer, self.armed) {
                self.world.host.wake_at(next);
            }
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        if self.closed {
            return;
        }
        // The timers forgot this stream when they called.
        self.armed = Deadlines::default();
        if self.is_ending {
            return;
        }
        self.expire();
        self.fire_schedules();
        self.dedupe.forget_old(self.now.elapsed());
        self.give_up_batches();
        self.commit.note_interval(self.now.elapsed());
        let (consumers, mut ctx) = self.parts();
        consumers.tick(&mut ctx);
        self.follow_up();
    }

    /// Feeds the consumers for which something came.
    pub(super) fn feed(&mut self) {
        if !self.takes_more() || self.purging.is_some() || !self.consumers.wants_feed() {
            return;
        }
        self.now.renew();
        let (consumers, mut ctx) = self.parts();
        consumers.feed(&mut ctx);
        self.follow_up();
    }

    pub(super) fn pump(&mut self, budget: usize) {
        // Consumers that lag would get what is purged.
        if self.purging.is_some() || self.is_ending {
            return;
        }
        let (consumers, mut ctx) = self.parts();
        consumers.pump(&mut ctx, budget);
        self.follow_up();
    }

    /// Whether the stream goes on: it takes messages and acknowledgements, delivers, and its timers fire.
    pub(crate) fn takes_more(&self) -> bool {
        !self.closed && !self.is_ending
    }

    /// Ends the stream's work: it takes no messages and arms no timers from here on. All that it did is as durable as
    /// configured.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.batches = Batches::default();
        self.world.timers.unregister(self.timer);
        self.charge(0);
    }

    /// What the next start need not derive from the messages.
    pub(super) fn derived(&self) -> Derived {
        let expiries = self.config.allow_msg_ttl.then(|| self.expiry.all());
        Derived { expiries, ..self.derived_ids() }
    }

    /// What the store holds, all of which was flushed; `None` where its messages have to be read for that.
    pub(crate) fn image(&mut self) -> Result<Option<StoreImage>, StoreError> {
        let derived = self.derived();
        self.store.image(derived)
    }

    /// The part of it that is about the ids of messages.
    pub(super) fn derived_ids(&self) -> Derived {
        let ids_from = self.dedupe.first_seq().unwrap_or(self.store.totals().last_seq + 1);
        Derived { ids_from: Some((ids_from, self.dedupe.window_ns())), expiries: None }
    }

    /// Closes the files of a stream that stays on disk.
    pub(crate) fn close_store(&mut self) -> Result<(), StoreError> {
        let derived = self.derived();
        self.store.note_derived(derived);
        self.close_origins();
        if let Some(noted) = self.schedules_to_note() {
            self.store.note_schedules(noted);
        }
        self.store.close()
    }

    /// How many timers the stream's messages have armed.
    #[cfg(test)]
    pub(crate) fn expiries_armed(&self) -> usize {
        self.expiry.armed()
    }

    /// Notes when a message with these headers goes, where it goes by its own TTL.
    pub(super) fn set_expiry(&mut self, seq: u64, ts_ns: i64, ttl: Ttl) {
        if let Some(at) = ttl.expiry(ts_ns).filter(|_| self.config.allow_msg_ttl) {
            self.expiry.set(seq, at);
        }
        self.expiry.may_age(ts_ns, self.config.max_age_ns);
    }

    /// Reads the TTLs of messages again, of `most` from a sequence on: the stream begins to honour them. Says where to go
    /// on; `None` where that was the end.
    pub(crate) fn reload_ttls(&mut self, mut from: u64, most: usize) -> Option<u64> {
        for _ in 0..most {
            let Ok(Some(msg)) = self.store.next(&Filter::All, from) else { return None };
            let (seq, ts_ns) = (msg.seq, msg.ts_ns);
            from = seq + 1;
            let ttl = header(msg.headers, b"Nats-TTL").and_then(parse_ttl).unwrap_or(Ttl::Unset);
            if ttl != Ttl::Unset {
                self.set_expiry(seq, ts_ns, ttl);
            }
        }
        Some(from)
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What a client is told when the store refuses.
pub(super) fn store_error(error: &StoreError) -> ApiError {
    STREAM_STORE_FAILED.because(error)
}

pub(crate) fn consumer_settings(world: &World, account: &AccountShare) -> ConsumerSettings {
    ConsumerSettings {
        account_name: account.name.clone(),
        domain: world.config.domain.clone(),
        scoped_acks: world.config.scoped_acks,
        max_pending_bytes: world.config.max_pending_bytes,
        seed: world.ids.seed(),
        server: world.settings.clone(),
        account: account.limits.clone(),
    }
}

impl StorageType {
    /// Whether it is memory.
    #[must_use]
    pub fn is_memory(self) -> bool {
        self == Self::Memory
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::TestEngine;

    #[test]
    fn a_timer_goes_with_its_message() {
        let engine = TestEngine::new().unwrap();
        let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_msg_ttl":true,
            "max_msgs_per_subject":1}"#;
        engine.request("STREAM.CREATE.S", config);
        let armed = || engine.engine.stream(engine.account, "S").unwrap().lock().expiries_armed();
        for _ in 0..10 {
            engine.publish("s.a", &[("Nats-TTL", "60")], "x");
        }
        engine.publish("s.b", &[("Nats-TTL", "60")], "x");
        assert_eq!(armed(), 2, "replaced messages have no timers");
        engine.request("STREAM.MSG.DELETE.S", r#"{"seq":11}"#);
        assert_eq!(armed(), 1);
        engine.request("STREAM.PURGE.S", "");
        assert_eq!(armed(), 0);
    }
}
