//! The world of the stream engine: messages in, messages out, time.

mod alarm;
mod api;
mod faulty_disk;
mod gets;
mod host;
mod queue;
mod sizes;
mod upstream;
mod workers;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::disk::RealDisk;
use jetkv_jetstream::stream::{Inbound, Stream};
use jetkv_jetstream::{
    AccountId, Deadlines, Disk, Engine, EngineError, Host, OutMsg, Outbox, RecoveryReport,
};

use crate::failure;
use crate::router::{Account, Accounts, Listed, Receiver, Shadow, Subscription};
use crate::state::{Phase, Shared};
use crate::worker::{Concerned, Deferred, LongGet, QueuedRequest, Streams, touch};
use api::Warned;
use faulty_disk::FaultyDisk;
use gets::GetQueue;
use host::EngineHost;
use jetkv_go_compat::{friendly_bytes, quoted};
use queue::ApiQueue;
use sizes::{engine_config, reloaded_settings};
use workers::Workers;

pub(crate) use api::{ApiWay, Served};

/// How long the end of what is done in the background is waited for before the rest is looked at again.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// A subject that belongs to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlSubject {
    /// A request of the JetStream API.
    Api,
    /// An acknowledgement or an answer to flow control.
    Control,
    /// A piece of a backup, or the acknowledgement of one.
    Backup,
}

/// The engine and what it needs of the server.
pub(crate) struct JetStream {
    engine: Arc<Engine>,
    host: Arc<EngineHost>,
    api: ApiQueue,
    gets: GetQueue,
    warned: Warned,
    workers: Workers,
}

impl JetStream {
    /// Starts the engine, recovers the streams of all accounts that have JetStream, and starts its timers on the
    /// current runtime.
    ///
    /// # Errors
    /// The store directory cannot be used.
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<Arc<Self>, EngineError> {
        let options = shared.options();
        let host = EngineHost::new(shared);
        let config = engine_config(shared, &options);
        let clock = Arc::clone(&shared.clock);
        let mut disk: Arc<dyn Disk> = Arc::new(RealDisk);
        if options.lab.is_some()
            && let Some(store_dir) = &config.store_dir
        {
            disk = Arc::new(FaultyDisk::new(disk, store_dir, shared));
        }
        let engine = Engine::new(config, clock, disk, Arc::clone(&host) as Arc<dyn Host>)?;
        let workers = Workers::default();
        let (api, gets, warned) = (ApiQueue::default(), GetQueue::default(), Warned::default());
        let jetstream = Arc::new(Self { engine, host, api, gets, warned, workers });
        let accounts = shared.accounts.all();
        jetstream.enable(&accounts.iter().map(|account| &**account).collect::<Vec<_>>())?;
        if let Err(error) = jetstream.workers.start(shared, &jetstream) {
            jetstream.stop(shared);
            return Err(EngineError::Thread(error));
        }
        shared.set_jetstream(Some(Arc::clone(&jetstream)));
        // What recovery delivered went nowhere, but what it deferred has to be stored.
        shared.end_turn();
        let pump = pump_task(Arc::clone(shared), Arc::clone(&jetstream));
        tokio::spawn(failure::vital(Arc::clone(shared), "The task that feeds slow consumers", pump));
        let timer = alarm::timer_task(Arc::clone(shared), Arc::clone(&jetstream));
        tokio::spawn(failure::vital(Arc::clone(shared), "The task of the timers", timer));
        Ok(jetstream)
    }

    /// Gives accounts their streams, those of them that have JetStream. One whose claims promise it more than there is goes
    /// without (nats-server v2.15.2).
    fn enable(&self, accounts: &[&Account]) -> Result<(), EngineError> {
        let with = accounts.iter().filter_map(|account| Some((account, account.jetstream()?)));
        let enabled: Vec<_> = with.map(|(account, limits)| (account.id(), account.name(), limits)).collect();
        self.engine.enable_accounts(&enabled, |id, outcome| {
            let Some(account) = accounts.iter().find(|account| account.id() == id) else { return Ok(()) };
            account.set_jetstream_refused(outcome.is_err() && account.claimed().is_some());
            match outcome {
                Ok(report) => tell_recovered(account, &report),
                Err(error) if account.claimed().is_some() => tell_refused(account, &error),
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }

    /// Puts in force what a reload changed for all accounts together.
    pub(crate) fn apply_settings(&self, shared: &Shared) {
        self.engine.set_settings(reloaded_settings(&self.engine.settings(), &shared.options()));
    }

    /// Brings the accounts in line with options that a reload changed.
    pub(crate) fn apply_accounts(&self, shared: &Shared) {
        for account in shared.accounts.all() {
            self.apply_account(&shared.accounts, &account);
        }
        shared.end_turn();
    }

    /// Brings one account in line with its limits. Its turn is ended by the caller.
    pub(crate) fn apply_account(&self, accounts: &Accounts, account: &Account) {
        if account.jetstream().is_some() && accounts.is_system(account.id()) {
            // It would keep from the others what it reserves.
            account.set_jetstream(None);
            tell_no_resources(account, &"jetstream can not be enabled on the system account");
        }
        let Some(limits) = account.jetstream() else {
            account.set_jetstream_refused(false);
            return self.engine.disable_account(account.id());
        };
        let updated = match self.engine.update_account_limits(account.id(), limits) {
            Err(EngineError::NotEnabled) => self.enable(&[account]).inspect(|()| tell_enabled(account)),
            // It keeps what it has (nats-server v2.15.2).
            updated => {
                account.set_jetstream_refused(false);
                updated
            }
        };
        if let Err(error) = updated {
            tell_refused(account, &error);
        }
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to keep.
    pub(crate) fn engine_handle(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// What of the engine a subject addresses. The name of the domain was taken away before.
    pub(crate) fn control_subject(subject: &[u8]) -> Option<ControlSubject> {
        let rest = subject.strip_prefix(b"$JS.")?;
        if rest.starts_with(b"API.") {
            return Some(ControlSubject::Api);
        }
        if rest.starts_with(b"SNAPSHOT.") {
            return Some(ControlSubject::Backup);
        }
        (rest.starts_with(b"ACK.") || rest.starts_with(b"FC.")).then_some(ControlSubject::Control)
    }

    /// Tells the engine that somebody listens, or nobody any more, where `sub` listens. Gives the streams to be committed
    /// after that.
    #[must_use]
    pub(crate) fn interest_changed(&self, account: &Account, sub: &Subscription, present: bool) -> Concerned {
        let queue = (!sub.queue().is_empty()).then_some(sub.queue());
        self.engine.interest_changed(account.id(), sub.subject(), queue, present)
    }

    /// As [`interest_changed`](Self::interest_changed) where somebody listens from another account.
    #[must_use]
    pub(crate) fn shadows_came(&self, shadows: &[Shadow]) -> Concerned {
        let mut streams = Concerned::new();
        for (account, shadow) in shadows {
            if let Some(account) = account.upgrade().filter(|account| account.has_jetstream()) {
                streams.extend(self.interest_changed(&account, shadow, true));
            }
        }
        streams
    }

    /// Writes and closes every store.
    pub(crate) fn stop(&self, shared: &Shared) {
        tracing::info!("Initiating JetStream Shutdown...");
        self.end_workers();
        self.host.stop();
        self.engine.shutdown();
        shared.end_turn();
        tracing::info!("JetStream Shutdown");
    }

    /// Ends the threads that serve requests, with what waits for them.
    fn end_workers(&self) {
        self.api.close();
        self.gets.close();
        self.workers.join();
    }

    /// Closes every store of a server that does not come to serve: there is nobody to tell.
    pub(crate) fn abandon(&self) {
        self.end_workers();
        self.host.stop();
        self.engine.shutdown();
    }

    /// Publishes a message for a client that left it to the server. Its turn is ended by the caller.
    pub(crate) fn publish_for_client(&self, account: &Account, msg: OutMsg<'_>) {
        self.host.publish_as_client(account.id(), msg);
    }

    /// Fires the timers that are due, and says when the next ones are.
    pub(crate) fn tick(&self, shared: &Shared) -> Deadlines {
        // One at a time: who finds nothing due knows that what was due is on its way.
        let _firing = self.host.firing.lock();
        let next = self.engine.tick();
        self.host.alarm.set(next);
        shared.end_turn();
        next
    }

    /// Fires the timers that are due, and goes on until what follows from that is done, in the background, too, and what
    /// is delivered is on its way; unless the server stops meanwhile. Says when the next timers are due.
    pub(crate) fn tick_until_idle(&self, shared: &Shared) -> Deadlines {
        loop {
            let next = self.tick(shared);
            while self.pump(shared) {}
            let is_idle = shared.blocking().is_none_or(|threads| threads.wait_idle(IDLE_WAIT));
            let is_done = is_idle && !self.host.has_work() && !next.are_reached(&*shared.clock);
            if is_done || !shared.is_running() {
                return next;
            }
        }
    }

    /// Goes on with what did not fit one turn, a little of one stream; tells whether there was anything.
    fn pump(&self, shared: &Shared) -> bool {
        let mut round = self.host.round.lock();
        let begins = round.is_empty();
        if begins {
            let relieved = std::mem::take(&mut *self.host.relieved.lock());
            for (account, subject) in &relieved {
                self.engine.room_came(*account, subject);
            }
            let later = std::mem::replace(&mut *self.host.later.lock(), Deferred::new());
            round.extend(std::mem::take(&mut *self.host.pumps.lock()));
            if round.is_empty() && later.is_empty() {
                return false;
            }
            self.store(&later);
        }
        if let Some(stream) = round.pop_front() {
            stream.pump(&*self.host);
        }
        shared.end_turn();
        true
    }
}

/// Logs what was found of an account's streams.
fn tell_recovered(account: &Account, report: &RecoveryReport) {
    for problem in &report.problems {
        tracing::warn!("{problem}");
    }
    let name = account.name();
    if report.streams > 0 {
        tracing::info!(
            "  Restored {} streams, {} consumers and {} messages for account {name:?}",
            report.streams,
            report.consumers,
            report.msgs,
        );
    }
}

/// Says that an account has JetStream, and of how much.
pub(crate) fn tell_enabled(account: &Account) {
    let Some(limits) = account.jetstream().filter(|_| !account.is_jetstream_refused()) else { return };
    let name = account.name();
    tracing::debug!("Enabled JetStream for account {}", quoted(name));
    for (tier, limits) in limits.tiers() {
        tracing::debug!("  Tier: {tier}");
        tracing::debug!("    Max Memory:      {}", friendly_bytes(limits.max_memory_bytes));
        tracing::debug!("    Max Storage:     {}", friendly_bytes(limits.max_store_bytes));
    }
    if let Some(limits) = limits.flat() {
        tracing::debug!("  Max Memory:      {}", friendly_bytes(limits.max_memory_bytes));
        tracing::debug!("  Max Storage:     {}", friendly_bytes(limits.max_store_bytes));
    }
    tracing::debug!("JetStream state for account {} recovered", quoted(name));
}

/// Logs why an account does not get what it is to have.
fn tell_refused(account: &Account, error: &EngineError) {
    match error {
        EngineError::Resources(refused) => tell_no_resources(account, refused),
        error => tracing::error!("{error}"),
    }
}

/// Logs why there is no JetStream for an account.
fn tell_no_resources(account: &Account, why: &dyn Display) {
    if account.claimed().is_some() {
        let label = account.trace_label();
        tracing::error!("Error configuring jetstream for account [{label}]: {why}");
    } else {
        tracing::error!("Error enabling jetstream on configured accounts: {why}");
    }
}

impl Streams for JetStream {
    fn commit(&self, stream: &Arc<Stream>) {
        stream.commit_at_once(&*self.host);
    }

    fn deliver_all(&self, account: AccountId, answers: &mut Outbox) {
        self.host.deliver_all(account, answers);
        answers.clear();
    }

    fn submit(&self, requests: &mut Vec<QueuedRequest>) {
        self.queue(requests);
    }

    fn submit_get(&self, get: LongGet) {
        self.gets.push(get);
    }

    fn store(&self, deferred: &Deferred) {
        let mut streams = Vec::new();
        for (stream, msg) in deferred.iter() {
            stream.publish_when_known(&Inbound {
                subject: msg.subject,
                reply: msg.reply,
                headers: msg.headers,
                payload: msg.payload,
            });
            touch(&mut streams, stream);
        }
        for stream in &streams {
            stream.commit(&*self.host);
        }
    }

    fn store_later(&self, deferred: &Deferred) {
        self.host.later.lock().append(deferred);
        self.host.work.notify_one();
    }

    fn subscription_ended(&self, account: &Account, sub: &Subscription) -> Concerned {
        if !account.has_jetstream() || account.has_exact_interest(sub.subject(), sub.queue()) {
            return Concerned::new();
        }
        self.interest_changed(account, sub, false)
    }

    fn feed_again(&self, receiver: &dyn Receiver) {
        self.host.feed_again(receiver);
    }
}

/// Goes on with what did not fit one turn, a little of each stream at a time.
async fn pump_task(shared: Arc<Shared>, jetstream: Arc<JetStream>) {
    let mut phase = shared.phase();
    let host = Arc::clone(&jetstream.host);
    while *phase.borrow_and_update() < Phase::Stopping && !host.is_stopped() {
        tokio::select! {
            () = host.work.notified() => {}
            _ = phase.changed() => continue,
        }
        while jetstream.pump(&shared) {
            tokio::task::yield_now().await;
        }
    }
}
