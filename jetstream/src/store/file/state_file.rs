//! The state of a consumer on disk, which may be written while its stream is used for other things.

use super::encryption::{AccountKeys, AssetKey, DirectoryKey};
use super::files::io_error;
use super::meta::put;
use crate::disk::Disk;
use crate::store::StoreError;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The name of the file in the consumer's directory.
pub(super) const CONSUMER_STATE: &str = "o.dat";

/// Where a consumer's state is kept. Whoever holds the consumer's stream writes to it, and so do syncs that run
/// without it: the newest state wins, whoever comes last, and none comes after the consumer has gone.
pub(crate) struct StateFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// What it is encrypted with, if it is.
    sealing: Option<Sealing>,
    kept: Mutex<Kept>,
}

/// How a state is encrypted.
struct Sealing {
    /// `stream/consumer`.
    name: String,
    keys: AccountKeys,
    /// The key of the directory, once it was read.
    key: OnceLock<AssetKey>,
}

#[derive(Default)]
struct Kept {
    /// The number of the newest state that was begun, and of the one that is kept.
    begun: u64,
    written: u64,
    gone: bool,
}

/// A state that waits to be kept. Running it takes no lock of a stream.
#[must_use]
pub struct StateSave {
    file: Arc<StateFile>,
    number: u64,
    content: Vec<u8>,
}

impl StateFile {
    /// `keys` are those of the account, where consumers are encrypted; `name` is `stream/consumer`.
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, name: String, keys: Option<AccountKeys>) -> Self {
        let sealing = keys.map(|keys| Sealing { name, keys, key: OnceLock::new() });
        Self { disk, dir, sealing, kept: Mutex::default() }
    }

    /// A state as it is on disk.
    fn sealed<'c>(&self, content: &'c [u8]) -> Result<Cow<'c, [u8]>, StoreError> {
        let Some(Sealing { name, keys, key }) = &self.sealing else { return Ok(Cow::Borrowed(content)) };
        let key = match key.get() {
            Some(key) => key,
            None => {
                let directory = DirectoryKey { disk: &*self.disk, dir: &self.dir, name, keys: Some(keys) };
                // A consumer whose metadata was lost is encrypted with the next start.
                let Some(read) = directory.load()? else { return Ok(Cow::Borrowed(content)) };
                key.get_or_init(|| read)
            }
        };
        let sealed = key.seal(content);
        sealed.map(Cow::Owned).map_err(|error| io_error("could not encrypt the state in", &self.dir, error))
    }

    /// Replaces the state at once, synced where `sync` is set.
    pub(crate) fn write(&self, content: &[u8], sync: bool) -> Result<(), StoreError> {
        let mut kept = self.kept.lock();
        let path = self.dir.join(CONSUMER_STATE);
        let content = self.sealed(content)?;
        self.disk
            .replace(&path, &content, sync)
            .map_err(|error| io_error("could not write", &path, error))?;
        kept.begun += 1;
        kept.written = kept.begun;
        Ok(())
    }

    /// A newer state, to be written by [`StateSave::run`].
    pub(crate) fn begin(self: &Arc<Self>, content: Vec<u8>) -> StateSave {
        let mut kept = self.kept.lock();
        kept.begun += 1;
        StateSave { file: Arc::clone(self), number: kept.begun, content }
    }

    /// Makes a state durable beside that which it is to replace. No lock of a stream may be held.
    pub(crate) fn stage(self: &Arc<Self>, content: Vec<u8>) -> Result<StagedState, StoreError> {
        let number = self.begin(Vec::new()).number;
        let staged = StagedState { file: Arc::clone(self), beside: self.beside(number) };
        put(&*self.disk, &staged.beside, &self.sealed(&content)?)?;
        Ok(staged)
    }

    /// A name of its own for a state that is on its way: another may be, too.
    fn beside(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{CONSUMER_STATE}.{number}.tmp"))
    }

    /// From here on nothing is written, unless `gone` is taken back.
    pub(crate) fn set_gone(&self, gone: bool) {
        self.kept.lock().gone = gone;
    }
}

/// A state that is durable beside that which it is to replace. It goes again where it is not put in place.
pub struct StagedState {
    file: Arc<StateFile>,
    beside: PathBuf,
}

impl StagedState {
    /// Lets it take the place of whatever is there, and of what is on its way. That lasts once the directory is synced.
    ///
    /// # Errors
    /// I/O; nothing has changed.
    pub(crate) fn put_in_place(&self) -> Result<(), StoreError> {
        let Self { file, beside } = self;
        let mut kept = file.kept.lock();
        let path = file.dir.join(CONSUMER_STATE);
        file.disk.rename(beside, &path).map_err(|error| io_error("could not replace", &path, error))?;
        kept.begun += 1;
        kept.written = kept.begun;
        Ok(())
    }
}

impl Drop for StagedState {
    fn drop(&mut self) {
        // Put in place, mostly. What stays is removed at the next start.
        let _ = self.file.disk.remove_file(&self.beside);
    }
}

impl StateSave {
    /// Makes the state durable, unless a newer one is, or the consumer has gone.
    ///
    /// # Errors
    /// I/O; the state kept before is then still there.
    pub fn run(&self) -> Result<(), StoreError> {
        let Self { file, number, content } = self;
        let (disk, dir, beside) = (&*file.disk, file.dir.as_path(), file.beside(*number));
        let sealed = file.sealed(content);
        let written =
            sealed.and_then(|content| put(disk, &beside, &content)).and_then(|()| self.put_in_place(&beside));
        match written {
            Ok(true) => match disk.sync_dir(dir) {
                // The consumer has gone since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other.map_err(|error| io_error("could not sync", dir, error)),
            },
            Ok(false) => self.leave(&beside),
            Err(_) if file.kept.lock().gone => self.leave(&beside),
            Err(error) => {
                let _ = disk.remove_file(&beside);
                Err(error)
            }
        }
    }

    fn put_in_place(&self, beside: &Path) -> Result<bool, StoreError> {
        let file = &self.file;
        let mut kept = file.kept.lock();
        if kept.gone || kept.written > self.number {
            return Ok(false);
        }
        let path = file.dir.join(CONSUMER_STATE);
        file.disk.rename(beside, &path).map_err(|error| io_error("could not replace", &path, error))?;
        kept.written = self.number;
        Ok(true)
    }

    fn leave(&self, beside: &Path) -> Result<(), StoreError> {
        let _ = self.file.disk.remove_file(beside);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SimDisk;

    const DIR: &str = "/store/C";

    fn state_file() -> (SimDisk, Arc<StateFile>) {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new(DIR)).unwrap();
        let file = StateFile::new(Arc::new(disk.clone()), DIR.into(), String::new(), None);
        (disk, Arc::new(file))
    }

    fn names(disk: &SimDisk) -> Vec<String> {
        disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn the_newest_state_wins_whatever_the_order_of_the_writes() {
        let (disk, file) = state_file();
        let (first, second) = (file.begin(b"1".to_vec()), file.begin(b"2".to_vec()));
        second.run().unwrap();
        first.run().unwrap();
        let third = file.begin(b"3".to_vec());
        file.write(b"4", false).unwrap();
        third.run().unwrap();
        assert_eq!(disk.read(&Path::new(DIR).join(CONSUMER_STATE)).unwrap(), b"4");
        assert_eq!(names(&disk), [CONSUMER_STATE]);
    }

    #[test]
    fn a_staged_state_supersedes_what_was_begun_while_it_was_on_its_way() {
        let (disk, file) = state_file();
        let staged = file.stage(b"staged".to_vec()).unwrap();
        let (run, late) = (file.begin(b"1".to_vec()), file.begin(b"2".to_vec()));
        run.run().unwrap();
        staged.put_in_place().unwrap();
        drop(staged);
        late.run().unwrap();
        assert_eq!(disk.read(&Path::new(DIR).join(CONSUMER_STATE)).unwrap(), b"staged");
        drop(file.stage(b"not put in place".to_vec()).unwrap());
        assert_eq!(names(&disk), [CONSUMER_STATE]);
    }

    #[test]
    fn a_state_does_not_reach_the_next_consumer_of_the_name() {
        let (disk, file) = state_file();
        let late = file.begin(b"old".to_vec());
        file.set_gone(true);
        late.run().unwrap();
        assert!(names(&disk).is_empty());
        disk.remove_dir_all(Path::new(DIR)).unwrap();
        file.begin(b"old".to_vec()).run().unwrap();
    }

    #[test]
    fn what_was_written_survives_a_power_failure() {
        for seed in 0..20 {
            let (disk, file) = state_file();
            file.begin(b"old".to_vec()).run().unwrap();
            file.begin(b"new".to_vec()).run().unwrap();
            let disk = disk.after_power_failure(seed);
            assert_eq!(disk.read(&Path::new(DIR).join(CONSUMER_STATE)).unwrap(), b"new");
        }
    }
}
