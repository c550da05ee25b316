//! What stands in the way of something new and cannot be read is kept aside.

use super::files::io_error;
use super::meta_sync::Became;
use super::storage::Storage;
use crate::store::{ConsumerState, StoreError};
use std::path::{Path, PathBuf};

/// Where it is kept: a directory in that of the account, and in that of the stream.
pub(super) const QUARANTINE: &str = "quarantine";

impl Storage {
    /// Moves a stream that cannot be opened, with all that is in it, to `<account>/quarantine`, and says where it is
    /// then.
    ///
    /// # Errors
    /// I/O; it is still where it was then.
    pub fn quarantine_stream(&self, account: &str, name: &str) -> Result<PathBuf, StoreError> {
        let quarantine = self.root.join(account).join(QUARANTINE);
        self.move_aside(&self.stream_dir(account, name), &quarantine, name)
    }

    /// What a consumer remembers that is on disk and could not be recovered. One whose state cannot be read is moved
    /// to `quarantine` in its stream's directory.
    ///
    /// # Errors
    /// I/O.
    pub fn consumer_leftover(
        &self,
        account: &str,
        stream: &str,
        name: &str,
    ) -> Result<Option<ConsumerState>, StoreError> {
        let dir = self.consumer_dir(account, stream, name);
        let key = format!("{stream}/{name}");
        let problem = match self.read_state(&self.meta_files(account, &dir, &key).directory_key())? {
            Ok(state) => return Ok(state),
            Err(problem) => problem,
        };
        let kept = self.move_aside(&dir, &self.stream_dir(account, stream).join(QUARANTINE), name)?;
        tracing::warn!(
            "consumer '{name}' of stream '{stream}' begins anew: {problem}; what was there is kept in {}",
            kept.display()
        );
        Ok(None)
    }

    /// Moves a directory or file into `quarantine`, under a name with the first number that is free.
    pub(super) fn move_aside(
        &self,
        path: &Path,
        quarantine: &Path,
        name: &str,
    ) -> Result<PathBuf, StoreError> {
        self.make_dir(quarantine)?;
        let taken =
            self.disk.list(quarantine).map_err(|error| io_error("could not list", quarantine, error))?;
        let mut number = 1_u64;
        while taken.iter().any(|entry| entry.name == format!("{name}.{number}")) {
            number += 1;
        }
        let kept = quarantine.join(format!("{name}.{number}"));
        self.disk.rename(path, &kept).map_err(|error| io_error("could not move aside", path, error))?;
        let dirs = [path.parent(), Some(quarantine), quarantine.parent()];
        let dirs = dirs.into_iter().flatten().map(Path::to_owned).collect();
        self.syncs.note(path.to_owned(), Became::Gone, Vec::new(), dirs);
        Ok(kept)
    }
}
