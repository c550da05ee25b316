//! The blocks of an encrypted stream: a disk that decrypts what is read of them and encrypts what is written.
//!
//! Whatever stands at one position of a block is encrypted with the same bytes, as in nats-server: who sees a block
//! twice, before and after other bytes were written there, learns how the two differ.

use super::{AccountKeys, AssetKey};
use crate::disk::{DirEntry, Disk, DiskFile};
use crate::store::file::picture::block_index;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the key of a block is.
pub(in crate::store::file) fn key_file(msgs_dir: &Path, index: u32) -> PathBuf {
    msgs_dir.join(format!("{index}.key"))
}

/// The name that the key of a block is derived for.
pub(super) fn context(stream: &str, index: u32) -> String {
    format!("{stream}:{index}")
}

/// The disk of one stream.
pub(in crate::store::file) struct EncryptedBlocks {
    disk: Arc<dyn Disk>,
    keys: AccountKeys,
    stream: String,
    msgs_dir: PathBuf,
    known: Mutex<BTreeMap<u32, Arc<BlockKey>>>,
}

struct BlockKey {
    key: AssetKey,
    path: PathBuf,
    /// Whether its file was written and is not durable. It is before the block is.
    unsynced: AtomicBool,
}

impl BlockKey {
    fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.unsynced.load(Ordering::Acquire) {
            disk.open(&self.path, false)?.sync()?;
            self.unsynced.store(false, Ordering::Release);
        }
        Ok(())
    }
}

impl EncryptedBlocks {
    pub(in crate::store::file) fn new(
        disk: Arc<dyn Disk>,
        keys: AccountKeys,
        stream: &str,
        msgs_dir: PathBuf,
    ) -> Self {
        Self { disk, keys, stream: stream.to_owned(), msgs_dir, known: Mutex::default() }
    }

    /// The number of the block that a path is of.
    fn block(&self, path: &Path) -> Option<u32> {
        let name = path.strip_prefix(&self.msgs_dir).ok()?.to_str()?;
        block_index(name)
    }

    /// The key of a block; made where it is not there and `create` is set.
    fn key(&self, index: u32, create: bool) -> io::Result<Arc<BlockKey>> {
        let mut known = self.known.lock();
        if let Some(key) = known.get(&index) {
            return Ok(Arc::clone(key));
        }
        let (path, context) = (key_file(&self.msgs_dir, index), context(&self.stream, index));
        let key = match self.disk.read(&path) {
            Ok(wrapped) => {
                let (key, _) = self.keys.open(&context, &wrapped).map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidData, "encrypted with a key that is not known")
                })?;
                BlockKey { key, path, unsynced: AtomicBool::new(false) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                let (key, wrapped) = self.keys.create(&context)?;
                self.disk.replace(&path, &wrapped, false)?;
                BlockKey { key, path, unsynced: AtomicBool::new(true) }
            }
            Err(error) => return Err(error),
        };
        let key = Arc::new(key);
        known.insert(index, Arc::clone(&key));
        Ok(key)
    }
}

impl Disk for EncryptedBlocks {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let Some(index) = self.block(path) else { return self.disk.open(path, create) };
        let key = self.key(index, create)?;
        let file = self.disk.open(path, create)?;
        Ok(Box::new(EncryptedFile { file, key, disk: Arc::clone(&self.disk) }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = self.disk.read(path)?;
        if let Some(index) = self.block(path) {
            self.key(index, false)?.key.apply_at(0, &mut content)?;
        }
        Ok(content)
    }

    fn replace(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        let Some(index) = self.block(path) else { return self.disk.replace(path, content, sync) };
        let key = self.key(index, true)?;
        if sync {
            key.sync(&*self.disk)?;
        }
        let mut encrypted = content.to_vec();
        key.key.apply_at(0, &mut encrypted)?;
        self.disk.replace(path, &encrypted, sync)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.disk.remove_file(path);
        let is_gone =
            removed.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true);
        if let Some(index) = self.block(path).filter(|_| is_gone) {
            self.known.lock().remove(&index);
            // One that stays is removed at the next start.
            let _ = self.disk.remove_file(&key_file(&self.msgs_dir, index));
        }
        removed
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
        self.disk.sync_dir(path)
    }
}

/// The file of a block.
struct EncryptedFile {
    file: Box<dyn DiskFile>,
    key: Arc<BlockKey>,
    disk: Arc<dyn Disk>,
}

impl DiskFile for EncryptedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let got = self.file.read_at(buf, offset)?;
        self.key.key.apply_at(offset, buf.get_mut(..got).unwrap_or_default())?;
        Ok(got)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut encrypted = data.to_vec();
        self.key.key.apply_at(offset, &mut encrypted)?;
        self.file.write_at(&encrypted, offset)
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.key.sync(&*self.disk)?;
        self.file.sync()
    }
}
