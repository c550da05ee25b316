//! Where a consumer begins.

use super::survey::{Ask, FEW, Known};
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

/// What was found, or what has to be asked first.
type Found<T> = Result<Result<T, Ask>, StoreError>;

impl Consumer {
    /// Chooses the first sequence by the deliver policy, and counts what is to come.
    pub(super) fn start(&mut self, store: &mut dyn Store, stream: &StreamConfig, known: &Known) -> Found<()> {
        let state = store.state();
        let start_seq = self.config.opt_start_seq;
        let mut sseq = match self.first_by_policy(store, stream, known)? {
            Ok(sseq) => sseq,
            Err(ask) => return Ok(Err(ask)),
        };
        if state.first_seq == 0 && start_seq == 0 {
            sseq = 1;
        } else if sseq > state.last_seq && start_seq == 0 {
            sseq = state.last_seq + 1;
        } else if sseq < state.first_seq {
            sseq = state.first_seq;
        }
        self.begin_at(sseq);
        self.count_pending(store, known)
    }

    fn first_by_policy(&mut self, store: &mut dyn Store, stream: &StreamConfig, known: &Known) -> Found<u64> {
        let totals = store.totals();
        let start_seq = self.config.opt_start_seq;
        Ok(Ok(match self.config.deliver_policy {
            _ if start_seq > 0 => start_seq,
            DeliverPolicy::All => totals.first_seq,
            DeliverPolicy::Last => match &self.filter {
                Filter::All => totals.last_seq,
                filter if known.asks_about(filter, store) => match known.start {
                    Some(sseq) => sseq,
                    None => return Ok(Err(Ask::Last(filter.clone()))),
                },
                filter => store.previous(filter, totals.last_seq)?.map_or(0, |msg| msg.seq),
            },
            DeliverPolicy::LastPerSubject if stream.max_msgs_per_subject == 1 => totals.first_seq,
            DeliverPolicy::LastPerSubject => return Ok(self.start_with_last_of_each(store, known)),
            DeliverPolicy::ByStartTime => {
                let time_ns = self.config.opt_start_time.map_or(0, jetkv_go_compat::GoTime::ns);
                let sseq = store.seq_at_time(time_ns)?;
                return self.first_wanted_after(store, sseq, known);
            }
            DeliverPolicy::New | DeliverPolicy::ByStartSequence => totals.last_seq + 1,
        }))
    }

    /// Where the first message of a filter lies between `sseq` and the end of the stream: nats-server begins there,
    /// though only where nothing of that filter lies before `sseq` (observed). Otherwise `sseq`.
    fn first_wanted_after(&self, store: &mut dyn Store, sseq: u64, known: &Known) -> Found<u64> {
        let many = store.index().len() > FEW || self.config.filters().count() > FEW;
        if known.asks && many && self.config.filters().next().is_some() {
            let patterns = || self.config.filters().map(|pattern| pattern.as_bytes().into()).collect();
            return Ok(known.start.ok_or_else(|| Ask::Firsts(patterns(), sseq)));
        }
        let mut firsts = Vec::new();
        for pattern in self.config.filters() {
            firsts.extend(store.next(&Filter::new([pattern]), 0)?.map(|msg| msg.seq));
        }
        Ok(Ok(first_wanted(&firsts, sseq, store.totals().last_seq)))
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

    /// Whether it goes on at `sseq` and has nothing to deliver again: what is to come is counted already.
    pub(super) fn stands_at(&self, sseq: u64) -> bool {
        self.next_sseq == sseq && self.skip.is_none() && self.pending.is_empty() && self.redelivery.is_empty()
    }

    fn start_with_last_of_each(&mut self, store: &mut dyn Store, known: &Known) -> Result<u64, Ask> {
        let last_seq = store.totals().last_seq;
        let index = store.index();
        let (seqs, resume) = match &self.filter {
            Filter::Literal(literal) => {
                let last = index.get(literal).map(|entry| entry.last_seq);
                (last.into_iter().collect(), last_seq + 1)
            }
            filter if known.asks && index.len() > FEW => match &known.last_of_each {
                Some(found) => found.clone(),
                None => return Err(Ask::LastOfEach(filter.clone())),
            },
            filter => {
                let mut seqs = Vec::new();
                index.for_each(filter, |_, entry| {
                    seqs.push(entry.last_seq);
                    ControlFlow::Continue(())
                });
                seqs.sort_unstable();
                (seqs, last_seq + 1)
            }
        };
        let first = seqs.first().copied().unwrap_or(resume - 1);
        self.skip = (!seqs.is_empty()).then(|| SkipList { seqs: seqs.into(), resume });
        Ok(first)
    }

    /// Counts anew what is to come; where something has to be asked first, nothing has changed.
    pub(super) fn count_pending(&mut self, store: &mut dyn Store, known: &Known) -> Found<()> {
        let (from_seq, waiting) = match &self.skip {
            Some(skip) => (skip.resume, skip.seqs.len() as u64),
            None => (self.next_sseq, 0),
        };
        let coming = known.coming(store, &self.filter, from_seq)?;
        Ok(coming.map(|coming| {
            self.num_pending = waiting + coming.count;
            self.upcoming = coming.upcoming;
        }))
    }

    /// Counts anew what is to come, however long that takes.
    pub(super) fn count_at_once(&mut self, store: &mut dyn Store) {
        if let Err(error) = self.count_pending(store, &Known::default()) {
            tracing::error!(consumer = %self.name, %error, "cannot count what is pending");
        }
    }
}

/// Where a consumer begins that would at `sseq`, given where the first message of each of its patterns lies.
pub(crate) fn first_wanted(firsts: &[u64], sseq: u64, last_seq: u64) -> u64 {
    let first = firsts.iter().copied().filter(|first| (sseq..last_seq).contains(first)).min();
    first.unwrap_or(sseq)
}
