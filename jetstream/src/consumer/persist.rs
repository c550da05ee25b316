//! What outlives the process: a consumer's configuration and state.

use super::set::Shared;
use super::staging::{Change, Staged};
use super::timers::Kind;
use super::trie::Slot;
use super::{Consumer, Consumers, Position};
use crate::clock::{Now, WallNs};
use crate::config::ConsumerConfig;
use crate::outbox::{Outbox, Says};
use crate::store::StoreError;
use crate::store::consumer_state::{ConsumerState, PendingAck, SequencePair};
use crate::store::file::StateSave;

/// Where the consumers of a stream are kept. A stream in memory has none.
pub trait ConsumerStore: Send {
    /// What there is of a consumer that could not be recovered, so that the next of its name goes on where it was.
    ///
    /// # Errors
    /// I/O.
    fn leftover(&mut self, name: &str) -> Result<Option<ConsumerState>, StoreError>;
    /// Keeps a consumer that is new, with the state that it begins with. Where something is there under its name,
    /// that is taken up, once the configuration is staged; `had_state` says whether its state is there already.
    ///
    /// # Errors
    /// I/O; nothing is kept then.
    fn create(
        &mut self,
        name: &str,
        config: (i64, &ConsumerConfig),
        state: &ConsumerState,
        had_state: bool,
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError>;
    /// Keeps the configuration of a consumer that is changed, and was created then, once it is staged.
    ///
    /// # Errors
    /// I/O; what is kept may be either, see [`Consumers::keep_again`].
    fn update(
        &mut self,
        name: &str,
        config: (i64, &ConsumerConfig),
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError>;
    /// Keeps that a consumer begins at a sequence.
    ///
    /// # Errors
    /// I/O; what was kept before still is.
    fn begin_at(&mut self, name: &str, seq: u64, staged: Option<Staged>) -> Result<Change<()>, StoreError>;
    /// Whether states are made durable as they are written.
    fn syncs(&self) -> bool;
    /// Keeps the state of a consumer, replacing what was kept before.
    ///
    /// # Errors
    /// I/O.
    fn save_state(&mut self, name: &str, state: &ConsumerState) -> Result<(), StoreError>;
    /// As [`ConsumerStore::save_state`], for whoever runs it later, without the stream.
    fn begin_save(&mut self, name: &str, state: &ConsumerState) -> StateSave;
    /// Forgets a consumer.
    ///
    /// # Errors
    /// I/O; it is still kept then.
    fn remove(&mut self, name: &str) -> Result<(), StoreError>;
}

/// State is written at most this often.
const SAVE_NS: u64 = 100_000_000;

impl Consumers {
    /// Whether the confirmation of an acknowledgement is queued that is not kept yet.
    #[must_use]
    pub fn confirms(&self) -> bool {
        !self.shared.confirmed.is_empty()
    }

    /// Keeps the acknowledgements whose confirmations are queued. Says whether that went well; otherwise the
    /// confirmations must not leave.
    #[must_use]
    pub fn keep_confirmed(&mut self, now: &Now) -> bool {
        let mut kept = true;
        while let Some(slot) = self.shared.confirmed.pop() {
            self.with(slot, |consumer, shared| {
                consumer.save(shared, now);
                kept &= !consumer.dirty;
            });
        }
        kept
    }

    /// Keeps a consumer's configuration as it is, after a change failed half-way. `None` where there is no such consumer.
    ///
    /// # Errors
    /// I/O.
    pub fn keep_again(
        &mut self,
        name: &str,
        staged: Option<Staged>,
    ) -> Option<Result<Change<()>, StoreError>> {
        let slot = self.names.get(name).copied()?;
        self.with(slot, |consumer, shared| consumer.keep_config(shared, &consumer.config, staged))
    }

    /// As [`Consumers::keep_confirmed`], for whoever runs it later, without the stream. Each must be run, or be told
    /// with [`Consumers::not_saved`].
    pub fn begin_keep_confirmed(&mut self, now: &Now) -> Vec<(Slot, StateSave)> {
        let mut saves = Vec::new();
        while let Some(slot) = self.shared.confirmed.pop() {
            let save = self.with(slot, |consumer, shared| {
                let store = shared.store.as_mut().filter(|_| consumer.dirty)?;
                consumer.dirty = false;
                Some(store.begin_save(&consumer.name, &consumer.state(now)))
            });
            saves.extend(save.flatten().map(|save| (slot, save)));
        }
        saves
    }

    /// The state of a consumer could not be saved: it is tried again.
    pub fn not_saved(&mut self, slot: Slot, now: &Now) {
        self.with(slot, |consumer, shared| consumer.mark_dirty(shared, now));
    }
}

impl Consumer {
    /// Notes that the confirmation of an acknowledgement was queued last: the state is kept before it leaves.
    pub(super) fn note_confirmed(&self, shared: &mut Shared, outbox: &mut Outbox) {
        if shared.store.is_some() && self.is_kept() {
            outbox.last_says(Says::Confirmed);
            if shared.confirmed.last() != Some(&self.slot) {
                shared.confirmed.push(self.slot);
            }
        }
    }

    /// Whether it outlives the process: internal ones, and those that ask for memory, do not.
    pub(super) fn is_kept(&self) -> bool {
        !self.config.direct && !self.config.memory_storage
    }

    /// Notes that the state changed; it is written soon, many changes at once.
    pub(super) fn mark_dirty(&mut self, shared: &mut Shared, now: &Now) {
        if self.dirty || shared.store.is_none() || !self.is_kept() {
            return;
        }
        self.dirty = true;
        let at = self.saved.plus(SAVE_NS).max(now.elapsed());
        shared.timers.arm(&mut self.armed, self.slot, Kind::Save, at);
    }

    /// Writes the state if it changed.
    pub(super) fn save(&mut self, shared: &mut Shared, now: &Now) {
        if !self.dirty {
            return;
        }
        let Some(store) = &mut shared.store else { return };
        match store.save_state(&self.name, &self.state(now)) {
            Ok(()) => self.dirty = false,
            // It stays dirty: the next change or the shutdown tries again.
            Err(error) => tracing::warn!(consumer = %self.name, %error, "cannot write consumer state"),
        }
        self.saved = now.elapsed();
        if self.dirty {
            shared.timers.arm(&mut self.armed, self.slot, Kind::Save, self.saved.plus(10 * SAVE_NS));
        }
    }

    /// The state changed some time ago. Where saving it waits for the disk, the next sync of the stream does that, which
    /// holds no lock.
    pub(super) fn save_due(&mut self, shared: &mut Shared, now: &Now) {
        if shared.store.as_ref().is_some_and(|store| store.syncs()) {
            self.saved = now.elapsed();
            shared.confirmed.push(self.slot);
        } else {
            self.save(shared, now);
        }
    }

    /// Keeps a consumer that is new.
    pub(super) fn keep_new(
        &mut self,
        shared: &mut Shared,
        now: &Now,
        had_state: bool,
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError> {
        match &mut shared.store {
            Some(store) if self.is_kept() => {
                let config = (self.created_ns, &self.config);
                store.create(&self.name, config, &self.state(now), had_state, staged)
            }
            _ => Ok(Change::Made(())),
        }
    }

    /// Keeps a configuration that the consumer is about to take.
    pub(super) fn keep_config(
        &self,
        shared: &mut Shared,
        config: &ConsumerConfig,
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError> {
        match &mut shared.store {
            Some(store) if self.is_kept() => store.update(&self.name, (self.created_ns, config), staged),
            _ => Ok(Change::Made(())),
        }
    }

    /// Keeps that the consumer is about to begin at a sequence.
    pub(super) fn keep_beginning(
        &self,
        shared: &mut Shared,
        seq: u64,
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError> {
        match &mut shared.store {
            Some(store) if self.is_kept() => store.begin_at(&self.name, seq, staged),
            _ => Ok(Change::Made(())),
        }
    }

    /// The state as it is kept: what waits, with the time of day at which that began.
    pub(super) fn state(&self, now: &Now) -> ConsumerState {
        let pair =
            |position: Position| SequencePair { consumer_seq: position.dseq, stream_seq: position.sseq };
        ConsumerState {
            delivered: pair(self.delivered),
            ack_floor: pair(self.floor),
            pending: self
                .pending
                .iter()
                .map(|pending| {
                    let ts_ns = now.wall_at(pending.since).ns();
                    (pending.sseq, PendingAck { consumer_seq: pending.dseq, ts_ns })
                })
                .collect(),
            redelivered: self.redelivery.counts().collect(),
            is_doubtful: false,
        }
    }

    /// Takes up a state that was kept. State that is ahead of a stream which lost messages is cut back, so that new
    /// messages are not passed over.
    pub(super) fn restore(&mut self, state: &ConsumerState, stream_last_seq: u64, now: &Now) {
        let position = |pair: SequencePair| Position { dseq: pair.consumer_seq, sseq: pair.stream_seq };
        self.delivered = position(state.delivered);
        self.floor = position(state.ack_floor);
        let ahead = self.delivered.sseq > stream_last_seq;
        let keep = |sseq: u64| sseq <= stream_last_seq;
        let floor_ahead = self.floor.sseq > stream_last_seq;
        if floor_ahead {
            self.floor = Position { dseq: self.delivered.dseq, sseq: stream_last_seq };
        }
        for (sseq, pending) in state.pending.iter().filter(|(sseq, _)| keep(**sseq) && !floor_ahead) {
            let since = now.elapsed_at(WallNs::from_ns(pending.ts_ns));
            self.pending.track(*sseq, pending.consumer_seq.max(1), since);
        }
        for (sseq, count) in state.redelivered.iter().filter(|(sseq, _)| keep(**sseq) && !floor_ahead) {
            self.redelivery.set_count(*sseq, *count);
        }
        if ahead {
            self.delivered = match self.pending.iter().next_back() {
                Some(last) => Position {
                    dseq: self.pending.iter().map(|pending| pending.dseq).max().unwrap_or(0),
                    sseq: last.sseq,
                },
                None => self.floor,
            };
        }
        self.next_sseq = self.delivered.sseq + 1;
        self.next_dseq = self.delivered.dseq + 1;
    }
}
