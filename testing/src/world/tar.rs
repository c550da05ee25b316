//! Archives as servers before v2.15 wrote backups.

use tar::{EntryType, Header};

/// The header of an entry, whatever its path says. A path of 100 bytes and more does not fit.
#[must_use]
pub fn tar_header(path: &str, kind: EntryType, len: u64) -> Header {
    let mut header = Header::new_ustar();
    for (place, byte) in header.as_old_mut().name.iter_mut().zip(path.bytes()) {
        *place = byte;
    }
    header.set_entry_type(kind);
    header.set_size(len);
    header.set_cksum();
    header
}
