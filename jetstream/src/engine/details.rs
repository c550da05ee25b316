//! What there is to tell of an account's streams and consumers, for monitoring.

use super::Engine;
use crate::config::StreamConfig;
use crate::consumer::ConsumerInfo;
use crate::message::AccountId;
use crate::origin::SourceInfo;
use crate::own::OwnSubscription;
use crate::stream::{Stream, StreamState};
use jetkv_go_compat::GoTime;
use std::sync::Arc;

/// One stream, as `/jsz` shows it.
#[derive(Debug, Clone)]
pub struct StreamDetail {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: GoTime,
    /// Its configuration.
    pub config: Arc<StreamConfig>,
    /// What it holds.
    pub state: StreamState,
    /// Its consumers in order of name; none where they were not asked for.
    pub consumers: Vec<ConsumerInfo>,
    /// What servers made on it to feed mirrors and sources, in order of name; none where consumers were not asked for.
    pub direct_consumers: Vec<ConsumerInfo>,
    /// What it mirrors.
    pub mirror: Option<SourceInfo>,
    /// What it takes from other streams.
    pub sources: Vec<SourceInfo>,
}

/// How many subscriptions the streams and consumers of an account have, but for those to the subjects of streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnSubscriptionCounts {
    /// In the account itself.
    pub present: u64,
    /// In the system account.
    pub in_system: u64,
    /// Those of the account that went.
    pub gone: u64,
}

impl Engine {
    /// The streams of an account, in order of name, `with_consumers` or without. None when the account does not have
    /// JetStream.
    #[must_use]
    pub fn stream_details(&self, id: AccountId, with_consumers: bool) -> Vec<StreamDetail> {
        let Some(account) = self.account(id) else { return Vec::new() };
        account.streams().iter().map(|stream| self.stream_detail(stream, with_consumers)).collect()
    }

    fn stream_detail(&self, stream: &Arc<Stream>, with_consumers: bool) -> StreamDetail {
        let mut inner = stream.lock();
        let mut detail = StreamDetail {
            name: stream.name().to_owned(),
            created: GoTime::from_ns(inner.created_ns),
            config: Arc::clone(&inner.config),
            state: inner.state(None),
            consumers: Vec::new(),
            direct_consumers: Vec::new(),
            mirror: inner.origins.mirror_info(inner.now.elapsed()),
            sources: inner.origins.sources_info(inner.now.elapsed()),
        };
        if with_consumers {
            let (all, mut ctx) = inner.parts();
            let listed: Vec<String> = all.names().map(str::to_owned).collect();
            let direct: Vec<String> = all.internal_names().map(str::to_owned).collect();
            let mut infos = |names: Vec<String>| {
                names.iter().filter_map(|name| all.info_by_name(&mut ctx, name)).collect::<Vec<_>>()
            };
            detail.consumers = infos(listed);
            detail.direct_consumers = infos(direct);
        }
        drop(inner);
        // Pull requests that were found to be over are told so.
        stream.commit(&*self.world.host);
        detail
    }

    /// What the streams and consumers of an account listen on, but for the subjects of streams.
    #[must_use]
    pub fn own_subscriptions(&self, id: AccountId) -> Vec<OwnSubscription> {
        let Some(account) = self.account(id) else { return Vec::new() };
        account.streams().iter().flat_map(|stream| stream.own_subscriptions()).collect()
    }

    /// How many of those there are.
    #[must_use]
    pub fn own_counts(&self, id: AccountId) -> OwnSubscriptionCounts {
        let Some(account) = self.account(id) else { return OwnSubscriptionCounts::default() };
        let (present, in_system, gone) = account.share.own.counts();
        OwnSubscriptionCounts { present, in_system, gone }
    }

    /// Names of the accounts that have streams in the store directory, known ones or not.
    #[must_use]
    pub fn stored_accounts(&self) -> Vec<String> {
        // What cannot be read is found out, and reported, by whoever needs it.
        self.storage.as_ref().and_then(|storage| storage.accounts().ok()).unwrap_or_default()
    }

    /// Names of the stored streams of an account that are not served: they could not be recovered.
    #[must_use]
    pub fn unserved_streams(&self, id: AccountId) -> Vec<String> {
        let (Some(storage), Some(account)) = (&self.storage, self.account(id)) else { return Vec::new() };
        // No stream is on its way into or out of the directory meanwhile.
        let _changes = account.changes.lock();
        let mut names = storage.stream_names(&account.share.name).unwrap_or_default();
        names.retain(|name| account.stream(name).is_none() && account.offline(name).is_none());
        names
    }

    /// Whether an account has a stream with that consumer.
    #[must_use]
    pub fn has_consumer(&self, id: AccountId, stream: &str, consumer: &str) -> bool {
        self.stream(id, stream).is_some_and(|stream| stream.lock().consumers.contains(consumer))
    }

    /// Why a stream cannot be written at present, if it cannot.
    #[must_use]
    pub fn write_error(&self, id: AccountId, stream: &str) -> Option<String> {
        self.stream(id, stream)?.lock().store.write_error()
    }
}
