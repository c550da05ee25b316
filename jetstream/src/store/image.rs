//! What a store holds, kept in memory.

use super::file::FileImage;
use super::memory::MemoryImage;

/// A store as it was at some moment, of which others can be made.
#[derive(Debug)]
pub enum StoreImage {
    /// Of one in memory.
    #[expect(private_interfaces, reason = "it is handed on as it is")]
    Memory(MemoryImage),
    /// Of one in files.
    #[expect(private_interfaces, reason = "it is handed on as it is")]
    File(FileImage),
}

impl StoreImage {
    /// Bytes that it takes, about.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Memory(image) => image.size_bytes(),
            Self::File(image) => image.size_bytes(),
        }
    }
}
