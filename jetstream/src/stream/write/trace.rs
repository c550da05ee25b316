//! Messages whose publisher wants to know what becomes of them (ADR-41).

use super::check::Refusal;
use super::decode::{PublishHeaders, parse_int};
use super::edit::stored_block;
use super::expected::{IfLong, TakesLong};
use crate::clock::WallNs;
use crate::error::catalogue as errors;
use crate::error::{ApiError, ErrorDef};
use crate::message::Inbound;
use crate::stream::batch::fast_reply;
use crate::stream::{Inner, Stream};
use jetkv_go_compat::quoted;

const DUPLICATE: &str = "msgid is duplicate";

/// What a trace tells of a message that came to a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traced {
    /// The subject that the stream has it under. Empty where it was refused before that was told.
    pub subject: Vec<u8>,
    /// Whether nobody is interested in it, and the stream keeps only what somebody is.
    pub no_interest: bool,
    /// Why the stream refuses it, in nats-server's words. Empty: it does not.
    pub error: String,
}

impl Stream {
    /// As [`Stream::publish_if_short`], and tells what becomes of the message. One that is `only` traced is looked at and
    /// not taken: its publisher is answered only if it is refused.
    ///
    /// # Errors
    /// It takes long; nothing has happened yet. The message is for [`Stream::trace_when_known`].
    pub fn trace_if_short(&self, msg: &Inbound<'_>, only: bool) -> Result<(WallNs, Traced), TakesLong> {
        let mut traced = Traced::default();
        let at = self.take_if_short(msg, |inner| traced = inner.trace(msg, IfLong::Ask, only))?;
        Ok((at, traced))
    }

    /// As [`Stream::publish_when_known`], and tells what becomes of the message.
    pub fn trace_when_known(&self, msg: &Inbound<'_>, only: bool) -> Traced {
        let mut traced = Traced::default();
        self.take_when_known(msg, |inner, if_long| traced = inner.trace(msg, if_long, only));
        traced
    }
}

impl Inner {
    fn trace(&mut self, msg: &Inbound<'_>, if_long: IfLong, only: bool) -> Traced {
        let refused = |error| Traced { error, ..Traced::default() };
        if !self.takes_more() {
            return refused("stream closed".to_owned());
        }
        if self.overflows(msg) {
            self.overflow(msg);
            return refused(errors::STREAM_TOO_MANY_REQUESTS.error().to_string());
        }
        let mut traced = Traced::default();
        self.with_stored_subject(msg, |inner, msg| traced = inner.trace_as_is(msg, if_long, only));
        traced
    }

    /// As [`trace`](Self::trace), of a message under the subject that it is stored under.
    fn trace_as_is(&mut self, msg: &Inbound<'_>, if_long: IfLong, only: bool) -> Traced {
        let no_interest = self.interests_nobody(msg.subject);
        self.refused = None;
        if !only {
            self.publish_as_is(msg, if_long);
        } else if let Err(refusal) = self.look_at(msg, if_long) {
            self.turn_down(msg.reply, !self.config.no_ack && !msg.reply.is_empty(), refusal);
        }
        let Some(refusal) = self.refused.take() else {
            return Traced { subject: msg.subject.to_vec(), no_interest, error: String::new() };
        };
        let error = self.told_of(&refusal, msg);
        if is_late(&refusal) && !is_of_batch(msg, &PublishHeaders::scan(msg.headers)) {
            Traced { subject: msg.subject.to_vec(), no_interest, error }
        } else {
            Traced { error, ..Traced::default() }
        }
    }

    /// Whether a message would be taken, as far as nats-server looks at one that is only traced: not at limits of the
    /// account, of its own time to live, and of what the stream has room for.
    fn look_at(&mut self, msg: &Inbound<'_>, if_long: IfLong) -> Result<(), Refusal> {
        self.hurry_purge(msg.subject);
        let scanned = PublishHeaders::scan(msg.headers);
        let rewritten = stored_block(msg.headers, scanned.request_info);
        let block = rewritten.as_deref().unwrap_or(msg.headers);
        if is_of_batch(msg, &scanned) {
            return self.check_batch(msg, block);
        }
        if if_long != IfLong::FindOut
            && !scanned.expected_last_subject.is_empty()
            && self.asks_first(&scanned, msg.headers)?
        {
            return Ok(());
        }
        let (scheduled, _) = self.check(msg, block, &scanned)?;
        if self.config.allow_msg_counter {
            self.counted(msg.subject, scheduled.as_deref().unwrap_or(block), &scanned)?;
        }
        self.check_server()
    }

    /// Why a message is refused, as a trace tells it.
    fn told_of(&mut self, refusal: &Refusal, msg: &Inbound<'_>) -> String {
        let error = match refusal {
            Refusal::Duplicate(_) => return DUPLICATE.to_owned(),
            Refusal::Error(error) => error,
        };
        let scanned = PublishHeaders::scan(msg.headers);
        let is = |def: ErrorDef| error.err_code == def.err_code;
        if is(errors::STREAM_STORE_FAILED) || is(errors::STREAM_ROLLUP_FAILED) || is(errors::STREAM_NOT_MATCH)
        {
            return error.description.clone().into_owned();
        }
        if is(errors::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE) {
            return DUPLICATE.to_owned();
        }
        if is(errors::MESSAGE_TTL_DISABLED) {
            return "message TTL disabled".to_owned();
        }
        if is(errors::STREAM_MESSAGE_EXCEEDS_MAXIMUM) && is_of_batch(msg, &scanned) {
            let (account, stream) = (&self.account.name, &self.config.name);
            return format!("JetStream message size exceeds limits for '{account} > {stream}'");
        }
        if is(errors::STREAM_MESSAGE_EXCEEDS_MAXIMUM) || is(errors::STREAM_HEADER_EXCEEDS_MAXIMUM) {
            return "maximum payload exceeded".to_owned();
        }
        if is(errors::STREAM_WRONG_LAST_MSG_ID) {
            let (expected, last) = (quoted(scanned.expected_last_msg_id), quoted(&self.last_msg_id));
            return format!("last msgid mismatch: {expected} vs {last}");
        }
        if is(errors::STREAM_WRONG_LAST_SEQUENCE) && scanned.batch_id.is_empty() {
            return self.mismatch(msg.subject, &scanned, error);
        }
        error.to_string()
    }

    /// Which sequence a message expected, and which is last.
    fn mismatch(&mut self, subject: &[u8], headers: &PublishHeaders<'_>, error: &ApiError) -> String {
        let expected = |value| parse_int(value).cast_unsigned();
        if !headers.expected_last_subject_seq.is_empty() {
            let other = headers.expected_last_subject;
            let seq = expected(headers.expected_last_subject_seq);
            match self.last_seq_of(if other.is_empty() { subject } else { other }) {
                Ok(last) if last.unwrap_or(0) == seq => {}
                Ok(last) => {
                    let last = last.unwrap_or(0);
                    return format!("last sequence by subject mismatch: {seq} vs {last}");
                }
                Err(_) => return error.to_string(),
            }
        }
        let (seq, last) = (expected(headers.expected_last_seq), self.store.totals().last_seq);
        format!("last sequence mismatch: {seq} vs {last}")
    }
}

fn is_of_batch(msg: &Inbound<'_>, headers: &PublishHeaders<'_>) -> bool {
    !headers.batch_id.is_empty() || fast_reply(msg).is_some()
}

/// Whether a message that stands for itself is refused when its subject, and whether anybody is interested in it, has been
/// told.
fn is_late(refusal: &Refusal) -> bool {
    let late = [
        errors::ACCOUNT_RESOURCES_EXCEEDED,
        errors::NO_LIMITS,
        errors::MESSAGE_TTL_INVALID,
        errors::STREAM_STORE_FAILED,
    ];
    matches!(refusal, Refusal::Error(error) if late.iter().any(|def| def.err_code == error.err_code))
}

#[cfg(test)]
mod tests;
