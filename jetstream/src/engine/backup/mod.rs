//! Backups of streams, and their restoration: work that goes on after the request for it was answered, beside everything
//! else. Nothing waits for it, and it waits on no thread: a piece of it is done when a client has taken or brought one.

mod advisory;
mod documents;
mod intake;
mod place;
mod reservation;
mod restore;
mod saved;
mod snapshot;
mod source;

pub(crate) use restore::{RestoreJob, RestoreWording};
pub use saved::SavedStream;
pub(crate) use snapshot::{SnapshotJob, SnapshotRequest};

use super::Engine;
use crate::clock::{Deadlines, ElapsedNs};
use crate::error::ApiError;
use crate::error::catalogue::STREAM_RESTORE;
use crate::message::AccountId;
use crate::store::StoreError;
use crate::store::archive::ArchiveError;
use crate::stream::world::World;
use hashbrown::HashMap;
use jetkv_go_compat::{GoDuration, GoTime};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where clients acknowledge pieces of a backup, and bring those of a restore.
const ACK: &[u8] = b"$JS.SNAPSHOT.ACK.";
const RESTORE: &[u8] = b"$JS.SNAPSHOT.RESTORE.";

/// What is wrong with a restore.
#[derive(Debug)]
enum RestoreError {
    /// As the API has it.
    Api(ApiError),
    /// The backup is damaged, or hostile.
    Archive(ArchiveError),
    /// In words.
    Text(String),
}

impl RestoreError {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// As the client hears it.
    fn told(self, account: &str) -> ApiError {
        match self {
            Self::Api(error) => error,
            Self::Archive(error @ ArchiveError::Unexpected) => {
                STREAM_RESTORE.because(format_args!("{error} (account={account})"))
            }
            Self::Archive(error) => STREAM_RESTORE.because(error),
            Self::Text(text) => STREAM_RESTORE.because(text),
        }
    }
}

impl From<ApiError> for RestoreError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<ArchiveError> for RestoreError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Text(error.to_string())
    }
}

/// How long it is since `start`, as log lines say it.
fn time_since(world: &World, start: GoTime) -> GoDuration {
    GoDuration(world.now_time().ns().saturating_sub(start.ns()))
}

/// What is going on, for whoever wants to know how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupProgress {
    /// The account.
    pub account: AccountId,
    /// The stream.
    pub stream: String,
    /// Whether a backup is restored, and not made.
    pub restores: bool,
    /// Bytes of the backup that were sent, or came.
    pub bytes: u64,
    /// The last sequence that was read or stored.
    pub seq: u64,
    /// The last sequence of the stream when the backup began; 0 where that is not known yet.
    pub last_seq: u64,
}

/// Work that is going on.
#[derive(Clone)]
enum Job {
    Snapshot(Arc<SnapshotJob>),
    Restore(Arc<RestoreJob>),
}

impl Job {
    /// Ends it, and returns when nothing of it is left. Nobody is told.
    fn cancel(&self) {
        match self {
            Self::Snapshot(job) => job.cancel(),
            Self::Restore(job) => job.cancel(),
        }
    }
}

type Key = (AccountId, Box<[u8]>);

/// Backups and restores that are going on, by the subject that belongs to each.
#[derive(Default)]
pub(crate) struct Jobs {
    by_subject: RwLock<HashMap<Key, Job>>,
    /// How many there are: what a change of interest looks at where there are none.
    count: AtomicUsize,
}

impl Jobs {
    fn insert(&self, account: AccountId, subject: &[u8], job: Job) {
        let mut jobs = self.by_subject.write();
        jobs.insert((account, subject.into()), job);
        self.count.store(jobs.len(), Ordering::SeqCst);
    }

    fn remove(&self, account: AccountId, subject: &[u8]) -> Option<Job> {
        let mut jobs = self.by_subject.write();
        let removed = jobs.remove(&(account, subject.into()));
        self.count.store(jobs.len(), Ordering::SeqCst);
        removed
    }

    fn get(&self, account: AccountId, subject: &[u8]) -> Option<Job> {
        self.by_subject.read().get(&(account, subject.into())).cloned()
    }

    fn all(&self) -> Vec<Job> {
        if self.count.load(Ordering::SeqCst) == 0 {
            Vec::new()
        } else {
            self.by_subject.read().values().cloned().collect()
        }
    }

    /// Ends those of an account, or all.
    pub(crate) fn cancel(&self, of: Option<AccountId>) {
        let cancelled: Vec<Job> = {
            let mut jobs = self.by_subject.write();
            let cancelled = jobs.extract_if(|(account, _), _| of.is_none_or(|of| of == *account));
            let cancelled = cancelled.map(|(_, job)| job).collect();
            self.count.store(jobs.len(), Ordering::SeqCst);
            cancelled
        };
        cancelled.iter().for_each(Job::cancel);
    }

    /// Interest in a subject came or went.
    pub(crate) fn interest_changed(&self, account: AccountId, subject: &[u8]) {
        for job in self.all() {
            if let Job::Snapshot(job) = job
                && job.account() == account
            {
                job.interest_changed(subject);
            }
        }
    }

    /// Ends what nobody goes on with, and says when to look again.
    pub(crate) fn tick(&self, now: ElapsedNs) -> Deadlines {
        let mut next: Option<ElapsedNs> = None;
        for job in self.all() {
            let due = match job {
                Job::Snapshot(job) => job.tick(now),
                Job::Restore(job) => job.tick(now),
            };
            next = next.into_iter().chain(due).min();
        }
        Deadlines { wall: None, elapsed: next }
    }
}

impl Engine {
    /// Takes a message on `$JS.SNAPSHOT.>`: the acknowledgement of a piece of a backup, or a piece of one that is
    /// restored. Says whether anything listens on that subject.
    pub fn backup_message(&self, account: AccountId, subject: &[u8], reply: &[u8], payload: &[u8]) -> bool {
        if subject.starts_with(RESTORE) {
            return match self.jobs.get(account, subject) {
                Some(Job::Restore(job)) => job.take(reply, payload),
                _ => false,
            };
        }
        // `$JS.SNAPSHOT.ACK.<stream>.<id>`, and behind it at least one token.
        let Some(rest) = subject.strip_prefix(ACK) else { return false };
        let mut dots = memchr::memchr_iter(b'.', rest);
        let Some(end) = dots.nth(1) else { return false };
        let prefix = subject.get(..ACK.len() + end).unwrap_or_default();
        match self.jobs.get(account, prefix) {
            Some(Job::Snapshot(job)) => {
                job.acknowledged();
                true
            }
            _ => false,
        }
    }

    /// The backups and restores that are going on.
    #[must_use]
    pub fn backups(&self) -> Vec<BackupProgress> {
        let jobs = self.jobs.all();
        jobs.iter()
            .map(|job| match job {
                Job::Snapshot(job) => job.progress(),
                Job::Restore(job) => job.progress(),
            })
            .collect()
    }
}
