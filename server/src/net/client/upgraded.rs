//! What the upgrade of a WebSocket connection said of the client behind it.

use crate::connections::{Peer, Secured};

/// What an upgrade said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Upgraded {
    /// Address of the client, as the proxy before the server says it.
    pub forwarded_for: Option<String>,
    /// What cookies say of the user.
    pub cookies: Cookies,
    /// What was agreed on before, where the connection is under TLS.
    pub secured: Option<Secured>,
}

/// Fields of CONNECT that cookies stand for, where CONNECT leaves them out. Empty: there is no such cookie.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Cookies {
    pub jwt: String,
    pub user: String,
    pub password: String,
    pub token: String,
}

/// Secrets do not reach the log.
impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies")
    }
}

/// Address and number of a client, as log lines begin.
pub(super) fn label(peer: Peer, id: u64, upgraded: Option<&Upgraded>) -> String {
    match upgraded {
        None => format!("{peer} - cid:{id}"),
        Some(Upgraded { forwarded_for: None, .. }) => format!("{peer} - wid:{id}"),
        Some(Upgraded { forwarded_for: Some(ip), .. }) if ip.contains(':') => {
            format!("[{ip}]/{peer} - wid:{id}")
        }
        Some(Upgraded { forwarded_for: Some(ip), .. }) => format!("{ip}/{peer} - wid:{id}"),
    }
}
