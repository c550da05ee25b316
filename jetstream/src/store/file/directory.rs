//! What is in a stream's directory beside the records of its blocks, and what is of no use there.
#![warn(clippy::indexing_slicing)]

use super::encryption::Frame;
use super::files::{StreamFiles, io_error};
use super::index_db::{self, IndexDb};
use super::old_index::is_old_file;
use super::picture::block_index;
use super::record::ChecksumKey;
use crate::disk::DirEntry;
use crate::store::StoreError;
use jetkv_go_compat::os_text;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Files from which nats-server would take timers that later changes made wrong; it makes them anew from the blocks.
const DERIVED_FILES: [&str; 2] = ["thw.db", "sched.db"];

/// Files beside the blocks that are of no use any more.
pub(super) struct Leftovers {
    /// Right until the first change.
    pub(super) outdated: Vec<PathBuf>,
    /// Of rewrites that did not come to their end.
    pub(super) unfinished: Vec<PathBuf>,
    /// Of servers before 2.10.
    pub(super) old_files: Vec<PathBuf>,
}

pub(super) fn named(entries: &[DirEntry], name: &str) -> Option<PathBuf> {
    entries.iter().find(|entry| entry.name == name).map(|entry| entry.path.clone())
}

pub(super) fn leftovers(entries: &[DirEntry]) -> Leftovers {
    let paths = |wanted: &dyn Fn(&str) -> bool| {
        entries.iter().filter(|entry| wanted(&entry.name)).map(|entry| entry.path.clone()).collect()
    };
    Leftovers {
        outdated: paths(&|name| DERIVED_FILES.contains(&name)),
        unfinished: paths(&|name| [".blk.tmp", ".key.tmp", ".new"].iter().any(|end| name.ends_with(end))),
        old_files: paths(&is_old_file),
    }
}

/// The sizes of the files of blocks, by number. A directory in a block's place is put aside.
pub(super) fn block_sizes(files: &StreamFiles, entries: &[DirEntry]) -> BTreeMap<u32, u64> {
    let mut sizes = BTreeMap::new();
    for entry in entries {
        let Some(index) = block_index(&entry.name) else { continue };
        if !entry.is_dir {
            sizes.insert(index, entry.size_bytes);
        } else if let Err(error) = files.put_aside(index) {
            tracing::error!(
                stream = files.name,
                block = index,
                "could not put it aside: {}",
                os_text(&error)
            );
        }
    }
    sizes
}

pub(super) fn read_index_db(files: &StreamFiles, entries: &[DirEntry]) -> Option<IndexDb> {
    let entry = entries.iter().find(|entry| entry.name == index_db::FILE)?;
    let index = files.disk.read(&entry.path).ok().and_then(|file| {
        let key = ChecksumKey::name(&files.name);
        IndexDb::decode(&files.unsealed(file, Frame::Summed(&key)), &key)
    });
    if index.is_none() {
        tracing::warn!(stream = files.name, "{} is damaged, its content is found anew", entry.path.display());
    }
    index
}

/// Completes, or takes back, a purge in which nats-server was interrupted: it moves the block with the last sequence
/// to `__new_msgs__`, the rest to `__msgs__`, and the former back.
pub(super) fn finish_purge(files: &StreamFiles) -> Result<(), StoreError> {
    let new_dir = files.dir.join("__new_msgs__");
    let old_dir = files.dir.join("__msgs__");
    let attempt = || -> io::Result<()> {
        let moved = files.disk.list(&new_dir)?;
        if moved.iter().any(|entry| block_index(&entry.name).is_some()) {
            files.disk.remove_dir_all(&files.msgs_dir)?;
            files.disk.rename(&new_dir, &files.msgs_dir)?;
        } else {
            files.disk.remove_dir_all(&new_dir)?;
        }
        files.disk.remove_dir_all(&old_dir)
    };
    attempt().map_err(|error| io_error("could not complete the purge in", &files.dir, error))
}
