//! Streams and consumers that are new, and what a power failure left of such.

use super::aside::QUARANTINE;
use super::encryption::KEY;
use super::files::{StreamFiles, io_error};
use super::meta::{META, META_SUM};
use super::meta_sync::{Became, NEW};
use super::picture::block_index;
use super::read::content;
use super::record::{ChecksumKey, Kind};
use super::scan::{Found, Scan};
use super::state_file::CONSUMER_STATE;
use super::storage::Storage;
use crate::store::StoreError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Storage {
    /// Makes durable what came, changed and went.
    ///
    /// # Errors
    /// I/O; what is not durable yet is tried again the next time.
    pub fn sync_metadata(&self) -> Result<(), StoreError> {
        self.syncs.run()
    }

    /// Has `run_later` make durable in the background what of the metadata is not. Nobody has to wait for it.
    pub(crate) fn sync_metadata_later(&self, run_later: impl FnOnce(Box<dyn FnOnce() + Send>)) {
        if !self.syncs.ask() {
            return;
        }
        let syncs = Arc::clone(&self.syncs);
        run_later(Box::new(move || {
            if let Err(error) = syncs.run() {
                tracing::error!(%error, "what is new is not durable yet");
            }
        }));
    }

    /// Returns when what came, changed or went under the name of a stream or its consumer is durable, if that is to be
    /// waited for. No lock that others need may be held.
    ///
    /// # Errors
    /// I/O; it is there or gone all the same.
    pub(crate) fn await_metadata(
        &self,
        account: &str,
        stream: &str,
        consumer: Option<&str>,
    ) -> Result<(), StoreError> {
        if !self.sync {
            return Ok(());
        }
        let dir = self.dir_of(account, stream, consumer);
        self.syncs.finish(|changed| changed == dir)
    }

    /// Whether what stands under the name of a stream, or of its consumer, is new and not durable yet.
    pub(crate) fn is_unproven(&self, account: &str, stream: &str, consumer: Option<&str>) -> bool {
        self.syncs.is_new(&self.dir_of(account, stream, consumer))
    }

    fn dir_of(&self, account: &str, stream: &str, consumer: Option<&str>) -> PathBuf {
        match consumer {
            Some(consumer) => self.consumer_dir(account, stream, consumer),
            None => self.stream_dir(account, stream),
        }
    }

    pub(super) fn note_new_stream(&self, account: &str, name: &str) {
        let (parent, dir) = (self.streams_dir(account), self.stream_dir(account, name));
        let mut dirs = vec![dir.clone(), parent.clone()];
        if !self.syncs.is_durable(&parent) {
            dirs.extend([self.root.join(account), self.root.clone()]);
        }
        let mut files = vec![dir.join(META), dir.join(META_SUM)];
        files.extend(self.encryption.as_ref().map(|_| dir.join(KEY)));
        self.syncs.note(dir, Became::New, files, dirs);
    }

    pub(super) fn note_new_consumer(&self, account: &str, stream: &str, name: &str) {
        let dir = self.consumer_dir(account, stream, name);
        let mut files = vec![dir.join(META), dir.join(META_SUM), dir.join(CONSUMER_STATE)];
        files.extend(self.encryption.as_ref().map(|_| dir.join(KEY)));
        let dirs = vec![dir.clone(), self.stream_dir(account, stream).join("obs")];
        self.syncs.note(dir, Became::New, files, dirs);
    }

    /// The state of a consumer came, and is not durable.
    pub(crate) fn note_state(&self, account: &str, stream: &str, name: &str) {
        let dir = self.consumer_dir(account, stream, name);
        self.syncs.note(dir.clone(), Became::Changed, vec![dir.join(CONSUMER_STATE)], vec![dir]);
    }

    /// Something durable took the place of something else in the directory of a consumer.
    pub(crate) fn note_change(&self, account: &str, stream: &str, name: &str) {
        let dir = self.consumer_dir(account, stream, name);
        self.syncs.note(dir.clone(), Became::Changed, Vec::new(), vec![dir]);
    }

    /// Makes durable what an earlier run left that is new.
    pub(crate) fn finish_new(&self) {
        if let Err(error) = self.syncs.run() {
            tracing::warn!(%error, "what was new when the server ended is not durable yet");
        }
    }

    /// Removes what a save of the state that was interrupted left in a consumer's directory.
    pub(super) fn forget_unfinished(&self, dir: &Path) {
        for entry in self.disk.list(dir).unwrap_or_default() {
            if entry.name.starts_with(CONSUMER_STATE) && entry.name != CONSUMER_STATE && !entry.is_dir {
                let _ = self.disk.remove_file(&entry.path);
            }
        }
    }

    pub(super) fn is_new(&self, dir: &Path) -> bool {
        self.disk.read(&dir.join(NEW)).is_ok()
    }

    /// Whether there is no file in a directory and in those that every stream has.
    pub(super) fn is_blank(&self, dir: &Path) -> bool {
        let is_bare = |dir: &Path| self.disk.list(dir).is_ok_and(|entries| entries.is_empty());
        let known = |name: &str| matches!(name, "msgs" | "obs");
        self.disk.list(dir).is_ok_and(|entries| {
            entries.iter().all(|entry| entry.is_dir && known(&entry.name) && is_bare(&entry.path))
        })
    }

    /// Takes a stream away that was new when the process or the power ended, and whose metadata cannot be read. One with
    /// messages stays, as any other whose metadata is lost; says whether it does.
    pub(super) fn drop_unfinished_stream(
        &self,
        account: &str,
        name: &str,
        problem: &str,
    ) -> Result<bool, StoreError> {
        if self.locked(account, name).is_some() {
            return Ok(true);
        }
        let msgs_dir = self.stream_dir(account, name).join("msgs");
        let entries =
            self.disk.list(&msgs_dir).map_err(|error| io_error("could not list", &msgs_dir, error))?;
        let files = self.stream_files(account, name, self.stream_dir(account, name))?;
        if entries.iter().any(|entry| has_messages(&files, &entry.name)) {
            return Ok(true);
        }
        if entries.iter().any(|entry| entry.size_bytes > 0) {
            let kept = self.quarantine_stream(account, name)?;
            tracing::warn!(
                "stream '{name}' was new when the power failed: {problem}; it is kept in {}",
                kept.display()
            );
            return Ok(false);
        }
        tracing::info!("stream '{name}' was new when the power failed, and is removed: {problem}");
        self.remove_stream(account, name).map(|()| false)
    }

    /// As [`Storage::drop_unfinished_stream`], of a consumer: one that was given messages stays, and one that only begins
    /// is kept aside.
    pub(super) fn drop_unfinished_consumer(
        &self,
        account: &str,
        stream: &str,
        name: &str,
        problem: &str,
    ) -> Result<bool, StoreError> {
        let dir = self.consumer_dir(account, stream, name);
        let key = format!("{stream}/{name}");
        let files = self.meta_files(account, &dir, &key);
        if files.directory_key().locked().is_some() {
            return Ok(true);
        }
        if let Ok(Some(state)) = self.read_state(&files.directory_key())? {
            if state.delivered.consumer_seq > 0 {
                return Ok(true);
            }
            let kept = self.move_aside(&dir, &self.stream_dir(account, stream).join(QUARANTINE), name)?;
            tracing::warn!(
                "consumer '{name}' of stream '{stream}' was new when the power failed: {problem}; it is kept in {}",
                kept.display()
            );
            return Ok(false);
        }
        tracing::info!(
            "consumer '{name}' of stream '{stream}' was new when the power failed, and is removed"
        );
        self.discard_consumer(account, stream, name)?.map_or(Ok(()), super::Rubbish::remove)?;
        Ok(false)
    }
}

/// Whether a file is a block from which a message can be read.
fn has_messages(files: &StreamFiles, name: &str) -> bool {
    let Some(index) = block_index(name) else { return false };
    let Ok(Some(found)) = content(files, index) else { return false };
    let key = ChecksumKey::block(&files.name, index);
    Scan::new(&found.bytes, key)
        .any(|found| matches!(found, Found::Record(_, record) if record.kind == Kind::Message))
}
