//! What a stream's files hold, kept in memory and put into another directory as it was. Tables and index are shared with the
//! store that they come from, and with those that they go to, until one of them changes.

use super::block::Block;
use super::meta::{MetaFiles, put, write};
use super::meta_sync::{MetaGate, NEW};
use super::state_file::CONSUMER_STATE;
use super::storage::Storage;
use super::table::{RecordTable, TableImage};
use super::{FileOptions, FileStore};
use crate::store::file::files::io_error;
use crate::store::index::{IndexImage, SubjectIndex};
use crate::store::{ConsumerState, Derived, Known, StoreError, StoreState};
use std::path::Path;
use std::sync::Arc;

/// A store as it was at some moment.
#[derive(Debug)]
pub(crate) struct FileImage {
    blocks: Vec<BlockImage>,
    index: IndexImage,
    totals: StoreState,
    expiries: Vec<(u64, i64)>,
    known: Known,
}

#[derive(Debug)]
struct BlockImage {
    /// Without its table.
    block: Block,
    table: TableImage,
    file: Vec<u8>,
}

/// A consumer that comes with its stream.
pub(crate) struct ConsumerImage<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its metadata.
    pub(crate) meta: Vec<u8>,
    /// What it has to remember.
    pub(crate) state: ConsumerState,
}

impl FileImage {
    /// Bytes that it takes, about.
    pub(crate) fn size_bytes(&self) -> u64 {
        let block = |block: &BlockImage| block.file.len() as u64 + block.table.size_bytes();
        self.index.size_bytes() + self.blocks.iter().map(block).sum::<u64>()
    }

    fn write(&self, storage: &Storage, msgs_dir: &Path) -> Result<(), StoreError> {
        for BlockImage { block, file, .. } in &self.blocks {
            storage.put(&msgs_dir.join(format!("{}.blk", block.index)), file)?;
        }
        Ok(())
    }
}

impl FileStore {
    /// What the store holds, all of which was written; `None` where not all of it can be read, or it is encrypted, with what
    /// belongs to its directory alone.
    ///
    /// # Errors
    /// I/O.
    pub(super) fn take_image(&mut self, derived: Derived) -> Result<Option<FileImage>, StoreError> {
        if self.files.is_encrypted() || !self.is_settled() {
            return Ok(None);
        }
        let most = self.most_per_subject();
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in &mut self.blocks {
            let path = self.files.block_path(block.index);
            let file =
                self.files.disk.read(&path).map_err(|error| io_error("could not read", &path, error))?;
            blocks.push(BlockImage { block: block.without_table(), table: block.table.image(), file });
        }
        let mut expiries = derived.expiries.unwrap_or_default();
        expiries.retain(|(seq, _)| self.place(*seq).is_some());
        expiries.sort_unstable();
        let (ids_from, ids_window_ns) = derived.ids_from.unzip();
        Ok(Some(FileImage {
            blocks,
            index: self.index.image(),
            totals: self.totals,
            expiries,
            known: Known { ids_from, ids_window_ns, most_per_subject: Some(most) },
        }))
    }
}

impl Storage {
    /// Creates a stream that holds what an image shows, with its consumers, and opens it. There must be none of that name.
    /// It appears whole. Where states of consumers are made durable as they are written, it is so before it appears; else
    /// messages and metadata become so as those of any other new stream do.
    ///
    /// # Errors
    /// I/O; nothing is left behind.
    pub(crate) fn create_from(
        &self,
        (account, name): (&str, &str),
        meta: &[u8],
        options: FileOptions,
        image: &FileImage,
        consumers: &[ConsumerImage<'_>],
    ) -> Result<FileStore, StoreError> {
        self.make_stream(account, name, |dir| {
            self.put_meta(&self.meta_files(account, dir, name), meta)?;
            image.write(self, &dir.join("msgs"))?;
            consumers.iter().try_for_each(|consumer| self.put_consumer((account, name), dir, consumer))?;
            ["msgs", "obs", ""].iter().try_for_each(|part| self.put_dir(&dir.join(part)))
        })?;
        for consumer in consumers {
            self.note_new_consumer(account, name, consumer.name);
        }
        let dir = self.stream_dir(account, name);
        let gate = MetaGate::new(&self.syncs, dir.clone(), !self.sync);
        let files = self.stream_files(account, name, dir)?;
        let blocks = image.blocks.iter().map(|BlockImage { block, table, .. }| Block {
            table: RecordTable::of(table),
            ..block.without_table()
        });
        let index = SubjectIndex::of(&image.index);
        let blocks = blocks.collect();
        let bare = FileStore::bare(files, self.laid_out(options), blocks, index, image.totals);
        let mut store = FileStore {
            expiries: image.expiries.clone(),
            known: (image.known, image.totals.last_seq),
            gate: Some(Arc::new(gate)),
            ..bare
        };
        store.durability.unsynced = store.blocks.iter().map(|block| (block.index, 0)).collect();
        store.durability.dir_unsynced = true;
        store.keep_all();
        Ok(store)
    }

    /// Writes a consumer into the directory of a stream that nobody reads yet.
    fn put_consumer(
        &self,
        (account, stream): (&str, &str),
        dir: &Path,
        consumer: &ConsumerImage<'_>,
    ) -> Result<(), StoreError> {
        let dir = dir.join("obs").join(consumer.name);
        self.make_dir(&dir)?;
        write(&*self.disk, &dir.join(NEW), b"")?;
        let key = format!("{stream}/{}", consumer.name);
        let files = self.meta_files(account, &dir, &key);
        self.put_meta(&files, &consumer.meta)?;
        let state = self.sealed_state(&files, &consumer.state)?;
        self.put(&dir.join(CONSUMER_STATE), &state)?;
        self.put_dir(&dir)
    }

    /// Writes a file, durably where that is to be waited for.
    fn put(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        if self.sync { put(&*self.disk, path, content) } else { write(&*self.disk, path, content).map(drop) }
    }

    /// Makes the entries of a directory durable where that is to be waited for.
    fn put_dir(&self, dir: &Path) -> Result<(), StoreError> {
        if self.sync { self.sync_dir(dir) } else { Ok(()) }
    }

    fn put_meta(&self, files: &MetaFiles<'_>, meta: &[u8]) -> Result<(), StoreError> {
        if self.sync { files.create_durably(meta) } else { files.create(meta) }
    }
}
