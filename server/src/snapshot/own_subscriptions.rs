//! The subscriptions of an account: those of clients, and those of the server itself.
//!
//! nats-server lists and counts what it listens on by itself as it does with clients' subscriptions. Here only what clients
//! and streams subscribe to stands in the router; the others are pictured when a page asks.

use jetkv_jetstream::OwnSubscription;

use crate::router::Account;
use crate::state::Shared;

/// How many subscriptions an account has, came and went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionCounts {
    /// There now.
    pub present: u64,
    /// That ever came.
    pub inserted: u64,
    /// That went.
    pub removed: u64,
    /// Subjects that were looked up.
    pub lookups: u64,
}

impl std::ops::AddAssign for SubscriptionCounts {
    fn add_assign(&mut self, other: Self) {
        self.present += other.present;
        self.inserted += other.inserted;
        self.removed += other.removed;
        self.lookups += other.lookups;
    }
}

/// Counts the subscriptions of an account, those of the server itself included.
pub(crate) fn count_subscriptions(shared: &Shared, account: &Account) -> SubscriptionCounts {
    let engine = shared.jetstream().map(|jetstream| jetstream.engine_handle());
    let with_jetstream = shared.had_jetstream();
    let (mut own, mut removed) = (0, account.subscriptions_removed());
    if shared.accounts.is_system(account.id()) {
        own += shared.system_services.list(engine.is_some(), with_jetstream).count() as u64;
        let of_consumers = |account: &Account| engine.as_ref().map(|engine| engine.own_counts(account.id()));
        let counts = shared.accounts.all();
        own += counts
            .iter()
            .filter_map(|account| of_consumers(account))
            .map(|counts| counts.in_system)
            .sum::<u64>();
    } else if shared.accounts.system().is_some() {
        own += account.services.number(with_jetstream) as u64;
    }
    if let Some(engine) = engine {
        let counts = engine.own_counts(account.id());
        own += counts.present;
        removed += counts.gone;
    }
    let present = account.subscription_count() as u64 + own;
    SubscriptionCounts { present, removed, inserted: present + removed, lookups: account.lookups() }
}

/// The subscriptions of the server itself in an account, but for those to the subjects of streams, which are in the router.
pub(crate) fn own_subscriptions(shared: &Shared, account: &Account) -> Vec<OwnSubscription> {
    let engine = shared.jetstream().map(|jetstream| jetstream.engine_handle());
    let with_jetstream = shared.had_jetstream();
    let mut list = Vec::new();
    let own = |subject: &str, sid: u64, msgs: u64, client: u64| OwnSubscription {
        subject: subject.to_owned(),
        queue: "",
        sid,
        msgs,
        client,
        is_system: false,
    };
    let is_system = shared.accounts.is_system(account.id());
    if is_system {
        let listed = shared.system_services.list(engine.is_some(), with_jetstream);
        list.extend(listed.map(|one| own(&one.subject, one.sid, one.asked(), one.client)));
    } else if shared.accounts.system().is_some() {
        let services = account.services.list(with_jetstream);
        list.extend(services.map(|one| own(one.subject, one.sid, one.asked, account.services.client())));
    }
    let Some(engine) = engine else { return list };
    for other in shared.accounts.all() {
        let is_own = other.id() == account.id();
        if is_own || is_system {
            let found = engine.own_subscriptions(other.id());
            list.extend(found.into_iter().filter(|one| if one.is_system { is_system } else { is_own }));
        }
    }
    list
}
