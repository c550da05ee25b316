//! The key of a stream's or a consumer's directory, which encrypts what is written there as a whole.
//!
//! While it is replaced the new key stands beside it, and each file is encrypted with one of the two: the proof tells
//! with which. The new key takes its name when everything is encrypted with it.

use super::keys::{KEY_FILE_MIN_LEN, KeyProblem, SEALED_MIN_LEN};
use super::{AccountKeys, AssetKey};
use crate::disk::Disk;
use crate::store::StoreError;
use crate::store::file::files::io_error;
use crate::store::file::meta::{put, write};
use crate::store::file::record::{CHECKSUM_LEN, ChecksumKey};
use std::io;
use std::path::{Path, PathBuf};

pub(in crate::store::file) const KEY: &str = "meta.key";
/// The key that is to take its place.
pub(in crate::store::file) const NEW_KEY: &str = "meta.key.new";

/// How a file, or a directory, is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::file) enum Protection {
    /// As configured, or not at all where nothing is configured.
    AsConfigured,
    /// Not at all, although a key is configured.
    Plain,
    /// With the previous key, or another cipher.
    Outdated,
}

/// A file as it is without encryption.
pub(in crate::store::file) struct Contents {
    pub(in crate::store::file) plain: Vec<u8>,
    pub(in crate::store::file) protection: Protection,
}

/// What a file that is written as a whole looks like, beside its encryption.
#[derive(Clone, Copy)]
pub(in crate::store::file) enum Frame<'a> {
    /// Nothing.
    Whole,
    /// Nothing; and how a plain one is known.
    Known(fn(&[u8]) -> bool),
    /// A checksum behind it, of the bytes as they are on disk.
    Summed(&'a ChecksumKey),
}

/// The key of one directory.
pub(in crate::store::file) struct DirectoryKey<'a> {
    pub(in crate::store::file) disk: &'a dyn Disk,
    pub(in crate::store::file) dir: &'a Path,
    /// The name of the stream, or `stream/consumer`.
    pub(in crate::store::file) name: &'a str,
    pub(in crate::store::file) keys: Option<&'a AccountKeys>,
}

/// The keys that files of a directory may be encrypted with.
#[derive(Default)]
struct Candidates {
    /// Which of them is there, and whether it is as configured.
    known: Vec<(AssetKey, bool)>,
    /// Whether the directory has a key at all.
    is_encrypted: bool,
}

impl DirectoryKey<'_> {
    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The name that the key is derived for.
    fn context(&self) -> String {
        self.name.replace('/', ".")
    }

    fn is_stream(&self) -> bool {
        !self.name.contains('/')
    }

    fn open(&self, wrapped: &[u8]) -> Result<(AssetKey, bool), String> {
        let what = if self.is_stream() { "stream" } else { "consumer" };
        let failed = |why: &str| format!("Error decrypting our {what} metafile: {why}");
        let keys = self.keys.ok_or_else(|| failed("encryption not enabled"))?;
        keys.open(&self.context(), wrapped).map_err(|problem| match problem {
            KeyProblem::TooShort(len) if self.is_stream() => {
                format!("Bad stream encryption key length of {len}")
            }
            KeyProblem::TooShort(_) => failed("encryption bad key size"),
            KeyProblem::Unknown => failed("unable to recover keys"),
        })
    }

    fn candidates(&self) -> Result<Candidates, String> {
        let mut found = Candidates::default();
        for file in [KEY, NEW_KEY] {
            let path = self.path(file);
            match self.disk.read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("could not read", &path, error).to_string()),
                // A new key that was not written whole has encrypted nothing. What it did encrypt is the beginning of a
                // change that has to come to its end.
                Ok(wrapped) if file == NEW_KEY => {
                    found.known.extend(self.open(&wrapped).ok().map(|(key, _)| (key, false)));
                }
                Ok(wrapped) => {
                    found.is_encrypted = true;
                    found.known.push(self.open(&wrapped)?);
                }
            }
        }
        Ok(found)
    }

    /// Decrypts metadata.
    ///
    /// # Errors
    /// Why that cannot be done, in nats-server's words.
    pub(in crate::store::file) fn read_meta(&self, meta: Vec<u8>) -> Result<Contents, String> {
        let found = self.candidates().inspect_err(|problem| tracing::warn!("  {problem}"))?;
        if self.keys.is_none() {
            return Ok(Contents { plain: meta, protection: Protection::AsConfigured });
        }
        let is_json = |meta: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(meta).is_ok();
        match found.read(&meta, Frame::Known(is_json)) {
            Some(contents) => Ok(contents),
            None if found.is_encrypted => {
                Err(format!("{}: it was encrypted with another key", self.dir.display()))
            }
            None => Ok(Contents { plain: meta, protection: Protection::Plain }),
        }
    }

    /// Decrypts another file; `None` where it is neither plain nor encrypted with a key of the directory.
    pub(in crate::store::file) fn read(&self, file: Vec<u8>, frame: Frame<'_>) -> Option<Vec<u8>> {
        if self.keys.is_none() {
            return Some(file);
        }
        Some(self.candidates().ok()?.read(&file, frame)?.plain)
    }

    /// Why the key of the directory cannot be used, which another one may open; `None` where it can, is not there, or is
    /// too short for any.
    pub(in crate::store::file) fn locked(&self) -> Option<String> {
        let is_whole = |wrapped: Vec<u8>| wrapped.len() >= KEY_FILE_MIN_LEN;
        let is_there = self.disk.read(&self.path(KEY)).is_ok_and(is_whole);
        self.candidates().err().filter(|_| is_there)
    }

    /// The key that files are encrypted with; `None` where they are not. It is made where there is none, and then made
    /// durable where that is asked for.
    pub(in crate::store::file) fn load_or_create(&self, sync: bool) -> Result<Option<AssetKey>, StoreError> {
        let Some(keys) = self.keys else { return Ok(None) };
        if let Some(key) = self.load()? {
            return Ok(Some(key));
        }
        self.create(keys, KEY, sync).map(Some)
    }

    /// As [`DirectoryKey::load_or_create`], where it is there.
    pub(in crate::store::file) fn load(&self) -> Result<Option<AssetKey>, StoreError> {
        if self.keys.is_none() {
            return Ok(None);
        }
        let path = self.path(KEY);
        match self.disk.read(&path) {
            // The power failed before it was durable.
            Ok(wrapped) if wrapped.len() < KEY_FILE_MIN_LEN => Ok(None),
            Ok(wrapped) => {
                let opened = self.open(&wrapped).map_err(StoreError::Unsupported)?;
                Ok(Some(opened.0))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("could not read", &path, error)),
        }
    }

    /// The key that is to take the place of the directory's, which an interrupted conversion may have left.
    pub(super) fn load_or_create_new(&self, keys: &AccountKeys) -> Result<AssetKey, StoreError> {
        let left = self.disk.read(&self.path(NEW_KEY)).ok().and_then(|wrapped| self.open(&wrapped).ok());
        match left {
            Some((key, true)) => Ok(key),
            Some((_, false)) => Err(StoreError::Unsupported(format!(
                "{}: the change to another key was interrupted, and has to come to its end first",
                self.dir.display()
            ))),
            None => self.create(keys, NEW_KEY, true),
        }
    }

    fn create(&self, keys: &AccountKeys, file: &str, sync: bool) -> Result<AssetKey, StoreError> {
        let path = self.path(file);
        let made = keys.create(&self.context());
        let (key, wrapped) = made.map_err(|error| io_error("could not make a key for", &path, error))?;
        if sync {
            put(self.disk, &path, &wrapped)?
        } else {
            write(self.disk, &path, &wrapped).map(drop)?
        }
        Ok(key)
    }
}

impl Candidates {
    fn read(&self, file: &[u8], frame: Frame<'_>) -> Option<Contents> {
        for (key, is_current) in &self.known {
            if let Some(plain) = frame.unseal(key, file) {
                let protection = if *is_current { Protection::AsConfigured } else { Protection::Outdated };
                return Some(Contents { plain, protection });
            }
        }
        frame.is_plain(file).then(|| Contents { plain: file.to_vec(), protection: Protection::Plain })
    }
}

impl Frame<'_> {
    /// The file as it is without encryption, in the same frame.
    pub(in crate::store::file) fn unseal(self, key: &AssetKey, file: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Whole | Self::Known(_) if file.len() < SEALED_MIN_LEN => None,
            Self::Whole | Self::Known(_) => key.unseal(file),
            Self::Summed(sum) => {
                let (sealed, checksum) = file.split_at_checked(file.len().checked_sub(CHECKSUM_LEN)?)?;
                let mut plain = key.unseal(sealed).filter(|_| checksum == sum.sum(&[sealed]))?;
                let checksum = sum.sum(&[&plain]);
                plain.extend_from_slice(&checksum);
                Some(plain)
            }
        }
    }

    /// A file as it is on disk, from what it is without encryption.
    pub(in crate::store::file) fn seal(self, key: &AssetKey, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Whole | Self::Known(_) => key.seal(plain),
            Self::Summed(sum) => {
                let body_len = plain.len().saturating_sub(CHECKSUM_LEN);
                let mut sealed = key.seal(plain.get(..body_len).unwrap_or_default())?;
                let checksum = sum.sum(&[&sealed]);
                sealed.extend_from_slice(&checksum);
                Ok(sealed)
            }
        }
    }

    fn is_plain(self, file: &[u8]) -> bool {
        match self {
            Self::Whole => false,
            Self::Known(is_plain) => is_plain(file),
            Self::Summed(sum) => {
                let body = file.len().checked_sub(CHECKSUM_LEN).and_then(|at| file.split_at_checked(at));
                body.is_some_and(|(body, checksum)| checksum == sum.sum(&[body]))
            }
        }
    }
}
