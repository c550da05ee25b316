//! An archive of messages.

use super::super::documents::{BackupState, read_consumer};
use super::super::reservation::Reservation;
use super::{Rehearsal, RestoreError, Restored, Site, StoredConsumer, Target};
use crate::config::origins::invalid_filter;
use crate::headers::header;
use crate::store::archive::{Entries, Entry, Head};
use crate::store::{Msg, StoreError};
use crate::ttl::{Ttl, parse_ttl};
use jetkv_protocol::subject;

/// Longest document: the state of a consumer that awaits about a million acknowledgements.
const DOCUMENT_LEN_MAX: u64 = 64 << 20;
const CONSUMERS: &str = "consumers/";
const STATE: &[u8] = b"state.json";

/// What came of an archive of messages.
pub(super) struct MessageIntake {
    target: Option<Target>,
    state: BackupState,
    consumers: Vec<StoredConsumer>,
    rehearsal: Rehearsal,
    reservation: Reservation,
    /// The sequence that was stored or passed over last.
    seq: u64,
    is_whole: bool,
}

impl MessageIntake {
    pub(super) fn new(site: &Site) -> Self {
        Self {
            target: None,
            state: BackupState::default(),
            consumers: Vec::new(),
            rehearsal: Rehearsal::new(site),
            reservation: site.reservation(),
            seq: 0,
            is_whole: false,
        }
    }

    pub(super) fn with<'a>(&'a mut self, site: &'a Site) -> At<'a> {
        At { intake: self, site }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        (self.seq, self.state.last_seq)
    }

    /// Hands what was stored to the operating system.
    pub(super) fn flush(&mut self) -> Result<(), RestoreError> {
        if let Some(store) = self.target.as_mut().and_then(Target::store) {
            store.flush()?;
            store.keep();
        }
        Ok(())
    }

    pub(super) fn finish(mut self: Box<Self>, site: &Site) -> Result<Restored, RestoreError> {
        let mut target = self.target.take().ok_or_else(|| RestoreError::text("expected state.json first"))?;
        if let Some(store) = target.store() {
            // Sequences of messages that were deleted are not given again. Where the backup does not say when the last of
            // them came, it is now (nats-server v2.15.2).
            let last_ts_ns = match self.state.last_ts_ns() {
                0 => site.world.clock.wall().ns(),
                ts_ns => ts_ns,
            };
            store.skip_to(self.state.last_seq, last_ts_ns)?;
            store.flush()?;
        }
        Ok(Restored {
            config: site.config.clone(),
            created_ns: 0,
            target,
            consumers: self.consumers,
            reservation: self.reservation,
        })
    }
}

/// An intake and where it is.
pub(super) struct At<'a> {
    intake: &'a mut MessageIntake,
    site: &'a Site,
}

/// What an entry is, by what came before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    State,
    Consumer,
    Message,
    End,
}

impl At<'_> {
    fn what(&self, name: &[u8], seq: u64, ends: bool) -> Result<What, RestoreError> {
        if self.intake.target.is_none() {
            return if name == STATE {
                Ok(What::State)
            } else {
                Err(RestoreError::text("expected state.json first"))
            };
        }
        let expected = usize::try_from(self.intake.state.consumers).unwrap_or(usize::MAX);
        if self.intake.consumers.len() < expected {
            if name.starts_with(CONSUMERS.as_bytes()) {
                return Ok(What::Consumer);
            }
            let found = jetkv_go_compat::quoted(name);
            return Err(RestoreError::text(format!("expected consumer, found {found}")));
        }
        match seq {
            0 if ends => Ok(What::End),
            0 => Err(RestoreError::text("expected message sequence")),
            _ => Ok(What::Message),
        }
    }

    fn begin(&mut self, document: &[u8]) -> Result<(), RestoreError> {
        let state = BackupState::read(document).map_err(RestoreError::Text)?;
        self.intake.reservation.begin(&self.site.config, state.bytes)?;
        if let Some(reason) = invalid_filter(&self.site.config) {
            return Err(RestoreError::text(format!("error adding stream: {reason}")));
        }
        let added = self.site.account.check_addable(&self.site.config);
        added.map_err(|error| RestoreError::text(format!("error adding stream: {error}")))?;
        let mut target = self.site.target()?;
        // Sequences before the first are not given again.
        let before = state.first_seq.saturating_sub(1);
        let last_ts_ns = if before == state.last_seq { state.last_ts_ns() } else { 0 };
        target.store().map_or(Ok(()), |store| store.skip_to(before, last_ts_ns))?;
        self.intake.seq = before;
        self.intake.state = state;
        self.intake.target = Some(target);
        Ok(())
    }

    fn take_consumer(&mut self, path: &[u8], document: &[u8]) -> Result<(), RestoreError> {
        let name =
            std::str::from_utf8(path).ok().and_then(|path| path.strip_prefix(CONSUMERS)).unwrap_or_default();
        let (config, state) = read_consumer(name, document).map_err(RestoreError::Text)?;
        let config = self.intake.rehearsal.add(self.site, name, config)?;
        let name = if config.is_durable() { config.durable.clone() } else { config.name.clone() };
        self.intake.consumers.push(StoredConsumer { name, created_ns: 0, config, state: Some(state) });
        Ok(())
    }

    fn check_message(&mut self, head: &Head) -> Result<(), RestoreError> {
        let refuse = |what: &str| Err(RestoreError::text(format!("message sequence {} {what}", head.seq)));
        let config = &self.site.config;
        if head.len() > self.site.world.settings.load().max_payload_bytes {
            return refuse("exceeds maximum payload size");
        }
        if u64::try_from(config.max_msg_size).is_ok_and(|most| head.len() > most) {
            return refuse("exceeds maximum message size");
        }
        if head.seq <= self.intake.seq {
            return refuse("out of order");
        }
        if head.seq > self.intake.state.last_seq {
            return refuse("is beyond the last of the stream");
        }
        if !subject::is_valid_literal(&head.name) {
            return refuse("has no valid subject");
        }
        let Some(store) = self.intake.target.as_mut().and_then(Target::store) else { return Ok(()) };
        let lens = [head.headers_len, head.payload_len].map(|len| usize::try_from(len).unwrap_or(usize::MAX));
        let size = store.msg_size(head.name.len(), lens[0], lens[1]);
        self.intake.reservation.add(size)
    }

    fn take_message(&mut self, entry: &Entry<'_>) -> Result<(), RestoreError> {
        let Some(store) = self.intake.target.as_mut().and_then(Target::store) else { return Ok(()) };
        let ttl = header(entry.headers, b"Nats-TTL").map_or(Some(Ttl::Unset), parse_ttl);
        let ttl = ttl.ok_or_else(|| RestoreError::text("failed to parse message TTL"))?;
        let now = self.site.world.clock.wall();
        let stored = if ttl.expiry(entry.ts_ns).is_some_and(|at| at.is_reached(now)) {
            store.skip_to(entry.seq, entry.ts_ns)
        } else {
            let Entry { name: subject, ts_ns, seq, headers, payload } = *entry;
            store.append(&Msg { seq, ts_ns, subject, headers, payload }).map(drop)
        };
        stored.map_err(|error: StoreError| {
            RestoreError::text(format!("failed to store message sequence {}: {error}", entry.seq))
        })?;
        self.intake.seq = entry.seq;
        Ok(())
    }
}

impl Entries for At<'_> {
    type Error = RestoreError;

    fn begins(&mut self, head: &Head) -> Result<(), RestoreError> {
        if self.intake.is_whole {
            return Ok(());
        }
        let ends = head.name.is_empty() && head.ts_ns == 0 && head.len() == 0;
        match self.what(&head.name, head.seq, ends)? {
            What::State | What::Consumer if head.len() > DOCUMENT_LEN_MAX => {
                let name = jetkv_go_compat::quoted(&head.name);
                Err(RestoreError::text(format!("{name} is too large: {} bytes", head.len())))
            }
            What::Message => self.check_message(head),
            _ => Ok(()),
        }
    }

    fn take(&mut self, entry: &Entry<'_>) -> Result<(), RestoreError> {
        if self.intake.is_whole {
            return Ok(());
        }
        match self.what(entry.name, entry.seq, entry.is_end())? {
            // The two parts of a document are one.
            What::State => self.begin(&[entry.headers, entry.payload].concat()),
            What::Consumer => self.take_consumer(entry.name, &[entry.headers, entry.payload].concat()),
            What::Message => self.take_message(entry),
            What::End => {
                self.intake.is_whole = true;
                Ok(())
            }
        }
    }
}
