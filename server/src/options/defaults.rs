//! Values that hold when neither flags nor configuration say otherwise.
//! All of them are nats-server v2.15.2's, observed through `/varz` and its behaviour.

use std::time::Duration;

/// Address that client connections are accepted on.
pub(crate) const HOST: &str = "0.0.0.0";
/// Port that client connections are accepted on.
pub(crate) const PORT: u16 = 4222;
/// Longest protocol line (without payload), in bytes.
pub(crate) const MAX_CONTROL_LINE_BYTES: usize = 4096;
/// Largest message (headers and payload), in bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// `max_payload` above this draws a warning at start.
pub(crate) const MAX_PAYLOAD_WARN_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes that may wait for one client before it is cut as a slow consumer.
pub(crate) const MAX_PENDING_BYTES: i64 = 64 * 1024 * 1024;
/// Most client connections at a time.
pub(crate) const MAX_CONNECTIONS: i64 = 64 * 1024;
/// Most closed connections that are remembered for `/connz?state=closed`.
pub(crate) const MAX_CLOSED_CLIENTS: i64 = 10_000;
/// Time between two PINGs to a client.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(120);
/// PINGs that may stay unanswered before a connection counts as stale.
pub(crate) const PING_MAX: i64 = 2;
/// Port of other servers that leaf nodes connect to.
pub(crate) const LEAFNODE_PORT: u16 = 7422;
/// Pause between two attempts of a leaf node to connect.
pub(crate) const LEAFNODE_RECONNECT: Duration = Duration::from_secs(1);
/// Time that such an attempt may take.
pub(crate) const LEAFNODE_DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Time in which the first INFO has to come then.
pub(crate) const LEAFNODE_INFO_WAIT: Duration = Duration::from_secs(1);
/// Time a client has to send its CONNECT.
pub(crate) const AUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections to each other server of a cluster.
pub(crate) const POOL_SIZE: i64 = 3;
/// What it is longer than the time for the handshake of TLS, where clients are under TLS.
pub(crate) const AUTH_AFTER_TLS: Duration = Duration::from_secs(1);
/// Time one write to a client may take.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// Time over which lame duck mode spreads the closing of connections.
pub(crate) const LAME_DUCK_DURATION: Duration = Duration::from_secs(120);
/// Time between entering lame duck mode and the first closed connection.
pub(crate) const LAME_DUCK_GRACE_PERIOD: Duration = Duration::from_secs(10);
/// Path below which the monitoring pages are served.
pub(crate) const HTTP_BASE_PATH: &str = "/";
/// Failed first attempts between two log lines about a connection to another server.
pub(crate) const CONNECT_ERROR_REPORTS: i64 = 3600;
/// Failed further attempts between two log lines about a connection to another server.
pub(crate) const RECONNECT_ERROR_REPORTS: i64 = 1;
/// Replies one request allows when a permission has `allow_responses`.
pub(crate) const ALLOW_RESPONSES_MAX: i64 = 1;
/// Time within which these replies are allowed.
pub(crate) const ALLOW_RESPONSES_EXPIRES: Duration = Duration::from_secs(120);
/// Time that a TLS handshake may take.
pub(crate) const TLS_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that a client has to begin with the handshake, where those are told from others automatically.
pub(crate) const TLS_FIRST_FALLBACK: Duration = Duration::from_millis(50);
/// Time between two syncs of the file store.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_secs(120);
/// JetStream API requests that may wait before further ones are dropped.
pub(crate) const JETSTREAM_REQUEST_QUEUE_LIMIT: i64 = 10_000;
/// Consumers a stream takes when neither the stream nor the account says otherwise.
pub(crate) const JETSTREAM_MAX_CONSUMERS_PER_STREAM: i64 = 1000;
/// The account of connections that belong to no configured one.
pub(crate) const GLOBAL_ACCOUNT: &str = "$G";
/// The system account, unless `system_account` names another one.
pub(crate) const SYSTEM_ACCOUNT: &str = "$SYS";
/// Time that a resolver's server has to answer.
pub(crate) const RESOLVER_TIMEOUT: Duration = Duration::from_millis(1900);
/// Time between two looks at what other servers have.
pub(crate) const RESOLVER_INTERVAL: Duration = Duration::from_secs(60);
/// Time for which a cache keeps an account that nobody asks for.
pub(crate) const RESOLVER_TTL: Duration = Duration::from_secs(3600);

/// What names of users begin with who get an account of their own, where the test lab is on.
pub(crate) const LAB_ISOLATION_PREFIX: &str = "lab-";
