//! Messages of an interest stream that nobody waits for any more, because a consumer went or wants others, or because one
//! acknowledgement was given for many. There may be as many as the stream holds, so they are looked for a bounded part at
//! a time.

use super::{Consumer, Consumers, StreamCtx};
use crate::filter::Filter;
use crate::store::index::Seqs;
use crate::store::query::Scan;
use crate::store::{Store, StoreError};
use std::ops::ControlFlow;

/// Messages that one hold of the stream's lock looks at.
pub(super) const SLICE_MSGS: usize = 1024;
/// Nodes of the index that it enters.
const SLICE_NODES: usize = 2048;

/// What is yet to be looked at for one cause. What still has somebody who waits for it when it is looked at stays.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Single messages.
    listed: Vec<u64>,
    /// And those that match between two sequences, both included.
    within: Option<Within>,
    /// Whether what no consumer ever wanted stays.
    spares_unwanted: bool,
}

#[derive(Debug)]
struct Within {
    filter: Filter,
    from_seq: u64,
    through_seq: u64,
    /// The subject that is next, and the sequence under it; `None` before the walk begins.
    next: Option<(Vec<u8>, u64)>,
}

impl Sweep {
    /// Messages that are done with for one consumer.
    pub(super) fn listed(listed: Vec<u64>) -> Self {
        Self { listed, within: None, spares_unwanted: false }
    }

    /// Whatever the stream holds.
    pub(super) fn everything(store: &dyn Store) -> Self {
        let totals = store.totals();
        let within = Within {
            filter: Filter::All,
            from_seq: totals.first_seq,
            through_seq: totals.last_seq,
            next: None,
        };
        Self { listed: Vec::new(), within: Some(within), spares_unwanted: false }
    }

    /// Messages that a consumer waits for.
    pub(super) fn wanted_by(consumer: &Consumer, store: &dyn Store) -> Self {
        let mut listed: Vec<u64> = consumer.pending.iter().map(|pending| pending.sseq).collect();
        listed.extend(consumer.redelivery.counts().map(|(sseq, _)| sseq));
        let (from_seq, through_seq) = (consumer.floor.sseq.saturating_add(1), store.totals().last_seq);
        let within = Within { filter: consumer.filter.clone(), from_seq, through_seq, next: None };
        Self { listed, within: Some(within), spares_unwanted: false }
    }

    /// Messages that a consumer which was set to go on behind them will not get. Nothing where it goes on behind what there
    /// is (nats-server v2.15.2, observed).
    pub(super) fn passed_by(consumer: &Consumer, store: &dyn Store) -> Option<Self> {
        let (totals, through_seq) = (store.totals(), consumer.floor.sseq);
        let is_within = (totals.first_seq..=totals.last_seq).contains(&through_seq);
        let filter = consumer.filter.clone();
        let within = Within { filter, from_seq: totals.first_seq, through_seq, next: None };
        is_within.then_some(Self { listed: Vec::new(), within: Some(within), spares_unwanted: false })
    }

    /// Looks at a part, and adds what may go to `gone`. Says whether there is more.
    fn slice(
        &mut self,
        store: &mut dyn Store,
        is_kept: impl Fn(u64, &[u8]) -> bool,
        gone: &mut Vec<u64>,
    ) -> Result<bool, StoreError> {
        for seq in self.listed.split_off(self.listed.len().saturating_sub(SLICE_MSGS)) {
            if let Ok(Some(msg)) = store.load(seq)
                && !is_kept(seq, msg.subject)
            {
                gone.push(seq);
            }
        }
        match &mut self.within {
            _ if !self.listed.is_empty() => Ok(true),
            Some(within) if matches!(within.filter, Filter::All) => within.by_sequence(store, is_kept, gone),
            Some(within) => Ok(within.by_subject(store, is_kept, gone)),
            None => Ok(false),
        }
    }
}

impl Within {
    fn by_sequence(
        &mut self,
        store: &mut dyn Store,
        is_kept: impl Fn(u64, &[u8]) -> bool,
        gone: &mut Vec<u64>,
    ) -> Result<bool, StoreError> {
        let through_seq = self.through_seq;
        let scan = store.scan_up(self.from_seq, SLICE_MSGS, &mut |_, seq, subject| {
            if seq > through_seq {
                return ControlFlow::Break(());
            }
            if !is_kept(seq, subject) {
                gone.push(seq);
            }
            ControlFlow::Continue(())
        })?;
        match scan {
            Scan::More(next) => {
                self.from_seq = next;
                Ok(next <= through_seq)
            }
            Scan::Broke | Scan::End => Ok(false),
        }
    }

    fn by_subject(
        &mut self,
        store: &dyn Store,
        is_kept: impl Fn(u64, &[u8]) -> bool,
        gone: &mut Vec<u64>,
    ) -> bool {
        let (from_seq, through_seq) = (self.from_seq, self.through_seq);
        let begun = self.next.take();
        let (begun, begun_at) = begun.map_or((None, 0), |(subject, at)| (Some(subject), at));
        let (mut left, mut broke_at) = (SLICE_MSGS, from_seq);
        let visit = |subject: &[u8], seqs: Seqs<'_>| {
            let mut at = if begun.as_deref() == Some(subject) { begun_at } else { from_seq };
            while let Some(seq) = seqs.at_or_after(at).filter(|seq| *seq <= through_seq) {
                if left == 0 {
                    broke_at = seq;
                    return ControlFlow::Break(());
                }
                left -= 1;
                if !is_kept(seq, subject) {
                    gone.push(seq);
                }
                at = seq + 1;
            }
            ControlFlow::Continue(())
        };
        let next = store.index().walk_part(&self.filter, begun.as_deref(), SLICE_NODES, visit);
        self.next = next.map(|subject| (subject, broke_at));
        self.next.is_some()
    }
}

impl Consumers {
    /// Looks at a part of what nobody may wait for any more: it may be taken with [`Consumers::take_removable`]. Says whether
    /// there is more.
    pub fn sweep(&mut self, ctx: &mut StreamCtx<'_>) -> bool {
        let Some(mut sweep) = self.sweeps.pop_front() else { return false };
        let mut gone = std::mem::take(&mut self.removable);
        let before = gone.len();
        let spares = sweep.spares_unwanted;
        let is_kept =
            |seq: u64, subject: &[u8]| self.retains(seq, subject) || (spares && !self.interested(subject));
        match sweep.slice(&mut *ctx.store, is_kept, &mut gone) {
            Ok(true) => self.sweeps.push_front(sweep),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(stream = %ctx.config.name, %error, "cannot look for what nobody waits for");
            }
        }
        // The last is taken first.
        gone.get_mut(before..).unwrap_or_default().reverse();
        self.removable = gone;
        !self.sweeps.is_empty()
    }

    /// The stream begins to keep by interest: what no consumer waits for goes. What none ever wanted stays, unless there is
    /// none at all (nats-server v2.15.2, observed).
    pub(crate) fn begin_to_release(&mut self, store: &dyn Store) {
        if self.names.is_empty() {
            self.is_deserted = store.totals().msgs > 0;
        } else {
            self.sweeps.push_back(Sweep { spares_unwanted: true, ..Sweep::everything(store) });
        }
    }

    /// Whether [`Consumers::sweep`] has something to do.
    #[must_use]
    pub fn wants_sweep(&self) -> bool {
        !self.sweeps.is_empty()
    }

    /// Whether the last consumer of an interest stream has gone, since this was last asked: nobody waits for anything.
    pub fn take_deserted(&mut self) -> bool {
        std::mem::take(&mut self.is_deserted) && self.names.is_empty()
    }
}

#[cfg(test)]
mod tests;
