//! Syncing files without holding the store that they belong to.

use super::StoreError;
use crate::disk::{Disk, DiskFile};
use std::path::PathBuf;
use std::sync::Arc;

/// What has to be synced so that everything flushed is durable. Running it takes no lock.
pub struct SyncWork {
    pub(super) files: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    /// The directory, where files came or went.
    pub(super) dir: Option<(PathBuf, Arc<dyn Disk>)>,
    /// What comes first: nothing in a directory lasts that does not last itself.
    pub(super) before: Option<Arc<dyn Before>>,
}

/// What has to be durable before something else is.
pub(super) trait Before: Send + Sync {
    /// Returns when it is.
    fn run(&self) -> Result<(), StoreError>;
}

impl SyncWork {
    /// Syncs, and returns when the disk says that it is done.
    ///
    /// # Errors
    /// I/O; how much of it became durable is not known then.
    pub fn run(&self) -> Result<(), StoreError> {
        let failed = |path: &PathBuf, source| StoreError::Io {
            what: format!("could not sync {}", path.display()),
            source,
        };
        self.before.as_ref().map_or(Ok(()), |before| before.run())?;
        for (path, file) in &self.files {
            file.sync().map_err(|error| failed(path, error))?;
        }
        match &self.dir {
            Some((path, disk)) => disk.sync_dir(path).map_err(|error| failed(path, error)),
            None => Ok(()),
        }
    }
}
