//! What each of the two servers tells the other of who listens.

use std::sync::Arc;

use hashbrown::HashMap;
use jetkv_protocol::encode;

use super::rules::Rules;
use super::{Joined, Leaf};
use crate::router::{AccountFull, InterestWatcher, LOOP_PREFIX, Listed as _, Receiver, Subscription, Target};

/// What the engine listens to without a subscription, where the account has JetStream: requests, acknowledgements, and
/// answers to flow control.
const OF_ENGINE: [&[u8]; 3] = [b"$JS.API.>", b"$JS.ACK.>", b"$JS.FC.>"];

/// What LS+ and LS- call a subscription.
fn key(sub: &Subscription) -> Box<[u8]> {
    match sub.queue() {
        [] => sub.subject().into(),
        queue => [sub.subject(), queue].join(&b' ').into(),
    }
}

/// Whether the other server is told of a subscription.
fn concerns(leaf: &Leaf, joined: &Joined, rules: &Rules, sub: &Subscription) -> bool {
    let watches_loops = sub.subject().starts_with(LOOP_PREFIX);
    if let Target::Relay(receiver) = sub.target() {
        if receiver.id() == Receiver::id(leaf) || joined.is_isolated {
            return false;
        }
        let Some(end) = receiver.far_end() else { return false };
        if !end.cluster.is_empty() && end.cluster == joined.cluster {
            return false;
        }
        // What two hubs of this server have for each other does not go by way of it.
        if joined.is_spoke && end.is_hub && !watches_loops {
            return false;
        }
    }
    watches_loops || rules.wanted.passes_some(sub.subject())
}

impl Leaf {
    /// Begins to tell the other server who listens in the account.
    ///
    /// # Errors
    /// The account has as many leaf nodes as it may have.
    pub(super) fn tell_interest(self: &Arc<Self>, joined: &Joined) -> Result<(), AccountFull> {
        let account = &joined.account;
        let rules = Arc::clone(&joined.rules.read());
        let mut further: Vec<Box<[u8]>> =
            account.renamed_patterns().into_iter().map(|(from, _)| from.into_bytes().into()).collect();
        further.extend(account.mappings().iter().map(|mapping| mapping.source().as_bytes().into()));
        if account.has_jetstream() {
            further.extend(OF_ENGINE.iter().map(|subject| (*subject).into()));
        }
        further.retain(|subject| rules.wanted.passes_some(subject));
        further.push(account.loop_subject().into());
        let watcher = Arc::clone(self) as Arc<dyn InterestWatcher>;
        account.watch_interest(watcher, |subs| {
            let mut told: HashMap<Box<[u8]>, i64> = HashMap::new();
            subs.for_each(|sub| {
                if concerns(self, joined, &rules, sub) {
                    *told.entry(key(sub)).or_default() += i64::from(sub.weight());
                }
            });
            for subject in further {
                *told.entry(subject).or_default() += 1;
            }
            self.queue(|out| told.iter().for_each(|(key, count)| tell(out, key, *count)));
            *self.told.lock() = Some(told);
        })
    }
}

/// Writes what the other server is told of so many who listen.
fn tell(out: &mut Vec<u8>, key: &[u8], count: i64) {
    match u32::try_from(count) {
        Ok(0) | Err(_) => encode::leaf_unsub(out, key),
        Ok(count) => encode::leaf_sub(out, key, key.contains(&b' ').then_some(count)),
    }
}

impl InterestWatcher for Leaf {
    fn id(&self) -> u64 {
        Receiver::id(self)
    }

    fn changed(&self, sub: &Subscription, by: i64) {
        let Some(joined) = self.joined.get() else { return };
        if by > 0 && !concerns(self, joined, &joined.rules.read(), sub) {
            return;
        }
        let mut told = self.told.lock();
        let Some(counts) = &mut *told else { return };
        let key = key(sub);
        let before = counts.get(&key).copied().unwrap_or_default();
        if by == 0 || (by < 0 && before == 0) {
            return;
        }
        let now = (before + by).max(0);
        // Of a queue group the other server wants to know how many are in it.
        if !sub.queue().is_empty() || (before == 0) != (now == 0) {
            self.queue(|out| tell(out, &key, now));
        }
        if now == 0 {
            counts.remove(&key);
        } else {
            counts.insert(key, now);
        }
    }
}
