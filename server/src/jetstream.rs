//! The world of the stream engine: messages in, messages out, time.

mod queue;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use jetkv_jetstream::disk::RealDisk;
use jetkv_jetstream::stream::{Inbound, Stream};
use jetkv_jetstream::{
    AccountId, ApiRequest, Delivery, Engine, EngineConfig, EngineError, EngineSettings, Host, OutMsg, Outbox,
    SyncPolicy,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::events;
use crate::net::{Client, DeliverSubject, settle, touch};
use crate::options::{JetStreamOptions, Options};
use crate::router::{Account, Origin, RouteCache, Routed, Subscription, Target, has_room, route};
use crate::state::{Phase, Shared};
use queue::QueueLimits;

/// Rounds of messages from stream to stream that one turn of work takes before other work gets its turn.
const CHAINED_ROUNDS_MAX: usize = 8;

/// Longest time between two looks at the wall clock while a timer is armed: the clock may be set.
const CLOCK_LOOK: Duration = Duration::from_secs(10);

/// Answer to the system account, which can have no streams.
const NOT_FOR_SYSTEM: &[u8] = br#"{"type":"io.nats.jetstream.api.v1.system_response","error":{"code":503,"err_code":10039,"description":"JetStream not enabled for account"}}"#;

thread_local! {
    static TURN: RefCell<Turn> = const { RefCell::new(Turn::new()) };
}

/// What a thread needs while the engine hands it messages.
struct Turn {
    cache: Option<RouteCache>,
    /// Messages that the engine delivered on subjects that streams capture. They enter those streams once no
    /// engine lock is held.
    deferred: Deferred,
}

/// Messages on their way into streams.
struct Deferred {
    streams: Vec<Arc<Stream>>,
    messages: Outbox,
}

impl Turn {
    const fn new() -> Self {
        Self { cache: None, deferred: Deferred::new() }
    }
}

impl Deferred {
    const fn new() -> Self {
        Self { streams: Vec::new(), messages: Outbox::new() }
    }

    fn push(&mut self, stream: &Arc<Stream>, msg: OutMsg<'_>) {
        self.streams.push(Arc::clone(stream));
        self.messages.push(msg);
    }

    fn append(&mut self, other: &Self) {
        for (stream, msg) in other.streams.iter().zip(other.messages.iter()) {
            self.push(stream, msg);
        }
    }
}

/// A subject that belongs to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlSubject {
    /// A request of the JetStream API.
    Api,
    /// An acknowledgement or an answer to flow control.
    Control,
}

/// The engine and what it needs of the server.
pub(crate) struct JetStream {
    engine: Arc<Engine>,
    host: Arc<EngineHost>,
    queue_limits: QueueLimits,
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
        let engine = Engine::new(config, clock, Arc::new(RealDisk), Arc::clone(&host) as Arc<dyn Host>)?;
        let queue_limits = QueueLimits::new(&options.jetstream);
        let jetstream = Arc::new(Self { engine, host, queue_limits });
        for account in shared.accounts.all() {
            jetstream.enable(&account)?;
        }
        shared.set_jetstream(Some(Arc::clone(&jetstream)));
        // What recovery delivered went nowhere, but what it deferred has to be stored.
        settle(shared);
        tokio::spawn(pump_task(Arc::clone(shared), Arc::clone(&jetstream)));
        tokio::spawn(timer_task(Arc::clone(shared), Arc::clone(&jetstream)));
        Ok(jetstream)
    }

    /// Gives an account its streams, if it has JetStream.
    fn enable(&self, account: &Account) -> Result<(), EngineError> {
        let Some(limits) = account.jetstream() else { return Ok(()) };
        let report = self.engine.enable_account(account.id(), account.name(), limits)?;
        for problem in &report.problems {
            tracing::warn!("{problem}");
        }
        if report.streams > 0 {
            tracing::info!(
                "  Restored {} streams, {} consumers and {} messages for account {:?}",
                report.streams,
                report.consumers,
                report.msgs,
                account.name()
            );
        }
        tracing::debug!("Enabled JetStream for account {:?}", account.name());
        Ok(())
    }

    /// Brings engine and accounts in line with options that a reload changed.
    pub(crate) fn apply(&self, shared: &Shared) {
        let options = shared.options();
        self.engine.set_settings(reloaded_settings(&self.engine.settings(), &options));
        for account in shared.accounts.all() {
            match account.jetstream() {
                Some(limits) => {
                    if self.engine.update_account_limits(account.id(), limits).is_err()
                        && let Err(error) = self.enable(&account)
                    {
                        tracing::error!("Error enabling jetstream on account {:?}: {error}", account.name());
                    }
                }
                None => self.engine.disable_account(account.id()),
            }
        }
        settle(shared);
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
        (rest.starts_with(b"ACK.") || rest.starts_with(b"FC.")).then_some(ControlSubject::Control)
    }

    /// Commits what was published to a stream, and delivers what waited for that; where it has to be on the disk
    /// first, that happens later, on another thread.
    pub(crate) fn commit(&self, stream: &Arc<Stream>) {
        stream.commit(&*self.host);
    }

    /// Serves a request of the JetStream API; tells whether anything serves its subject. `answers` is only lent, and
    /// empty before and after.
    pub(crate) fn serve(&self, request: &ApiRequest<'_>, answers: &mut Outbox) -> bool {
        if let Some(queue) = self.queue_limits.full_queue(request.subject) {
            tracing::warn!("{queue} limit reached, dropping 1 requests");
            events::api_limit_reached(&self.host.shared, 1);
            return true;
        }
        if self.host.shared.accounts.is_system(request.account) && queue::is_about_assets(request.subject) {
            if !request.reply.is_empty() {
                answers.push_with(request.reply, |out| out.extend_from_slice(NOT_FOR_SYSTEM));
                self.deliver_all(request.account, answers);
            }
            return true;
        }
        let outcome = self.engine.api_when_durable(request, answers);
        self.deliver_all(request.account, answers);
        if let Some(stream) = &outcome.stream {
            self.commit(stream);
        }
        !outcome.no_responders
    }

    fn deliver_all(&self, account: AccountId, answers: &mut Outbox) {
        for answer in answers.iter() {
            self.host.deliver(account, answer);
        }
        answers.clear();
    }

    /// Stores what the engine delivered on subjects of streams; tells whether there was any.
    pub(crate) fn publish_deferred(&self) -> bool {
        if TURN.with_borrow(|turn| turn.deferred.streams.is_empty()) {
            return false;
        }
        for _ in 0..CHAINED_ROUNDS_MAX {
            let deferred =
                TURN.with_borrow_mut(|turn| std::mem::replace(&mut turn.deferred, Deferred::new()));
            if deferred.streams.is_empty() {
                return false;
            }
            self.store(&deferred);
        }
        // Streams that feed each other must not keep a thread for ever.
        let deferred = TURN.with_borrow_mut(|turn| std::mem::replace(&mut turn.deferred, Deferred::new()));
        if !deferred.streams.is_empty() {
            self.host.later.lock().append(&deferred);
            self.host.work.notify_one();
        }
        false
    }

    fn store(&self, deferred: &Deferred) {
        let mut streams = Vec::new();
        for (stream, msg) in deferred.streams.iter().zip(deferred.messages.iter()) {
            stream.publish(&Inbound {
                subject: msg.subject,
                reply: msg.reply,
                headers: msg.headers,
                payload: msg.payload,
            });
            touch(&mut streams, stream);
        }
        for stream in &streams {
            self.commit(stream);
        }
    }

    /// Has a message enter a stream at the end of the current turn.
    pub(crate) fn defer(&self, stream: &Arc<Stream>, msg: OutMsg<'_>) {
        TURN.with_borrow_mut(|turn| turn.deferred.push(stream, msg));
    }

    /// Lets the consumers that waited for room at a connection go on.
    pub(crate) fn feed_again(&self, client: &Client) {
        let mut starved = client.take_starved();
        if !starved.is_empty() {
            self.host.relieved.lock().append(&mut starved);
            self.host.work.notify_one();
        }
    }

    /// Writes and closes every store.
    pub(crate) fn stop(&self, shared: &Shared) {
        tracing::info!("Initiating JetStream Shutdown...");
        self.engine.shutdown();
        settle(shared);
        tracing::info!("JetStream Shutdown");
    }

    /// Closes every store of a server that does not come to serve: there is nobody to tell.
    pub(crate) fn abandon(&self) {
        self.engine.shutdown();
    }

    /// Fires the timers that are due. For a host whose clock is moved by hand.
    pub(crate) fn tick(&self, shared: &Shared) {
        if let Some(at_ns) = self.engine.tick() {
            self.host.wake_at(at_ns);
        }
        settle(shared);
    }
}

/// The router as the engine sees it.
struct EngineHost {
    me: Weak<Self>,
    /// The server keeps the engine, which keeps this, until it stops.
    shared: Arc<Shared>,
    /// What streams capture.
    captures: Mutex<HashMap<CaptureKey, Arc<Subscription>>>,
    /// Streams with more to deliver than fitted one turn.
    pumps: Mutex<Vec<Arc<Stream>>>,
    /// Deliver subjects whose receivers may have room again.
    relieved: Mutex<Vec<DeliverSubject>>,
    /// Messages between streams that wait for a turn of their own.
    later: Mutex<Deferred>,
    work: Notify,
    /// When the engine wants to be woken, nanoseconds since 1970; `u64::MAX` for never.
    wake_at_ns: AtomicU64,
    alarm: Notify,
    /// Where the threads are that wait for the disk.
    runtime: Handle,
}

/// A stream, by its address, and a pattern.
type CaptureKey = (usize, Box<[u8]>);

impl EngineHost {
    fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            shared: Arc::clone(shared),
            captures: Mutex::new(HashMap::new()),
            pumps: Mutex::new(Vec::new()),
            relieved: Mutex::new(Vec::new()),
            later: Mutex::new(Deferred::new()),
            work: Notify::new(),
            wake_at_ns: AtomicU64::new(u64::MAX),
            alarm: Notify::new(),
            runtime: Handle::current(),
        })
    }
}

impl Host for EngineHost {
    fn deliver(&self, account: AccountId, msg: OutMsg<'_>) -> Delivery {
        let routed = self.shared.accounts.with(account, |account| {
            let routed = TURN.with_borrow_mut(|turn| {
                let matches = turn.cache.get_or_insert_default().matches(account, msg.to);
                let deferred = &mut turn.deferred;
                route(matches, Origin::Server, msg, |stream| deferred.push(stream, msg))
            });
            if routed.sent_msgs > 0 {
                let bytes = routed.sent_msgs * (msg.headers.len() + msg.payload.len()) as u64;
                account.traffic.sent(routed.sent_msgs, bytes);
                self.shared.counters.traffic.sent(routed.sent_msgs, bytes);
            }
            routed
        });
        match routed.unwrap_or_default() {
            Routed { pressured: Some(_), .. } => Delivery::Pressured,
            Routed { delivered: true, .. } => Delivery::Sent,
            _ => Delivery::NoInterest,
        }
    }

    fn has_interest(&self, account: AccountId, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.shared.accounts.get(account).is_some_and(|account| account.has_interest(subject, queue))
    }

    fn has_room(&self, account: AccountId, subject: &[u8]) -> bool {
        let Some(within) = self.shared.accounts.get(account) else { return true };
        TURN.with_borrow_mut(|turn| {
            let matches = turn.cache.get_or_insert_default().matches(&within, subject);
            has_room(matches, |client| client.starve(account, subject))
        })
    }

    fn has_exact_interest(&self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        self.shared.accounts.get(account).is_some_and(|account| account.has_exact_interest(subject, queue))
    }

    fn stream_subject(&self, stream: &Arc<Stream>, pattern: &[u8], listening: bool) {
        let Some(account) = self.shared.accounts.get(stream.account()) else { return };
        let key = (Arc::as_ptr(stream).addr(), pattern.into());
        let mut captures = self.captures.lock();
        if !listening {
            if let Some(sub) = captures.remove(&key) {
                account.unsubscribe(&sub);
            }
            return;
        }
        if captures.contains_key(&key) {
            return;
        }
        let sub = Arc::new(Subscription::new(Target::Stream(Arc::clone(stream)), pattern, b"", b""));
        if account.subscribe(Arc::clone(&sub)).is_ok() {
            captures.insert(key, sub);
        }
    }

    fn wake_at(&self, at_ns: u64) {
        if self.wake_at_ns.fetch_min(at_ns, Ordering::AcqRel) > at_ns {
            self.alarm.notify_one();
        }
    }

    fn pump_later(&self, stream: &Arc<Stream>) {
        touch(&mut self.pumps.lock(), stream);
        self.work.notify_one();
    }

    /// The thread that waits for the disk also routes what waited with it: nobody has to be woken for that.
    fn sync_later(&self, stream: &Arc<Stream>) {
        let Some(host) = self.me.upgrade() else { return };
        let stream = Arc::clone(stream);
        self.runtime.spawn_blocking(move || {
            while stream.sync(&*host) {
                settle(&host.shared);
            }
            settle(&host.shared);
        });
    }

    fn end_turn(&self) {
        settle(&self.shared);
    }

    fn run_later(&self, work: Box<dyn FnOnce() + Send>) {
        self.runtime.spawn_blocking(work);
    }
}

/// Goes on with what did not fit one turn, a little of each stream at a time.
async fn pump_task(shared: Arc<Shared>, jetstream: Arc<JetStream>) {
    let mut phase = shared.phase();
    let host = Arc::clone(&jetstream.host);
    while *phase.borrow_and_update() < Phase::Stopping {
        tokio::select! {
            () = host.work.notified() => {}
            _ = phase.changed() => continue,
        }
        loop {
            let relieved = std::mem::take(&mut *host.relieved.lock());
            for (account, subject) in &relieved {
                jetstream.engine.room_came(*account, subject);
            }
            let streams = std::mem::take(&mut *host.pumps.lock());
            let later = std::mem::replace(&mut *host.later.lock(), Deferred::new());
            if streams.is_empty() && later.streams.is_empty() {
                break;
            }
            jetstream.store(&later);
            for stream in streams {
                stream.pump(&*host);
                settle(&shared);
                tokio::task::yield_now().await;
            }
            settle(&shared);
            tokio::task::yield_now().await;
        }
    }
}

/// Wakes the engine when its timers are due.
async fn timer_task(shared: Arc<Shared>, jetstream: Arc<JetStream>) {
    let mut phase = shared.phase();
    let host = Arc::clone(&jetstream.host);
    while *phase.borrow_and_update() < Phase::Stopping {
        let now_ns = shared.clock.now_ns();
        let due_in = Duration::from_nanos(host.wake_at_ns.load(Ordering::Acquire).saturating_sub(now_ns));
        if due_in.is_zero() {
            host.wake_at_ns.store(u64::MAX, Ordering::Release);
            jetstream.tick(&shared);
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(due_in.min(CLOCK_LOOK)) => {}
            () = host.alarm.notified() => {}
            _ = phase.changed() => {}
        }
    }
}

fn engine_config(shared: &Shared, all: &Options) -> EngineConfig {
    let options = &all.jetstream;
    let store_dir = options.store_dir.clone().unwrap_or_else(default_store_dir);
    EngineConfig {
        domain: options.domain.clone().unwrap_or_default(),
        strict: options.strict,
        settings: EngineSettings {
            max_memory_bytes: memory_limit_bytes(options),
            max_file_bytes: disk_limit_bytes(options, &store_dir),
            ..engine_settings(all)
        },
        store_dir: Some(store_dir),
        sync: if options.sync_always {
            SyncPolicy::Always
        } else {
            SyncPolicy::EveryNs(u64::try_from(options.sync_interval.as_nanos()).unwrap_or(u64::MAX))
        },
        server_name: shared.identity.name.clone(),
        server_id: shared.identity.id.clone(),
        max_pending_bytes: u64::try_from(all.limits.max_pending_bytes).unwrap_or(u64::MAX),
        max_buffered_bytes: match options.max_buffered_bytes {
            0 => EngineConfig::default().max_buffered_bytes,
            // A negative number is as good as no limit.
            bytes => u64::try_from(bytes).unwrap_or(u64::MAX),
        },
        seed: rand::random(),
    }
}

/// What the options say of what may change while the engine runs. What it finds out by itself is negative.
fn engine_settings(all: &Options) -> EngineSettings {
    let options = &all.jetstream;
    EngineSettings {
        max_memory_bytes: options.max_memory_bytes,
        max_file_bytes: options.max_store_bytes,
        max_payload_bytes: all.limits.max_payload_bytes.map_or(u64::MAX, |bytes| bytes as u64),
        duplicates_max_ns: i64::try_from(options.limits.duplicate_window.as_nanos()).unwrap_or(i64::MAX),
        max_consumers_per_stream: options.limits.default_max_consumers,
        max_ack_pending: options.limits.max_ack_pending,
        max_request_batch: options.limits.max_request_batch,
    }
}

/// What holds after a reload. What the engine found out when it started stays.
fn reloaded_settings(old: &EngineSettings, options: &Options) -> EngineSettings {
    let mut settings = engine_settings(options);
    for (new, old) in [
        (&mut settings.max_memory_bytes, old.max_memory_bytes),
        (&mut settings.max_file_bytes, old.max_file_bytes),
    ] {
        if *new < 0 {
            *new = old;
        }
    }
    settings
}

/// What is configured, else three quarters of the machine's memory.
fn memory_limit_bytes(options: &JetStreamOptions) -> i64 {
    if options.max_memory_bytes >= 0 {
        return options.max_memory_bytes;
    }
    let info = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "the width of the field differs between platforms")]
    let total = u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit));
    three_quarters(total)
}

/// What is configured, else three quarters of what is free where streams are kept.
fn disk_limit_bytes(options: &JetStreamOptions, store_dir: &Path) -> i64 {
    if options.max_store_bytes >= 0 {
        return options.max_store_bytes;
    }
    // The directory need not exist yet; the first one above it that does is on the same disk.
    let store_dir = std::path::absolute(store_dir).unwrap_or_else(|_| store_dir.to_owned());
    let free = store_dir.ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok());
    three_quarters(free.map_or(0, |free| free.f_bavail.saturating_mul(free.f_frsize)))
}

fn three_quarters(bytes: u64) -> i64 {
    i64::try_from(bytes / 4 * 3).unwrap_or(i64::MAX)
}

/// Where streams are kept when nothing else is configured: `nats` in the system's temporary directory.
pub(crate) fn default_store_dir() -> PathBuf {
    std::env::temp_dir().join("nats")
}
