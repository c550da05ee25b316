//! Messages that meet a fault on purpose.

use jetkv_jetstream::OutMsg;
use jetkv_protocol::Publish;

use super::connection::Connection;
use crate::connections::{CloseReason, ConnectionHandle as _};
use crate::events;
use crate::faults::{Delay, Fault, LAB, Met, Slowness};

/// Where a message goes that may have met a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Where it would.
    Plain,
    /// Where it would, without an answer.
    Unanswered,
    /// Where it would, and the answer to there.
    AnsweredTo(Vec<u8>),
    /// Where it would, twice.
    Twice,
    /// Nowhere.
    Nowhere,
}

impl Connection {
    /// Has a message meet the faults of the test lab. A client that may not publish it is told so, whatever the rules say.
    pub(super) fn meet_faults(&mut self, publish: &Publish<'_>) -> Way {
        if publish.subject.starts_with(LAB.as_bytes()) {
            return Way::Plain;
        }
        let client = &self.client;
        let name = || client.identity().name;
        let met = Met { subject: publish.subject, account: self.account.name(), client: &name };
        let Some(fault) = self.shared.faults.meet(&met) else { return Way::Plain };
        let reply = publish.reply.unwrap_or_default();
        match fault {
            Fault::LoseAnswer => return Way::Unanswered,
            Fault::Twice => return Way::Twice,
            Fault::DelayAnswer(_) if reply.is_empty() => return Way::Plain,
            _ => {}
        }
        if !self.may_publish(publish.subject, reply) {
            return Way::Nowhere;
        }
        match fault {
            Fault::DelayAnswer(Delay { by_ns, .. }) => return self.delay_answer(reply, by_ns),
            Fault::Hold(Delay { by_ns, .. }) => return self.hold(publish, Slowness::By { ns: by_ns }),
            Fault::Narrow { rule, bytes_per_sec } => {
                return self.hold(publish, Slowness::Bandwidth { rule, bytes_per_sec });
            }
            _ => {}
        }
        if self.verbose {
            self.send_ok();
        }
        match fault {
            Fault::Answer(error) if !reply.is_empty() => {
                events::publish(&self.shared, &self.account, reply, &error.body())
            }
            Fault::NoResponders if self.no_responders && !reply.is_empty() => {
                self.answer_no_responders(publish.subject, reply);
            }
            Fault::Disconnect => self.client.close(CloseReason::Kicked),
            _ => {}
        }
        Way::Nowhere
    }

    fn delay_answer(&self, reply: &[u8], by_ns: u64) -> Way {
        let lateness = self.shared.lateness.get();
        let there = lateness.and_then(|lateness| lateness.delay_answers(&self.account, reply, by_ns));
        there.map_or(Way::Plain, Way::AnsweredTo)
    }

    /// Leaves a message to who sends it later.
    fn hold(&mut self, publish: &Publish<'_>, slowness: Slowness) -> Way {
        let msg = OutMsg {
            to: publish.subject,
            subject: publish.subject,
            reply: publish.reply.unwrap_or_default(),
            headers: publish.headers,
            payload: publish.payload,
        };
        let lateness = self.shared.lateness.get();
        let is_held =
            lateness.is_some_and(|lateness| lateness.hold(&self.account, self.client.id(), &msg, slowness));
        if !is_held {
            return Way::Plain;
        }
        if self.verbose {
            self.send_ok();
        }
        Way::Nowhere
    }
}
