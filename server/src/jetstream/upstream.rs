//! The engine as a client: what streams subscribe to, and publish, to get messages of their origins.
//!
//! It goes the ways of any client: into the streams and services of its account, and into other accounts by imports. Only
//! permissions and limits of connections do not concern it.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use jetkv_jetstream::stream::{Inbound, Stream};
use jetkv_jetstream::{AccountId, ApiRequest, ClientInfo, OutMsg, Outbox};
use parking_lot::Mutex;

use super::host::EngineHost;
use super::{ApiWay, ControlSubject, JetStream};
use crate::crossing::{self, Landing};
use crate::events;
use crate::router::{Account, Crossing, Origin, Queued, Receipt, Receiver, Subscription, Target};
use crate::worker::{self, QueuedRequest, Streams as _};

/// What the engine is to those who see its requests.
const KIND: &str = "JetStream";

/// A subscription of a stream.
#[derive(Debug)]
struct Ear {
    stream: Weak<Stream>,
    channel: u64,
    /// The connection that nats-server would give the stream.
    id: u64,
    account: Arc<Account>,
}

/// The subscriptions of streams.
#[derive(Default)]
pub(super) struct Ears(Mutex<HashMap<EarKey, Arc<Subscription>>>);

/// A stream, by its address, and a channel.
type EarKey = (usize, u64);

fn key(stream: &Stream, channel: u64) -> EarKey {
    (std::ptr::from_ref(stream).addr(), channel)
}

impl Receiver for Ear {
    fn id(&self) -> u64 {
        self.id
    }

    fn deliver(&self, sub: &Subscription, msg: &OutMsg<'_>, _is_own: bool, _thread: u32) -> Receipt {
        let Some(stream) = self.stream.upgrade() else { return Receipt::CLOSED };
        sub.count();
        stream.hear(self.channel, msg);
        Receipt { queued: Queued::Waiting, is_first: false, is_last: false }
    }

    fn end_subscription(&self, _: &Arc<Subscription>) -> Arc<Account> {
        Arc::clone(&self.account)
    }
}

impl EngineHost {
    /// Subscribes for a stream.
    pub(super) fn listen_for(&self, stream: &Arc<Stream>, channel: u64, subject: &[u8]) {
        let Some(account) = self.shared.accounts.get(stream.account()) else { return };
        let ear = Ear {
            stream: Arc::downgrade(stream),
            channel,
            id: stream.client_number(),
            account: Arc::clone(&account),
        };
        let sid = stream.next_sid().to_string();
        let target = Target::Receiver(Arc::new(ear));
        let sub = Arc::new(Subscription::new(target, subject, b"", sid.as_bytes()));
        if account.subscribe(Arc::clone(&sub)).is_err() {
            tracing::warn!(stream = stream.name(), "cannot listen on {}", String::from_utf8_lossy(subject));
            return;
        }
        self.ears.0.lock().insert(key(stream, channel), Arc::clone(&sub));
        let Some(jetstream) = self.shared.jetstream() else { return };
        if account.has_jetstream() {
            let streams = jetstream.interest_changed(&account, &sub, true);
            streams.iter().for_each(|stream| stream.commit(self));
        }
        let shadows = account.shadows(&sub);
        if !shadows.is_empty() {
            jetstream.shadows_came(&shadows).iter().for_each(|stream| stream.commit(self));
        }
    }

    /// Ends a subscription of a stream.
    pub(super) fn unlisten_for(&self, stream: &Stream, channel: u64) {
        let Some(sub) = self.ears.0.lock().remove(&key(stream, channel)) else { return };
        let Some(account) = self.shared.accounts.get(stream.account()) else { return };
        let ended = account.unsubscribe(&sub);
        crossing::give_up(&self.shared, events::publish, &ended.requests);
        if let Some(jetstream) = self.shared.jetstream() {
            jetstream.shadows_ended(&ended.shadows).iter().for_each(|stream| stream.commit(self));
            jetstream.subscription_ended(&account, &sub).iter().for_each(|stream| stream.commit(self));
        }
    }

    /// Publishes for a stream.
    pub(super) fn publish_as_client(&self, account: AccountId, msg: OutMsg<'_>) {
        let Some(account) = self.shared.accounts.get(account) else { return };
        let mut renamed = Vec::new();
        let is_renamed = account.renames() && account.rename(msg.to, &mut renamed);
        let to = if is_renamed { renamed.as_slice() } else { msg.to };
        let msg = OutMsg { to, subject: to, ..msg };
        let mut landing = StreamLanding { host: self };
        let mut ways = Vec::new();
        landing.route(&account, Origin::Server, &msg, &mut ways);
        landing.serve(&account, &msg, None, !ways.is_empty());
        if !ways.is_empty() {
            crossing::cross(&self.shared, &mut landing, events::publish, &account, &msg, ways);
        }
    }
}

/// Where what a stream publishes comes in.
struct StreamLanding<'a> {
    host: &'a EngineHost,
}

impl StreamLanding<'_> {
    /// Gives a message to all who listen in an account, and to its streams.
    fn route(
        &self,
        account: &Account,
        origin: Origin<'_>,
        msg: &OutMsg<'_>,
        onward: &mut Vec<Crossing>,
    ) -> bool {
        let mut streams = Vec::new();
        let delivered =
            crossing::route_own(&self.host.shared, account, origin, msg, onward, |_, stream, msg| {
                stream.publish_when_known(&Inbound::from(msg));
                worker::touch(&mut streams, stream);
            });
        streams.iter().for_each(|stream| stream.commit(self.host));
        delivered
    }

    /// Hands a message to the engine in `account`, if its subject is one of that. `asker` is who asks, where that is another
    /// account.
    fn serve(
        &self,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        asker: Option<&ClientInfo>,
        crosses: bool,
    ) -> bool {
        let Some(jetstream) = self.host.shared.jetstream() else { return false };
        match JetStream::control_subject(msg.to) {
            Some(ControlSubject::Api) if account.serves_api(crosses) => {
                let own = || ClientInfo {
                    account: account.name().to_owned(),
                    server: self.host.shared.identity.name.clone(),
                    kind: KIND.to_owned(),
                    ..ClientInfo::default()
                };
                let client = Arc::new(asker.cloned().unwrap_or_else(own));
                self.request(&jetstream, account.id(), &client, msg)
            }
            Some(ControlSubject::Control) if account.has_jetstream() => {
                let engine = jetstream.engine();
                let stream = engine.js_control(account.id(), &Inbound::from(msg));
                stream.inspect(|stream| stream.commit(self.host)).is_some()
            }
            _ => false,
        }
    }

    fn request(
        &self,
        jetstream: &JetStream,
        account: AccountId,
        client: &Arc<ClientInfo>,
        msg: &OutMsg<'_>,
    ) -> bool {
        let (subject, reply, headers, payload) = (msg.to, msg.reply, msg.headers, msg.payload);
        let request = ApiRequest { account, subject, reply, headers, payload, client: Some(client) };
        self.host.shared.system_services.count_api();
        match jetstream.way(account, subject) {
            ApiWay::Here => {}
            ApiWay::Nobody => return false,
            ApiWay::Queue => {
                jetstream.submit(&mut vec![QueuedRequest::new(&request, client)]);
                return true;
            }
        }
        let (mut answers, mut streams) = (Outbox::new(), Vec::new());
        let served = jetstream.serve_here(&request, &mut answers, |stream| {
            worker::touch(&mut streams, stream);
        });
        jetstream.deliver_all(account, &mut answers);
        streams.iter().for_each(|stream| stream.commit(self.host));
        served == super::Served::Here
    }
}

impl Landing for StreamLanding<'_> {
    fn land(
        &mut self,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        asker: Option<&ClientInfo>,
        onward: &mut Vec<Crossing>,
    ) -> bool {
        let before = onward.len();
        let delivered = self.route(account, Origin::Crossed(None), msg, onward);
        // Answers are no requests.
        let Some(asker) = asker else { return delivered };
        let asker = crossing::asker_in(&self.host.shared, account, asker);
        self.serve(account, msg, Some(&asker), onward.len() > before) || delivered
    }

    fn sender(&self) -> Option<ClientInfo> {
        None
    }
}
