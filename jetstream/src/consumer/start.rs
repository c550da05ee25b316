//! Where a consumer begins.

use super::{Consumer, Position};
use crate::config::{DeliverPolicy, StreamConfig};
use crate::filter::Filter;
use crate::store::{Store, StoreError};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// The last message of each subject, to be delivered before anything newer.
#[derive(Debug)]
pub(super) struct SkipList {
    pub(super) seqs: VecDeque<u64>,
    /// Where to go on afterwards.
    pub(super) resume: u64,
}

impl Consumer {
    /// Chooses the first sequence by the deliver policy, and counts what is to come.
    pub(super) fn start(&mut self, store: &mut dyn Store, stream: &StreamConfig) -> Result<(), StoreError> {
        let state = store.state();
        let start_seq = self.config.opt_start_seq;
        let mut sseq = match self.config.deliver_policy {
            _ if start_seq > 0 => start_seq,
            DeliverPolicy::All => state.first_seq,
            DeliverPolicy::Last => match &self.filter {
                Filter::All => state.last_seq,
                filter => store.previous(filter, state.last_seq)?.map_or(0, |msg| msg.seq),
            },
            DeliverPolicy::LastPerSubject if stream.max_msgs_per_subject == 1 => state.first_seq,
            DeliverPolicy::LastPerSubject => self.start_with_last_of_each(store),
            DeliverPolicy::ByStartTime => {
                let time_ns = self.config.opt_start_time.map_or(0, jetkv_go_compat::GoTime::ns);
                let sseq = store.seq_at_time(time_ns)?;
                self.first_wanted_after(store, sseq)?.unwrap_or(sseq)
            }
            DeliverPolicy::New | DeliverPolicy::ByStartSequence => state.last_seq + 1,
        };
        if state.first_seq == 0 && start_seq == 0 {
            sseq = 1;
        } else if sseq > state.last_seq && start_seq == 0 {
            sseq = state.last_seq + 1;
        } else if sseq < state.first_seq {
            sseq = state.first_seq;
        }
        self.begin_at(sseq);
        self.count_pending(store)
    }

    /// Where the first message of a filter lies between `sseq` and the end of the stream: nats-server begins there,
    /// though only where nothing of that filter lies before `sseq` (observed).
    fn first_wanted_after(&self, store: &mut dyn Store, sseq: u64) -> Result<Option<u64>, StoreError> {
        let last_seq = store.totals().last_seq;
        let mut first = last_seq;
        for pattern in self.config.filters() {
            if let Some(msg) = store.next(&Filter::new([pattern]), 0)?
                && (sseq..first).contains(&msg.seq)
            {
                first = msg.seq;
            }
        }
        Ok(Some(first).filter(|first| *first > sseq && *first < last_seq))
    }

    /// Forgets all deliveries and goes on at `sseq`.
    pub(super) fn begin_at(&mut self, sseq: u64) {
        let sseq = sseq.max(1);
        self.pending.clear();
        self.redelivery.clear();
        self.next_sseq = sseq;
        self.next_dseq = 1;
        self.delivered = Position { dseq: 0, sseq: sseq - 1 };
        self.floor = self.delivered;
        self.lagging_floor = None;
        self.settled_sseq = 0;
    }

    fn start_with_last_of_each(&mut self, store: &mut dyn Store) -> u64 {
        let mut seqs = Vec::new();
        let mut add = |entry: crate::store::index::SubjectEntry| seqs.push(entry.last_seq);
        let index = store.index();
        match &self.filter {
            Filter::Literal(literal) => {
                if let Some(entry) = index.get(literal) {
                    add(entry);
                }
            }
            filter => index.for_each(filter, |_, entry| {
                add(entry);
                ControlFlow::Continue(())
            }),
        }
        seqs.sort_unstable();
        let last_seq = store.totals().last_seq;
        let first = seqs.first().copied().unwrap_or(last_seq);
        self.skip = (!seqs.is_empty()).then(|| SkipList { seqs: seqs.into(), resume: last_seq + 1 });
        first
    }

    /// Counts anew what is to come.
    pub(super) fn count_pending(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        self.num_pending = match &self.skip {
            Some(skip) => {
                let newer = store.pending(&self.filter, skip.resume, false)?;
                skip.seqs.len() as u64 + newer.count
            }
            None => store.pending(&self.filter, self.next_sseq, false)?.count,
        };
        Ok(())
    }
}
