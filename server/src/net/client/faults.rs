//! Messages that meet a fault on purpose.

use jetkv_protocol::Publish;

use super::connection::Connection;
use crate::connections::{CloseReason, ConnectionHandle as _};
use crate::events;
use crate::faults::{Fault, Met};

/// What the lab is asked on, which no rule is about: it could not be taken back.
const EXEMPT: &[u8] = b"$JETKV.LAB.";

/// Where a message goes that may have met a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Where it would.
    Plain,
    /// Where it would, without an answer.
    Unanswered,
    /// Nowhere.
    Nowhere,
}

impl Connection {
    /// Has a message meet the faults of the test lab. A client that may not publish it is told so, whatever the rules say.
    pub(super) fn meet_faults(&mut self, publish: &Publish<'_>) -> Way {
        if publish.subject.starts_with(EXEMPT) {
            return Way::Plain;
        }
        let client = &self.client;
        let name = || client.identity().name;
        let met = Met { subject: publish.subject, account: self.account.name(), client: &name };
        let Some(fault) = self.shared.faults.meet(&met) else { return Way::Plain };
        if fault == Fault::LoseAnswer {
            return Way::Unanswered;
        }
        let reply = publish.reply.unwrap_or_default();
        if !self.may_publish(publish.subject, reply) {
            return Way::Nowhere;
        }
        if self.verbose {
            self.send_ok();
        }
        match fault {
            Fault::Answer(body) if !reply.is_empty() => {
                events::publish(&self.shared, &self.account, reply, &body)
            }
            Fault::NoResponders if self.no_responders && !reply.is_empty() => {
                self.answer_no_responders(publish.subject, reply);
            }
            Fault::Disconnect => self.client.close(CloseReason::Kicked),
            Fault::LoseAnswer | Fault::Answer(_) | Fault::NoResponders => {}
        }
        Way::Nowhere
    }
}
