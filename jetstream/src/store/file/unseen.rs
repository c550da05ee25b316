//! Streams that are put together out of sight, from a backup, and take their place when they are whole.
//!
//! Until then they are in a directory whose name begins with a dot: nothing of them is seen, and what a crash leaves of
//! them is removed with the next start.

use super::files::io_error;
use super::meta::{MetaFiles, put};
use super::meta_sync::NEW;
use super::state_file::CONSUMER_STATE;
use super::storage::Storage;
use super::{FileOptions, FileStore};
use crate::disk::DiskFile;
use crate::store::{ConsumerState, StoreError};
use std::path::{Path, PathBuf};

/// A stream that is put together. Dropping it removes all of it, which takes the time that the file system needs.
pub(crate) struct UnseenStream {
    storage: Storage,
    account: String,
    name: String,
    dir: PathBuf,
    in_place: bool,
}

impl Storage {
    /// Begins a stream that nobody sees.
    ///
    /// # Errors
    /// I/O; it leaves nothing behind.
    pub(crate) fn begin_unseen(&self, account: &str, name: &str) -> Result<UnseenStream, StoreError> {
        let dir = self.make_unseen(account, name)?;
        let unseen = UnseenStream {
            storage: self.clone(),
            account: account.to_owned(),
            name: name.to_owned(),
            dir,
            in_place: false,
        };
        for part in ["msgs", "obs"] {
            unseen.make_dir(&unseen.dir.join(part))?;
        }
        Ok(unseen)
    }

    /// Makes a directory for a stream that nobody sees yet.
    fn make_unseen(&self, account: &str, name: &str) -> Result<PathBuf, StoreError> {
        let streams_dir = self.streams_dir(account);
        self.make_dir(&self.root.join(account))?;
        self.make_dir(&streams_dir)?;
        let dir = self.dotted(&streams_dir, name)?;
        self.make_dir(&dir)?;
        let mark = dir.join(NEW);
        match self.disk.open(&mark, true) {
            Ok(_) => Ok(dir),
            Err(error) => {
                let _ = self.remove_tree(&dir);
                Err(io_error("could not create", &mark, error))
            }
        }
    }

    /// Gives a stream's directory that was made out of sight its name.
    fn put_in_place(&self, account: &str, name: &str, unseen: &Path) -> Result<(), StoreError> {
        let dir = self.stream_dir(account, name);
        self.disk.rename(unseen, &dir).map_err(|error| io_error("could not create", &dir, error))?;
        self.note_new_stream(account, name);
        Ok(())
    }
}

impl UnseenStream {
    fn meta_files<'a>(&'a self, dir: &'a Path, name: &'a str) -> MetaFiles<'a> {
        self.storage.meta_files(&self.account, dir, name)
    }

    fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.storage.disk.create_dir(dir).map_err(|error| io_error("could not create", dir, error))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.storage.disk.sync_dir(dir).map_err(|error| io_error("could not sync", dir, error))
    }

    /// Opens the store of its messages, which holds what its files do.
    ///
    /// # Errors
    /// I/O.
    pub(crate) fn open_store(&self, options: FileOptions) -> Result<FileStore, StoreError> {
        self.meta_files(&self.dir, &self.name).directory_key().load_or_create(false)?;
        let files = self.storage.stream_files(&self.account, &self.name, self.dir.clone())?;
        FileStore::open(files, self.storage.laid_out(options))
    }

    /// Begins a file beside the messages. `name` is that of a file, not a path.
    ///
    /// # Errors
    /// I/O.
    pub(crate) fn create_file(&self, name: &str) -> Result<UnseenFile, StoreError> {
        let path = self.dir.join("msgs").join(name);
        match self.storage.disk.open(&path, true) {
            Ok(file) => Ok(UnseenFile { file, path, len: 0 }),
            Err(error) => Err(io_error("could not create", &path, error)),
        }
    }

    /// Makes the content of such a file durable.
    ///
    /// # Errors
    /// I/O.
    pub(crate) fn sync_file(&self, name: &str) -> Result<(), StoreError> {
        let path = self.dir.join("msgs").join(name);
        let synced = self.storage.disk.open(&path, false).and_then(|file| file.sync());
        synced.map_err(|error| io_error("could not sync", &path, error))
    }

    /// Whether `sum` is what stands beside `meta` as the checksum of a stream's metadata.
    pub(crate) fn is_checksum(&self, meta: &[u8], sum: &[u8]) -> bool {
        self.meta_files(&self.dir, &self.name).checksum(meta).as_bytes() == sum
    }

    /// As [`UnseenStream::is_checksum`], of a consumer.
    pub(crate) fn is_checksum_of(&self, consumer: &str, meta: &[u8], sum: &[u8]) -> bool {
        let key = format!("{}/{consumer}", self.name);
        self.meta_files(&self.dir, &key).checksum(meta).as_bytes() == sum
    }

    /// Adds a consumer, durably.
    ///
    /// # Errors
    /// I/O.
    pub(crate) fn add_consumer(
        &self,
        name: &str,
        meta: &[u8],
        state: &ConsumerState,
    ) -> Result<(), StoreError> {
        let dir = self.dir.join("obs").join(name);
        self.make_dir(&dir)?;
        let key = format!("{}/{name}", self.name);
        let files = self.meta_files(&dir, &key);
        files.create_durably(meta)?;
        let state = self.storage.sealed_state(&files, state)?;
        put(&*self.storage.disk, &dir.join(CONSUMER_STATE), &state)?;
        self.sync_dir(&dir)
    }

    /// Writes the metadata and has the stream take its place in one step. Its store was closed; there must be no stream
    /// of that name.
    ///
    /// # Errors
    /// I/O; it is not there then.
    pub(crate) fn take_place(mut self, meta: &[u8]) -> Result<(), StoreError> {
        self.meta_files(&self.dir, &self.name).create_durably(meta)?;
        for part in ["msgs", "obs"] {
            self.sync_dir(&self.dir.join(part))?;
        }
        self.sync_dir(&self.dir)?;
        self.storage.put_in_place(&self.account, &self.name, &self.dir)?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for UnseenStream {
    fn drop(&mut self) {
        if !self.in_place
            && let Err(error) = self.storage.disk.remove_dir_all(&self.dir)
        {
            let dir = self.dir.display();
            tracing::warn!("what is left of a restore is removed with the next start, from {dir}: {error}");
        }
    }
}

/// A file that is being written.
pub(crate) struct UnseenFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    len: u64,
}

impl UnseenFile {
    /// Writes at its end.
    ///
    /// # Errors
    /// I/O.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_at(bytes, self.len);
        written.map_err(|error| io_error("could not write", &self.path, error))?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}
