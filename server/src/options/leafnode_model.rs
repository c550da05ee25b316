//! Leaf nodes: servers that are connected to this one, and those that this one connects to.

use std::path::PathBuf;
use std::time::Duration;

use super::auth_model::UserOptions;
use super::defaults;
use super::remote_tls::RemoteTls;
use super::tls_model::TlsOptions;
use jetkv_go_compat::quoted;

/// What the block `leafnodes` says beside where to listen.
///
/// ```
/// use jetkv::options::{LeafnodeOptions, LeafnodeRemote, Options, RemoteTls, RemoteUrl};
///
/// let options = Options::from_config_text(r#"
///     leafnodes { remotes: [{ url: "nats://u:p@hub", deny_imports: "private.>", tls { insecure: true } }] }
/// "#)?;
/// let leafnodes: &LeafnodeOptions = &options.leafnodes;
/// let remote: &LeafnodeRemote = &leafnodes.remotes[0];
/// let url: &RemoteUrl = &remote.urls[0];
/// assert_eq!((url.host.as_str(), url.port, url.user.as_deref()), ("hub", 7422, Some("u")));
/// assert_eq!((remote.account.as_str(), &*remote.deny_imports), ("$G", &["private.>".to_owned()][..]));
/// let tls: Option<&RemoteTls> = remote.tls.as_ref();
/// assert!(tls.is_some_and(|tls| tls.insecure && !tls.handshake_first));
/// # Ok::<(), jetkv::options::OptionsError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LeafnodeOptions {
    /// The users of leaf nodes, where the block has its own: one, or several. Empty: they are those of clients.
    pub users: Vec<UserOptions>,
    /// Oldest version of a server that may connect. `None`: any.
    pub min_version: Option<String>,
    /// Leaf nodes are not told what other leaf nodes listen to.
    pub isolate: bool,
    /// INFO does not name the address of the listener.
    pub no_advertise: bool,
    /// Pause between two attempts to connect to another server.
    pub reconnect_interval: Duration,
    /// Time that an attempt to connect may take.
    pub dial_timeout: Duration,
    /// Time that a write may take. `None`: as for clients.
    pub write_deadline: Option<Duration>,
    /// TLS of the listener. `None`: whoever comes in speaks in the clear.
    pub tls: Option<TlsOptions>,
    /// The servers that this one connects to.
    pub remotes: Vec<LeafnodeRemote>,
}

impl Default for LeafnodeOptions {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            min_version: None,
            isolate: false,
            no_advertise: false,
            reconnect_interval: defaults::LEAFNODE_RECONNECT,
            dial_timeout: defaults::LEAFNODE_DIAL_TIMEOUT,
            write_deadline: None,
            tls: None,
            remotes: Vec::new(),
        }
    }
}

/// A server, or servers of one cluster, that this one connects to as a leaf node.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafnodeRemote {
    /// Where they are; they are tried one after the other.
    pub urls: Vec<RemoteUrl>,
    /// The order of `urls` is kept.
    pub no_randomize: bool,
    /// Name of the account here that is connected.
    pub account: String,
    /// File with a user's claims and the seed of its key.
    pub credentials: Option<PathBuf>,
    /// Seed of the user's key.
    pub seed: Option<String>,
    /// TLS. `None`: where the other server wants it, with what the system trusts.
    pub tls: Option<RemoteTls>,
    /// This server is the hub, though it opens the connection.
    pub hub: bool,
    /// Subjects that are not to come from there.
    pub deny_imports: Vec<String>,
    /// Subjects that do not go there.
    pub deny_exports: Vec<String>,
    /// It is not told what other leaf nodes listen to.
    pub isolate: bool,
    /// It is asked not to tell what other leaf nodes listen to.
    pub request_isolation: bool,
    /// Time in which the first INFO has to come.
    pub first_info_timeout: Duration,
    /// Time that an attempt to connect may take. `None`: that of the block.
    pub dial_timeout: Option<Duration>,
    /// Nothing is connected.
    pub disabled: bool,
}

impl LeafnodeRemote {
    /// Whether both mean the same place, account and user.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.account.clone(), one.credentials.clone(), one.seed.clone());
        self.urls == other.urls && of(self) == of(other)
    }

    /// What it is called in the log, without passwords.
    pub(crate) fn shown(&self) -> String {
        let urls: Vec<String> = self.urls.iter().map(|url| quoted(url.shown())).collect();
        let who = match (&self.credentials, &self.seed) {
            (Some(path), _) => format!(", credentials={}", quoted(path.display().to_string())),
            (None, Some(_)) => ", nkey=\"[REDACTED]\"".to_owned(),
            (None, None) => String::new(),
        };
        format!("urls=[{}], account={}{who}", urls.join(" "), quoted(&self.account))
    }
}

impl RemoteUrl {
    /// Without the password.
    fn shown(&self) -> String {
        let who = match (&self.user, &self.password) {
            (Some(user), Some(_)) => format!("{user}:xxxxx@"),
            (Some(user), None) => format!("{user}@"),
            (None, _) => String::new(),
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{}://{who}{host}:{}", self.scheme, self.port)
    }
}

impl Default for LeafnodeRemote {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            no_randomize: false,
            account: defaults::GLOBAL_ACCOUNT.to_owned(),
            credentials: None,
            seed: None,
            tls: None,
            hub: false,
            deny_imports: Vec::new(),
            deny_exports: Vec::new(),
            isolate: false,
            request_isolation: false,
            first_info_timeout: defaults::LEAFNODE_INFO_WAIT,
            dial_timeout: None,
            disabled: false,
        }
    }
}

/// Where another server is, and as whom to connect there.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    /// The scheme, in small letters.
    pub scheme: String,
    /// A name, an IPv4 or an IPv6 address without brackets.
    pub host: String,
    /// Port that leaf nodes connect to.
    pub port: u16,
    /// Name of the user, or a token where there is no password.
    pub user: Option<String>,
    /// Password of the user.
    pub password: Option<String>,
}

/// Without the password.
impl std::fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteUrl({}:{})", self.host, self.port)
    }
}
