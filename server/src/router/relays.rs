//! Messages that go to other servers: each of them gets a message once, with the names of the queue groups that it has a member
//! of.

use std::sync::Arc;

use jetkv_jetstream::OutMsg;
use rand::Rng;

use super::delivery::Origin;
use super::receiver::Receiver;
use super::sublist::Listed as _;
use super::subscription::{Subscription, Target};

/// The other servers that get a message. Most messages go to none.
#[derive(Default)]
pub(super) struct Relays<'m>(Option<Vec<Relay<'m>>>);

/// One that does.
struct Relay<'m> {
    sub: &'m Arc<Subscription>,
    receiver: &'m Arc<dyn Receiver>,
    queues: Vec<&'m [u8]>,
}

impl<'m> Relays<'m> {
    /// Whether there are none.
    #[inline(always)]
    pub(super) fn are_none(&self) -> bool {
        self.0.is_none()
    }

    /// Adds the server that a subscription is from.
    #[cold]
    pub(super) fn add(&mut self, sub: &'m Arc<Subscription>) {
        let Target::Relay(receiver) = sub.target() else { return };
        let relays = self.0.get_or_insert_default();
        let known = relays.iter_mut().find(|relay| std::ptr::addr_eq(&**relay.receiver, &**receiver));
        let queue = Some(sub.queue()).filter(|queue| !queue.is_empty());
        match known {
            Some(relay) => relay.queues.extend(queue),
            None => relays.push(Relay { sub, receiver, queues: queue.into_iter().collect() }),
        }
    }

    /// Adds one of those that have members of a queue group, by how many they have.
    #[cold]
    pub(super) fn add_one_of(&mut self, subs: &[&'m Arc<Subscription>]) {
        let all: u64 = subs.iter().map(|sub| u64::from(sub.weight())).sum();
        let mut left = if all > 0 { rand::rng().random_range(0..all) } else { 0 };
        let chosen = subs.iter().find(|sub| {
            let weight = u64::from(sub.weight());
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        });
        if let Some(sub) = chosen.or(subs.first()) {
            self.add(sub);
        }
    }

    /// Sends the message to each, and shows the receipts.
    #[cold]
    pub(super) fn send(
        self,
        msg: &OutMsg<'_>,
        thread: u32,
        mut sent: impl FnMut(super::Receipt, &'m Arc<dyn Receiver>, &'m Arc<Subscription>),
    ) {
        for Relay { sub, receiver, queues } in self.0.into_iter().flatten() {
            sub.count();
            sent(receiver.relay(msg, &queues, thread), receiver, sub);
        }
    }
}

/// Whether a message would go back to where it came from: to the same connection, or to another server of the same cluster.
pub(super) fn is_echo(origin: Origin<'_>, sub: &Subscription) -> bool {
    let (Origin::Receiver(sender) | Origin::Crossed(Some(sender))) = origin else { return false };
    let Target::Relay(receiver) = sub.target() else { return false };
    if std::ptr::addr_eq(sender, &**receiver) {
        return matches!(origin, Origin::Receiver(_));
    }
    let cluster = cluster(sender);
    matches!(origin, Origin::Receiver(_)) && !cluster.is_empty() && cluster == self::cluster(&**receiver)
}

/// Name of the cluster of the server at the other end; empty for none.
fn cluster(receiver: &dyn Receiver) -> &str {
    receiver.far_end().map_or("", |end| end.cluster)
}
