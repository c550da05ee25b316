//! Where instances keep what they store: a folder of this process, which is gone when it ends.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// What the folder's name begins with.
const PREFIX: &str = "jetkv-lab-serve-";
/// The file that a running service has locked.
const LOCK: &str = "lock";

/// A folder that is removed when it is dropped.
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes one below `parent`, and removes those whose processes ended without being able to.
    pub(super) fn make(parent: &Path, id: &str) -> io::Result<Self> {
        remove_left(parent);
        // Nobody finds it without its lock.
        let hidden = parent.join(format!(".{PREFIX}{id}"));
        DirBuilder::new().mode(0o700).create(&hidden)?;
        let lock = File::create(hidden.join(LOCK))?;
        lock.lock()?;
        let path = parent.join(format!("{PREFIX}{id}"));
        fs::rename(&hidden, &path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders that nobody has locked. What cannot be looked at is somebody else's.
fn remove_left(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        if let Ok(lock) = File::open(path.join(LOCK))
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_killed_service_goes_with_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let running = Folder::make(parent.path(), "running").unwrap();
        let left = parent.path().join(format!("{PREFIX}left"));
        let other = parent.path().join("other");
        for path in [&left, &other] {
            fs::create_dir(path).unwrap();
            File::create(path.join(LOCK)).unwrap();
        }
        let next = Folder::make(parent.path(), "next").unwrap();
        assert!(running.path().exists() && next.path().exists() && other.exists() && !left.exists());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
