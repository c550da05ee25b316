//! A disk that lets a test look on, and interfere, when files are changed and synced.

use jetkv_jetstream::disk::{Claim, DirEntry, Disk, DiskFile};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What is called by a [`HookedDisk`].
pub trait DiskHook: Send + Sync + 'static {
    /// The content of a file is about to be written.
    ///
    /// # Errors
    /// Then it is not.
    fn before_write(&self) -> io::Result<()> {
        Ok(())
    }
    /// A directory is about to be synced, or a file replaced by one that is.
    fn before_sync_of_names(&self) {}
    /// A file is synced, by calling `sync` once or not at all.
    ///
    /// # Errors
    /// Those that the caller is to see.
    fn sync(&self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        sync()
    }
}

/// Does what another disk does, and calls a hook.
pub struct HookedDisk<D, H> {
    disk: D,
    hook: Arc<H>,
}

impl<D, H> HookedDisk<D, H> {
    /// Puts `hook` before `disk`.
    pub fn new(disk: D, hook: Arc<H>) -> Self {
        Self { disk, hook }
    }
}

struct HookedFile<H> {
    file: Box<dyn DiskFile>,
    hook: Arc<H>,
}

impl<D: Disk, H: DiskHook> Disk for HookedDisk<D, H> {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path, create)?;
        Ok(Box::new(HookedFile { file, hook: Arc::clone(&self.hook) }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn replace(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        self.hook.before_write()?;
        if sync {
            self.hook.before_sync_of_names();
        }
        self.disk.replace(path, content, sync)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.hook.before_sync_of_names();
        self.disk.sync_dir(path)
    }

    fn claim(&self, path: &Path) -> Claim {
        self.disk.claim(path)
    }
}

impl<H: DiskHook> DiskFile for HookedFile<H> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.hook.before_write()?;
        self.file.write_at(data, offset)
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.hook.sync(&mut || self.file.sync())
    }
}
