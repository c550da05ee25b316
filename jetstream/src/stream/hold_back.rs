//! Answers to requests that met what is not durable yet.

use super::{Inner, Stream, header};
use crate::outbox::{Outbox, Says};

impl Stream {
    /// How often the stream had to take back what it could not keep.
    pub(crate) fn losses(&self) -> u64 {
        self.inner.lock().losses()
    }

    /// Has the answers in `out`, to a request that was carried out when there had been `losses`, leave behind all that
    /// is queued, if that waits for a sync. `newest` says that the request was for the newest message of a subject.
    /// Says whether it took them.
    pub(crate) fn hold_back(&self, out: &mut Outbox, losses: u64, newest: bool) -> bool {
        let mut inner = self.inner.lock();
        if inner.losses() != losses {
            // What was seen may be gone. Whoever asked gets no answer, and asks again.
            out.clear();
            return false;
        }
        if !inner.awaits_sync() || (newest && inner.is_of_the_durable(out)) {
            return false;
        }
        inner.touch();
        for msg in out.iter() {
            let json = msg.payload.first() == Some(&b'{') && msg.headers.is_empty();
            inner.outbox.push(msg);
            inner.outbox.last_says(Says::Answer { json });
        }
        out.clear();
        true
    }
}

impl Inner {
    /// Whether `out` is one message that is durable, and would be the newest of its subject without all that is not.
    fn is_of_the_durable(&self, out: &Outbox) -> bool {
        let mut answers = out.iter();
        let (Some(answer), None) = (answers.next(), answers.next()) else { return false };
        let seq = header(answer.headers, b"Nats-Sequence")
            .and_then(|seq| std::str::from_utf8(seq).ok())
            .and_then(|seq| seq.parse::<u64>().ok());
        seq.is_some_and(|seq| self.was_newest(seq))
    }
}
