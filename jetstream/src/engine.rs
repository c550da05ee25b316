//! The engine: accounts, their streams, and the JetStream API.

use crate::api::{ApiOutcome, ApiRequest};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::host::{AccountId, Host};
use crate::outbox::Outbox;
use crate::stream::Stream;
use std::path::PathBuf;
use std::sync::Arc;

/// What an engine is started with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Directory of the file stores, above `jetstream`; without it there are only memory streams.
    pub store_dir: Option<PathBuf>,
    /// Name of the JetStream domain, empty for none.
    pub domain: String,
    /// Whether unknown fields in requests are errors (`jetstream { strict }`; nats-server's default is true).
    pub strict: bool,
    /// Memory that all streams together may hold, bytes.
    pub max_memory_bytes: i64,
    /// Disk space that all streams together may hold, bytes.
    pub max_file_bytes: i64,
    /// When writes are made durable.
    pub sync: SyncPolicy,
    /// Name of the server, shown in advisories and account information.
    pub server_name: String,
    /// Identity of the server.
    pub server_id: String,
    /// Seed of all randomness (ids of advisories, names of ephemeral consumers).
    pub seed: u64,
}

/// When file streams are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before every acknowledgement.
    Always,
    /// Every so many nanoseconds.
    EveryNs(u64),
}

/// What an account may use; -1 for no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLimits {
    /// Bytes in memory streams.
    pub max_memory_bytes: i64,
    /// Bytes in file streams.
    pub max_store_bytes: i64,
    /// Streams.
    pub max_streams: i64,
    /// Consumers of one stream.
    pub max_consumers: i64,
    /// Outstanding acknowledgements of one consumer.
    pub max_ack_pending: i64,
    /// Largest `max_bytes` of a memory stream; 0 for none.
    pub memory_max_stream_bytes: i64,
    /// Largest `max_bytes` of a file stream; 0 for none.
    pub store_max_stream_bytes: i64,
    /// Whether streams must set `max_bytes`.
    pub max_bytes_required: bool,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self {
            max_memory_bytes: -1,
            max_store_bytes: -1,
            max_streams: -1,
            max_consumers: -1,
            max_ack_pending: -1,
            memory_max_stream_bytes: -1,
            store_max_stream_bytes: -1,
            max_bytes_required: false,
        }
    }
}

/// What enabling an account brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Streams recovered.
    pub streams: usize,
    /// Consumers recovered.
    pub consumers: usize,
    /// Messages in them.
    pub msgs: u64,
    /// What could not be recovered, one line each, naming the place.
    pub problems: Vec<String>,
}

/// Why the engine could not do what its host asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store directory cannot be used.
    #[error("{what}: {source}")]
    StoreDir {
        /// The directory and what was tried.
        what: String,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// No such account is enabled.
    #[error("JetStream not enabled for account")]
    NotEnabled,
}

/// A JetStream engine. All methods may be called from any thread.
pub struct Engine {
    config: EngineConfig,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    host: Arc<dyn Host>,
}

impl Engine {
    /// Starts an engine without accounts.
    ///
    /// # Errors
    /// The store directory cannot be created or written.
    pub fn new(
        config: EngineConfig,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        host: Arc<dyn Host>,
    ) -> Result<Arc<Self>, EngineError> {
        Ok(Arc::new(Self { config, clock, disk, host }))
    }

    /// What the engine was started with.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// Gives an account JetStream: recovers its streams and consumers and announces every stream's subjects to the
    /// host. `name` names the directory.
    ///
    /// # Errors
    /// The directory cannot be read; what cannot be recovered inside it is in the report instead.
    pub fn enable_account(
        &self,
        id: AccountId,
        name: &str,
        limits: AccountLimits,
    ) -> Result<RecoveryReport, EngineError> {
        let _ = (id, name, limits, &self.clock, &self.disk);
        Ok(RecoveryReport::default())
    }

    /// Changes what an account may use.
    ///
    /// # Errors
    /// The account is not enabled.
    pub fn update_account_limits(&self, id: AccountId, limits: AccountLimits) -> Result<(), EngineError> {
        let _ = (id, limits);
        Err(EngineError::NotEnabled)
    }

    /// Takes JetStream from an account: closes its streams, which stay on disk.
    pub fn disable_account(&self, id: AccountId) {
        let _ = id;
    }

    /// Serves a request on `$JS.API.>` or `$JS.<domain>.API.>`. Answers and advisories go into `out`.
    ///
    /// The caller commits what it has published before, so that answers do not overtake acknowledgements, routes
    /// `out`, and then does what the outcome says. It also calls this for accounts without JetStream, which get the
    /// answer that says so.
    pub fn api(&self, req: &ApiRequest<'_>, out: &mut Outbox) -> ApiOutcome {
        let _ = (req, out);
        ApiOutcome::default()
    }

    /// Takes a message on `$JS.ACK.>` or `$JS.FC.>` (a domain prefix as in nats-server's nine-token form included).
    /// Answers and deliveries leave with the commit of the stream returned.
    pub fn js_control(
        &self,
        account: AccountId,
        subject: &[u8],
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> Option<Arc<Stream>> {
        let _ = (account, subject, reply, headers, payload);
        None
    }

    /// Tells that someone now listens (`present`) or nobody listens any more on a literal `subject`. Cheap where no
    /// consumer delivers there.
    pub fn interest_changed(&self, account: AccountId, subject: &[u8], queue: Option<&[u8]>, present: bool) {
        let _ = (account, subject, queue, present);
    }

    /// A stream by name.
    #[must_use]
    pub fn stream(&self, account: AccountId, name: &str) -> Option<Arc<Stream>> {
        let _ = (account, name);
        None
    }

    /// Fires the timers that are due, and says when the next one is (nanoseconds since 1970).
    pub fn tick(&self) -> Option<u64> {
        None
    }

    /// Writes and closes every store. Later publishes are answered with an error.
    pub fn shutdown(&self) {}
}
