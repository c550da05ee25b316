//! How consumers come, change and go.

use super::info::ConsumerInfo;
use super::set::Consumers;
use super::staging::{Change, Staged};
use super::survey::Ask;
use super::sweep::Sweep;
use super::timers::{Armed, Kind};
use super::trie::Slot;
use super::{ACK, Consumer, Position, StreamCtx, part};
use crate::clock::ElapsedNs;
use crate::config::consumer_rules as rules;
use crate::config::{ConsumerAction, ConsumerConfig, DeliverPolicy, Retention, StreamConfig};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::store::consumer_state::ConsumerState;
use crate::store::{StoreError, Upcoming};
use jetkv_go_compat::GoTime;

/// Length of a generated name.
const NAME_LEN: usize = 8;

/// A consumer that was created or changed.
pub struct Created {
    /// What there is to say of it.
    pub info: ConsumerInfo,
    /// What it had before, where it was there.
    pub was: Option<Box<ConsumerConfig>>,
}

impl Consumers {
    /// Creates a consumer, or changes the one of that name, for which something may have to be staged.
    ///
    /// # Errors
    /// What nats-server would say.
    pub fn create(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        mut config: ConsumerConfig,
        action: ConsumerAction,
        pedantic: bool,
        staged: Option<Staged>,
    ) -> Result<Change<Created>, ApiError> {
        let named = if config.is_durable() { &config.durable } else { &config.name };
        let existing = self.names.get(named.as_str()).copied();
        if let Some(old) = existing.and_then(|slot| self.get(slot)) {
            // A pause is changed by its own request only.
            config.pause_until = old.config.pause_until;
        }
        rules::stamp_metadata(&mut config);
        rules::set_defaults(&mut config, ctx.config, &self.shared.settings, pedantic)?;
        rules::check(&config, ctx.config, &self.shared.settings, ctx.known.filters.as_ref())?;
        let was = existing.and_then(|slot| self.get(slot)).map(|consumer| Box::new(consumer.config.clone()));
        let change = match existing {
            Some(slot) => match self.change(ctx, slot, config, action, staged)?.or_first() {
                Ok(()) => Change::Made(slot),
                Err(first) => first,
            },
            None if action == ConsumerAction::Update => return Err(errors::CONSUMER_DOES_NOT_EXIST.error()),
            None => self.add_new(ctx, config, staged)?,
        };
        let slot = match change.or_first() {
            Ok(slot) => slot,
            Err(first) => return Ok(first),
        };
        let info = self.info(ctx, slot).ok_or_else(|| errors::CONSUMER_NOT_FOUND.error())?;
        Ok(Change::Made(Created { info, was }))
    }

    /// What there is to say of a consumer.
    pub fn info_by_name(&mut self, ctx: &mut StreamCtx<'_>, name: &str) -> Option<ConsumerInfo> {
        let slot = self.names.get(name).copied()?;
        self.info(ctx, slot)
    }

    fn info(&mut self, ctx: &mut StreamCtx<'_>, slot: Slot) -> Option<ConsumerInfo> {
        let (_, mut out) = part(ctx);
        self.with(slot, |consumer, shared| consumer.info(shared, &mut out))
    }

    /// Whether there is a consumer of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// A consumer's configuration.
    #[must_use]
    pub fn config(&self, name: &str) -> Option<&ConsumerConfig> {
        self.get(*self.names.get(name)?).map(|consumer| &consumer.config)
    }

    /// Names in order, internal consumers left out.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names_of(false)
    }

    /// Names of internal consumers, in order.
    pub fn internal_names(&self) -> impl Iterator<Item = &str> {
        self.names_of(true)
    }

    fn names_of(&self, internal: bool) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .filter(move |(_, slot)| {
                self.get(**slot).is_some_and(|consumer| consumer.is_internal() == internal)
            })
            .map(|(name, _)| &**name)
    }

    /// Deletes a consumer; `Ok(false)` where there is none.
    ///
    /// # Errors
    /// Its files cannot be removed; it is still there then.
    pub fn delete(&mut self, ctx: &mut StreamCtx<'_>, name: &str) -> Result<bool, ApiError> {
        let Some(slot) = self.names.get(name).copied() else { return Ok(false) };
        self.discard(slot).map_err(|error| errors::STREAM_GENERAL_ERROR.because(error))?;
        self.remove(ctx, slot, true);
        self.find_removable(ctx);
        self.sweep(ctx);
        Ok(true)
    }

    /// Takes away a consumer that is new and could not be kept, with whatever of its files can be.
    pub fn undo_create(&mut self, ctx: &mut StreamCtx<'_>, name: &str) {
        let Some(slot) = self.names.get(name).copied() else { return };
        self.expire(ctx, slot);
        self.find_removable(ctx);
    }

    /// Tells that a consumer is paused, if it is.
    pub(crate) fn advise_if_paused(&mut self, ctx: &mut StreamCtx<'_>, name: &str) {
        let Some(slot) = self.names.get(name).copied() else { return };
        self.with(slot, |consumer, shared| {
            if consumer.is_paused(ctx.now) {
                let (_, mut out) = part(ctx);
                consumer.advise_paused(shared, &mut out);
            }
            Some(())
        });
    }

    /// Takes away what is kept of a consumer.
    fn discard(&mut self, slot: Slot) -> Result<(), StoreError> {
        let discarded = self.with(slot, |consumer, shared| match &mut shared.store {
            Some(kept) if consumer.is_kept() => kept.remove(&consumer.name),
            _ => Ok(()),
        });
        discarded.unwrap_or(Ok(()))
    }

    /// Deletes a consumer that nobody asked to be deleted. Files that cannot be removed bring it back with the next
    /// start, where it goes again.
    pub(super) fn expire(&mut self, ctx: &mut StreamCtx<'_>, slot: Slot) {
        if let Err(error) = self.discard(slot) {
            tracing::warn!(stream = %ctx.config.name, %error, "cannot remove an inactive consumer");
        }
        self.remove(ctx, slot, true);
    }

    /// Deletes every consumer because the stream, with its files, is deleted; their requests are answered, and
    /// advisories are sent.
    pub fn delete_all(&mut self, ctx: &mut StreamCtx<'_>) {
        let slots: Vec<Slot> = self.names.values().copied().collect();
        for slot in slots {
            self.remove(ctx, slot, true);
        }
        self.shared.acked.clear();
        self.sweeps.clear();
        self.is_deserted = false;
    }

    /// Takes the pin from a group's client. `None` where there is no such consumer.
    ///
    /// # Errors
    /// The consumer has no such group.
    pub fn unpin(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        name: &str,
        group: &str,
    ) -> Option<Result<(), ApiError>> {
        let slot = self.names.get(name).copied()?;
        let outcome = self.with(slot, |consumer, shared| {
            if !consumer.config.priority_groups.iter().any(|held| held == group) {
                return Err(errors::CONSUMER_INVALID_PRIORITY_GROUP.error());
            }
            consumer.unpin(shared);
            let (_, mut out) = part(ctx);
            consumer.advise_unpinned(shared, &mut out, group, "admin");
            consumer.queue_for_pump(shared);
            Ok(())
        });
        self.find_removable(ctx);
        outcome
    }

    /// Sets a consumer back to `seq`, or to its ack floor with 0, and forgets all deliveries. Returns the sequence
    /// that it goes on at; `None` where there is no such consumer.
    ///
    /// # Errors
    /// The deliver policy does not allow that sequence, or it cannot be kept.
    pub fn reset(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        name: &str,
        seq: u64,
        staged: Option<Staged>,
    ) -> Option<Result<Change<(u64, ConsumerInfo)>, ApiError>> {
        let slot = self.names.get(name).copied()?;
        let known = ctx.known;
        let (store, mut out) = part(ctx);
        let outcome = self.with(slot, |consumer, shared| {
            let refuse = |reason: &str| Err(errors::CONSUMER_INVALID_RESET.because(reason));
            let config = &consumer.config;
            let seq = match config.deliver_policy {
                // What is acknowledged while that is staged is delivered again.
                _ if seq == 0
                    && let Some(Staged::Beginning(_, seq)) = &staged =>
                {
                    *seq
                }
                _ if seq == 0 => consumer.floor.sseq.max(consumer.settled_sseq) + 1,
                DeliverPolicy::All => seq,
                DeliverPolicy::ByStartSequence if seq < config.opt_start_seq => {
                    return refuse("below start seq");
                }
                DeliverPolicy::ByStartSequence => seq,
                DeliverPolicy::ByStartTime => {
                    let time_ns = config.opt_start_time.map_or(0, GoTime::ns);
                    if seq < store.seq_at_time(time_ns).unwrap_or(0) {
                        return refuse("below start time");
                    }
                    seq
                }
                _ => return refuse("not allowed"),
            };
            let coming = match consumer.stands_at(seq.max(1)) {
                true => None,
                false => match known.coming(store, &consumer.filter, seq.max(1)) {
                    Ok(Ok(coming)) => Some(coming),
                    Ok(Err(ask)) => return Ok(Change::Stage(ask.into())),
                    Err(error) => return refuse(&error.to_string()),
                },
            };
            match consumer.keep_beginning(shared, seq, staged).map(Change::or_first) {
                Ok(Ok(())) => {}
                Ok(Err(first)) => return Ok(first),
                Err(error) => return refuse(&error.to_string()),
            }
            consumer.skip = None;
            consumer.begin_at(seq);
            if let Some(coming) = coming {
                (consumer.num_pending, consumer.upcoming) = (coming.count, coming.upcoming);
            }
            shared.timers.disarm(&mut consumer.armed, slot, Kind::AckWait);
            consumer.last_delivered = None;
            consumer.last_acked = None;
            consumer.mark_dirty(shared, out.now);
            consumer.queue_for_pump(shared);
            Ok(Change::Made((seq, consumer.info(shared, &mut out))))
        });
        if ctx.config.retention == Retention::Interest
            && matches!(outcome, Some(Ok(Change::Made(_))))
            && let Some(consumer) = self.get(slot)
        {
            self.sweeps.extend(Sweep::passed_by(consumer, ctx.store));
            self.sweep(ctx);
        }
        outcome
    }

    /// Brings back a consumer that was kept.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn restore(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        name: &str,
        created_ns: i64,
        config: ConsumerConfig,
        state: Option<&ConsumerState>,
    ) -> Result<(), ApiError> {
        let mut consumer =
            Consumer::new(Slot::MAX, name, created_ns, config, self.answers_to(ctx.config, name));
        let begun = consumer.begin(ctx, state);
        let begun = begun.map_err(|error| errors::CONSUMER_STORE_FAILED.because(error))?;
        debug_assert!(begun.is_ok(), "nothing is asked when a consumer is brought back");
        consumer.slot = self.next_slot();
        self.install(ctx, consumer);
        Ok(())
    }

    fn next_slot(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            Slot::try_from(self.table.len() - 1).unwrap_or(Slot::MAX)
        })
    }

    pub(super) fn add_new(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        config: ConsumerConfig,
        staged: Option<Staged>,
    ) -> Result<Change<Slot>, ApiError> {
        self.check_room(ctx.config, &config)?;
        self.check_workqueue(ctx.config, &config)?;
        rules::check_name_length(&config)?;
        let name = if config.is_durable() {
            config.durable.clone()
        } else if config.name.is_empty() {
            loop {
                let name = self.shared.random_name(NAME_LEN);
                if !self.contains(&name) {
                    break name;
                }
            }
        } else {
            config.name.clone()
        };
        let slot = self.next_slot();
        let created_ns = match &staged {
            Some(Staged::Config(_, created_ns)) => *created_ns,
            _ => ctx.now.wall().ns(),
        };
        let mut consumer = Consumer::new(slot, &name, created_ns, config, self.answers_to(ctx.config, &name));
        let is_durable = consumer.config.is_durable();
        consumer.set_inactive_threshold(&mut self.shared, is_durable);
        let left = match &mut self.shared.store {
            Some(store) if consumer.is_kept() => store.leftover(&name),
            _ => Ok(None),
        };
        let begun = left.and_then(|state| {
            if let Err(ask) = consumer.begin(ctx, state.as_ref())? {
                return Ok(Change::Stage(ask.into()));
            }
            consumer.keep_new(&mut self.shared, ctx.now, state.is_some(), staged)
        });
        match begun.map(Change::or_first) {
            Ok(Ok(())) => {}
            Ok(Err(first)) => {
                self.free.push(slot);
                return Ok(first);
            }
            Err(error) => {
                self.free.push(slot);
                tracing::warn!(consumer = %name, %error, "cannot create consumer");
                return Err(errors::CONSUMER_CREATE.because("error creating store for consumer"));
            }
        }
        let (_, mut out) = part(ctx);
        consumer.advise_created(&mut self.shared, &mut out);
        self.install(ctx, consumer);
        self.take_numbers_of(ctx, slot);
        Ok(Change::Made(slot))
    }

    /// Puts a consumer where deliveries, timers and interest find it. Where somebody is there for what it delivers, that
    /// leaves with the next pump; else whatever lets it deliver feeds it.
    fn install(&mut self, ctx: &mut StreamCtx<'_>, mut consumer: Consumer) {
        let slot = consumer.slot;
        let (store, out) = part(ctx);
        let shared = &mut self.shared;
        if consumer.inactive_ns == 0 {
            let is_durable = consumer.config.is_durable();
            consumer.set_inactive_threshold(shared, is_durable);
        }
        let payload_max = shared.settings.server.load().max_payload_bytes;
        consumer.slow_down(out.config.max_msg_size, payload_max, out.now, store.totals().last_seq);
        consumer.heard = out.now.elapsed();
        consumer.requests.used = out.now.elapsed();
        if consumer.is_push() {
            let deliver = consumer.config.deliver_subject.as_bytes();
            let group = consumer.config.deliver_group.as_bytes();
            consumer.active = out.host.has_exact_interest(out.account, deliver, group);
            self.deliver.entry_ref(deliver).or_default().push(slot);
            self.deliver_changes.push((deliver.into(), true));
        }
        if !consumer.is_push() || !consumer.active {
            consumer.arm_inactive(shared, out.now);
        }
        if let Ok(interval_ns @ 1..) = u64::try_from(consumer.config.idle_heartbeat_ns) {
            let at = out.now.elapsed().plus(interval_ns);
            shared.timers.arm(&mut consumer.armed, slot, Kind::Heartbeat, at);
        }
        consumer.arm_acks(shared);
        consumer.arm_unpause(shared, out.now);
        if consumer.may_deliver(out.now) {
            consumer.queue_for_pump(shared);
        }
        consumer.count_own(&shared.own, true);
        for_each_pattern(&consumer.config, |pattern| self.trie.insert(pattern, slot));
        self.names.insert(consumer.name.clone(), slot);
        self.internal += usize::from(consumer.is_internal());
        self.unlimited += usize::from(consumer.is_unlimited());
        if let Some(place) = self.table.get_mut(slot as usize) {
            *place = Some(Box::new(consumer));
        }
    }

    /// Takes a consumer out of everything but its files.
    fn remove(&mut self, ctx: &mut StreamCtx<'_>, slot: Slot, advise: bool) {
        let Some(mut consumer) = self.table.get_mut(slot as usize).and_then(Option::take) else { return };
        consumer.count_own(&self.shared.own, false);
        self.shared.timers.disarm_all(&mut consumer.armed, slot);
        self.shared.ready.retain(|ready| *ready != slot);
        self.strays.retain(|stray| *stray != slot);
        for_each_pattern(&consumer.config, |pattern| self.trie.remove(pattern, slot));
        self.forget_deliver(consumer.config.deliver_subject.as_bytes(), slot);
        self.names.remove(&consumer.name);
        self.internal -= usize::from(consumer.is_internal());
        self.unlimited -= usize::from(consumer.is_unlimited());
        self.free.push(slot);
        let (store, mut out) = part(ctx);
        if advise {
            consumer.advise_deleted(&mut self.shared, &mut out);
        }
        consumer.release_requests(&mut out);
        if out.config.retention == Retention::Interest {
            // Whatever only this consumer waited for has no interest left, and nothing has after the last one.
            if self.names.is_empty() {
                self.is_deserted = true;
            } else {
                self.sweeps.push_back(Sweep::wanted_by(&consumer, store));
            }
        }
    }

    /// What the reply subjects of a consumer's deliveries begin with.
    fn answers_to(&self, stream: &StreamConfig, name: &str) -> Vec<u8> {
        let settings = &self.shared.settings;
        let scope = if settings.scoped_acks { settings.scope() + "." } else { String::new() };
        format!("{ACK}{scope}{}.{name}.", stream.name).into_bytes()
    }

    pub(super) fn forget_deliver(&mut self, deliver: &[u8], slot: Slot) {
        if let Some(slots) = self.deliver.get_mut(deliver) {
            slots.retain(|held| *held != slot);
            if slots.is_empty() {
                self.deliver.remove(deliver);
                self.deliver_changes.push((deliver.into(), false));
            }
        }
    }
}

pub(super) fn for_each_pattern(config: &ConsumerConfig, mut act: impl FnMut(Option<&[u8]>)) {
    let mut any = false;
    for filter in config.filters() {
        any = true;
        act(Some(filter.as_bytes()));
    }
    if !any {
        act(None);
    }
}

impl Consumer {
    fn new(slot: Slot, name: &str, created_ns: i64, config: ConsumerConfig, ack_prefix: Vec<u8>) -> Self {
        Self {
            slot,
            name: name.into(),
            created_ns,
            filter: config.filter(),
            config,
            next_sseq: 1,
            next_dseq: 1,
            delivered: Position::default(),
            floor: Position::default(),
            lagging_floor: None,
            settled_sseq: 0,
            num_pending: 0,
            skip: None,
            upcoming: Upcoming::default(),
            pending: super::PendingAcks::default(),
            redelivery: super::Redelivery::default(),
            active: false,
            full: false,
            flow: None,
            rate: None,
            replay: None,
            requests: super::Requests::default(),
            pin: None,
            ack_prefix: ack_prefix.into(),
            last_delivered: None,
            last_acked: None,
            heard: ElapsedNs::default(),
            inactive_ns: 0,
            armed: Armed::default(),
            queued: false,
            awaits_feed: false,
            dirty: false,
            saved: ElapsedNs::default(),
            listening: super::Listening::default(),
        }
    }

    /// Begins anew, or where a state says that was kept; or says what has to be asked first.
    fn begin(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        state: Option<&ConsumerState>,
    ) -> Result<Result<(), Ask>, StoreError> {
        let known = ctx.known;
        let (store, out) = part(ctx);
        let Some(state) = state else { return self.start(store, out.config, known) };
        let totals = store.totals();
        if state.is_doubtful {
            let state = self.without_doubt(state, store, out.config, out.now)?;
            self.restore(&state, totals.last_seq, out.now);
        } else {
            self.restore(state, totals.last_seq, out.now);
        }
        if let Err(ask) = self.count_pending(store, known)? {
            return Ok(Err(ask));
        }
        let first_seq = store.totals().first_seq;
        let gone: Vec<u64> = self.pending.iter().map(|pending| pending.sseq).collect();
        for sseq in gone.into_iter().filter(|sseq| *sseq < first_seq) {
            if let Some(pending) = self.pending.remove(sseq) {
                self.move_floor(Position { dseq: pending.dseq, sseq });
            }
            self.redelivery.forget_count(sseq);
        }
        Ok(Ok(()))
    }
}
