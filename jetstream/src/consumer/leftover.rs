//! Messages that are still in a stream although every consumer has acknowledged them: a crash may keep the consumers'
//! state and lose the removal.

use super::{Consumer, Consumers, StreamCtx};
use crate::config::Retention;
use crate::filter::Filter;

impl Consumers {
    /// Marks for removal what the consumers' state shows as acknowledged by all of them. To be called once all
    /// consumers are restored, and only if each of them had a state that is beyond doubt: without it, what it waits for is not known.
    pub fn remove_leftovers(&mut self, ctx: &mut StreamCtx<'_>) {
        if ctx.config.retention == Retention::Limits {
            return;
        }
        let consumers = || self.table.iter().flatten().map(|consumer| &**consumer);
        let upto_seq = consumers().map(|consumer| consumer.delivered.sseq).max().unwrap_or(0);
        // Most of what is held is waited for by those who want every message; these need not be read to know it.
        let greedy: Vec<&Consumer> =
            consumers().filter(|consumer| matches!(consumer.filter, Filter::All)).collect();
        let mut leftovers = Vec::new();
        let mut seq = ctx.store.totals().first_seq;
        while seq <= upto_seq {
            if greedy.iter().any(|consumer| consumer.needs(seq)) {
                seq += 1;
                continue;
            }
            match ctx.store.next(&Filter::All, seq) {
                Ok(Some(msg)) if msg.seq <= upto_seq => {
                    // A work queue keeps what no consumer is there for.
                    if self.interested(msg.subject) && !self.retains(msg.seq, msg.subject) {
                        leftovers.push(msg.seq);
                    }
                    seq = msg.seq + 1;
                }
                _ => break,
            }
        }
        self.removable.extend(leftovers.into_iter().rev());
    }
}
