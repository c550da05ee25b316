//! The files that the stores keep open, of which a process may have only so many: what was not used for longest is
//! closed when another is opened beyond a limit, or when the operating system has none left to give, and opened again
//! when it is used.

use super::DiskFile;
use super::idle::IdleFiles;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};

/// Open files, at most, whatever the process may have: each takes about a kilobyte of the kernel's memory.
const FILES_MAX: usize = 1 << 14;
/// The part of the descriptors that a process may have which files take, at most; connections need them, too.
const SHARE: u64 = 4;
/// Open files that are kept even where a process may have very few.
const FILES_MIN: usize = 8;
/// Set where a file is used: taken back by who looks for one to close for want of room, and by who looks for idle ones.
const USED: u8 = FOR_ROOM | FOR_IDLENESS;
const FOR_ROOM: u8 = 1;
const FOR_IDLENESS: u8 = 2;

/// A set of open files that does not grow beyond a limit.
pub(super) struct OpenFiles {
    max: usize,
    ring: Mutex<Ring>,
}

/// Files that are open, in the order in which they are looked at when one has to be closed.
#[derive(Default)]
struct Ring {
    files: Vec<Weak<Kept>>,
    hand: usize,
}

/// A file that is open, or can be opened again.
pub(super) struct Kept {
    path: PathBuf,
    /// Device and number, by which a file at the same path that is another one is told.
    id: (u64, u64),
    /// None while it is closed.
    file: RwLock<Option<File>>,
    /// Who has not looked since it was used.
    used: AtomicU8,
    among: Arc<OpenFiles>,
    /// Where it is listed while it is open.
    idle: Option<Arc<IdleFiles>>,
    is_listed: AtomicBool,
    /// Whether the ring has it. Changed by who holds the ring.
    is_in_ring: AtomicBool,
}

impl Kept {
    /// Whether it was used since this was last asked.
    fn was_used(&self, by: u8) -> bool {
        self.used.fetch_and(!by, Ordering::Relaxed) & by != 0
    }

    /// Closes it unless it was used since the last call, or is in use. Says whether it is still open; where it is not,
    /// [`OpenFiles::forget_closed`] is to be called before long.
    pub(super) fn close_if_idle(self: &Arc<Self>) -> bool {
        if self.was_used(FOR_IDLENESS) {
            return true;
        }
        let Some(mut open) = self.file.try_write() else { return true };
        *open = None;
        false
    }

    /// Whom it shares descriptors with.
    pub(super) fn among(&self) -> &Arc<OpenFiles> {
        &self.among
    }

    /// Notes whether it is listed, for who holds the list; says whether it was.
    pub(super) fn set_listed(&self, is_listed: bool) -> bool {
        self.is_listed.swap(is_listed, Ordering::Relaxed)
    }

    fn list(self: &Arc<Self>) {
        let mut ring = self.among.ring.lock();
        if !self.is_in_ring.swap(true, Ordering::Relaxed) {
            ring.files.push(Arc::downgrade(self));
        }
        drop(ring);
        if let Some(idle) = &self.idle {
            idle.add(self);
        }
    }
}

/// [`DiskFile`] over a file of the operating system that may be closed and opened again between two uses.
pub(super) struct KeptFile {
    kept: Arc<Kept>,
}

impl OpenFiles {
    pub(super) fn new(max: usize) -> Self {
        Self { max, ring: Mutex::default() }
    }

    /// As many as suit the number of descriptors that this process may have.
    pub(super) fn for_this_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::new(share_of(limit))
    }

    /// Opens a file that stays open until others need its place, or it has been idle for a while.
    pub(super) fn open(
        self: &Arc<Self>,
        path: &Path,
        options: &OpenOptions,
        idle: Option<&Arc<IdleFiles>>,
    ) -> io::Result<KeptFile> {
        self.make_room();
        let file = self.with_room(|| options.open(path))?;
        let id = id(&file)?;
        let kept = Arc::new(Kept {
            path: path.to_owned(),
            id,
            file: RwLock::new(Some(file)),
            used: AtomicU8::new(FOR_IDLENESS),
            among: Arc::clone(self),
            idle: idle.cloned(),
            is_listed: AtomicBool::new(false),
            is_in_ring: AtomicBool::new(false),
        });
        kept.list();
        Ok(KeptFile { kept })
    }

    /// Takes files that are closed, or that nobody has any more, out of the ring.
    pub(super) fn forget_closed(&self) {
        self.ring.lock().files.retain(|file| {
            let Some(kept) = file.upgrade() else { return false };
            // One that is being opened right now stays.
            let is_open = kept.file.try_read().is_none_or(|file| file.is_some());
            kept.is_in_ring.store(is_open, Ordering::Relaxed);
            is_open
        });
    }

    /// Does something that needs a descriptor for as long as it takes. Where there is none left, files are closed
    /// one by one until there is.
    pub(super) fn with_room<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt() {
                Err(error) if is_exhausted(&error) && self.ring.lock().close_one() => {}
                outcome => return outcome,
            }
        }
    }

    /// Files that are open.
    #[cfg(test)]
    fn num_open(&self) -> usize {
        let ring = self.ring.lock();
        ring.files.iter().filter(|file| file.upgrade().is_some_and(|kept| kept.file.read().is_some())).count()
    }

    fn make_room(&self) {
        let mut ring = self.ring.lock();
        while ring.files.len() >= self.max && ring.close_one() {}
    }
}

impl Ring {
    /// Closes a file that was not used of late and is not in use; `false` where there is none.
    fn close_one(&mut self) -> bool {
        // Each gets a second chance if it was used since the hand passed last.
        for _ in 0..self.files.len() * 2 {
            if self.hand >= self.files.len() {
                self.hand = 0;
            }
            let Some(file) = self.files.get(self.hand) else { return false };
            if let Some(kept) = file.upgrade() {
                if kept.was_used(FOR_ROOM) {
                    self.hand += 1;
                    continue;
                }
                // Somebody reads, writes or syncs it right now.
                let Some(mut open) = kept.file.try_write() else {
                    self.hand += 1;
                    continue;
                };
                *open = None;
                kept.is_in_ring.store(false, Ordering::Relaxed);
            }
            self.files.swap_remove(self.hand);
            return true;
        }
        false
    }
}

impl KeptFile {
    /// The file, opened again if it was closed.
    fn file(&self) -> io::Result<RwLockReadGuard<'_, Option<File>>> {
        if self.kept.used.load(Ordering::Relaxed) != USED {
            self.kept.used.store(USED, Ordering::Relaxed);
        }
        let open = self.kept.file.read();
        if open.is_some() {
            return Ok(open);
        }
        drop(open);
        self.open_again()
    }

    #[cold]
    fn open_again(&self) -> io::Result<RwLockReadGuard<'_, Option<File>>> {
        let among = &self.kept.among;
        among.make_room();
        let mut open = self.kept.file.write();
        if open.is_none() {
            let path = &self.kept.path;
            let file = among.with_room(|| OpenOptions::new().read(true).write(true).open(path))?;
            if id(&file)? != self.kept.id {
                return Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken its place"));
            }
            *open = Some(file);
            self.kept.list();
        }
        Ok(RwLockWriteGuard::downgrade(open))
    }

    fn with<T>(&self, act: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let open = self.file()?;
        act(open.as_ref().ok_or(io::ErrorKind::NotFound)?)
    }
}

impl DiskFile for KeptFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|file| {
            let mut filled = 0;
            while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, offset + filled as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        // By way of the C library each write is a point at which its thread could be cancelled, which nobody does.
        self.with(|file| {
            let mut written = 0;
            while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
                match rustix::io::pwrite(file, rest, offset + written as u64) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => written += count,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        self.with(|file| file.set_len(size_bytes))
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.metadata()?.len()))
    }

    fn sync(&self) -> io::Result<()> {
        match self.with(File::sync_data) {
            // It was removed or replaced since: nothing of it is to be kept.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }
}

/// How many files may be open, of so many descriptors; `None` is no limit.
fn share_of(limit: Option<u64>) -> usize {
    let share = limit.map_or(FILES_MAX, |limit| usize::try_from(limit / SHARE).unwrap_or(FILES_MAX));
    share.clamp(FILES_MIN, FILES_MAX)
}

fn id(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether the process, or the system, has no descriptor left to give.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    let code = rustix::io::Errno::from_io_error(error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(files: &Arc<OpenFiles>, dir: &Path, name: usize) -> KeptFile {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        files.open(&dir.join(name.to_string()), &options, None).unwrap()
    }

    #[test]
    fn files_take_a_part_of_the_descriptors_that_there_are() {
        for (limit, share) in [
            (Some(16), 8),
            (Some(1024), 256),
            (Some(20_000), 5_000),
            (Some(1 << 20), 1 << 14),
            (None, 1 << 14),
        ] {
            assert_eq!(share_of(limit), share, "{limit:?}");
        }
    }

    #[test]
    fn files_that_were_idle_leave_their_places_and_take_them_again_when_they_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(OpenFiles::new(8));
        let kept: Vec<KeptFile> = (0..6).map(|name| open(&files, dir.path(), name)).collect();
        let places = || files.ring.lock().files.len();
        for round in 0..3 {
            for file in &kept {
                file.write_at(b"x", round).unwrap();
            }
            assert_eq!((files.num_open(), places()), (6, 6));
            let still_open = |file: &KeptFile| file.kept.close_if_idle();
            assert!(kept.iter().all(still_open), "they were used");
            kept[0].write_at(b"x", round).unwrap();
            assert_eq!(kept.iter().filter(|file| still_open(file)).count(), 1);
            files.forget_closed();
            assert_eq!((files.num_open(), places()), (1, 1));
        }
    }

    #[test]
    fn many_files_are_used_through_few_open_ones() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(OpenFiles::new(4));
        let kept: Vec<KeptFile> = (0..20).map(|name| open(&files, dir.path(), name)).collect();
        for round in 0..3_u64 {
            for (name, file) in (0_u8..).zip(&kept) {
                file.write_at(&[name], round).unwrap();
                assert!(files.num_open() <= 4);
            }
        }
        for (name, file) in (0_u8..).zip(&kept) {
            let mut content = [0; 4];
            assert_eq!(file.read_at(&mut content, 0).unwrap(), 3);
            assert_eq!(content[..3], [name; 3]);
            file.sync().unwrap();
        }
        drop(kept);
        assert_eq!(files.num_open(), 0);
        open(&files, dir.path(), 0).write_at(b"x", 0).unwrap();
    }

    #[test]
    fn a_file_that_is_used_again_and_again_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(OpenFiles::new(4));
        let busy = open(&files, dir.path(), 0);
        let rest: Vec<KeptFile> = (1..20)
            .map(|name| {
                busy.write_at(b"x", name as u64).unwrap();
                let file = open(&files, dir.path(), name);
                assert!(busy.kept.file.read().is_some(), "closed for file {name}");
                file
            })
            .collect();
        assert_eq!(rest.len(), 19);
    }

    #[test]
    fn a_file_that_has_taken_the_place_of_another_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(OpenFiles::new(1));
        let old = open(&files, dir.path(), 0);
        old.write_at(b"old", 0).unwrap();
        // The old one is kept from going, so that its number is not given again.
        std::fs::rename(dir.path().join("0"), dir.path().join("moved")).unwrap();
        let new = open(&files, dir.path(), 0);
        new.write_at(b"new", 0).unwrap();
        assert!(old.write_at(b"bad", 0).is_err());
        old.sync().unwrap();
        assert_eq!(std::fs::read(dir.path().join("0")).unwrap(), b"new");
    }

    #[test]
    fn threads_share_the_files_and_none_of_them_waits_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(OpenFiles::new(2));
        let kept: Vec<KeptFile> = (0..8).map(|name| open(&files, dir.path(), name)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let kept = &kept;
                scope.spawn(move || {
                    for round in 0..200_usize {
                        let file = &kept[(round * 3 + usize::from(thread)) % kept.len()];
                        file.write_at(&[thread], u64::from(thread)).unwrap();
                        let mut byte = [0xff];
                        assert_eq!(file.read_at(&mut byte, u64::from(thread)).unwrap(), 1);
                        assert_eq!(byte, [thread]);
                    }
                });
            }
        });
    }
}
