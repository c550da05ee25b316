//! Connections that this server opens as a leaf node, again and again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::connection;
use crate::failure;
use crate::interfaces::host_port;
use crate::net::link::Link;
use crate::options::{LeafnodeRemote, Options, RemoteUrl};
use crate::reactor::{Handle, Socket};
use crate::state::{Phase, Shared};
use jetkv_go_compat::{os_text, quoted};

/// Where a connection goes that this server opens.
pub(in crate::net) struct Solicited {
    pub remote: LeafnodeRemote,
    /// The one of its URLs that was tried.
    pub url: RemoteUrl,
    /// The other server wanted TLS, on this connection or an earlier one: no later one goes without.
    pub wants_tls: Arc<AtomicBool>,
}

impl Solicited {
    /// Whether nothing but INFO may be said or heard without TLS.
    pub(super) fn needs_tls(&self) -> bool {
        self.remote.tls.is_some() || self.wants_tls.load(Ordering::Relaxed)
    }

    /// Whether the options still ask for the connection.
    pub(super) fn is_wanted(&self, options: &Options) -> bool {
        let mut remotes = options.leafnodes.remotes.iter();
        remotes.any(|remote| !remote.disabled && remote.is_same(&self.remote))
    }

    /// The name that the other server's certificate has to be for. Where a URL has an address, that is the name in another one.
    pub(super) fn server_name(&self) -> &str {
        let is_address = |host: &str| host.parse::<IpAddr>().is_ok();
        let named = self.remote.urls.iter().map(|url| url.host.as_str()).find(|host| !is_address(host));
        let own = self.url.host.as_str();
        if is_address(own) { named.unwrap_or(own) } else { own }
    }
}

/// Keeps connections to other servers open, those that the options in force name, until this server stops or enters lame duck
/// mode. They are served by threads of the group of `thread`.
pub(crate) async fn solicit(shared: Arc<Shared>, thread: Handle) {
    let mut phase = shared.phase();
    let keep_all = async {
        let mut kept: Vec<Kept> = Vec::new();
        loop {
            let options = shared.options();
            let wanted: Vec<_> = options.leafnodes.remotes.iter().filter(|remote| !remote.disabled).collect();
            kept.retain(|one| wanted.iter().any(|remote| remote.is_same(&one.remote)));
            for remote in wanted {
                if !kept.iter().any(|one| one.remote.is_same(remote)) {
                    kept.push(Kept::new(&shared, remote.clone(), &thread));
                }
            }
            shared.remotes_changed.notified().await;
        }
    };
    tokio::select! {
        () = keep_all => {}
        _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
    }
}

/// The task of another server, which ends with this.
struct Kept {
    remote: LeafnodeRemote,
    task: AbortHandle,
}

impl Kept {
    fn new(shared: &Arc<Shared>, remote: LeafnodeRemote, thread: &Handle) -> Self {
        let (owned, of, thread) = (Arc::clone(shared), remote.clone(), thread.clone());
        let keeping = async move { keep_open(&owned, of, &thread).await };
        let keeping = failure::vital(Arc::clone(shared), "A connection to another server", keeping);
        Self { remote, task: tokio::spawn(keeping).abort_handle() }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_open(shared: &Arc<Shared>, remote: LeafnodeRemote, thread: &Handle) {
    let mut urls = remote.urls.clone();
    if !remote.no_randomize {
        urls.shuffle(&mut rand::rng());
    }
    let (mut attempts, mut is_first) = (0, true);
    let wants_tls = Arc::new(AtomicBool::new(false));
    for url in urls.iter().cycle() {
        let options = shared.options();
        // How it is put under TLS may be another way now.
        let remotes = &options.leafnodes.remotes;
        let remote = remotes.iter().find(|now| now.is_same(&remote)).unwrap_or(&remote);
        let pause = options.leafnodes.reconnect_interval;
        let timeout = remote.dial_timeout.unwrap_or(options.leafnodes.dial_timeout);
        match dial(shared, url, timeout).await {
            Ok((socket, peer)) => {
                attempts = 0;
                is_first = false;
                let solicited = Arc::new(Solicited {
                    remote: remote.clone(),
                    url: url.clone(),
                    wants_tls: Arc::clone(&wants_tls),
                });
                let delay = served(shared, socket, peer, solicited, &thread.choose()).await;
                shared.timers.sleep(pause).await;
                if let Some(delay) = delay {
                    shared.timers.sleep(delay).await;
                }
            }
            Err(reason) => {
                attempts += 1;
                report(shared, url, attempts, is_first, &reason);
                let jitter = pause.mul_f64(rand::rng().random_range(0.0..1.0));
                shared.timers.sleep(pause + jitter).await;
            }
        }
    }
}

/// Opens a connection.
async fn dial(
    shared: &Shared,
    url: &RemoteUrl,
    timeout: Duration,
) -> Result<(std::net::TcpStream, SocketAddr), String> {
    let place = host_port(&url.host, url.port);
    tracing::debug!("Trying to connect as leafnode to remote server on {}", quoted(&place));
    let connecting = TcpStream::connect((url.host.clone(), url.port));
    let connected = match shared.timers.timeout(timeout, connecting).await {
        Ok(connected) => connected,
        Err(_) => return Err(format!("dial tcp {place}: i/o timeout")),
    };
    let opened = connected.and_then(|socket| {
        socket.set_nodelay(true)?;
        let peer = socket.peer_addr()?;
        Ok((socket.into_std()?, peer))
    });
    opened.map_err(|error| format!("dial tcp {place}: connect: {}", os_text(&error)))
}

/// The first failure is told, and then one of so many.
fn report(shared: &Shared, url: &RemoteUrl, attempts: i64, is_first: bool, reason: &str) {
    let options = shared.options();
    let every = if is_first { options.connect_error_reports } else { options.reconnect_error_reports };
    let place = quoted(host_port(&url.host, url.port));
    let line = format!(
        "Error trying to connect as leafnode to remote server {place} (attempt {attempts}): {reason}"
    );
    if attempts == 1 || attempts % every.max(1) == 0 {
        tracing::error!("{line}");
    } else {
        tracing::debug!("{line}");
    }
}

/// Has a connection served by a thread for that, until it ends.
async fn served(
    shared: &Arc<Shared>,
    socket: std::net::TcpStream,
    peer: SocketAddr,
    solicited: Arc<Solicited>,
    thread: &Handle,
) -> Option<Duration> {
    let (ended, end) = oneshot::channel();
    let (shared, here) = (Arc::clone(shared), thread.clone());
    thread.spawn(async move {
        let Ok(socket) = Socket::new(&here, socket) else { return };
        let delay = connection::serve(shared, Link::tcp(socket, peer), Some(solicited)).await;
        // Whoever waited may have been told to stop.
        let _ = ended.send(delay);
    });
    end.await.ok().flatten()
}
