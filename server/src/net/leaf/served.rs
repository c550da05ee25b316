//! Requests over a leaf node connection that the server serves itself, and messages that go on in other accounts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jetkv_jetstream::{ClientInfo, OutMsg};

use super::Leaf;
use super::connection::Connection;
use crate::crossing::{self, Landing};
use crate::events;
use crate::jetstream::{ControlSubject, JetStream};
use crate::net::asked::{self, Asked};
use crate::router::{Account, Crossing, Receiver};
use crate::worker::Turn;

/// What a leaf node is to those who see its requests.
const KIND: &str = "Leafnode";

impl Leaf {
    /// The other server as the engine shows it in advisories.
    fn client_info(&self, server: &str) -> ClientInfo {
        let joined = self.joined.get();
        ClientInfo {
            host: self.peer.ip_text(),
            id: Receiver::id(self),
            account: joined.map(|joined| joined.account.name().to_owned()).unwrap_or_default(),
            name: joined.map(|joined| joined.server.clone()).unwrap_or_default(),
            rtt_ns: self.rtt_ns.load(Ordering::Relaxed).unsigned_abs(),
            server: server.to_owned(),
            kind: KIND.to_owned(),
            ..ClientInfo::default()
        }
    }
}

impl Connection {
    pub(super) fn client_info(&mut self) -> Arc<ClientInfo> {
        let (leaf, server) = (&self.leaf, &self.shared.identity.name);
        Arc::clone(self.client_info.get_or_insert_with(|| Arc::new(leaf.client_info(server))))
    }

    /// Hands a message to the engine in `account`, if its subject is one of that; tells whether anything served it. `asker` is
    /// who asks, where that is another account; a request that `crosses` is answered elsewhere, unless the account has
    /// JetStream of its own.
    pub(super) fn serve(
        &mut self,
        turn: &mut Turn<'_>,
        account: &Arc<Account>,
        msg: OutMsg<'_>,
        asker: Option<Arc<ClientInfo>>,
        crosses: bool,
    ) -> bool {
        let Some(control) = JetStream::control_subject(msg.to) else { return false };
        let Some(jetstream) = self.jetstream.clone() else { return false };
        let client = &asker.unwrap_or_else(|| self.client_info());
        let asked = Asked { account: account.id(), msg, client };
        match control {
            ControlSubject::Api if !account.serves_api(crosses) => false,
            ControlSubject::Api => asked.serve((&self.shared, &jetstream), turn, &mut self.long_gets),
            ControlSubject::Control if account.has_jetstream() => {
                asked::control_at_once(&jetstream, turn, account.id(), &msg)
                    .unwrap_or_else(|| asked.serve_later(turn, &mut self.long_gets))
            }
            ControlSubject::Backup => {
                jetstream.engine().backup_message(account.id(), msg.to, msg.reply, msg.payload)
            }
            ControlSubject::Control => false,
        }
    }

    /// Has a message go into other accounts.
    #[cold]
    pub(super) fn cross(
        &mut self,
        turn: &mut Turn<'_>,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        ways: Vec<Crossing>,
    ) {
        let shared = Arc::clone(&self.shared);
        let mut landing = LeafLanding { connection: self, turn };
        crossing::cross(&shared, &mut landing, events::publish, account, msg, ways);
    }
}

/// Where what comes over a leaf node connection comes in, in other accounts than its own.
struct LeafLanding<'a, 'w> {
    connection: &'a mut Connection,
    turn: &'a mut Turn<'w>,
}

impl Landing for LeafLanding<'_, '_> {
    fn land(
        &mut self,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        asker: Option<&ClientInfo>,
        onward: &mut Vec<Crossing>,
    ) -> bool {
        let sender = Arc::clone(&self.connection.leaf);
        let (routed, take_long) =
            crossing::route_crossed(&self.connection.shared, account, &*sender, msg, self.turn);
        for stream in take_long {
            self.connection.publish_later(self.turn, account, stream, msg);
        }
        let crosses = !routed.crossings.is_empty();
        onward.extend(routed.crossings);
        let Some(asker) = asker.filter(|_| msg.to.first() == Some(&b'$')) else { return routed.delivered };
        let asker = crossing::asker_in(&self.connection.shared, account, asker);
        self.connection.serve(self.turn, account, *msg, Some(Arc::new(asker)), crosses) || routed.delivered
    }

    fn sender(&self) -> Option<ClientInfo> {
        Some(self.connection.leaf.client_info(&self.connection.shared.identity.name))
    }
}
