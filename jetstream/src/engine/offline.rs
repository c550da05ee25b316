//! Streams that are kept and told of, but not served: a newer server wrote them, or a consumer of theirs, and what that
//! asks for nobody knows here (nats-server v2.15.2).

use super::Engine;
use super::account::Account;
use super::persist::decode_newer_consumer;
use crate::config::StreamConfig;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::store::StoreError;
use crate::store::file::Storage;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stream that is not served.
pub(crate) struct Offline {
    /// As much of its configuration as is understood.
    pub(crate) config: Arc<StreamConfig>,
    /// Why it is not served, as clients are told.
    pub(crate) reason: String,
    /// Its consumers that ask for more than this server knows, each with the reason.
    consumers: Mutex<BTreeMap<String, String>>,
}

impl Offline {
    pub(super) fn new(
        config: Arc<StreamConfig>,
        reason: String,
        consumers: BTreeMap<String, String>,
    ) -> Self {
        Self { config, reason, consumers: Mutex::new(consumers) }
    }

    /// Its consumers that are told of, in order of name, each with why it is not served.
    pub(crate) fn consumers(&self) -> Vec<(String, String)> {
        self.consumers.lock().iter().map(|(name, reason)| (name.clone(), reason.clone())).collect()
    }

    /// Why one of its consumers is not served.
    pub(crate) fn consumer(&self, name: &str) -> Option<String> {
        self.consumers.lock().get(name).cloned()
    }
}

/// The reason for a stream that would be served, were it not for a consumer.
pub(super) fn stopped_by(consumer: &str) -> String {
    format!("stopped - unsupported consumer {}", jetkv_go_compat::quoted(consumer.as_bytes()))
}

/// The consumers of a stored stream that ask for more than this server knows, and why each is not served.
pub(super) fn newer_consumers(
    storage: &Storage,
    account: &str,
    stream: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let stored = storage.consumers(account, stream)?.into_iter();
    let newer = stored.filter_map(|consumer| {
        let reason = decode_newer_consumer(&consumer.meta.ok()?)?;
        Some((consumer.name, reason))
    });
    Ok(newer.collect())
}

impl Engine {
    /// Deletes a stream that is not served. The caller holds the lock of the account's changes.
    pub(crate) fn delete_offline(&self, account: &Account, name: &str) -> Result<(), ApiError> {
        let Some(storage) = &self.storage else { return Ok(()) };
        let discarded = storage.discard_stream(&account.share.name, name);
        let discarded = discarded.map_err(|error| errors::STREAM_DELETE.because(error))?;
        account.forget_offline(name);
        self.remove_later(discarded, name.to_owned());
        Ok(())
    }

    /// Deletes a consumer of a stream that is not served. The stream goes on not being served until the next start.
    pub(crate) fn delete_offline_consumer(
        &self,
        account: &Account,
        offline: &Offline,
        name: &str,
    ) -> Result<(), ApiError> {
        let mut consumers = offline.consumers.lock();
        if !consumers.contains_key(name) {
            return Err(errors::CONSUMER_NOT_FOUND.into());
        }
        if let Some(storage) = &self.storage {
            let stream = &offline.config.name;
            let discarded = storage.discard_consumer(&account.share.name, stream, name);
            let discarded = discarded.map_err(|error| errors::STREAM_GENERAL_ERROR.because(error))?;
            self.remove_later(discarded, format!("{stream} > {name}"));
        }
        consumers.remove(name);
        Ok(())
    }
}
