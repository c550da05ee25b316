//! Messages of a connection that come in in other accounts than its own.

use std::sync::Arc;

use jetkv_jetstream::{ClientInfo, OutMsg};

use super::connection::Connection;
use crate::crossing::{self, Landing};
use crate::events;
use crate::router::{Account, Crossing};
use crate::worker::Turn;

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
        let sender = Arc::clone(&self.connection.client);
        let (routed, take_long) =
            crossing::route_crossed(&self.connection.shared, account, &*sender, msg, self.turn);
        if routed.stalling {
            self.turn.batch.stalling = routed.pressured;
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

    fn sender(&self) -> Option<ClientInfo> {
        Some(events::client_info(&self.connection.shared, &*self.connection.client))
    }
}
