//! Requests over a leaf node connection that the server serves itself, and messages that go on in other accounts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jetkv_jetstream::stream::Inbound;
use jetkv_jetstream::{ApiRequest, ClientInfo, OutMsg};

use super::Leaf;
use super::connection::Connection;
use crate::crossing::{self, Landing};
use crate::events;
use crate::jetstream::{ApiWay, ControlSubject, JetStream, Served};
use crate::net::client::TAKEN_BY_ASSETS;
use crate::router::{Account, Crossing, Receiver};
use crate::worker::{Batch, LongGet, QueuedRequest, Turn, touch};

/// What a leaf node is to those who see its requests.
const KIND: &str = "Leafnode";

/// A message as a request of the API.
pub(super) fn request<'a>(
    account: &Account,
    msg: &OutMsg<'a>,
    client: &'a Arc<ClientInfo>,
) -> ApiRequest<'a> {
    ApiRequest {
        account: account.id(),
        subject: msg.to,
        reply: msg.reply,
        headers: msg.headers,
        payload: msg.payload,
        client: Some(client),
    }
}

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
        let client = asker.unwrap_or_else(|| self.client_info());
        match control {
            ControlSubject::Api if !account.serves_api(crosses) => false,
            ControlSubject::Api => self.api_request(turn, &jetstream, account, &client, &msg),
            ControlSubject::Control if account.has_jetstream() => {
                match jetstream.engine().js_control_at_once(account.id(), &Inbound::from(&msg)) {
                    Some(stream) => {
                        stream.iter().for_each(|stream| turn.batch.touch(stream));
                        stream.is_some()
                    }
                    None => self.serve_later(turn, &request(account, &msg, &client), &client),
                }
            }
            ControlSubject::Backup => {
                jetstream.engine().backup_message(account.id(), msg.to, msg.reply, msg.payload)
            }
            ControlSubject::Control => false,
        }
    }

    fn serve_later(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ApiRequest<'_>,
        client: &Arc<ClientInfo>,
    ) -> bool {
        let (get, done) = LongGet::new(QueuedRequest::new(request, client));
        turn.batch.long_gets.push(get);
        self.long_gets.push(done);
        true
    }

    /// Serves a request of the JetStream API, or leaves it to be queued; tells whether anything serves its subject.
    fn api_request(
        &mut self,
        turn: &mut Turn<'_>,
        jetstream: &JetStream,
        account: &Arc<Account>,
        client: &Arc<ClientInfo>,
        msg: &OutMsg<'_>,
    ) -> bool {
        turn.batch.tally.api_requests += 1;
        if !TAKEN_BY_ASSETS.iter().any(|prefix| msg.to.starts_with(prefix)) {
            self.shared.system_services.count_api();
        }
        let request = request(account, msg, client);
        match jetstream.way(account.id(), msg.to) {
            ApiWay::Here => {}
            ApiWay::Nobody => return false,
            ApiWay::Queue => {
                turn.batch.requests.push(QueuedRequest::new(&request, client));
                return true;
            }
        }
        if turn.batch.answers_in.is_some_and(|other| other != account.id()) {
            // Answers of one turn are those of one account.
            turn.commit_here(jetstream);
        }
        let Batch { answers, streams, answers_in, .. } = &mut *turn.batch;
        *answers_in = Some(account.id());
        match jetstream.serve_here(&request, answers, |stream| touch(streams, stream)) {
            Served::Here => true,
            Served::ByNobody => false,
            Served::Later => self.serve_later(turn, &request, client),
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
