//! Reading a stream for a backup, a little at a time.

use super::documents::consumer_document;
use crate::config::ConsumerConfig;
use crate::filter::Filter;
use crate::store::archive::{Entry, MAGIC, Packer, put_entry};
use crate::store::query::next_seq;
use crate::store::{Msg, StoreError};
use crate::stream::world::World;
use crate::stream::{Stream, StreamState};
use std::sync::Arc;

/// What one hold of the stream's lock reads at most.
const SLICE_MSGS: usize = 256;
const SLICE_BYTES: usize = 128 << 10;

/// Where a backup stands.
enum Stage {
    /// The documents come first: for a stream that removes what was acknowledged, consumers decide what is kept.
    Documents,
    /// The messages, from this sequence on.
    Messages(u64),
    /// All is packed.
    Packed,
}

/// The content of a backup, as it is made.
pub(super) struct Source {
    stream: Arc<Stream>,
    world: Arc<World>,
    /// What the stream held when the backup began. What comes later is not in it.
    state: StreamState,
    with_consumers: bool,
    /// Consumers that belong to mirrors and sources are left out: those make them anew.
    without_internal: bool,
    consumers: usize,
    stage: Stage,
    packer: Packer,
    /// Entries on their way into the packer; kept for its memory.
    entries: Vec<u8>,
}

impl Source {
    pub(super) fn new(
        stream: &Arc<Stream>,
        world: &Arc<World>,
        state: StreamState,
        with_consumers: bool,
    ) -> Self {
        Self {
            stream: Arc::clone(stream),
            world: Arc::clone(world),
            state,
            with_consumers,
            without_internal: false,
            consumers: 0,
            stage: Stage::Documents,
            packer: Packer::new(),
            entries: Vec::new(),
        }
    }

    /// Leaves consumers out that are not a client's.
    pub(super) fn without_internal(self) -> Self {
        Self { without_internal: true, ..self }
    }

    /// Consumers that are in it.
    pub(super) fn consumers(&self) -> usize {
        self.consumers
    }

    /// The last sequence that was read, and the last that will be.
    pub(super) fn progress(&self) -> (u64, u64) {
        let seq = match self.stage {
            Stage::Documents => 0,
            Stage::Messages(next) => next.saturating_sub(1),
            Stage::Packed => self.state.last_seq,
        };
        (seq, self.state.last_seq)
    }

    /// The next piece, of `len` bytes; a shorter one, or none, is the last.
    ///
    /// # Errors
    /// Why the stream cannot be read, in words.
    pub(super) fn next_piece(&mut self, len: usize) -> Result<Vec<u8>, String> {
        while self.packer.ready() < len && !matches!(self.stage, Stage::Packed) {
            self.read_on()?;
        }
        Ok(self.packer.take(len))
    }

    /// All of it at once, and as it is before it is packed.
    ///
    /// # Errors
    /// As of [`next_piece`](Self::next_piece).
    pub(super) fn read_whole(&mut self) -> Result<Vec<u8>, String> {
        let mut content = Vec::new();
        while !matches!(self.stage, Stage::Packed) {
            self.read_entries()?;
            content.extend_from_slice(&self.entries);
        }
        content.shrink_to_fit();
        Ok(content)
    }

    /// All but the messages, in the same form.
    pub(super) fn read_documents_alone(&mut self) -> Vec<u8> {
        self.entries.clear();
        self.read_documents();
        put_entry(&mut self.entries, &Entry::default());
        self.stage = Stage::Packed;
        std::mem::take(&mut self.entries)
    }

    fn read_entries(&mut self) -> Result<(), String> {
        self.entries.clear();
        match self.stage {
            Stage::Documents => {
                self.read_documents();
                self.stage = Stage::Messages(self.state.first_seq);
            }
            Stage::Messages(from) => match self.read_messages(from)? {
                Some(next) => self.stage = Stage::Messages(next),
                None => {
                    put_entry(&mut self.entries, &Entry::default());
                    self.stage = Stage::Packed;
                }
            },
            Stage::Packed => {}
        }
        Ok(())
    }

    fn read_on(&mut self) -> Result<(), String> {
        self.read_entries()?;
        self.packer.push(&self.entries);
        if let Stage::Packed = self.stage {
            self.packer.finish();
        }
        Ok(())
    }

    fn read_documents(&mut self) {
        let mut documents = Vec::new();
        let names =
            if self.with_consumers { self.stream.lock().consumers.names_for_backup() } else { Vec::new() };
        for name in names {
            // One that went meanwhile is not in the backup.
            let inner = self.stream.lock();
            let found = inner.consumers.export(&name, &inner.now);
            drop(inner);
            let is_left_out =
                |config: &ConsumerConfig| self.without_internal && (config.direct || config.sourcing);
            let found = found.filter(|(config, _)| !is_left_out(config));
            documents.extend(found.map(|(config, state)| {
                (format!("consumers/{name}"), consumer_document(&config, &state, self.state.last_seq))
            }));
        }
        self.consumers = documents.len();
        let state = StreamState { consumer_count: documents.len(), ..self.state.clone() };
        let state = jetkv_go_compat::json::to_vec(&state);
        self.entries.extend_from_slice(MAGIC);
        let ts_ns = self.world.clock.wall().ns();
        let first = [("state.json".to_owned(), state)];
        for (name, payload) in first.iter().chain(&documents) {
            let entry = Entry { name: name.as_bytes(), ts_ns, payload, ..Entry::default() };
            put_entry(&mut self.entries, &entry);
        }
    }

    /// Reads messages from a sequence on; says where to go on, `None` at the end.
    fn read_messages(&mut self, from: u64) -> Result<Option<u64>, String> {
        let mut inner = self.stream.lock();
        if inner.closed {
            return Err("store is closed".to_owned());
        }
        inner.flush();
        let mut next = from;
        for _ in 0..SLICE_MSGS {
            if next > self.state.last_seq {
                return Ok(None);
            }
            let at = next;
            let unreadable = |error| format!("couldn't load next message after seq {at}: {error}");
            // Mostly it is there: then it is read once. To look for the next one reads it, too.
            let is_there = match inner.store.load(next) {
                Ok(Some(Msg { seq, ts_ns, subject: name, headers, payload })) => {
                    put_entry(&mut self.entries, &Entry { name, ts_ns, seq, headers, payload });
                    true
                }
                Ok(None) | Err(StoreError::Damaged { .. }) => false,
                Err(error) => return Err(unreadable(error)),
            };
            next += 1;
            if !is_there {
                let found = next_seq(&mut *inner.store, &Filter::All, next).map_err(unreadable)?;
                let Some(seq) = found else { return Ok(None) };
                next = seq;
            }
            if self.entries.len() >= SLICE_BYTES {
                break;
            }
        }
        inner.hand_over();
        Ok(Some(next))
    }
}
