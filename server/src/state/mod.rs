//! What all parts of a running server share.

mod counters;
mod identity;
mod info;
mod isolation;
mod lateness;
mod reload_asks;
mod repeats;
mod restart;
mod system_services;
mod tls_rate;
mod visits;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use jetkv_jetstream::{Clock, WallNs};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, watch};

pub(crate) use counters::Counters;
pub(crate) use identity::{ServerIdentity, random_id};
pub(crate) use isolation::Isolation;
pub(crate) use lateness::Lateness;
pub(crate) use reload_asks::{ReloadAsk, ReloadAsks};
pub(crate) use restart::{Restart, Restarter};
pub(crate) use system_services::SystemServices;
pub(crate) use visits::Visits;

use crate::auth::{Authenticator, Operators};
use crate::blocking::BlockingThreads;
use crate::connections::{ClientType, ClosedClients, ConnectionHandle, Leafnodes};
use crate::durations::Durations;
use crate::faults::Faults;
use crate::jetstream::JetStream;
use crate::journal::Journal;
use crate::options::{Options, Unserved};
use crate::router::Accounts;
use crate::timers::Timers;
use crate::worker::{self, Streams};
use repeats::Repeats;
use system_services::SYSTEM_ACCOUNT_CLIENT;
use tls_rate::TlsRate;

/// Numbers of clients that nats-server v2.15.2 gives to parts of its own behind those of the accounts (observed).
const FURTHER_CLIENTS: u64 = 1;

/// What a server is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It serves.
    Running,
    /// It takes no new connections and closes the others one by one.
    LameDuck,
    /// It stops.
    Stopping,
    /// It has stopped.
    Stopped,
}

/// What a connection finds that wants to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// It is in.
    Open,
    /// There are as many as there may be.
    Full,
    /// The server takes no more.
    Closed,
}

/// The task of a connection, for as long as it runs.
pub(crate) struct ConnectionTask(Arc<Shared>);

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        let mut tasks = self.0.tasks.lock();
        *tasks = tasks.saturating_sub(1);
        if *tasks == 0 {
            self.0.tasks_ended.notify_all();
        }
    }
}

/// What all parts of a running server share.
pub(crate) struct Shared {
    options: ArcSwap<Options>,
    auth: ArcSwap<Authenticator>,
    /// The users of connections over WebSocket.
    websocket_auth: ArcSwap<Authenticator>,
    /// The users of leaf nodes.
    leafnode_auth: ArcSwap<Authenticator>,
    /// Connections of leaf nodes.
    pub leafnodes: Leafnodes,
    /// Tells what connects to other servers that there are others, or fewer.
    pub remotes_changed: Notify,
    pub identity: ServerIdentity,
    pub accounts: Accounts,
    clients: Mutex<HashMap<u64, Arc<dyn ConnectionHandle>>>,
    /// Ports where nobody is served.
    pub(crate) unserved_ports: OnceLock<Vec<(Unserved, u16)>>,
    /// Connections whose tasks have not ended: those in `clients`, and those that only send what is left.
    tasks: Mutex<usize>,
    tasks_ended: Condvar,
    next_client: AtomicU64,
    pub counters: Counters,
    pub clock: Arc<dyn Clock>,
    jetstream: RwLock<Option<Arc<JetStream>>>,
    had_jetstream: AtomicBool,
    pub closed: ClosedClients,
    /// Host and port that INFO names.
    listening: RwLock<(String, i64)>,
    phase: watch::Sender<Phase>,
    failed: AtomicBool,
    on_failure: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Timers of those who are on threads that have none.
    pub timers: Timers,
    /// Threads for work that blocks, from the start of the server to its end.
    blocking: OnceLock<BlockingThreads>,
    event_seq: AtomicU64,
    pub reload_asks: ReloadAsks,
    /// Faults on purpose.
    pub faults: Faults,
    /// What clients asked, where the test lab is on.
    pub journal: Option<Journal>,
    /// Who makes accounts for whoever comes, where the test lab is on.
    pub isolation: OnceLock<Arc<dyn Isolation>>,
    /// Who has messages come late that meet a fault.
    pub lateness: OnceLock<Arc<dyn Lateness>>,
    /// Who starts the server again.
    pub restarter: Restarter,
    /// Log lines that are not said again and again.
    pub repeats: Repeats,
    /// TLS handshakes of clients.
    pub tls_rate: TlsRate,
    /// When the options in force were read.
    configured_at: Mutex<WallNs>,
    /// How long requests and syncs took.
    pub durations: Durations,
    /// How often monitoring pages were asked for.
    pub visits: Visits,
    /// Whose accounts and users are served, where these come with claims.
    operators: OnceLock<Operators>,
    /// What the server listens on in the system account.
    pub system_services: SystemServices,
}

impl Shared {
    pub(crate) fn new(options: Options, clock: Arc<dyn Clock>) -> Self {
        let identity = ServerIdentity::new(options.server_name.as_deref(), clock.wall());
        let system_services = SystemServices::new(&identity.id, &identity.name);
        let configured_at = Mutex::new(identity.started_at);
        let limit = usize::try_from(options.limits.max_closed_clients).unwrap_or(0);
        let accounts = Accounts::new(&options);
        let shared = Self {
            auth: ArcSwap::from_pointee(Authenticator::new(&options)),
            websocket_auth: ArcSwap::from_pointee(Authenticator::for_websocket(&options)),
            leafnode_auth: ArcSwap::from_pointee(Authenticator::for_leafnodes(&options)),
            leafnodes: Leafnodes::default(),
            remotes_changed: Notify::new(),
            identity,
            accounts,
            clients: Mutex::new(HashMap::new()),
            tasks: Mutex::new(0),
            tasks_ended: Condvar::new(),
            next_client: AtomicU64::new(SYSTEM_ACCOUNT_CLIENT),
            system_services,
            counters: Counters::default(),
            clock,
            jetstream: RwLock::new(None),
            unserved_ports: OnceLock::new(),
            had_jetstream: AtomicBool::new(false),
            closed: ClosedClients::new(limit),
            listening: RwLock::new((options.host.clone(), i64::from(options.port))),
            phase: watch::Sender::new(Phase::Running),
            failed: AtomicBool::new(false),
            on_failure: OnceLock::new(),
            timers: Timers::default(),
            blocking: OnceLock::new(),
            event_seq: AtomicU64::new(0),
            reload_asks: ReloadAsks::default(),
            repeats: Repeats::default(),
            faults: Faults::default(),
            journal: options.lab.is_some().then(Journal::default),
            isolation: OnceLock::new(),
            lateness: OnceLock::new(),
            restarter: Restarter::default(),
            tls_rate: TlsRate::default(),
            configured_at,
            durations: Durations::default(),
            visits: Visits::default(),
            operators: OnceLock::new(),
            options: ArcSwap::from_pointee(options),
        };
        shared.number_accounts();
        shared.take_client_ids(FURTHER_CLIENTS);
        shared
    }

    /// The options in force. What may change is asked for where it is used, and not kept.
    pub(crate) fn options(&self) -> Arc<Options> {
        self.options.load_full()
    }

    /// When the options in force were read.
    pub(crate) fn configured_at(&self) -> WallNs {
        *self.configured_at.lock()
    }

    /// The users in force.
    pub(crate) fn auth(&self) -> Arc<Authenticator> {
        self.auth.load_full()
    }

    /// The users in force for a client, by what it speaks over.
    pub(crate) fn auth_of(&self, client: &dyn ConnectionHandle) -> Arc<Authenticator> {
        match client.client_type() {
            ClientType::Nats => self.auth(),
            ClientType::Websocket => self.websocket_auth.load_full(),
        }
    }

    /// The users in force for leaf nodes.
    pub(crate) fn leafnode_auth(&self) -> Arc<Authenticator> {
        self.leafnode_auth.load_full()
    }

    /// The operators, where accounts and users come with claims.
    pub(crate) fn operators(&self) -> Option<&Operators> {
        self.operators.get()
    }

    /// Sets them, before anybody connects.
    pub(crate) fn set_operators(&self, operators: Operators) {
        // They are set once.
        let _ = self.operators.set(operators);
    }

    /// Puts new options and users in force; returns the users before.
    pub(crate) fn replace_options(&self, options: Options) -> Arc<Authenticator> {
        let auth = Arc::new(Authenticator::new(&options));
        self.websocket_auth.store(Arc::new(Authenticator::for_websocket(&options)));
        self.leafnode_auth.store(Arc::new(Authenticator::for_leafnodes(&options)));
        self.accounts.apply(&options);
        self.number_accounts();
        self.options.store(Arc::new(options));
        *self.configured_at.lock() = self.clock.wall();
        self.auth.swap(auth)
    }

    /// Writes down which port was bound, which the options need not say.
    pub(crate) fn set_bound_port(&self, port: u16) {
        let mut options = Options::clone(&self.options.load());
        options.port = port;
        self.options.store(Arc::new(options));
    }

    /// As [`set_bound_port`](Self::set_bound_port), for WebSocket.
    pub(crate) fn set_bound_websocket_port(&self, port: u16) {
        let mut options = Options::clone(&self.options.load());
        if let Some(websocket) = &mut options.websocket {
            websocket.port = port;
        }
        self.options.store(Arc::new(options));
    }

    /// The port that was bound for something that nobody is served at.
    pub(crate) fn bound_unserved_port(&self, feature: Unserved) -> Option<u16> {
        let bound = self.unserved_ports.get()?;
        bound.iter().find(|(of, _)| *of == feature).map(|(_, port)| *port)
    }

    /// The stream engine, if JetStream is enabled.
    pub(crate) fn jetstream(&self) -> Option<Arc<JetStream>> {
        self.jetstream.read().clone()
    }

    pub(crate) fn set_jetstream(&self, jetstream: Option<Arc<JetStream>>) {
        self.had_jetstream.fetch_or(jetstream.is_some(), Ordering::Relaxed);
        *self.jetstream.write() = jetstream;
    }

    /// Whether there is a stream engine, or was one before a reload: the services of JetStream stay, though nobody answers.
    pub(crate) fn had_jetstream(&self) -> bool {
        self.had_jetstream.load(Ordering::Relaxed)
    }

    /// Ends a turn of this thread: what waits for that is committed and leaves. No lock of the engine is held.
    pub(crate) fn end_turn(&self) {
        let jetstream = self.jetstream();
        let engine = jetstream.as_deref().map(|engine| engine as &dyn Streams);
        worker::with(|worker| worker.end_turn(engine));
    }

    /// A number for a new connection.
    pub(crate) fn next_client_id(&self) -> u64 {
        self.take_client_ids(1)
    }

    /// Takes so many numbers for connections, and returns the first.
    pub(crate) fn take_client_ids(&self, count: u64) -> u64 {
        self.next_client.fetch_add(count, Ordering::Relaxed) + 1
    }

    /// Gives accounts that are new a connection of their own, as nats-server does.
    pub(crate) fn number_accounts(&self) {
        for account in self.accounts.all() {
            if !self.accounts.is_system(account.id()) && account.services.client() == 0 {
                account.services.set_client(self.next_client_id());
            }
        }
    }

    /// Takes a connection in, unless there are as many as there may be or the server takes no more.
    pub(crate) fn add_client(&self, client: Arc<dyn ConnectionHandle>) -> Entrance {
        let max = self.options.load().limits.max_connections;
        let mut clients = self.clients.lock();
        // Whoever stops the server enters the phase first and looks at the connections then, so none is missed.
        if !self.is_running() {
            return Entrance::Closed;
        }
        if max < 0 || (max > 0 && clients.len() as u64 >= max.unsigned_abs()) {
            return Entrance::Full;
        }
        clients.insert(client.id(), client);
        Entrance::Open
    }

    /// A connection takes no place any more.
    pub(crate) fn remove_client(&self, id: u64) {
        self.clients.lock().remove(&id);
    }

    /// The task of a connection begins; it ends when what this returns is dropped.
    pub(crate) fn begin_task(self: &Arc<Self>) -> ConnectionTask {
        *self.tasks.lock() += 1;
        ConnectionTask(Arc::clone(self))
    }

    /// Waits until the tasks of all connections have ended, but not for ever.
    pub(crate) fn wait_for_tasks(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut tasks = self.tasks.lock();
        while *tasks > 0 && !self.tasks_ended.wait_until(&mut tasks, until).timed_out() {}
    }

    /// The connections.
    pub(crate) fn clients(&self) -> Vec<Arc<dyn ConnectionHandle>> {
        self.clients.lock().values().cloned().collect()
    }

    /// Number of connections.
    pub(crate) fn client_count(&self) -> usize {
        self.clients.lock().len()
    }

    pub(crate) fn set_listening(&self, host: String, port: i64) {
        *self.listening.write() = (host, port);
    }

    /// Host and port that INFO names.
    pub(crate) fn listening(&self) -> (String, i64) {
        self.listening.read().clone()
    }

    /// What the server is up to, and its changes.
    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Enters a later phase; tells whether it was not reached before.
    pub(crate) fn enter(&self, phase: Phase) -> bool {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        })
    }

    /// Whether the server serves, without being about to stop.
    pub(crate) fn is_running(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }

    /// A part that the server cannot do without ended in a panic: it serves no more.
    pub(crate) fn fail(&self, what: &str) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            crate::log::fatal!("{what} ended in a panic, without which there is no server");
        }
        self.enter(Phase::Stopped);
        if let Some(tell) = self.on_failure.get() {
            tell();
        }
    }

    /// What is to be done when the server [fails](Self::fail); counts once.
    pub(crate) fn on_failure(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_failure.set(Box::new(tell));
    }

    /// Whether it ended by [`fail`](Self::fail).
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Starts the threads for work that blocks.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn start_blocking_threads(self: &Arc<Self>) -> io::Result<()> {
        let shared = Arc::downgrade(self);
        let threads = BlockingThreads::start(Box::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.fail("Work in the background");
            }
        }))?;
        // They are started once.
        let _ = self.blocking.set(threads);
        Ok(())
    }

    /// The threads for work that blocks, in a server that was started.
    pub(crate) fn blocking(&self) -> Option<&BlockingThreads> {
        self.blocking.get()
    }

    /// Has work that may block done on a thread for that.
    pub(crate) fn in_background(&self, work: impl FnOnce() + Send + 'static) {
        match self.blocking() {
            Some(threads) => threads.run(work),
            None => work(),
        }
    }

    /// Has work that may block done on a thread for that, and waits for what it gives; `None` where it panicked.
    pub(crate) async fn call_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self.blocking() {
            Some(threads) => threads.call(work).await,
            None => Some(work()),
        }
    }

    /// Number of the next event of the system account.
    pub(crate) fn next_event_seq(&self) -> u64 {
        self.event_seq.fetch_add(1, Ordering::Relaxed) + 1
    }
}
