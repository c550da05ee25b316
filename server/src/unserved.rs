//! Ports of what is not served yet: they are open, and whoever connects there is told so and closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::interfaces::host_port;
use crate::net::{self, BindError};
use crate::options::{Options, Unserved, UnservedListener};
use crate::state::{Shared, random_id};

/// Time that a refusal may take, from the connection to its end.
const REFUSAL_MAX: Duration = Duration::from_secs(2);
/// Connections of one listener that are being refused at a time; others wait to be accepted.
const REFUSALS_AT_ONCE: usize = 64;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that was opened.
pub(crate) struct Opened {
    feature: Unserved,
    host: String,
    address: SocketAddr,
    listener: TcpListener,
}

/// Where such a port is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) feature: Unserved,
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
}

impl Opened {
    /// Opens the port. Needs a runtime.
    pub(crate) fn bind(options: &UnservedListener) -> Result<Self, BindError> {
        let listener = net::bind(&options.host, options.port)?;
        let (feature, host) = (options.feature, options.host.clone());
        Ok(Self { feature, host, address: listener.local_addr()?, listener })
    }

    pub(crate) fn place(&self) -> Place {
        Place { feature: self.feature, host: self.host.clone(), address: self.address }
    }

    /// The listener, for somebody who serves those who come.
    pub(crate) fn into_listener(self) -> TcpListener {
        self.listener
    }

    /// Refuses everybody until the server stops or enters lame duck mode.
    pub(crate) async fn refuse_all(self, shared: Arc<Shared>) {
        let mut phase = shared.phase();
        let room = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
        let mut is_first = true;
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &room) => accepted,
                _ = phase.changed() => return,
            };
            let Ok((permit, stream, peer)) = accepted else {
                // Most likely there are no file descriptors left.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            report(self.feature, peer, is_first);
            is_first = false;
            let feature = self.feature;
            tokio::spawn(async move {
                // Whoever does not wait for the answer does not want it.
                let _ = tokio::time::timeout(REFUSAL_MAX, refuse(feature, stream)).await;
                drop(permit);
            });
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(tokio::sync::OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((permit, stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())))
}

/// One line is a hint; a server that tries again every second would fill the log with them.
fn report(feature: Unserved, peer: SocketAddr, is_first: bool) {
    let who = feature.who();
    if is_first {
        tracing::warn!("{peer} - Refused: {who} are not supported by JetKV yet");
    } else {
        tracing::debug!("{peer} - Refused: {who} are not supported by JetKV yet");
    }
}

async fn refuse(feature: Unserved, mut stream: TcpStream) -> io::Result<()> {
    let reason = format!("{} are not supported by JetKV yet", feature.who());
    stream.write_all(format!("-ERR '{reason}'\r\n").as_bytes()).await?;
    stream.shutdown().await?;
    // A socket that is closed with unread bytes is reset, which takes from the peer what it has not read yet.
    let mut unread = [0; 512];
    while stream.read(&mut unread).await? != 0 {}
    Ok(())
}

/// Gives a cluster without a name one by chance. Whether it has a name of its own.
pub(crate) fn name_cluster(options: &mut Options) -> bool {
    let listens = options.unserved_listeners.iter().any(|listener| listener.feature == Unserved::Cluster);
    if !listens || options.cluster_name.is_some() {
        return true;
    }
    options.cluster_name = Some(random_id());
    false
}

/// The name of the cluster, as nats-server tells it.
pub(crate) fn log_cluster(name: &str, is_named: bool) {
    tracing::info!("Cluster name is {name}");
    if !is_named {
        tracing::warn!("Cluster name was dynamically generated, consider setting one");
    }
}

/// One line for all of them, when the server starts. Nothing where there are none.
pub(crate) fn warn(places: &[Place]) {
    let unserved = places.iter().filter(|place| place.feature != Unserved::Leafnodes);
    let who: Vec<&str> = unserved.map(|place| place.feature.who()).collect();
    if let Some((last, others)) = who.split_last() {
        let others = others.join(", ");
        let and = if others.is_empty() { "" } else { " and " };
        tracing::warn!("JetKV does not support {others}{and}{last} yet: whoever connects there is refused");
    }
}

/// The line that nats-server logs when the port is open.
pub(crate) fn log_listening(place: &Place) {
    let (host, port) = (&place.host, place.address.port());
    match place.feature {
        Unserved::Leafnodes => {
            tracing::info!("Listening for leafnode connections on {}", host_port(host, port));
        }
        Unserved::Cluster => {
            tracing::info!("Listening for route connections on {}", host_port(host, port));
        }
    }
}
