//! What of the metadata is not durable yet, and the syncs that make it so.
//!
//! Whoever changes metadata under a lock changes names only, notes here what has to be synced for that to last, and
//! leaves the syncs to somebody who holds no lock. All that waits shares them: a directory in which many things
//! changed is synced once.

use super::files::io_error;
use super::meta::put;
use crate::disk::Disk;
use crate::store::StoreError;
use crate::store::sync_work::Before;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stands in a stream's or consumer's directory until all that it began with is durable. Where it stands and the
/// metadata cannot be read, the power failed before that.
pub(super) const NEW: &str = "meta.new";

/// What became of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// It came, with a mark in it.
    New,
    /// Something in it took the place of something else.
    Changed,
    /// It went.
    Gone,
}

/// A change that is not durable.
pub(super) struct Change {
    /// The directory of the stream or consumer.
    pub(super) dir: PathBuf,
    pub(super) became: Became,
    /// Files and directories to sync. Those that are not there any more need none.
    pub(super) files: Vec<PathBuf>,
    pub(super) dirs: Vec<PathBuf>,
    /// Whether a sync failed, so that the operating system may have dropped what it held.
    failed: AtomicBool,
}

/// The changes of a store directory that are not durable.
pub(super) struct MetaSyncs {
    disk: Arc<dyn Disk>,
    waiting: Mutex<Vec<Arc<Change>>>,
    /// Held while syncs run.
    running: Mutex<()>,
    /// Whether somebody was asked to run them.
    asked: AtomicBool,
    /// Directories whose own entries, and those of all above, were made durable.
    durable: Mutex<HashSet<PathBuf>>,
}

type Outcome = Result<(), (io::ErrorKind, String)>;

impl MetaSyncs {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        let (waiting, running, asked, durable) = Default::default();
        Self { disk, waiting, running, asked, durable }
    }

    /// Notes a change that was made.
    pub(super) fn note(&self, dir: PathBuf, became: Became, files: Vec<PathBuf>, dirs: Vec<PathBuf>) {
        let change = Change { dir, became, files, dirs, failed: AtomicBool::new(false) };
        self.waiting.lock().push(Arc::new(change));
    }

    /// Forgets what waits of a directory that is about to go, with all in it. It is given back where that fails.
    pub(super) fn forget(&self, dir: &Path) -> Vec<Arc<Change>> {
        // What takes its name after it has an entry of its own.
        self.durable.lock().retain(|known| !known.starts_with(dir));
        let goes = |change: &mut Arc<Change>| change.became != Became::Gone && change.dir.starts_with(dir);
        self.waiting.lock().extract_if(.., goes).collect()
    }

    pub(super) fn take_back(&self, changes: Vec<Arc<Change>>) {
        self.waiting.lock().extend(changes);
    }

    /// Whether the entry of a directory, and of those above it, is known to be durable.
    pub(super) fn is_durable(&self, dir: &Path) -> bool {
        self.durable.lock().contains(dir)
    }

    /// Whether somebody has to be asked to run [`MetaSyncs::run`].
    pub(super) fn ask(&self) -> bool {
        !self.waiting.lock().is_empty() && !self.asked.swap(true, Ordering::SeqCst)
    }

    /// Makes all durable that waits.
    pub(super) fn run(&self) -> Result<(), StoreError> {
        self.asked.store(false, Ordering::SeqCst);
        self.finish(|_| true)
    }

    /// Whether what began in a directory is not durable.
    pub(super) fn is_new(&self, dir: &Path) -> bool {
        self.waiting.lock().iter().any(|change| change.became == Became::New && change.dir == dir)
    }

    /// Whether a change waits that concerns the caller.
    pub(super) fn awaits(&self, concerns: impl Fn(&Path) -> bool) -> bool {
        self.waiting.lock().iter().any(|change| concerns(&change.dir))
    }

    /// Returns when the changes that concern the caller are durable. Others that wait become so, too.
    ///
    /// # Errors
    /// I/O; what failed goes on waiting, and is tried again with the next sync.
    pub(super) fn finish(&self, concerns: impl Fn(&Path) -> bool) -> Result<(), StoreError> {
        if !self.awaits(&concerns) {
            return Ok(());
        }
        let _running = self.running.lock();
        if !self.awaits(&concerns) {
            return Ok(());
        }
        let batch: Vec<Arc<Change>> = self.waiting.lock().clone();
        let mut dirs = HashMap::new();
        let mut result = Ok(());
        for change in &batch {
            let mut outcome = change.files.iter().try_for_each(|file| self.sync_file(change, file));
            // Directories later: those that many wait for hold all of it then.
            change.failed.store(outcome.is_err(), Ordering::Relaxed);
            if outcome.is_ok() {
                dirs.extend(change.dirs.iter().map(|dir| (dir.as_path(), Ok(()))));
            }
            if outcome.is_err() && concerns(&change.dir) && result.is_ok() {
                std::mem::swap(&mut result, &mut outcome);
            }
        }
        for (dir, outcome) in &mut dirs {
            *outcome = self.sync_dir(dir);
        }
        for change in batch.iter().filter(|change| !change.failed.load(Ordering::Relaxed)) {
            match change.dirs.iter().find_map(|dir| Some((dir, dirs.get(dir.as_path())?.as_ref().err()?))) {
                None => self.is_finished(change),
                Some((dir, (kind, text))) if concerns(&change.dir) && result.is_ok() => {
                    result = Err(io_error("could not sync", dir, io::Error::new(*kind, text.clone())));
                }
                Some(_) => {}
            }
        }
        result
    }

    fn sync_file(&self, change: &Change, path: &Path) -> Result<(), StoreError> {
        let again = change.failed.load(Ordering::Relaxed) && path.extension().is_some_and(|ext| ext != "dat");
        let synced = match again.then(|| self.disk.read(path)) {
            None => self.disk.open(path, false).and_then(|file| file.sync()),
            Some(Ok(content)) => return put(&*self.disk, path, &content),
            Some(Err(error)) => Err(error),
        };
        match synced {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|error| io_error("could not sync", path, error)),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Outcome {
        match self.disk.sync_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|error| (error.kind(), error.to_string())),
        }
    }

    fn is_finished(&self, change: &Arc<Change>) {
        let mut waiting = self.waiting.lock();
        let Some(at) = waiting.iter().position(|known| Arc::ptr_eq(known, change)) else { return };
        waiting.swap_remove(at);
        if change.became == Became::New {
            // Under the lock: no other directory has the name now. A mark that stays is removed at the next start.
            let _ = self.disk.remove_file(&change.dir.join(NEW));
            // Those of a stream that is the first of its account lead up to the root.
            if let [_, parent, _, ..] = change.dirs.as_slice() {
                self.durable.lock().insert(parent.clone());
            }
        }
    }
}

/// What has to be durable before anything in a stream's directory is believed to be.
pub(super) struct MetaGate {
    syncs: Arc<MetaSyncs>,
    dir: PathBuf,
    /// Whether its consumers count, too.
    with_consumers: bool,
}

impl MetaGate {
    pub(super) fn new(syncs: &Arc<MetaSyncs>, dir: PathBuf, with_consumers: bool) -> Self {
        Self { syncs: Arc::clone(syncs), dir, with_consumers }
    }

    fn concerns(&self, dir: &Path) -> bool {
        if self.with_consumers { dir.starts_with(&self.dir) } else { dir == self.dir }
    }

    /// Whether something is not durable.
    pub(super) fn is_closed(&self) -> bool {
        self.syncs.awaits(|dir| self.concerns(dir))
    }
}

impl Before for MetaGate {
    fn run(&self) -> Result<(), StoreError> {
        self.syncs.finish(|dir| self.concerns(dir))
    }
}
