//! Metadata: `meta.inf` and its checksum in `meta.sum`, two files that change as one.
//!
//! Both are written beside (`meta.inf.tmp`, `meta.sum.tmp`) and synced before the first is renamed. From then on some
//! pair of the four files belongs together whatever happens: before the rename of `meta.inf` the old two do, after it
//! the new `meta.inf` and one of `meta.sum.tmp` and `meta.sum`. nats-server uses the same names, one file after the
//! other, so that the same search understands what it left behind.

use super::files::io_error;
use super::record::ChecksumKey;
use crate::disk::{Disk, DiskFile};
use crate::store::StoreError;
use jetkv_go_compat::os_text;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

pub(super) const META: &str = "meta.inf";
pub(super) const META_SUM: &str = "meta.sum";
const NEW_META: &str = "meta.inf.tmp";
const NEW_SUM: &str = "meta.sum.tmp";
const KEY: &str = "meta.key";

/// Where files may stand that belong together, the likelier before the others.
const PAIRS: [(&str, &str); 4] =
    [(META, META_SUM), (META, NEW_SUM), (NEW_META, META_SUM), (NEW_META, NEW_SUM)];

/// The metadata of one stream or consumer.
pub(super) struct MetaFiles<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a Path,
    /// The name that the key of the checksum is made from.
    pub(super) name: &'a str,
}

impl MetaFiles<'_> {
    /// Writes metadata into a directory that nobody reads yet. Nothing is synced.
    pub(super) fn create(&self, meta: &[u8]) -> Result<(), StoreError> {
        write(self.disk, &self.path(META), meta)?;
        write(self.disk, &self.path(META_SUM), self.checksum(meta).as_bytes()).map(drop)
    }

    /// Replaces the metadata in one step, and returns when it is durable.
    ///
    /// # Errors
    /// I/O. The old metadata is still there then, unless the disk refuses to have it put back as well.
    pub(super) fn replace(&self, meta: &[u8]) -> Result<(), StoreError> {
        let before = self.find();
        let mut replaced = self.exchange(meta);
        if replaced.is_err() && self.free_names() {
            replaced = self.exchange(meta);
        }
        if replaced.is_err() {
            if let Some((_, before)) = before
                && self.find().is_none_or(|(_, found)| found != before)
            {
                // It failed after the new had taken the place of the old.
                let _ = self.exchange(&before);
            }
            self.forget_new();
        }
        replaced
    }

    /// Gives directories that are in the place of files other names. Says whether there were any.
    fn free_names(&self) -> bool {
        let mut found = false;
        for file in [META, META_SUM, NEW_META, NEW_SUM] {
            let path = self.path(file);
            let is_dir =
                self.disk.read(&path).is_err_and(|error| error.kind() == io::ErrorKind::IsADirectory);
            found |= is_dir && self.disk.rename(&path, &self.path(&format!("{file}.bad"))).is_ok();
        }
        found
    }

    fn exchange(&self, meta: &[u8]) -> Result<(), StoreError> {
        self.put(NEW_META, meta)?;
        self.put(NEW_SUM, self.checksum(meta).as_bytes())?;
        self.put_in_place(NEW_META, META)?;
        self.put_in_place(NEW_SUM, META_SUM)?;
        self.sync_dir()
    }

    /// Reads the metadata, and brings a replacement that was interrupted to its end.
    ///
    /// # Errors
    /// Why there is none, in words. The files are left as they are.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        if self.disk.read(&self.path(KEY)).is_ok() {
            return Err(format!("{} is encrypted, which is not supported", self.dir.display()));
        }
        let Some(((meta_file, sum_file), meta)) = self.find() else { return Err(self.problem()) };
        let whole = (META, META_SUM) == (meta_file, sum_file);
        if !whole && let Err(error) = self.finish(meta_file, sum_file) {
            tracing::warn!(%error, "metadata is read from where an update left it");
        }
        if whole {
            self.forget_new();
        }
        Ok(meta)
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
        for file in [NEW_META, NEW_SUM] {
            let _ = self.disk.remove_file(&self.path(file));
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

    fn put(&self, file: &str, content: &[u8]) -> Result<(), StoreError> {
        put(self.disk, &self.path(file), content)
    }

    fn put_in_place(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let path = self.path(to);
        self.disk.rename(&self.path(from), &path).map_err(|error| io_error("could not replace", &path, error))
    }

    fn sync_dir(&self) -> Result<(), StoreError> {
        self.disk.sync_dir(self.dir).map_err(|error| io_error("could not sync", self.dir, error))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    fn checksum(&self, meta: &[u8]) -> String {
        let mut hex = String::with_capacity(16);
        for byte in ChecksumKey::name(self.name).sum(&[meta]) {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
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
    use crate::disk::SimDisk;
    use crate::disk::sim::Fault;

    const DIR: &str = "/store/S";

    fn files(disk: &SimDisk) -> MetaFiles<'_> {
        MetaFiles { disk, dir: Path::new(DIR), name: "S" }
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

    #[test]
    fn a_replacement_that_is_interrupted_anywhere_leaves_the_old_or_the_new() {
        let (mut olds, mut news) = (0, 0);
        for seed in 0..200 {
            let disk = with_old(seed);
            disk.fail_after(seed % 12, 1, Fault::Stop);
            let replaced = files(&disk).replace(b"new").is_ok();
            if seed % 2 == 0 {
                disk.power_failure()
            } else {
                disk.restart()
            }
            let found = files(&disk).read().unwrap();
            assert!(found == b"new" || (!replaced && found == b"old"), "{seed}: {found:?}");
            (olds, news) = (olds + u32::from(found == b"old"), news + u32::from(found == b"new"));
            assert_eq!(files(&disk).read().unwrap(), found, "a second look finds the same");
            assert_eq!(entries(&disk), [META, META_SUM]);
        }
        assert!(olds > 20 && news > 20, "{olds} {news}");
    }

    #[test]
    fn a_replacement_that_fails_leaves_the_old() {
        for fault in [Fault::Error, Fault::Full] {
            for after in 0..11 {
                let disk = with_old(after);
                disk.fail_after(after, 1, fault);
                let replaced = files(&disk).replace(b"new").is_ok();
                disk.restart();
                let wanted: &[u8] = if replaced { b"new" } else { b"old" };
                assert_eq!(files(&disk).read().unwrap(), wanted, "{fault:?} {after}");
                disk.power_failure();
                assert_eq!(files(&disk).read().unwrap(), wanted, "{fault:?} {after}, after a power failure");
            }
        }
    }

    #[test]
    fn a_directory_in_the_place_of_a_file_is_kept_under_another_name() {
        let dir = tempfile::tempdir().unwrap();
        for file in [META, NEW_SUM] {
            std::fs::create_dir_all(dir.path().join(file).join("inside")).unwrap();
        }
        let files = MetaFiles { disk: &crate::disk::RealDisk, dir: dir.path(), name: "S" };
        assert!(files.read().unwrap_err().contains(META));
        files.replace(b"new").unwrap();
        assert_eq!(files.read().unwrap(), b"new");
        assert!(dir.path().join("meta.inf.bad/inside").is_dir());
    }

    #[test]
    fn what_another_server_left_half_written_is_understood() {
        // It renames meta.inf, then writes meta.sum.tmp, then renames that.
        let new = files(&SimDisk::new(0)).checksum(b"new");
        for (sum_tmp, wanted) in
            [(Some(new.as_str()), Ok(b"new".to_vec())), (Some("0123"), Err(())), (None, Err(()))]
        {
            let disk = with_old(1);
            files(&disk).put(META, b"new").unwrap();
            if let Some(sum) = sum_tmp {
                files(&disk).put(NEW_SUM, sum.as_bytes()).unwrap();
            }
            let before = entries(&disk);
            assert_eq!(files(&disk).read().map_err(drop), wanted);
            if wanted.is_err() {
                assert_eq!(entries(&disk), before, "what is not understood is left alone");
                assert_eq!(files(&disk).read_unproven().unwrap(), b"new");
            }
        }
    }
}
