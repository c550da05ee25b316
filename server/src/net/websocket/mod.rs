//! From a link as it came to one that carries WebSocket: TLS where it is configured, then the upgrade.

mod cookies;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::client::{self, Upgraded};
use super::link::{Link, Reader, Writer, tls, websocket};
use crate::connections::{Peer, Secured};
use crate::options::{TlsOptions, Unserved, WebsocketOptions};
use crate::state::Shared;
use request::{Granted, Kind, Parsed};

/// Time that the handshake of TLS, and then the upgrade, may take where the configuration names none. nats-server waits for
/// ever.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// Time for which bytes behind a refusal are thrown away, as on Go's server.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes that the head of a request may have.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes that one read takes at most.
const READ_BYTES: usize = 2048;
/// What a request in the clear begins with where TLS is spoken, as Go tells it.
const CLEAR_METHODS: [&[u8]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];

/// A link on its way to WebSocket.
struct Entrance {
    shared: Arc<Shared>,
    reader: Reader,
    writer: Arc<Writer>,
    peer: Peer,
    secured: Option<Secured>,
    /// What came and was not looked at.
    bytes: Vec<u8>,
}

/// The way ends here; what there is to say was said.
struct Refused;

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// Serves a client over WebSocket until it or the server closes the connection.
pub(crate) async fn serve(shared: Arc<Shared>, link: Link) {
    let options = shared.options();
    let Some(websocket) = &options.websocket else { return };
    let task = shared.begin_task();
    let mut phase = shared.phase();
    let Link { reader, writer, peer } = link;
    let entrance = Entrance {
        shared: Arc::clone(&shared),
        reader,
        writer: Arc::new(writer),
        peer,
        secured: None,
        bytes: Vec::new(),
    };
    let entered = tokio::select! {
        entered = entrance.enter(websocket) => entered,
        _ = phase.changed() => return,
    };
    drop(task);
    if let Ok((link, upgraded)) = entered {
        client::serve(shared, link, Some(Box::new(upgraded))).await;
    }
}

impl Entrance {
    async fn enter(mut self, websocket: &WebsocketOptions) -> Result<(Link, Upgraded), Refused> {
        let time = websocket.handshake_timeout.unwrap_or(HANDSHAKE_MAX);
        if let Some(tls) = &websocket.tls {
            self = self.secure(tls, time).await?;
        }
        let shared = Arc::clone(&self.shared);
        let granted = loop {
            // Each request has its time, as on Go's server.
            let answered = shared.timers.timeout(time, self.request(websocket)).await;
            if let Some(granted) = answered.map_err(|_| Refused)?? {
                break granted;
            }
        };
        let Granted { terms, kind, mut upgraded, .. } = granted;
        upgraded.secured = self.secured.take();
        let (reader, writer) = websocket::over(self.reader, self.writer, terms);
        match kind {
            Kind::Client => Ok((Link { reader, writer, peer: self.peer }, upgraded)),
            Kind::Leafnode => {
                refuse_leafnode(&self.shared, self.peer, &writer);
                Err(Refused)
            }
        }
    }

    /// Puts the link under TLS.
    async fn secure(mut self, tls: &TlsOptions, time: Duration) -> Result<Self, Refused> {
        let peer = self.peer;
        let failed = |error: String| {
            tracing::error!("websocket: http: TLS handshake error from {peer}: {error}");
            Refused
        };
        let shared = Arc::clone(&self.shared);
        let handshake = async move {
            self.read().await?;
            let bytes = std::mem::take(&mut self.bytes);
            if CLEAR_METHODS.iter().any(|method| bytes.starts_with(method)) {
                let text =
                    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
                self.write(text.as_bytes()).await?;
                return Err(failed("client sent an HTTP request to an HTTPS server".to_owned()));
            }
            let config = Arc::clone(tls.identity.clients());
            let accepted = tls::accept(self.reader, self.writer, config, bytes).await;
            let accepted = accepted.map_err(|error| failed(error.to_string()))?;
            let peer = accepted.peer(tls.identity.authorities());
            let peer = peer.map_err(|error| failed(error.to_string()))?;
            if tls.accepts(peer.as_deref()).is_err() {
                return Err(failed("certificate not pinned".to_owned()));
            }
            Ok((accepted, peer))
        };
        let timed = shared.timers.timeout(time, handshake).await;
        let (accepted, certificates) = timed.map_err(|_| failed("i/o timeout".to_owned()))??;
        let secured = Secured {
            version: accepted.agreed.version,
            cipher_suite: accepted.agreed.suite,
            is_first: false,
            peer: certificates,
        };
        Ok(Self {
            shared,
            reader: accepted.reader,
            writer: Arc::new(accepted.writer),
            peer,
            secured: Some(secured),
            bytes: Vec::new(),
        })
    }

    /// Answers one request. `None`: with an error after which another may come.
    async fn request(&mut self, websocket: &WebsocketOptions) -> Result<Option<Granted>, Refused> {
        let parsed = self.head().await?;
        let (head_bytes, refused) = match request::judge(&parsed, websocket, self.secured.is_some()) {
            Ok(granted) if self.bytes.len() > parsed.head_bytes => {
                drop(granted);
                self.complain("client sent data before handshake is complete");
                return Err(Refused);
            }
            Ok(granted) => {
                let headers = &websocket.headers;
                self.write(&response::switching(&granted, headers)).await?;
                return Ok(Some(granted));
            }
            Err(refused) => (parsed.head_bytes, refused),
        };
        self.complain(&refused.reason);
        let goes_on = parsed.keeps_alive;
        self.write(&response::refused(refused.status, parsed.is_http_10, goes_on)).await?;
        self.bytes.drain(..head_bytes.min(self.bytes.len()));
        if goes_on { Ok(None) } else { Err(Refused) }
    }

    /// Reads the head of a request.
    async fn head(&mut self) -> Result<Parsed, Refused> {
        let mut looked_at = 0;
        let mut line_seen = false;
        loop {
            if self.bytes.len() > HEAD_BYTES_MAX {
                return Err(self.turn_away("431 Request Header Fields Too Large").await);
            }
            let ends = request::ends_head(&self.bytes, looked_at);
            // A line that begins no request is answered at once.
            let first_line =
                !line_seen && self.bytes.get(looked_at..).is_some_and(|new| new.contains(&b'\n'));
            if ends || first_line {
                line_seen = true;
                match request::parse(&self.bytes) {
                    Ok(Some(parsed)) => return Ok(parsed),
                    Ok(None) => {}
                    Err(status) => return Err(self.turn_away(status).await),
                }
            }
            looked_at = self.bytes.len();
            self.read().await?;
        }
    }

    /// Answers what is no request, and throws away what still comes for a moment: a socket that is closed with unread bytes is
    /// reset, which takes the answer from the peer.
    async fn turn_away(&mut self, status: &str) -> Refused {
        let shared = Arc::clone(&self.shared);
        if self.write(&response::malformed(status)).await.is_ok() {
            let unread = async {
                loop {
                    self.bytes.clear();
                    if self.read().await.is_err() {
                        break;
                    }
                }
            };
            // Whoever goes on is cut off.
            let _ = shared.timers.timeout(LINGER, unread).await;
        }
        Refused
    }

    fn complain(&self, reason: &str) {
        tracing::error!("{} - websocket handshake error: {reason}", self.peer);
    }

    /// Reads more; fails at the end of the link.
    async fn read(&mut self) -> io::Result<()> {
        self.bytes.reserve(READ_BYTES);
        let (reader, bytes) = (&mut self.reader, &mut self.bytes);
        match poll_fn(|context| reader.poll_read(context, bytes)).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.writer.try_write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|context| self.writer.poll_writable(context)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A leaf node is told that nobody serves it here, where it is asked for by a listener; else nats-server only closes.
fn refuse_leafnode(shared: &Shared, peer: Peer, writer: &Writer) {
    let listeners = &shared.options().unserved_listeners;
    if !listeners.iter().any(|listener| listener.feature == Unserved::Leafnodes) {
        tracing::error!("Not configured to accept leaf node connections");
        return;
    }
    let reason = format!("{} over WebSocket are not supported by JetKV yet", Unserved::Leafnodes.who());
    tracing::warn!("{peer} - Refused: {reason}");
    // Who does not take it goes without.
    let _ = writer.try_write(format!("-ERR '{reason}'\r\n").as_bytes());
    let status = jetkv_protocol::websocket::status::POLICY_VIOLATION;
    writer.say_end(Some(jetkv_protocol::websocket::close_payload(status, &reason)));
}
