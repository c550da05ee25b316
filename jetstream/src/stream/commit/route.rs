//! How what is queued leaves, in order, without the stream's lock.

use super::Answers;
use crate::message::AccountId;
use crate::outbox::{Outbox, Queued, Says};
use crate::router::Delivery;
use crate::stream::{Host, Inner, Stream};
use parking_lot::MutexGuard;

/// Held while messages leave.
#[derive(Default)]
pub(in crate::stream) struct Gate {
    outbox: Box<Outbox>,
    undelivered: Undelivered,
}

/// What is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// All that is queued.
    Queued,
    /// What waited for the sync that has ended.
    Carried,
}

/// Deliveries that consumers are told of.
#[derive(Default)]
struct Undelivered {
    /// Those that reached nobody: where to, and the reply.
    missed: Vec<(Vec<u8>, Vec<u8>)>,
    /// Deliver subjects with a receiver that is filling up.
    full: Vec<Vec<u8>>,
}

impl Stream {
    /// Lets something leave.
    pub(super) fn route(&self, mut inner: MutexGuard<'_, Inner>, host: &dyn Host, leaving: Leaving) {
        let wants_pump = inner.consumers.wants_pump() && inner.purging.is_none();
        if inner.queue(leaving).is_empty() {
            drop(inner);
        } else {
            let mut gate = self.gate.lock();
            std::mem::swap(inner.queue(leaving), &mut gate.outbox);
            drop(inner);
            let undelivered = gate.route(self.account.id, host, &self.answers);
            drop(gate);
            if let Some(undelivered) = undelivered {
                self.give_back(&undelivered, host);
            }
        }
        if wants_pump && let Some(me) = self.me.upgrade() {
            host.pump_later(&me);
        }
        self.watchers.wake();
    }

    /// Tells consumers what reached nobody, and whose receivers are filling up. What they say to that leaves in
    /// another turn.
    #[inline(never)]
    fn give_back(&self, undelivered: &Undelivered, host: &dyn Host) {
        let mut inner = self.lock();
        let (consumers, mut ctx) = inner.parts();
        for (to, reply) in &undelivered.missed {
            consumers.not_delivered(&mut ctx, to, reply);
        }
        for to in &undelivered.full {
            consumers.receivers_fill_up(&mut ctx, to);
        }
        inner.arm();
        let waits = !inner.outbox.is_empty() || inner.consumers.wants_feed() && inner.purging.is_none();
        drop(inner);
        if waits && let Some(me) = self.me.upgrade() {
            host.pump_later(&me);
        }
    }
}

impl Gate {
    fn route(&mut self, account: AccountId, host: &dyn Host, answers: &Answers) -> Option<Undelivered> {
        for queued in self.outbox.queued() {
            if let Some(caller) = queued.caller {
                answers.take_in(caller, queued.outcome());
                continue;
            }
            let Queued { says, msg, .. } = queued;
            let delivery = host.deliver(account, msg);
            if delivery != Delivery::Sent && matches!(says, Says::Delivered(_)) {
                self.undelivered.note(delivery, msg.to, msg.reply);
            }
        }
        self.outbox.clear();
        (!self.undelivered.is_empty()).then(|| std::mem::take(&mut self.undelivered))
    }
}

impl Undelivered {
    #[inline(never)]
    fn note(&mut self, delivery: Delivery, to: &[u8], reply: &[u8]) {
        match delivery {
            Delivery::Sent => {}
            Delivery::NoInterest => self.missed.push((to.to_vec(), reply.to_vec())),
            Delivery::Pressured => {
                if self.full.last().is_none_or(|last| last != to) {
                    self.full.push(to.to_vec());
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.missed.is_empty() && self.full.is_empty()
    }
}
