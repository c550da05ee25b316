//! From a link as it came to one under TLS: what all peers share of the way there.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use jetkv_go_compat::os_text;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::link::tls::{self, Accepted, HandshakeError};
use super::link::{Reader, Writer};
use super::outbound::{Drained, Next, Outbound};
use crate::certificate::PeerCertificates;
use crate::connections::CloseReason;
use crate::options::{NotPinned, TlsOptions};
use crate::state::Shared;

/// Type of the record that a handshake begins with.
pub(super) const HANDSHAKE_RECORD: u8 = 0x16;
/// Bytes that are looked at to tell a handshake from anything else.
const SNIFFED_BYTES: usize = 6;

/// A connection on its way under TLS. The server may close it meanwhile.
pub(super) struct Securing<'a> {
    pub shared: &'a Shared,
    pub out: &'a Outbound,
}

/// Why a connection does not get under TLS.
pub(super) enum Failed {
    Handshake(HandshakeError),
    /// The link did, with what Go says of that.
    Link(String),
    NotPinned(NotPinned),
    /// With what Go says of the read that waited.
    TookTooLong(String),
    Closed(CloseReason),
}

impl Securing<'_> {
    /// Waits until what was queued has left: behind it everything is under TLS.
    pub(super) async fn wait_until_sent(&self, time: Duration) -> Result<(), CloseReason> {
        let sent = poll_fn(|context| match self.out.poll_next(context) {
            Next::Close(reason) => Poll::Ready(Err(reason)),
            _ => self.out.poll_drained(context).map(Ok),
        });
        match self.shared.timers.timeout(time, sent).await {
            Ok(Ok(Drained::Whole)) => Ok(()),
            Ok(Err(reason)) => Err(reason),
            Ok(Ok(Drained::Overdue)) | Err(_) => Err(CloseReason::TlsHandshakeError),
        }
    }

    /// What the peer begins with, within `time`: some bytes, or none. `bytes` came already.
    pub(super) async fn sniff(
        &self,
        reader: &mut Reader,
        time: Duration,
        mut bytes: Vec<u8>,
    ) -> Result<Vec<u8>, CloseReason> {
        bytes.reserve(SNIFFED_BYTES);
        let read = poll_fn(|context| {
            while bytes.len() < SNIFFED_BYTES {
                if let Next::Close(reason) = self.out.poll_next(context) {
                    return Poll::Ready(Err(reason));
                }
                match reader.poll_read(context, &mut bytes) {
                    Poll::Ready(Ok(0)) if bytes.is_empty() => {
                        return Poll::Ready(Err(CloseReason::ClientClosed));
                    }
                    Poll::Ready(Ok(0) | Err(_)) => break,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        });
        match self.shared.timers.timeout(time, read).await {
            Ok(Err(reason)) => Err(reason),
            Ok(Ok(())) | Err(_) => Ok(bytes),
        }
    }

    /// The server's part of a handshake, unless it takes too long or the server closes the connection meanwhile.
    pub(super) async fn accept(
        &self,
        tls: &TlsOptions,
        lower: Reader,
        writer: Arc<Writer>,
        before: Vec<u8>,
    ) -> Result<(Accepted, Option<Arc<PeerCertificates>>), Failed> {
        let config = Arc::clone(tls.identity.clients());
        let link = Arc::clone(&writer);
        let accepted = self.within(tls.timeout, &link, tls::accept(lower, writer, config, before)).await?;
        let peer = accepted.peer(tls.identity.authorities()).map_err(Failed::Handshake)?;
        match tls.accepts(peer.as_deref()) {
            Ok(()) => Ok((accepted, peer)),
            Err(why) => Err(Failed::NotPinned(why)),
        }
    }

    /// The client's part of one.
    pub(super) async fn connect(
        &self,
        (config, name, time): (Arc<ClientConfig>, ServerName<'static>, Duration),
        lower: Reader,
        writer: Arc<Writer>,
        before: Vec<u8>,
    ) -> Result<Accepted, Failed> {
        let link = Arc::clone(&writer);
        self.within(time, &link, tls::connect(lower, writer, config, name, before)).await
    }

    async fn within(
        &self,
        time: Duration,
        link: &Writer,
        handshake: impl Future<Output = Result<Accepted, HandshakeError>>,
    ) -> Result<Accepted, Failed> {
        let closing = poll_fn(|context| match self.out.poll_next(context) {
            Next::Close(reason) => Poll::Ready(reason),
            _ => Poll::Pending,
        });
        let failed = |error| match error {
            HandshakeError::Link(error) if error.kind() != ErrorKind::UnexpectedEof => {
                Failed::Link(link.failed_read(&format!("read: {}", os_text(&error))))
            }
            other => Failed::Handshake(other),
        };
        tokio::select! {
            done = handshake => done.map_err(failed),
            () = self.shared.timers.sleep(time) => Err(Failed::TookTooLong(link.failed_read("i/o timeout"))),
            reason = closing => Err(Failed::Closed(reason)),
        }
    }
}

impl Failed {
    /// Says so in the log; `what` is the handshake, as its lines name it.
    pub(super) fn report(&self, label: &str, what: &str) -> CloseReason {
        match self {
            Self::Handshake(error) if error.is_probe() => {
                tracing::debug!("{label} - {what} error: {error}");
            }
            Self::Handshake(error) => tracing::error!("{label} - {what} error: {error}"),
            Self::NotPinned(why) => {
                tracing::debug!("{label} - {why}");
                tracing::error!("{label} - {what} error: certificate not pinned");
            }
            Self::Link(error) => tracing::error!("{label} - {what} error: {error}"),
            Self::TookTooLong(error) => {
                tracing::debug!("{label} - {what} error: {error}");
                tracing::debug!("{label} - TLS handshake timeout");
            }
            Self::Closed(reason) => return *reason,
        }
        CloseReason::TlsHandshakeError
    }
}
