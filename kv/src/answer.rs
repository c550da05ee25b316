//! Asking the engine from inside the process: a publish or a request whose answer does not travel.

use crate::Error;
use jetkv_jetstream::{
    AccountId, ApiError, ApiRequest, Deadline, Delivery, Engine, Host, Inbound, OutMsg, Outbox, Router,
    Stream,
};
use parking_lot::Mutex;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Where answers go. Subjects from the network hold no blanks, so nobody else's answer goes there.
const ANSWER_TO: &[u8] = b"in process";

/// Keeps the answer for itself and passes everything else on.
struct Waiting<'h> {
    host: &'h dyn Host,
    answer: Mutex<Option<Answer>>,
}

enum Answer {
    /// A message was stored as this sequence.
    Stored(u64),
    /// Anything else, as it came.
    Json(Vec<u8>),
}

impl Answer {
    fn of(payload: &[u8]) -> Self {
        stored_seq(payload).map_or_else(|| Self::Json(payload.to_vec()), Self::Stored)
    }

    fn json(&self) -> Option<Value> {
        match self {
            Self::Stored(_) => None,
            Self::Json(json) => serde_json::from_slice(json).ok(),
        }
    }
}

/// The sequence in an acknowledgement of the usual form, `{"stream":"...","seq":1}`; a put needs no JSON parser.
fn stored_seq(payload: &[u8]) -> Option<u64> {
    let body = payload.strip_prefix(b"{\"stream\":\"")?.strip_suffix(b"}")?;
    let digits = body.len() - body.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = body.split_at_checked(digits)?;
    before.ends_with(b"\",\"seq\":").then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Router for Waiting<'_> {
    fn deliver(&self, account: AccountId, msg: OutMsg<'_>) -> Delivery {
        if msg.to != ANSWER_TO {
            return self.host.deliver(account, msg);
        }
        *self.answer.lock() = Some(Answer::of(msg.payload));
        Delivery::Sent
    }

    fn has_interest(&self, account: AccountId, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.host.has_interest(account, subject, queue)
    }

    fn has_room(&self, account: AccountId, subject: &[u8]) -> bool {
        self.host.has_room(account, subject)
    }

    fn has_exact_interest(&self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        self.host.has_exact_interest(account, subject, queue)
    }
}

impl Host for Waiting<'_> {
    fn stream_subject(&self, stream: &Arc<Stream>, pattern: &[u8], listening: bool) {
        self.host.stream_subject(stream, pattern, listening);
    }

    fn wake_at(&self, at: Deadline) {
        self.host.wake_at(at);
    }

    fn pump_later(&self, stream: &Arc<Stream>) {
        self.host.pump_later(stream);
    }

    fn sync_later(&self, stream: &Arc<Stream>) {
        self.host.sync_later(stream);
    }

    fn end_turn(&self) {
        self.host.end_turn();
    }

    fn run_later(&self, work: Box<dyn FnOnce() + Send>) {
        self.host.run_later(work);
    }
}

/// Publishes to a stream, as durably as it is configured, and says the sequence.
pub(crate) fn publish(
    engine: &Engine,
    stream: &Stream,
    subject: &[u8],
    headers: &[u8],
    payload: &[u8],
) -> Result<u64, Error> {
    let waiting = Waiting { host: &**engine.host(), answer: Mutex::new(None) };
    stream.publish_and_commit(&Inbound { subject, reply: ANSWER_TO, headers, payload }, &waiting);
    let no_answer = || Error::NoAnswer(stream.name().to_owned());
    let answer = waiting.answer.into_inner().ok_or_else(no_answer)?;
    if let Answer::Stored(seq) = answer {
        return Ok(seq);
    }
    let answer = answer.json().ok_or_else(no_answer)?;
    refusal(&answer)?;
    answer.get("seq").and_then(Value::as_u64).ok_or_else(no_answer)
}

/// Makes a request of the JetStream API; `what` follows `$JS.API.` in its subject.
pub(crate) fn request(
    engine: &Engine,
    account: AccountId,
    what: &str,
    payload: &[u8],
) -> Result<Value, Error> {
    let subject = format!("$JS.API.{what}");
    let request = ApiRequest {
        account,
        subject: subject.as_bytes(),
        reply: ANSWER_TO,
        headers: b"",
        payload,
        client: None,
    };
    let mut out = Outbox::new();
    let outcome = engine.api(&request, &mut out);
    let waiting = Waiting { host: &**engine.host(), answer: Mutex::new(None) };
    if let Some(stream) = &outcome.stream {
        stream.commit_now(&**engine.host());
    }
    for msg in out.iter() {
        waiting.deliver(account, msg);
    }
    engine.host().end_turn();
    let answer = waiting.answer.into_inner().and_then(|answer| answer.json());
    let answer = answer.ok_or(Error::NoAnswer(subject))?;
    refusal(&answer)?;
    Ok(answer)
}

fn refusal(answer: &Value) -> Result<(), ApiError> {
    let Some(error) = answer.get("error") else { return Ok(()) };
    let number = |name| error.get(name).and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let text = error.get("description").and_then(Value::as_str).unwrap_or_default();
    Err(ApiError {
        code: number("code").unwrap_or_default(),
        err_code: number("err_code").unwrap_or_default(),
        description: Cow::Owned(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::stored_seq;

    #[test]
    fn only_an_acknowledgement_of_the_usual_form_is_read_without_a_parser() {
        assert_eq!(stored_seq(br#"{"stream":"KV_b","seq":12}"#), Some(12));
        assert_eq!(stored_seq(br#"{"stream":"KV_b","domain":"hub","seq":7}"#), Some(7));
        assert_eq!(stored_seq(br#"{"stream":"KV_b","seq":12,"duplicate": true}"#), None);
        assert_eq!(stored_seq(br#"{"error":{"code":400},"stream":"KV_b","seq":0}"#), None);
        assert_eq!(stored_seq(br#"{"stream":"KV_b","seq":}"#), None);
    }
}
