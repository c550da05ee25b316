//! Encrypting what is not encrypted as configured. Each step can be the last: the next start goes on from there.
//!
//! A block and its key change as two files. `N.key.next` and `N.blk.next` are made durable beside them; from the rename of
//! the first on the second is what the block holds. Where only the second is left, it takes its place; where the first is,
//! nothing has changed yet.

use super::blocks::{context, key_file};
use super::directory::{DirectoryKey, Frame, KEY, NEW_KEY};
use super::{AccountKeys, AssetKey};
use crate::disk::DirEntry;
use crate::store::StoreError;
use crate::store::file::compress;
use crate::store::file::files::{StreamFiles, io_error};
use crate::store::file::meta::{MetaFiles, put};
use crate::store::file::picture::{self, block_index};
use crate::store::file::record::ChecksumKey;
use crate::store::file::scan::{Found, Scan};
use jetkv_go_compat::os_text;
use std::io;
use std::path::{Path, PathBuf};

const NEXT_KEY: &str = ".key.next";
const NEXT_BLOCK: &str = ".blk.next";

impl MetaFiles<'_> {
    /// Encrypts metadata, and `others` that are encrypted with the same key, with the configured one.
    pub(in crate::store::file) fn protect(
        &self,
        meta: &[u8],
        others: &[(PathBuf, Frame<'_>)],
    ) -> Result<(), StoreError> {
        let directory = self.directory_key();
        let Some(keys) = &self.keys else { return Ok(()) };
        let key = directory.load_or_create_new(keys)?;
        self.sync_dir()?;
        self.replace_with(&sealed(&directory, &key, meta)?)?;
        for (path, frame) in others {
            self.protect_file(&directory, &key, path, *frame)?;
        }
        self.sync_dir()?;
        self.put_in_place(NEW_KEY, KEY)?;
        self.sync_dir()
    }

    fn protect_file(
        &self,
        directory: &DirectoryKey<'_>,
        key: &AssetKey,
        path: &Path,
        frame: Frame<'_>,
    ) -> Result<(), StoreError> {
        let file = match self.disk.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| io_error("could not read", path, error))?,
        };
        // What is damaged stays as it is, and is found out by who reads it.
        if file.is_empty() || frame.unseal(key, &file).is_some() {
            return Ok(());
        }
        let Some(plain) = directory.read(file, frame) else { return Ok(()) };
        let replaced = frame.seal(key, &plain).and_then(|sealed| self.disk.replace(path, &sealed, true));
        replaced.map_err(|error| io_error("could not encrypt", path, error))
    }
}

fn sealed(directory: &DirectoryKey<'_>, key: &AssetKey, meta: &[u8]) -> Result<Vec<u8>, StoreError> {
    key.seal(meta).map_err(|error| io_error("could not encrypt the metadata in", directory.dir, error))
}

/// Brings the blocks of a stream to where each is encrypted as configured. One whose key cannot be read is kept aside.
pub(in crate::store::file) fn convert_blocks(
    files: &StreamFiles,
    keys: &AccountKeys,
) -> Result<(), StoreError> {
    let mut blocks = Blocks { files, keys, entries: Vec::new() };
    blocks.list()?;
    blocks.finish_interrupted()?;
    let mut indexes: Vec<u32> = blocks.files_of(block_index).collect();
    indexes.sort_unstable();
    let mut changed = false;
    for index in &indexes {
        changed |= blocks.convert(*index)?;
    }
    blocks.remove_orphans(&indexes);
    if changed {
        blocks.sync_dir()?;
    }
    Ok(())
}

struct Blocks<'a> {
    files: &'a StreamFiles,
    keys: &'a AccountKeys,
    /// What is in the directory of the blocks.
    entries: Vec<DirEntry>,
}

impl Blocks<'_> {
    fn list(&mut self) -> Result<(), StoreError> {
        let dir = &self.files.msgs_dir;
        self.entries = self.files.disk.list(dir).map_err(|error| io_error("could not list", dir, error))?;
        Ok(())
    }

    fn files_of<'n, T>(&'n self, known: impl Fn(&str) -> Option<T> + 'n) -> impl Iterator<Item = T> + 'n {
        self.entries.iter().filter(|entry| !entry.is_dir).filter_map(move |entry| known(&entry.name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.msgs_dir.join(name)
    }

    fn sync_dir(&self) -> Result<(), StoreError> {
        let dir = &self.files.msgs_dir;
        self.files.disk.sync_dir(dir).map_err(|error| io_error("could not sync", dir, error))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match self.files.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("could not remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let renamed = self.files.disk.rename(&self.path(from), &self.path(to));
        renamed.map_err(|error| io_error("could not replace", &self.path(to), error))
    }

    /// Brings conversions that were interrupted to their end, or takes them back.
    fn finish_interrupted(&mut self) -> Result<(), StoreError> {
        let next =
            |name: &str, suffix: &str| name.strip_suffix(suffix).and_then(|number| number.parse().ok());
        let keys: Vec<u32> = self.files_of(|name| next(name, NEXT_KEY)).collect();
        let blocks: Vec<u32> = self.files_of(|name| next(name, NEXT_BLOCK)).collect();
        if keys.is_empty() && blocks.is_empty() {
            return Ok(());
        }
        for index in &keys {
            // In this order: without the key the block would take its place.
            self.remove(&format!("{index}{NEXT_BLOCK}"))?;
            self.sync_dir()?;
            self.remove(&format!("{index}{NEXT_KEY}"))?;
        }
        for index in blocks.iter().filter(|index| !keys.contains(index)) {
            self.rename(&format!("{index}{NEXT_BLOCK}"), &format!("{index}.blk"))?;
        }
        self.sync_dir()?;
        self.list()
    }

    /// Says whether something has changed.
    fn convert(&self, index: u32) -> Result<bool, StoreError> {
        let (disk, context) = (&self.files.disk, context(&self.files.name, index));
        let path = key_file(&self.files.msgs_dir, index);
        let old = match disk.read(&path) {
            Ok(wrapped) => match self.keys.open(&context, &wrapped) {
                Ok((_, true)) => return Ok(false),
                Ok((key, false)) => Some(key),
                Err(_) => return self.put_aside(index, "is encrypted with a key that is not known"),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("could not read", &path, error)),
        };
        let path = self.files.block_path(index);
        let failed = |error| io_error("could not encrypt", &path, error);
        let mut content = disk.read(&path).map_err(failed)?;
        match old {
            Some(old) => old.apply_at(0, &mut content).map_err(failed)?,
            None if !self.is_plain(index, &content) => {
                return self.put_aside(index, "has lost the key that it is encrypted with");
            }
            None => {}
        }
        let (key, wrapped) = self.keys.create(&context).map_err(failed)?;
        key.apply_at(0, &mut content).map_err(failed)?;
        let (next_key, next_block) = (format!("{index}{NEXT_KEY}"), format!("{index}{NEXT_BLOCK}"));
        // It may tell plainly what the blocks hold, and is made anew.
        self.remove(picture::FILE)?;
        put(&**disk, &self.path(&next_key), &wrapped)?;
        self.sync_dir()?;
        put(&**disk, &self.path(&next_block), &content)?;
        self.sync_dir()?;
        self.rename(&next_key, &format!("{index}.key"))?;
        self.sync_dir()?;
        self.rename(&next_block, &format!("{index}.blk"))?;
        Ok(true)
    }

    /// Whether a block without a key can be read as it is.
    fn is_plain(&self, index: u32, content: &[u8]) -> bool {
        let is_record = |found| matches!(found, Found::Record(..));
        content.is_empty()
            || compress::is_compressed(content)
            || Scan::new(content, ChecksumKey::block(&self.files.name, index)).any(is_record)
    }

    /// Keeps a block that cannot be decrypted in `quarantine`, with its key: another time it may be known.
    fn put_aside(&self, index: u32, problem: &str) -> Result<bool, StoreError> {
        let (disk, dir) = (&self.files.disk, self.files.dir.join("quarantine"));
        let block = self.files.block_path(index);
        tracing::error!(
            stream = self.files.name,
            block = index,
            offset = 0,
            "{} {problem}: what the block held is lost, it is put into {}",
            block.display(),
            dir.display()
        );
        let attempt = || {
            disk.create_dir_all(&dir)?;
            let taken = disk.list(&dir)?;
            let mut copy = 1_u32;
            while taken.iter().any(|entry| entry.name == format!("{index}.blk.{copy}")) {
                copy += 1;
            }
            let key = key_file(&self.files.msgs_dir, index);
            // The key goes last: a block without one would be taken for plain.
            match disk.read(&key) {
                Ok(wrapped) => disk.replace(&dir.join(format!("{index}.key.{copy}")), &wrapped, true)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            disk.rename(&block, &dir.join(format!("{index}.blk.{copy}")))?;
            disk.sync_dir(&dir)
        };
        attempt().map_err(|error| io_error("could not put aside", &block, error)).map(|()| true)
    }

    /// Removes keys of blocks that are not there. It does no harm where that fails.
    fn remove_orphans(&self, indexes: &[u32]) {
        let key_index = |name: &str| name.strip_suffix(".key").and_then(|number| number.parse::<u32>().ok());
        for index in self.files_of(key_index).filter(|index| indexes.binary_search(index).is_err()) {
            if let Err(error) = self.files.disk.remove_file(&key_file(&self.files.msgs_dir, index)) {
                tracing::warn!(
                    stream = self.files.name,
                    "the key of block {index}, which is gone, stays: {}",
                    os_text(&error)
                );
            }
        }
    }
}
