//! What a server is told to do, after flags, configuration file and defaults came together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::auth_model::{AccountOptions, AuthOptions, ConnectionType, UserOptions};
use super::defaults;
use super::jetstream_model::JetStreamOptions;
use super::lab_model::LabOptions;
use super::leafnode_model::LeafnodeOptions;
use super::listener_model::UnservedListener;
use super::look_model::Look;
use super::mapping::Mapping;
use super::operator_model::OperatorOptions;
use super::tls_model::TlsOptions;
use super::websocket_model::WebsocketOptions;

/// Everything a server can be told. [`Options::default`] is what `nats-server` without arguments does.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The configuration file that was read, as given on the command line.
    pub config_file: Option<String>,
    /// Fingerprint of what was read from the configuration file, `sha256:` and hexadecimal digits.
    pub config_digest: Option<String>,
    /// Name in INFO and on the monitoring pages. `None`: the server's id is its name.
    pub server_name: Option<String>,
    /// Address that client connections are accepted on. A name, an IPv4 or an IPv6 address without brackets.
    pub host: String,
    /// Port that client connections are accepted on. 0: any free one.
    pub port: u16,
    /// `host:port` that INFO names instead of the bound address. Validated: host and port are present.
    pub client_advertise: Option<String>,
    /// What is logged, and where to.
    pub log: LogOptions,
    /// Limits of client connections.
    pub limits: LimitOptions,
    /// Who may connect, and what for.
    pub auth: AuthOptions,
    /// The accounts of the configuration; `$G` and `$SYS` exist without being listed here.
    pub accounts: Vec<AccountOptions>,
    /// What becomes of the subjects that clients of the global account publish; the first that fits counts. `None` where the
    /// configuration says nothing of it.
    pub mappings: Option<Vec<Mapping>>,
    /// Name of the cluster that the server would be in.
    pub cluster_name: Option<String>,
    /// Name of the system account, where it is said. Otherwise it is `$SYS`, or there is none when `no_system_account` is
    /// set; see `Options::system_account_name`.
    pub system_account: Option<String>,
    /// No system account is made unless `system_account` names one.
    pub no_system_account: bool,
    /// Whose accounts and users are served, where these come with claims.
    pub operators: OperatorOptions,
    /// TLS for clients, and for the monitoring pages where those are to have it.
    pub tls: Option<TlsOptions>,
    /// Public keys of proxies whose signatures say that a client comes by way of them. `None`: nothing is said of proxies.
    pub trusted_proxies: Option<Vec<String>>,
    /// Connections of clients may begin with the header of a proxy that says where the client is.
    pub proxy_protocol: bool,
    /// Clients may do without TLS although it is there.
    pub allow_non_tls: bool,
    /// The listener for clients that speak WebSocket, if there is one.
    pub websocket: Option<WebsocketOptions>,
    /// The monitoring pages.
    pub monitor: MonitorOptions,
    /// The stream engine.
    pub jetstream: JetStreamOptions,
    /// The test lab, where it is on.
    pub lab: Option<LabOptions>,
    /// How threads that serve connections wait for the next request.
    pub look: Look,
    /// Leaf nodes.
    pub leafnodes: LeafnodeOptions,
    /// Ports that are opened although nobody is served there, in the order in which they are.
    pub unserved_listeners: Vec<UnservedListener>,
    /// File that the process id is written to.
    pub pid_file: Option<PathBuf>,
    /// Directory in which `nats-server_<pid>.ports` is written.
    pub ports_file_dir: Option<PathBuf>,
    /// Time over which lame duck mode spreads the closing of connections, grace period included.
    pub lame_duck_duration: Duration,
    /// Time between entering lame duck mode and the first closed connection.
    pub lame_duck_grace_period: Duration,
    /// Subject lookups are not cached.
    pub no_sublist_cache: bool,
    /// Clients are told that headers are not supported, and HPUB is refused.
    pub no_header_support: bool,
    /// Failed first attempts between two log lines about a connection to another server.
    pub connect_error_reports: i64,
    /// Failed further attempts between two log lines about a connection to another server.
    pub reconnect_error_reports: i64,
    /// Tags in INFO-like answers of the monitoring pages; lower case, trimmed, without duplicates.
    pub tags: Vec<String>,
    /// Metadata for the monitoring pages.
    pub metadata: BTreeMap<String, String>,
    /// Features opted into or out of, by name.
    pub feature_flags: BTreeMap<String, bool>,
    /// JetStream domain by account name, for clients that do not name a domain.
    pub default_js_domain: BTreeMap<String, String>,
    /// Which switches were given where; a reload needs it to let the command line win again.
    pub origin: Origin,
}

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Log `[DBG]` lines.
    pub debug: bool,
    /// Log `[TRC]` lines: the protocol of client connections.
    pub trace: bool,
    /// Trace the system account as well.
    pub trace_verbose: bool,
    /// Trace only the headers of messages, not their payload.
    pub trace_headers: bool,
    /// Lines begin with the time.
    pub time: bool,
    /// That time is UTC instead of local.
    pub time_utc: bool,
    /// File that lines are appended to instead of stderr.
    pub file: Option<PathBuf>,
    /// Lines go to this machine's syslog, unless there is a file.
    pub syslog: bool,
    /// Syslog of another machine that lines go to, unless there is a file: `udp://host:port`, `tcp://host:port` or
    /// `unix:///path`.
    pub remote_syslog: Option<String>,
    /// Size in bytes beyond which the log file is rotated. 0: never.
    pub file_size_limit_bytes: u64,
    /// Rotated files to keep, counting the current one. 0: all.
    pub file_max_num: u64,
    /// Longest part of a message that a `[TRC]` line shows, in bytes. 0: all of it.
    pub max_traced_msg_len: usize,
}

/// Limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitOptions {
    /// Most client connections at a time. Not positive: no limit.
    pub max_connections: i64,
    /// Most subscriptions of one connection. 0 or less: no limit.
    pub max_subscriptions: i64,
    /// Most tokens in a subscription's subject. 0: no limit.
    pub max_subscription_tokens: u8,
    /// Longest protocol line (without payload), in bytes.
    pub max_control_line_bytes: usize,
    /// Largest message (headers and payload), in bytes. `None`: no limit.
    pub max_payload_bytes: Option<usize>,
    /// Most bytes that may wait for one client before it is cut as a slow consumer.
    pub max_pending_bytes: i64,
    /// Most closed connections that are remembered for `/connz?state=closed`.
    pub max_closed_clients: i64,
    /// Time between two PINGs to a client.
    pub ping_interval: Duration,
    /// PINGs that may stay unanswered before a connection counts as stale.
    pub ping_max: i64,
    /// Time one write to a client may take before it is cut as a slow consumer.
    pub write_deadline: Duration,
    /// What happens when `write_deadline` passes.
    pub write_timeout: WriteTimeout,
    /// Publishers are not slowed down when a subscriber lags.
    pub no_fast_producer_stall: bool,
}

/// What happens to a connection whose write took longer than `write_deadline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteTimeout {
    /// The default for the kind of connection: clients are closed.
    Default,
    /// The connection is closed.
    Close,
    /// The rest is written again.
    Retry,
}

/// The monitoring pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorOptions {
    /// Address that the pages are served on; the clients' one unless `http` names another.
    pub host: String,
    /// Port that the pages are served on. `None`: no pages. `Some(0)`: any free port.
    pub port: Option<u16>,
    /// The pages are served over TLS.
    pub secure: bool,
    /// Path below which the pages are served; starts with `/`, ends without one unless it is `/`.
    pub base_path: String,
}

/// Switches that were set explicitly, by nats-server's name of the field (`Debug`, `Trace`, `TraceVerbose`,
/// `Logtime`, `JetStream`, ...).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Set in the configuration file.
    pub in_config: BTreeMap<&'static str, bool>,
    /// Set on the command line.
    pub in_command_line: BTreeMap<&'static str, bool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config_file: None,
            config_digest: None,
            server_name: None,
            host: defaults::HOST.to_owned(),
            port: defaults::PORT,
            client_advertise: None,
            log: LogOptions::default(),
            limits: LimitOptions::default(),
            auth: AuthOptions::default(),
            accounts: Vec::new(),
            system_account: None,
            no_system_account: false,
            operators: OperatorOptions::default(),
            tls: None,
            allow_non_tls: false,
            trusted_proxies: None,
            proxy_protocol: false,
            websocket: None,
            monitor: MonitorOptions::default(),
            jetstream: JetStreamOptions::default(),
            mappings: None,
            cluster_name: None,
            lab: None,
            look: Look::default(),
            leafnodes: LeafnodeOptions::default(),
            unserved_listeners: Vec::new(),
            pid_file: None,
            ports_file_dir: None,
            lame_duck_duration: defaults::LAME_DUCK_DURATION,
            lame_duck_grace_period: defaults::LAME_DUCK_GRACE_PERIOD,
            no_sublist_cache: false,
            no_header_support: false,
            connect_error_reports: defaults::CONNECT_ERROR_REPORTS,
            reconnect_error_reports: defaults::RECONNECT_ERROR_REPORTS,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            feature_flags: BTreeMap::new(),
            default_js_domain: BTreeMap::new(),
            origin: Origin::default(),
        }
    }
}

impl Options {
    /// Whether certificates say who comes over this kind of connection.
    pub(crate) fn maps_certificates(&self, kind: ConnectionType) -> bool {
        let tls = match kind {
            ConnectionType::Standard => self.tls.as_ref(),
            ConnectionType::Websocket => self.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref()),
            _ => None,
        };
        tls.is_some_and(|tls| tls.map)
    }

    /// Whether a user has no password because its certificate says who it is.
    pub(crate) fn needs_certificate(&self, user: &UserOptions) -> bool {
        let kinds = [ConnectionType::Standard, ConnectionType::Websocket];
        let mut kinds = kinds.into_iter();
        user.password.is_empty() && kinds.any(|kind| self.maps_certificates(kind) && user.may_come_over(kind))
    }

    /// Whether some password is configured as it is, instead of as a bcrypt hash.
    pub(crate) fn has_plain_password(&self) -> bool {
        self.auth.has_plain_password(|user| !self.needs_certificate(user))
    }

    /// Name of the system account where it is said, or where an account has the reserved name.
    pub(crate) fn named_system_account(&self) -> Option<&str> {
        let is_reserved = |account: &AccountOptions| account.name == defaults::SYSTEM_ACCOUNT;
        let reserved = self.accounts.iter().any(is_reserved).then_some(defaults::SYSTEM_ACCOUNT);
        self.system_account.as_deref().or(reserved)
    }

    /// Name of the system account, if there is one. JetStream needs one, and has it even where it is not wanted
    /// (nats-server v2.15.2).
    pub(crate) fn system_account_name(&self) -> Option<&str> {
        match self.named_system_account() {
            Some(name) => Some(name),
            None if self.no_system_account && !self.jetstream.enabled => None,
            None => Some(defaults::SYSTEM_ACCOUNT),
        }
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            debug: false,
            trace: false,
            trace_verbose: false,
            trace_headers: false,
            time: true,
            time_utc: false,
            file: None,
            syslog: false,
            remote_syslog: None,
            file_size_limit_bytes: 0,
            file_max_num: 0,
            max_traced_msg_len: 0,
        }
    }
}

impl LimitOptions {
    /// The largest message as INFO, pages and the log show it: no limit is -1.
    #[must_use]
    pub(crate) fn shown_max_payload(&self) -> i32 {
        self.max_payload_bytes.map_or(-1, |bytes| i32::try_from(bytes).unwrap_or(i32::MAX))
    }
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            max_connections: defaults::MAX_CONNECTIONS,
            max_subscriptions: 0,
            max_subscription_tokens: 0,
            max_control_line_bytes: defaults::MAX_CONTROL_LINE_BYTES,
            max_payload_bytes: Some(defaults::MAX_PAYLOAD_BYTES),
            max_pending_bytes: defaults::MAX_PENDING_BYTES,
            max_closed_clients: defaults::MAX_CLOSED_CLIENTS,
            ping_interval: defaults::PING_INTERVAL,
            ping_max: defaults::PING_MAX,
            write_deadline: defaults::WRITE_DEADLINE,
            write_timeout: WriteTimeout::Default,
            no_fast_producer_stall: false,
        }
    }
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            host: defaults::HOST.to_owned(),
            port: None,
            secure: false,
            base_path: defaults::HTTP_BASE_PATH.to_owned(),
        }
    }
}
