//! Second stop: what a message must satisfy before it is stored, in nats-server's order.

use super::decode::{PublishHeaders, parse_int};
use crate::config::Discard;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::store::StoreError;
use crate::stream::Inner;
use crate::stream::inner::store_error;
use crate::ttl::{Ttl, parse_ttl};

/// Longest header block that a record can hold.
const HEADERS_MAX_BYTES: usize = u16::MAX as usize;
/// Largest record of a file stream.
const FILE_RECORD_MAX_BYTES: u64 = 1 << 30;

/// Which older messages a message replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum Rollup {
    None,
    Subject,
    All,
}

impl Rollup {
    /// What a header that is not empty asks for, if it is known.
    pub(in crate::stream) fn of(value: &[u8]) -> Option<Self> {
        if value.eq_ignore_ascii_case(b"sub") {
            return Some(Self::Subject);
        }
        value.eq_ignore_ascii_case(b"all").then_some(Self::All)
    }
}

/// Why a publish is not stored.
#[derive(Debug)]
pub(in crate::stream) enum Refusal {
    Error(ApiError),
    /// The id was seen before, with this sequence.
    Duplicate(u64),
}

impl Refusal {
    /// With discard new: `what` is reached.
    pub(in crate::stream) fn full(what: &str) -> Self {
        Self::Error(errors::STREAM_STORE_FAILED.because(what))
    }
}

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

fn check_header_size(headers: &[u8]) -> Result<(), Refusal> {
    if headers.len() > HEADERS_MAX_BYTES {
        return Err(errors::STREAM_HEADER_EXCEEDS_MAXIMUM.into());
    }
    Ok(())
}

impl Inner {
    /// Checks of size, before any header is looked at.
    #[inline]
    pub(in crate::stream) fn check_size(
        &self,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> Result<(), Refusal> {
        self.check_record_size(subject, headers, payload)?;
        if self.config.sealed {
            return Err(errors::STREAM_SEALED.into());
        }
        let limit = self.config.max_msg_size;
        if usize::try_from(limit).is_ok_and(|limit| headers.len() + payload.len() > limit) {
            return Err(errors::STREAM_MESSAGE_EXCEEDS_MAXIMUM.into());
        }
        check_header_size(headers)
    }

    /// Whether the store can hold a message of that size at all.
    pub(in crate::stream) fn check_record(
        &self,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> Result<(), Refusal> {
        self.check_record_size(subject, headers, payload)?;
        check_header_size(headers)
    }

    #[inline]
    fn check_record_size(&self, subject: &[u8], headers: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        if !self.config.storage.is_memory()
            && self.msg_size(subject, headers, payload) > FILE_RECORD_MAX_BYTES
        {
            return Err(errors::STREAM_STORE_FAILED.because("message too large").into());
        }
        Ok(())
    }

    /// Checks of the expected stream, and of a TTL that this stream does not have.
    #[inline]
    pub(in crate::stream) fn check_stream(&self, headers: &PublishHeaders<'_>) -> Result<(), Refusal> {
        if !headers.expected_stream.is_empty() && headers.expected_stream != self.config.name.as_bytes() {
            return Err(errors::STREAM_NOT_MATCH.into());
        }
        let has_ttl = matches!(parse_ttl(headers.ttl), Some(Ttl::Secs(_) | Ttl::Never));
        if has_ttl && !self.config.allow_msg_ttl {
            return Err(errors::MESSAGE_TTL_DISABLED.into());
        }
        Ok(())
    }

    /// Checks of what the publisher expects to be last.
    #[inline]
    pub(in crate::stream) fn check_expected(
        &mut self,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
    ) -> Result<(), Refusal> {
        if !headers.expected_last_subject_seq.is_empty() {
            let other = headers.expected_last_subject;
            let of = if other.is_empty() { subject } else { other };
            self.hurry_purge(of);
            let last = self.last_seq_of(of)?.unwrap_or(0);
            if parse_int(headers.expected_last_subject_seq) != i64::try_from(last).unwrap_or(i64::MAX) {
                return Err(errors::STREAM_WRONG_LAST_SEQUENCE.with("seq", last).into());
            }
        } else if !headers.expected_last_subject.is_empty() {
            return Err(errors::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID.into());
        }
        if !headers.expected_last_seq.is_empty() {
            let last = self.store.totals().last_seq;
            if parse_int(headers.expected_last_seq) != i64::try_from(last).unwrap_or(i64::MAX) {
                return Err(errors::STREAM_WRONG_LAST_SEQUENCE.with("seq", last).into());
            }
        }
        Ok(())
    }

    /// Nobody but the server itself says where a message comes from.
    pub(in crate::stream) fn check_source(&self, headers: &PublishHeaders<'_>) -> Result<(), Refusal> {
        if !headers.source.is_empty() {
            return Err(errors::MESSAGE_SOURCE_HDR_NOT_ALLOWED.into());
        }
        Ok(())
    }

    /// Checks of message ids: the one that the message carries, and the one that it expects to be last.
    pub(in crate::stream) fn check_ids(&mut self, headers: &PublishHeaders<'_>) -> Result<(), Refusal> {
        if !headers.msg_id.is_empty()
            && let Some(seq) = self.dedupe.find(headers.msg_id, &self.now)
        {
            return Err(Refusal::Duplicate(seq));
        }
        let expected = headers.expected_last_msg_id;
        if !expected.is_empty() && expected != self.last_msg_id {
            let last = String::from_utf8_lossy(&self.last_msg_id).into_owned();
            return Err(errors::STREAM_WRONG_LAST_MSG_ID.with("id", last).into());
        }
        Ok(())
    }

    pub(in crate::stream) fn check_rollup(&self, headers: &PublishHeaders<'_>) -> Result<Rollup, Refusal> {
        if headers.rollup.is_empty() {
            return Ok(Rollup::None);
        }
        if !self.config.lets_messages_remove() {
            return Err(errors::STREAM_ROLLUP_FAILED.because("rollup not permitted").into());
        }
        Rollup::of(headers.rollup).ok_or_else(|| {
            let value = String::from_utf8_lossy(headers.rollup).to_lowercase();
            let quoted = jetkv_go_compat::quoted(value);
            errors::STREAM_ROLLUP_FAILED.because(format_args!("rollup value invalid: {quoted}")).into()
        })
    }

    /// Checks of what server and account have room for.
    #[inline]
    pub(in crate::stream) fn check_server(&mut self) -> Result<(), Refusal> {
        let (storage, settings) = (self.config.storage, self.settings.get());
        let limit = if storage.is_memory() { settings.max_memory_bytes } else { settings.max_file_bytes };
        if limit >= 0 && self.world.usage.get(storage) > limit {
            return Err(errors::INSUFFICIENT_RESOURCES.into());
        }
        Ok(())
    }

    #[inline]
    pub(in crate::stream) fn check_account(&mut self, size_bytes: u64) -> Result<(), Refusal> {
        let storage = self.config.storage;
        let Some(limits) = self.limits.get().of(self.tier) else { return Err(errors::NO_LIMITS.into()) };
        let limit = if storage.is_memory() { limits.max_memory_bytes } else { limits.max_store_bytes };
        if limit < 0 { Ok(()) } else { self.check_account_limit(size_bytes, limit) }
    }

    #[inline(never)]
    fn check_account_limit(&self, size_bytes: u64, limit: i64) -> Result<(), Refusal> {
        let storage = self.config.storage;
        let size = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        let is_over = self.account.usage.get(storage).saturating_add(size) > limit;
        // As long as nothing was counted, anything fits (nats-server v2.15.2).
        if is_over && self.account.used.has(self.tier) {
            return Err(errors::ACCOUNT_RESOURCES_EXCEEDED.into());
        }
        Ok(())
    }

    /// With discard new: whether there is room. A message that replaces the oldest of its subject may come in.
    #[inline]
    pub(in crate::stream) fn check_room(
        &mut self,
        subject: &[u8],
        size_bytes: u64,
        is_rollup: bool,
    ) -> Result<(), Refusal> {
        let config = &*self.config;
        let limited =
            config.most_msgs().is_some() || config.most_bytes().is_some() || config.discard_new_per_subject;
        if config.discard != Discard::New || !limited {
            return Ok(());
        }
        self.check_room_within_limits(subject, size_bytes, is_rollup)
    }

    #[inline(never)]
    fn check_room_within_limits(
        &mut self,
        subject: &[u8],
        size_bytes: u64,
        is_rollup: bool,
    ) -> Result<(), Refusal> {
        let state = self.store.totals();
        let per_subject = self.config.most_msgs_per_subject();
        let entry = if per_subject.is_some() { self.store.index().get(subject) } else { None };
        let replaced = entry.filter(|entry| per_subject.is_some_and(|most| entry.count >= most));
        if replaced.is_some() && self.config.discard_new_per_subject && !is_rollup {
            return Err(Refusal::full("maximum messages per subject exceeded"));
        }
        if self.config.most_msgs().is_some_and(|most| state.msgs >= most) && replaced.is_none() {
            return Err(Refusal::full("maximum messages exceeded"));
        }
        if self.config.most_bytes().is_some_and(|most| state.bytes + size_bytes > most) {
            let freed = match replaced {
                None => 0,
                Some(entry) => self.size_of(entry.first_seq).map_err(|e| store_error(&e))?,
            };
            if freed < size_bytes {
                return Err(Refusal::full("maximum bytes exceeded"));
            }
        }
        Ok(())
    }

    fn size_of(&mut self, seq: u64) -> Result<u64, StoreError> {
        let Some(msg) = self.store.load(seq)? else { return Ok(0) };
        let lens = (msg.subject.len(), msg.headers.len(), msg.payload.len());
        Ok(self.store.msg_size(lens.0, lens.1, lens.2))
    }
}
