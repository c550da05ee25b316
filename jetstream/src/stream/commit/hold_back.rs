//! Answers to requests that met what is not durable yet.

use crate::error::catalogue::STREAM_STORE_FAILED;
use crate::outbox::{Outbox, Says};
use crate::stream::{Inner, Stream};

impl Stream {
    /// How often the stream had to take back what it could not keep.
    pub(crate) fn rollbacks(&self) -> u64 {
        self.inner.lock().commit.rollbacks()
    }

    /// Has the answers in `out`, to a request that was carried out when there had been `rollbacks`, leave behind all that
    /// is queued, if that waits for a sync. Says whether it took them.
    pub(crate) fn hold_back(&self, out: &mut Outbox, rollbacks: u64, asked: Asked) -> bool {
        let mut inner = self.inner.lock();
        if inner.commit.rollbacks() != rollbacks {
            inner.withdraw(out, asked);
            return false;
        }
        if !inner.awaits_sync() || (asked == Asked::Newest && inner.is_of_the_durable(out)) {
            return false;
        }
        inner.touch();
        for queued in out.queued() {
            inner.outbox.push_queued(&queued);
        }
        out.clear();
        true
    }
}

/// What a request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The newest message of a subject.
    Newest,
    /// A change.
    Change,
    /// Anything else.
    Other,
}

impl Inner {
    /// Replaces answers that rest on what was taken back. That a change was refused is as true as before; whoever was
    /// to get a message gets no answer, and asks again.
    fn withdraw(&self, out: &mut Outbox, asked: Asked) {
        let mut told = Outbox::new();
        let error = STREAM_STORE_FAILED.because("what was not kept is taken back");
        for queued in out.queued() {
            match queued.says {
                Says::Answer { refused: true } if asked == Asked::Change => told.push_queued(&queued),
                Says::Answer { .. } => {
                    told.push_with(queued.msg.to, |out| self.acks.write_error(&error, out))
                }
                _ => {}
            }
        }
        *out = told;
    }

    /// Whether `out` is one message that is durable, and would be the newest of its subject without all that is not.
    fn is_of_the_durable(&self, out: &Outbox) -> bool {
        let mut answers = out.queued();
        let (Some(answer), None) = (answers.next(), answers.next()) else { return false };
        matches!(answer.says, Says::Found(seq) if self.commit.was_newest(seq))
    }
}
