//! TLS of a leaf node connection, on either side.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::connection::Connection;
use super::remote::Solicited;
use crate::connections::CloseReason;
use crate::net::link::tls::Accepted;
use crate::net::link::{Link, Reader, Writer};
use crate::net::secure::{Failed, Securing};
use crate::options::{HandshakeFirst, RemoteTls, TlsOptions};

/// The handshake, as log lines name it.
const HANDSHAKE: &str = "TLS leafnode handshake";

impl Connection {
    fn securing(&self) -> Securing<'_> {
        Securing { shared: &self.shared, out: &self.leaf.out }
    }

    /// Puts a connection under TLS that another server opened, and sends the first INFO before or behind that.
    pub(super) async fn secure_inward(&mut self, tls: &TlsOptions) -> Result<(), CloseReason> {
        let (mut before, mut is_first) = (Vec::new(), tls.handshake_first.is_some());
        if let Some(HandshakeFirst::Within(delay)) = tls.handshake_first {
            let securing = Securing { shared: &self.shared, out: &self.leaf.out };
            before = securing.sniff(&mut self.reader, delay, before).await?;
            is_first = !before.is_empty();
        }
        if !is_first {
            self.send_first_info();
            self.securing().wait_until_sent(tls.timeout).await?;
        }
        tracing::debug!("{} - Starting TLS leafnode server handshake", self.leaf.label());
        let (lower, writer) = self.take_link()?;
        let accepted = self.securing().accept(tls, lower, writer, before).await;
        self.secured(accepted.map(|(accepted, _)| accepted))?;
        if is_first {
            self.send_first_info();
        }
        Ok(())
    }

    /// Puts a connection under TLS that this server opened.
    pub(super) async fn secure_outward(&mut self, solicited: &Solicited) -> Result<(), CloseReason> {
        let label = self.leaf.label();
        let usual = |error: String| {
            tracing::error!("{label} - {HANDSHAKE} error: {error}");
            CloseReason::TlsHandshakeError
        };
        let tls = match &solicited.remote.tls {
            Some(tls) => tls.clone(),
            None => RemoteTls::usual().map_err(usual)?,
        };
        let name = ServerName::try_from(solicited.server_name().to_owned());
        let name = name.map_err(|error| usual(error.to_string()))?;
        tracing::debug!("{label} - Starting TLS leafnode client handshake");
        let (lower, writer) = self.take_link()?;
        // What came behind INFO is read as TLS: nobody puts words in before it.
        let before = std::mem::take(&mut self.partial);
        let way = (Arc::clone(tls.config()), name, tls.timeout);
        let connected = self.securing().connect(way, lower, writer, before).await;
        self.secured(connected.and_then(|connected| self.pinned(connected)))
    }

    /// The other server's key is one of those that the block names, if it names any.
    fn pinned(&self, connected: Accepted) -> Result<Accepted, Failed> {
        let Some(tls) = &self.settings.leafnodes.tls else { return Ok(connected) };
        let peer = connected.peer(&[]).map_err(Failed::Handshake)?;
        tls.accepts(peer.as_deref()).map_err(Failed::NotPinned)?;
        Ok(connected)
    }

    fn take_link(&mut self) -> Result<(Reader, Arc<Writer>), CloseReason> {
        let writer = self.leaf.out.take_link().ok_or(CloseReason::WriteError)?;
        // Until the handshake is done, which may be never, the connection has nothing to read from.
        Ok((std::mem::replace(&mut self.reader, Link::ended_reader()), writer))
    }

    fn secured(&mut self, accepted: Result<Accepted, Failed>) -> Result<(), CloseReason> {
        let label = self.leaf.label();
        let Accepted { reader, writer, agreed, .. } =
            accepted.map_err(|failed: Failed| failed.report(&label, HANDSHAKE))?;
        self.reader = reader;
        self.leaf.out.put_link(Arc::new(writer));
        self.is_secured = true;
        tracing::debug!("{label} - TLS handshake complete");
        tracing::debug!("{label} - TLS version {}, cipher suite {}", agreed.version, agreed.suite);
        Ok(())
    }
}
