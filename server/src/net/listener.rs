//! Accepting connections and handing them to the threads that serve.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::descriptors::Acceptor;
use super::link::{Link, MemoryStream};
use super::{client, leaf, websocket};
use crate::reactor::{Handle, Socket};
use crate::state::Shared;
use jetkv_go_compat::os_text;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Pause after a failed accept, which doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name has no address.
    #[error("lookup {0}: no such host")]
    NoSuchHost(String),
    /// The operating system's error.
    #[error(transparent)]
    Refused(#[from] io::Error),
}

/// Opens a port, that of clients or of the monitoring pages. Has to be called within a runtime.
///
/// An unspecified IPv4 address takes IPv6 connections too where the system can do that, as nats-server does.
pub(crate) fn bind(host: &str, port: u16) -> Result<TcpListener, BindError> {
    let addresses = (host, port).to_socket_addrs().map_err(|_| BindError::NoSuchHost(host.to_owned()))?;
    let mut error = BindError::NoSuchHost(host.to_owned());
    for address in addresses {
        let every = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => {
                Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
            }
            _ => None,
        };
        for address in every.into_iter().chain([address]) {
            match bind_address(address) {
                Ok(listener) => return Ok(listener),
                Err(failed) => error = failed.into(),
            }
        }
    }
    Err(error)
}

fn bind_address(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Why a connection could not be accepted, in Go's words.
pub(crate) fn accept_error(listener: &TcpListener, error: &io::Error) -> String {
    let address = listener.local_addr().map_or_else(|_| String::new(), |address| format!(" {address}"));
    format!("accept tcp{address}: accept4: {}", os_text(error))
}

/// Who comes in by a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Those that speak their protocol as it is, or under TLS.
    Clients,
    /// Those that speak WebSocket.
    Websocket,
    /// Other servers, as leaf nodes.
    Leafnodes,
}

/// Accepts connections until the server stops or enters lame duck mode; each is served by a thread of the group of
/// `thread`.
pub(crate) async fn listen(shared: Arc<Shared>, door: Door, listener: TcpListener, thread: Handle) {
    let mut phase = shared.phase();
    let mut pause = PAUSE_MIN;
    let mut acceptor = Acceptor::new(listener);
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept() => accepted,
            _ = phase.changed() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                pause = PAUSE_MIN;
                hand_over(&shared, door, socket, peer, &thread.choose());
            }
            Err(error) => {
                // Most likely there are no file descriptors left; closing connections give some back.
                let error = accept_error(acceptor.listener(), &error);
                let who = if door == Door::Leafnodes { "Leafnode" } else { "Client" };
                tracing::error!("Temporary {who} Accept Error({error}), sleeping {}ms", pause.as_millis());
                tokio::select! {
                    () = shared.timers.sleep(pause) => {}
                    _ = phase.changed() => return,
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Moves a socket to the thread that serves it first.
fn hand_over(shared: &Arc<Shared>, door: Door, socket: TcpStream, peer: SocketAddr, thread: &Handle) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let Ok(socket) = socket.set_nodelay(true).and_then(|()| socket.into_std()) else { return };
    let (shared, here) = (Arc::clone(shared), thread.clone());
    thread.spawn(async move {
        if let Ok(socket) = Socket::new(&here, socket) {
            let link = Link::tcp(socket, peer);
            match door {
                Door::Clients => client::serve(shared, link, None).await,
                // What comes before the upgrade is not carried along by the connections that are through.
                Door::Websocket => Box::pin(websocket::serve(shared, link)).await,
                Door::Leafnodes => drop(Box::pin(leaf::serve(shared, link, None)).await),
            }
        }
    });
}

/// Opens a connection within this process, served by a thread of the group of `thread`. One that the server does not take is
/// closed at once.
pub(crate) fn connect_in_memory(shared: &Arc<Shared>, thread: &Handle) -> MemoryStream {
    let (link, stream) = Link::memory();
    thread.choose().spawn(client::serve(Arc::clone(shared), link, None));
    stream
}
