//! Metadata: `meta.inf` and its checksum in `meta.sum`, two files that change as one.
//!
//! What is to replace them is written beside them under a number (`meta.inf.<n>.tmp`, `meta.sum.<n>.tmp`) and synced by
//! somebody who holds no lock; to put it in place takes names only. The checksum becomes `meta.sum.tmp` before the rename
//! of `meta.inf`, and `meta.sum` after it, so that some pair of these belongs together whatever happens: before that
//! rename the old two do, after it the new `meta.inf` and one of `meta.sum.tmp` and `meta.sum`. nats-server uses the
//! names without a number, one file after the other, so that the same search understands what it left behind.

use super::encryption::{AccountKeys, Contents, DirectoryKey};
use super::files::io_error;
use super::meta_sync::{Became, MetaSyncs};
use super::record::ChecksumKey;
use crate::disk::{Disk, DiskFile};
use crate::store::StoreError;
use jetkv_go_compat::os_text;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const META: &str = "meta.inf";
pub(super) const META_SUM: &str = "meta.sum";
const NEW_META: &str = "meta.inf.tmp";
const NEW_SUM: &str = "meta.sum.tmp";

/// Where files may stand that belong together, the likelier before the others.
const PAIRS: [(&str, &str); 4] =
    [(META, META_SUM), (META, NEW_SUM), (NEW_META, META_SUM), (NEW_META, NEW_SUM)];

/// The metadata of one stream or consumer.
pub(super) struct MetaFiles<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a Path,
    /// The name that the key of the checksum is made from.
    pub(super) name: &'a str,
    /// What they are encrypted with, if they are.
    pub(super) keys: Option<AccountKeys>,
}

impl MetaFiles<'_> {
    /// The key of their directory.
    pub(super) fn directory_key(&self) -> DirectoryKey<'_> {
        DirectoryKey { disk: self.disk, dir: self.dir, name: self.name, keys: self.keys.as_ref() }
    }

    /// Metadata as it is on disk.
    fn sealed<'m>(&self, meta: &'m [u8], sync: bool) -> Result<Cow<'m, [u8]>, StoreError> {
        match self.directory_key().load_or_create(sync)? {
            None => Ok(Cow::Borrowed(meta)),
            Some(key) => key
                .seal(meta)
                .map(Cow::Owned)
                .map_err(|error| io_error("could not encrypt", &self.path(META), error)),
        }
    }

    /// Writes metadata into a directory that nobody reads yet. Nothing is synced.
    pub(super) fn create(&self, meta: &[u8]) -> Result<(), StoreError> {
        let meta = self.sealed(meta, false)?;
        write(self.disk, &self.path(META), &meta)?;
        write(self.disk, &self.path(META_SUM), self.checksum(&meta).as_bytes()).map(drop)
    }

    /// As [`MetaFiles::create`], and returns when the files, not yet their entries in the directory, are durable.
    pub(super) fn create_durably(&self, meta: &[u8]) -> Result<(), StoreError> {
        let meta = self.sealed(meta, true)?;
        put(self.disk, &self.path(META), &meta)?;
        put(self.disk, &self.path(META_SUM), self.checksum(&meta).as_bytes())
    }

    /// Writes metadata under a number beside that which it is to replace, and syncs it.
    fn stage(&self, meta: &[u8], number: u64) -> Result<(), StoreError> {
        self.stage_sealed(&self.sealed(meta, true)?, number)
    }

    /// Replaces metadata with what is encrypted already. Only the files are synced. Nobody else may replace it meanwhile.
    pub(super) fn replace_with(&self, sealed: &[u8]) -> Result<(), StoreError> {
        self.stage_sealed(sealed, 0)?;
        self.put_staged(0)
    }

    fn stage_sealed(&self, meta: &[u8], number: u64) -> Result<(), StoreError> {
        put(self.disk, &self.path(&numbered(META, number)), meta)?;
        put(self.disk, &self.path(&numbered(META_SUM, number)), self.checksum(meta).as_bytes())
    }

    /// Puts in place what was staged under a number. Nothing is synced.
    ///
    /// # Errors
    /// I/O; the new may have taken the place of the old all the same.
    fn put_staged(&self, number: u64) -> Result<(), StoreError> {
        let (sum, inf) = (numbered(META_SUM, number), numbered(META, number));
        for (from, to) in [(&*sum, NEW_SUM), (&*inf, META), (NEW_SUM, META_SUM)] {
            // A directory may be in the way where the metadata could not be read.
            let put = self.put_in_place(from, to);
            if put.is_err() && !self.free_name(to) {
                return put;
            }
            put.or_else(|_| self.put_in_place(from, to))?;
        }
        Ok(())
    }

    /// Gives a directory that is in the place of a file another name. Says whether there was one.
    fn free_name(&self, file: &str) -> bool {
        let path = self.path(file);
        let is_dir = self.disk.read(&path).is_err_and(|error| error.kind() == io::ErrorKind::IsADirectory);
        is_dir && self.disk.rename(&path, &self.path(&format!("{file}.bad"))).is_ok()
    }

    /// Reads the metadata, and brings a replacement that was interrupted to its end.
    ///
    /// # Errors
    /// Why there is none, in words. The files are left as they are.
    pub(super) fn read(&self) -> Result<Contents, String> {
        let Some(((meta_file, sum_file), meta)) = self.find() else { return Err(self.problem()) };
        let whole = (META, META_SUM) == (meta_file, sum_file);
        if !whole && let Err(error) = self.finish(meta_file, sum_file) {
            tracing::warn!(%error, "metadata is read from where an update left it");
        }
        if whole {
            self.forget_new();
        }
        self.directory_key().read_meta(meta)
    }

    /// The metadata as it stands, whatever its checksum; `None` where one of the two files is missing.
    pub(super) fn read_unproven(&self) -> Option<Vec<u8>> {
        self.disk.read(&self.path(META_SUM)).ok()?;
        self.disk.read(&self.path(META)).ok()
    }

    fn find(&self) -> Option<((&'static str, &'static str), Vec<u8>)> {
        PAIRS.into_iter().find_map(|(meta_file, sum_file)| {
            let meta = self.disk.read(&self.path(meta_file)).ok()?;
            let sum = self.disk.read(&self.path(sum_file)).ok()?;
            (sum == self.checksum(&meta).as_bytes()).then_some(((meta_file, sum_file), meta))
        })
    }

    fn finish(&self, meta_file: &str, sum_file: &str) -> Result<(), StoreError> {
        if meta_file != META {
            self.put_in_place(meta_file, META)?;
        }
        if sum_file != META_SUM {
            self.put_in_place(sum_file, META_SUM)?;
        }
        self.sync_dir()?;
        self.forget_new();
        Ok(())
    }

    /// Removes what an update left that did not come as far as to replace anything. It does no harm where that fails.
    fn forget_new(&self) {
        for entry in self.disk.list(self.dir).unwrap_or_default() {
            if !entry.is_dir && is_unfinished(&entry.name) {
                let _ = self.disk.remove_file(&entry.path);
            }
        }
    }

    fn problem(&self) -> String {
        for file in [META, META_SUM] {
            let path = self.path(file);
            match self.disk.read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return format!("{} is missing", path.display());
                }
                Err(error) => return format!("{}: {}", path.display(), os_text(&error)),
                Ok(content) if content.is_empty() => return format!("{} is empty", path.display()),
                Ok(_) => {}
            }
        }
        format!("{}: checksums do not match", self.path(META).display())
    }

    pub(super) fn put_in_place(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let path = self.path(to);
        self.disk.rename(&self.path(from), &path).map_err(|error| io_error("could not replace", &path, error))
    }

    pub(super) fn sync_dir(&self) -> Result<(), StoreError> {
        self.disk.sync_dir(self.dir).map_err(|error| io_error("could not sync", self.dir, error))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub(super) fn checksum(&self, meta: &[u8]) -> String {
        let mut hex = String::with_capacity(16);
        for byte in ChecksumKey::name(self.name).sum(&[meta]) {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

fn numbered(file: &str, number: u64) -> String {
    format!("{file}.{number}.tmp")
}

/// Whether a file is what an update of metadata leaves that does not come to its end.
fn is_unfinished(name: &str) -> bool {
    [META, META_SUM].iter().any(|file| name.strip_prefix(file).is_some_and(|rest| rest.ends_with(".tmp")))
}

/// Metadata that is durable beside that which it is to replace. It goes again where it is not put in place.
pub struct StagedMeta {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) syncs: Arc<MetaSyncs>,
    pub(super) dir: PathBuf,
    /// Under which it stands there; none once it was put in place.
    pub(super) number: Option<u64>,
    pub(super) meta: Vec<u8>,
    /// What it is encrypted with, if it is.
    pub(super) keys: Option<AccountKeys>,
}

impl StagedMeta {
    /// Writes `meta` beside what stands in its directory, and syncs it. No lock that others need may be held.
    pub(super) fn write(self, name: &str) -> Result<Self, StoreError> {
        if let Self { disk, dir, number: Some(number), meta, keys, .. } = &self {
            MetaFiles { disk: &**disk, dir, name, keys: keys.clone() }.stage(meta, *number)?;
        }
        Ok(self)
    }

    /// Whether this is what `meta` would be.
    pub(crate) fn is(&self, meta: &[u8]) -> bool {
        self.meta == meta
    }

    /// Lets it take the place of what is there, in one step. That lasts once the directory is synced, which is noted.
    ///
    /// # Errors
    /// I/O; it may have taken the place all the same.
    pub(crate) fn put_in_place(&mut self) -> Result<(), StoreError> {
        let Self { disk, dir, number, .. } = self;
        let Some(staged) = *number else { return Ok(()) };
        let put = MetaFiles { disk: &**disk, dir, name: "", keys: None }.put_staged(staged);
        if put.is_ok() {
            *number = None;
        }
        self.syncs.note(dir.clone(), Became::Changed, Vec::new(), vec![dir.clone()]);
        put
    }
}

impl Drop for StagedMeta {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        for file in [META, META_SUM] {
            // What stays is removed at the next start.
            let _ = self.disk.remove_file(&self.dir.join(numbered(file, number)));
        }
    }
}

/// Writes a file as a whole and syncs it; its entry in the directory is not.
pub(super) fn put(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let file = write(disk, path, content)?;
    file.sync().map_err(|error| io_error("could not write", path, error))
}

/// Writes a file as a whole.
pub(super) fn write(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<Box<dyn DiskFile>, StoreError> {
    let written = disk.open(path, true).and_then(|file| {
        file.set_len(0)?;
        file.write_at(content, 0)?;
        Ok(file)
    });
    written.map_err(|error| io_error("could not write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fault, SimDisk};

    const DIR: &str = "/store/S";

    fn files(disk: &SimDisk) -> MetaFiles<'_> {
        MetaFiles { disk, dir: Path::new(DIR), name: "S", keys: None }
    }

    fn with_old(seed: u64) -> SimDisk {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(Path::new(DIR)).unwrap();
        files(&disk).create(b"old").unwrap();
        for file in [META, META_SUM] {
            disk.open(&Path::new(DIR).join(file), false).unwrap().sync().unwrap();
        }
        disk.sync_dir(Path::new(DIR)).unwrap();
        disk
    }

    fn entries(disk: &SimDisk) -> Vec<String> {
        disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    fn replace(disk: &SimDisk, meta: &[u8]) -> Result<(), StoreError> {
        let syncs = Arc::new(MetaSyncs::new(Arc::new(disk.clone())));
        let (dir, meta) = (PathBuf::from(DIR), meta.to_vec());
        let staged = StagedMeta {
            disk: Arc::new(disk.clone()),
            syncs: Arc::clone(&syncs),
            dir,
            number: Some(7),
            meta,
            keys: None,
        };
        staged.write("S")?.put_in_place()?;
        syncs.run()
    }

    #[test]
    fn a_replacement_that_is_interrupted_anywhere_leaves_the_old_or_the_new() {
        let (mut olds, mut news) = (0, 0);
        for seed in 0..200 {
            let disk = with_old(seed);
            disk.fail_after(seed % 14, 1, Fault::Stop);
            let replaced = replace(&disk, b"new").is_ok() && !disk.is_stopped();
            if seed % 2 == 0 {
                disk.power_failure()
            } else {
                disk.restart()
            }
            let found = files(&disk).read().unwrap().plain;
            assert!(found == b"new" || (!replaced && found == b"old"), "{seed}: {found:?}");
            (olds, news) = (olds + u32::from(found == b"old"), news + u32::from(found == b"new"));
            assert_eq!(files(&disk).read().unwrap().plain, found, "a second look finds the same");
            assert_eq!(entries(&disk), [META, META_SUM]);
        }
        assert!(olds > 20 && news > 20, "{olds} {news}");
    }

    #[test]
    fn a_replacement_that_fails_leaves_the_old_or_the_new() {
        for fault in [Fault::Error, Fault::Full] {
            for after in 0..12 {
                let disk = with_old(after);
                disk.fail_after(after, 1, fault);
                let replaced = replace(&disk, b"new").is_ok();
                disk.restart();
                let found = files(&disk).read().unwrap().plain;
                assert!(found == b"new" || (!replaced && found == b"old"), "{fault:?} {after}: {found:?}");
            }
        }
    }

    #[test]
    fn a_directory_in_the_place_of_a_file_is_kept_under_another_name() {
        let dir = tempfile::tempdir().unwrap();
        for file in [META, NEW_SUM] {
            std::fs::create_dir_all(dir.path().join(file).join("inside")).unwrap();
        }
        let files = MetaFiles { disk: &crate::disk::RealDisk, dir: dir.path(), name: "S", keys: None };
        assert!(files.read().err().unwrap().contains(META));
        files.stage(b"new", 1).unwrap();
        files.put_staged(1).unwrap();
        assert_eq!(files.read().unwrap().plain, b"new");
        assert!(dir.path().join("meta.inf.bad/inside").is_dir());
    }

    #[test]
    fn what_is_not_put_in_place_leaves_nothing() {
        let disk = with_old(1);
        let syncs = Arc::new(MetaSyncs::new(Arc::new(disk.clone())));
        let staged = StagedMeta {
            disk: Arc::new(disk.clone()),
            syncs,
            dir: DIR.into(),
            number: Some(7),
            meta: b"new".to_vec(),
            keys: None,
        };
        let staged = staged.write("S").unwrap();
        assert_eq!(entries(&disk).len(), 4);
        assert_eq!(files(&disk).find().unwrap().1, b"old");
        drop(staged);
        assert_eq!(entries(&disk), [META, META_SUM]);
    }

    #[test]
    fn what_another_server_left_half_written_is_understood() {
        // It renames meta.inf, then writes meta.sum.tmp, then renames that.
        let new = files(&SimDisk::new(0)).checksum(b"new");
        for (sum_tmp, wanted) in
            [(Some(new.as_str()), Ok(b"new".to_vec())), (Some("0123"), Err(())), (None, Err(()))]
        {
            let disk = with_old(1);
            put(&disk, &files(&disk).path(META), b"new").unwrap();
            if let Some(sum) = sum_tmp {
                put(&disk, &files(&disk).path(NEW_SUM), sum.as_bytes()).unwrap();
            }
            let before = entries(&disk);
            assert_eq!(files(&disk).read().map(|found| found.plain).map_err(drop), wanted);
            if wanted.is_err() {
                assert_eq!(entries(&disk), before, "what is not understood is left alone");
                assert_eq!(files(&disk).read_unproven().unwrap(), b"new");
            }
        }
    }
}
