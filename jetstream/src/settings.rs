//! What an engine is started with, and what of it may change while it runs. The latter is read where it is used, never
//! copied into what exists: a change holds for all of it at once.

use arc_swap::{ArcSwap, Cache};
use jetkv_go_compat::base62::short_hash;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Largest publish that fits a stream's buffer unless configured otherwise, bytes.
const MAX_BUFFERED_BYTES: u64 = 128 << 20;

/// What an engine is started with. All but `settings` stays until its end.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Directory of the file stores, above `jetstream`; without it there are only memory streams.
    pub store_dir: Option<PathBuf>,
    /// Name of the JetStream domain, empty for none.
    pub domain: String,
    /// Whether consumers ask for answers under subjects that name domain and account, too (nats-server's feature flag
    /// `js_ack_fc_v2`). They listen to both forms in any case.
    pub scoped_acks: bool,
    /// Whether unknown fields in requests are errors (`jetstream { strict }`; nats-server's default is true).
    pub strict: bool,
    /// When writes are made durable.
    pub sync: SyncPolicy,
    /// What streams and consumers on disk are encrypted with, if they are.
    pub encryption: Option<Encryption>,
    /// Name of the server, shown in advisories and account information.
    pub server_name: String,
    /// Identity of the server.
    pub server_id: String,
    /// Most bytes that one answer to a direct get may bring when the request sets no bound.
    pub max_pending_bytes: u64,
    /// Largest publish that fits a stream's buffer, bytes of subject, reply subject, headers and payload.
    pub max_buffered_bytes: u64,
    /// Seed of all randomness (ids of advisories, names of ephemeral consumers).
    pub seed: u64,
    /// What may change later, see [`Engine::set_settings`](crate::Engine::set_settings).
    pub settings: EngineSettings,
}

impl Default for EngineConfig {
    /// nats-server's defaults, in memory only.
    fn default() -> Self {
        Self {
            store_dir: None,
            domain: String::new(),
            scoped_acks: false,
            strict: true,
            sync: SyncPolicy::EveryNs(120_000_000_000),
            encryption: None,
            server_name: String::new(),
            server_id: String::new(),
            max_pending_bytes: 64 << 20,
            max_buffered_bytes: MAX_BUFFERED_BYTES,
            seed: 0,
            settings: EngineSettings::default(),
        }
    }
}

/// How assets are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cipher {
    /// XChaCha20, with Poly1305 where there is a proof.
    #[default]
    ChaCha,
    /// AES with 256 bits: GCM with a nonce of 16 bytes, and CTR for blocks.
    Aes,
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChaCha => "ChaCha20-Poly1305",
            Self::Aes => "AES-GCM",
        })
    }
}

/// The keys of a store directory, as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct Encryption {
    /// What all is encrypted with.
    pub key: String,
    /// What it may still be encrypted with.
    pub previous_key: Option<String>,
    /// How it is encrypted. What is encrypted another way is converted.
    pub cipher: Cipher,
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

/// When file streams are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before every acknowledgement.
    Always,
    /// Every so many nanoseconds.
    EveryNs(u64),
}

/// What the server allows all accounts together, and each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// Memory that all streams together may hold, bytes; negative for any.
    pub max_memory_bytes: i64,
    /// Disk space that all streams together may hold, bytes; negative for any.
    pub max_file_bytes: i64,
    /// Largest message that the server accepts, bytes; it bounds the burst of a consumer's rate limit.
    pub max_payload_bytes: u64,
    /// Longest dedupe window that a stream may ask for, nanoseconds; 0 for any.
    pub duplicates_max_ns: i64,
    /// Consumers that a stream may have where neither it nor its account says; 0 or less for any number.
    pub max_consumers_per_stream: i64,
    /// Outstanding acknowledgements that a consumer may have; 0 or less for any number.
    pub max_ack_pending: i64,
    /// Largest batch of a pull request; 0 or less for any.
    pub max_request_batch: i64,
    /// Limits of batch publishing.
    pub batches: BatchLimits,
}

/// What publishers of batches may do (ADR-50); 0 or less for nats-server's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchLimits {
    /// Batches of one kind that may be open on one stream.
    pub inflight_per_stream_max: i64,
    /// Batches of one kind that may be open on all streams together.
    pub inflight_total_max: i64,
    /// Messages in an atomic batch.
    pub msgs_max: i64,
    /// How long a batch stays open after its last message, nanoseconds.
    pub timeout_ns: i64,
}

impl Default for EngineSettings {
    /// nats-server's defaults, without a limit on what streams hold.
    fn default() -> Self {
        Self {
            max_memory_bytes: -1,
            max_file_bytes: -1,
            max_payload_bytes: 1 << 20,
            duplicates_max_ns: 0,
            max_consumers_per_stream: 1000,
            max_ack_pending: 0,
            max_request_batch: 0,
            batches: BatchLimits::default(),
        }
    }
}

/// What an account may use; -1 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The limits of an account: the same for all of its streams, or by tiers. A tier is for the streams of one number of
/// replicas; it is called `R1`, `R3` and so on (nats-server v2.15.2).
///
/// ```
/// use jetkv_jetstream::{AccountLimits, TieredLimits};
///
/// let few = AccountLimits { max_streams: 2, ..AccountLimits::default() };
/// assert_eq!(TieredLimits::from(few).for_replicas(3), Some(&few));
/// let tiers = TieredLimits::by_tier([("R3".to_owned(), few)].into());
/// assert_eq!(tiers.for_replicas(3), Some(&few));
/// assert_eq!(tiers.for_replicas(1), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TieredLimits {
    /// Those of all streams, where there are no tiers.
    flat: Option<AccountLimits>,
    /// Those of streams with one replica, where there is such a tier.
    single: Option<AccountLimits>,
    tiers: BTreeMap<String, AccountLimits>,
}

/// What a stream counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// All of the account together.
    Flat,
    /// The tier of one replica, which is all that there can be on one server.
    Single,
}

impl Tier {
    /// Its name; that of all together is empty.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flat => "",
            Self::Single => SINGLE,
        }
    }
}

/// The tier of streams with one replica.
const SINGLE: &str = "R1";

impl TieredLimits {
    /// Limits by tiers.
    #[must_use]
    pub fn by_tier(tiers: BTreeMap<String, AccountLimits>) -> Self {
        Self { flat: None, single: tiers.get(SINGLE).copied(), tiers }
    }

    /// Those that are the same for all streams; `None` where there are tiers.
    #[must_use]
    pub fn flat(&self) -> Option<&AccountLimits> {
        self.flat.as_ref()
    }

    /// The tiers by their names; empty where all streams have the same limits.
    #[must_use]
    pub fn tiers(&self) -> &BTreeMap<String, AccountLimits> {
        &self.tiers
    }

    /// What holds for a stream of so many replicas; `None` where it has no tier.
    #[must_use]
    pub fn for_replicas(&self, replicas: i64) -> Option<&AccountLimits> {
        if replicas <= 1 {
            return self.flat.as_ref().or(self.single.as_ref());
        }
        self.flat.as_ref().or_else(|| self.tiers.get(&format!("R{replicas}")))
    }

    /// All of them by their names; those that are the same for all streams have none.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &AccountLimits)> {
        let flat = self.flat.iter().map(|limits| ("", limits));
        flat.chain(self.tiers.iter().map(|(name, limits)| (name.as_str(), limits)))
    }

    /// Those of one name.
    pub(crate) fn named(&self, name: &str) -> Option<&AccountLimits> {
        if name.is_empty() { self.flat.as_ref() } else { self.tiers.get(name) }
    }

    /// What holds for what a stream counts for.
    pub(crate) fn of(&self, tier: Tier) -> Option<&AccountLimits> {
        match tier {
            Tier::Flat => self.flat.as_ref(),
            Tier::Single => self.single.as_ref(),
        }
    }

    /// What a stream counts for that begins now.
    pub(crate) fn tier(&self) -> Tier {
        if self.flat.is_some() { Tier::Flat } else { Tier::Single }
    }
}

impl From<AccountLimits> for TieredLimits {
    fn from(limits: AccountLimits) -> Self {
        Self { flat: Some(limits), single: None, tiers: BTreeMap::new() }
    }
}

impl Default for TieredLimits {
    fn default() -> Self {
        AccountLimits::default().into()
    }
}

/// What surrounds the consumers of a stream: names and limits of its account and server.
#[derive(Debug, Clone, Default)]
pub struct ConsumerSettings {
    /// The account's name, shown in advisories.
    pub account_name: String,
    /// The JetStream domain, empty for none.
    pub domain: String,
    /// Whether consumers ask for answers under subjects that name these two.
    pub scoped_acks: bool,
    /// Bytes that may wait for one receiver before the server cuts it, 0 for any number.
    pub max_pending_bytes: u64,
    /// Seed of generated names, identifiers and jitter.
    pub seed: u64,
    /// What the server allows.
    pub server: Live<EngineSettings>,
    /// What the account may use.
    pub account: Live<TieredLimits>,
}

impl ConsumerSettings {
    /// Domain and account, as subjects name them.
    pub(crate) fn scope(&self) -> String {
        let domain = if self.domain.is_empty() { "_" } else { &self.domain };
        format!("{domain}.{}", short_hash(&self.account_name))
    }
}

/// A value that is replaced as a whole while others read it. Clones share the value.
#[derive(Debug, Default)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// A value to begin with.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value at this moment. Takes no lock, but is no work for every message: see [`Live::watch`].
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value.
    pub fn store(&self, value: T) {
        self.0.store(Arc::new(value));
    }

    /// For whoever looks again and again.
    #[must_use]
    pub fn watch(&self) -> Watched<T> {
        Watched(Cache::new(Arc::clone(&self.0)))
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A [`Live`] value as somebody sees it who looks at it for every message: as long as the value stays, a look is a load of
/// one pointer.
#[derive(Debug)]
pub struct Watched<T>(Cache<Arc<ArcSwap<T>>, Arc<T>>);

impl<T> Watched<T> {
    /// The value at this moment.
    #[inline]
    pub fn get(&mut self) -> &T {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::Live;

    #[test]
    fn whoever_watches_a_value_sees_it_change() {
        let live = Live::new(1);
        let (mut early, shared) = (live.watch(), live.clone());
        assert_eq!(*early.get(), 1);
        shared.store(2);
        assert_eq!((*early.get(), *live.watch().get(), *live.load()), (2, 2, 2));
    }
}
