//! Where a stream keeps its messages: the [`Store`] trait, its two implementations, and the subject index that
//! both share.
//!
//! A store is a map from sequence to message that knows nothing of limits, retention or time: the stream decides
//! what to remove and when, once, for both implementations. A store is called under its stream's lock.

pub mod archive;
mod chunk_sum;
pub mod consumer_state;
mod cow_vec;
mod derived;
pub mod file;
mod image;
pub mod index;
pub mod memory;
pub mod query;
pub(crate) mod source;
mod sync_work;
pub mod upcoming;
pub(crate) mod varint;

pub use consumer_state::{ConsumerState, PendingAck, SequencePair};
pub use derived::{Derived, Known};
pub use file::{FileStore, PictureTaken, PictureWork};
pub use image::StoreImage;
pub use memory::MemoryStore;
pub use sync_work::SyncWork;
pub use upcoming::{Ahead, Lowest, Upcoming};

use self::index::SubjectEntry;
use crate::filter::Filter;
use std::io;

/// A message as a store hands it out, borrowed from the store's memory until the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msg<'a> {
    /// Sequence in the stream, from 1.
    pub seq: u64,
    /// Time of arrival, nanoseconds since 1970.
    pub ts_ns: i64,
    /// Subject.
    pub subject: &'a [u8],
    /// Raw header block, empty for none.
    pub headers: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl Msg<'_> {
    /// What the message counts for in the stream's bytes. See [`msg_size_file`] and [`msg_size_memory`]; the store
    /// that holds it knows which.
    #[must_use]
    pub fn content_len(&self) -> usize {
        self.subject.len() + self.headers.len() + self.payload.len()
    }
}

/// Size that a message counts for in a file stream: its record on disk (22 bytes of header, 8 of checksum, 4 more
/// with headers). Observed on nats-server v2.15.2.
#[must_use]
pub const fn msg_size_file(subject_len: usize, headers_len: usize, payload_len: usize) -> u64 {
    let headers = if headers_len == 0 { 0 } else { 4 + headers_len };
    (22 + subject_len + headers + payload_len + 8) as u64
}

/// Size that a message counts for in a memory stream: 16 bytes for sequence and time beside its content.
#[must_use]
pub const fn msg_size_memory(subject_len: usize, headers_len: usize, payload_len: usize) -> u64 {
    (subject_len + headers_len + payload_len + 16) as u64
}

/// Counters of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreState {
    /// Messages held.
    pub msgs: u64,
    /// Sum of their sizes, as the store counts them.
    pub bytes: u64,
    /// First sequence held; `last_seq + 1` when the store is empty (0 in a store that never held anything).
    pub first_seq: u64,
    /// Time of the first message, 0 when empty.
    pub first_ts_ns: i64,
    /// Last sequence ever assigned, held or not.
    pub last_seq: u64,
    /// Time of the last message ever stored, 0 if none.
    pub last_ts_ns: i64,
    /// Distinct subjects.
    pub subjects: u64,
}

/// The counters that a store has at hand. The time of the first message, which [`StoreState`] also tells, may have to
/// be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages held.
    pub msgs: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// First sequence held, as in [`StoreState`].
    pub first_seq: u64,
    /// Last sequence ever assigned.
    pub last_seq: u64,
}

impl From<&StoreState> for Totals {
    fn from(state: &StoreState) -> Self {
        let StoreState { msgs, bytes, first_seq, last_seq, .. } = *state;
        Self { msgs, bytes, first_seq, last_seq }
    }
}

/// What a removal took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Sequence that is gone.
    pub seq: u64,
    /// Bytes it counted for.
    pub bytes: u64,
}

/// What storing a message brought.
#[derive(Debug)]
pub struct Stored {
    /// What its subject holds then.
    pub entry: SubjectEntry,
    /// The message that went for it, if one did.
    ///
    /// # Errors
    /// I/O; both are held, and the caller takes the change back.
    pub replaced: Result<Option<Removed>, StoreError>,
}

/// How many messages a consumer would get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pending {
    /// Messages that match, at or after the sequence asked for.
    pub count: u64,
    /// The last sequence of the stream that this count takes into account.
    pub through_seq: u64,
}

/// What a store took back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Messages that were appended and are not held any more, newest first, with their subjects.
    pub appended: Vec<(u64, Box<[u8]>)>,
    /// Messages that were removed and are held again.
    pub restored: Vec<u64>,
    /// Whether nothing of it can have reached a file, so that its sequences can be given again.
    pub unwritten: bool,
}

/// A message of a batch that nats-server had begun to store when it ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LeftMsg {
    /// Subject under which it was published.
    pub subject: Vec<u8>,
    /// Raw header block.
    pub headers: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl From<Msg<'_>> for LeftMsg {
    fn from(msg: Msg<'_>) -> Self {
        Self { subject: msg.subject.into(), headers: msg.headers.into(), payload: msg.payload.into() }
    }
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("{what}: {}", jetkv_go_compat::os_text(source))]
    Io {
        /// The operation and file.
        what: String,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The directory of all streams cannot be used; as a whole sentence.
    #[error("{0}")]
    Directory(String),
    /// An earlier write or sync failed; the store keeps serving reads and refuses writes until it is recovered.
    #[error("store is read-only after a failed write: {0}")]
    Poisoned(String),
    /// A record is damaged; it is never removed silently.
    #[error("message {seq} is damaged in {place}")]
    Damaged {
        /// Sequence of the message.
        seq: u64,
        /// File and offset.
        place: String,
    },
    /// The directory holds what this server cannot read, such as an encrypted stream.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A subject or message too long for the record format.
    #[error("message too large")]
    TooLarge,
}

/// Appends what lies between the sequences `held`, which begin at or after `from_seq`, and up to `last_seq`; see
/// [`Store::deleted_from`].
fn gaps(
    held: impl Iterator<Item = u64>,
    (from_seq, last_seq): (u64, u64),
    most: usize,
    deleted: &mut Vec<u64>,
) -> Option<u64> {
    let mut expected = from_seq;
    for (looked, seq) in held.enumerate() {
        if looked == most {
            return Some(expected);
        }
        #[cfg(test)]
        crate::steps::note();
        deleted.extend(expected..seq);
        expected = seq + 1;
    }
    deleted.extend(expected..=last_seq);
    None
}

/// A map from sequence to message, in order of sequence, with an index by subject.
pub trait Store: query::Sequences + Send {
    /// All that is counted. The first message may have to be read for its time.
    fn state(&self) -> StoreState;
    /// The index of subjects.
    fn index(&self) -> &index::SubjectIndex;
    /// Size that a message with such lengths counts for in [`StoreState::bytes`].
    fn msg_size(&self, subject_len: usize, headers_len: usize, payload_len: usize) -> u64;
    /// Appends a message; `msg.seq` is above `last_seq`, sequences in between count as removed. It is readable at
    /// once by the stream and outlives the process after the next [`Store::flush`]. Where its subject would hold more than
    /// `most` messages, the oldest of them goes with it: one change, for which the subject is looked up once.
    ///
    /// # Errors
    /// I/O, or a poisoned store; nothing was appended then.
    fn put(&mut self, msg: &Msg<'_>, most: u64) -> Result<Stored, StoreError>;
    /// As [`Store::put`], under a subject that may hold any number. Says what it holds then.
    ///
    /// # Errors
    /// As for [`Store::put`].
    fn append(&mut self, msg: &Msg<'_>) -> Result<SubjectEntry, StoreError> {
        self.put(msg, u64::MAX).map(|stored| stored.entry)
    }
    /// Raises `last_seq` to `seq` with nothing stored; sequences in between count as removed. `ts_ns` becomes the
    /// time of the last message unless it is 0. Does nothing where `seq` is not above `last_seq`.
    ///
    /// # Errors
    /// I/O, or a poisoned store.
    fn skip_to(&mut self, seq: u64, ts_ns: i64) -> Result<(), StoreError>;
    /// The message at `seq`, if it is held.
    ///
    /// # Errors
    /// I/O, or a damaged record.
    fn load(&mut self, seq: u64) -> Result<Option<Msg<'_>>, StoreError>;
    /// The first message at or after `from_seq` whose subject matches.
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn next(&mut self, filter: &Filter, from_seq: u64) -> Result<Option<Msg<'_>>, StoreError>;
    /// As [`Store::next`], for one who asks again and again with the same filter. Looks at a bounded part of the stream.
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn next_upcoming(
        &mut self,
        filter: &Filter,
        from_seq: u64,
        upcoming: &mut Upcoming,
    ) -> Result<Ahead<Msg<'_>>, StoreError>;
    /// The last message at or before `upto_seq` whose subject matches.
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn previous(&mut self, filter: &Filter, upto_seq: u64) -> Result<Option<Msg<'_>>, StoreError>;
    /// The first sequence held whose time is at or after `ts_ns`; `last_seq + 1` where there is none.
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn seq_at_time(&mut self, ts_ns: i64) -> Result<u64, StoreError>;
    /// How many messages match at or after `from_seq`; with `last_per_subject`, how many of them are the last of
    /// their subject.
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn pending(
        &mut self,
        filter: &Filter,
        from_seq: u64,
        last_per_subject: bool,
    ) -> Result<Pending, StoreError> {
        query::pending(self, filter, from_seq, last_per_subject)
    }
    /// How many messages match at or after `from_seq`, and which come first, unless more than about `budget` messages or
    /// nodes of the index have to be looked at for that.
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn look_ahead(
        &mut self,
        filter: &Filter,
        from_seq: u64,
        budget: usize,
    ) -> Result<Option<(Pending, Upcoming)>, StoreError> {
        upcoming::look_ahead(self, filter, from_seq, budget)
    }
    /// Removes the message at `seq`, if it is held. `subject` spares a read where the caller knows it. With `erase`
    /// the bytes are overwritten as well.
    ///
    /// # Errors
    /// I/O, or a poisoned store; the message is still held then.
    fn remove(
        &mut self,
        seq: u64,
        subject: Option<&[u8]>,
        erase: bool,
    ) -> Result<Option<Removed>, StoreError>;
    /// Removes everything below `seq`. The first message left becomes the first; without one, `last_seq + 1` is the
    /// first sequence, after `last_seq` was raised to `seq - 1` where it was lower. Does nothing where `seq` is not
    /// above `first_seq`. Says how many messages went.
    ///
    /// # Errors
    /// I/O, or a poisoned store.
    fn compact(&mut self, seq: u64) -> Result<u64, StoreError>;
    /// Removes at most about `most` of the messages below `seq`, oldest first, and shows each to `gone`. Says whether
    /// there are more. Unlike [`Store::compact`], it does not raise `last_seq`, and a part of it that a crash interrupts
    /// may be undone.
    ///
    /// # Errors
    /// I/O, or a poisoned store.
    fn compact_part(
        &mut self,
        seq: u64,
        most: usize,
        gone: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<bool, StoreError>;
    /// Appends the sequences from `from_seq` to the last that are not held, in order, and looks at `most` messages at
    /// most. Says where to go on; `None` where that was the end.
    fn deleted_from(&self, from_seq: u64, most: usize, deleted: &mut Vec<u64>) -> Option<u64>;
    /// Sequences between first and last that are not held, in order.
    fn deleted(&self) -> Vec<u64> {
        let mut deleted = Vec::new();
        self.deleted_from(self.totals().first_seq, usize::MAX, &mut deleted);
        deleted
    }
    /// How many sequences between first and last are not held.
    fn num_deleted(&self) -> u64 {
        let state = self.totals();
        if state.msgs == 0 { 0 } else { state.last_seq - state.first_seq + 1 - state.msgs }
    }
    /// Messages with a `Nats-TTL` header that were found when the store was opened, as (sequence, moment of expiry
    /// in nanoseconds since 1970); empties the list.
    fn take_recovered_expiries(&mut self) -> Vec<(u64, i64)>;
    /// What was known when the store was opened, and need not be found out.
    fn recovered(&self) -> Known {
        Known::default()
    }
    /// Notes what the caller derived from the messages. Called before [`Store::close`], it spares the next start the search
    /// for it.
    fn note_derived(&mut self, _derived: Derived) {}
    /// Whether so much was stored since the last picture that the next start would take long.
    fn wants_picture(&self) -> bool {
        false
    }
    /// What is held, all of which was flushed, as it is now; `derived` is what the caller derived from the messages. `None`
    /// where there is no such thing: then its messages have to be read.
    ///
    /// # Errors
    /// I/O.
    fn image(&mut self, _derived: Derived) -> Result<Option<StoreImage>, StoreError> {
        Ok(None)
    }
    /// Begins a picture of what is held, all of which was flushed, for a start after a crash; `None` where it would be of no
    /// use. It is written without the store's lock.
    fn begin_picture(&mut self, _derived: Derived) -> Option<PictureWork> {
        None
    }
    /// Puts a picture in its place. All that was flushed before it was begun has to be durable.
    ///
    /// # Errors
    /// I/O. A start after a crash takes longer then, and nothing else.
    fn end_picture(&mut self, _taken: PictureTaken) -> Result<(), StoreError> {
        Ok(())
    }
    /// Begins a change that is kept all or not at all: where a crash cuts it short, what is found is its first messages
    /// with nothing removed. Nothing is flushed before [`Store::end_atomic`], unless by [`Store::roll_back`].
    fn begin_atomic(&mut self) {}
    /// Ends it.
    ///
    /// # Errors
    /// As for [`Store::append`]; the change is to be taken back then.
    fn end_atomic(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Notes, for good, that what [`Store::begin_atomic`] begins next is a batch of which the messages alone would not tell
    /// after a crash.
    ///
    /// # Errors
    /// I/O; nothing is begun then.
    fn announce_batch(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    /// The sequence of the first message of the last batch that was announced since [`Store::forget_left_batches`].
    fn announced_batch(&self) -> Option<u64> {
        None
    }
    /// What another server had staged of the batch `id`, in order, and could not store to its end.
    ///
    /// # Errors
    /// I/O, or it is encrypted.
    fn left_batch(&mut self, _id: &[u8]) -> Result<Vec<LeftMsg>, StoreError> {
        Ok(Vec::new())
    }
    /// Removes all that was staged and not committed, or announced.
    ///
    /// # Errors
    /// I/O; it is tried again with the next start.
    fn forget_left_batches(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    /// What an orderly stop noted of the stream's schedules, here or on nats-server.
    fn noted_schedules(&mut self) -> Option<Vec<u8>> {
        None
    }
    /// Notes that for the next start. Called before [`Store::close`].
    fn note_schedules(&mut self, _noted: Vec<u8>) {}
    /// What was last noted of where sources stand, here or on nats-server.
    fn noted_positions(&mut self) -> Option<Vec<u8>> {
        None
    }
    /// Notes where sources stand, at once; durably where it `syncs`.
    ///
    /// # Errors
    /// I/O.
    fn note_positions(&mut self, _noted: &[u8], _syncs: bool) -> Result<(), StoreError> {
        Ok(())
    }
    /// Hands what was appended and removed to the operating system: it then outlives the process.
    ///
    /// # Errors
    /// I/O; the store is poisoned then.
    fn flush(&mut self) -> Result<(), StoreError>;
    /// Flushes and makes it durable: it then outlives a power failure.
    ///
    /// # Errors
    /// I/O; the store is poisoned then.
    fn sync(&mut self) -> Result<(), StoreError>;
    /// Flushes, and hands out what is left to do to make it durable, so that it can be done while the store is used
    /// for other things; `None` where all of it is durable. [`Store::end_sync`] follows before the next call.
    ///
    /// # Errors
    /// I/O; the store is poisoned then.
    fn begin_sync(&mut self) -> Result<Option<SyncWork>, StoreError>;
    /// The work that [`Store::begin_sync`] handed out came to this end. After a good one, what was flushed before the
    /// work was handed out is durable, and what waits for that (giving room back) is done.
    ///
    /// # Errors
    /// That of the work; the store is poisoned then.
    fn end_sync(&mut self, outcome: Result<(), StoreError>) -> Result<(), StoreError>;
    /// Why the store is read-only at present, if it is.
    fn write_error(&self) -> Option<String> {
        None
    }
    /// What was flushed so far was said to be stored: it is not taken back by [`Store::roll_back`]. A sync keeps what
    /// it made durable by itself.
    fn keep(&mut self) {}
    /// Takes back everything that was not kept, after a flush or sync has failed: what is held is then what was
    /// before. A store that cannot fail takes nothing back.
    fn roll_back(&mut self) -> Lost {
        Lost::default()
    }
    /// Flushes and writes whatever makes the next start fast. The store is not used afterwards.
    ///
    /// # Errors
    /// I/O.
    fn close(&mut self) -> Result<(), StoreError>;
}
