//! From a link as it came to one under TLS, before the client says anything else.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use jetkv_go_compat::os_text;

use super::connection::Connection;
use crate::certificate::PeerCertificates;
use crate::connections::{CloseReason, ConnectionHandle as _, Peer, Secured};
use crate::net::link::tls::{self, Accepted, HandshakeError};
use crate::net::link::{Link, Reader, Writer};
use crate::net::outbound::{Drained, Next};
use crate::options::{HandshakeFirst, NotPinned, TlsOptions};
use crate::state::{Phase, Shared};

/// Type of the record that a handshake begins with.
const HANDSHAKE_RECORD: u8 = 0x16;
/// Bytes that are looked at to tell a handshake from anything else.
const SNIFFED_BYTES: usize = 6;

/// What a connection is told that comes after as many as may begin a handshake in a second.
const THROTTLED: &str = "Connection throttling is active. Please try again later.";

/// Tells in the log, each second, how many connections were turned away because too many came.
pub(crate) async fn log_rejected(shared: Arc<Shared>) {
    let mut phase = shared.phase();
    while *phase.borrow_and_update() < Phase::Stopping {
        tokio::select! {
            () = shared.timers.sleep(Duration::from_secs(1)) => {}
            _ = phase.changed() => continue,
        }
        let rejected = shared.tls_rate.take_rejected();
        if rejected > 0 {
            tracing::warn!("Rejected {rejected} connections due to TLS rate limiting");
        }
    }
}

/// Why a connection does not get under TLS.
enum Failed {
    Handshake(HandshakeError),
    /// The link did, with what Go says of that.
    Link(String),
    NotPinned(NotPinned),
    /// With what Go says of the read that waited.
    TookTooLong(String),
    Closed(CloseReason),
}

impl Connection {
    /// Whether it came over the network and nothing was agreed on yet.
    fn comes_bare(&self) -> bool {
        self.client.peer() != Peer::Process && self.client.upgraded().is_none()
    }

    /// How it is found out whether the handshake comes before INFO, if that may be.
    pub(super) fn begins_with_tls(&self) -> Option<HandshakeFirst> {
        let tls = self.settings.tls.as_ref().filter(|_| self.comes_bare())?;
        // Where clients may do without TLS, those that wait for INFO must get it.
        match tls.handshake_first? {
            HandshakeFirst::Always if self.settings.allow_non_tls => {
                Some(HandshakeFirst::Within(crate::options::defaults::TLS_FIRST_FALLBACK))
            }
            first => Some(first),
        }
    }

    /// Puts the connection under TLS where the options and the client want it. `first` is how a handshake that comes before
    /// INFO is waited for; INFO was sent where there is none.
    pub(super) async fn secure(&mut self, first: Option<HandshakeFirst>) -> Result<(), CloseReason> {
        let settings = Arc::clone(&self.settings);
        let mut before = self.behind_proxy().await?;
        let Some(tls) = settings.tls.as_ref().filter(|_| self.comes_bare()) else {
            return self.go_on_without(before).await;
        };
        let mut is_first = first.is_some();
        if let Some(HandshakeFirst::Within(delay)) = first {
            before = self.sniff(delay, before).await?;
            if before.is_empty() {
                is_first = false;
                self.send_first_info();
            }
        }
        if !is_first {
            self.wait_until_sent(tls.timeout).await?;
        }
        if !is_first && settings.allow_non_tls {
            before = self.sniff(tls.timeout, before).await?;
            if before.first() != Some(&HANDSHAKE_RECORD) {
                return self.go_on_without(before).await;
            }
        }
        if !self.shared.tls_rate.allows(tls.connection_rate_limit) {
            self.send_err(THROTTLED);
            return Err(CloseReason::MaxConnectionsExceeded);
        }
        self.shake_hands(tls, before, is_first).await
    }

    /// Waits until INFO has left: behind it everything is under TLS.
    async fn wait_until_sent(&self, time: Duration) -> Result<(), CloseReason> {
        let client = &self.client;
        let sent = poll_fn(|context| match client.poll_next(context) {
            Next::Close(reason) => Poll::Ready(Err(reason)),
            _ => client.poll_drained(context).map(Ok),
        });
        match self.shared.timers.timeout(time, sent).await {
            Ok(Ok(Drained::Whole)) => Ok(()),
            Ok(Err(reason)) => Err(reason),
            Ok(Ok(Drained::Overdue)) | Err(_) => Err(CloseReason::TlsHandshakeError),
        }
    }

    /// What the client begins with, within `time`: some bytes, or none. `bytes` came already.
    async fn sniff(&mut self, time: Duration, mut bytes: Vec<u8>) -> Result<Vec<u8>, CloseReason> {
        bytes.reserve(SNIFFED_BYTES);
        let (client, reader) = (&self.client, &mut self.reader);
        let read = poll_fn(|context| {
            while bytes.len() < SNIFFED_BYTES {
                if let Next::Close(reason) = client.poll_next(context) {
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

    /// The client speaks its protocol without TLS, and began with these bytes.
    async fn go_on_without(&mut self, before: Vec<u8>) -> Result<(), CloseReason> {
        if !before.is_empty() {
            let count = before.len();
            self.partial = before;
            let slow = self.received_more(count);
            self.after_read(slow).await;
        }
        Ok(())
    }

    async fn shake_hands(
        &mut self,
        tls: &TlsOptions,
        before: Vec<u8>,
        is_first: bool,
    ) -> Result<(), CloseReason> {
        tracing::debug!("{} - Starting TLS client connection handshake", self.client.label());
        let Some(writer) = self.client.take_link() else { return Err(CloseReason::WriteError) };
        // Until the handshake is done, which may be never, the connection has nothing to read from.
        let lower = std::mem::replace(&mut self.reader, Link::ended_reader());
        match self.handshake(tls, lower, writer, before).await {
            Ok((Accepted { reader, writer, agreed, .. }, peer)) => {
                self.reader = reader;
                self.client.put_link(Arc::new(writer));
                let label = self.client.label();
                tracing::debug!("{label} - TLS handshake complete");
                tracing::debug!("{label} - TLS version {}, cipher suite {}", agreed.version, agreed.suite);
                let (version, cipher_suite) = (agreed.version, agreed.suite);
                let secured = Secured { version, cipher_suite, is_first, peer };
                // It is put under TLS once.
                let _ = self.client.tls.set(secured);
                self.begin_authentication(Instant::now());
                if is_first {
                    self.send_first_info();
                }
                Ok(())
            }
            Err(failed) => Err(self.report(&failed)),
        }
    }

    /// The handshake, unless it takes too long or the server closes the connection meanwhile.
    async fn handshake(
        &self,
        tls: &TlsOptions,
        lower: Reader,
        writer: Arc<Writer>,
        before: Vec<u8>,
    ) -> Result<(Accepted, Option<Arc<PeerCertificates>>), Failed> {
        let config = Arc::clone(tls.identity.clients());
        let closing = poll_fn(|context| match self.client.poll_next(context) {
            Next::Close(reason) => Poll::Ready(reason),
            _ => Poll::Pending,
        });
        let link = Arc::clone(&writer);
        let failed = |error| match error {
            HandshakeError::Link(error) if error.kind() != ErrorKind::UnexpectedEof => {
                Failed::Link(link.failed_read(&format!("read: {}", os_text(&error))))
            }
            other => Failed::Handshake(other),
        };
        let accepted = tokio::select! {
            accepted = tls::accept(lower, writer, config, before) => accepted.map_err(failed)?,
            () = self.shared.timers.sleep(tls.timeout) => {
                return Err(Failed::TookTooLong(link.failed_read("i/o timeout")));
            }
            reason = closing => return Err(Failed::Closed(reason)),
        };
        let peer = accepted.peer(tls.identity.authorities()).map_err(Failed::Handshake)?;
        match tls.accepts(peer.as_deref()) {
            Ok(()) => Ok((accepted, peer)),
            Err(why) => Err(Failed::NotPinned(why)),
        }
    }

    fn report(&self, failed: &Failed) -> CloseReason {
        let label = self.client.label();
        match failed {
            Failed::Handshake(error) if error.is_probe() => {
                tracing::debug!("{label} - TLS handshake error: {error}");
            }
            Failed::Handshake(error) => tracing::error!("{label} - TLS handshake error: {error}"),
            Failed::NotPinned(why) => {
                tracing::debug!("{label} - {why}");
                tracing::error!("{label} - TLS handshake error: certificate not pinned");
            }
            Failed::Link(error) => tracing::error!("{label} - TLS handshake error: {error}"),
            Failed::TookTooLong(error) => {
                tracing::debug!("{label} - TLS handshake error: {error}");
                tracing::debug!("{label} - TLS handshake timeout");
            }
            Failed::Closed(reason) => return *reason,
        }
        CloseReason::TlsHandshakeError
    }
}
