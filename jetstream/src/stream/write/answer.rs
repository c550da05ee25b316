//! Answers to publishes.

use crate::error::ApiError;
use crate::outbox::{Outbox, Says, TO_CALLER};
use jetkv_go_compat::json;

/// What an acknowledgement says of a message that was there already. The blank is nats-server's.
const DUPLICATE: &[u8] = b",\"duplicate\": true";

/// What the publisher of a message is told when it is stored.
#[derive(Debug, Clone, Copy)]
pub(in crate::stream) enum Told<'a> {
    /// Nothing.
    Nothing,
    /// As which sequence.
    Stored,
    /// That, and what a counter shows now.
    Counted(&'a str),
}

impl Told<'_> {
    /// That a message is stored, if its publisher wants an answer.
    pub(in crate::stream) fn stored(answers: bool) -> Self {
        if answers { Self::Stored } else { Self::Nothing }
    }
}

/// Writes answers of one stream. The beginning of every acknowledgement is made once.
#[derive(Debug)]
pub(in crate::stream) struct Acks {
    stream: String,
    prefix: Vec<u8>,
}

impl Acks {
    pub(in crate::stream) fn new(stream: &str, domain: &str) -> Self {
        let name = jetkv_go_compat::quoted(stream);
        let prefix = if domain.is_empty() {
            format!("{{\"stream\":{name},\"seq\":")
        } else {
            format!("{{\"stream\":{name},\"domain\":{},\"seq\":", jetkv_go_compat::quoted(domain))
        };
        Self { stream: stream.to_owned(), prefix: prefix.into_bytes() }
    }

    /// Says that `seq` holds the message, and what `tail` writes.
    #[inline]
    fn held(&self, outbox: &mut Outbox, reply: &[u8], seq: u64, tail: impl FnOnce(&mut Vec<u8>)) {
        outbox.push_with_as(Says::Stored(seq), reply, |out| {
            out.extend_from_slice(&self.prefix);
            push_number(out, seq);
            tail(out);
            out.push(b'}');
        });
    }

    /// Says that the message was stored as `seq`.
    fn stored(&self, outbox: &mut Outbox, reply: &[u8], seq: u64) {
        self.held(outbox, reply, seq, |_| {});
    }

    /// Says that `seq` holds the message already.
    pub(in crate::stream) fn duplicate(&self, outbox: &mut Outbox, reply: &[u8], seq: u64) {
        self.held(outbox, reply, seq, |out| out.extend_from_slice(DUPLICATE));
    }

    /// Says of a message that was stored as `seq` what its publisher is to be told.
    #[inline]
    pub(in crate::stream) fn tell(&self, outbox: &mut Outbox, reply: &[u8], seq: u64, told: Told<'_>) {
        match told {
            Told::Nothing => {}
            Told::Stored => self.stored(outbox, reply, seq),
            Told::Counted(value) => self.counted(outbox, reply, seq, value),
        }
    }

    fn counted(&self, outbox: &mut Outbox, reply: &[u8], seq: u64, value: &str) {
        self.held(outbox, reply, seq, |out| {
            out.extend_from_slice(b",\"val\":\"");
            out.extend_from_slice(value.as_bytes());
            out.push(b'"');
        });
    }

    /// Says that the last of `count` messages of a batch was stored as `seq`.
    pub(in crate::stream) fn batch_stored(
        &self,
        outbox: &mut Outbox,
        reply: &[u8],
        seq: u64,
        batch: (&[u8], u64),
    ) {
        self.held(outbox, reply, seq, |out| push_batch(out, batch));
    }

    /// Says of the first message of a fast batch that `seq` holds it already.
    pub(in crate::stream) fn batch_duplicate(
        &self,
        outbox: &mut Outbox,
        reply: &[u8],
        seq: u64,
        batch: (&[u8], u64),
    ) {
        self.held(outbox, reply, seq, |out| {
            out.extend_from_slice(DUPLICATE);
            push_batch(out, batch);
        });
    }

    pub(in crate::stream) fn refused(&self, outbox: &mut Outbox, reply: &[u8], error: &ApiError) {
        if reply == TO_CALLER {
            outbox.refuse_caller(error);
        }
        outbox.push_with(reply, |out| self.write_error(error, out));
        outbox.last_says(Says::Refused);
    }

    /// As [`refused`](Self::refused), with a header block.
    pub(in crate::stream) fn refused_with(
        &self,
        outbox: &mut Outbox,
        reply: &[u8],
        headers: &[u8],
        error: &ApiError,
    ) {
        if reply == TO_CALLER {
            outbox.refuse_caller(error);
        }
        let mut payload = Vec::new();
        self.write_error(error, &mut payload);
        outbox.push_with_headers(reply, &payload, |out| out.extend_from_slice(headers));
        outbox.last_says(Says::Refused);
    }

    pub(in crate::stream) fn write_error(&self, error: &ApiError, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":");
        json::write(error, out);
        out.extend_from_slice(b",\"stream\":");
        json::write_string(&self.stream, out);
        out.extend_from_slice(b",\"seq\":0}");
    }
}

/// Appends what an acknowledgement says of a batch: its id, and how many messages of it are stored.
fn push_batch(out: &mut Vec<u8>, (id, count): (&[u8], u64)) {
    out.extend_from_slice(b",\"batch\":");
    out.extend_from_slice(jetkv_go_compat::quoted(id).as_bytes());
    out.extend_from_slice(b",\"count\":");
    push_number(out, count);
}

/// Appends a number in decimal, without going through the formatter.
#[inline]
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    jetkv_protocol::encode::decimal(out, number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::catalogue::STREAM_WRONG_LAST_SEQUENCE;

    fn one(fill: impl FnOnce(&Acks, &mut Outbox)) -> String {
        let (acks, mut outbox) = (Acks::new("A", ""), Outbox::new());
        fill(&acks, &mut outbox);
        let text = outbox.iter().next().map(|msg| String::from_utf8_lossy(msg.payload).into_owned());
        text.unwrap()
    }

    #[test]
    fn answers_are_byte_for_byte_those_of_nats_server() {
        assert_eq!(one(|acks, out| acks.tell(out, b"r", 12, Told::Stored)), r#"{"stream":"A","seq":12}"#);
        assert_eq!(
            one(|acks, out| acks.duplicate(out, b"r", 4)),
            r#"{"stream":"A","seq":4,"duplicate": true}"#
        );
        assert_eq!(
            one(|acks, out| acks.refused(out, b"r", &STREAM_WRONG_LAST_SEQUENCE.with("seq", 4))),
            r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"A","seq":0}"#
        );
    }
}
