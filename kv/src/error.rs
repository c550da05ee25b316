//! What can go wrong with buckets and keys, in the clients' terms.

use jetkv_jetstream::ApiError;
use jetkv_jetstream::store::StoreError;

/// Why an operation on a bucket or a key was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bucket's name is empty or holds other characters than letters, digits, `_` and `-`.
    #[error("invalid bucket name")]
    InvalidBucketName,
    /// The key is empty, begins or ends with a dot, or holds a character that keys cannot.
    #[error("invalid key")]
    InvalidKey,
    /// More than 64 revisions of a key were asked for.
    #[error("history limited to a max of 64")]
    HistoryTooLarge,
    /// A duration or size in the configuration is too large for the wire, or negative there.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    /// A bucket of this name exists with another configuration.
    #[error("bucket name already in use: {0}")]
    BucketExists(String),
    /// There is no such bucket.
    #[error("bucket not found")]
    BucketNotFound,
    /// The stream of this name does not hold a bucket.
    #[error("bucket not valid key-value store")]
    BadBucket,
    /// The key has a value already.
    #[error("key exists")]
    KeyExists,
    /// The key's last revision is another one; the engine's words name it.
    #[error("key revision mismatch: {0}")]
    WrongLastRevision(ApiError),
    /// The key has no value, or it was deleted.
    #[error("key not found")]
    KeyNotFound,
    /// A delete marker stays for ever; only that of a purge can be given a TTL.
    #[error("TTL is not supported for delete operation")]
    TtlOnDelete,
    /// The bucket is a copy of one that cannot be reached from here.
    #[error("bucket mirrors {0}, which is not here to be written to")]
    OriginNotHere(String),
    /// The engine refused.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The store could not read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream is gone or closing, or its answer makes no sense.
    #[error("no answer from stream {0}")]
    NoAnswer(String),
}

/// `err_code` of a failed comparison with the last sequence of a subject; the second form says no number.
const WRONG_LAST_SEQUENCE: [u16; 2] = [10071, 10164];

impl Error {
    /// Names a failed comparison by what it means for a key.
    pub(crate) fn of_revision(self) -> Self {
        match self {
            Self::Refused(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code) => {
                Self::WrongLastRevision(error)
            }
            other => other,
        }
    }
}
