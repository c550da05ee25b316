//! What of a connection's deliveries waits until it has room again.

use jetkv_jetstream::AccountId;
use parking_lot::Mutex;

use super::outbound::Outbound;
use crate::router::DeliverSubject;

/// Subjects whose consumers wait for room.
#[derive(Debug, Default)]
pub(super) struct Starved(Mutex<Vec<DeliverSubject>>);

impl Starved {
    /// Notes a subject where there is no room; tells whether its consumer has to wait.
    pub(super) fn note(&self, out: &Outbound, account: AccountId, subject: &[u8]) -> bool {
        if !out.is_pressured() {
            return false;
        }
        let mut starved = self.0.lock();
        if !starved.iter().any(|(within, known)| *within == account && &**known == subject) {
            starved.push((account, subject.into()));
        }
        drop(starved);
        // It may have drained before the note was there to be found; whoever drains it later finds it.
        out.is_pressured()
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<DeliverSubject> {
        std::mem::take(&mut *self.0.lock())
    }
}
