//! The disk of one engine, which closes files that it has not used for a while.

use super::open_files::Kept;
use super::{Claim, DirEntry, Disk, DiskFile, RealDisk};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

/// The open files of one engine.
pub(super) struct IdleFiles {
    files: Mutex<Vec<Weak<Kept>>>,
    /// Called when there is a file where there was none.
    told: Box<dyn Fn() + Send + Sync>,
}

impl IdleFiles {
    pub(super) fn new(told: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { files: Mutex::default(), told }
    }

    /// Lists a file that is open.
    pub(super) fn add(&self, kept: &Arc<Kept>) {
        let mut files = self.files.lock();
        let is_first = files.is_empty();
        if !kept.set_listed(true) {
            files.push(Arc::downgrade(kept));
        }
        drop(files);
        if is_first {
            (self.told)();
        }
    }

    /// Closes what was not used since the last call. Says whether something is still open.
    fn close_idle(&self) -> bool {
        let mut files = self.files.lock();
        let mut among = None;
        files.retain(|file| {
            let Some(kept) = file.upgrade() else { return false };
            let is_open = kept.close_if_idle();
            kept.set_listed(is_open);
            if !is_open && among.is_none() {
                among = Some(Arc::clone(kept.among()));
            }
            is_open
        });
        let is_any_open = !files.is_empty();
        drop(files);
        // Once for all of them, as there may be thousands.
        if let Some(among) = among {
            among.forget_closed();
        }
        is_any_open
    }
}

/// [`RealDisk`] for one engine.
pub(super) struct EngineDisk {
    idle: Arc<IdleFiles>,
}

impl EngineDisk {
    pub(super) fn new(told: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { idle: Arc::new(IdleFiles::new(told)) }
    }
}

impl Disk for EngineDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open_among(path, create, Some(&self.idle))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }

    fn replace(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        RealDisk.replace(path, content, sync)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }

    fn claim(&self, path: &Path) -> Claim {
        RealDisk.claim(path)
    }

    fn close_idle(&self) -> bool {
        self.idle.close_idle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn what_is_used_stays_open_and_the_rest_is_closed_and_opened_again_when_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let disk = EngineDisk::new(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let open = |name: &str| disk.open(&dir.path().join(name), true).unwrap();
        let (busy, rest) = (open("busy"), open("rest"));
        let num_open = || disk.idle.files.lock().len();
        for at in 0..3 {
            busy.write_at(b"x", at).unwrap();
            assert!(disk.close_idle());
        }
        assert_eq!((num_open(), told.load(Ordering::Relaxed)), (1, 1));
        rest.write_at(b"y", 0).unwrap();
        assert_eq!((num_open(), told.load(Ordering::Relaxed)), (2, 1));
        assert!(disk.close_idle() && !disk.close_idle());
        assert_eq!(busy.len().unwrap(), 3);
        assert_eq!((num_open(), told.load(Ordering::Relaxed)), (1, 2));
        drop((busy, rest));
        assert!(!disk.close_idle(), "what nobody has any more is not open");
    }
}
