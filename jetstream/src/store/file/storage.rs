//! The whole store directory: accounts, streams, consumers, and their metadata.
//!
//! `<store_dir>/jetstream/<account>/streams/<stream>/{meta.inf,meta.sum,msgs/,obs/<consumer>/{meta.inf,meta.sum,o.dat}}`
//!
//! What is new is made in a directory whose name begins with a dot, which both servers take for rubbish, and takes its
//! name when it is whole. What is to replace metadata is made durable beside it, and takes its place when that is asked
//! for. What comes, changes and goes is durable after the next [`Storage::sync_metadata`].

use super::aside::QUARANTINE;
use super::files::io_error;
use super::meta::{StagedMeta, write};
use super::meta_sync::{Became, MetaGate, MetaSyncs, NEW};
use super::rubbish::Rubbish;
use super::state_file::{CONSUMER_STATE, StateFile};
use super::{FileOptions, FileStore};
use crate::disk::{Claim, Disk};
use crate::settings::Encryption;
use crate::store::{ConsumerState, StoreError};
use jetkv_go_compat::os_text;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// What stands in the place of metadata whose checksum is wrong.
    pub unproven: Option<Vec<u8>>,
    /// Its state, if it has saved one; or what is wrong with it.
    pub state: Result<Option<ConsumerState>, String>,
}

/// The directory that holds every account's streams. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) root: PathBuf,
    /// Whether the states of consumers are made durable as they are written, and changes of metadata are waited for.
    pub(super) sync: bool,
    /// How many names were given that nothing else has: those that begin with a dot, and those of staged metadata.
    numbers: Arc<AtomicU64>,
    pub(super) syncs: Arc<MetaSyncs>,
    /// Whether accounts may stand beside the root instead of in it.
    relocates: bool,
    claim: Claim,
    /// What all is encrypted with, if it is.
    pub(super) encryption: Option<Arc<Encryption>>,
}

/// The outermost directory on the way to one that is not there, which is the one that cannot be made.
fn first_missing<'a>(disk: &dyn Disk, path: &'a Path) -> &'a Path {
    let is_there = |path: &Path| match path.parent() {
        Some(parent) => disk.list(parent).is_ok_and(|known| known.iter().any(|entry| entry.path == path)),
        None => true,
    };
    path.ancestors().find(|path| path.parent().is_none_or(is_there)).unwrap_or(path)
}

impl Storage {
    /// Opens `<store_dir>/jetstream`; creates it where it does not exist. With `sync`, the states of consumers are made
    /// durable as they are written; metadata always is.
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
                "could not create storage directory - mkdir {}: {}",
                first_missing(disk.as_ref(), &root).display(),
                os_text(&error)
            )),
        })?;
        let probe = root.join(format!("_test_{}", std::process::id()));
        let probed = disk.open(&probe, true).and_then(|_| disk.remove_file(&probe));
        probed.map_err(|error| {
            StoreError::Directory(format!("storage directory is not writable - {}", os_text(&error)))
        })?;
        let claim = disk.claim(&root);
        if matches!(claim, Claim::Taken) {
            tracing::warn!(
                "Store directory {:?} is in use by another server: what both write will be damaged",
                root.display().to_string()
            );
        }
        let relocates = disk.list(&root).is_ok_and(|entries| entries.is_empty());
        let syncs = Arc::new(MetaSyncs::new(Arc::clone(&disk)));
        Ok(Self { disk, root, sync, numbers: Arc::default(), syncs, relocates, claim, encryption: None })
    }

    /// Whether another server has the directory open, as far as that can be told.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.claim, Claim::Taken)
    }

    /// Lets another server or engine have the directory. Nothing is written there afterwards.
    pub fn release(&self) {
        self.claim.release();
    }

    /// Moves the directory of an account that stands beside the root into it: nats-server had accounts there before
    /// version 2.2.3, and looks for them where there is nothing in the root.
    ///
    /// # Errors
    /// I/O.
    pub fn relocate(&self, account: &str) -> Result<(), StoreError> {
        let Some(beside) = self.root.parent().filter(|_| self.relocates).map(|dir| dir.join(account)) else {
            return Ok(());
        };
        let inside = self.root.join(account);
        if beside == self.root || !self.is_there(&beside)? || self.is_there(&inside)? {
            return Ok(());
        }
        self.disk.rename(&beside, &inside).map_err(|error| io_error("could not relocate", &beside, error))?;
        tracing::info!("JetStream relocated account {account:?} to {:?}", inside.display().to_string());
        self.sync_dir(&self.root)
    }

    /// Removes an account with all that it has. What is not there is no error.
    ///
    /// # Errors
    /// I/O.
    pub fn remove_account(&self, account: &str) -> Result<(), StoreError> {
        let dir = self.root.join(account);
        let waiting = self.syncs.forget(&dir);
        self.remove_tree(&dir).inspect_err(|_| self.syncs.take_back(waiting))
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

    /// The streams of an account. Removes what is left of streams whose removal was interrupted. What was not durable when
    /// the server ended is so after the next [`Storage::sync_metadata`].
    ///
    /// # Errors
    /// I/O.
    pub fn streams(&self, account: &str) -> Result<Vec<StoredStream>, StoreError> {
        let streams_dir = self.streams_dir(account);
        let mut streams = Vec::new();
        for name in self.directories(&streams_dir)? {
            let dir = streams_dir.join(&name);
            if name.starts_with('.') {
                // It is tried again at the next start.
                if let Err(error) = self.remove_tree(&dir) {
                    tracing::warn!("{error}");
                }
                continue;
            }
            let meta = self.read_stream_meta(account, &name, &dir);
            let is_new = self.is_new(&dir);
            match &meta {
                Ok(_) if is_new => self.note_new_stream(account, &name),
                Err(problem) if is_new || self.is_blank(&dir) => {
                    let stays = self.drop_unfinished_stream(account, &name, problem)?;
                    if !stays {
                        continue;
                    }
                }
                _ => {}
            }
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

    /// Whether a directory of that name is there and holds something, readable or not.
    ///
    /// # Errors
    /// I/O.
    pub fn has_stream(&self, account: &str, name: &str) -> Result<bool, StoreError> {
        self.is_there(&self.stream_dir(account, name))
    }

    /// Creates a stream with its metadata, and opens it. There must be none of that name. A stream that cannot be
    /// created leaves nothing behind.
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
        self.make_stream(account, name, |dir| self.meta_files(account, dir, name).create(meta))?;
        let opened = self.open_stream(account, name, options);
        if opened.is_err() {
            let _ = self.remove_stream(account, name);
        }
        opened
    }

    /// Makes the directory of a new stream appear whole, with what `fill` writes into it. Nothing is synced.
    pub(super) fn make_stream(
        &self,
        account: &str,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let streams_dir = self.streams_dir(account);
        if !self.syncs.is_durable(&streams_dir) {
            self.make_dir(&self.root.join(account))?;
            self.make_dir(&streams_dir)?;
        }
        self.make(&streams_dir, name, |dir| {
            self.make_dir(&dir.join("msgs"))?;
            self.make_dir(&dir.join("obs"))?;
            fill(dir)
        })?;
        self.note_new_stream(account, name);
        Ok(())
    }

    /// Opens a stream that is on disk.
    ///
    /// # Errors
    /// I/O, or the stream is encrypted with a key that is not known. Damaged records are reported and skipped.
    pub fn open_stream(
        &self,
        account: &str,
        name: &str,
        options: FileOptions,
    ) -> Result<FileStore, StoreError> {
        let dir = self.stream_dir(account, name);
        self.create_dir(&dir.join("msgs"))?;
        let gate = MetaGate::new(&self.syncs, dir.clone(), !self.sync);
        let mut store = FileStore::open(self.stream_files(account, name, dir)?, self.laid_out(options))?;
        store.gate = Some(Arc::new(gate));
        Ok(store)
    }

    /// Makes metadata durable beside that of a stream, which it is to replace. No lock that others need may be held.
    ///
    /// # Errors
    /// I/O; nothing has changed.
    pub(crate) fn stage_stream(
        &self,
        account: &str,
        name: &str,
        meta: Vec<u8>,
    ) -> Result<StagedMeta, StoreError> {
        self.stage(account, self.stream_dir(account, name), name, meta)
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

    /// The consumers of a stream. States that cannot be read are moved to `quarantine` in the stream's directory. What was
    /// not durable when the server ended is so after the next [`Storage::sync_metadata`].
    ///
    /// # Errors
    /// I/O.
    pub fn consumers(&self, account: &str, stream: &str) -> Result<Vec<StoredConsumer>, StoreError> {
        let consumers_dir = self.stream_dir(account, stream).join("obs");
        let quarantine = self.stream_dir(account, stream).join(QUARANTINE);
        let mut consumers = Vec::new();
        for name in self.directories(&consumers_dir)? {
            let dir = consumers_dir.join(&name);
            if name.starts_with('.') {
                // It is tried again at the next start.
                if let Err(error) = self.remove_tree(&dir) {
                    tracing::warn!("{error}");
                }
                continue;
            }
            let key = format!("{stream}/{name}");
            let files = self.meta_files(account, &dir, &key);
            let mut meta = self.read_consumer_meta(&files);
            let is_new = self.is_new(&dir);
            match &meta {
                Ok(_) if is_new => self.note_new_consumer(account, stream, &name),
                Err(problem) if is_new || self.is_blank(&dir) => {
                    let stays = self.drop_unfinished_consumer(account, stream, &name, problem)?;
                    if !stays {
                        continue;
                    }
                }
                _ => {}
            }
            let mut unproven = if meta.is_err() { files.read_unproven() } else { None };
            let state = match self.read_state(&files.directory_key()) {
                Ok(Ok(state)) => Ok(state),
                // It begins anew, as it had just begun.
                Ok(Err(_)) if is_new => Ok(None),
                Ok(Err(damage)) => {
                    let file = dir.join(CONSUMER_STATE);
                    let kept = self.move_aside(&file, &quarantine, &format!("{name}.{CONSUMER_STATE}"));
                    Err(kept
                        .map_or(damage.clone(), |kept| format!("{damage}, and kept in {}", kept.display())))
                }
                Err(error) => {
                    // It may be read another time, and must not be replaced until then.
                    (meta, unproven) = (Err(error.to_string()), None);
                    Ok(None)
                }
            };
            self.forget_unfinished(&dir);
            consumers.push(StoredConsumer { name, meta, unproven, state });
        }
        Ok(consumers)
    }

    /// Creates a consumer with what it has to remember from the beginning. There must be none of that name.
    ///
    /// # Errors
    /// I/O; nothing is left behind.
    pub fn create_consumer(
        &self,
        account: &str,
        stream: &str,
        name: &str,
        meta: &[u8],
        state: &ConsumerState,
    ) -> Result<(), StoreError> {
        let consumers_dir = self.stream_dir(account, stream).join("obs");
        self.make_dir(&consumers_dir)?;
        self.make(&consumers_dir, name, |dir| {
            let key = format!("{stream}/{name}");
            let files = self.meta_files(account, dir, &key);
            files.create(meta)?;
            let state = self.sealed_state(&files, state)?;
            write(&*self.disk, &dir.join(CONSUMER_STATE), &state).map(drop)
        })?;
        self.note_new_consumer(account, stream, name);
        Ok(())
    }

    /// Whether something is there under the name of a consumer, readable or not.
    ///
    /// # Errors
    /// I/O.
    pub(crate) fn has_consumer(&self, account: &str, stream: &str, name: &str) -> Result<bool, StoreError> {
        self.is_there(&self.consumer_dir(account, stream, name))
    }

    /// Makes metadata durable beside that of a consumer, as [`Storage::stage_stream`] does.
    ///
    /// # Errors
    /// I/O; nothing has changed.
    pub(crate) fn stage_consumer(
        &self,
        account: &str,
        stream: &str,
        name: &str,
        meta: Vec<u8>,
    ) -> Result<StagedMeta, StoreError> {
        self.stage(account, self.consumer_dir(account, stream, name), &format!("{stream}/{name}"), meta)
    }

    /// Where a consumer's state is kept.
    pub(crate) fn state_file(&self, account: &str, stream: &str, name: &str) -> StateFile {
        let (disk, dir) = (Arc::clone(&self.disk), self.consumer_dir(account, stream, name));
        StateFile::new(disk, dir, format!("{stream}/{name}"), self.account_keys(account))
    }

    /// Whether the states of consumers are made durable as they are written.
    pub(crate) fn syncs_states(&self) -> bool {
        self.sync
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
        self.state_file(account, stream, name).write(&state.encode(), self.sync)
    }

    /// Takes a consumer out of the directory, in one step, and leaves it to the caller to remove what is left; `None`
    /// where there is none.
    ///
    /// # Errors
    /// I/O; the consumer is still there then.
    pub fn discard_consumer(
        &self,
        account: &str,
        stream: &str,
        name: &str,
    ) -> Result<Option<Rubbish>, StoreError> {
        self.discard(&self.stream_dir(account, stream).join("obs"), name)
    }

    pub(super) fn streams_dir(&self, account: &str) -> PathBuf {
        self.root.join(account).join("streams")
    }

    pub(super) fn stream_dir(&self, account: &str, stream: &str) -> PathBuf {
        self.streams_dir(account).join(stream)
    }

    pub(super) fn consumer_dir(&self, account: &str, stream: &str, consumer: &str) -> PathBuf {
        self.stream_dir(account, stream).join("obs").join(consumer)
    }

    fn directories(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        let entries = self.disk.list(dir).map_err(|error| io_error("could not list", dir, error))?;
        Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
    }

    fn create_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.create_dir_all(dir).map_err(|error| io_error("could not create", dir, error))
    }

    pub(super) fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.create_dir(dir).map_err(|error| io_error("could not create", dir, error))
    }

    pub(super) fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.sync_dir(dir).map_err(|error| io_error("could not sync", dir, error))
    }

    pub(super) fn remove_tree(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.remove_dir_all(dir).map_err(|error| io_error("could not remove", dir, error))
    }

    fn is_there(&self, dir: &Path) -> Result<bool, StoreError> {
        let entries = self.disk.list(dir).map_err(|error| io_error("could not list", dir, error))?;
        Ok(!entries.is_empty())
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn stage(
        &self,
        account: &str,
        dir: PathBuf,
        name: &str,
        meta: Vec<u8>,
    ) -> Result<StagedMeta, StoreError> {
        let (disk, syncs) = (Arc::clone(&self.disk), Arc::clone(&self.syncs));
        let (number, keys) = (Some(self.next_number()), self.account_keys(account));
        StagedMeta { disk, syncs, dir, number, meta, keys }.write(name)
    }

    /// A name in `parent` that both servers take for rubbish, and that is free.
    pub(super) fn dotted(&self, parent: &Path, name: &str) -> Result<PathBuf, StoreError> {
        let number = self.next_number().to_string();
        // Shorter where dots and number would make the name too long for a file system.
        let mut end = name.len().min(FILE_NAME_MAX_BYTES - 2 - number.len());
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let dotted = parent.join(format!(".{}.{number}", name.get(..end).unwrap_or_default()));
        // What an earlier run left is removed when the streams are listed; where that failed, it stands in the way.
        self.remove_tree(&dotted)?;
        Ok(dotted)
    }

    /// Makes the directory `name` in `parent` appear whole: `fill` writes into it elsewhere. Nothing is synced.
    fn make(
        &self,
        parent: &Path,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (unfinished, dir) = (self.dotted(parent, name)?, parent.join(name));
        let marked = self.make_dir(&unfinished).and_then(|()| {
            let mark = unfinished.join(NEW);
            self.disk.open(&mark, true).map(drop).map_err(|error| io_error("could not create", &mark, error))
        });
        let made = marked.and_then(|()| fill(&unfinished)).and_then(|()| {
            let named = self.disk.rename(&unfinished, &dir);
            named.map_err(|error| io_error("could not create", &dir, error))
        });
        made.inspect_err(|_| {
            // What is left goes with the next start, at the latest.
            let _ = self.remove_tree(&unfinished);
        })
    }

    /// Moves a directory to a name that begins with a dot, which both servers take for rubbish.
    fn discard(&self, parent: &Path, name: &str) -> Result<Option<Rubbish>, StoreError> {
        let (doomed, dir) = (self.dotted(parent, name)?, parent.join(name));
        let forgotten = self.syncs.forget(&dir);
        match self.disk.rename(&dir, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| {
                self.syncs.take_back(forgotten);
                io_error("could not remove", &dir, error)
            })?,
        }
        self.syncs.note(dir.clone(), Became::Gone, Vec::new(), vec![parent.to_owned()]);
        let (disk, syncs) = (Arc::clone(&self.disk), Arc::clone(&self.syncs));
        Ok(Some(Rubbish { disk, syncs, was: dir, dir: doomed }))
    }
}
