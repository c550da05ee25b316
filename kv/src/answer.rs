//! Asking the engine from inside the process: a publish or a request whose answer does not travel.

use crate::Error;
use jetkv_jetstream::{
    AccountId, ApiError, ApiRequest, Delivery, Engine, Host, Inbound, OutMsg, Outbox, Stream,
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
    answer: Mutex<Option<Vec<u8>>>,
}

impl Host for Waiting<'_> {
    fn deliver(&self, account: AccountId, msg: OutMsg<'_>) -> Delivery {
        if msg.to != ANSWER_TO {
            return self.host.deliver(account, msg);
        }
        *self.answer.lock() = Some(msg.payload.to_vec());
        Delivery::Sent
    }

    fn has_interest(&self, account: AccountId, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.host.has_interest(account, subject, queue)
    }

    fn stream_subject(&self, stream: &Arc<Stream>, pattern: &[u8], listening: bool) {
        self.host.stream_subject(stream, pattern, listening);
    }

    fn wake_at(&self, at_ns: u64) {
        self.host.wake_at(at_ns);
    }

    fn pump_later(&self, stream: &Arc<Stream>) {
        self.host.pump_later(stream);
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
    let answer = waiting.answer.into_inner();
    let no_answer = || Error::NoAnswer(stream.name().to_owned());
    let answer: Value =
        answer.and_then(|answer| serde_json::from_slice(&answer).ok()).ok_or_else(no_answer)?;
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
    for msg in out.iter() {
        waiting.deliver(account, msg);
    }
    if let Some(stream) = outcome.stream {
        stream.commit(&**engine.host());
    }
    let answer = waiting.answer.into_inner().and_then(|answer| serde_json::from_slice(&answer).ok());
    let answer: Value = answer.ok_or(Error::NoAnswer(subject))?;
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
