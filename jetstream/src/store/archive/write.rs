//! Writing an archive of messages.

use super::read::Entry;
use crate::store::varint::{put_uvarint, put_varint};

/// Appends an entry: the lengths of its parts, where it belongs, and the parts.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry<'_>) {
    put_uvarint(out, entry.name.len() as u64);
    put_varint(out, entry.ts_ns);
    put_uvarint(out, entry.seq);
    put_uvarint(out, entry.headers.len() as u64);
    put_uvarint(out, entry.payload.len() as u64);
    for part in [entry.name, entry.headers, entry.payload] {
        out.extend_from_slice(part);
    }
}
