//! Changing consumers that are there.

use super::lifecycle::for_each_pattern;
use super::set::Shared;
use super::staging::{Change, Staged};
use super::survey::{Ask, Known};
use super::sweep::Sweep;
use super::timers::Kind;
use super::trie::Slot;
use super::{Consumer, Consumers, StreamCtx, part};
use crate::clock::Now;
use crate::config::consumer_rules as rules;
use crate::config::{ConsumerAction, ConsumerConfig, Retention};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::filter::Filter;
use crate::store::{Store, StoreError, Upcoming};
use jetkv_go_compat::GoTime;

impl Consumers {
    /// Pauses a consumer until then, or lets it go on with `None`; gives the configuration that it had. `None` where there
    /// is no such consumer.
    ///
    /// # Errors
    /// The change cannot be written.
    pub fn pause(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        name: &str,
        until: Option<GoTime>,
        staged: Option<Staged>,
    ) -> Result<Option<Change<Box<ConsumerConfig>>>, ApiError> {
        let Some(slot) = self.names.get(name).copied() else { return Ok(None) };
        let Some(old) = self.get(slot) else { return Ok(None) };
        let was = Box::new(old.config.clone());
        let mut config = old.config.clone();
        config.pause_until = until.filter(|until| !until.is_zero());
        rules::stamp_metadata(&mut config);
        let change = self.apply(ctx, slot, config, staged)?;
        Ok(Some(change.or_first().map_or_else(|first| first, |()| Change::Made(was))))
    }

    /// Gives a consumer the configuration that it had before a change that was made and does not last, unless it was
    /// changed again since.
    ///
    /// # Errors
    /// The change cannot be written.
    pub fn take_back(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        name: &str,
        now: &ConsumerConfig,
        was: &ConsumerConfig,
        staged: Option<Staged>,
    ) -> Result<Change<()>, ApiError> {
        match self.names.get(name).copied() {
            Some(slot) if self.get(slot).is_some_and(|consumer| consumer.config == *now) => {
                self.apply(ctx, slot, was.clone(), staged)
            }
            _ => Ok(Change::Made(())),
        }
    }

    pub(super) fn change(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        slot: Slot,
        mut config: ConsumerConfig,
        action: ConsumerAction,
        staged: Option<Staged>,
    ) -> Result<Change<()>, ApiError> {
        if let Some(old) = self.get(slot)
            && action == ConsumerAction::Create
        {
            rules::copy_stamp(&mut config, &old.config);
            if config != old.config {
                return Err(errors::CONSUMER_ALREADY_EXISTS.error());
            }
        }
        if ctx.config.retention == Retention::WorkQueue {
            self.check_partition(&config, Some(slot))?;
        }
        self.apply(ctx, slot, config, staged)
    }

    /// Gives a consumer a configuration that was checked, once it is kept.
    fn apply(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        slot: Slot,
        config: ConsumerConfig,
        staged: Option<Staged>,
    ) -> Result<Change<()>, ApiError> {
        let Some(old) = self.get(slot).map(|consumer| consumer.config.clone()) else {
            return Ok(Change::Made(()));
        };
        let bound = old.is_push() && ctx.host.has_interest(ctx.account, old.deliver_subject.as_bytes(), None);
        rules::check_update(&old, &config, bound)?;
        let refiltered = !old.filters().eq(config.filters());
        let kept = self.with(slot, |consumer, shared| {
            if refiltered && let Err(ask) = consumer.check_filter(config.filter(), ctx.store, ctx.known)? {
                return Ok(Change::Stage(ask.into()));
            }
            consumer.keep_config(shared, &config, staged)
        });
        let kept = kept.unwrap_or(Ok(Change::Made(())));
        let kept = kept.map_err(|error| errors::CONSUMER_STORE_FAILED.because(error))?;
        if let Err(first) = kept.or_first() {
            return Ok(first);
        }
        if refiltered {
            for_each_pattern(&old, |pattern| self.trie.remove(pattern, slot));
            for_each_pattern(&config, |pattern| self.trie.insert(pattern, slot));
        }
        if old.deliver_subject != config.deliver_subject {
            self.forget_deliver(old.deliver_subject.as_bytes(), slot);
            self.deliver.entry_ref(config.deliver_subject.as_bytes()).or_default().push(slot);
            self.deliver_changes.push((config.deliver_subject.as_bytes().into(), true));
        }
        let stray = self.with(slot, |consumer, shared| {
            consumer.config = config;
            consumer.changed(shared, ctx, &old, refiltered)?;
            consumer.mark_dirty(shared, ctx.now);
            Ok::<_, StoreError>(refiltered && !consumer.pending.is_empty())
        });
        match stray {
            Some(Ok(true)) if !self.strays.contains(&slot) => self.strays.push(slot),
            Some(Err(error)) => return Err(errors::CONSUMER_STORE_FAILED.because(error)),
            _ => {}
        }
        if refiltered && ctx.config.retention == Retention::Interest {
            self.sweeps.push_back(Sweep::everything(ctx.store));
        }
        self.find_removable(ctx);
        self.sweep(ctx);
        Ok(Change::Made(()))
    }
}

impl Consumer {
    /// Whether what is to come can be counted under another filter: what cannot is not filtered by it.
    fn check_filter(
        &mut self,
        filter: Filter,
        store: &mut dyn Store,
        known: &Known,
    ) -> Result<Result<(), Ask>, StoreError> {
        let filter = std::mem::replace(&mut self.filter, filter);
        let held = (filter, self.num_pending, std::mem::take(&mut self.upcoming));
        let counted = self.count_pending(store, known);
        (self.filter, self.num_pending, self.upcoming) = held;
        counted
    }

    pub(super) fn arm_unpause(&mut self, shared: &mut Shared, now: &Now) {
        let until = self.config.paused_until(now.wall());
        shared.timers.set_unpause(&mut self.armed, self.slot, until);
    }

    /// Follows a change of configuration.
    fn changed(
        &mut self,
        shared: &mut Shared,
        ctx: &mut StreamCtx<'_>,
        old: &ConsumerConfig,
        refiltered: bool,
    ) -> Result<(), StoreError> {
        let known = ctx.known;
        let (store, mut out) = part(ctx);
        if old.deliver_subject != self.config.deliver_subject {
            self.redeliver_everything(shared, &mut out);
            let deliver = self.config.deliver_subject.as_bytes();
            let group = self.config.deliver_group.as_bytes();
            self.active = out.host.has_exact_interest(out.account, deliver, group);
            self.full = false;
            if !self.active {
                self.arm_inactive(shared, out.now);
            }
        }
        if old.ack_wait_ns != self.config.ack_wait_ns || old.backoff_ns != self.config.backoff_ns {
            self.arm_acks(shared);
        }
        if old.rate_limit_bps != self.config.rate_limit_bps {
            let payload_max = shared.settings.server.load().max_payload_bytes;
            self.set_rate(out.config.max_msg_size, payload_max, out.now);
        }
        if old.inactive_threshold_ns != self.config.inactive_threshold_ns {
            self.set_inactive_threshold(shared, old.is_durable());
            shared.timers.disarm(&mut self.armed, self.slot, Kind::Inactive);
            self.arm_inactive(shared, out.now);
        }
        // Go's zero time says as much as none.
        let pause = |config: &ConsumerConfig| config.pause_until.unwrap_or_default().ns();
        if pause(old) != pause(&self.config) {
            self.arm_unpause(shared, out.now);
            self.advise_paused(shared, &mut out);
        }
        if refiltered {
            self.filter = self.config.filter();
            self.upcoming = Upcoming::default();
            if self.count_pending(store, known)?.is_err() {
                debug_assert!(false, "it was counted before");
                self.count_at_once(store);
            }
        }
        // Requests that do not wait are not ended by a pause alone, nor by most other changes.
        let looks = self.has_more() || old.max_ack_pending != self.config.max_ack_pending;
        if looks && !self.is_paused(ctx.now) {
            self.queue_for_pump(shared);
        }
        Ok(())
    }
}
