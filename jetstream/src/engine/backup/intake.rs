//! Taking a backup in, of either kind, into a stream that nobody sees.
//!
//! nats-server 2.15 and JetKV send an archive of messages; servers before sent the files of a stream. Which it is, the
//! first bytes tell.

mod files;
mod messages;

use super::RestoreError;
use super::reservation::Reservation;
use crate::config::{ConsumerConfig, StorageType, StreamConfig};
use crate::consumer::{Consumers, Known, StreamCtx};
use crate::engine::account::Account;
use crate::engine::persist::file_options;
use crate::outbox::Outbox;
use crate::store::archive::{ArchiveError, MAGIC, Reader, Unpacker};
use crate::store::file::{Storage, TarReader, UnseenStream};
use crate::store::{ConsumerState, FileStore, MemoryStore, Store, StoreImage};
use crate::stream::consumer_settings;
use crate::stream::world::World;
use files::FileIntake;
use messages::MessageIntake;
use std::sync::Arc;

/// A consumer of a backup.
#[derive(Debug)]
pub(super) struct StoredConsumer {
    pub(super) name: String,
    /// 0 where the backup does not tell.
    pub(super) created_ns: i64,
    pub(super) config: ConsumerConfig,
    pub(super) state: Option<ConsumerState>,
}

/// Where messages of a restore go.
pub(super) enum Target {
    Memory(Box<MemoryStore>),
    File(UnseenStream, Box<FileStore>),
    /// They are all there.
    Image(Arc<StoreImage>),
}

impl Target {
    fn store(&mut self) -> Option<&mut dyn Store> {
        match self {
            Self::Memory(store) => Some(&mut **store),
            Self::File(_, store) => Some(&mut **store),
            Self::Image(_) => None,
        }
    }
}

/// A stream that came whole, and has no place yet.
pub(super) struct Restored {
    pub(super) config: StreamConfig,
    /// 0 where the backup does not tell.
    pub(super) created_ns: i64,
    pub(super) target: Target,
    pub(super) consumers: Vec<StoredConsumer>,
    /// Given back when the stream has taken the room itself.
    pub(super) reservation: Reservation,
}

/// What everything of a restore needs.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) world: Arc<World>,
    pub(super) account: Arc<Account>,
    pub(super) storage: Option<Storage>,
    pub(super) config: StreamConfig,
    /// The messages, if they do not come with the backup.
    pub(super) image: Option<Arc<StoreImage>>,
}

impl Site {
    /// A stream in a directory that nobody sees.
    fn unseen(&self) -> Result<UnseenStream, RestoreError> {
        let storage =
            self.storage.as_ref().ok_or_else(|| RestoreError::text("there is no store directory"))?;
        Ok(storage.begin_unseen(&self.account.share.name, &self.config.name)?)
    }

    /// Where messages go by the configuration.
    fn target(&self) -> Result<Target, RestoreError> {
        if let Some(image) = &self.image {
            return Ok(Target::Image(Arc::clone(image)));
        }
        if self.config.storage == StorageType::Memory {
            return Ok(Target::Memory(Box::default()));
        }
        let unseen = self.unseen()?;
        let store = unseen.open_store(file_options(&self.config))?;
        Ok(Target::File(unseen, Box::new(store)))
    }

    fn reservation(&self) -> Reservation {
        Reservation::new(&self.world, &self.account, self.config.storage)
    }
}

/// Finds out whether a stream can have the consumers of a backup.
struct Rehearsal {
    store: MemoryStore,
    consumers: Consumers,
    outbox: Outbox,
}

impl Rehearsal {
    fn new(site: &Site) -> Self {
        let settings = consumer_settings(&site.world, &site.account.share);
        Self { store: MemoryStore::new(), consumers: Consumers::new(settings), outbox: Outbox::new() }
    }

    /// Adds a consumer; gives its configuration with what it leaves open filled in.
    fn add(
        &mut self,
        site: &Site,
        name: &str,
        mut config: ConsumerConfig,
    ) -> Result<ConsumerConfig, RestoreError> {
        if config.direct || config.sourcing {
            return Err(RestoreError::text(format!("consumer \"{}\" is internal", name.escape_default())));
        }
        if config.name.is_empty() {
            config.name = if config.is_durable() { config.durable.clone() } else { name.to_owned() };
        }
        let now = crate::clock::Now::new(Arc::clone(&site.world.clock));
        let mut ctx = StreamCtx {
            account: site.account.share.id,
            config: &site.config,
            store: &mut self.store,
            outbox: &mut self.outbox,
            host: &*site.world.host,
            now: &now,
            known: &Known::default(),
        };
        let added = self.consumers.rehearse(&mut ctx, config);
        self.outbox.clear();
        added.map_err(|error| {
            RestoreError::text(format!("failed to add consumer \"{}\": {error}", name.escape_default()))
        })
    }
}

/// Bytes within which the first ones of the content have to come: the beginning of an S2 stream, and the largest chunk.
const DETECTED_WITHIN: usize = 10 + 4 + ((1 << 24) - 1);

/// A backup that comes in.
pub(super) struct Intake {
    site: Site,
    unpacker: Unpacker,
    kind: Kind,
    /// Bytes that came before it was known what it is.
    undetected: usize,
}

enum Kind {
    /// Its first bytes have not come.
    Unknown(Vec<u8>),
    Messages(Reader, Box<MessageIntake>),
    Files(TarReader, Box<FileIntake>),
}

impl Intake {
    pub(super) fn new(site: Site) -> Self {
        Self { site, unpacker: Unpacker::default(), kind: Kind::Unknown(Vec::new()), undetected: 0 }
    }

    /// Takes a piece of the backup.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        if self.is_whole() {
            // Whatever comes behind the end means nothing.
            return Ok(());
        }
        let Self { site, unpacker, kind, undetected } = self;
        unpacker.push(bytes, |content| kind.push(site, content))?;
        if let Kind::Unknown(_) = kind {
            *undetected += bytes.len();
            if *undetected >= DETECTED_WITHIN {
                return Err(ArchiveError::Undetected.into());
            }
        }
        kind.flush()
    }

    /// As [`push`](Self::push), of what was never packed.
    pub(super) fn push_unpacked(&mut self, content: &[u8]) -> Result<(), RestoreError> {
        self.kind.push(&self.site, content)?;
        self.kind.flush()
    }

    /// Whether the end of the backup has come.
    fn is_whole(&self) -> bool {
        match &self.kind {
            Kind::Unknown(_) => false,
            Kind::Messages(_, intake) => intake.is_whole(),
            Kind::Files(reader, _) => reader.is_at_end(),
        }
    }

    /// The sequence that was stored last, and the last that is to come.
    pub(super) fn progress(&self) -> (u64, u64) {
        match &self.kind {
            Kind::Messages(_, intake) => intake.progress(),
            _ => (0, 0),
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(self) -> Result<Restored, RestoreError> {
        let Self { site, kind, .. } = self;
        match kind {
            Kind::Messages(_, intake) if intake.is_whole() => intake.finish(&site),
            Kind::Files(reader, intake) if reader.is_at_end() => intake.finish(&site),
            _ => Err(ArchiveError::Truncated.into()),
        }
    }
}

impl Kind {
    fn flush(&mut self) -> Result<(), RestoreError> {
        match self {
            Self::Messages(_, intake) => intake.flush(),
            _ => Ok(()),
        }
    }

    fn push(&mut self, site: &Site, content: &[u8]) -> Result<(), RestoreError> {
        let first = match self {
            Self::Messages(reader, intake) => return reader.push(content, &mut intake.with(site)),
            Self::Files(reader, intake) => return reader.push(content, &mut intake.with(site)),
            Self::Unknown(first) => first,
        };
        first.extend_from_slice(content);
        if first.len() < MAGIC.len() {
            return Ok(());
        }
        let first = std::mem::take(first);
        *self = if first.starts_with(MAGIC) {
            Self::Messages(Reader::default(), Box::new(MessageIntake::new(site)))
        } else {
            Self::Files(TarReader::new(), Box::new(FileIntake::new(site)?))
        };
        self.push(site, &first)
    }
}
