//! Taking everything away that an account has stored.

use super::account::Account;
use super::{Engine, EngineError};
use crate::error::ApiError;
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
        self.rest_streams(&account);
        let _changes = account.changes.lock();
        self.delete_streams(&account).map_err(EngineError::Delete)
    }

    /// Before all streams of an account are deleted: ends its backups, and has what the streams did be as durable as configured
    /// before the lock of the account is taken.
    pub(crate) fn rest_streams(&self, account: &Account) {
        self.jobs.cancel(Some(account.share.id));
        account.streams().iter().for_each(|stream| stream.rest(&*self.world.host));
    }

    /// Deletes all streams of an account, which [rest](Self::rest_streams). The caller holds the lock of its changes.
    ///
    /// # Errors
    /// A stream cannot be deleted. Those before it are gone then, and the others go on.
    pub(crate) fn delete_streams(&self, account: &Account) -> Result<Removed, ApiError> {
        let mut removed = Removed::default();
        for stream in account.streams() {
            let consumers = stream.lock().consumers.len();
            if let Err(error) = self.delete_stream(account, &stream) {
                account.streams().iter().for_each(|left| left.go_on(&*self.world.host));
                return Err(error);
            }
            removed.streams += 1;
            removed.consumers += consumers;
        }
        for name in account.all_offline().keys() {
            self.delete_offline(account, name)?;
            removed.streams += 1;
        }
        Ok(removed)
    }
}
