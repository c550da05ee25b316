//! Asking the engine from inside the process: a publish or a request whose answer does not travel.

use crate::Error;
use jetkv_jetstream::{AccountId, ApiRequest, Engine, Inbound, Outbox, Stream};

/// Publishes to a stream, as durably as it is configured, and says the sequence.
pub(crate) fn publish(
    engine: &Engine,
    stream: &Stream,
    subject: &[u8],
    headers: &[u8],
    payload: &[u8],
) -> Result<u64, Error> {
    let msg = Inbound { subject, reply: b"", headers, payload };
    let seq = stream.publish_and_commit(&msg, &**engine.host())?;
    seq.ok_or_else(|| Error::NoAnswer(stream.name().to_owned()))
}

/// Makes a request of the JetStream API; `what` follows `$JS.API.` in its subject. Nobody waits for its answer: what came
/// of it is known here.
pub(crate) fn request(engine: &Engine, account: AccountId, what: &str, payload: &[u8]) -> Result<(), Error> {
    let subject = format!("$JS.API.{what}");
    let request =
        ApiRequest { account, subject: subject.as_bytes(), reply: b"", headers: b"", payload, client: None };
    let mut advisories = Outbox::new();
    let outcome = engine.api(&request, &mut advisories);
    if let Some(stream) = &outcome.stream {
        stream.commit_now(&**engine.host());
    }
    for msg in advisories.iter() {
        engine.host().deliver(account, msg);
    }
    engine.host().end_turn();
    outcome.refused.map_or(Ok(()), |error| Err(error.into()))
}
