//! Options of the stream engine.

use std::path::PathBuf;
use std::time::Duration;

use jetkv_jetstream::Cipher;

use super::defaults;

/// The `jetstream` block, `-js` and `-sd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamOptions {
    /// The engine runs.
    pub enabled: bool,
    /// Requests with unknown fields are refused.
    pub strict: bool,
    /// Directory below which the engine keeps its own directory `jetstream`. `None`: `nats` in the system's
    /// temporary directory.
    pub store_dir: Option<PathBuf>,
    /// Most bytes that streams may hold in memory. Negative: three quarters of the machine's memory.
    pub max_memory_bytes: i64,
    /// Most bytes that streams may hold on disk. Negative: three quarters of what is free in `store_dir`.
    pub max_store_bytes: i64,
    /// Name of the JetStream domain.
    pub domain: Option<String>,
    /// Time between two syncs of the file store.
    pub sync_interval: Duration,
    /// Every write is synced before it is acknowledged.
    pub sync_always: bool,
    /// Tag prefix that decides placement among several servers; alone it is only shown on the monitoring pages.
    pub unique_tag: Option<String>,
    /// Whether streams may extend over several domains. Without other servers it has no effect, whatever it says.
    pub extension_hint: Option<String>,
    /// Most messages that may wait for a stream's store. 0: the engine's default. Here a publish is stored by the
    /// thread that read it, and a publisher that is too fast is read later: no message ever waits.
    pub max_buffered_msgs: i64,
    /// Most bytes that may wait for a stream's store. 0: the engine's default. For the same reason only a message that
    /// is larger by itself is refused.
    pub max_buffered_bytes: i64,
    /// Most bytes in flight to servers that catch up, which there are none of. 0: the engine's default.
    pub max_outstanding_catchup_bytes: i64,
    /// API requests that may wait before all of them are dropped. Here none waits, so that only a limit of 1 is ever
    /// reached.
    pub request_queue_limit: i64,
    /// The same for requests for information. 0: as `request_queue_limit`.
    pub info_queue_limit: i64,
    /// Disk operations at a time. 0: the engine's default. Here the disk is read and written only by the threads that
    /// serve connections, one for each processor, so that there is no queue to be limited.
    pub max_concurrent_io: i64,
    /// What streams on disk are encrypted with; `None`: they are not.
    pub encryption_key: Option<String>,
    /// What they may still be encrypted with.
    pub previous_encryption_key: Option<String>,
    /// How they are encrypted.
    pub cipher: Cipher,
    /// Where a trusted platform module keeps the key instead.
    pub tpm: TpmOptions,
    /// Limits on what requests may ask for.
    pub limits: JetStreamLimits,
}

/// The `tpm` block within `jetstream`: a key for the store that the machine's trusted platform module seals. Only
/// nats-server for Windows can ask one. On any other system neither server starts the engine with `keys_file` given.
///
/// ```
/// use jetkv::options::{JetStreamOptions, TpmOptions};
///
/// assert_eq!(JetStreamOptions::default().tpm, TpmOptions::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TpmOptions {
    /// The file of the sealed key. `None`: the block has no effect.
    pub keys_file: Option<String>,
    /// Password of the sealed key.
    pub key_password: Option<String>,
    /// Password of the storage root key.
    pub root_password: Option<String>,
    /// The register of the platform's configuration that the key is bound to. 0: the default.
    pub register: i64,
}

/// The `limits` block within `jetstream`. 0: no limit beyond the engine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamLimits {
    /// Largest `batch` of a pull request.
    pub max_request_batch: i64,
    /// Largest `max_ack_pending` of a consumer.
    pub max_ack_pending: i64,
    /// Most streams and consumers with several replicas.
    pub max_ha_assets: i64,
    /// Largest `duplicate_window` of a stream.
    pub duplicate_window: Duration,
    /// Consumers of a stream when neither it nor the account says otherwise. Negative: any number.
    pub default_max_consumers: i64,
    /// Batches that may be open on one stream.
    pub max_batch_inflight_per_stream: i64,
    /// Batches that may be open in total.
    pub max_batch_inflight_total: i64,
    /// Messages in one batch.
    pub max_batch_size: i64,
    /// Time between a batch's first message and its commit.
    pub max_batch_timeout: Duration,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            strict: true,
            store_dir: None,
            max_memory_bytes: -1,
            max_store_bytes: -1,
            domain: None,
            sync_interval: defaults::SYNC_INTERVAL,
            sync_always: false,
            unique_tag: None,
            extension_hint: None,
            max_buffered_msgs: 0,
            max_buffered_bytes: 0,
            max_outstanding_catchup_bytes: 0,
            request_queue_limit: defaults::JETSTREAM_REQUEST_QUEUE_LIMIT,
            info_queue_limit: 0,
            max_concurrent_io: 0,
            encryption_key: None,
            previous_encryption_key: None,
            cipher: Cipher::default(),
            tpm: TpmOptions::default(),
            limits: JetStreamLimits::default(),
        }
    }
}

impl Default for JetStreamLimits {
    fn default() -> Self {
        Self {
            max_request_batch: 0,
            max_ack_pending: 0,
            max_ha_assets: 0,
            duplicate_window: Duration::ZERO,
            default_max_consumers: defaults::JETSTREAM_MAX_CONSUMERS_PER_STREAM,
            max_batch_inflight_per_stream: 0,
            max_batch_inflight_total: 0,
            max_batch_size: 0,
            max_batch_timeout: Duration::ZERO,
        }
    }
}
