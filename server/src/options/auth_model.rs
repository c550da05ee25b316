//! Who may connect, into which account, and with which permissions.

use std::collections::BTreeSet;
use std::time::Duration;

pub use jetkv_jetstream::AccountLimits as AccountJetStreamLimits;
pub use jetkv_jetstream::TieredLimits as AccountJetStreamTiers;

use super::defaults;
use super::exchange::Exchange;
use super::mapping::Mapping;

/// The `authorization` block, the flags `--user`, `--pass`, `--auth`, and the users of all accounts.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthOptions {
    /// The single user's name. Excludes `token` and `users`.
    pub username: Option<String>,
    /// The single user's password: plain, or a bcrypt hash.
    pub password: Option<String>,
    /// The single token: plain, or a bcrypt hash.
    pub token: Option<String>,
    /// Users of the `authorization` block and of the `accounts` block. Names are unique.
    pub users: Vec<UserOptions>,
    /// Users with a key instead of a password, of both blocks. Keys are unique, among the names of `users` too.
    pub nkeys: Vec<NkeyUserOptions>,
    /// Name of the user that connections without credentials become. It is one of `users` or `nkeys`.
    pub no_auth_user: Option<String>,
    /// Time a client has to send its CONNECT.
    pub timeout: Duration,
    /// Whether there is an `authorization` block, whatever it says.
    pub has_block: bool,
    /// Who is asked about clients. `None`: nobody.
    pub callout: Option<AuthCallout>,
    /// Who is no user of a list has to come by way of a proxy that is trusted.
    pub proxy_required: bool,
}

/// A service that decides, instead of the configuration, who may connect and as whom (ADR-26).
///
/// ```
/// use jetkv::options::AuthCallout;
///
/// let callout = AuthCallout { account: "AUTH".into(), ..AuthCallout::default() };
/// assert!(callout.is_asked_about("ORDERS") && callout.xkey.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthCallout {
    /// Public key of the account that signs the answers.
    pub issuer: String,
    /// Name of the account where the service listens.
    pub account: String,
    /// Names or keys of the users that nobody is asked about: those of the service. Not empty.
    pub auth_users: Vec<String>,
    /// Public key that questions are sealed for. `None`: they are not.
    pub xkey: Option<String>,
    /// Accounts whose users are asked about, beside clients who are in none. Empty: all.
    pub allowed_accounts: Vec<String>,
}

/// One user of an `authorization` or `accounts` block.
#[derive(Clone, Debug, PartialEq)]
pub struct UserOptions {
    /// Name, not empty.
    pub username: String,
    /// Password: plain, or a bcrypt hash. May be empty.
    pub password: String,
    /// Account that the user belongs to. `None`: the global one, `$G`.
    pub account: Option<String>,
    /// What the user may publish and subscribe, defaults of its block applied. `None`: everything.
    pub permissions: Option<Permissions>,
    /// Kinds of connection that the user may use. `None`: all.
    pub allowed_connection_types: Option<BTreeSet<ConnectionType>>,
    /// It has to come by way of a proxy that is trusted.
    pub proxy_required: bool,
}

/// One user of an `authorization` or `accounts` block who signs with a key.
#[derive(Clone, Debug, PartialEq)]
pub struct NkeyUserOptions {
    /// Public key of a user, as text: `U...`.
    pub nkey: String,
    /// Account that the user belongs to. `None`: the global one, `$G`.
    pub account: Option<String>,
    /// What the user may publish and subscribe, defaults of its block applied. `None`: everything.
    pub permissions: Option<Permissions>,
    /// Kinds of connection that the user may use. `None`: all.
    pub allowed_connection_types: Option<BTreeSet<ConnectionType>>,
    /// It has to come by way of a proxy that is trusted.
    pub proxy_required: bool,
}

/// Kinds of connection, by the names in `allowed_connection_types`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionType {
    /// A NATS client over TCP or TLS.
    Standard,
    /// A NATS client over WebSocket.
    Websocket,
    /// A leaf node.
    Leafnode,
    /// A leaf node over WebSocket.
    LeafnodeWs,
    /// An MQTT client.
    Mqtt,
    /// An MQTT client over WebSocket.
    MqttWs,
    /// A client within the process.
    InProcess,
}

/// What a user may publish and subscribe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects that may be published. `None`: all.
    pub publish: Option<SubjectPermission>,
    /// Subjects that may be subscribed, each perhaps with a queue name after a blank. `None`: all.
    pub subscribe: Option<SubjectPermission>,
    /// Whether a reply subject that the user received may be published, how often and how long.
    pub responses: Option<ResponsePermission>,
}

/// Allowed and denied subjects; wildcards included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectPermission {
    /// `None`: all that `deny` does not cover. `Some` and empty: none.
    pub allow: Option<Vec<String>>,
    /// Subjects that are refused although `allow` covers them.
    pub deny: Vec<String>,
}

/// Permission to publish on reply subjects that were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponsePermission {
    /// Replies per request. Negative: any number.
    pub max_messages: i64,
    /// Time within which the replies are allowed, in nanoseconds. Negative: any time.
    pub expires_ns: i64,
}

/// One account of the `accounts` block.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountOptions {
    /// Name, unique.
    pub name: String,
    /// JetStream limits. `None`: JetStream is off for the account.
    pub jetstream: Option<AccountJetStreamTiers>,
    /// Limits of the account's connections.
    pub limits: AccountLimits,
    /// What becomes of the subjects that its clients publish; the first that fits counts.
    pub mappings: Vec<Mapping>,
    /// What it exports and imports.
    pub exchange: Exchange,
    /// Where traces go of messages whose `traceparent` header says that they are traced elsewhere.
    pub message_trace: Option<MessageTraceOptions>,
}

/// Where traces of an account's messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTraceOptions {
    /// Subject in the account.
    pub subject: String,
    /// Part of the messages, in percent.
    pub sampling: u8,
}

/// Limits of an account's connections. Negative: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// Most connections of the account.
    pub max_connections: i64,
    /// Most subscriptions of one connection.
    pub max_subscriptions: i64,
    /// Largest message, in bytes.
    pub max_payload_bytes: i64,
    /// Most leaf nodes.
    pub max_leafnodes: i64,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            username: None,
            password: None,
            token: None,
            users: Vec::new(),
            nkeys: Vec::new(),
            no_auth_user: None,
            proxy_required: false,
            timeout: defaults::AUTH_TIMEOUT,
            has_block: false,
            callout: None,
        }
    }
}

impl AuthCallout {
    /// Whether it is asked about a client that the configuration lets into an account; the global one is nobody's.
    pub fn is_asked_about(&self, account: &str) -> bool {
        account == defaults::GLOBAL_ACCOUNT
            || self.allowed_accounts.is_empty()
            || self.allowed_accounts.iter().any(|allowed| allowed == account)
    }
}

impl AuthOptions {
    /// Whether some user is listed, with a password or a key.
    pub(crate) fn has_users(&self) -> bool {
        !self.users.is_empty() || !self.nkeys.is_empty()
    }

    /// Whether this is the name or the key of a user that is listed.
    pub(crate) fn lists(&self, user: &str) -> bool {
        self.users.iter().any(|listed| listed.username == user)
            || self.nkeys.iter().any(|listed| listed.nkey == user)
    }

    /// Whether some password is configured as it is, instead of as a bcrypt hash, and meant as one.
    pub(super) fn has_plain_password(&self, is_meant: impl Fn(&UserOptions) -> bool) -> bool {
        self.password.as_deref().is_some_and(|password| !is_bcrypt(password))
            || self.users.iter().any(|user| !is_bcrypt(&user.password) && is_meant(user))
    }
}

impl UserOptions {
    /// Whether the user may come over this kind of connection.
    pub(crate) fn may_come_over(&self, kind: ConnectionType) -> bool {
        allows(self.allowed_connection_types.as_ref(), kind)
    }
}

/// Whether a user with these kinds of connection may come over this one; without any, everybody may.
pub(crate) fn allows(kinds: Option<&BTreeSet<ConnectionType>>, kind: ConnectionType) -> bool {
    kinds.is_none_or(|kinds| kinds.is_empty() || kinds.contains(&kind))
}

/// Whether a configured password is a bcrypt hash: `$2a$10$...`, also with b, x or y.
pub(crate) fn is_bcrypt(password: &str) -> bool {
    match password.as_bytes() {
        [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', tens, ones, b'$', ..] => {
            tens.is_ascii_digit() && ones.is_ascii_digit()
        }
        _ => false,
    }
}

impl AccountOptions {
    /// An account without JetStream and without limits, as `accounts { NAME {} }` makes it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            jetstream: None,
            limits: AccountLimits::default(),
            mappings: Vec::new(),
            exchange: Exchange::default(),
            message_trace: None,
        }
    }
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self { max_connections: -1, max_subscriptions: -1, max_payload_bytes: -1, max_leafnodes: -1 }
    }
}

impl Default for ResponsePermission {
    fn default() -> Self {
        Self {
            max_messages: defaults::ALLOW_RESPONSES_MAX,
            expires_ns: i64::try_from(defaults::ALLOW_RESPONSES_EXPIRES.as_nanos()).unwrap_or(i64::MAX),
        }
    }
}

impl ConnectionType {
    /// The name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Websocket => "WEBSOCKET",
            Self::Leafnode => "LEAFNODE",
            Self::LeafnodeWs => "LEAFNODE_WS",
            Self::Mqtt => "MQTT",
            Self::MqttWs => "MQTT_WS",
            Self::InProcess => "IN_PROCESS",
        }
    }

    /// The kind that a name in the configuration means; upper or lower case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        const ALL: [ConnectionType; 7] = [
            ConnectionType::Standard,
            ConnectionType::Websocket,
            ConnectionType::Leafnode,
            ConnectionType::LeafnodeWs,
            ConnectionType::Mqtt,
            ConnectionType::MqttWs,
            ConnectionType::InProcess,
        ];
        ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}
