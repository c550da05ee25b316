//! Clients that come by way of a proxy which signs for them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;

use super::connection::Connection;
use super::operations::Stopped;
use crate::auth::{Credentials, Reason};
use crate::connections::{CloseReason, ConnectionHandle as _, Identity};
use crate::events;

impl Connection {
    /// Looks at the signature of a proxy, if there is one and some proxy is trusted. Tells whether it is in order.
    pub(super) fn look_at_proxy(&mut self) -> bool {
        let signature = &self.options.proxy_sig;
        let keys = self.settings.trusted_proxies.as_deref().unwrap_or_default();
        if signature.is_empty() || keys.is_empty() {
            return true;
        }
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
            tracing::debug!("{} - Proxy signature not valid base64", self.client.label());
            return false;
        };
        let signs = |key: &&String| {
            let key = KeyPair::from_public_key(key);
            !self.nonce.is_empty()
                && key.is_ok_and(|key| key.verify(self.nonce.as_bytes(), &signature).is_ok())
        };
        let Some(key) = keys.iter().find(signs) else { return false };
        let identity = Identity { proxy: key.as_str().into(), ..self.client.identity() };
        self.client.set_identity(identity);
        true
    }

    /// Whether a proxy that is trusted signed for the client.
    pub(super) fn is_by_proxy(&self) -> bool {
        !self.client.identity().proxy.is_empty()
    }

    /// What the client shows.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials { by_proxy: self.is_by_proxy(), ..Credentials::of(&self.options, &self.nonce) }
    }

    /// Sends a client away whose proxy nobody trusts. Its account does not hear of that.
    pub(super) fn refuse_proxy(&mut self) -> Option<Stopped> {
        self.log_reason(Some(&Reason::ProxyNotTrusted));
        self.turn_away();
        let reason = CloseReason::ProxyNotTrusted;
        events::refused(&self.shared, &*self.client, reason);
        self.stop(reason)
    }

    /// Whether the proxy that signed for the client is no longer trusted.
    pub(super) fn lost_its_proxy(&self) -> bool {
        let trusted = self.settings.trusted_proxies.as_deref().unwrap_or_default();
        let proxy = self.client.identity().proxy;
        !proxy.is_empty() && !trusted.iter().any(|key| **key == *proxy)
    }
}

/// As what a connection ends that is refused.
pub(super) fn end_of(reason: Option<&Reason>) -> CloseReason {
    match reason {
        Some(Reason::ProxyRequired) => CloseReason::ProxyRequired,
        Some(Reason::ProxyNotTrusted) => CloseReason::ProxyNotTrusted,
        _ => CloseReason::AuthenticationViolation,
    }
}
