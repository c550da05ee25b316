//! Answers to publishes.

use crate::api::ApiError;
use crate::consumer::delivered_seq;
use crate::host::OutMsg;
use crate::outbox::{Outbox, Says};
use jetkv_go_compat::json;

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

    /// Says that the message was stored as `seq`, or (`duplicate`) that `seq` holds it already.
    pub(in crate::stream) fn stored(&self, outbox: &mut Outbox, reply: &[u8], seq: u64, duplicate: bool) {
        outbox.push_with(reply, |out| {
            out.extend_from_slice(&self.prefix);
            push_number(out, seq);
            // The blank is nats-server's.
            out.extend_from_slice(if duplicate { b",\"duplicate\": true}" } else { b"}" });
        });
        outbox.last_says(Says::Stored(seq));
    }

    pub(in crate::stream) fn refused(&self, outbox: &mut Outbox, reply: &[u8], error: &ApiError) {
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
        let mut payload = Vec::new();
        self.write_error(error, &mut payload);
        outbox.push_with_headers(reply, &payload, |out| out.extend_from_slice(headers));
    }

    pub(in crate::stream) fn write_error(&self, error: &ApiError, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":");
        json::write(error, out);
        out.extend_from_slice(b",\"stream\":");
        json::write_string(&self.stream, out);
        out.extend_from_slice(b",\"seq\":0}");
    }

    /// What may leave although the stream has lost what was stored after `kept_seq`: everything queued before
    /// `from`, and what does not speak of the loss. Promises that a message was stored become the error.
    pub(in crate::stream) fn after_loss(
        &self,
        outbox: &Outbox,
        from: usize,
        kept_seq: u64,
        error: &ApiError,
    ) -> Outbox {
        let mut kept = Outbox::new();
        for (at, (says, msg)) in outbox.iter_with_says().enumerate() {
            let stays = at < from
                || match says {
                    Says::Stored(seq) | Says::Republished(seq) => seq <= kept_seq,
                    Says::Refused | Says::Confirmed => true,
                    Says::Answer { .. } => false,
                    Says::Anything => stays_true(&msg, kept_seq),
                };
            if stays {
                kept.push(msg);
                kept.last_says(says);
            } else if matches!(says, Says::Stored(_) | Says::Answer { json: true }) {
                kept.push_with(msg.to, |out| self.write_error(error, out));
                kept.last_says(Says::Refused);
            }
        }
        kept
    }
}

/// Whether a message that is no answer to a publish is as true without what was stored after `kept_seq`: deliveries
/// of what was kept, statuses, and confirmed acknowledgements are; messages that are passed on are not.
fn stays_true(msg: &OutMsg<'_>, kept_seq: u64) -> bool {
    if let Some(seq) = delivered_seq(msg.reply) {
        return seq <= kept_seq;
    }
    let is_status = msg.headers.starts_with(b"NATS/1.0 ");
    is_status || (msg.headers.is_empty() && msg.payload.is_empty())
}

/// Appends a number in decimal, without going through the formatter.
#[inline]
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    jetkv_protocol::encode::decimal(out, number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::catalogue::STREAM_WRONG_LAST_SEQUENCE;

    fn one(fill: impl FnOnce(&Acks, &mut Outbox)) -> String {
        let (acks, mut outbox) = (Acks::new("A", ""), Outbox::new());
        fill(&acks, &mut outbox);
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
    fn a_loss_turns_promises_into_errors_and_drops_what_speaks_of_it() {
        let (acks, mut outbox) = (Acks::new("A", ""), Outbox::new());
        let delivery = |outbox: &mut Outbox, reply: &[u8]| {
            outbox.push(OutMsg { to: b"inbox", subject: b"s", reply, headers: b"", payload: b"x" });
        };
        outbox.push_with(b"before", |out| out.push(b'x'));
        acks.stored(&mut outbox, b"kept", 6, false);
        acks.stored(&mut outbox, b"lost", 7, false);
        delivery(&mut outbox, b"$JS.ACK.A.C.1.6.1.1700000000.0");
        delivery(&mut outbox, b"$JS.ACK.A.C.1.7.2.1700000000.0");
        for seq in [6, 7] {
            outbox.push_with(b"republished", |out| out.push(b'y'));
            outbox.last_says(Says::Republished(seq));
        }
        outbox.push(OutMsg {
            to: b"confirmed",
            subject: b"confirmed",
            reply: b"",
            headers: b"",
            payload: b"",
        });
        outbox.push_with(b"get", |out| out.push(b'z'));
        outbox.last_says(Says::Answer { json: false });
        let kept = acks.after_loss(&outbox, 1, 6, &STREAM_WRONG_LAST_SEQUENCE.with("seq", 4));
        let to: Vec<_> = kept.iter().map(|msg| (msg.to, msg.payload.starts_with(b"{\"error"))).collect();
        let wanted: [(&[u8], bool); 6] = [
            (b"before", false),
            (b"kept", false),
            (b"lost", true),
            (b"inbox", false),
            (b"republished", false),
            (b"confirmed", false),
        ];
        assert_eq!(to, wanted);
    }
}
