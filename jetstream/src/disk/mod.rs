//! The file operations that the stores need, behind a trait, so that a simulation can lose, tear and corrupt
//! what the real disk would have kept.

mod idle;
mod open_files;
mod real;

pub use real::RealDisk;

pub(crate) use open_files::is_exhausted;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory tree. Paths are absolute.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing; creates it, empty, where `create` is set and it does not exist.
    ///
    /// # Errors
    /// Those of the operating system; `NotFound` where it does not exist and `create` is not set.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>>;
    /// The whole content of a file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Replaces a file as a whole: writes beside it, and renames over it; where `sync` is set, both are durable afterwards.
    ///
    /// # Errors
    /// Those of the operating system; the old content is then still there.
    fn replace(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()>;
    /// Renames a file or directory.
    ///
    /// # Errors
    /// Those of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all below it; no error where it does not exist.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its parents, and makes the entries of those that did not exist durable.
    ///
    /// # Errors
    /// Those of the operating system.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory in one that exists; no error where it is there. Its entry is not made durable.
    ///
    /// # Errors
    /// Those of the operating system.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The entries of a directory, sorted by name; none where it does not exist.
    ///
    /// # Errors
    /// Those of the operating system.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The same disk for one engine, whose idle files it closes with [`Disk::close_idle`]. `told` is called when the engine
    /// has a file open and had none before, maybe with locks held. `None` where no file has to be closed.
    fn for_engine(&self, _told: Box<dyn Fn() + Send + Sync>) -> Option<Arc<dyn Disk>> {
        None
    }
    /// Closes files that were not used since the last call; they are opened again when they are used. Says whether any is
    /// still open.
    fn close_idle(&self) -> bool {
        false
    }
    /// Claims a directory for this server until the claim is dropped.
    fn claim(&self, _path: &Path) -> Claim {
        Claim::Unknown
    }
}

/// Whether a directory is used by one server only.
#[derive(Clone)]
pub enum Claim {
    /// By this one, as long as this is kept.
    Held(Arc<File>),
    /// Another server, or another engine of this process, has claimed it.
    Taken,
    /// The disk cannot tell.
    Unknown,
}

impl Claim {
    /// Gives the directory free, whoever keeps a copy of this.
    pub fn release(&self) {
        if let Self::Held(dir) = self {
            // The lock goes with the file at the latest.
            let _ = dir.unlock();
        }
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The whole path.
    pub path: PathBuf,
    /// The last component of the path; entries whose name is not UTF-8 are left out of listings.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// When the file was last changed, nanoseconds since 1970 by the disk's clock; 0 where that is not known.
    pub modified_ns: i64,
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads into `buf` from `offset` and says how much came; less than asked only at the end of the file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// Those of the operating system; a part of `data` may have been written.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Those of the operating system.
    fn set_len(&self, size_bytes: u64) -> io::Result<()>;
    /// Size in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn len(&self) -> io::Result<u64>;
    /// Makes the content durable (fdatasync).
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync(&self) -> io::Result<()>;
    /// Whether the file is empty.
    ///
    /// # Errors
    /// Those of the operating system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
