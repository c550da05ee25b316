//! The files of a stream, as servers before nats-server 2.15 send them.

use super::super::reservation::Reservation;
use super::{Rehearsal, RestoreError, Restored, Site, StoredConsumer, Target};
use crate::config::StorageType;
use crate::engine::persist::{decode_consumer, decode_stream, file_options};
use crate::filter::Filter;
use crate::store::file::{Files, UnseenFile, UnseenStream};
use crate::store::{ConsumerState, MemoryStore, Store};
use std::collections::BTreeMap;

/// Longest file that is held in memory: the state of a consumer that awaits some million acknowledgements.
const HELD_LEN_MAX: u64 = 64 << 20;
/// Where a server that failed to make the backup says why.
const ERRORS: &str = "errors.txt";

/// What came of the files of a stream.
pub(super) struct FileIntake {
    unseen: UnseenStream,
    reservation: Reservation,
    /// What is not written to the disk as it comes, by path.
    held: BTreeMap<String, Vec<u8>>,
    /// Bytes of that.
    held_len: u64,
    /// Names of the files that were written.
    written: Vec<String>,
    open: Open,
}

/// The file that comes.
enum Open {
    /// Of messages.
    Written(UnseenFile),
    Held(String, Vec<u8>),
    /// One that means nothing.
    Ignored,
}

impl FileIntake {
    pub(super) fn new(site: &Site) -> Result<Self, RestoreError> {
        Ok(Self {
            unseen: site.unseen()?,
            reservation: site.reservation(),
            held: BTreeMap::new(),
            held_len: 0,
            written: Vec::new(),
            open: Open::Ignored,
        })
    }

    pub(super) fn with<'a>(&'a mut self, _: &'a Site) -> &'a mut Self {
        self
    }

    fn file(&self, path: &str) -> Result<&[u8], RestoreError> {
        let file = self.held.get(path);
        file.map(Vec::as_slice).ok_or_else(|| RestoreError::text(format!("{path} is missing")))
    }

    pub(super) fn finish(self: Box<Self>, site: &Site) -> Result<Restored, RestoreError> {
        if let Some(error) = self.held.get(ERRORS) {
            let error = String::from_utf8_lossy(error);
            return Err(RestoreError::text(format!("the backup is not whole: {error}")));
        }
        let meta = self.file("meta.inf")?;
        let (created_ns, config) = decode_stream(meta).map_err(RestoreError::Text)?;
        if config.name != site.config.name {
            return Err(RestoreError::text("stream names do not match"));
        }
        // nats-server does without the sum of the stream, not without those of consumers.
        let sum = self.held.get("meta.sum");
        if sum.is_some_and(|sum| !self.unseen.is_checksum(meta, sum)) {
            return Err(RestoreError::text("meta.inf: checksums do not match"));
        }
        let consumers = self.consumers(site)?;
        let mut store = self.unseen.open_store(file_options(&site.config))?;
        if let Some((seq, place)) = store.damaged().iter().next() {
            let place = place.rsplit('/').next().unwrap_or_default();
            return Err(RestoreError::text(format!("message sequence {seq} is damaged in {place}")));
        }
        for name in &self.written {
            self.unseen.sync_file(name)?;
        }
        let Self { unseen, mut reservation, .. } = *self;
        let target = match site.config.storage {
            StorageType::File => Target::File(unseen, Box::new(store)),
            // Files mean memory to nobody: their messages do.
            StorageType::Memory => Target::Memory(Box::new(copied(&mut store, &mut reservation)?)),
        };
        Ok(Restored { config: site.config.clone(), created_ns, target, consumers, reservation })
    }

    fn consumers(&self, site: &Site) -> Result<Vec<StoredConsumer>, RestoreError> {
        let mut rehearsal = Rehearsal::new(site);
        let mut consumers = Vec::new();
        for path in self.held.keys() {
            let name = path.strip_prefix("obs/").and_then(|path| path.strip_suffix("/meta.inf"));
            let Some(name) = name.filter(|name| !name.contains('/')) else { continue };
            let refuse =
                |error: String| RestoreError::text(format!("error restoring consumer [\"{name}\"]: {error}"));
            let meta = self.file(path)?;
            if !self.unseen.is_checksum_of(name, meta, self.file(&format!("obs/{name}/meta.sum"))?) {
                return Err(refuse("checksums do not match".to_owned()));
            }
            let (created_ns, config) = decode_consumer(meta).map_err(refuse)?;
            let config = rehearsal.add(site, name, config)?;
            let known = if config.is_durable() { &config.durable } else { &config.name };
            if known != name {
                return Err(refuse(format!("its configuration is that of \"{}\"", known.escape_default())));
            }
            let state = match self.held.get(&format!("obs/{name}/o.dat")) {
                Some(file) if !file.is_empty() => Some(
                    ConsumerState::decode(file).ok_or_else(|| refuse("its state is damaged".to_owned()))?,
                ),
                _ => None,
            };
            consumers.push(StoredConsumer { name: name.to_owned(), created_ns, config, state });
        }
        Ok(consumers)
    }
}

/// Copies messages into memory.
fn copied(from: &mut dyn Store, reservation: &mut Reservation) -> Result<MemoryStore, RestoreError> {
    let (mut store, held) = (MemoryStore::new(), from.state());
    crate::engine::streams::begin_at(&mut store, held.first_seq)?;
    let mut next = 0;
    while let Some(msg) = from.next(&Filter::All, next)? {
        next = msg.seq + 1;
        reservation.add(store.msg_size(msg.subject.len(), msg.headers.len(), msg.payload.len()))?;
        store.append(&msg)?;
    }
    store.skip_to(held.last_seq, held.last_ts_ns)?;
    Ok(store)
}

impl Files for &mut FileIntake {
    type Error = RestoreError;

    fn begins(&mut self, path: &str, len: u64) -> Result<(), RestoreError> {
        self.reservation.add(len)?;
        let parts: Vec<&str> = path.split('/').collect();
        self.open = match parts.as_slice() {
            ["msgs", name] => {
                self.written.push((*name).to_owned());
                Open::Written(self.unseen.create_file(name)?)
            }
            ["meta.inf" | "meta.sum" | ERRORS] | ["obs", _, "meta.inf" | "meta.sum" | "o.dat"] => {
                self.held_len = self.held_len.saturating_add(len);
                if self.held_len > HELD_LEN_MAX {
                    return Err(RestoreError::text(format!("{path} is too large: {len} bytes")));
                }
                Open::Held(path.to_owned(), Vec::new())
            }
            _ => Open::Ignored,
        };
        Ok(())
    }

    fn part(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        match &mut self.open {
            Open::Written(file) => file.write(bytes)?,
            Open::Held(_, held) => held.extend_from_slice(bytes),
            Open::Ignored => {}
        }
        Ok(())
    }

    fn ends(&mut self) -> Result<(), RestoreError> {
        match std::mem::replace(&mut self.open, Open::Ignored) {
            Open::Held(path, held) => {
                if self.held.insert(path, held).is_some() {
                    return Err(crate::store::archive::ArchiveError::Unexpected.into());
                }
            }
            Open::Written(_) | Open::Ignored => {}
        }
        Ok(())
    }
}
