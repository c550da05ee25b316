//! What was deleted and still takes room.

use super::files::io_error;
use super::meta_sync::MetaSyncs;
use crate::disk::Disk;
use crate::store::StoreError;
use std::path::PathBuf;
use std::sync::Arc;

/// What was taken out of service and waits to be removed. Both servers take it for what it is wherever they find it, so
/// that what is not removed now goes with the next start.
#[must_use]
pub struct Rubbish {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) syncs: Arc<MetaSyncs>,
    /// What it was.
    pub(super) was: PathBuf,
    pub(super) dir: PathBuf,
}

impl Rubbish {
    /// Makes durable that it is out of service, and removes it. It takes the time that the file system needs to give the
    /// room back.
    ///
    /// # Errors
    /// I/O.
    pub fn remove(self) -> Result<(), StoreError> {
        let Self { disk, syncs, was, dir } = self;
        syncs.finish(|dir| dir == was)?;
        disk.remove_dir_all(&dir).map_err(|error| io_error("could not remove", &dir, error))
    }
}
