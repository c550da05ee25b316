//! Changes of what is on disk in two steps: what takes time is done beside the old and without a lock, and takes its place
//! under the lock, if the change is still the one that was wanted.

use super::survey::Ask;
use crate::store::StoreError;
use crate::store::file::{StagedMeta, StagedState};
use std::io;

/// How often a directory that is gone is believed to have gone just then.
const GONE_MAX: u32 = 4;

/// What a request to change something has come to.
pub enum Change<T> {
    /// It is made.
    Made(T),
    /// Nothing has changed yet: this has to be done first, without a lock, and the request made again with what
    /// comes of it.
    Stage(ToStage),
}

impl<T> Change<T> {
    /// What was made, or why nothing was.
    ///
    /// # Errors
    /// What has to be done first.
    pub fn or_first<B>(self) -> Result<T, Change<B>> {
        match self {
            Self::Made(made) => Ok(made),
            Self::Stage(work) => Err(Change::Stage(work)),
        }
    }

    /// What was made, where nothing has to be staged.
    pub fn made(self) -> Option<T> {
        match self {
            Self::Made(made) => Some(made),
            Self::Stage(_) => None,
        }
    }
}

/// What has to be done first.
pub struct ToStage(Work);

enum Work {
    /// Makes durable beside the old what is to replace it.
    Disk(Box<dyn FnOnce() -> Result<Staged, StoreError> + Send>),
    /// Something has to be found out about the stream.
    Ask(Ask),
}

impl From<Ask> for ToStage {
    fn from(ask: Ask) -> Self {
        Self(Work::Ask(ask))
    }
}

impl ToStage {
    pub(crate) fn new(stage: impl FnOnce() -> Result<Staged, StoreError> + Send + 'static) -> Self {
        Self(Work::Disk(Box::new(stage)))
    }

    /// Waits for the disk. No lock that others need may be held.
    ///
    /// # Errors
    /// I/O; nothing has changed.
    pub fn run(self) -> Result<Staged, StoreError> {
        match self.0 {
            Work::Disk(stage) => stage(),
            Work::Ask(_) => Err(StoreError::Unsupported("a question that takes long".to_owned())),
        }
    }

    /// The question, if it is one.
    ///
    /// # Errors
    /// Then it is work for the disk.
    pub(crate) fn into_ask(self) -> Result<Ask, Self> {
        match self.0 {
            Work::Ask(ask) => Ok(ask),
            Work::Disk(_) => Err(self),
        }
    }
}

/// What is durable beside the old and can take its place.
pub enum Staged {
    /// Configuration, of a consumer that was created then.
    Config(StagedMeta, i64),
    /// The state of a consumer that begins at a sequence.
    Beginning(StagedState, u64),
    /// Nothing: the change is made in memory alone, since the disk refuses it.
    Refused,
}

/// What a change that is tried again and again has staged.
#[derive(Default)]
pub struct Staging {
    staged: Option<Staged>,
    /// How often what it was for had gone.
    gone: u32,
}

impl Staging {
    /// What was staged last, for the next try.
    pub fn take(&mut self) -> Option<Staged> {
        self.staged.take()
    }

    /// Stages. Where that finds what it is for gone, the next try finds out what became of it.
    ///
    /// # Errors
    /// I/O; nothing has changed.
    pub fn stage(&mut self, work: ToStage) -> Result<(), StoreError> {
        match work.run() {
            Ok(staged) => self.staged = Some(staged),
            Err(StoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && self.gone < GONE_MAX =>
            {
                self.gone += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
