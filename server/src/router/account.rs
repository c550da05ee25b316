//! An account: a subject space of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use hashbrown::HashSet;
use jetkv_jetstream::AccountId;
use jetkv_protocol::trie::Reach;
use parking_lot::{Mutex, RwLock};

use super::claimed::Claimed;
use super::exchange::{
    Exchange, ExportedService, ImportedService, ImportedStream, Response, Responses, Shadow,
};
use super::interest::{Interest, InterestWatcher};
use super::mappings::Mappings;
use super::services::Services;
use super::sublist::{InvalidSubject, Listed, Matches, Sublist};
use super::subscription::{Subscription, Target};
use crate::options::{
    AccountJetStreamTiers, AccountLimits, Exchange as ExchangeOptions, Mapping, MessageTraceOptions,
};
use crate::traffic::Traffic;

/// Source of [`Account::generation`]: no two accounts ever have the same, so that a match that is kept can tell.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// An account. Subscriptions, streams and connections of one account never meet those of another.
#[derive(Debug)]
pub struct Account {
    id: AccountId,
    name: String,
    subs: RwLock<Sublist<Subscription>>,
    /// Moves with every change of `subs`, so that whoever keeps a match knows when it is stale.
    generation: AtomicU64,
    /// The numbers of its connections.
    clients: Mutex<HashSet<u64>>,
    limits: RwLock<AccountLimits>,
    jetstream: RwLock<Option<AccountJetStreamTiers>>,
    jetstream_enabled: AtomicBool,
    /// What its claims say of JetStream was refused, and so nobody listens.
    jetstream_refused: AtomicBool,
    mappings: RwLock<Mappings>,
    has_mappings: AtomicBool,
    meets_faults: AtomicBool,
    /// One of these two.
    detours: AtomicBool,
    exchange: Exchange,
    interest: Interest,
    message_trace: RwLock<Option<MessageTraceOptions>>,
    traces: AtomicBool,
    /// What was claimed of it, where it comes with claims.
    claimed: RwLock<Option<Arc<Claimed>>>,
    exported: RwLock<Vec<Arc<ExportedService>>>,
    /// The configuration has it; a reload may have taken it away.
    configured: AtomicBool,
    /// It was made for whoever came to it.
    isolated: AtomicBool,
    /// What went through the account.
    pub(crate) traffic: Traffic,
    /// What of that went over leaf node connections.
    pub(crate) leafnode_traffic: Traffic,
    slow_consumers: AtomicI64,
    /// What its clients ask of the server.
    pub(crate) services: Services,
    removed: AtomicU64,
    lookups: AtomicU64,
}

/// The account has as many connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccountFull;

/// What ends with a subscription.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Its shadows in other accounts.
    pub shadows: Vec<Shadow>,
    /// Requests whose answers nobody waits for any more.
    pub requests: Vec<Response>,
}

impl Account {
    /// An account without subscriptions and connections.
    pub(crate) fn new(id: AccountId, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            subs: RwLock::new(Sublist::new()),
            generation: AtomicU64::new(GENERATION.fetch_add(1, Ordering::Relaxed)),
            clients: Mutex::new(HashSet::new()),
            limits: RwLock::new(AccountLimits::default()),
            jetstream: RwLock::new(None),
            jetstream_enabled: AtomicBool::new(false),
            jetstream_refused: AtomicBool::new(false),
            mappings: RwLock::new(Mappings::default()),
            has_mappings: AtomicBool::new(false),
            meets_faults: AtomicBool::new(false),
            detours: AtomicBool::new(false),
            exchange: Exchange::default(),
            interest: Interest::default(),
            message_trace: RwLock::new(None),
            traces: AtomicBool::new(false),
            claimed: RwLock::new(None),
            exported: RwLock::new(Vec::new()),
            configured: AtomicBool::new(true),
            isolated: AtomicBool::new(false),
            traffic: Traffic::default(),
            leafnode_traffic: Traffic::default(),
            slow_consumers: AtomicI64::new(0),
            services: Services::default(),
            removed: AtomicU64::new(0),
            lookups: AtomicU64::new(0),
        }
    }

    /// Its number.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the configuration has it. One that a reload took away has no users, but its streams go on.
    pub fn is_configured(&self) -> bool {
        self.configured.load(Ordering::Relaxed)
    }

    pub(crate) fn set_configured(&self, configured: bool) {
        self.configured.store(configured, Ordering::Relaxed);
    }

    /// Whether the test lab made it for whoever came to it.
    pub(crate) fn is_isolated(&self) -> bool {
        self.isolated.load(Ordering::Relaxed)
    }

    pub(super) fn set_isolated(&self) {
        self.isolated.store(true, Ordering::Relaxed);
    }

    /// What was claimed of it, where it comes with claims.
    pub fn claimed(&self) -> Option<Arc<Claimed>> {
        self.claimed.read().clone()
    }

    pub(crate) fn set_claimed(&self, claimed: Option<Claimed>) {
        *self.claimed.write() = claimed.map(Arc::new);
    }

    pub(super) fn exported_services(&self) -> Vec<Arc<ExportedService>> {
        self.exported.read().clone()
    }

    pub(super) fn set_exported_services(&self, services: Vec<Arc<ExportedService>>) {
        *self.exported.write() = services;
    }

    /// The exports that its imported services lead to.
    pub(super) fn imported_exports(&self) -> Vec<Arc<ExportedService>> {
        self.exchange.imported_exports()
    }

    /// Limits of its connections.
    pub fn limits(&self) -> AccountLimits {
        *self.limits.read()
    }

    pub(crate) fn set_limits(&self, limits: AccountLimits) {
        *self.limits.write() = limits;
    }

    /// Its JetStream limits; `None` when it has no JetStream.
    pub fn jetstream(&self) -> Option<AccountJetStreamTiers> {
        self.jetstream.read().clone()
    }

    /// Whether it has JetStream.
    pub fn has_jetstream(&self) -> bool {
        self.jetstream_enabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_jetstream(&self, limits: Option<AccountJetStreamTiers>) {
        self.jetstream_enabled.store(limits.is_some(), Ordering::Relaxed);
        *self.jetstream.write() = limits;
    }

    /// Says whether the account cannot have the JetStream that its claims give it.
    pub(crate) fn set_jetstream_refused(&self, is_refused: bool) {
        self.jetstream_refused.store(is_refused, Ordering::Relaxed);
    }

    /// Whether nobody answers what is asked of JetStream.
    pub(crate) fn is_jetstream_refused(&self) -> bool {
        self.jetstream_refused.load(Ordering::Relaxed)
    }

    pub(crate) fn set_mappings(&self, mappings: Mappings) {
        let has_mappings = !mappings.is_empty();
        self.has_mappings.store(has_mappings, Ordering::Relaxed);
        *self.mappings.write() = mappings;
        self.detours.store(has_mappings || self.meets_faults.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Says whether there are faults on purpose that what its clients publish may meet.
    pub(crate) fn set_meets_faults(&self, meets_faults: bool) {
        self.meets_faults.store(meets_faults, Ordering::Relaxed);
        self.detours.store(meets_faults || self.has_mappings.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether what a client publishes may not go its plain way: by a mapping, or by a fault on purpose.
    #[inline]
    pub(crate) fn detours(&self) -> bool {
        self.detours.load(Ordering::Relaxed)
    }

    /// Whether what its clients publish may meet a fault on purpose.
    pub(crate) fn meets_faults(&self) -> bool {
        self.meets_faults.load(Ordering::Relaxed)
    }

    /// What the configuration has its clients' subjects become.
    pub fn mappings(&self) -> Vec<Mapping> {
        self.mappings.read().configured().to_vec()
    }

    /// Whether a subject that a client publishes may go on under another name.
    #[inline]
    pub(crate) fn renames(&self) -> bool {
        self.has_mappings.load(Ordering::Relaxed)
    }

    /// Puts the name under which a published subject goes on into `renamed`, which is empty before; tells whether it has
    /// another one. A message whose other name is empty is lost.
    pub(crate) fn rename(&self, subject: &[u8], renamed: &mut Vec<u8>) -> bool {
        self.mappings.read().rename(subject, renamed)
    }

    /// The patterns of subjects that have another name once domains are taken into account, each with that name.
    pub(crate) fn renamed_patterns(&self) -> Vec<(String, String)> {
        self.mappings.read().of_domains()
    }

    /// Number of the current state of the subscriptions.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes kept matches stale; to be called under the lock of `subs`.
    fn renew(&self) {
        self.generation.store(GENERATION.fetch_add(1, Ordering::Relaxed), Ordering::Release);
    }

    /// Adds a subscription.
    ///
    /// # Errors
    /// [`InvalidSubject`].
    pub(crate) fn subscribe(&self, sub: Arc<Subscription>) -> Result<(), InvalidSubject> {
        let mut subs = self.subs.write();
        subs.insert(Arc::clone(&sub))?;
        self.renew();
        self.interest.changed(&sub, i64::from(sub.weight()));
        drop(subs);
        self.exchange.add_shadows(self, &sub);
        Ok(())
    }

    /// Ends a subscription. Returns what ends with it.
    pub(crate) fn unsubscribe(&self, sub: &Arc<Subscription>) -> Ended {
        sub.close();
        let mut subs = self.subs.write();
        self.remove(&mut subs, sub);
        self.renew();
        drop(subs);
        self.end_with(sub)
    }

    /// Ends many subscriptions under one lock. Returns what ends with them.
    pub(crate) fn unsubscribe_all<'s>(
        &self,
        ended: impl Iterator<Item = &'s Arc<Subscription>> + Clone,
    ) -> Ended {
        let mut subs = self.subs.write();
        for sub in ended.clone() {
            sub.close();
            self.remove(&mut subs, sub);
        }
        self.renew();
        drop(subs);
        let mut all = Ended::default();
        for sub in ended {
            let Ended { mut shadows, mut requests } = self.end_with(sub);
            all.shadows.append(&mut shadows);
            all.requests.append(&mut requests);
        }
        all
    }

    fn remove(&self, subs: &mut Sublist<Subscription>, sub: &Arc<Subscription>) {
        if subs.remove(sub) {
            self.removed.fetch_add(1, Ordering::Relaxed);
            self.interest.changed(sub, -i64::from(sub.weight()));
        }
    }

    /// Says how many members of its queue group a subscription stands for from now on.
    pub(crate) fn reweigh(&self, sub: &Subscription, weight: u32) {
        let _subs = self.subs.write();
        let before = sub.set_weight(weight);
        self.interest.changed(sub, i64::from(weight) - i64::from(before));
    }

    /// Shows all subscriptions to `begin`, while nothing changes, and every change from then on to `watcher`.
    ///
    /// # Errors
    /// There are as many leaf nodes as there may be.
    pub(crate) fn watch_interest(
        &self,
        watcher: Arc<dyn InterestWatcher>,
        begin: impl FnOnce(&Sublist<Subscription>),
    ) -> Result<(), AccountFull> {
        let max = self.limits.read().max_leafnodes;
        let subs = self.subs.read();
        if !self.interest.add(watcher, usize::try_from(max).ok()) {
            return Err(AccountFull);
        }
        begin(&subs);
        Ok(())
    }

    /// Shows no more changes to the watcher with this number.
    pub(crate) fn unwatch_interest(&self, watcher: u64) {
        self.interest.remove(watcher);
    }

    /// Number of its leaf node connections.
    pub fn leafnode_count(&self) -> usize {
        self.interest.watcher_count()
    }

    /// The subject by which a circle of leaf nodes is found: no other account, here or elsewhere, has it.
    pub(crate) fn loop_subject(&self) -> &[u8] {
        self.interest.loop_subject()
    }

    fn end_with(&self, sub: &Arc<Subscription>) -> Ended {
        Ended {
            shadows: self.exchange.end_shadows(sub),
            requests: self.exchange.end_waits(self, sub.subject()),
        }
    }

    /// The shadows of a subscription in the accounts that this one imports streams of.
    pub(crate) fn shadows(&self, sub: &Arc<Subscription>) -> Vec<Shadow> {
        self.exchange.shadows(sub)
    }

    /// Whether the API of JetStream serves it: one that has no JetStream, and imports from others what tells of it, is served
    /// by those alone (nats-server v2.15.2, observed).
    pub(crate) fn is_served_by_api(&self) -> bool {
        self.has_jetstream() || !self.exchange.imports_api()
    }

    /// Whether requests of the API of JetStream that come in here are served here. One that `crosses` is served where it goes, unless
    /// this account has JetStream of its own, and nobody serves those of an account to which it is refused.
    pub(crate) fn serves_api(&self, crosses: bool) -> bool {
        (!crosses || self.has_jetstream()) && !self.is_jetstream_refused()
    }

    /// Replaces what it imports.
    pub(crate) fn set_imports(&self, streams: Vec<ImportedStream>, services: Vec<ImportedService>) {
        self.exchange.set_imports(self, streams, services);
    }

    /// The requests to its services that wait for an answer.
    pub(crate) fn responses(&self) -> Arc<Responses> {
        self.exchange.responses(self)
    }

    /// A request from this account waits for an answer on `subject`, which is known as `reply` in the account that has it.
    pub(crate) fn wait(&self, subject: &Arc<[u8]>, responses: &Arc<Responses>, reply: &Arc<[u8]>) {
        self.exchange.wait(subject, responses, reply);
    }

    /// It does so no longer.
    pub(crate) fn wait_no_more(&self, subject: &[u8], reply: &[u8]) {
        self.exchange.wait_no_more(subject, reply);
    }

    /// Requests to its services that wait for an answer, by their reply subjects.
    pub(crate) fn open_responses(&self) -> Vec<(Arc<[u8]>, Response)> {
        self.exchange.open_responses()
    }

    pub(crate) fn set_message_trace(&self, options: Option<MessageTraceOptions>) {
        self.traces.store(options.is_some(), Ordering::Relaxed);
        *self.message_trace.write() = options;
    }

    /// Whether messages are traced that are traced elsewhere.
    #[inline]
    pub(crate) fn traces(&self) -> bool {
        self.traces.load(Ordering::Relaxed)
    }

    /// Where traces of such messages go.
    pub(crate) fn message_trace(&self) -> Option<MessageTraceOptions> {
        self.message_trace.read().clone()
    }

    /// What it exports and imports, as configured.
    pub fn exchange(&self) -> Arc<ExchangeOptions> {
        self.exchange.options()
    }

    pub(crate) fn set_exchange(&self, options: ExchangeOptions) {
        self.exchange.set_options(options);
    }

    /// Puts what `subject` reaches into `matches`. Tells which other subjects reach the same.
    pub(crate) fn matching(&self, subject: &[u8], matches: &mut Matches<Subscription>) -> Reach {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.subs.read().matching(subject, matches)
    }

    /// Whether a message on `subject` would reach anyone; with `queue`, anyone in that queue group.
    pub fn has_interest(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.subs.read().any_match(subject, |sub| queue.is_none_or(|queue| sub.queue() == queue))
    }

    /// Whether anyone subscribed to `subject` itself and not to a wildcard that covers it, in `queue` or, where that
    /// is empty, in no queue group.
    pub fn has_exact_interest(&self, subject: &[u8], queue: &[u8]) -> bool {
        self.subs.read().any_match(subject, |sub| sub.subject() == subject && sub.queue() == queue)
    }

    /// The sid of a plain subscription of `client` that `subject` reaches.
    pub(crate) fn sid_of(&self, client: u64, subject: &[u8], use_sid: &mut impl FnMut(&[u8])) -> bool {
        self.subs.read().any_match(subject, |sub| {
            let own = matches!(sub.target(), Target::Receiver(owner) if owner.id() == client);
            if own && sub.queue().is_empty() {
                use_sid(sub.sid());
                return true;
            }
            false
        })
    }

    /// Number of subscriptions, those of streams included.
    pub fn subscription_count(&self) -> usize {
        self.subs.read().len()
    }

    /// Number of subscriptions that ended.
    pub(crate) fn subscriptions_removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// How often a subject was looked up among its subscriptions.
    pub(crate) fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// Shows every subscription.
    pub fn for_each_subscription(&self, visit: impl FnMut(&Arc<Subscription>)) {
        self.subs.read().for_each(visit);
    }

    /// Takes the connection with this number in.
    pub(crate) fn add_client(&self, id: u64) -> Result<(), AccountFull> {
        let max = self.limits.read().max_connections;
        let mut clients = self.clients.lock();
        if usize::try_from(max).is_ok_and(|max| clients.len() >= max) {
            return Err(AccountFull);
        }
        clients.insert(id);
        Ok(())
    }

    /// Takes a connection in again, under limits that may have changed meanwhile; tells whether there is still room.
    pub(crate) fn keep_client(&self, id: u64) -> bool {
        let max = self.limits.read().max_connections;
        let mut clients = self.clients.lock();
        clients.remove(&id);
        let has_room = usize::try_from(max).map_or(true, |max| clients.len() < max);
        if has_room {
            clients.insert(id);
        }
        has_room
    }

    /// Whether a connection has a place under limits that changed meanwhile: the oldest ones have.
    pub(crate) fn has_place_for(&self, id: u64) -> bool {
        let max = self.limits.read().max_connections;
        let clients = self.clients.lock();
        let older = || clients.iter().filter(|client| **client < id).count();
        usize::try_from(max).map_or(true, |max| clients.len() <= max || older() < max)
    }

    pub(crate) fn remove_client(&self, id: u64) {
        self.clients.lock().remove(&id);
    }

    /// Number of its connections.
    pub fn client_count(&self) -> usize {
        self.clients.lock().len()
    }

    pub(crate) fn count_slow_consumer(&self) {
        self.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were cut because they did not read fast enough.
    pub fn slow_consumers(&self) -> i64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }
}
