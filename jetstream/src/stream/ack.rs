//! Answers to publishes.

use crate::api::ApiError;
use crate::json;
use crate::outbox::Outbox;

/// Writes answers of one stream. The beginning of every acknowledgement is made once.
#[derive(Debug)]
pub(super) struct Acks {
    stream: String,
    prefix: Vec<u8>,
    /// Which items of the outbox answer publishes, and whether they say that the message was stored.
    answers: Vec<(usize, bool)>,
}

impl Acks {
    pub(super) fn new(stream: &str, domain: &str) -> Self {
        let name = json::go_quote(stream.as_bytes());
        let prefix = if domain.is_empty() {
            format!("{{\"stream\":{name},\"seq\":")
        } else {
            format!("{{\"stream\":{name},\"domain\":{},\"seq\":", json::go_quote(domain.as_bytes()))
        };
        Self { stream: stream.to_owned(), prefix: prefix.into_bytes(), answers: Vec::new() }
    }

    /// Says that the message was stored as `seq`, or (`duplicate`) that `seq` holds it already.
    pub(super) fn stored(&mut self, outbox: &mut Outbox, reply: &[u8], seq: u64, duplicate: bool) {
        self.answers.push((outbox.len(), true));
        outbox.push_with(reply, |out| {
            out.extend_from_slice(&self.prefix);
            push_number(out, seq);
            // The blank is nats-server's.
            out.extend_from_slice(if duplicate { b",\"duplicate\": true}" } else { b"}" });
        });
    }

    pub(super) fn refused(&mut self, outbox: &mut Outbox, reply: &[u8], error: &ApiError) {
        self.answers.push((outbox.len(), false));
        outbox.push_with(reply, |out| self.write_error(error, out));
    }

    fn write_error(&self, error: &ApiError, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":");
        json::write(error, out);
        out.extend_from_slice(b",\"stream\":");
        json::write_string(&self.stream, out);
        out.extend_from_slice(b",\"seq\":0}");
    }

    /// What may leave although the flush failed: everything queued before `first_unflushed`, and answers; those that
    /// promised that a message was stored now say the error.
    pub(super) fn after_failed_flush(
        &self,
        outbox: &Outbox,
        first_unflushed: usize,
        error: &ApiError,
    ) -> Outbox {
        let mut kept = Outbox::new();
        for (at, msg) in outbox.iter().enumerate() {
            let answer = self.answers.iter().find(|(index, _)| *index == at);
            match answer {
                Some((_, true)) if at >= first_unflushed => {
                    kept.push_with(msg.to, |out| self.write_error(error, out));
                }
                Some(_) => kept.push(msg),
                None if at < first_unflushed => kept.push(msg),
                None => {}
            }
        }
        kept
    }

    /// The outbox was handed out.
    pub(super) fn clear(&mut self) {
        self.answers.clear();
    }
}

/// Appends a number in decimal, without going through the formatter.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b'0' + u8::try_from(number % 10).unwrap_or_default();
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::catalogue::STREAM_WRONG_LAST_SEQUENCE;

    fn one(fill: impl FnOnce(&mut Acks, &mut Outbox)) -> String {
        let (mut acks, mut outbox) = (Acks::new("A", ""), Outbox::new());
        fill(&mut acks, &mut outbox);
        let text = outbox.iter().next().map(|msg| String::from_utf8_lossy(msg.payload).into_owned());
        text.unwrap()
    }

    #[test]
    fn answers_are_byte_for_byte_those_of_nats_server() {
        assert_eq!(one(|acks, out| acks.stored(out, b"r", 12, false)), r#"{"stream":"A","seq":12}"#);
        assert_eq!(
            one(|acks, out| acks.stored(out, b"r", 4, true)),
            r#"{"stream":"A","seq":4,"duplicate": true}"#
        );
        assert_eq!(
            one(|acks, out| acks.refused(out, b"r", &STREAM_WRONG_LAST_SEQUENCE.with("seq", 4))),
            r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"A","seq":0}"#
        );
    }

    #[test]
    fn a_failed_flush_turns_promises_into_errors_and_drops_deliveries() {
        let (mut acks, mut outbox) = (Acks::new("A", ""), Outbox::new());
        outbox.push_with(b"before", |out| out.push(b'x'));
        acks.stored(&mut outbox, b"r", 1, false);
        outbox.push_with(b"delivery", |out| out.push(b'y'));
        let kept = acks.after_failed_flush(&outbox, 1, &STREAM_WRONG_LAST_SEQUENCE.with("seq", 4));
        let to: Vec<_> =
            kept.iter().map(|msg| (msg.to.to_vec(), msg.payload.starts_with(b"{\"error"))).collect();
        assert_eq!(to, [(b"before".to_vec(), false), (b"r".to_vec(), true)]);
    }
}
