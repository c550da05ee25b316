//! The directory of a stream.

use super::encryption::{AccountKeys, AssetKey, DirectoryKey, EncryptedBlocks, Frame, convert_blocks};
use crate::disk::Disk;
use crate::store::StoreError;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a stream's files are, and the disk that holds them.
#[derive(Clone)]
pub(super) struct StreamFiles {
    pub(super) disk: Arc<dyn Disk>,
    /// The stream's name, from which the checksum keys are made.
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) msgs_dir: PathBuf,
    /// What files are encrypted with that are written as a whole, if they are.
    key: Option<Arc<AssetKey>>,
    /// What its blocks, and batches that wait in its directory, are encrypted with.
    keys: Option<AccountKeys>,
}

impl fmt::Debug for StreamFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamFiles({})", self.dir.display())
    }
}

impl StreamFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, name: &str, dir: PathBuf) -> Self {
        Self { disk, name: name.to_owned(), msgs_dir: dir.join("msgs"), dir, key: None, keys: None }
    }

    /// The same of a stream that is encrypted. What is not encrypted as configured is converted.
    ///
    /// # Errors
    /// I/O; the key of the directory, which must be there, is not known.
    pub(super) fn encrypted(self, keys: AccountKeys) -> Result<Self, StoreError> {
        let Self { disk, name, dir, .. } = &self;
        let directory = DirectoryKey { disk: &**disk, dir, name, keys: Some(&keys) };
        let key = directory.load()?.map(Arc::new);
        convert_blocks(&self, &keys)?;
        let blocks = EncryptedBlocks::new(Arc::clone(disk), keys.clone(), name, self.msgs_dir.clone());
        Ok(Self { disk: Arc::new(blocks), key, keys: Some(keys), ..self })
    }

    /// Whether a key is configured.
    pub(super) fn is_encrypted(&self) -> bool {
        self.keys.is_some()
    }

    /// Those of a batch that nats-server left in the stream's directory.
    pub(super) fn staged(&self, name: &str, dir: PathBuf) -> Result<Self, StoreError> {
        let files = Self::new(Arc::clone(&self.disk), name, dir);
        self.keys.clone().map_or(Ok(files.clone()), |keys| files.encrypted(keys))
    }

    /// A file as it is on disk.
    pub(super) fn sealed(&self, file: Vec<u8>, frame: Frame<'_>) -> io::Result<Vec<u8>> {
        match &self.key {
            None => Ok(file),
            Some(key) => frame.seal(key, &file),
        }
    }

    /// A file as it is without encryption, from what is on disk, which may be plain.
    pub(super) fn unsealed(&self, file: Vec<u8>, frame: Frame<'_>) -> Vec<u8> {
        let plain = self.key.as_ref().and_then(|key| frame.unseal(key, &file));
        plain.unwrap_or(file)
    }

    pub(super) fn block_path(&self, index: u32) -> PathBuf {
        self.msgs_dir.join(format!("{index}.blk"))
    }

    /// Keeps the file of a block as it is, under `quarantine/<block>.bad`.
    pub(super) fn keep_file(&self, index: u32) -> io::Result<()> {
        let dir = self.dir.join("quarantine");
        self.disk.create_dir_all(&dir)?;
        let content = self.sealed(self.disk.read(&self.block_path(index))?, Frame::Whole)?;
        self.disk.replace(&dir.join(format!("{index}.bad")), &content, true)
    }

    /// Puts a directory that is in the place of a block aside, under `quarantine/<block>.blk`, and reports it.
    pub(super) fn put_aside(&self, index: u32) -> io::Result<()> {
        let dir = self.dir.join("quarantine");
        let path = self.block_path(index);
        tracing::error!(
            stream = self.name,
            block = index,
            offset = 0,
            "{} is a directory: what the block held is lost, the directory is put into {}",
            path.display(),
            dir.display()
        );
        self.disk.create_dir_all(&dir)?;
        let mut target = dir.join(format!("{index}.blk"));
        let taken = self.disk.list(&dir)?;
        let mut copies = 1_u32;
        while taken.iter().any(|entry| entry.path == target) {
            copies += 1;
            target = dir.join(format!("{index}.blk.{copies}"));
        }
        self.disk.rename(&path, &target)
    }

    /// What is kept in `quarantine`, and its sizes.
    pub(super) fn quarantined(&self) -> io::Result<BTreeMap<PathBuf, u64>> {
        let entries = self.disk.list(&self.dir.join("quarantine"))?;
        Ok(entries.into_iter().map(|entry| (entry.path, entry.size_bytes)).collect())
    }

    /// Keeps bytes that cannot be read under `quarantine/<block>-<offset>.bad`, and reports them. They are made durable
    /// where `sync` is set, as they must be before they go from where they are.
    pub(super) fn quarantine(
        &self,
        place: (u32, u64),
        seq: Option<u64>,
        bytes: &[u8],
        sync: bool,
        known: &BTreeMap<PathBuf, u64>,
    ) -> io::Result<()> {
        let (block, offset) = place;
        let dir = self.dir.join("quarantine");
        let path = dir.join(format!("{block}-{offset}.bad"));
        tracing::error!(
            stream = self.name,
            block,
            offset,
            len = bytes.len(),
            seq,
            "damaged record: skipped, bytes kept in {}",
            path.display()
        );
        let kept = self.sealed(bytes.to_vec(), Frame::Whole)?;
        if !sync && known.get(&path) == Some(&(kept.len() as u64)) {
            return Ok(());
        }
        self.disk.create_dir_all(&dir)?;
        self.disk.replace(&path, &kept, sync)
    }
}

/// An I/O error with what was attempted.
pub(super) fn io_error(what: &str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what: format!("{what} {}", path.display()), source }
}
