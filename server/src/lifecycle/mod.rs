//! The life of a server: start, reload, lame duck mode, shutdown.

mod announce;
mod lame_duck;
mod reload;
mod start_error;
mod threads;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::{AccountId, AdjustableClock, Clock, Engine, SystemClock};
use parking_lot::{Condvar, Mutex};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::auth::Operators;
use crate::banner;
use crate::claimed;
use crate::connections::CloseReason;
use crate::events;
use crate::failure;
use crate::interfaces;
use crate::lab::Lab;
use crate::monitor;
use crate::net::{self, Door, MemoryStream};
use crate::options::{Change, Options, ReloadError, Unserved, UnservedListener, host_and_port};
use crate::pid_file;
use crate::ports_file::PortsFile;
use crate::reactor::Policy;
use crate::signals::Controlled;
use crate::snapshot::MonitorSource;
use crate::state::{Phase, ReloadAsk, Restart, Shared};
use crate::unserved::{self, Opened};
use crate::views;
pub use start_error::StartError;
use threads::Threads;

/// Time that connections get at shutdown to take what is queued for them.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A running server. It stops when the last handle is dropped, at the latest.
///
/// ```
/// use jetkv::options::{Action, Change, Options, ReloadError};
/// use jetkv::{MemoryStream, Server};
/// use tokio::io::AsyncReadExt as _;
///
/// let options = Options { host: "127.0.0.1".to_owned(), port: 0, ..Options::default() };
/// let server = Server::start(options.clone())?;
/// assert!(server.client_url().ends_with(&server.client_address().port().to_string()));
///
/// // A connection that needs no port.
/// let mut connection: MemoryStream = server.connect_in_memory();
/// let mut info = [0; 5];
/// server.runtime().block_on(connection.read_exact(&mut info))?;
/// assert_eq!(&info, b"INFO ");
///
/// let mut changed = Options::clone(&server.monitor().options());
/// changed.limits.max_connections = 10;
/// let changes: Vec<Change> = server.reload(changed.clone())?;
/// assert_eq!(changes[0].action, Action::MaxConnections);
/// changed.port = 1;
/// let refused: ReloadError = server.reload(changed).unwrap_err();
/// assert!(!refused.to_string().is_empty());
///
/// server.lame_duck();
/// server.shutdown();
/// server.wait();
/// assert!(!server.has_failed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    lab: Option<Lab>,
    threads: Threads,
    address: SocketAddr,
    /// Where clients connect over WebSocket, if they can.
    websocket_address: Option<SocketAddr>,
    /// The port of the monitoring pages, until they are served.
    monitor_listener: Mutex<Option<TcpListener>>,
    /// Where the monitoring pages are served, once they are.
    monitor_address: Mutex<Option<SocketAddr>>,
    /// The ports of what is not served yet.
    unserved: Vec<unserved::Place>,
    /// The configuration names the cluster.
    is_cluster_named: bool,
    ports_file: Mutex<Option<PortsFile>>,
    stopped: Mutex<Stop>,
    stopped_changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    NotYet,
    Begun,
    Done,
}

fn bind_monitor(options: &Options, threads: &Threads) -> Result<Option<TcpListener>, StartError> {
    let _context = threads.services().enter();
    monitor::bind(options).map_err(|source| {
        let port = options.monitor.port.unwrap_or_default();
        StartError::Monitor { address: interfaces::host_port(&options.monitor.host, port), source }
    })
}

/// Opens the ports of what is not served yet.
fn bind_unserved(options: &Options) -> Result<Vec<Opened>, StartError> {
    let bind = |listener: &UnservedListener| {
        Opened::bind(listener).map_err(|source| StartError::Unserved { listener: listener.clone(), source })
    };
    options.unserved_listeners.iter().map(bind).collect()
}

/// Opens the port that clients connect to over WebSocket, if there is to be one.
fn bind_websocket(shared: &Shared) -> Result<Option<(SocketAddr, TcpListener)>, StartError> {
    let options = shared.options();
    let Some(websocket) = &options.websocket else { return Ok(None) };
    let listener = net::bind(&websocket.host, websocket.port);
    let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|source| StartError::Websocket {
        address: interfaces::host_port(&websocket.host, websocket.port),
        source,
    })?;
    shared.set_bound_websocket_port(address.port());
    if let Some(advertised) = &websocket.advertise {
        host_and_port(advertised, address.port()).map_err(|reason| {
            banner::log_websocket(&shared.options());
            StartError::WebsocketAdvertise(reason)
        })?;
    }
    Ok(Some((address, listener)))
}

/// Finds what a server needs whose accounts come with claims.
fn trust_operators(shared: &Arc<Shared>) -> Result<(), StartError> {
    let operators = Operators::new(&shared.options().operators);
    if let Some(operators) = operators.map_err(|error| StartError::Accounts(error.to_string()))? {
        shared.set_operators(operators);
    }
    claimed::find_resolver(shared).map_err(StartError::Accounts)?;
    claimed::find_system_account(shared).map_err(StartError::Accounts)
}

/// Starts what looks at the whole server now and then.
fn start_watches(shared: &Arc<Shared>, services: &Handle) {
    if shared.options().tls.as_ref().is_some_and(|tls| tls.connection_rate_limit > 0) {
        services.spawn(net::log_rejected(Arc::clone(shared)));
    }
    if shared.operators().is_some() {
        let watching = claimed::watch(Arc::clone(shared));
        services.spawn(failure::vital(Arc::clone(shared), "What looks after the end of claims", watching));
    }
    let beating = events::beat(Arc::clone(shared));
    services.spawn(failure::vital(Arc::clone(shared), "The heartbeat", beating));
}

/// Starts what has to do with other servers.
fn start_peers(shared: &Arc<Shared>, opened: Vec<Opened>, threads: &Threads) {
    let services = threads.services();
    for opened in opened {
        if opened.place().feature == Unserved::Cluster {
            services.spawn(opened.refuse_all(Arc::clone(shared)));
            continue;
        }
        let (door, listener) = (Door::Leafnodes, opened.into_listener());
        let listening = net::listen(Arc::clone(shared), door, listener, threads.first().clone());
        services.spawn(failure::vital(Arc::clone(shared), "The listener for leaf nodes", listening));
    }
    let soliciting = net::solicit(Arc::clone(shared), threads.first().clone());
    services.spawn(failure::vital(Arc::clone(shared), "What connects to other servers", soliciting));
}

/// Opens the port that clients connect to, and decides what INFO says of it.
fn bind_clients(shared: &Shared) -> Result<(SocketAddr, TcpListener), StartError> {
    let options = shared.options();
    let listener = net::bind(&options.host, options.port);
    let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|source| StartError::Listen {
        address: interfaces::host_port(&options.host, options.port),
        source,
    })?;
    shared.set_bound_port(address.port());
    let (host, port) = announce::advertised(&shared.options()).map_err(|reason| {
        banner::log_listening(&options.host, address.port());
        StartError::Advertise(options.client_advertise.clone().unwrap_or_default(), reason)
    })?;
    shared.set_listening(host, port);
    Ok((address, listener))
}

impl Server {
    /// Starts a server: recovers its streams, opens its port, and returns when clients can connect. It runs on
    /// threads of its own and can be started from anywhere, a test or an async function included.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: Options) -> Result<Self, StartError> {
        if options.lab.is_none() {
            return Self::start_with(options, Arc::new(SystemClock), None, Policy::Measured);
        }
        let clock = Arc::new(AdjustableClock::new());
        Self::start_with(options, Arc::clone(&clock) as _, Some(clock), Policy::Measured)
    }

    /// As [`start`](Self::start), with a clock of the caller's. After moving a manual clock, call
    /// [`tick`](Self::tick).
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start_with_clock(options: Options, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        if options.lab.is_some() {
            return Err(StartError::LabClock);
        }
        Self::start_with(options, clock, None, Policy::Measured)
    }

    /// As [`start`](Self::start), for tests: each connection goes to another thread whenever it waits for its client.
    ///
    /// ```no_run
    /// let server = jetkv::Server::start_restless(jetkv::options::Options::default())?;
    /// # Ok::<(), jetkv::StartError>(())
    /// ```
    ///
    /// # Errors
    /// See [`StartError`].
    #[doc(hidden)]
    pub fn start_restless(options: Options) -> Result<Self, StartError> {
        Self::start_with(options, Arc::new(SystemClock), None, Policy::Restless)
    }

    /// The lab moves the second clock, which is the first one.
    fn start_with(
        mut options: Options,
        clock: Arc<dyn Clock>,
        adjustable: Option<Arc<AdjustableClock>>,
        policy: Policy,
    ) -> Result<Self, StartError> {
        let is_cluster_named = unserved::name_cluster(&mut options);
        let shared = Arc::new(Shared::new(options, clock));
        let options = shared.options();
        // Claims may have to be fetched, which one of the threads does.
        let threads = Threads::start(&shared, policy).map_err(StartError::Thread)?;
        trust_operators(&shared)?;
        banner::log_identity(&shared.identity.name, &shared.identity.id, &options);
        if let Some(path) = &options.pid_file {
            pid_file::write(path).map_err(StartError::PidFile)?;
        }
        shared.start_blocking_threads().map_err(StartError::Thread)?;
        claimed::start(&shared);
        let monitor_listener = bind_monitor(&options, &threads)?;
        let services = threads.services();
        let _context = services.enter();
        banner::log_system_account(&options);
        if options.jetstream.enabled {
            announce::start_jetstream(&shared)?;
        }
        let bound = bind_websocket(&shared)
            .and_then(|websocket| Ok((websocket, bind_unserved(&options)?, bind_clients(&shared)?)));
        let (websocket, unserved, (address, listener)) = bound.inspect_err(|_| {
            if let Some(jetstream) = shared.jetstream() {
                jetstream.abandon();
                shared.set_jetstream(None);
            }
        })?;
        // Whoever comes first finds it.
        let lab = match (&options.lab, adjustable) {
            (Some(lab), Some(clock)) => Some(Lab::start(&shared, clock, lab).map_err(StartError::Thread)?),
            _ => None,
        };
        let listening = net::listen(Arc::clone(&shared), Door::Clients, listener, threads.first().clone());
        services.spawn(failure::vital(Arc::clone(&shared), "The listener", listening));
        let websocket_address = websocket.as_ref().map(|(address, _)| *address);
        if let Some((_, listener)) = websocket {
            let listening =
                net::listen(Arc::clone(&shared), Door::Websocket, listener, threads.first().clone());
            services.spawn(failure::vital(Arc::clone(&shared), "The listener for WebSocket", listening));
        }
        start_watches(&shared, &services);
        let places: Vec<unserved::Place> = unserved.iter().map(Opened::place).collect();
        let ports = places.iter().map(|place| (place.feature, place.address.port())).collect();
        let _ = shared.unserved_ports.set(ports);
        start_peers(&shared, unserved, &threads);
        let inner = Arc::new(Inner {
            shared,
            lab,
            threads,
            address,
            websocket_address,
            monitor_listener: Mutex::new(monitor_listener),
            monitor_address: Mutex::new(None),
            unserved: places,
            is_cluster_named,
            ports_file: Mutex::new(None),
            stopped: Mutex::new(Stop::NotYet),
            stopped_changed: Condvar::new(),
        });
        let waited_for = Arc::downgrade(&inner);
        inner.shared.on_failure(move || {
            if let Some(inner) = waited_for.upgrade() {
                // Whoever looked before waits by now.
                drop(inner.stopped.lock());
                inner.stopped_changed.notify_all();
            }
        });
        Ok(Self { inner })
    }

    /// Tells the world that the server is ready: writes the ports file, and logs the line that tools wait for. To be
    /// called once, after everything else that listens has been started; `monitoring` is where the pages are.
    pub fn ready(&self, monitoring: Option<SocketAddr>) {
        *self.inner.monitor_address.lock() = monitoring;
        let options = self.inner.shared.options();
        // Routes come last, as on nats-server.
        let is_route = |place: &&unserved::Place| place.feature == Unserved::Cluster;
        let unserved = &self.inner.unserved;
        banner::log_websocket(&options);
        unserved.iter().filter(|place| !is_route(place)).for_each(unserved::log_listening);
        unserved::warn(unserved);
        banner::log_listening(&options.host, self.inner.address.port());
        banner::log_proxy_protocol(&options);
        banner::log_tls(&options);
        let directory = options.ports_file_dir.as_deref();
        let written = directory.map(|directory| PortsFile::write(directory, &self.inner.ports()));
        banner::log_ready();
        for place in unserved.iter().filter(is_route) {
            unserved::log_cluster(
                options.cluster_name.as_deref().unwrap_or_default(),
                self.inner.is_cluster_named,
            );
            unserved::log_listening(place);
        }
        *self.inner.ports_file.lock() = written.map(PortsFile::report);
    }

    /// Address that clients connect to, with the port that was chosen if any was asked for.
    pub fn client_address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Address that clients connect to over WebSocket, if they can.
    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.inner.websocket_address
    }

    /// URL for a client on the same machine.
    pub fn client_url(&self) -> String {
        let mut address = self.inner.address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("nats://{address}")
    }

    /// Opens a client's connection within this process, which needs no port. It carries the bytes of the client protocol,
    /// beginning with INFO, and is served as any other connection; one that the server does not take is closed at once.
    pub fn connect_in_memory(&self) -> MemoryStream {
        net::connect_in_memory(&self.inner.shared, self.inner.threads.first())
    }

    /// The stream engine, for whoever works with streams or buckets in this process; `None` without JetStream.
    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.monitor().engine()
    }

    /// The number by which the engine knows an account; `$G` is the one that connections without another are in.
    pub fn account(&self, name: &str) -> Option<AccountId> {
        self.inner.shared.accounts.by_name(name).map(|account| account.id())
    }

    /// The test lab, if the options ask for it.
    pub fn lab(&self) -> Option<Lab> {
        self.inner.lab.clone()
    }

    /// What monitoring pages show.
    pub fn monitor(&self) -> MonitorSource {
        MonitorSource::new(Arc::clone(&self.inner.shared))
    }

    /// Serves the monitoring pages if the options have a port for them. Gives the address that they are served on.
    ///
    /// # Errors
    /// The operating system's, when it does not tell the address.
    pub fn serve_monitoring(&self) -> io::Result<Option<SocketAddr>> {
        let Some(listener) = self.inner.monitor_listener.lock().take() else { return Ok(None) };
        monitor::serve(listener, self.monitor(), self.lab(), &self.runtime()).map(Some)
    }

    /// Status and text of a monitoring page, as HTTP would bring it: `page("/connz", "subs=true")`. It needs no port.
    pub fn page(&self, path: &str, query: &str) -> (u16, String) {
        let page = views::page(&self.monitor(), path, query);
        (page.status.as_u16(), page.content.into_text())
    }

    /// The runtime of the thread that serves no connections, for services beside the server. Tasks on it must not block.
    pub fn runtime(&self) -> Handle {
        self.inner.threads.services()
    }

    /// Puts other options in force.
    ///
    /// # Errors
    /// An option changed that cannot change while the server runs; then nothing was changed.
    pub fn reload(&self, options: Options) -> Result<Vec<Change>, ReloadError> {
        let before = self.options();
        let changes = self.inner.reload(options)?;
        self.inner.close_unpinned(&before);
        Ok(changes)
    }

    /// Fires the timers that are due by the server's clock.
    pub fn tick(&self) {
        if let Some(jetstream) = self.inner.shared.jetstream() {
            jetstream.tick(&self.inner.shared);
        }
    }

    /// Has `restart` called where the lab is asked to start the server again.
    pub(crate) fn on_restart(&self, restart: impl Fn(Restart) + Send + Sync + 'static) {
        self.inner.shared.restarter.set(restart);
    }

    /// Enters lame duck mode: no new connections, and the others are closed one by one before the server stops.
    /// Returns at once.
    pub fn lame_duck(&self) {
        if !self.inner.shared.enter(Phase::LameDuck) {
            return;
        }
        tracing::info!("Entering lame duck mode, stop accepting new clients");
        banner::log_accept_end();
        events::lame_duck(&self.inner.shared);
        self.inner.shared.end_turn();
        let inner = Arc::clone(&self.inner);
        self.inner.threads.services().spawn(async move {
            lame_duck::run(&inner.shared).await;
            // Stopping waits for the threads, so it cannot be done on one of them.
            Inner::stop_in_background(inner);
        });
    }

    /// Stops the server: what was accepted is stored and sent, connections are closed. Returns when that is done.
    pub fn shutdown(&self) {
        self.inner.stop();
    }

    /// Waits until the server has stopped, for whatever reason.
    pub fn wait(&self) {
        self.inner.wait();
    }

    /// Whether a panic ended it: then it serves no more, and its streams are as they were last written.
    pub fn has_failed(&self) -> bool {
        self.inner.shared.has_failed()
    }
}

impl Inner {
    /// Stops the server on another thread, unless somebody stops it already. Nobody waits for that there: the threads in the
    /// background are among those that have to end.
    fn stop_in_background(inner: Arc<Self>) {
        let shared = Arc::clone(&inner.shared);
        shared.in_background(move || {
            if inner.begins_to_stop() {
                inner.finish();
            }
        });
    }

    /// Stops the server, or waits until whoever stops it has done so.
    fn stop(&self) {
        if self.begins_to_stop() {
            self.finish();
        } else {
            self.wait();
        }
    }

    /// Whether the caller is the one to stop the server.
    fn begins_to_stop(&self) -> bool {
        let mut stopped = self.stopped.lock();
        let first = *stopped == Stop::NotYet;
        if first {
            *stopped = Stop::Begun;
        }
        first
    }

    fn finish(&self) {
        tracing::info!("Initiating Shutdown...");
        let was_lame_duck = !self.shared.is_running();
        events::shutting_down(&self.shared);
        self.shared.end_turn();
        self.shared.enter(Phase::Stopping);
        if let Some(lab) = &self.lab {
            lab.stop();
        }
        // What a panic left in memory must not be written as the state of the streams.
        if let Some(jetstream) = self.shared.jetstream().filter(|_| !self.shared.has_failed()) {
            jetstream.stop(&self.shared);
        }
        for client in self.shared.clients() {
            client.close(CloseReason::ServerShutdown);
        }
        for leafnode in self.shared.leafnodes.all() {
            leafnode.close(CloseReason::ServerShutdown);
        }
        self.shared.wait_for_tasks(DRAIN_MAX);
        self.shared.set_jetstream(None);
        self.threads.stop();
        if let Some(threads) = self.shared.blocking() {
            threads.stop();
        }
        if let Some(file) = self.ports_file.lock().take() {
            file.remove();
        }
        if !was_lame_duck {
            banner::log_accept_end();
        }
        banner::log_system_end(&self.shared.options());
        // Whoever waits for the end ends the process and its log with it.
        tracing::info!("Server Exiting..");
        self.shared.enter(Phase::Stopped);
        *self.stopped.lock() = Stop::Done;
        self.stopped_changed.notify_all();
    }

    fn wait(&self) {
        let mut stopped = self.stopped.lock();
        while *stopped != Stop::Done && !self.shared.has_failed() {
            self.stopped_changed.wait(&mut stopped);
        }
    }
}

impl Controlled for Server {
    fn options(&self) -> Arc<Options> {
        self.inner.shared.options()
    }

    fn reload(&self, options: Options) -> Result<Vec<Change>, ReloadError> {
        self.inner.reload(options)
    }

    fn reloaded(&self, before: &Options) {
        self.inner.close_unpinned(before);
    }

    fn lame_duck(&self) {
        Self::lame_duck(self);
    }

    fn is_lame_duck(&self) -> bool {
        *self.inner.shared.phase().borrow() == Phase::LameDuck
    }

    fn take_reload_asks(&self) -> UnboundedReceiver<ReloadAsk> {
        self.inner.shared.reload_asks.take()
    }

    fn answer_reload(&self, ask: &ReloadAsk, result: Result<(), String>) {
        events::answer_reload(&self.inner.shared, ask, result);
    }

    fn has_failed(&self) -> bool {
        Self::has_failed(self)
    }

    fn begin_shutdown(&self) {
        Inner::stop_in_background(Arc::clone(&self.inner));
    }

    async fn ended(&self) {
        let mut phase = self.inner.shared.phase();
        // The sender lives as long as this handle does.
        let _ = phase.wait_for(|phase| *phase >= Phase::Stopped).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
