//! The listener for clients that speak WebSocket.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::tls_model::TlsOptions;

/// Where clients connect that speak WebSocket, and what is asked of them.
///
/// ```
/// use jetkv::Server;
/// use jetkv::options::{CookieNames, Options, WebsocketAuth, WebsocketOptions};
///
/// let websocket = WebsocketOptions {
///     host: "127.0.0.1".to_owned(),
///     no_tls: true,
///     cookies: CookieNames { user: Some("who".to_owned()), ..CookieNames::default() },
///     auth: WebsocketAuth::default(),
///     ..WebsocketOptions::default()
/// };
/// assert!(!websocket.auth.overrides());
/// let host = "127.0.0.1".to_owned();
/// let server = Server::start(Options { host, port: 0, websocket: Some(websocket), ..Options::default() })?;
/// assert!(server.websocket_address().is_some());
/// # Ok::<(), jetkv::StartError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebsocketOptions {
    /// Address that connections are accepted on. A name, an IPv4 or an IPv6 address without brackets.
    pub host: String,
    /// Port that connections are accepted on. 0: any free one.
    pub port: u16,
    /// `host:port` that other servers of the cluster would tell their clients.
    pub advertise: Option<String>,
    /// TLS of the listener. `None`: there is none, which `no_tls` allows.
    pub tls: Option<TlsOptions>,
    /// The listener may do without TLS.
    pub no_tls: bool,
    /// A request that names an origin must name the server's own.
    pub same_origin: bool,
    /// A request that names an origin must name one of these. Empty: any.
    pub allowed_origins: Vec<String>,
    /// Messages are deflated where the client wants it.
    pub compression: bool,
    /// Time that the handshake of TLS may take, and then the upgrade. `None`: what the server thinks is enough.
    pub handshake_timeout: Option<Duration>,
    /// Headers that every upgrade is answered with.
    pub headers: BTreeMap<String, String>,
    /// Time between two PINGs. `None`: as for other clients.
    pub ping_interval: Option<Duration>,
    /// Cookies that stand for fields of CONNECT.
    pub cookies: CookieNames,
    /// Who may connect, where that differs from other clients.
    pub auth: WebsocketAuth,
}

/// Names of cookies. `None`: there is no such cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieNames {
    /// For the JWT.
    pub jwt: Option<String>,
    /// For the user name.
    pub user: Option<String>,
    /// For the password.
    pub password: Option<String>,
    /// For the token.
    pub token: Option<String>,
}

/// Who may connect besides the users that are listed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WebsocketAuth {
    /// The only user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The token of all.
    pub token: Option<String>,
    /// The user that connections without credentials become.
    pub no_auth_user: Option<String>,
    /// Time in which a client has to authenticate. `None`: as other clients.
    pub timeout: Option<Duration>,
}

impl WebsocketAuth {
    /// Whether it holds instead of what the server says for all.
    pub fn overrides(&self) -> bool {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        given(&self.username) || given(&self.token) || given(&self.no_auth_user)
    }
}

/// Secrets do not reach the log.
impl fmt::Debug for WebsocketAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebsocketAuth")
    }
}
