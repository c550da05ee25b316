//! What the messages of a batch must satisfy before any of them is stored, in nats-server's order. Each is held against
//! the stream as it is, and against those that come before it in the batch.

use crate::config::Discard;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::stream::counter::Counter;
use crate::stream::write::{PublishHeaders, Refusal, Rollup, parse_int};
use crate::stream::{Inner, StagedMsg};
use crate::ttl::{Ttl, parse_ttl};
use hashbrown::{HashMap, HashSet};

/// What the messages checked so far will have done.
#[derive(Debug, Default)]
pub(in crate::stream) struct Diff {
    ids: HashSet<Box<[u8]>>,
    subjects: HashMap<Box<[u8]>, OfSubject>,
    /// Last sequences that were asked for, by subject.
    expected: HashMap<Box<[u8]>, u64>,
    /// What counters will show, by subject.
    counters: HashMap<Box<[u8]>, Counter>,
    pub(super) msgs: u64,
    pub(super) bytes: u64,
}

/// What the messages checked so far do on one subject.
#[derive(Debug, Default, Clone, Copy)]
struct OfSubject {
    count: u64,
    /// Whether the last of them is a schedule.
    is_schedule: bool,
}

/// What is stored of a message, where that is not what came.
#[derive(Debug)]
pub(in crate::stream) struct Edited {
    pub(super) headers: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Refusal {
    /// The error; a duplicate has no place in a batch.
    pub(super) fn in_batch(self) -> ApiError {
        match self {
            Self::Error(error) => error,
            Self::Duplicate(_) => errors::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE.into(),
        }
    }
}

impl Inner {
    /// Checks the next message of a batch, and says what is stored of it where that is not what came.
    pub(super) fn check_staged(
        &mut self,
        diff: &mut Diff,
        msg: &StagedMsg<'_>,
        headers: &PublishHeaders<'_>,
    ) -> Result<Option<Edited>, Refusal> {
        self.check_record(msg.subject, msg.headers, msg.payload)?;
        self.check_increment(headers, msg.payload)?;
        self.check_stream_and_ttl(headers)?;
        self.check_staged_id(diff, headers.msg_id)?;
        self.check_source(headers)?;
        let mut edited = self.count_staged(diff, msg, headers)?;
        self.check_staged_expected(diff, msg.subject, headers)?;
        let is_schedule = |of: &[u8]| diff.subjects.get(of).map(|known| known.is_schedule);
        let scheduled = self.check_schedule(msg.subject, headers, msg.headers, is_schedule)?;
        let rollup = if scheduled.is_some() { Rollup::Subject } else { self.check_rollup(headers)? };
        if let Some(headers) = scheduled {
            edited = Some(Edited { headers, payload: msg.payload.to_vec() });
        }
        match rollup {
            Rollup::Subject if diff.subjects.contains_key(msg.subject) => {
                return Err(errors::STREAM_ROLLUP_FAILED.because("batch rollup sub invalid").into());
            }
            Rollup::All if diff.msgs > 0 => {
                return Err(errors::STREAM_ROLLUP_FAILED.because("batch rollup all invalid").into());
            }
            _ => {}
        }
        diff.msgs += 1;
        let (block, payload) = match &edited {
            Some(edited) => (&edited.headers[..], &edited.payload[..]),
            None => (msg.headers, msg.payload),
        };
        diff.bytes += self.msg_size(msg.subject, block, payload);
        let of_subject = diff.subjects.entry_ref(msg.subject).or_default();
        of_subject.count += 1;
        of_subject.is_schedule = !headers.schedule.is_empty();
        let count = of_subject.count;
        self.check_staged_room(diff, msg.subject, count, rollup != Rollup::None)?;
        Ok(edited)
    }

    /// Where the stream counts: what is stored of the message.
    fn count_staged(
        &mut self,
        diff: &mut Diff,
        msg: &StagedMsg<'_>,
        headers: &PublishHeaders<'_>,
    ) -> Result<Option<Edited>, Refusal> {
        if !self.config.allow_msg_counter {
            return Ok(None);
        }
        let mut counter = diff.counters.remove(msg.subject);
        let counted = self.count(&mut counter, (msg.subject, msg.headers), headers.increment)?;
        if let Some(counter) = counter {
            diff.counters.insert(msg.subject.into(), counter);
        }
        let most = usize::try_from(self.settings.get().max_payload_bytes).unwrap_or(usize::MAX);
        let most = usize::try_from(self.config.max_msg_size).map_or(most, |of_stream| most.min(of_stream));
        if counted.headers.len() + counted.payload.len() > most {
            return Err(errors::STREAM_MESSAGE_EXCEEDS_MAXIMUM.into());
        }
        Ok(Some(Edited { headers: counted.headers, payload: counted.payload }))
    }

    fn check_staged_id(&mut self, diff: &mut Diff, id: &[u8]) -> Result<(), Refusal> {
        if id.is_empty() {
            return Ok(());
        }
        match self.dedupe.find(id, &self.now) {
            Some(seq) => Err(Refusal::Duplicate(seq)),
            None if !diff.ids.insert(id.into()) => {
                Err(errors::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE.into())
            }
            None => Ok(()),
        }
    }

    fn check_staged_expected(
        &mut self,
        diff: &mut Diff,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
    ) -> Result<(), Refusal> {
        let as_signed = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        if !headers.expected_last_seq.is_empty() {
            let last = self.store.totals().last_seq + diff.msgs;
            if parse_int(headers.expected_last_seq) != as_signed(last) {
                return Err(errors::STREAM_WRONG_LAST_SEQUENCE.with("seq", last).into());
            } else if diff.msgs > 0 {
                return Err(errors::STREAM_WRONG_LAST_SEQUENCE_CONSTANT.into());
            }
        }
        if headers.expected_last_subject_seq.is_empty() {
            return match headers.expected_last_subject.is_empty() {
                true => Ok(()),
                false => Err(errors::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID.into()),
            };
        }
        let other = headers.expected_last_subject;
        let of = if other.is_empty() { subject } else { other };
        if diff.subjects.contains_key(of) {
            return Err(errors::STREAM_WRONG_LAST_SEQUENCE_CONSTANT.into());
        }
        let last = match diff.expected.get(of) {
            Some(last) => *last,
            None => self.last_seq_of(of)?.unwrap_or(0),
        };
        if parse_int(headers.expected_last_subject_seq) != as_signed(last) {
            return Err(errors::STREAM_WRONG_LAST_SEQUENCE.with("seq", last).into());
        }
        diff.expected.entry_ref(of).insert(last);
        Ok(())
    }

    /// With discard new: whether there is room for all so far. nats-server v2.15.2 does not count what they replace.
    fn check_staged_room(
        &mut self,
        diff: &Diff,
        subject: &[u8],
        of_subject: u64,
        is_rollup: bool,
    ) -> Result<(), Refusal> {
        if self.config.discard != Discard::New {
            return Ok(());
        }
        let totals = self.store.totals();
        if self.config.most_msgs().is_some_and(|most| totals.msgs + diff.msgs > most) {
            return Err(Refusal::full("maximum messages exceeded"));
        }
        if self.config.most_bytes().is_some_and(|most| totals.bytes + diff.bytes > most) {
            return Err(Refusal::full("maximum bytes exceeded"));
        }
        let per_subject = self.config.most_msgs_per_subject();
        if let Some(most) = per_subject.filter(|_| self.config.discard_new_per_subject && !is_rollup) {
            let held = self.store.index().get(subject).map_or(0, |entry| entry.count);
            if held + of_subject > most {
                return Err(Refusal::full("maximum messages per subject exceeded"));
            }
        }
        Ok(())
    }

    /// Whether the TTL is one, where a message of a batch has any.
    fn check_stream_and_ttl(&self, headers: &PublishHeaders<'_>) -> Result<(), Refusal> {
        if !headers.expected_stream.is_empty() && headers.expected_stream != self.config.name.as_bytes() {
            return Err(errors::STREAM_NOT_MATCH.into());
        }
        match parse_ttl(headers.ttl) {
            Some(Ttl::Unset) => Ok(()),
            _ if !self.config.allow_msg_ttl => Err(errors::MESSAGE_TTL_DISABLED.into()),
            None => Err(errors::MESSAGE_TTL_INVALID.into()),
            Some(_) => Ok(()),
        }
    }
}
