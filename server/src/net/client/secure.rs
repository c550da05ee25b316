//! From a link as it came to one under TLS, before the client says anything else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use crate::connections::{CloseReason, ConnectionHandle as _, Peer, Secured};
use crate::net::link::Link;
use crate::net::link::tls::Accepted;
use crate::net::secure::{HANDSHAKE_RECORD, Securing};
use crate::options::{HandshakeFirst, TlsOptions};
use crate::state::{Phase, Shared};

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

impl Connection {
    /// Whether it came over the network and nothing was agreed on yet.
    fn comes_bare(&self) -> bool {
        self.client.peer() != Peer::Process && self.client.upgraded().is_none()
    }

    /// How it is found out whether the handshake comes before INFO, if that may be.
    pub(super) fn begins_with_tls(&self) -> Option<HandshakeFirst> {
        let tls = self.settings.tls.as_ref().filter(|_| self.comes_bare())?;
        // Who must begin with the handshake may not do without TLS, even where others may (nats-server v2.15.2).
        tls.handshake_first
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
            let securing = Securing { shared: &self.shared, out: self.client.outbound() };
            before = securing.sniff(&mut self.reader, delay, before).await?;
            if before.is_empty() {
                is_first = false;
                self.send_first_info();
            }
        }
        if !is_first {
            self.securing().wait_until_sent(tls.timeout).await?;
        }
        if !is_first && settings.allow_non_tls {
            let securing = Securing { shared: &self.shared, out: self.client.outbound() };
            before = securing.sniff(&mut self.reader, tls.timeout, before).await?;
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

    fn securing(&self) -> Securing<'_> {
        Securing { shared: &self.shared, out: self.client.outbound() }
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
        match self.securing().accept(tls, lower, writer, before).await {
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
            Err(failed) => Err(failed.report(&self.client.label(), "TLS handshake")),
        }
    }
}
