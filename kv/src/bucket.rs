//! The operations on the keys of a bucket.

use crate::answer::{publish, request};
use crate::entry::{OPERATION_HEADER, operation};
use crate::name::{Subject, bucket_of, is_key_filter, subject_of, subject_prefix};
use crate::watch::{Watch, WatchOptions};
use crate::{BucketConfig, BucketStatus, Entry, Error, Operation};
use jetkv_go_compat::json;
use jetkv_jetstream::store::index::SubjectEntry;
use jetkv_jetstream::store::{Store, StoreError};
use jetkv_jetstream::{AccountId, Engine, Filter, Stream};
use smallvec::SmallVec;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Keys looked at while the stream is locked once.
const PAGE_KEYS: usize = 256;
/// Markers younger than this stay when deleted keys are purged, so that watchers that lag still see them.
const PURGE_OLDER_THAN: Duration = Duration::from_secs(30 * 60);

/// How a key is created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Create {
    /// When the key goes by itself; the bucket must have limit markers. Whole seconds, at least one.
    pub ttl: Option<Duration>,
}

/// How a key is deleted or purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remove {
    /// Only if this is the key's last revision.
    pub last_revision: Option<u64>,
    /// When the marker of a purge goes by itself; the bucket must have limit markers.
    pub ttl: Option<Duration>,
}

/// A bucket. Cheap to clone; usable from any thread.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
/// # fn main() -> Result<(), Box<dyn Error>> {
/// # let (_test, buckets, bucket) = example()?;
/// let writer: Bucket = bucket.clone();
/// std::thread::spawn(move || writer.put("color", b"red")).join().expect("it does not panic")?;
/// assert_eq!(&bucket.get("color")?.value[..], b"red");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bucket {
    engine: Arc<Engine>,
    account: AccountId,
    name: Arc<str>,
    /// What subjects begin with; those of the origin where the bucket is a mirror.
    prefix: Arc<str>,
    stream: Arc<Stream>,
    /// Where values are written to, where that is another stream; `Err` names one that is not here.
    origin: Option<Result<Arc<Stream>, Arc<str>>>,
}

impl Bucket {
    pub(crate) fn new(engine: Arc<Engine>, account: AccountId, stream: Arc<Stream>) -> Result<Self, Error> {
        let config = stream.config();
        let name = BucketConfig::from_stream(&config)?.bucket;
        let (mut prefix, mut origin) = (subject_prefix(&name), None);
        if let Some(mirror) = &config.mirror {
            prefix = subject_prefix(bucket_of(&mirror.name).unwrap_or(&mirror.name));
            let here = mirror.external.is_none().then(|| engine.stream(account, &mirror.name)).flatten();
            origin = Some(here.ok_or_else(|| mirror.name.as_str().into()));
        }
        Ok(Self { engine, account, name: name.into(), prefix: prefix.into(), stream, origin })
    }

    /// The bucket's name.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// assert_eq!(bucket.name(), "settings");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream that holds the bucket.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// assert_eq!(bucket.stream().name(), "KV_settings");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The value of a key.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// let revision = bucket.put("color", b"red")?;
    /// let entry = bucket.get("color")?;
    /// assert_eq!((&entry.value[..], entry.revision), (&b"red"[..], revision));
    /// assert!(matches!(bucket.get("size"), Err(jetkv_kv::Error::KeyNotFound)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::KeyNotFound`], also where it was deleted.
    pub fn get(&self, key: &str) -> Result<Entry, Error> {
        self.last(key)?.filter(Entry::is_value).ok_or(Error::KeyNotFound)
    }

    /// A certain revision of a key.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// let first = bucket.put("color", b"red")?;
    /// bucket.put("color", b"blue")?;
    /// assert_eq!(&bucket.get_revision("color", first)?.value[..], b"red");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::KeyNotFound`], also where the revision is one of another key, or a marker.
    pub fn get_revision(&self, key: &str, revision: u64) -> Result<Entry, Error> {
        let subject = subject_of(&self.prefix, key)?;
        let entry = self.stream.with_store(|store| {
            let msg = store.load(revision)?.filter(|msg| msg.subject == &subject[..]);
            Ok::<_, StoreError>(msg.map(|msg| Entry::of(&msg, self.prefix.len(), 0, true)))
        })?;
        entry.filter(Entry::is_value).ok_or(Error::KeyNotFound)
    }

    /// The last revision of a key, which may be a marker.
    fn last(&self, key: &str) -> Result<Option<Entry>, Error> {
        let subject = subject_of(&self.prefix, key)?;
        Ok(self.stream.with_store(|store| {
            let Some(SubjectEntry { last_seq, .. }) = store.index().get(&subject) else { return Ok(None) };
            let msg = store.load(last_seq)?;
            Ok::<_, StoreError>(msg.map(|msg| Entry::of(&msg, self.prefix.len(), 0, true)))
        })?)
    }

    /// Puts a value, whatever the key held. Says its revision.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// assert_eq!(bucket.put("color", b"red")?, 1);
    /// assert_eq!(bucket.put("color", b"blue")?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`], or the engine's refusal (a value too large, a full bucket).
    pub fn put(&self, key: &str, value: &[u8]) -> Result<u64, Error> {
        self.publish(key, b"", value)
    }

    /// Puts a value if the key has none. Says its revision.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::Create;
    ///
    /// bucket.create("lock", b"mine", Create { ttl: Some(Duration::from_secs(30)) })?;
    /// let again = bucket.create("lock", b"theirs", Create::default());
    /// assert!(matches!(again, Err(jetkv_kv::Error::KeyExists)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::KeyExists`], or the engine's refusal.
    pub fn create(&self, key: &str, value: &[u8], how: Create) -> Result<u64, Error> {
        let exists = |error| match error {
            Error::WrongLastRevision(_) => Error::KeyExists,
            other => other,
        };
        match self.publish_expecting(key, value, 0, how.ttl) {
            Err(Error::WrongLastRevision(_)) => {}
            done => return done,
        }
        // What is there may be a marker, which counts as nothing.
        match self.last(key)? {
            Some(entry) if entry.is_value() => Err(Error::KeyExists),
            last => {
                let revision = last.map_or(0, |entry| entry.revision);
                self.publish_expecting(key, value, revision, how.ttl).map_err(exists)
            }
        }
    }

    /// Puts a value if the key's last revision, a marker included, is `revision`; 0 for a key that never was. Says
    /// the new revision.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// let revision = bucket.put("count", b"1")?;
    /// bucket.update("count", b"2", revision)?;
    /// let late = bucket.update("count", b"3", revision);
    /// assert!(matches!(late, Err(jetkv_kv::Error::WrongLastRevision(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::WrongLastRevision`], or the engine's refusal.
    pub fn update(&self, key: &str, value: &[u8], revision: u64) -> Result<u64, Error> {
        self.publish_expecting(key, value, revision, None)
    }

    /// Deletes a key: puts a marker above its revisions. Says the marker's revision.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::Remove;
    ///
    /// bucket.put("color", b"red")?;
    /// bucket.delete("color", Remove::default())?;
    /// assert!(bucket.get("color").is_err());
    /// assert_eq!(bucket.history("color")?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::WrongLastRevision`], [`Error::TtlOnDelete`], or the engine's refusal.
    pub fn delete(&self, key: &str, how: Remove) -> Result<u64, Error> {
        if how.ttl.is_some_and(|ttl| !ttl.is_zero()) {
            return Err(Error::TtlOnDelete);
        }
        let mut headers = HeaderBlock::new();
        headers.add(OPERATION_HEADER, "DEL");
        self.remove(key, headers, how)
    }

    /// Purges a key: puts a marker in place of all its revisions. Says the marker's revision.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::Remove;
    ///
    /// bucket.put("color", b"red")?;
    /// bucket.purge("color", Remove::default())?;
    /// assert_eq!(bucket.history("color")?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::WrongLastRevision`], or the engine's refusal.
    pub fn purge(&self, key: &str, how: Remove) -> Result<u64, Error> {
        let mut headers = HeaderBlock::new();
        headers.add(OPERATION_HEADER, "PURGE");
        headers.add("Nats-Rollup", "sub");
        headers.add_ttl(how.ttl);
        self.remove(key, headers, how)
    }

    fn remove(&self, key: &str, mut headers: HeaderBlock, how: Remove) -> Result<u64, Error> {
        if let Some(revision) = how.last_revision {
            headers.add(EXPECTED_HEADER, revision);
        }
        self.publish(key, &headers.finish(), b"").map_err(Error::of_revision)
    }

    fn publish_expecting(
        &self,
        key: &str,
        value: &[u8],
        revision: u64,
        ttl: Option<Duration>,
    ) -> Result<u64, Error> {
        let mut headers = HeaderBlock::new();
        headers.add(EXPECTED_HEADER, revision);
        headers.add_ttl(ttl);
        self.publish(key, &headers.finish(), value).map_err(Error::of_revision)
    }

    fn publish(&self, key: &str, headers: &[u8], value: &[u8]) -> Result<u64, Error> {
        let subject = subject_of(&self.prefix, key)?;
        let stream = match &self.origin {
            None => &self.stream,
            Some(Ok(origin)) => origin,
            Some(Err(name)) => return Err(Error::OriginNotHere(name.to_string())),
        };
        publish(&self.engine, stream, &subject, headers, value)
    }

    /// The keys that have a value and match one of `filters` (`*` and `>` as in subjects; none for all), in byte
    /// order, each once. Keys that change meanwhile may be seen as before or after.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// bucket.put("user.ada", b"")?;
    /// bucket.put("user.alan", b"")?;
    /// bucket.put("color", b"red")?;
    /// assert_eq!(bucket.keys(&["user.*"])?, ["user.ada", "user.alan"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for a filter that can match no key.
    pub fn keys(&self, filters: &[&str]) -> Result<Vec<String>, Error> {
        let filter = self.filter(filters)?;
        let (mut keys, mut after) = (Vec::new(), None::<Subject>);
        loop {
            let page = self.stream.with_store(|store| {
                let mut page = page_after(store, &filter, after.as_deref());
                after = page.last().map(|(subject, _)| subject.clone());
                let is_last = page.len() < PAGE_KEYS;
                page.retain(|(_, seq)| {
                    // A damaged value is still a value of its key.
                    store
                        .load(*seq)
                        .map_or(true, |msg| msg.is_some_and(|msg| operation(msg.headers) == Operation::Put))
                });
                (page, is_last)
            });
            let (page, is_last) = page;
            let key = |(subject, _): &(Subject, u64)| {
                String::from_utf8_lossy(subject.get(self.prefix.len()..).unwrap_or_default()).into_owned()
            };
            keys.extend(page.iter().map(key));
            if is_last {
                return Ok(keys);
            }
        }
    }

    /// The revisions of a key, oldest first, markers included.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// bucket.put("color", b"red")?;
    /// bucket.put("color", b"blue")?;
    /// let values: Vec<_> = bucket.history("color")?.into_iter().map(|entry| entry.value).collect();
    /// assert_eq!(values, [&b"red"[..], b"blue"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::KeyNotFound`].
    pub fn history(&self, key: &str) -> Result<Vec<Entry>, Error> {
        let subject = subject_of(&self.prefix, key)?;
        let entries = self.stream.with_store(|store| {
            let seqs = store.index().seqs(&subject).map(|seqs| seqs.iter().collect::<Vec<_>>());
            let seqs = seqs.unwrap_or_default();
            let mut entries = Vec::with_capacity(seqs.len());
            for (at, seq) in seqs.iter().enumerate() {
                let delta = (seqs.len() - 1 - at) as u64;
                entries.extend(store.load(*seq)?.map(|msg| Entry::of(&msg, self.prefix.len(), delta, true)));
            }
            Ok::<_, StoreError>(entries)
        })?;
        if entries.is_empty() { Err(Error::KeyNotFound) } else { Ok(entries) }
    }

    /// Watches the keys that match one of `filters` (none for all).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::{Event, WatchOptions};
    ///
    /// let mut watch = bucket.watch(&["user.>"], WatchOptions::default())?;
    /// assert_eq!(watch.try_next()?, Some(Event::InitialDone));
    /// bucket.put("user.ada", b"1815")?;
    /// assert!(matches!(watch.try_next()?, Some(Event::Entry(entry)) if entry.key == "user.ada"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for a filter that can match no key.
    pub fn watch(&self, filters: &[&str], options: WatchOptions) -> Result<Watch, Error> {
        Ok(Watch::new(self.stream.clone(), self.filter(filters)?, self.prefix.len(), options))
    }

    /// Removes what is left of deleted keys: the marker's older revisions, and the marker itself where it is older
    /// than `older_than` (30 minutes where `None`; zero for every marker). Says how many keys had a marker.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// use jetkv_kv::Remove;
    ///
    /// bucket.put("color", b"red")?;
    /// bucket.delete("color", Remove::default())?;
    /// assert_eq!(bucket.purge_deletes(Some(Duration::ZERO))?, 1);
    /// assert!(bucket.history("color").is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The engine's refusal.
    pub fn purge_deletes(&self, older_than: Option<Duration>) -> Result<usize, Error> {
        let mut watch = self.watch(&[], WatchOptions { meta_only: true, ..WatchOptions::default() })?;
        let markers: Vec<Entry> = watch.initial()?.into_iter().filter(|entry| !entry.is_value()).collect();
        let older_than = older_than.unwrap_or(PURGE_OLDER_THAN);
        let age_ns = i64::try_from(older_than.as_nanos()).unwrap_or(i64::MAX);
        let limit_ns = self.engine.clock().wall().plus(-age_ns).ns();
        for marker in &markers {
            let keep = u64::from(!older_than.is_zero() && marker.created_ns > limit_ns);
            let filter = format!("{}{}", self.prefix, marker.key);
            let body = json::to_vec(&serde_json::json!({ "filter": filter, "keep": keep }));
            let what = format!("STREAM.PURGE.{}", self.stream.name());
            request(&self.engine, self.account, &what, &body)?;
        }
        Ok(markers.len())
    }

    /// Settings and counters.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// bucket.put("color", b"red")?;
    /// let status = bucket.status()?;
    /// assert_eq!((status.keys, status.config.bucket.as_str()), (1, "settings"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadBucket`] where the stream was changed so that it holds no bucket any more.
    pub fn status(&self) -> Result<BucketStatus, Error> {
        let config = BucketConfig::from_stream(&self.stream.config())?;
        let state = self.stream.with_store(|store| store.state());
        Ok(BucketStatus { config, values: state.msgs, keys: state.subjects, size_bytes: state.bytes, state })
    }

    fn filter(&self, filters: &[&str]) -> Result<Filter, Error> {
        if filters.iter().any(|filter| !is_key_filter(filter)) {
            return Err(Error::InvalidKey);
        }
        let all: &[&str] = if filters.is_empty() { &[">"] } else { filters };
        Ok(Filter::new(all.iter().map(|filter| format!("{}{filter}", self.prefix))))
    }
}

/// The next subjects that match, with their last sequences.
fn page_after(store: &dyn Store, filter: &Filter, after: Option<&[u8]>) -> Vec<(Subject, u64)> {
    let mut page = Vec::with_capacity(PAGE_KEYS.min(store.index().len()));
    store.index().walk_after(filter, after, |subject, seqs| {
        page.push((Subject::from_slice(subject), seqs.entry().last_seq));
        if page.len() < PAGE_KEYS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    page
}

const EXPECTED_HEADER: &str = "Nats-Expected-Last-Subject-Sequence";

/// A header block in the making, on the stack.
struct HeaderBlock(SmallVec<[u8; 128]>);

impl HeaderBlock {
    fn new() -> Self {
        Self(SmallVec::from_slice(b"NATS/1.0\r\n"))
    }

    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to memory does not fail.
        let _ = write!(self, "{name}: {value}\r\n");
    }

    fn add_ttl(&mut self, ttl: Option<Duration>) {
        let Some(ttl) = ttl.filter(|ttl| !ttl.is_zero()) else { return };
        if ttl.subsec_nanos() == 0 {
            self.add("Nats-TTL", format_args!("{}s", ttl.as_secs()));
        } else {
            self.add("Nats-TTL", format_args!("{}ns", ttl.as_nanos()));
        }
    }

    fn finish(mut self) -> SmallVec<[u8; 128]> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

impl Write for HeaderBlock {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
