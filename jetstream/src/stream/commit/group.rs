//! Group commit: many commits share one sync, and none of them waits for it with the stream's lock held.

use super::route::Leaving;
use crate::config::PersistMode;
use crate::error::ApiError;
use crate::outbox::{Caller, Outbox, Says};
use crate::settings::SyncPolicy;
use crate::store::file::StateSave;
use crate::store::{StoreError, SyncWork};
use crate::stream::{Host, Inner, Stream};
use parking_lot::MutexGuard;

/// A sync that runs without the stream's lock.
struct Sync {
    files: Option<SyncWork>,
    /// The states of consumers whose acknowledgements were confirmed.
    saves: Vec<(u32, StateSave)>,
}

/// What became of it.
struct SyncRan {
    outcome: Result<(), StoreError>,
    /// The consumers whose states are not durable.
    unsaved: Vec<u32>,
}

impl Sync {
    /// Syncs, and returns when the disk says that it is done: the messages first, then what consumers know of them.
    fn run(&self) -> SyncRan {
        let outcome = self.files.as_ref().map_or(Ok(()), SyncWork::run);
        let mut unsaved = Vec::new();
        for (slot, save) in &self.saves {
            let saved = if outcome.is_ok() { save.run() } else { Ok(()) };
            if let Err(error) = &saved {
                tracing::warn!(%error, "cannot write consumer state");
            }
            if saved.is_err() || outcome.is_err() {
                unsaved.push(*slot);
            }
        }
        SyncRan { outcome, unsaved }
    }
}

impl Stream {
    /// Makes everything written so far durable with one sync, for all who wait for it, and lets what waited leave.
    /// Blocks while the disk works, but holds no lock then. Says whether there is more: then it is called again, after
    /// the host has done what it does at the end of a turn.
    ///
    /// The host calls this some time after [`Host::sync_later`], on a thread that may block.
    pub fn sync(&self, host: &dyn Host) -> bool {
        let mut inner = self.inner.lock();
        while inner.commit.is_syncing() {
            self.sync_over.wait(&mut inner);
        }
        inner.now.renew();
        let Some(sync) = inner.begin_sync() else {
            inner.commit.nothing_to_sync();
            self.commit_locked(inner, host);
            return false;
        };
        drop(inner);
        self.run_sync(&sync, host)
    }

    /// Runs a sync that has begun, without the lock, and lets leave what waited for it. Says whether there is more.
    fn run_sync(&self, sync: &Sync, host: &dyn Host) -> bool {
        let began = self.world.clock.elapsed();
        let ran = sync.run();
        host.synced(self.world.clock.elapsed().since(began));
        let mut inner = self.lock().into_inner();
        let more = inner.end_sync(ran);
        self.sync_over.notify_all();
        self.route(inner, host, Leaving::Carried);
        more
    }

    /// Returns when all that was done before is as durable as configured, or taken back because it could not be made so.
    /// Blocks while the disk works, but holds no lock then. What others do meanwhile is not waited for.
    pub(crate) fn await_durable(&self, host: &dyn Host) {
        let inner = self.inner.lock();
        if !inner.syncs_always() {
            return;
        }
        let decides = inner.commit.deciding_sync();
        drop(self.sync_while(inner, host, |inner| !inner.closed && !inner.commit.is_decided(decides)));
    }

    /// The stream's lock, once what `waits` says no longer holds; before, syncs run without the lock. Who waits goes on waiting
    /// after a sync that did not serve it, but for one that runs the next for all of them.
    pub(super) fn sync_while<'s>(
        &'s self,
        mut inner: MutexGuard<'s, Inner>,
        host: &dyn Host,
        waits: impl Fn(&Inner) -> bool,
    ) -> MutexGuard<'s, Inner> {
        while waits(&inner) {
            if inner.commit.is_syncing() {
                self.sync_over.wait(&mut inner);
            } else {
                drop(inner);
                self.sync_with_others(host);
                inner = self.inner.lock();
            }
        }
        inner
    }

    /// The stream's lock, when everything is as durable as configured, of a stream that takes nothing more: so what is left
    /// to sync ends, and each sync runs without the lock.
    pub(super) fn lock_at_rest(&self, host: &dyn Host) -> MutexGuard<'_, Inner> {
        self.lock().is_ending = true;
        self.sweep();
        loop {
            let mut inner = self.lock_between_syncs();
            if !inner.syncs_always() {
                inner.flush();
                return inner;
            }
            let Some(sync) = inner.begin_sync() else {
                inner.commit.nothing_to_sync();
                return inner;
            };
            drop(inner);
            self.run_sync(&sync, host);
        }
    }

    /// The stream's lock, when no sync runs that decides what is there.
    pub(super) fn lock_between_syncs(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock();
        while inner.commit.is_syncing() && inner.syncs_always() {
            self.sync_over.wait(&mut inner);
        }
        inner.now.renew();
        inner
    }
}

impl Inner {
    /// Notes that the store holds what was not flushed yet.
    pub(in crate::stream) fn touch(&mut self) {
        self.commit.changed(self.outbox.len());
    }

    /// The stream began with messages that were written and are not durable: they become so as what is stored next.
    pub(crate) fn came_unsynced(&mut self) {
        self.touch();
    }

    /// Whether nothing may be said of a change before it is on the disk.
    pub(in crate::stream) fn syncs_always(&self) -> bool {
        self.world.config.sync == SyncPolicy::Always
            && !self.config.storage.is_memory()
            && self.config.persist_mode == PersistMode::Default
    }

    /// Whether what is queued has to wait for a sync.
    pub(super) fn awaits_sync(&self) -> bool {
        self.syncs_always() && (self.commit.is_syncing() || !self.commit.is_kept())
    }

    /// Whether what a caller waits for has not begun to leave.
    pub(super) fn is_queued(&self, caller: Caller) -> bool {
        self.outbox.keeps_for(caller) || self.commit.carries_for(caller)
    }

    /// Hands what was appended to the operating system. Where that fails, answers that waited for it become errors.
    pub(crate) fn flush(&mut self) {
        let _ = self.try_flush();
    }

    /// As [`Inner::flush`]; says whether what was done is still there.
    pub(crate) fn try_flush(&mut self) -> Result<(), ApiError> {
        if self.consumers.confirms() {
            if self.syncs_always() {
                // They are kept with the sync, where whoever waits for the disk holds up nobody else.
                self.commit.all_wait();
            } else {
                self.keep_confirmed();
            }
        }
        if self.commit.is_kept() {
            return Ok(());
        }
        let outcome = match self.commit.take_failure() {
            Some(error) => Err(error),
            None => self.store.flush(),
        };
        match outcome {
            Ok(()) if self.syncs_always() => {}
            Ok(()) => {
                self.commit.kept();
                self.store.keep();
                self.consumers.kept();
                if let SyncPolicy::EveryNs(interval_ns) = self.world.config.sync
                    && !self.config.storage.is_memory()
                {
                    self.commit.sync_at(|| self.now.elapsed().plus(interval_ns));
                }
            }
            Err(error) => return Err(self.roll_back(&error)),
        }
        Ok(())
    }

    /// Keeps the acknowledgements of consumers that are confirmed. Where that fails, the confirmations stay away:
    /// whoever waits for one acknowledges again.
    fn keep_confirmed(&mut self) {
        if !self.consumers.keep_confirmed(&self.now) {
            self.outbox.retract(Says::Confirmed);
            self.commit.items_left();
        }
    }

    /// Makes everything durable while the lock is held. No sync may be running.
    pub(super) fn sync_now(&mut self) {
        self.flush();
        if self.commit.is_kept() {
            return;
        }
        self.keep_confirmed();
        match self.store.sync() {
            Ok(()) => self.all_is_durable(),
            Err(error) => {
                self.roll_back(&error);
            }
        }
    }

    /// Begins a sync that runs without the lock, where one is needed: what is queued waits for it.
    fn begin_sync(&mut self) -> Option<Sync> {
        if self.closed {
            return None;
        }
        self.flush();
        let gates = self.syncs_always();
        let mut saves = Vec::new();
        if gates {
            saves = self.consumers.begin_keep_confirmed(&self.now);
        } else {
            self.keep_confirmed();
        }
        let files = match self.store.begin_sync() {
            Ok(None) if saves.is_empty() => {
                self.all_is_durable();
                return None;
            }
            Ok(files) => files,
            Err(error) => {
                self.not_saved(saves.iter().map(|(slot, _)| *slot));
                self.outbox.retract(Says::Confirmed);
                self.roll_back(&error);
                return None;
            }
        };
        let last_seq = self.store.totals().last_seq;
        self.commit.sync_began(last_seq, gates.then_some(&mut self.outbox));
        Some(Sync { files, saves })
    }

    fn not_saved(&mut self, slots: impl Iterator<Item = u32>) {
        for slot in slots {
            self.consumers.not_saved(slot, &self.now);
        }
    }

    /// Ends it. What waited for it may leave; says whether more waits for the next one.
    fn end_sync(&mut self, ran: SyncRan) -> bool {
        self.commit.sync_ended();
        if self.closed {
            // The store was synced when it was closed, and is not used any more.
            return false;
        }
        if !ran.unsaved.is_empty() {
            // Whoever waits for a confirmation acknowledges again.
            self.commit.drop_carried_confirmations();
            self.not_saved(ran.unsaved.into_iter());
        }
        match self.store.end_sync(ran.outcome) {
            Ok(()) => {
                self.commit.carried_is_durable();
                self.consumers.kept();
            }
            // What was written was kept as promised; it is written again with the next sync.
            Err(error) if !self.syncs_always() => {
                tracing::error!(stream = %self.config.name, %error, "cannot make the store durable");
            }
            Err(error) => {
                self.roll_back(&error);
            }
        }
        let more = self.syncs_always() && (!self.commit.is_kept() || !self.outbox.is_empty());
        if more {
            self.commit.goes_on();
        }
        more
    }

    /// Whether the host is to be asked for a sync now: one is wanted, and it was not asked before.
    pub(super) fn ask_for_sync(&mut self) -> bool {
        // What a stream had was synced when it was closed.
        !self.closed && self.commit.ask(self.syncs_always() && !self.commit.is_kept())
    }

    fn all_is_durable(&mut self) {
        self.consumers.kept();
        self.commit.all_is_durable(self.store.totals().last_seq);
    }

    /// What leaves now; the caller takes it away.
    pub(super) fn queue(&mut self, leaving: Leaving) -> &mut Box<Outbox> {
        debug_assert!(
            !self.commit.is_syncing() || !self.syncs_always(),
            "nothing leaves while a sync decides"
        );
        match leaving {
            Leaving::Queued => {
                debug_assert!(self.commit.is_kept(), "nothing leaves before it is as durable as configured");
                &mut self.outbox
            }
            Leaving::Carried => self.commit.carried(),
        }
    }
}
