//! The operating system's file system.

use super::idle::{EngineDisk, IdleFiles};
use super::open_files::OpenFiles;
use super::{Claim, DirEntry, Disk, DiskFile};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

/// What is stored is for the owner alone, as with nats-server.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Descriptors are the process's, and so is the care for them.
static OPEN_FILES: LazyLock<Arc<OpenFiles>> = LazyLock::new(|| Arc::new(OpenFiles::for_this_process()));

/// [`Disk`] over the operating system's files.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl RealDisk {
    /// Opens a file that is listed there, too, while it is open.
    pub(super) fn open_among(
        self,
        path: &Path,
        create: bool,
        idle: Option<&Arc<IdleFiles>>,
    ) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(FILE_MODE);
        Ok(Box::new(OPEN_FILES.open(path, &options, idle)?))
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        self.open_among(path, create, None)
    }

    fn for_engine(&self, told: Box<dyn Fn() + Send + Sync>) -> Option<Arc<dyn Disk>> {
        Some(Arc::new(EngineDisk::new(told)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        OPEN_FILES.with_room(|| fs::read(path))
    }

    fn replace(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = Path::new(&beside);
        if let Err(error) = write_whole(beside, content, sync) {
            // A full disk needs the room; that it cannot be removed is no worse than that.
            let _ = fs::remove_file(beside);
            return Err(error);
        }
        fs::rename(beside, path)?;
        match path.parent() {
            Some(parent) if sync => self.sync_dir(parent),
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match OPEN_FILES.with_room(|| fs::remove_dir_all(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.is_dir()).collect();
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)?;
        for parent in missing.iter().rev().filter_map(|dir| dir.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match self.sync_dir(parent) {
                // Where it may not be read it cannot be opened, either.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(DIR_MODE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = match OPEN_FILES.with_room(|| fs::read_dir(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata()?;
            listed.push(DirEntry {
                path: entry.path(),
                name,
                is_dir: metadata.is_dir(),
                size_bytes: metadata.len(),
                modified_ns: modified_ns(&metadata),
            });
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match OPEN_FILES.with_room(|| File::open(path))?.sync_all() {
            // Some file systems do not sync directories, and need it as little as they offer it.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn claim(&self, path: &Path) -> Claim {
        let Ok(dir) = OPEN_FILES.with_room(|| File::open(path)) else { return Claim::Unknown };
        match dir.try_lock() {
            Ok(()) => Claim::Held(Arc::new(dir)),
            Err(TryLockError::WouldBlock) => Claim::Taken,
            // Some file systems have no locks.
            Err(TryLockError::Error(_)) => Claim::Unknown,
        }
    }
}

fn write_whole(path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    let mut file = OPEN_FILES.with_room(|| options.open(path))?;
    file.write_all(content)?;
    if sync { file.sync_all() } else { Ok(()) }
}

fn modified_ns(metadata: &fs::Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}
