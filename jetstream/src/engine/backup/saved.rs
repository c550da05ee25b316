//! What an account has stored, kept in memory and brought back as it was.

use super::intake::{Intake, Site};
use super::source::Source;
use super::{Engine, RestoreError};
use crate::config::StreamConfig;
use crate::engine::EngineError;
use crate::engine::account::Account;
use crate::message::AccountId;
use crate::store::StoreImage;
use crate::stream::Stream;
use std::sync::Arc;

/// A stream as it was: its configuration, its messages with their sequences and times, and its consumers.
#[derive(Debug, Clone)]
pub struct SavedStream {
    config: StreamConfig,
    created_ns: i64,
    msgs: u64,
    consumers: usize,
    /// Its consumers, and its messages where there is no image of them.
    archive: Vec<u8>,
    image: Option<Arc<StoreImage>>,
}

impl SavedStream {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Messages in it.
    #[must_use]
    pub fn msgs(&self) -> u64 {
        self.msgs
    }

    /// Consumers of it.
    #[must_use]
    pub fn consumers(&self) -> usize {
        self.consumers
    }

    /// What it takes to keep it.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let image = self.image.as_ref().map_or(0, |image| image.size_bytes());
        self.archive.len().saturating_add(usize::try_from(image).unwrap_or(usize::MAX))
    }
}

impl Engine {
    /// Saves all streams of an account. What is published meanwhile may be in it or not.
    ///
    /// # Errors
    /// The account has no JetStream, or a stream cannot be read.
    pub fn save_account(&self, id: AccountId) -> Result<Vec<SavedStream>, EngineError> {
        let account = self.account(id).ok_or(EngineError::NotEnabled)?;
        let _changes = account.changes.lock();
        let mut saved: Vec<_> =
            account.streams().iter().map(|stream| self.save(stream)).collect::<Result<_, _>>()?;
        // A stream that reads another is brought back behind it where their names allow; it finds it later otherwise.
        saved.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        Ok(saved)
    }

    fn save(&self, stream: &Arc<Stream>) -> Result<SavedStream, EngineError> {
        let mut inner = stream.lock();
        inner.flush();
        let (config, state) = (StreamConfig::clone(&inner.config), inner.state(None));
        let image = inner.image().map_err(|error| EngineError::Save(error.to_string()))?;
        drop(inner);
        let (created_ns, msgs) = (stream.created_ns(), state.messages);
        let mut source = Source::new(stream, &self.world, state, true).without_internal();
        // What is packed takes a good deal of the time that bringing it back may take.
        let archive = match image {
            Some(_) => source.read_documents_alone(),
            None => source.read_whole().map_err(EngineError::Save)?,
        };
        let (consumers, image) = (source.consumers(), image.map(Arc::new));
        Ok(SavedStream { config, created_ns, msgs, consumers, archive, image })
    }

    /// Brings streams back into an account that has none of their names.
    ///
    /// # Errors
    /// The account has no JetStream, or one of the streams cannot be brought back; those before it are there then.
    pub fn load_account(&self, id: AccountId, saved: &[SavedStream]) -> Result<(), EngineError> {
        let account = self.account(id).ok_or(EngineError::NotEnabled)?;
        for stream in saved {
            let loaded = self.load(&account, stream);
            loaded.map_err(|error| EngineError::Load(error.told(&account.share.name)))?;
        }
        Ok(())
    }

    fn load(&self, account: &Arc<Account>, saved: &SavedStream) -> Result<(), RestoreError> {
        let mut intake = Intake::new(Site {
            world: Arc::clone(&self.world),
            account: Arc::clone(account),
            storage: self.storage.clone(),
            config: saved.config.clone(),
            image: saved.image.clone(),
        });
        intake.push_unpacked(&saved.archive)?;
        let mut restored = intake.finish()?;
        restored.created_ns = saved.created_ns;
        self.place(account, restored).map(|_| ())
    }

    /// Deletes all that an account has stored, with its directory, and takes JetStream from it.
    ///
    /// # Errors
    /// A stream cannot be deleted, or the directory cannot be removed. The account has no JetStream in any case.
    pub fn drop_account(&self, id: AccountId) -> Result<(), EngineError> {
        let account = self.account(id).ok_or(EngineError::NotEnabled)?;
        let removed = self.reset_account(id);
        self.disable_account(id);
        removed?;
        self.remove_account_dir(&account.share.name).map_err(EngineError::Store)
    }
}
