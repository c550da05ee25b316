//! The whole store directory: accounts, streams, consumers, and their metadata.
//!
//! `<store_dir>/jetstream/<account>/streams/<stream>/{meta.inf,meta.sum,msgs/,obs/<consumer>/{meta.inf,meta.sum,o.dat}}`

use super::files::{StreamFiles, io_error};
use super::record::ChecksumKey;
use super::{FileOptions, FileStore};
use crate::disk::Disk;
use crate::store::{ConsumerState, StoreError};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const META: &str = "meta.inf";
const META_SUM: &str = "meta.sum";
const CONSUMER_STATE: &str = "o.dat";
/// Longest name of a directory entry on the file systems in use.
const FILE_NAME_MAX_BYTES: usize = 255;

/// A stream as it is found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredStream {
    /// Its name, which is that of its directory.
    pub name: String,
    /// The JSON of its metadata, or what is wrong with it. A stream without good metadata is left as it is.
    pub meta: Result<Vec<u8>, String>,
}

/// A consumer as it is found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConsumer {
    /// Its name, which is that of its directory.
    pub name: String,
    /// The JSON of its metadata, or what is wrong with it.
    pub meta: Result<Vec<u8>, String>,
    /// Its state, if it has saved one; or what is wrong with it.
    pub state: Result<Option<ConsumerState>, String>,
}

/// The directory that holds every account's streams. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Whether metadata and consumer states are made durable as they are written.
    sync: bool,
    /// How much became rubbish since the start: no two trees of it have the same name.
    discarded: Arc<AtomicU64>,
}

/// What was taken out of service and waits to be removed. Both servers take it for what it is wherever they find it, so
/// that what is not removed now goes with the next start.
#[must_use]
pub struct Rubbish {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Rubbish {
    /// Removes it. It takes the time that the file system needs to give the room back.
    ///
    /// # Errors
    /// I/O.
    pub fn remove(self) -> Result<(), StoreError> {
        let Self { disk, dir } = self;
        disk.remove_dir_all(&dir).map_err(|error| io_error("could not remove", &dir, error))
    }
}

impl Storage {
    /// Opens `<store_dir>/jetstream`; creates it where it does not exist. With `sync`, metadata and consumer states
    /// are made durable as they are written.
    ///
    /// # Errors
    /// It is not a directory, or nothing can be written there; with nats-server's texts.
    pub fn open(disk: Arc<dyn Disk>, store_dir: &Path, sync: bool) -> Result<Self, StoreError> {
        let root = store_dir.join("jetstream");
        disk.create_dir_all(&root).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                StoreError::Directory("storage directory is not a directory".to_owned())
            }
            _ => StoreError::Directory(format!(
                "could not create storage directory - mkdir {}: {error}",
                root.display()
            )),
        })?;
        let probe = root.join(format!("_test_{}", std::process::id()));
        let probed = disk.open(&probe, true).and_then(|_| disk.remove_file(&probe));
        probed
            .map_err(|error| StoreError::Directory(format!("storage directory is not writable - {error}")))?;
        Ok(Self { disk, root, sync, discarded: Arc::default() })
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Accounts that have streams.
    ///
    /// # Errors
    /// I/O.
    pub fn accounts(&self) -> Result<Vec<String>, StoreError> {
        let mut accounts = Vec::new();
        for name in self.directories(&self.root)? {
            if !self.directories(&self.streams_dir(&name))?.is_empty() {
                accounts.push(name);
            }
        }
        Ok(accounts)
    }

    /// The streams of an account. Removes what is left of streams whose removal was interrupted.
    ///
    /// # Errors
    /// I/O.
    pub fn streams(&self, account: &str) -> Result<Vec<StoredStream>, StoreError> {
        let streams_dir = self.streams_dir(account);
        let mut streams = Vec::new();
        for name in self.directories(&streams_dir)? {
            let dir = streams_dir.join(&name);
            if name.starts_with('.') {
                self.remove_tree(&dir)?;
                continue;
            }
            let meta = self.read_meta(&dir, &name);
            streams.push(StoredStream { name, meta });
        }
        Ok(streams)
    }

    /// Names of an account's streams, without a look into them.
    ///
    /// # Errors
    /// I/O.
    pub fn stream_names(&self, account: &str) -> Result<Vec<String>, StoreError> {
        let mut names = self.directories(&self.streams_dir(account))?;
        names.retain(|name| !name.starts_with('.'));
        Ok(names)
    }

    /// Creates a stream with its metadata, and opens it. What an earlier stream of the name may have left is
    /// removed.
    ///
    /// # Errors
    /// I/O.
    pub fn create_stream(
        &self,
        account: &str,
        name: &str,
        meta: &[u8],
        options: FileOptions,
    ) -> Result<FileStore, StoreError> {
        self.remove_stream(account, name)?;
        let dir = self.stream_dir(account, name);
        for sub in ["msgs", "obs"] {
            self.create_dir(&dir.join(sub))?;
        }
        self.write_meta(&dir, name, meta)?;
        self.sync_dir(&self.streams_dir(account))?;
        self.open_stream(account, name, options)
    }

    /// Opens a stream that is on disk.
    ///
    /// # Errors
    /// I/O, or the stream is encrypted. Damaged records are reported and skipped.
    pub fn open_stream(
        &self,
        account: &str,
        name: &str,
        options: FileOptions,
    ) -> Result<FileStore, StoreError> {
        let dir = self.stream_dir(account, name);
        self.create_dir(&dir.join("msgs"))?;
        FileStore::open(StreamFiles::new(Arc::clone(&self.disk), name, dir), options)
    }

    /// Replaces a stream's metadata.
    ///
    /// # Errors
    /// I/O; the old metadata is then still there, or both files are in doubt after a crash, which is reported when
    /// they are read.
    pub fn update_stream(&self, account: &str, name: &str, meta: &[u8]) -> Result<(), StoreError> {
        self.write_meta(&self.stream_dir(account, name), name, meta)
    }

    /// Removes a stream with its consumers; no error where there is none. Its [`FileStore`] must not be used after.
    ///
    /// # Errors
    /// I/O.
    pub fn remove_stream(&self, account: &str, name: &str) -> Result<(), StoreError> {
        self.discard_stream(account, name)?.map_or(Ok(()), Rubbish::remove)
    }

    /// Takes a stream with its consumers out of the directory, in one step whatever its size, and leaves it to the
    /// caller to remove what is left; `None` where there is none. Its [`FileStore`] must not be used after.
    ///
    /// # Errors
    /// I/O; the stream is still there then.
    pub fn discard_stream(&self, account: &str, name: &str) -> Result<Option<Rubbish>, StoreError> {
        self.discard(&self.streams_dir(account), name)
    }

    /// The consumers of a stream.
    ///
    /// # Errors
    /// I/O.
    pub fn consumers(&self, account: &str, stream: &str) -> Result<Vec<StoredConsumer>, StoreError> {
        let consumers_dir = self.stream_dir(account, stream).join("obs");
        let mut consumers = Vec::new();
        for name in self.directories(&consumers_dir)? {
            let dir = consumers_dir.join(&name);
            if name.starts_with('.') {
                self.remove_tree(&dir)?;
                continue;
            }
            let meta = self.read_meta(&dir, &format!("{stream}/{name}"));
            let state = self.read_state(&dir);
            consumers.push(StoredConsumer { name, meta, state });
        }
        Ok(consumers)
    }

    /// Creates a consumer, or replaces its metadata.
    ///
    /// # Errors
    /// I/O.
    pub fn put_consumer(
        &self,
        account: &str,
        stream: &str,
        name: &str,
        meta: &[u8],
    ) -> Result<(), StoreError> {
        let dir = self.consumer_dir(account, stream, name);
        self.create_dir(&dir)?;
        self.write_meta(&dir, &format!("{stream}/{name}"), meta)
    }

    /// Saves what a consumer must remember.
    ///
    /// # Errors
    /// I/O; the state saved before is then still there.
    pub fn save_consumer(
        &self,
        account: &str,
        stream: &str,
        name: &str,
        state: &ConsumerState,
    ) -> Result<(), StoreError> {
        self.replace(&self.consumer_dir(account, stream, name).join(CONSUMER_STATE), &state.encode())
    }

    /// Removes a consumer; no error where there is none.
    ///
    /// # Errors
    /// I/O.
    pub fn remove_consumer(&self, account: &str, stream: &str, name: &str) -> Result<(), StoreError> {
        let consumers_dir = self.stream_dir(account, stream).join("obs");
        self.discard(&consumers_dir, name)?.map_or(Ok(()), Rubbish::remove)
    }

    fn streams_dir(&self, account: &str) -> PathBuf {
        self.root.join(account).join("streams")
    }

    fn stream_dir(&self, account: &str, stream: &str) -> PathBuf {
        self.streams_dir(account).join(stream)
    }

    fn consumer_dir(&self, account: &str, stream: &str, consumer: &str) -> PathBuf {
        self.stream_dir(account, stream).join("obs").join(consumer)
    }

    fn directories(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        let entries = self.disk.list(dir).map_err(|error| io_error("could not list", dir, error))?;
        Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
    }

    fn create_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.create_dir_all(dir).map_err(|error| io_error("could not create", dir, error))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        if !self.sync {
            return Ok(());
        }
        self.disk.sync_dir(dir).map_err(|error| io_error("could not sync", dir, error))
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        self.disk.replace(path, content, self.sync).map_err(|error| io_error("could not write", path, error))
    }

    fn remove_tree(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.remove_dir_all(dir).map_err(|error| io_error("could not remove", dir, error))
    }

    /// Moves a directory to a name that begins with a dot, which both servers take for rubbish.
    fn discard(&self, parent: &Path, name: &str) -> Result<Option<Rubbish>, StoreError> {
        let number = self.discarded.fetch_add(1, Ordering::Relaxed).to_string();
        // Shorter where dots and number would make the name too long for a file system.
        let mut end = name.len().min(FILE_NAME_MAX_BYTES - 2 - number.len());
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let doomed = parent.join(format!(".{}.{number}", name.get(..end).unwrap_or_default()));
        let dir = parent.join(name);
        // What an earlier run left is removed when the streams are listed; where that failed, it stands in the way.
        self.remove_tree(&doomed)?;
        match self.disk.rename(&dir, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| io_error("could not remove", &dir, error))?,
        }
        self.sync_dir(parent)?;
        Ok(Some(Rubbish { disk: Arc::clone(&self.disk), dir: doomed }))
    }

    fn write_meta(&self, dir: &Path, key: &str, meta: &[u8]) -> Result<(), StoreError> {
        self.replace(&dir.join(META), meta)?;
        self.replace(&dir.join(META_SUM), checksum_hex(key, meta).as_bytes())
    }

    fn read_meta(&self, dir: &Path, key: &str) -> Result<Vec<u8>, String> {
        let read = |file: &str| {
            let path = dir.join(file);
            self.disk.read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        if self.disk.read(&dir.join("meta.key")).is_ok() {
            return Err(format!("{} is encrypted, which is not supported", dir.display()));
        }
        let meta = read(META)?;
        if read(META_SUM)? == checksum_hex(key, &meta).as_bytes() {
            return Ok(meta);
        }
        Err(format!("{}: checksums do not match", dir.join(META).display()))
    }

    fn read_state(&self, dir: &Path) -> Result<Option<ConsumerState>, String> {
        let path = dir.join(CONSUMER_STATE);
        match self.disk.read(&path) {
            Ok(bytes) if bytes.is_empty() => Ok(None),
            Ok(bytes) => match ConsumerState::decode(&bytes) {
                Some(state) => Ok(Some(state)),
                None => Err(format!("{} is damaged", path.display())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}

fn checksum_hex(key: &str, meta: &[u8]) -> String {
    let mut hex = String::with_capacity(16);
    for byte in ChecksumKey::name(key).sum(&[meta]) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
