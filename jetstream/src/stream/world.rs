//! What all streams of an engine share.

use super::{Host, Stream};
use crate::clock::Clock;
use crate::config::StorageType;
use crate::warnings::Warnings;

use crate::message::AccountId;
use crate::origin::Mirrors;
use crate::own::OwnCounts;
use crate::settings::{EngineConfig, EngineSettings, Live, Tier, TieredLimits};
use crate::timers::Timers;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The world of an engine: time, the host, timers and totals.
pub(crate) struct World {
    pub(crate) config: EngineConfig,
    pub(crate) settings: Live<EngineSettings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) timers: Timers<Stream>,
    pub(crate) ids: Ids,
    /// Held by all streams together.
    pub(crate) usage: Usage,
    /// Promised to streams by their `max_bytes`.
    pub(crate) reserved: Usage,
    /// Batches that are open.
    pub(crate) batches: Arc<InFlight>,
    /// Requests that were warned of lately.
    pub(crate) warnings: Warnings,
}

/// What the streams of one account share.
pub(crate) struct AccountShare {
    pub(crate) id: AccountId,
    pub(crate) name: String,
    /// Stands for the name in subjects of acknowledgements.
    pub(crate) hash: String,
    pub(crate) limits: Live<TieredLimits>,
    pub(crate) usage: Usage,
    pub(crate) used: UsedTiers,
    pub(crate) watches: Watches,
    pub(crate) own: Arc<OwnCounts>,
    /// Mirrors that answer direct gets of their origins.
    pub(crate) mirrors: Mirrors<Stream>,
}

/// Which streams have consumers that deliver to a subject.
#[derive(Default)]
pub(crate) struct Watches {
    by_subject: RwLock<HashMap<Box<[u8]>, Watchers>>,
}

type Watchers = SmallVec<[Weak<Stream>; 1]>;

impl Watches {
    /// Watches a subject on behalf of a stream.
    pub(crate) fn add(&self, subject: Box<[u8]>, stream: &Weak<Stream>) {
        let mut by_subject = self.by_subject.write();
        let watchers = by_subject.entry(subject).or_default();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        if !watchers.iter().any(|watcher| watcher.ptr_eq(stream)) {
            watchers.push(stream.clone());
        }
    }

    /// Stops watching a subject on behalf of a stream.
    pub(crate) fn remove(&self, subject: &[u8], stream: &Weak<Stream>) {
        let mut by_subject = self.by_subject.write();
        if let Some(watchers) = by_subject.get_mut(subject) {
            watchers.retain(|watcher| watcher.strong_count() > 0 && !watcher.ptr_eq(stream));
            if watchers.is_empty() {
                by_subject.remove(subject);
            }
        }
    }

    /// The streams that watch a subject.
    pub(crate) fn streams(&self, subject: &[u8]) -> SmallVec<[Arc<Stream>; 1]> {
        let by_subject = self.by_subject.read();
        by_subject
            .get(subject)
            .map(|found| found.iter().filter_map(Weak::upgrade).collect())
            .unwrap_or_default()
    }
}

/// Batches that are open on all streams together.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Atomic batches.
    pub(crate) atomic: AtomicI64,
    /// Fast batches.
    pub(crate) fast: AtomicI64,
    /// Bytes of what atomic batches have staged.
    pub(crate) staged_bytes: AtomicUsize,
}

/// For which tiers anything was counted since the start.
#[derive(Debug, Default)]
pub(crate) struct UsedTiers {
    flat: AtomicBool,
    single: AtomicBool,
}

impl UsedTiers {
    fn of(&self, tier: Tier) -> &AtomicBool {
        match tier {
            Tier::Flat => &self.flat,
            Tier::Single => &self.single,
        }
    }

    pub(crate) fn note(&self, tier: Tier) {
        self.of(tier).store(true, Ordering::Relaxed);
    }

    pub(crate) fn has(&self, tier: Tier) -> bool {
        self.of(tier).load(Ordering::Relaxed)
    }
}

/// Bytes by storage type.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    memory: AtomicI64,
    file: AtomicI64,
}

impl Usage {
    fn counter(&self, storage: StorageType) -> &AtomicI64 {
        match storage {
            StorageType::Memory => &self.memory,
            StorageType::File => &self.file,
        }
    }

    pub(crate) fn add(&self, storage: StorageType, bytes: i64) {
        self.counter(storage).fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, storage: StorageType) -> i64 {
        self.counter(storage).load(Ordering::Relaxed)
    }
}

/// Generates ids, all from one seed.
pub(crate) struct Ids {
    rng: Mutex<SmallRng>,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Mutex::new(SmallRng::seed_from_u64(seed)) }
    }

    /// A number for whoever needs randomness of its own.
    pub(crate) fn seed(&self) -> u64 {
        self.rng.lock().random()
    }

    /// An id of 22 digits to base 62, the shape of nats-server's.
    pub(crate) fn next(&self) -> String {
        jetkv_go_compat::base62::id(|bytes| self.rng.lock().fill_bytes(bytes))
    }
}
