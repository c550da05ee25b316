//! Taking back what could not be kept: in the store, in what consumers and timers know of it, and in what was to be
//! said of it.

use crate::api::ApiError;
use crate::consumer::delivered_seq;
use crate::host::OutMsg;
use crate::outbox::{Outbox, Says};
use crate::store::{Lost, StoreError};
use crate::stream::Inner;
use crate::stream::headers::{Ttl, header, parse_ttl};
use crate::stream::inner::store_error;
use crate::stream::write::Acks;

/// A disk that stays full is reported this often.
const REPORT_EVERY_NS: u64 = 10_000_000_000;

impl Inner {
    /// An operation failed half-way: what it did is to be taken back, with all else that waits to be kept.
    pub(crate) fn fail_half_way(&mut self, error: StoreError) -> ApiError {
        let answer = store_error(&error);
        self.commit.failed_half_way(self.outbox.len(), error);
        answer
    }

    /// Takes back what could not be kept, and answers it with an error. While a sync runs that may come to a good end,
    /// only what was done since it began.
    pub(super) fn roll_back(&mut self, error: &StoreError) -> ApiError {
        let answer = store_error(error);
        let before = self.store.totals().last_seq;
        let lost = self.store.roll_back();
        let kept_seq = self.store.totals().last_seq;
        let (from, report) = self.commit.rolled_back(self.now.elapsed(), REPORT_EVERY_NS);
        if report {
            tracing::error!(
                stream = %self.config.name, %error, messages = lost.appended.len(),
                "what was not kept is taken back, and answered with an error"
            );
        }
        if !lost.unwritten {
            self.commit.burn(before);
        }
        let from = from.unwrap_or(self.outbox.len());
        self.outbox = after_rollback(&self.acks, &self.outbox, from, kept_seq, &answer);
        if !self.commit.is_syncing() {
            let (carried, from) = self.commit.carried_from();
            *carried = after_rollback(&self.acks, carried, from, kept_seq, &answer);
        }
        self.forget_lost(&lost, kept_seq);
        answer
    }

    fn forget_lost(&mut self, lost: &Lost, kept_seq: u64) {
        self.dedupe.forget_after(kept_seq);
        for (seq, subject) in &lost.appended {
            self.expiry.forget(*seq);
            let (consumers, mut ctx) = self.parts();
            consumers.on_removed(&mut ctx, *seq, subject);
        }
        for seq in &lost.restored {
            let Ok(Some(msg)) = self.store.load(*seq) else { continue };
            let ttl = header(msg.headers, b"Nats-TTL").and_then(parse_ttl).unwrap_or(Ttl::Unset);
            let ts_ns = msg.ts_ns;
            self.set_expiry(*seq, ts_ns, ttl);
        }
        let (consumers, mut ctx) = self.parts();
        consumers.took_back(&mut ctx, &lost.restored);
        self.reload_last_msg_id();
    }
}

/// What may leave although the stream has taken back what was stored after `kept_seq`: everything queued before
/// `from`, and what does not speak of that. Promises that a message was stored become the error.
fn after_rollback(acks: &Acks, outbox: &Outbox, from: usize, kept_seq: u64, error: &ApiError) -> Outbox {
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
            kept.push_with(msg.to, |out| acks.write_error(error, out));
            kept.last_says(Says::Refused);
        }
    }
    kept
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::catalogue::STREAM_WRONG_LAST_SEQUENCE;

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
        let kept = after_rollback(&acks, &outbox, 1, 6, &STREAM_WRONG_LAST_SEQUENCE.with("seq", 4));
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
