//! What of a stream is not yet as durable as configured, and what waits for that.

use super::Leaving;
use crate::api::ApiError;
use crate::clock::ElapsedNs;
use crate::config::PersistMode;
use crate::engine::SyncPolicy;
use crate::outbox::{Outbox, Says};
use crate::store::file::StateSave;
use crate::store::{Lost, StoreError, SyncWork};
use crate::stream::Inner;
use crate::stream::headers::{Ttl, header, parse_ttl};
use crate::stream::inner::store_error;

/// A disk that stays full is reported this often.
const REPORT_EVERY_NS: u64 = 10_000_000_000;

/// What is on its way to the disk.
#[derive(Debug, Default)]
pub(in crate::stream) struct Waiting {
    /// The first item of the outbox that speaks of what is not as durable as configured; `None` where there is none.
    from: Option<usize>,
    /// Whether the host was asked for a sync, and has not come to the end of it.
    asked: bool,
    /// Whether a sync runs without the lock.
    running: bool,
    /// What leaves after the sync that runs, and the first item that speaks of what is being synced.
    departing: Outbox,
    departing_from: usize,
    /// When what was flushed is to be made durable, with a sync at intervals; and whether that is now.
    pub(in crate::stream) sync_due: Option<ElapsedNs>,
    sync_is_due: bool,
    /// The last sequence that is durable, and the one that will be after the sync that runs.
    durable_seq: u64,
    departing_seq: u64,
    /// Whether something was removed, for another reason than a newer message of the subject, that is not durable.
    removed: bool,
    departing_removed: bool,
    losses: u64,
    /// When a loss was last reported.
    reported: ElapsedNs,
    /// Why an operation stopped half-way; it is taken back with all that waits.
    spoilt: Option<StoreError>,
    /// The last sequence that was given to a message and taken back; it is not given again.
    burnt_seq: u64,
}

/// A sync that runs without the stream's lock.
pub(in crate::stream) struct Sync {
    files: Option<SyncWork>,
    /// The states of consumers whose acknowledgements were confirmed.
    saves: Vec<(u32, StateSave)>,
}

/// What became of it.
pub(in crate::stream) struct SyncRan {
    outcome: Result<(), StoreError>,
    /// The consumers whose states are not durable.
    unsaved: Vec<u32>,
}

impl Sync {
    /// Syncs, and returns when the disk says that it is done: the messages first, then what consumers know of them.
    pub(in crate::stream) fn run(&self) -> SyncRan {
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

impl Inner {
    /// Notes that the store holds what was not flushed yet.
    pub(in crate::stream) fn touch(&mut self) {
        if self.waiting.from.is_none() {
            self.waiting.from = Some(self.outbox.len());
        }
    }

    /// Whether nothing may be said of a change before it is on the disk.
    pub(in crate::stream) fn syncs_always(&self) -> bool {
        self.world.config.sync == SyncPolicy::Always
            && !self.config.storage.is_memory()
            && self.config.persist_mode == PersistMode::Default
    }

    /// Whether what is queued has to wait for a sync.
    pub(in crate::stream) fn awaits_sync(&self) -> bool {
        self.syncs_always() && (self.waiting.running || self.waiting.from.is_some())
    }

    /// Whether a sync runs without the lock.
    pub(in crate::stream) fn is_syncing(&self) -> bool {
        self.waiting.running
    }

    /// Whether a message for `to` has not begun to leave.
    pub(in crate::stream) fn is_queued(&self, to: &[u8]) -> bool {
        self.outbox.iter().chain(self.waiting.departing.iter()).any(|msg| msg.to == to)
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
                self.waiting.from = Some(0);
            } else {
                self.keep_confirmed();
            }
        }
        if self.waiting.from.is_none() {
            return Ok(());
        }
        let outcome = match self.waiting.spoilt.take() {
            Some(error) => Err(error),
            None => self.store.flush(),
        };
        match outcome {
            Ok(()) if self.syncs_always() => {}
            Ok(()) => {
                self.waiting.from = None;
                self.store.keep();
                self.consumers.kept();
                if let SyncPolicy::EveryNs(interval_ns) = self.world.config.sync
                    && !self.config.storage.is_memory()
                {
                    self.waiting.sync_due.get_or_insert_with(|| self.now.elapsed().plus(interval_ns));
                }
            }
            Err(error) => return Err(self.lose(&error)),
        }
        Ok(())
    }

    /// Keeps the acknowledgements of consumers that are confirmed. Where that fails, the confirmations stay away:
    /// whoever waits for one acknowledges again.
    fn keep_confirmed(&mut self) {
        if !self.consumers.keep_confirmed(&self.now) {
            self.outbox.retract(Says::Confirmed);
            self.waiting.from = self.waiting.from.map(|_| 0);
        }
    }

    /// An operation failed half-way: what it did is to be taken back, with all else that waits to be kept.
    pub(crate) fn spoil(&mut self, error: StoreError) -> ApiError {
        let answer = store_error(&error);
        self.touch();
        self.waiting.spoilt = Some(error);
        answer
    }

    /// The sequence of the next message.
    pub(in crate::stream) fn next_seq(&self) -> u64 {
        self.store.totals().last_seq.max(self.waiting.burnt_seq) + 1
    }

    /// Makes everything durable while the lock is held. No sync may be running.
    pub(in crate::stream) fn sync_now(&mut self) {
        self.flush();
        if self.waiting.from.is_none() {
            return;
        }
        self.keep_confirmed();
        match self.store.sync() {
            Ok(()) => self.all_is_durable(),
            Err(error) => {
                self.lose(&error);
            }
        }
    }

    /// Begins a sync that runs without the lock, where one is needed: what is queued waits for it.
    pub(in crate::stream) fn begin_sync(&mut self) -> Option<Sync> {
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
        self.waiting.sync_is_due = false;
        let files = match self.store.begin_sync() {
            Ok(None) if saves.is_empty() => {
                self.all_is_durable();
                return None;
            }
            Ok(files) => files,
            Err(error) => {
                self.not_saved(saves.iter().map(|(slot, _)| *slot));
                self.outbox.retract(Says::Confirmed);
                self.lose(&error);
                return None;
            }
        };
        self.waiting.running = true;
        self.waiting.departing_seq = self.store.totals().last_seq;
        self.waiting.departing_removed = std::mem::take(&mut self.waiting.removed);
        if gates {
            self.waiting.departing_from = self.waiting.from.take().unwrap_or(self.outbox.len());
            std::mem::swap(&mut self.outbox, &mut self.waiting.departing);
        }
        Some(Sync { files, saves })
    }

    fn not_saved(&mut self, slots: impl Iterator<Item = u32>) {
        for slot in slots {
            self.consumers.not_saved(slot, &self.now);
        }
    }

    /// Ends it. What waited for it may leave; says whether more waits for the next one.
    pub(in crate::stream) fn end_sync(&mut self, ran: SyncRan) -> bool {
        self.waiting.running = false;
        if self.closed {
            // The store was synced when it was closed, and is not used any more.
            return false;
        }
        if !ran.unsaved.is_empty() {
            // Whoever waits for a confirmation acknowledges again.
            self.waiting.departing.retract(Says::Confirmed);
            self.waiting.departing_from = 0;
            self.not_saved(ran.unsaved.into_iter());
        }
        match self.store.end_sync(ran.outcome) {
            Ok(()) => {
                self.waiting.durable_seq = self.waiting.departing_seq;
                self.waiting.departing_removed = false;
                self.consumers.kept();
            }
            // What was written was kept as promised; it is written again with the next sync.
            Err(error) if !self.syncs_always() => {
                tracing::error!(stream = %self.config.name, %error, "cannot make the store durable");
            }
            Err(error) => {
                self.lose(&error);
            }
        }
        let gates = self.syncs_always();
        self.waiting.asked = gates && (self.waiting.from.is_some() || !self.outbox.is_empty());
        self.waiting.asked
    }

    /// The host found nothing to sync.
    pub(in crate::stream) fn no_sync_wanted(&mut self) {
        self.waiting.asked = false;
    }

    /// Whether the host is to be asked for a sync now: one is wanted, and it was not asked before.
    pub(in crate::stream) fn ask_for_sync(&mut self) -> bool {
        let wanted = self.waiting.sync_is_due || (self.awaits_sync() && !self.waiting.running);
        wanted && !std::mem::replace(&mut self.waiting.asked, true)
    }

    /// Notes whether the interval between syncs has passed.
    pub(in crate::stream) fn note_due_sync(&mut self) {
        if self.waiting.sync_due.is_some_and(|due| due <= self.now.elapsed()) {
            self.waiting.sync_due = None;
            self.waiting.sync_is_due = true;
        }
    }

    fn all_is_durable(&mut self) {
        self.waiting.from = None;
        self.consumers.kept();
        self.waiting.durable_seq = self.store.totals().last_seq;
        (self.waiting.removed, self.waiting.departing_removed) = (false, false);
    }

    /// Notes that something is removed for another reason than a newer message of its subject.
    pub(in crate::stream) fn note_removal(&mut self) {
        self.waiting.removed = true;
    }

    /// Whether the message, the newest of its subject, was so when the last sync ended.
    pub(in crate::stream) fn was_newest(&self, seq: u64) -> bool {
        let waiting = &self.waiting;
        seq <= waiting.durable_seq && !waiting.removed && !waiting.departing_removed
    }

    /// How often what was done could not be kept.
    pub(in crate::stream) fn losses(&self) -> u64 {
        self.waiting.losses
    }

    /// Takes back what could not be kept, and answers it with an error. While a sync runs that may come to a good end,
    /// only what was done since it began.
    fn lose(&mut self, error: &StoreError) -> ApiError {
        let answer = store_error(error);
        self.waiting.losses += 1;
        self.waiting.spoilt = None;
        let before = self.store.totals().last_seq;
        let lost = self.store.roll_back();
        let kept_seq = self.store.totals().last_seq;
        let now = self.now.elapsed();
        if self.waiting.losses == 1 || now.since(self.waiting.reported) >= REPORT_EVERY_NS {
            self.waiting.reported = now;
            tracing::error!(
                stream = %self.config.name, %error, messages = lost.appended.len(),
                "what was not kept is taken back, and answered with an error"
            );
        }
        if !lost.unwritten {
            self.waiting.burnt_seq = self.waiting.burnt_seq.max(before);
        }
        let from = self.waiting.from.take().unwrap_or(self.outbox.len());
        self.outbox = self.acks.after_loss(&self.outbox, from, kept_seq, &answer);
        if !self.waiting.running {
            let Waiting { departing, departing_from, .. } = &mut self.waiting;
            *departing = self.acks.after_loss(departing, *departing_from, kept_seq, &answer);
        }
        self.forget_lost(&lost, kept_seq);
        answer
    }

    fn forget_lost(&mut self, lost: &Lost, kept_seq: u64) {
        self.dedupe.forget_after(kept_seq);
        for (seq, subject) in &lost.appended {
            self.expiry.forget(*seq);
            let (consumers, mut ctx) = self.parts();
            consumers.on_removed(&mut ctx, *seq, subject);
        }
        for seq in &lost.restored {
            let Ok(Some(msg)) = self.store.load(*seq) else { continue };
            let ttl = header(msg.headers, b"Nats-TTL").and_then(parse_ttl).unwrap_or(Ttl::Unset);
            let ts_ns = msg.ts_ns;
            self.set_expiry(*seq, ts_ns, ttl);
        }
        let (consumers, mut ctx) = self.parts();
        consumers.took_back(&mut ctx, &lost.restored);
        self.reload_last_msg_id();
    }

    /// What leaves now; the caller takes it away.
    pub(in crate::stream) fn queue(&mut self, leaving: Leaving) -> &mut Outbox {
        debug_assert!(!self.waiting.running || !self.syncs_always(), "nothing leaves while a sync decides");
        match leaving {
            Leaving::Queued => {
                debug_assert!(
                    self.waiting.from.is_none(),
                    "nothing leaves before it is as durable as configured"
                );
                &mut self.outbox
            }
            Leaving::Departing => &mut self.waiting.departing,
        }
    }
}
