//! Taking everything away that an account has stored.

use super::{Engine, EngineError};
use crate::message::AccountId;

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Streams.
    pub streams: usize,
    /// Their consumers.
    pub consumers: usize,
}

impl Engine {
    /// Deletes all streams of an account with their consumers, as a client's requests would, and ends its backups.
    ///
    /// # Errors
    /// The account has no JetStream, or a stream cannot be deleted; those before it are gone then.
    pub fn reset_account(&self, id: AccountId) -> Result<Removed, EngineError> {
        let account = self.account(id).ok_or(EngineError::NotEnabled)?;
        self.jobs.cancel(Some(id));
        account.streams().iter().for_each(|stream| stream.rest(&*self.world.host));
        let _changes = account.changes.lock();
        let mut removed = Removed::default();
        for stream in account.streams() {
            let consumers = stream.lock().consumers.len();
            self.delete_stream(&account, &stream).map_err(EngineError::Delete)?;
            removed.streams += 1;
            removed.consumers += consumers;
        }
        Ok(removed)
    }
}
