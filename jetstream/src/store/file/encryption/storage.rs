//! What of a store directory is encrypted, and with what.

use super::{AccountKeys, Contents, DirectoryKey, Frame, Protection};
use crate::settings::Encryption;
use crate::store::file::FileOptions;
use crate::store::file::files::{StreamFiles, io_error};
use crate::store::file::index_db;
use crate::store::file::meta::MetaFiles;
use crate::store::file::record::ChecksumKey;
use crate::store::file::state_file::CONSUMER_STATE;
use crate::store::file::storage::Storage;
use crate::store::{ConsumerState, StoreError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Blocks of encrypted streams are at most this large: to write one anew is to encrypt all of it.
const BLOCK_MAX_BYTES: u64 = 2 << 20;

/// States of consumers, and how a plain one is known.
const STATE: Frame<'static> =
    Frame::Known(|state| ConsumerState::decode(state).is_some_and(|state| !state.is_doubtful));

impl Storage {
    /// The same, with all that is written from here on encrypted, and what is there as it is opened. Nothing was opened
    /// yet.
    #[must_use]
    pub fn encrypted(mut self, encryption: Option<Encryption>) -> Self {
        self.encryption = encryption.map(Arc::new);
        self
    }

    /// Why a stream cannot be decrypted; `None` where it can, or is not encrypted.
    #[must_use]
    pub fn locked(&self, account: &str, stream: &str) -> Option<String> {
        self.meta_files(account, &self.stream_dir(account, stream), stream).directory_key().locked()
    }

    pub(in crate::store::file) fn account_keys(&self, account: &str) -> Option<AccountKeys> {
        let encryption = Arc::clone(self.encryption.as_ref()?);
        Some(AccountKeys { encryption, account: account.to_owned() })
    }

    /// `name` is that of the stream, or `stream/consumer`.
    pub(in crate::store::file) fn meta_files<'a>(
        &'a self,
        account: &str,
        dir: &'a Path,
        name: &'a str,
    ) -> MetaFiles<'a> {
        MetaFiles { disk: &*self.disk, dir, name, keys: self.account_keys(account) }
    }

    /// The files of a stream; they are converted where they are not encrypted as configured.
    pub(in crate::store::file) fn stream_files(
        &self,
        account: &str,
        name: &str,
        dir: PathBuf,
    ) -> Result<StreamFiles, StoreError> {
        let files = StreamFiles::new(Arc::clone(&self.disk), name, dir);
        match self.account_keys(account) {
            Some(keys) => files.encrypted(keys),
            None => Ok(files),
        }
    }

    pub(in crate::store::file) fn laid_out(&self, options: FileOptions) -> FileOptions {
        if self.encryption.is_none() {
            return options;
        }
        FileOptions { block_size_bytes: options.block_size_bytes.min(BLOCK_MAX_BYTES), ..options }
    }

    /// The metadata of a stream; encrypted as configured from here on.
    pub(in crate::store::file) fn read_stream_meta(
        &self,
        account: &str,
        name: &str,
        dir: &Path,
    ) -> Result<Vec<u8>, String> {
        let files = self.meta_files(account, dir, name);
        let Contents { plain, protection } = files.read()?;
        let cipher = self.encryption.as_ref().map(|encryption| encryption.cipher).unwrap_or_default();
        match protection {
            Protection::AsConfigured => return Ok(plain),
            Protection::Plain => tracing::info!("  Encrypting stream '{account} > {name}'"),
            Protection::Outdated => {
                tracing::info!("  Converting to {cipher} for stream '{account} > {name}'")
            }
        }
        let index_db = dir.join("msgs").join(index_db::FILE);
        let protected = files.protect(&plain, &[(index_db, Frame::Summed(&ChecksumKey::name(name)))]);
        protected.map(|()| plain).map_err(|error| error.to_string())
    }

    /// As [`Storage::read_stream_meta`], of a consumer and with its state.
    pub(in crate::store::file) fn read_consumer_meta(
        &self,
        files: &MetaFiles<'_>,
    ) -> Result<Vec<u8>, String> {
        let Contents { plain, protection } = files.read()?;
        if protection == Protection::AsConfigured {
            return Ok(plain);
        }
        let protected = files.protect(&plain, &[(files.dir.join(CONSUMER_STATE), STATE)]);
        protected.map(|()| plain).map_err(|error| error.to_string())
    }

    /// The state of a consumer as it is on disk. Its metadata is there.
    pub(in crate::store::file) fn sealed_state(
        &self,
        files: &MetaFiles<'_>,
        state: &ConsumerState,
    ) -> Result<Vec<u8>, StoreError> {
        let state = state.encode();
        match files.directory_key().load()? {
            None => Ok(state),
            Some(key) => STATE
                .seal(&key, &state)
                .map_err(|error| io_error("could not encrypt the state in", files.dir, error)),
        }
    }

    /// The state in a consumer's directory, if it has saved one; inside, what is wrong with what is there.
    pub(in crate::store::file) fn read_state(
        &self,
        directory: &DirectoryKey<'_>,
    ) -> Result<Result<Option<ConsumerState>, String>, StoreError> {
        let path = directory.dir.join(CONSUMER_STATE);
        if let Some(problem) = directory.locked() {
            return Err(StoreError::Unsupported(problem));
        }
        match self.disk.read(&path) {
            Ok(bytes) if bytes.is_empty() => Ok(Ok(None)),
            Ok(bytes) => match directory.read(bytes, STATE).and_then(|plain| ConsumerState::decode(&plain)) {
                Some(state) => Ok(Ok(Some(state))),
                None => Ok(Err(format!("{} is damaged", path.display()))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(None)),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                Ok(Err(format!("{} is a directory", path.display())))
            }
            Err(error) => Err(io_error("could not read", &path, error)),
        }
    }
}
