//! Where a stream's commit stands: every state, and every transition between them. Nothing here writes, syncs or
//! delivers; [`super::group`] and [`super::rollback`] do, and say here what came of it.
//!
//! There are two states, since publishes go on while a sync runs. What is queued in the outbox is a batch:
//!
//! ```text
//! Idle --changed--> Due --kept--> Idle                      written, and nothing waits for a sync
//!                   Due --sync_began--> Idle                its sync runs; what comes now is the next batch
//!                   Due --failed_half_way--> Failed
//!                   Due, Failed --rolled_back--> Idle       promises have become errors
//! ```
//!
//! and the sync, which makes batches durable, is at one of:
//!
//! ```text
//! Idle --note_interval--> Due --ask--> Asked --sync_began--> Running --sync_ended--> Idle
//! Idle --ask--> Asked                                       a batch waits for it
//! Asked --nothing_to_sync--> Idle
//! Running --note_interval--> Running, then Due
//! Running --sync_ended--> Asked                             the next batch waits: whoever ran it goes on
//! ```

use crate::clock::ElapsedNs;
use crate::outbox::{Caller, Outbox, Says};
use crate::store::StoreError;

/// What of a stream is not yet as durable as configured, and what waits for that.
#[derive(Debug, Default)]
pub(in crate::stream) struct CommitState {
    batch: Batch,
    sync: SyncState,
    counts: Counts,
    /// What leaves after the sync that runs.
    carried: Carried,
    /// When what was flushed is to be made durable, with a sync at intervals.
    sync_due: Option<ElapsedNs>,
    durable: Durable,
    rollbacks: Rollbacks,
}

/// What is queued in the outbox.
#[derive(Debug, Default)]
enum Batch {
    /// Nothing of it speaks of what is not as durable as configured.
    #[default]
    Idle,
    /// From the item at `from` on it does.
    Due { from: usize },
    /// As `Due`, and an operation stopped half-way: it is taken back with all that waits.
    Failed { from: usize, error: StoreError },
}

/// What the disk is asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum SyncState {
    /// Nothing.
    #[default]
    Idle,
    /// The interval between syncs has passed, and the host does not know yet.
    Due,
    /// The host was asked, or whoever ran the last sync goes on with the next.
    Asked,
    /// A sync runs without the lock. The interval may pass meanwhile.
    Running { due_again: bool },
}

/// Syncs without the lock.
#[derive(Debug, Default)]
struct Counts {
    begun: u64,
    ended: u64,
}

/// What a sync that runs decides.
#[derive(Debug, Default)]
struct Carried {
    outbox: Box<Outbox>,
    /// The first item that speaks of what is being synced.
    from: usize,
    made: Durable,
}

/// How far a stream is durable.
#[derive(Debug, Default, Clone, Copy)]
struct Durable {
    /// The last sequence that is, or will be when the sync has ended.
    last_seq: u64,
    /// Whether something was removed, for another reason than a newer message of the subject, that is not.
    removed: bool,
}

#[derive(Debug, Default)]
struct Rollbacks {
    count: u64,
    /// When one was last reported.
    reported: ElapsedNs,
    /// The last sequence that was given to a message and taken back; it is not given again.
    burnt_seq: u64,
}

impl Batch {
    fn first_waiting(&mut self) -> Option<&mut usize> {
        match self {
            Self::Idle => None,
            Self::Due { from } | Self::Failed { from, .. } => Some(from),
        }
    }

    fn end(&mut self) -> Option<usize> {
        let from = self.first_waiting().copied();
        *self = Self::Idle;
        from
    }
}

/// The batch.
impl CommitState {
    /// Whether all that was done is as durable as configured, but for what a sync carries.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.batch, Batch::Idle)
    }

    /// Something was changed, when there were `queued` items in the outbox.
    pub(in crate::stream) fn changed(&mut self, queued: usize) {
        if self.is_kept() {
            self.batch = Batch::Due { from: queued };
        }
    }

    /// All items of the outbox wait, whether they did before or not.
    pub(super) fn all_wait(&mut self) {
        match self.batch.first_waiting() {
            Some(from) => *from = 0,
            None => self.batch = Batch::Due { from: 0 },
        }
    }

    /// Items were taken out of the outbox: where some wait, all do.
    pub(super) fn items_left(&mut self) {
        if let Some(from) = self.batch.first_waiting() {
            *from = 0;
        }
    }

    /// An operation stopped half-way, when there were `queued` items in the outbox.
    pub(super) fn failed_half_way(&mut self, queued: usize, error: StoreError) {
        let from = self.batch.end().unwrap_or(queued);
        self.batch = Batch::Failed { from, error };
    }

    /// Why the batch has to be taken back, where it has.
    pub(super) fn take_failure(&mut self) -> Option<StoreError> {
        match std::mem::take(&mut self.batch) {
            Batch::Failed { from, error } => {
                self.batch = Batch::Due { from };
                Some(error)
            }
            other => {
                self.batch = other;
                None
            }
        }
    }

    /// The batch is as durable as configured.
    pub(super) fn kept(&mut self) {
        self.batch = Batch::Idle;
    }

    /// The batch is taken back; at `now`. Returns its first item that waited, and whether this is to be reported.
    pub(super) fn rolled_back(&mut self, now: ElapsedNs, report_every_ns: u64) -> (Option<usize>, bool) {
        let rollbacks = &mut self.rollbacks;
        rollbacks.count += 1;
        let report = rollbacks.count == 1 || now.since(rollbacks.reported) >= report_every_ns;
        if report {
            rollbacks.reported = now;
        }
        (self.batch.end(), report)
    }

    /// No message gets a sequence up to `seq` any more.
    pub(super) fn burn(&mut self, seq: u64) {
        self.rollbacks.burnt_seq = self.rollbacks.burnt_seq.max(seq);
    }

    /// The sequence of the next message of a stream whose last is `last_seq`.
    pub(in crate::stream) fn next_seq(&self, last_seq: u64) -> u64 {
        last_seq.max(self.rollbacks.burnt_seq) + 1
    }

    /// How often a batch was taken back.
    pub(super) fn rollbacks(&self) -> u64 {
        self.rollbacks.count
    }
}

/// The sync.
impl CommitState {
    /// Whether a sync runs without the lock.
    pub(super) fn is_syncing(&self) -> bool {
        matches!(self.sync, SyncState::Running { .. })
    }

    /// What was written is to be synced at `at`, or sooner.
    pub(super) fn sync_at(&mut self, at: impl FnOnce() -> ElapsedNs) {
        self.sync_due.get_or_insert_with(at);
    }

    /// When the interval between syncs has passed.
    pub(in crate::stream) fn sync_due(&self) -> Option<ElapsedNs> {
        self.sync_due
    }

    /// Notes whether it has.
    pub(in crate::stream) fn note_interval(&mut self, now: ElapsedNs) {
        if self.sync_due.is_none_or(|due| due > now) {
            return;
        }
        self.sync_due = None;
        match &mut self.sync {
            SyncState::Running { due_again } => *due_again = true,
            SyncState::Idle => self.sync = SyncState::Due,
            SyncState::Due | SyncState::Asked => {}
        }
    }

    /// Whether the host is to be asked for a sync now, where `waits` says that a batch waits for one. It is then taken
    /// to be asked.
    pub(super) fn ask(&mut self, waits: bool) -> bool {
        let asks = self.sync == SyncState::Due || (waits && self.sync == SyncState::Idle);
        if asks {
            self.sync = SyncState::Asked;
        }
        asks
    }

    /// There is nothing to sync.
    pub(super) fn nothing_to_sync(&mut self) {
        debug_assert!(!self.is_syncing(), "whoever syncs waits for the sync that runs");
        self.sync = SyncState::Idle;
    }

    /// A sync begins to run, of all up to `last_seq`. Where the `outbox` waits for it, it is carried.
    pub(super) fn sync_began(&mut self, last_seq: u64, outbox: Option<&mut Box<Outbox>>) {
        self.sync = SyncState::Running { due_again: false };
        self.counts.begun += 1;
        self.carried.made = Durable { last_seq, removed: std::mem::take(&mut self.durable.removed) };
        if let Some(outbox) = outbox {
            self.carried.from = self.batch.end().unwrap_or(outbox.len());
            std::mem::swap(outbox, &mut self.carried.outbox);
        }
    }

    /// It has ended, well or not.
    pub(super) fn sync_ended(&mut self) {
        let due_again = self.sync == SyncState::Running { due_again: true };
        self.sync = if due_again { SyncState::Due } else { SyncState::Idle };
        self.counts.ended += 1;
    }

    /// Which sync at the latest decides what has been done up to now.
    pub(super) fn deciding_sync(&self) -> u64 {
        self.counts.begun + u64::from(!self.is_kept())
    }

    /// Whether what that sync decides is durable, or taken back.
    pub(super) fn is_decided(&self, deciding_sync: u64) -> bool {
        self.counts.ended >= deciding_sync || (self.is_kept() && !self.is_syncing())
    }

    /// What it carried is durable.
    pub(super) fn carried_is_durable(&mut self) {
        self.durable.last_seq = self.carried.made.last_seq;
        self.carried.made.removed = false;
    }

    /// Acknowledgements could not be kept: their confirmations do not leave with what the sync carried.
    pub(super) fn drop_carried_confirmations(&mut self) {
        self.carried.outbox.retract(Says::Confirmed);
        self.carried.from = 0;
    }

    /// Whoever ran the sync goes on with another.
    pub(super) fn goes_on(&mut self) {
        self.sync = SyncState::Asked;
    }

    /// Everything up to `last_seq` is durable, and no sync runs.
    pub(super) fn all_is_durable(&mut self, last_seq: u64) {
        self.batch = Batch::Idle;
        self.durable = Durable { last_seq, removed: false };
        self.carried.made.removed = false;
    }

    /// What the sync that has ended lets leave.
    pub(super) fn carried(&mut self) -> &mut Box<Outbox> {
        &mut self.carried.outbox
    }

    /// What a sync that runs, or has ended, lets leave, and the first item that speaks of what it made durable.
    pub(super) fn carried_from(&mut self) -> (&mut Outbox, usize) {
        (&mut self.carried.outbox, self.carried.from)
    }

    /// Whether what a caller waits for is among that.
    pub(super) fn carries_for(&self, caller: Caller) -> bool {
        self.carried.outbox.keeps_for(caller)
    }

    /// Something is removed for another reason than a newer message of its subject.
    pub(in crate::stream) fn removed(&mut self) {
        self.durable.removed = true;
    }

    /// Whether the message, the newest of its subject, was so when the last sync ended.
    pub(super) fn was_newest(&self, seq: u64) -> bool {
        seq <= self.durable.last_seq && !self.durable.removed && !self.carried.made.removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_asked_for_once_and_again_only_after_it_ended() {
        let mut state = CommitState::default();
        state.changed(0);
        assert!(state.ask(true) && !state.ask(true), "one request is enough");
        let mut outbox = Box::<Outbox>::default();
        state.sync_began(1, Some(&mut outbox));
        state.changed(0);
        assert!(state.is_syncing() && !state.ask(true), "who runs it looks for more");
        state.sync_ended();
        state.goes_on();
        assert!(!state.ask(true), "who ran it goes on");
        state.nothing_to_sync();
        assert!(state.ask(true));
    }

    #[test]
    fn what_was_done_is_decided_by_the_sync_that_runs_or_the_next_and_by_no_later_one() {
        let (mut state, mut outbox) = (CommitState::default(), Box::<Outbox>::default());
        assert!(state.is_decided(state.deciding_sync()), "nothing was done");
        state.changed(0);
        let first = state.deciding_sync();
        assert!(!state.is_decided(first));
        state.sync_began(1, Some(&mut outbox));
        assert_eq!(state.deciding_sync(), first, "it runs");
        state.changed(0);
        let second = state.deciding_sync();
        assert!(!state.is_decided(first) && !state.is_decided(second));
        state.sync_ended();
        assert!(state.is_decided(first) && !state.is_decided(second));
        state.sync_began(2, Some(&mut outbox));
        state.changed(0);
        state.sync_ended();
        assert!(state.is_decided(second) && !state.is_decided(state.deciding_sync()));
        let third = state.deciding_sync();
        state.all_is_durable(3);
        assert!(state.is_decided(third), "no sync was needed");
    }

    #[test]
    fn an_interval_that_passes_during_a_sync_makes_the_next_one_due() {
        let mut state = CommitState::default();
        state.sync_at(ElapsedNs::default);
        state.note_interval(ElapsedNs::default());
        assert!(state.ask(false));
        state.sync_began(1, None);
        state.sync_at(ElapsedNs::default);
        state.note_interval(ElapsedNs::default());
        assert!(!state.ask(false));
        state.sync_ended();
        assert!(state.ask(false));
    }

    #[test]
    fn a_failure_takes_back_all_that_waited_before_it() {
        let mut state = CommitState::default();
        state.changed(3);
        state.failed_half_way(5, StoreError::Poisoned("full".into()));
        assert!(!state.is_kept() && state.take_failure().is_some() && state.take_failure().is_none());
        assert_eq!(state.rolled_back(ElapsedNs::default(), 1), (Some(3), true));
        assert!(state.is_kept());
    }
}
