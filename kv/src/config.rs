//! What a bucket's settings mean for its stream.

use crate::Error;
use crate::name::{bucket_of, origin_stream, stream_of, subject_prefix};
use jetkv_jetstream::config::stream::{
    Compression, Discard, Placement, RePublish, StorageType, StreamConfig, StreamSource, SubjectTransform,
};
use jetkv_jetstream::store::StoreState;
use std::collections::BTreeMap;
use std::time::Duration;

/// Revisions of a key that a bucket keeps at most.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
/// # fn main() -> Result<(), Box<dyn Error>> {
/// # let (_test, buckets, bucket) = example()?;
/// use jetkv_kv::HISTORY_MAX;
///
/// let history = HISTORY_MAX + 1;
/// assert!(buckets.create(&BucketConfig { history, ..in_memory("long") }).is_err());
/// # Ok(())
/// # }
/// ```
pub const HISTORY_MAX: u8 = 64;

/// Window in which a message id is remembered, unless values live shorter.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Settings of a bucket. `None` means no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketConfig {
    /// Name: letters, digits, `_` and `-`.
    pub bucket: String,
    /// Free text.
    pub description: String,
    /// Largest value with its headers, bytes.
    pub max_value_size_bytes: Option<i32>,
    /// Revisions kept of each key, 1 to [`HISTORY_MAX`].
    pub history: u8,
    /// Age at which values go.
    pub ttl: Option<Duration>,
    /// Size of the bucket, bytes; a bucket that is full refuses values.
    pub max_bytes: Option<i64>,
    /// Where values are kept.
    pub storage: StorageType,
    /// Copies in a cluster.
    pub replicas: u8,
    /// Where in a cluster the bucket should live.
    pub placement: Option<Placement>,
    /// Publishes values again elsewhere.
    pub republish: Option<RePublish>,
    /// The bucket that this one copies.
    pub mirror: Option<StreamSource>,
    /// Buckets that this one gathers.
    pub sources: Vec<StreamSource>,
    /// Whether values are compressed on disk.
    pub compression: bool,
    /// How long the marker lives that takes the place of a value that a limit removed. It also lets values have TTLs
    /// of their own.
    pub limit_marker_ttl: Option<Duration>,
    /// Labels.
    pub metadata: BTreeMap<String, String>,
}

impl BucketConfig {
    /// A bucket in files that keeps one revision of each key for ever.
    ///
    /// ```
    /// let config = jetkv_kv::BucketConfig { history: 5, ..jetkv_kv::BucketConfig::new("settings") };
    /// assert_eq!(config.to_stream()?.name, "KV_settings");
    /// # Ok::<(), jetkv_kv::Error>(())
    /// ```
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            description: String::new(),
            max_value_size_bytes: None,
            history: 1,
            ttl: None,
            max_bytes: None,
            storage: StorageType::File,
            replicas: 1,
            placement: None,
            republish: None,
            mirror: None,
            sources: Vec::new(),
            compression: false,
            limit_marker_ttl: None,
            metadata: BTreeMap::new(),
        }
    }

    /// The configuration of the stream that holds this bucket (ADR-8, and what the clients send).
    ///
    /// ```
    /// let stream = jetkv_kv::BucketConfig::new("settings").to_stream()?;
    /// assert_eq!(stream.subjects, ["$KV.settings.>"]);
    /// # Ok::<(), jetkv_kv::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidBucketName`], [`Error::HistoryTooLarge`], [`Error::OutOfRange`].
    pub fn to_stream(&self) -> Result<StreamConfig, Error> {
        let name = stream_of(&self.bucket)?;
        if self.history > HISTORY_MAX {
            return Err(Error::HistoryTooLarge);
        }
        let window = self.ttl.filter(|ttl| !ttl.is_zero() && *ttl < DUPLICATE_WINDOW);
        let mut config = StreamConfig {
            name,
            description: self.description.clone(),
            max_msgs_per_subject: i64::from(self.history.max(1)),
            max_bytes: self.max_bytes.filter(|bytes| *bytes > 0).unwrap_or(-1),
            max_age_ns: nanos(self.ttl, "the TTL")?,
            max_msg_size: self.max_value_size_bytes.filter(|bytes| *bytes > 0).unwrap_or(-1),
            storage: self.storage,
            num_replicas: i64::from(self.replicas.max(1)),
            placement: self.placement.clone(),
            republish: self.republish.clone(),
            compression: if self.compression { Compression::S2 } else { Compression::None },
            duplicate_window_ns: nanos(window.or(Some(DUPLICATE_WINDOW)), "the TTL")?,
            subject_delete_marker_ttl_ns: nanos(self.limit_marker_ttl, "the TTL of limit markers")?,
            allow_msg_ttl: self.limit_marker_ttl.is_some_and(|ttl| !ttl.is_zero()),
            max_msgs: -1,
            max_consumers: -1,
            discard: Discard::New,
            allow_rollup_hdrs: true,
            deny_delete: true,
            allow_direct: true,
            metadata: self.metadata.clone(),
            ..StreamConfig::default()
        };
        self.set_origin(&mut config);
        Ok(config)
    }

    /// Says where the messages come from: publishes, another bucket, or several.
    fn set_origin(&self, config: &mut StreamConfig) {
        if let Some(mirror) = &self.mirror {
            config.mirror = Some(StreamSource { name: origin_stream(&mirror.name), ..mirror.clone() });
            config.mirror_direct = true;
            return;
        }
        config.subjects = vec![format!("{}>", subject_prefix(&self.bucket))];
        config.sources = self.sources.iter().map(|source| self.source(source)).collect();
    }

    /// A source with its keys moved into this bucket, unless it says itself how its subjects change.
    fn source(&self, source: &StreamSource) -> StreamSource {
        if !source.subject_transforms.is_empty() {
            return source.clone();
        }
        let name = origin_stream(&source.name);
        let from = bucket_of(&name).unwrap_or_default().to_owned();
        let mut source = StreamSource { name, ..source.clone() };
        if source.external.is_none() || from != self.bucket {
            source.subject_transforms = vec![SubjectTransform {
                src: format!("{}>", subject_prefix(&from)),
                dest: format!("{}>", subject_prefix(&self.bucket)),
            }];
        }
        source
    }

    /// The settings of the bucket that a stream holds.
    ///
    /// ```
    /// use jetkv_kv::BucketConfig;
    ///
    /// let config = BucketConfig::new("settings");
    /// assert_eq!(BucketConfig::from_stream(&config.to_stream()?)?.bucket, "settings");
    /// # Ok::<(), jetkv_kv::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BadBucket`] where the stream's name or its limit for each subject is not that of a bucket.
    pub fn from_stream(config: &StreamConfig) -> Result<Self, Error> {
        let bucket = bucket_of(&config.name).ok_or(Error::BadBucket)?;
        if config.max_msgs_per_subject < 1 {
            return Err(Error::BadBucket);
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            description: config.description.clone(),
            max_value_size_bytes: Some(config.max_msg_size).filter(|bytes| *bytes > 0),
            history: u8::try_from(config.max_msgs_per_subject).unwrap_or(u8::MAX),
            ttl: duration(config.max_age_ns),
            max_bytes: Some(config.max_bytes).filter(|bytes| *bytes > 0),
            storage: config.storage,
            replicas: u8::try_from(config.num_replicas).unwrap_or(u8::MAX),
            placement: config.placement.clone(),
            republish: config.republish.clone(),
            mirror: config.mirror.clone(),
            sources: config.sources.clone(),
            compression: config.compression == Compression::S2,
            limit_marker_ttl: duration(config.subject_delete_marker_ttl_ns),
            metadata: config.metadata.clone(),
        })
    }
}

fn nanos(duration: Option<Duration>, what: &'static str) -> Result<i64, Error> {
    i64::try_from(duration.unwrap_or_default().as_nanos()).map_err(|_| Error::OutOfRange(what))
}

fn duration(ns: i64) -> Option<Duration> {
    u64::try_from(ns).ok().filter(|ns| *ns > 0).map(Duration::from_nanos)
}

/// A bucket's settings and what it holds.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
/// # fn main() -> Result<(), Box<dyn Error>> {
/// # let (_test, buckets, bucket) = example()?;
/// use jetkv_kv::BucketStatus;
///
/// bucket.put("color", b"red")?;
/// bucket.put("color", b"blue")?;
/// let BucketStatus { values, keys, .. } = bucket.status()?;
/// assert_eq!((values, keys), (2, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketStatus {
    /// Settings.
    pub config: BucketConfig,
    /// Values and markers held, all revisions.
    pub values: u64,
    /// Keys, those with markers included.
    pub keys: u64,
    /// Bytes held, as the store counts them.
    pub size_bytes: u64,
    /// Counters of the stream.
    pub state: StoreState,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn a_bucket_has_the_stream_that_clients_would_create() {
        let stream = BucketConfig::new("b").to_stream().unwrap();
        assert_eq!((stream.name.as_str(), stream.subjects.as_slice()), ("KV_b", &["$KV.b.>".to_owned()][..]));
        assert_eq!((stream.max_msgs_per_subject, stream.max_bytes, stream.max_msg_size), (1, -1, -1));
        assert_eq!((stream.duplicate_window_ns, stream.max_age_ns), (120 * SECOND_NS, 0));
        assert!(stream.allow_rollup_hdrs && stream.deny_delete && stream.allow_direct);
        assert!(!stream.allow_msg_ttl && !stream.mirror_direct && stream.discard == Discard::New);
    }

    #[test]
    fn the_duplicate_window_is_never_longer_than_values_live() {
        let with_ttl = |secs| {
            let ttl = Some(Duration::from_secs(secs));
            BucketConfig { ttl, ..BucketConfig::new("b") }.to_stream().unwrap().duplicate_window_ns
        };
        assert_eq!(
            (with_ttl(10), with_ttl(120), with_ttl(3600)),
            (10 * SECOND_NS, 120 * SECOND_NS, 120 * SECOND_NS)
        );
    }

    #[test]
    fn settings_come_back_from_the_stream() {
        let config = BucketConfig {
            history: 7,
            ttl: Some(Duration::from_secs(9)),
            limit_marker_ttl: Some(Duration::from_secs(3)),
            max_bytes: Some(1 << 20),
            compression: true,
            metadata: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            ..BucketConfig::new("b")
        };
        let stream = config.to_stream().unwrap();
        assert!(stream.allow_msg_ttl);
        assert_eq!(BucketConfig::from_stream(&stream).unwrap(), config);
        assert!(matches!(BucketConfig::from_stream(&StreamConfig::default()), Err(Error::BadBucket)));
    }

    #[test]
    fn mirrors_and_sources_name_streams_and_move_keys() {
        let origin = StreamSource { name: "a".into(), ..StreamSource::default() };
        let mirror = BucketConfig { mirror: Some(origin.clone()), ..BucketConfig::new("b") };
        let stream = mirror.to_stream().unwrap();
        assert_eq!(stream.mirror.unwrap().name, "KV_a");
        assert!(stream.mirror_direct && stream.subjects.is_empty());
        let gather = BucketConfig { sources: vec![origin], ..BucketConfig::new("b") };
        let source = gather.to_stream().unwrap().sources.remove(0);
        let moved = SubjectTransform { src: "$KV.a.>".into(), dest: "$KV.b.>".into() };
        assert_eq!((source.name.as_str(), source.subject_transforms), ("KV_a", vec![moved]));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let bad_name = BucketConfig::new("a.b").to_stream();
        assert!(matches!(bad_name, Err(Error::InvalidBucketName)));
        let history = BucketConfig { history: 65, ..BucketConfig::new("b") }.to_stream();
        assert!(matches!(history, Err(Error::HistoryTooLarge)));
        let ttl = BucketConfig { ttl: Some(Duration::MAX), ..BucketConfig::new("b") }.to_stream();
        assert!(matches!(ttl, Err(Error::OutOfRange(_))));
    }
}
