//! Counters (ADR-49): a stream whose messages add to what their subject holds. What is stored of a message is the sum,
//! as `{"val":"<number>"}`.

use super::write::{PublishHeaders, Refusal, Rollup, Told};
use super::{Inbound, Inner};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::headers::{header, set_header};
use crate::origin::SOURCE_HEADER;
use jetkv_go_compat::json::{self, go_struct};
use num_bigint::BigInt;
use std::collections::BTreeMap;

/// What each source has brought, by stream and subject.
const SOURCES: &[u8] = b"Nats-Counter-Sources";

/// The payload of a counter.
#[derive(Debug, Default)]
struct Value {
    val: String,
}

go_struct! { Value as "CounterValue" { "val" => val, } }

/// What a subject holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter {
    sum: BigInt,
    /// The header that tells what its sources brought, empty for none.
    sources: String,
}

impl Counter {
    /// As a message shows it.
    fn of(headers: &[u8], payload: &[u8]) -> Result<Self, ApiError> {
        let broken = || ApiError::from(errors::MESSAGE_COUNTER_BROKEN);
        let mut value = Value::default();
        json::decode_lenient(payload, &mut value).map_err(|_| broken())?;
        let sum = parse(value.val.as_bytes()).unwrap_or_default();
        let mut sources = String::new();
        if let Some(told) = header(headers, SOURCES).filter(|told| !told.is_empty()) {
            let read: BTreeMap<String, BTreeMap<String, String>> =
                serde_json::from_slice(told).map_err(|_| broken())?;
            if !read.is_empty() {
                sources = String::from_utf8_lossy(&json::to_vec(&read)).into_owned();
            }
        }
        Ok(Self { sum, sources })
    }
}

/// A message as a counter stores it.
#[derive(Debug)]
pub(super) struct Counted {
    /// The sum, in decimal.
    pub(super) sum: String,
    pub(super) headers: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// A whole number with an optional sign.
fn parse(text: &[u8]) -> Option<BigInt> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| BigInt::parse_bytes(text, 10)).flatten()
}

impl Inner {
    /// Checks the increment that a message asks for, if any, and what stands beside it.
    pub(super) fn check_increment(
        &self,
        headers: &PublishHeaders<'_>,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        if headers.increment.is_empty() {
            return Ok(());
        }
        if parse(headers.increment).is_none() {
            return Err(errors::MESSAGE_INCR_INVALID.into());
        }
        if !self.config.allow_msg_counter {
            return Err(errors::MESSAGE_INCR_DISABLED.into());
        }
        if !payload.is_empty() {
            return Err(errors::MESSAGE_INCR_PAYLOAD.into());
        }
        let expects = [
            headers.rollup,
            headers.expected_stream,
            headers.expected_last_msg_id,
            headers.expected_last_subject,
            headers.expected_last_seq,
            headers.expected_last_subject_seq,
        ];
        if expects.iter().any(|value| !value.is_empty()) {
            return Err(errors::MESSAGE_INCR_INVALID.into());
        }
        Ok(())
    }

    /// Adds the increment of a message to what its subject holds, and stores the sum.
    pub(super) fn store_counted(
        &mut self,
        msg: &Inbound<'_>,
        block: &[u8],
        headers: &PublishHeaders<'_>,
        rollup: Rollup,
        answers: bool,
    ) -> Result<(), Refusal> {
        let counted = self.counted(msg.subject, block, headers)?;
        let told = if answers { Told::Counted(&counted.sum) } else { Told::Nothing };
        let msg = Inbound { payload: &counted.payload, ..*msg };
        self.store_checked(&msg, &counted.headers, headers, rollup, told)
    }

    /// What is stored of a message that may be stored.
    #[inline]
    pub(super) fn counted(
        &mut self,
        subject: &[u8],
        block: &[u8],
        headers: &PublishHeaders<'_>,
    ) -> Result<Counted, Refusal> {
        let mut counter = None;
        let counted = self.count(&mut counter, (subject, block), headers.increment)?;
        let limit = usize::try_from(self.settings.get().max_payload_bytes).unwrap_or(usize::MAX);
        if counted.headers.len() + counted.payload.len() > limit {
            return Err(errors::STREAM_MESSAGE_EXCEEDS_MAXIMUM.into());
        }
        self.check_size(subject, &counted.headers, &counted.payload)?;
        Ok(counted)
    }

    /// What is stored of a message that adds `increment` to its subject. `counter` is what that holds, where it is known;
    /// it goes on with the sum.
    pub(super) fn count(
        &mut self,
        counter: &mut Option<Counter>,
        (subject, headers): (&[u8], &[u8]),
        increment: &[u8],
    ) -> Result<Counted, Refusal> {
        if increment.is_empty() {
            return Err(errors::MESSAGE_INCR_MISSING.into());
        }
        let increment = parse(increment).ok_or(errors::MESSAGE_INCR_INVALID)?;
        let mut held = match counter.take() {
            Some(held) => held,
            None => self.counter_at(subject)?,
        };
        held.sum += increment;
        let sum = held.sum.to_string();
        let headers = match held.sources.as_str() {
            "" => headers.to_vec(),
            sources => set_header(headers, SOURCES, sources.as_bytes()),
        };
        let payload = format!("{{\"val\":\"{sum}\"}}").into_bytes();
        *counter = Some(held);
        Ok(Counted { sum, headers, payload })
    }

    /// What is stored of a message of a source, which says what its subject holds there: what that grew by since is added.
    pub(super) fn count_brought(
        &mut self,
        subject: &[u8],
        headers: &[u8],
        scanned: &PublishHeaders<'_>,
        payload: &[u8],
    ) -> Result<Counted, Refusal> {
        if scanned.increment.is_empty() {
            return Err(errors::MESSAGE_INCR_MISSING.into());
        }
        if parse(scanned.increment).is_none() {
            return Err(errors::MESSAGE_INCR_INVALID.into());
        }
        let broken = || ApiError::from(errors::MESSAGE_COUNTER_BROKEN);
        let mut held = self.counter_at(subject)?;
        let mut value = Value::default();
        json::decode_lenient(payload, &mut value).map_err(|_| broken())?;
        let there = parse(value.val.as_bytes()).unwrap_or_default();
        let origin = header(headers, SOURCE_HEADER).unwrap_or_default();
        let mut fields = origin.split(|byte| *byte == b' ').map(String::from_utf8_lossy);
        let stream = fields.next().unwrap_or_default().into_owned();
        let original = fields.nth(3).unwrap_or_else(|| String::from_utf8_lossy(subject)).into_owned();
        let mut sources: BTreeMap<String, BTreeMap<String, String>> = if held.sources.is_empty() {
            BTreeMap::new()
        } else {
            serde_json::from_str(&held.sources).map_err(|_| broken())?
        };
        let before = sources.entry(stream).or_default().insert(original, there.to_string());
        let before = before.and_then(|before| parse(before.as_bytes())).unwrap_or_default();
        let grown = there - before;
        held.sum += &grown;
        let headers = set_header(headers, b"Nats-Incr", grown.to_string().as_bytes());
        let headers = set_header(&headers, SOURCES, &json::to_vec(&sources));
        let sum = held.sum.to_string();
        let payload = format!("{{\"val\":\"{sum}\"}}").into_bytes();
        Ok(Counted { sum, headers, payload })
    }

    fn counter_at(&mut self, subject: &[u8]) -> Result<Counter, Refusal> {
        let Some(last) = self.last_seq_of(subject)? else { return Ok(Counter::default()) };
        // As nats-server does, a message that cannot be read counts as none.
        match self.store.load(last) {
            Ok(Some(msg)) => Ok(Counter::of(msg.headers, msg.payload)?),
            _ => Ok(Counter::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_decimal_numbers_are_increments() {
        for text in ["1", "+1", "-1", "0", "000", "123456789012345678901234567890"] {
            assert!(parse(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["", "+", "-", "1.0", "1_0", "--1", "+-1", " 1", "1 ", "0x1", "١"] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn what_a_message_shows_is_read_leniently_but_for_its_json() {
        let sum = |payload: &[u8]| Counter::of(b"", payload).map(|counter| counter.sum.to_string());
        assert_eq!(sum(br#"{"val":"-12"}"#).unwrap(), "-12");
        assert_eq!(sum(br#"{"VAL":"3"}"#).unwrap(), "3");
        assert_eq!(sum(br#"{"val":"x"}"#).unwrap(), "0");
        assert_eq!(sum(b"{}").unwrap(), "0");
        assert!(sum(br#"{"val":1}"#).is_err() && sum(b"1").is_err() && sum(b"").is_err());
    }

    #[test]
    fn what_sources_brought_is_kept_in_order() {
        let headers = b"NATS/1.0\r\nNats-Counter-Sources: {\"b\":{\"y\":\"2\"},\"a\":{\"x\":\"1\"}}\r\n\r\n";
        let counter = Counter::of(headers, br#"{"val":"3"}"#).unwrap();
        assert_eq!(counter.sources, r#"{"a":{"x":"1"},"b":{"y":"2"}}"#);
        let headers = b"NATS/1.0\r\nNats-Counter-Sources: x\r\n\r\n";
        assert!(Counter::of(headers, br#"{"val":"3"}"#).is_err());
    }
}
