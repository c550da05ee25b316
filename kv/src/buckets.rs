//! The buckets of an account.

use crate::answer::request;
use crate::name::{bucket_of, stream_of};
use crate::{Bucket, BucketConfig, BucketStatus, Error};
use jetkv_go_compat::json;
use jetkv_jetstream::{AccountId, Engine};
use std::sync::Arc;

const STREAM_NOT_FOUND: u16 = 10059;
const STREAM_NAME_EXISTS: u16 = 10058;

/// Creates, finds and deletes the buckets of one account. Cheap to clone.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
/// # fn main() -> Result<(), Box<dyn Error>> {
/// # let (_test, buckets, bucket) = example()?;
/// let all: Buckets = buckets.clone();
/// all.create(&in_memory("users"))?;
/// assert_eq!(buckets.names(), ["settings", "users"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Buckets {
    engine: Arc<Engine>,
    account: AccountId,
}

impl Buckets {
    /// The buckets of `account`, which must have JetStream.
    #[must_use]
    pub fn new(engine: Arc<Engine>, account: AccountId) -> Self {
        Self { engine, account }
    }

    /// Creates a bucket, or finds it where it exists with the same settings.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// let bucket = buckets.create(&in_memory("users"))?;
    /// bucket.put("ada", b"1815")?;
    /// assert_eq!(buckets.names(), ["settings", "users"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Settings that make no sense, [`Error::BucketExists`], or the engine's refusal.
    pub fn create(&self, config: &BucketConfig) -> Result<Bucket, Error> {
        let stream = config.to_stream()?;
        let what = format!("STREAM.CREATE.{}", stream.name);
        match request(&self.engine, self.account, &what, &json::to_vec(&stream)) {
            Ok(()) => self.bind(&config.bucket),
            Err(Error::Refused(error)) if error.err_code == STREAM_NAME_EXISTS => {
                Err(Error::BucketExists(config.bucket.clone()))
            }
            Err(error) => Err(error),
        }
    }

    /// Changes a bucket's settings.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// buckets.update(&BucketConfig { history: 10, ..in_memory("settings") })?;
    /// assert_eq!(buckets.bind("settings")?.status()?.config.history, 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Settings that make no sense, [`Error::BucketNotFound`], or the engine's refusal.
    pub fn update(&self, config: &BucketConfig) -> Result<Bucket, Error> {
        let stream = config.to_stream()?;
        let what = format!("STREAM.UPDATE.{}", stream.name);
        request(&self.engine, self.account, &what, &json::to_vec(&stream)).map_err(not_found)?;
        self.bind(&config.bucket)
    }

    /// A bucket that exists.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// assert!(buckets.bind("settings").is_ok());
    /// assert!(matches!(buckets.bind("none"), Err(jetkv_kv::Error::BucketNotFound)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidBucketName`], [`Error::BucketNotFound`], [`Error::BadBucket`].
    pub fn bind(&self, bucket: &str) -> Result<Bucket, Error> {
        let name = stream_of(bucket)?;
        let stream = self.engine.stream(self.account, &name).ok_or(Error::BucketNotFound)?;
        Bucket::new(self.engine.clone(), self.account, stream)
    }

    /// Deletes a bucket with everything in it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// buckets.delete("settings")?;
    /// assert!(buckets.names().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidBucketName`], [`Error::BucketNotFound`], or the engine's refusal.
    pub fn delete(&self, bucket: &str) -> Result<(), Error> {
        let what = format!("STREAM.DELETE.{}", stream_of(bucket)?);
        request(&self.engine, self.account, &what, b"").map_err(not_found)?;
        Ok(())
    }

    /// The names of all buckets, in order.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// assert_eq!(buckets.names(), ["settings"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn names(&self) -> Vec<String> {
        let streams = self.engine.stream_names(self.account);
        let mut names: Vec<String> =
            streams.iter().filter_map(|stream| bucket_of(stream)).map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    /// Settings and counters of all buckets, in order of their names. A bucket that goes meanwhile is left out.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// bucket.put("color", b"red")?;
    /// assert_eq!(buckets.statuses()?[0].values, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The engine's refusal.
    pub fn statuses(&self) -> Result<Vec<BucketStatus>, Error> {
        let mut statuses = Vec::new();
        for name in self.names() {
            match self.bind(&name).and_then(|bucket| bucket.status()) {
                Ok(status) => statuses.push(status),
                Err(Error::BucketNotFound | Error::BadBucket) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(statuses)
    }
}

fn not_found(error: Error) -> Error {
    match error {
        Error::Refused(error) if error.err_code == STREAM_NOT_FOUND => Error::BucketNotFound,
        other => other,
    }
}
