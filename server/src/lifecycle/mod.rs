//! The life of a server: start, reload, lame duck mode, shutdown.

mod announce;
mod lame_duck;
mod ports_file;
mod reload;
mod threads;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::{Clock, EngineError, SystemClock};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use crate::jetstream::JetStream;
use crate::net::{self, CloseReason};
use crate::options::Options;
use crate::snapshot::MonitorSource;
use crate::state::{Phase, Shared};
pub use ports_file::Ports;
pub use reload::ReloadError;
use threads::Threads;

/// Time that connections get at shutdown to take what is queued for them.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A running server. It stops when the last handle is dropped, at the latest.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Threads,
    address: SocketAddr,
    ports_file: Mutex<Option<PathBuf>>,
    stopped: Mutex<Stop>,
    stopped_changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    NotYet,
    Begun,
    Done,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port that clients connect to cannot be opened.
    #[error("Error listening on port: {address}, \"listen tcp {address}: bind: {}\"", bind_text(source))]
    Listen {
        /// Host and port.
        address: String,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The stream engine cannot start.
    #[error("Can't start JetStream: {0}")]
    JetStream(#[from] EngineError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The pid file cannot be written.
    #[error("Could not write pidfile: {path}: {source}")]
    PidFile {
        /// The file.
        path: String,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
}

fn bind_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        _ => error.to_string(),
    }
}

impl Server {
    /// Starts a server: recovers its streams, opens its port, and returns when clients can connect. It runs on
    /// threads of its own and can be started from anywhere, a test or an async function included.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: Options) -> Result<Self, StartError> {
        Self::start_with_clock(options, Arc::new(SystemClock))
    }

    /// As [`start`](Self::start), with a clock of the caller's. After moving a manual clock, call
    /// [`tick`](Self::tick).
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start_with_clock(options: Options, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let (host, port) = (options.host.clone(), options.port);
        let shared = Arc::new(Shared::new(options, clock));
        announce::starting(&shared);
        if let Some(path) = &shared.options().pid_file {
            std::fs::write(path, std::process::id().to_string())
                .map_err(|source| StartError::PidFile { path: path.display().to_string(), source })?;
        }
        let threads = Threads::start().map_err(StartError::Thread)?;
        let first = threads.first();
        let _context = first.enter();
        if shared.options().jetstream.enabled {
            announce::jetstream(&shared, || JetStream::start(&shared))?;
        }
        let listener = net::bind(&host, port);
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = match bound {
            Ok(bound) => bound,
            Err(source) => {
                if let Some(jetstream) = shared.jetstream() {
                    jetstream.stop(&shared);
                    shared.set_jetstream(None);
                }
                return Err(StartError::Listen { address: announce::host_port(&host, port), source });
            }
        };
        announce::listening(&shared, &host, address.port());
        first.spawn(net::listen(Arc::clone(&shared), listener, threads.handles()));
        let server = Self {
            inner: Arc::new(Inner {
                shared,
                threads,
                address,
                ports_file: Mutex::new(None),
                stopped: Mutex::new(Stop::NotYet),
                stopped_changed: Condvar::new(),
            }),
        };
        Ok(server)
    }

    /// Tells the world that the server is ready: writes the ports file, and logs the line that tools wait for. To be
    /// called once, after everything else that listens has been started.
    pub fn ready(&self, others: &Ports) {
        if let Some(directory) = &self.inner.shared.options().ports_file_dir {
            match ports_file::write(directory, self.inner.address, others) {
                Ok(path) => *self.inner.ports_file.lock() = Some(path),
                Err(error) => tracing::error!("Error writing ports file ({}): {error}", directory.display()),
            }
        }
        tracing::info!("Server is ready");
    }

    /// Address that clients connect to, with the port that was chosen if any was asked for.
    pub fn client_address(&self) -> SocketAddr {
        self.inner.address
    }

    /// URL for a client on the same machine.
    pub fn client_url(&self) -> String {
        format!("nats://{}", ports_file::reachable(self.inner.address))
    }

    /// What monitoring pages show.
    pub fn monitor(&self) -> MonitorSource {
        MonitorSource::new(Arc::clone(&self.inner.shared), self.inner.address)
    }

    /// The runtime of one of the server's threads, for services beside it. Tasks on it must not block.
    pub fn runtime(&self) -> Handle {
        self.inner.threads.last()
    }

    /// Puts other options in force.
    ///
    /// # Errors
    /// An option changed that cannot change while the server runs; then nothing was changed.
    pub fn reload(&self, options: Options) -> Result<(), ReloadError> {
        reload::reload(&self.inner.shared, options)
    }

    /// Fires the timers that are due by the server's clock.
    pub fn tick(&self) {
        if let Some(jetstream) = self.inner.shared.jetstream() {
            jetstream.tick(&self.inner.shared);
        }
    }

    /// Enters lame duck mode: no new connections, and the others are closed one by one before the server stops.
    /// Returns at once.
    pub fn lame_duck(&self) {
        if !self.inner.shared.enter(Phase::LameDuck) {
            return;
        }
        tracing::info!("Entering lame duck mode, stop accepting new clients");
        let inner = Arc::clone(&self.inner);
        self.inner.threads.first().spawn(async move {
            lame_duck::run(&inner.shared).await;
            // Stopping waits for the threads, so it cannot be done on one of them.
            std::thread::spawn(move || inner.stop());
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
}

impl Inner {
    fn stop(&self) {
        let mut stopped = self.stopped.lock();
        if *stopped != Stop::NotYet {
            drop(stopped);
            return self.wait();
        }
        *stopped = Stop::Begun;
        drop(stopped);
        tracing::info!("Initiating Shutdown...");
        self.shared.enter(Phase::Stopping);
        if let Some(jetstream) = self.shared.jetstream() {
            jetstream.stop(&self.shared);
        }
        for client in self.shared.clients() {
            client.close(CloseReason::ServerShutdown);
        }
        self.shared.wait_for_clients(DRAIN_MAX);
        self.shared.set_jetstream(None);
        self.threads.stop();
        if let Some(path) = self.ports_file.lock().take()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::error!("Error cleaning up ports file {}: {error}", path.display());
        }
        self.shared.enter(Phase::Stopped);
        tracing::info!("Server Exiting..");
        *self.stopped.lock() = Stop::Done;
        self.stopped_changed.notify_all();
    }

    fn wait(&self) {
        let mut stopped = self.stopped.lock();
        while *stopped != Stop::Done {
            self.stopped_changed.wait(&mut stopped);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
