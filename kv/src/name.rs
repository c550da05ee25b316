//! What buckets and keys may be called, and the names of their streams and subjects (ADR-8).

use crate::Error;
use smallvec::SmallVec;

const STREAM_PREFIX: &str = "KV_";
const SUBJECT_PREFIX: &str = "$KV.";

/// Whether `name` can name a bucket: letters, digits, `_` and `-`.
///
/// ```
/// assert!(jetkv_kv::is_bucket_name("user-settings"));
/// assert!(!jetkv_kv::is_bucket_name("user.settings"));
/// ```
#[must_use]
pub fn is_bucket_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether `key` can name a key: letters, digits, `-`, `/`, `_`, `=` and single dots inside.
///
/// ```
/// assert!(jetkv_kv::is_key("user.ada"));
/// assert!(!jetkv_kv::is_key("user..ada"));
/// ```
#[must_use]
pub fn is_key(key: &str) -> bool {
    has_tokens(key) && key.bytes().all(is_key_byte)
}

/// Whether `filter` can select keys: a key, where tokens may hold `*` and the end may be `>`.
///
/// ```
/// assert!(jetkv_kv::is_key_filter("user.*.name"));
/// assert!(!jetkv_kv::is_key_filter("user.>.name"));
/// ```
#[must_use]
pub fn is_key_filter(filter: &str) -> bool {
    let body = filter.strip_suffix('>').unwrap_or(filter);
    has_tokens(filter) && body.bytes().all(|byte| is_key_byte(byte) || byte == b'*')
}

fn has_tokens(key: &str) -> bool {
    !key.is_empty() && !key.starts_with('.') && !key.ends_with('.') && !key.contains("..")
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'=' | b'.')
}

/// The stream that holds a bucket.
pub(crate) fn stream_of(bucket: &str) -> Result<String, Error> {
    if !is_bucket_name(bucket) {
        return Err(Error::InvalidBucketName);
    }
    Ok(format!("{STREAM_PREFIX}{bucket}"))
}

/// The stream that a mirror or source names, which may be a bucket or a stream.
pub(crate) fn origin_stream(name: &str) -> String {
    if name.starts_with(STREAM_PREFIX) { name.to_owned() } else { format!("{STREAM_PREFIX}{name}") }
}

/// The bucket that a stream holds, if it is one.
pub(crate) fn bucket_of(stream: &str) -> Option<&str> {
    stream.strip_prefix(STREAM_PREFIX)
}

/// What all subjects of a bucket begin with.
pub(crate) fn subject_prefix(bucket: &str) -> String {
    format!("{SUBJECT_PREFIX}{bucket}.")
}

/// A subject, on the stack if it is of usual length.
pub(crate) type Subject = SmallVec<[u8; 128]>;

pub(crate) fn subject_of(prefix: &str, key: &str) -> Result<Subject, Error> {
    if !is_key(key) {
        return Err(Error::InvalidKey);
    }
    let mut subject = Subject::from_slice(prefix.as_bytes());
    subject.extend_from_slice(key.as_bytes());
    Ok(subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_clients_accept_are_accepted_and_no_others() {
        for bucket in ["a", "A-b_9"] {
            assert!(is_bucket_name(bucket), "{bucket}");
        }
        for bucket in ["", "a.b", "a b", "a*", "ä", "a/b"] {
            assert!(!is_bucket_name(bucket), "{bucket}");
        }
        for key in ["a", "a.b", "a/b=c_-9.X", "_kv", "-"] {
            assert!(is_key(key) && is_key_filter(key), "{key}");
        }
        for key in ["", ".", ".a", "a.", "a..b", "a b", "a*", "a>", "ä", "a\n", "a\0"] {
            assert!(!is_key(key), "{key}");
        }
        for filter in ["*", ">", "a.*", "a.>", "a.*.b", "*.>"] {
            assert!(is_key_filter(filter), "{filter}");
        }
        for filter in ["", ".>", "a.>.b", "a..*", "a b", ">>"] {
            assert!(!is_key_filter(filter), "{filter}");
        }
    }
}
