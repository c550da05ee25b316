//! A disk in memory that loses, tears, refuses and corrupts, by a seed.
//!
//! The medium is assumed to keep: the content of a file as of its last sync; the entries of directories as of the
//! last directory sync, followed by a prefix of what was done to them since, in order. Whatever was written to a
//! file since its last sync may be lost, or torn anywhere.

use jetkv_jetstream::disk::{DirEntry, Disk, DiskFile};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with EIO.
    Error,
    /// A write gets a part of the way and fails with ENOSPC.
    Full,
    /// A write gets a part of the way, and the process is dead: everything fails until [`SimDisk::restart`] or
    /// [`SimDisk::power_failure`].
    Stop,
}

/// A simulated disk; clones share it.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>, tear_at: Option<usize>) {
        match self {
            Self::SetLen(len) => content.resize(*len, 0),
            Self::Write(offset, data) => {
                let data = data.get(..tear_at.unwrap_or(data.len())).unwrap_or(data);
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                if let Some(target) = content.get_mut(*offset..end) {
                    target.copy_from_slice(data);
                }
            }
        }
    }
}

#[derive(Debug, Default, Clone)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// The operation that changed it last.
    modified: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Dir,
    File(usize),
}

type Names = BTreeMap<PathBuf, Entry>;

#[derive(Debug, Clone)]
enum NameChange {
    Link(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            Self::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
            Self::Rename(from, to) => {
                let moved: Vec<_> = names.iter().filter(|(name, _)| name.starts_with(from)).collect();
                let moved: Vec<_> = moved
                    .into_iter()
                    .map(|(name, entry)| {
                        (name.clone(), to.join(name.strip_prefix(from).unwrap_or(name)), *entry)
                    })
                    .collect();
                names.retain(|name, _| !name.starts_with(from) && !name.starts_with(to));
                for (_, name, entry) in moved {
                    // Joining an empty path leaves a slash at the end.
                    names.insert(name.components().collect(), entry);
                }
            }
        }
    }
}

#[derive(Clone)]
struct World {
    inodes: Vec<Inode>,
    names: Names,
    durable_names: Names,
    name_changes: Vec<NameChange>,
    rng: SmallRng,
    /// Changing operations so far.
    operations: u64,
    /// How many of them were syncs.
    syncs: u64,
    /// How often a file was opened.
    opens: u64,
    /// Faults begin at this operation and strike this many.
    plan: Option<(u64, u64, Fault)>,
    /// How many reads still succeed before one fails with EIO.
    reads_left: Option<u64>,
    dead: bool,
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl World {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(dead()) } else { Ok(()) }
    }

    fn begin_read(&mut self) -> io::Result<()> {
        self.alive()?;
        self.reads_left = match self.reads_left {
            Some(0) => {
                self.reads_left = None;
                return Err(io::Error::other("simulated EIO of a read"));
            }
            left => left.map(|left| left - 1),
        };
        Ok(())
    }

    /// Counts a changing operation; says whether it is struck.
    fn strike(&mut self) -> io::Result<Option<Fault>> {
        self.alive()?;
        self.operations += 1;
        let Some((first, count, fault)) = self.plan else { return Ok(None) };
        if !(first..first.saturating_add(count)).contains(&self.operations) {
            return Ok(None);
        }
        self.dead = fault == Fault::Stop;
        Ok(Some(fault))
    }

    /// As [`World::strike`], for operations that are done in full or not at all.
    fn change(&mut self) -> io::Result<()> {
        match self.strike()? {
            None => Ok(()),
            Some(Fault::Error) => Err(io::Error::other("simulated I/O error")),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Stop) => Err(dead()),
        }
    }

    fn rename_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Entry::File(inode)) => Ok(*inode),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&mut self, inode: usize, change: Change) -> io::Result<()> {
        let struck = self.strike()?;
        let tear_at = match (&struck, &change) {
            (Some(Fault::Full | Fault::Stop), Change::Write(_, data)) => {
                Some(self.rng.random_range(0..=data.len()))
            }
            (Some(_), _) => Some(0),
            (None, _) => None,
        };
        let change = match (change, tear_at) {
            (Change::Write(offset, mut data), Some(len)) => {
                data.truncate(len);
                Change::Write(offset, data)
            }
            (change, _) => change,
        };
        let operations = self.operations;
        let inode = self.inodes.get_mut(inode).ok_or(io::ErrorKind::NotFound)?;
        inode.modified = operations;
        if struck.is_none() || matches!(change, Change::Write(..)) {
            change.apply(&mut inode.content, None);
            inode.unsynced.push(change);
        }
        match struck {
            None => Ok(()),
            Some(Fault::Error) => Err(io::Error::other("simulated I/O error")),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Stop) => Err(dead()),
        }
    }

    fn open(&mut self, path: &Path, create: bool) -> io::Result<usize> {
        self.alive()?;
        match self.file(path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        if path.parent().is_some_and(|dir| self.names.get(dir) != Some(&Entry::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change()?;
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.rename_names(NameChange::Link(path.to_owned(), Entry::File(inode)));
        Ok(inode)
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        self.change()?;
        self.syncs += 1;
        let inode = self.inodes.get_mut(inode).ok_or(io::ErrorKind::NotFound)?;
        inode.durable.clone_from(&inode.content);
        inode.unsynced.clear();
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.change()?;
        self.syncs += 1;
        self.durable_names.clone_from(&self.names);
        self.name_changes.clear();
        Ok(())
    }

    fn lose(&mut self) {
        let kept = self.rng.random_range(0..=self.name_changes.len());
        let mut names = std::mem::take(&mut self.durable_names);
        for change in self.name_changes.drain(..).take(kept) {
            change.apply(&mut names);
        }
        self.durable_names.clone_from(&names);
        self.names = names;
        for inode in &mut self.inodes {
            let mut content = std::mem::take(&mut inode.durable);
            for change in inode.unsynced.drain(..) {
                match (self.rng.random_range(0..4), &change) {
                    (0, _) => break,
                    (1, Change::Write(_, data)) => {
                        let tear_at = self.rng.random_range(0..=data.len());
                        change.apply(&mut content, Some(tear_at));
                        break;
                    }
                    _ => change.apply(&mut content, None),
                }
            }
            if inode.content != content {
                inode.modified = self.operations;
            }
            inode.durable.clone_from(&content);
            inode.content = content;
        }
    }
}

impl SimDisk {
    /// An empty disk whose accidents follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            inodes: Vec::new(),
            names: Names::new(),
            durable_names: Names::new(),
            name_changes: Vec::new(),
            rng: SmallRng::seed_from_u64(seed),
            operations: 0,
            syncs: 0,
            opens: 0,
            plan: None,
            reads_left: None,
            dead: false,
        })))
    }

    /// Changing operations so far: writes, syncs, and changes of names.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Files and directories synced so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// How often a file was opened so far, apart from those that were read or written as a whole.
    #[must_use]
    pub fn opens(&self) -> u64 {
        self.0.lock().opens
    }

    /// Lets `count` changing operations fail after `after` more have succeeded.
    pub fn fail_after(&self, after: u64, count: u64, fault: Fault) {
        let mut world = self.0.lock();
        world.plan = Some((world.operations + 1 + after, count, fault));
    }

    /// Lets one read fail with EIO after `after` more have succeeded.
    pub fn fail_a_read_after(&self, after: u64) {
        self.0.lock().reads_left = Some(after);
    }

    /// Whether the read that was to fail has.
    #[must_use]
    pub fn has_failed_a_read(&self) -> bool {
        self.0.lock().reads_left.is_none()
    }

    /// Whether a [`Fault::Stop`] has struck.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.lock().dead
    }

    /// The process is started again on what the dead one left with the operating system; faults are over.
    pub fn restart(&self) {
        let mut world = self.0.lock();
        (world.dead, world.plan, world.reads_left) = (false, None, None);
    }

    /// The power fails: what was not synced is lost or torn. Faults are over.
    pub fn power_failure(&self) {
        self.restart();
        self.0.lock().lose();
    }

    /// Another disk with the same content, which goes its own way.
    #[must_use]
    pub fn clone_of(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().clone())))
    }

    /// Another disk, as this one would be found after a power failure now, with accidents that follow from `seed`.
    /// This one goes on.
    #[must_use]
    pub fn after_power_failure(&self, seed: u64) -> Self {
        let mut world = self.0.lock().clone();
        world.rng = SmallRng::seed_from_u64(seed);
        let copy = Self(Arc::new(Mutex::new(world)));
        copy.power_failure();
        copy
    }

    /// Copies a directory of the machine in, with everything below it.
    ///
    /// # Errors
    /// The directory cannot be read, or this disk fails.
    pub fn copy_in(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.copy_in(&entry.path(), &target)?;
            } else {
                self.replace(&target, &std::fs::read(entry.path())?, true)?;
            }
        }
        Ok(())
    }

    /// Flips one bit of a file.
    ///
    /// # Errors
    /// There is no such file or bit.
    pub fn flip_bit(&self, path: &Path, bit: usize) -> io::Result<()> {
        let mut world = self.0.lock();
        let inode = world.file(path)?;
        let inode = world.inodes.get_mut(inode).ok_or(io::ErrorKind::NotFound)?;
        for content in [&mut inode.content, &mut inode.durable] {
            *content.get_mut(bit / 8).ok_or(io::ErrorKind::InvalidInput)? ^= 1 << (bit % 8);
        }
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.0.lock();
        world.opens += 1;
        let inode = world.open(path, create)?;
        drop(world);
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut world = self.0.lock();
        world.begin_read()?;
        let inode = world.file(path)?;
        world.inodes.get(inode).map(|inode| inode.content.clone()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn replace(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        let mut world = self.0.lock();
        let inode = world.open(&beside, true)?;
        world.write(inode, Change::SetLen(0))?;
        world.write(inode, Change::Write(0, content.to_vec()))?;
        if sync {
            world.sync(inode)?;
        }
        world.change()?;
        world.rename_names(NameChange::Rename(beside, path.to_owned()));
        if sync { world.sync_names() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.alive()?;
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change()?;
        world.rename_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.alive()?;
        world.file(path)?;
        world.change()?;
        world.rename_names(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.change()?;
        world.rename_names(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.alive()?;
        let missing: Vec<_> =
            path.ancestors().filter(|dir| !world.names.contains_key(*dir)).map(Path::to_owned).collect();
        if !missing.is_empty() {
            world.change()?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        for dir in missing.into_iter().rev() {
            world.rename_names(NameChange::Link(dir, Entry::Dir));
        }
        world.sync_names()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.alive()?;
        match world.names.get(path) {
            Some(Entry::Dir) => return Ok(()),
            Some(Entry::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            None => {}
        }
        world.change()?;
        world.rename_names(NameChange::Link(path.to_owned(), Entry::Dir));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let world = self.0.lock();
        world.alive()?;
        let inside = world.names.iter().filter(|(name, _)| name.parent() == Some(path));
        Ok(inside
            .filter_map(|(name, entry)| {
                let (size_bytes, modified) = match entry {
                    Entry::Dir => (0, 0),
                    Entry::File(inode) => {
                        let inode = world.inodes.get(*inode)?;
                        (inode.content.len() as u64, inode.modified)
                    }
                };
                let file_name = name.file_name()?.to_str()?.to_owned();
                Some(DirEntry {
                    path: name.clone(),
                    name: file_name,
                    is_dir: *entry == Entry::Dir,
                    size_bytes,
                    modified_ns: i64::try_from(modified).ok()?,
                })
            })
            .collect())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        self.0.lock().sync_names()
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.disk.0.lock();
        world.begin_read()?;
        let inode = world.inodes.get(self.inode).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let content = inode.content.get(start..).unwrap_or_default();
        let len = content.len().min(buf.len());
        if let (Some(target), Some(source)) = (buf.get_mut(..len), content.get(..len)) {
            target.copy_from_slice(source);
        }
        Ok(len)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.disk.0.lock().write(self.inode, Change::Write(offset, data.to_vec()))
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        let len = usize::try_from(size_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.disk.0.lock().write(self.inode, Change::SetLen(len))
    }

    fn len(&self) -> io::Result<u64> {
        let world = self.disk.0.lock();
        world.alive()?;
        world
            .inodes
            .get(self.inode)
            .map(|inode| inode.content.len() as u64)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.0.lock().sync(self.inode)
    }
}
