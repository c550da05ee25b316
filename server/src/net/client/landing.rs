//! Messages of a connection that come in in other accounts than its own.

use std::sync::Arc;

use jetkv_jetstream::stream::{Inbound, TakesLong};
use jetkv_jetstream::{ClientInfo, OutMsg};

use super::connection::Connection;
use crate::crossing::{self, Landing};
use crate::events;
use crate::router::{Account, Crossing, Matches, Origin, Receiver, Subscription, route};
use crate::worker::{Batch, Turn, touch};

/// Where what a connection publishes comes in.
pub(super) struct ConnectionLanding<'a, 'w> {
    pub(super) connection: &'a mut Connection,
    pub(super) turn: &'a mut Turn<'w>,
}

impl Connection {
    /// Has a message go into other accounts; tells whether anyone got it there.
    #[cold]
    pub(super) fn cross(&mut self, turn: &mut Turn<'_>, msg: &OutMsg<'_>, ways: Vec<Crossing>) -> bool {
        let (shared, account) = (Arc::clone(&self.shared), Arc::clone(&self.account));
        let mut landing = ConnectionLanding { connection: self, turn };
        crossing::cross(&shared, &mut landing, events::publish, &account, msg, ways)
    }
}

impl Landing for ConnectionLanding<'_, '_> {
    fn land(
        &mut self,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        asker: Option<&ClientInfo>,
        onward: &mut Vec<Crossing>,
    ) -> bool {
        let mut matches = Matches::<Subscription>::default();
        account.matching(msg.to, &mut matches);
        let inbound =
            Inbound { subject: msg.subject, reply: msg.reply, headers: msg.headers, payload: msg.payload };
        let touched = &self.turn.worker.touched;
        let Batch { streams, stored_at, stalling, .. } = &mut *self.turn.batch;
        let sender: &dyn Receiver = &*self.connection.client;
        let mut take_long = Vec::new();
        let routed = route(&matches, Origin::Crossed(Some(sender)), msg, touched, |stream| {
            match stream.publish_if_short(&inbound) {
                Ok(at) => *stored_at = Some(at),
                Err(TakesLong) => take_long.push(Arc::clone(stream)),
            }
            touch(streams, stream);
        });
        crossing::count(&self.connection.shared, account, msg, &routed);
        if routed.stalling {
            *stalling = routed.pressured;
        }
        for stream in take_long {
            self.connection.publish_later(self.turn, stream, msg);
        }
        let crosses = !routed.crossings.is_empty();
        onward.extend(routed.crossings);
        let Some(asker) = asker.filter(|_| msg.to.first() == Some(&b'$')) else { return routed.delivered };
        let asker = crossing::asker_in(&self.connection.shared, account, asker);
        self.connection.serve(self.turn, account, *msg, Some(Arc::new(asker)), crosses) || routed.delivered
    }

    fn sender(&self, shared: bool) -> Option<ClientInfo> {
        let full = events::client_info(&self.connection.shared, &*self.connection.client);
        Some(if shared {
            full
        } else {
            ClientInfo { account: full.account, rtt_ns: full.rtt_ns, ..ClientInfo::default() }
        })
    }
}
