//! The disk of a server whose test lab is on: it fails where a rule of faults says so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use jetkv_jetstream::disk::{Claim, DirEntry};
use jetkv_jetstream::{Disk, DiskFile};

use crate::faults::DiskFault;
use crate::state::Shared;

/// ENOSPC and EIO.
const NO_SPACE: i32 = 28;
const IO_ERROR: i32 = 5;

/// A disk, and the rules that it fails by.
pub(super) struct FaultyDisk {
    disk: Arc<dyn Disk>,
    /// Where the accounts have their directories.
    root: PathBuf,
    shared: Weak<Shared>,
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    /// The account that it belongs to.
    account: String,
    shared: Weak<Shared>,
}

impl FaultyDisk {
    /// Puts itself before `disk`, for what is stored in `store_dir`.
    pub(super) fn new(disk: Arc<dyn Disk>, store_dir: &Path, shared: &Arc<Shared>) -> Self {
        Self { disk, root: store_dir.join("jetstream"), shared: Arc::downgrade(shared) }
    }

    fn check(&self, path: &Path, fault: DiskFault) -> io::Result<()> {
        check(&self.shared, &self.account_of(path), fault)
    }

    /// The account whose files are there, by name; empty for none.
    fn account_of(&self, path: &Path) -> String {
        let first = path.strip_prefix(&self.root).ok().and_then(|below| below.components().next());
        first.map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default()
    }
}

fn check(shared: &Weak<Shared>, account: &str, fault: DiskFault) -> io::Result<()> {
    let fails = shared.upgrade().is_some_and(|shared| shared.faults.meet_disk(account, fault));
    match fault {
        _ if !fails => Ok(()),
        DiskFault::Full => Err(io::Error::from_raw_os_error(NO_SPACE)),
        DiskFault::Sync => Err(io::Error::from_raw_os_error(IO_ERROR)),
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path, false);
        let is_missing = file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let file = if create && is_missing {
            self.check(path, DiskFault::Full)?;
            self.disk.open(path, true)
        } else {
            file
        };
        Ok(Box::new(FaultyFile {
            file: file?,
            account: self.account_of(path),
            shared: Weak::clone(&self.shared),
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn replace(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        self.check(path, DiskFault::Full)?;
        if sync {
            self.check(path, DiskFault::Sync)?;
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
        self.check(path, DiskFault::Full)?;
        self.disk.create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(path, DiskFault::Full)?;
        self.disk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(path, DiskFault::Sync)?;
        self.disk.sync_dir(path)
    }

    fn for_engine(&self, told: Box<dyn Fn() + Send + Sync>) -> Option<Arc<dyn Disk>> {
        let disk = self.disk.for_engine(told)?;
        Some(Arc::new(Self { disk, root: self.root.clone(), shared: Weak::clone(&self.shared) }))
    }

    fn close_idle(&self) -> bool {
        self.disk.close_idle()
    }

    fn claim(&self, path: &Path) -> Claim {
        self.disk.claim(path)
    }
}

impl FaultyFile {
    fn check(&self, fault: DiskFault) -> io::Result<()> {
        check(&self.shared, &self.account, fault)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.check(DiskFault::Full)?;
        self.file.write_at(data, offset)
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.check(DiskFault::Sync)?;
        self.file.sync()
    }
}
