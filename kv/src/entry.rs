//! A value of a key, with what is known about it.

use bytes::Bytes;
use jetkv_jetstream::store::Msg;
use jetkv_protocol::headers::Headers;

/// How a revision came to be.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
/// # fn main() -> Result<(), Box<dyn Error>> {
/// # let (_test, buckets, bucket) = example()?;
/// use jetkv_kv::{Operation, Remove};
///
/// bucket.put("color", b"red")?;
/// bucket.delete("color", Remove::default())?;
/// let operations: Vec<_> = bucket.history("color")?.iter().map(|entry| entry.operation).collect();
/// assert_eq!(operations, [Operation::Put, Operation::Delete]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A value was put.
    Put,
    /// The key was deleted; older revisions may still be there.
    Delete,
    /// The key was purged: its older revisions are gone.
    Purge,
}

/// A revision of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value; empty for a marker.
    pub value: Bytes,
    /// Its revision: the sequence in the bucket's stream.
    pub revision: u64,
    /// When it was stored, nanoseconds since 1970.
    pub created_ns: i64,
    /// How many more revisions followed, among those asked for, when it was read.
    pub delta: u64,
    /// What made it.
    pub operation: Operation,
}

/// Header that names the operation of a marker that a client published.
pub(crate) const OPERATION_HEADER: &str = "KV-Operation";
/// Header by which the server says why it put a marker in place of a value.
const MARKER_REASON_HEADER: &str = "Nats-Marker-Reason";

/// The operation that a message's headers tell of.
pub(crate) fn operation(headers: &[u8]) -> Operation {
    if headers.is_empty() {
        return Operation::Put;
    }
    let headers = Headers::new(headers);
    if let Some(operation) = headers.get(OPERATION_HEADER.as_bytes()).filter(|value| !value.is_empty()) {
        return match operation {
            b"DEL" => Operation::Delete,
            b"PURGE" => Operation::Purge,
            _ => Operation::Put,
        };
    }
    match headers.get(MARKER_REASON_HEADER.as_bytes()) {
        Some(b"MaxAge" | b"Purge") => Operation::Purge,
        Some(b"Remove") => Operation::Delete,
        _ => Operation::Put,
    }
}

impl Entry {
    /// The entry that a message holds; `prefix_len` bytes of its subject name the bucket.
    pub(crate) fn of(msg: &Msg<'_>, prefix_len: usize, delta: u64, with_value: bool) -> Self {
        let key = msg.subject.get(prefix_len..).unwrap_or_default();
        Self {
            key: String::from_utf8_lossy(key).into_owned(),
            value: if with_value { Bytes::copy_from_slice(msg.payload) } else { Bytes::new() },
            revision: msg.seq,
            created_ns: msg.ts_ns,
            delta,
            operation: operation(msg.headers),
        }
    }

    /// Whether this revision is a value, not a marker.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs"));
    /// # fn main() -> Result<(), Box<dyn Error>> {
    /// # let (_test, buckets, bucket) = example()?;
    /// bucket.put("color", b"red")?;
    /// assert!(bucket.get("color")?.is_value());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_value(&self) -> bool {
        self.operation == Operation::Put
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_of_clients_and_of_the_server_are_told_from_values() {
        let of = |lines: &str| operation(format!("NATS/1.0\r\n{lines}\r\n\r\n").as_bytes());
        assert_eq!(operation(b""), Operation::Put);
        assert_eq!(of("KV-Operation: DEL"), Operation::Delete);
        assert_eq!(of("KV-Operation: PURGE\r\nNats-Rollup: sub"), Operation::Purge);
        assert_eq!(of("Nats-Marker-Reason: MaxAge"), Operation::Purge);
        assert_eq!(of("Nats-Marker-Reason: Remove"), Operation::Delete);
        assert_eq!(of("Nats-Marker-Reason: Purge"), Operation::Purge);
        assert_eq!(of("X: y"), Operation::Put);
    }
}
