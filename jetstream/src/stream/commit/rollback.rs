//! Taking back what could not be kept: in the store, in what consumers and timers know of it, and in what was to be
//! said of it.

use crate::error::ApiError;
use crate::headers::header;
use crate::message::OutMsg;
use crate::outbox::{Outbox, Queued, Says};
use crate::store::{Lost, Msg, StoreError};
use crate::stream::Inner;
use crate::stream::inner::store_error;
use crate::stream::write::Acks;
use crate::ttl::{Ttl, parse_ttl};

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
        *self.outbox = after_rollback(&self.acks, &self.outbox, from, kept_seq, &answer);
        if !self.commit.is_syncing() {
            let (carried, from) = self.commit.carried_from();
            *carried = after_rollback(&self.acks, carried, from, kept_seq, &answer);
        }
        self.forget_lost(&lost, kept_seq);
        answer
    }

    fn forget_lost(&mut self, lost: &Lost, kept_seq: u64) {
        self.dedupe.forget_after(kept_seq);
        self.batches.lose_after(kept_seq);
        self.removals.note_many();
        for (seq, subject) in &lost.appended {
            self.expiry.forget(*seq);
            self.schedules.forget(*seq);
            let (consumers, mut ctx) = self.parts();
            consumers.on_removed(&mut ctx, *seq, subject);
        }
        for seq in &lost.restored {
            let Ok(Some(msg)) = self.store.load(*seq) else { continue };
            let (subject, headers) = (msg.subject.to_vec(), msg.headers.to_vec());
            let ttl = header(msg.headers, b"Nats-TTL").and_then(parse_ttl).unwrap_or(Ttl::Unset);
            let ts_ns = msg.ts_ns;
            self.set_expiry(*seq, ts_ns, ttl);
            self.note_schedule(&Msg { seq: *seq, ts_ns, subject: &subject, headers: &headers, payload: b"" });
        }
        let (consumers, mut ctx) = self.parts();
        consumers.took_back(&mut ctx, &lost.restored);
        self.reload_last_msg_id();
        self.origins_go_back();
    }
}

/// What may leave although the stream has taken back what was stored after `kept_seq`: everything queued before
/// `from`, and what does not speak of that. Promises that a message was stored become the error.
fn after_rollback(acks: &Acks, outbox: &Outbox, from: usize, kept_seq: u64, error: &ApiError) -> Outbox {
    let mut kept = Outbox::new();
    for (at, queued) in outbox.queued().enumerate() {
        let stays = at < from
            || match queued.says {
                Says::Stored(seq) | Says::Republished(seq) | Says::Delivered(seq) => seq <= kept_seq,
                Says::Refused | Says::Status | Says::Confirmed => true,
                Says::Answer { .. } | Says::Found(_) | Says::FoundStatus | Says::Anything => false,
            };
        if stays {
            kept.push_queued(&queued);
        } else if matches!(queued.says, Says::Stored(_) | Says::Answer { .. }) {
            let mut payload = Vec::new();
            acks.write_error(error, &mut payload);
            let to = queued.msg.to;
            let msg = OutMsg { to, subject: to, reply: b"", headers: b"", payload: &payload };
            let refusal = queued.caller.map(|_| error);
            kept.push_queued(&Queued { says: Says::Refused, refusal, msg, ..queued });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::catalogue::STREAM_WRONG_LAST_SEQUENCE;
    use crate::outbox::{Caller, TO_CALLER};
    use crate::stream::write::Told;

    #[test]
    fn promises_become_errors_and_what_speaks_of_the_lost_is_dropped() {
        let (acks, mut outbox) = (Acks::new("A", ""), Outbox::new());
        let push = |outbox: &mut Outbox, to: &[u8], says| {
            outbox.push_as(says, OutMsg { to, subject: to, reply: b"", headers: b"", payload: b"x" });
        };
        push(&mut outbox, b"before", Says::Anything);
        acks.tell(&mut outbox, b"kept", 6, Told::Stored);
        acks.tell(&mut outbox, b"lost", 7, Told::Stored);
        for seq in [6, 7] {
            push(&mut outbox, b"delivered", Says::Delivered(seq));
            push(&mut outbox, b"republished", Says::Republished(seq));
        }
        push(&mut outbox, b"status", Says::Status);
        push(&mut outbox, b"confirmed", Says::Confirmed);
        push(&mut outbox, b"found", Says::Found(6));
        push(&mut outbox, b"not found", Says::FoundStatus);
        push(&mut outbox, b"advisory", Says::Anything);
        push(&mut outbox, b"request", Says::Answer { refused: false });
        let kept = after_rollback(&acks, &outbox, 1, 6, &STREAM_WRONG_LAST_SEQUENCE.with("seq", 4));
        let to: Vec<_> = kept.iter().map(|msg| (msg.to, msg.payload.starts_with(b"{\"error"))).collect();
        let wanted: [(&[u8], bool); 8] = [
            (b"before", false),
            (b"kept", false),
            (b"lost", true),
            (b"delivered", false),
            (b"republished", false),
            (b"status", false),
            (b"confirmed", false),
            (b"request", true),
        ];
        assert_eq!(to, wanted);
    }

    #[test]
    fn who_waits_inside_the_process_gets_the_error_too() {
        let (acks, mut outbox) = (Acks::new("A", ""), Outbox::new());
        let [caller, other] = [1, 2].map(|number| Caller::new(number).unwrap());
        acks.tell(&mut outbox, TO_CALLER, 7, Told::Stored);
        assert!(outbox.keep_for_caller(0, caller) && !outbox.keep_for_caller(1, other));
        assert!(outbox.keeps_for(caller) && !outbox.keeps_for(other));
        assert_eq!(outbox.queued().map(|queued| queued.outcome()).collect::<Vec<_>>(), [Ok(Some(7))]);
        let error = STREAM_WRONG_LAST_SEQUENCE.with("seq", 4);
        let kept = after_rollback(&acks, &outbox, 0, 6, &error);
        assert!(kept.queued().all(|queued| queued.caller == Some(caller) && queued.says == Says::Refused));
        assert!(kept.queued().all(|queued| queued.outcome() == Err(error.clone())));
        assert_eq!(kept.len(), 1);
    }
}
