//! The way of a message from one account into another: requests to imported services, and the answers to them.
//!
//! A request goes on in the exporting account under the subject that it has there, with a reply subject of that account's
//! own and a header that says who asks. What is published to that reply subject goes back under the one that the request
//! came with. Either may cross again there. Circles were refused with the configuration; here a message never uses the
//! same export twice.

mod landing;
mod latency;
mod sampling;

pub(crate) use landing::{Landing, Passage, asker_in, count, route_crossed, route_own};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jetkv_go_compat::json;
use jetkv_jetstream::{ClientInfo, OutMsg};
use jetkv_protocol::HeaderBuf;
use rand::Rng;

use crate::options::ResponseType;
use crate::router::{Account, Crossing, ExportedService, ImportedService, Response, Responses, Tracked};
use crate::state::Shared;

/// Header in which the exporting account learns who asks.
pub(crate) const REQUEST_INFO: &str = "Nats-Request-Info";
/// How reply subjects end that ask for a fast batch.
const FAST_BATCH: &[u8] = b".$FI";
/// Header of messages that are traced, and what it says where they are not any more.
const TRACE_DESTINATION: &str = "Nats-Trace-Dest";
const TRACE_DISABLED: &[u8] = b"trace disabled";
/// Prefix of acknowledgements, which consumers understand as they are only.
const ACK: &[u8] = b"$JS.ACK.";
/// Accounts that a message goes through at most.
const ACCOUNTS_MAX: usize = 64;

/// Sends a message of the server itself within an account.
pub(crate) type Publish = fn(&Arc<Shared>, &Arc<Account>, subject: &[u8], payload: &[u8]);

/// A message on its way.
struct Journey<'a> {
    shared: &'a Arc<Shared>,
    landing: &'a mut dyn Landing,
    publish: Publish,
    /// The exports that it used.
    path: Vec<Arc<ExportedService>>,
    /// Who asks, as the last account learnt it.
    asker: Option<ClientInfo>,
    /// Whether the last import shared who asks.
    shares: bool,
}

/// Has a message go all the ways out of the account `from` that were found for it; tells whether anyone got it.
#[cold]
pub(crate) fn cross(
    shared: &Arc<Shared>,
    landing: &mut dyn Landing,
    publish: Publish,
    from: &Arc<Account>,
    msg: &OutMsg<'_>,
    ways: Vec<Crossing>,
) -> bool {
    let mut journey = Journey { shared, landing, publish, path: Vec::new(), asker: None, shares: false };
    journey.go_all(from, msg, ways)
}

/// Tells those who measure of requests whose answers nobody waits for any more.
pub(crate) fn give_up(shared: &Arc<Shared>, publish: Publish, requests: &[Response]) {
    for request in requests {
        latency::failed(shared, publish, request, latency::Failure::InterestLost);
    }
}

impl Journey<'_> {
    fn go_all(&mut self, from: &Arc<Account>, msg: &OutMsg<'_>, ways: Vec<Crossing>) -> bool {
        let mut delivered = false;
        for way in ways {
            delivered |= match way {
                Crossing::Request(service) => self.request(from, &service, msg),
                Crossing::Answer(responses) => self.answer(from, &responses, msg),
            };
        }
        delivered
    }

    /// Who publishes, with all that is known of it where that is `shared` with others. `None`: the server does.
    fn sender(&self, shared: bool) -> Option<ClientInfo> {
        let full = self.landing.sender()?;
        Some(if shared {
            full
        } else {
            ClientInfo { account: full.account, rtt_ns: full.rtt_ns, ..ClientInfo::default() }
        })
    }

    fn may_use(&self, export: &Arc<ExportedService>) -> bool {
        self.path.len() < ACCOUNTS_MAX && !self.path.iter().any(|known| Arc::ptr_eq(known, export))
    }

    fn land(&mut self, account: &Arc<Account>, msg: &OutMsg<'_>, export: &Arc<ExportedService>) -> bool {
        let mut onward = Vec::new();
        self.path.push(Arc::clone(export));
        let delivered = self.landing.land(account, msg, self.asker.as_ref(), &mut onward);
        let delivered = self.go_all(account, msg, onward) || delivered;
        self.path.pop();
        delivered
    }

    /// Makes a request to a service of another account.
    fn request(&mut self, from: &Arc<Account>, service: &ImportedService, msg: &OutMsg<'_>) -> bool {
        let export = &service.export;
        let Some(exporter) = self.shared.accounts.get(export.owner).filter(|_| self.may_use(export)) else {
            return false;
        };
        let share = service.options.share;
        let measured = sampling::sample(export.options.latency.as_ref(), msg.headers);
        let tracked = measured.map(|headers| {
            Arc::new(Tracked {
                requester: self.sender(share),
                start_ns: self.shared.clock.wall().ns(),
                since: Instant::now(),
                headers,
                is_told: AtomicBool::new(false),
            })
        });
        let opened = (!msg.reply.is_empty() && !msg.reply.starts_with(ACK)).then(|| Response {
            export: Arc::clone(export),
            requester: from.id(),
            to: msg.reply.into(),
            since: Instant::now(),
            share,
            tracked: tracked.clone().filter(|_| export.options.response == ResponseType::Singleton),
        });
        let opened = opened.map(|response| self.open(&exporter, from, response));
        if let Some(tracked) = tracked.filter(|_| msg.reply.is_empty()) {
            latency::bad_request(self.shared, self.publish, export, &tracked);
        }
        let to = subject_there(service, &exporter, msg.to);
        let before = (self.asker.take(), self.shares);
        let mut asker = self.introduce(before.0.as_ref(), from, &exporter, share);
        if before.0.is_none() && msg.reply.ends_with(FAST_BATCH) {
            // What it asks of a stream there.
            asker.reply = String::from_utf8_lossy(msg.reply).into_owned();
        }
        let mut headers = HeaderBuf::from(msg.headers);
        headers.remove(REQUEST_INFO);
        headers.append(REQUEST_INFO, &json::to_vec(&asker));
        let passage = self.landing.passes(&exporter, msg, &to, export.options.allow_trace);
        set_trace(&mut headers, &passage, &exporter);
        (self.asker, self.shares) = (Some(asker), share);
        let there = OutMsg {
            to: &to,
            subject: if msg.subject == msg.to { &to } else { msg.subject },
            reply: opened.as_deref().unwrap_or(msg.reply),
            headers: headers.as_bytes(),
            payload: msg.payload,
        };
        let delivered = !matches!(passage, Passage::Ends) && self.land(&exporter, &there, export);
        (self.asker, self.shares) = before;
        let is_shown_only = self.landing.is_shown_only();
        if let Some(reply) = opened.filter(|_| !delivered || is_shown_only)
            && let Some(response) = exporter.responses().close(&reply)
        {
            from.wait_no_more(&response.to, &reply);
            if is_shown_only {
                return delivered;
            }
            latency::failed(self.shared, self.publish, &response, latency::Failure::NoDelivery);
        }
        delivered
    }

    /// Brings an answer to whoever asked.
    fn answer(&mut self, from: &Arc<Account>, responses: &Arc<Responses>, msg: &OutMsg<'_>) -> bool {
        let Some(open) = responses.get(msg.to) else { return false };
        let requester = self.shared.accounts.get(open.requester).filter(|_| self.may_use(&open.export));
        let Some(requester) = requester else { return false };
        if let Some(tracked) = &open.tracked
            && !tracked.is_told.swap(true, Ordering::Relaxed)
        {
            latency::answered(self.shared, self.publish, &open, self.sender(true));
        }
        // Whoever answers may ask back, and is as hidden as whoever asked.
        let opened = (!msg.reply.is_empty() && !msg.reply.starts_with(ACK)).then(|| {
            let back = Response {
                requester: from.id(),
                to: msg.reply.into(),
                since: Instant::now(),
                tracked: None,
                ..open.clone()
            };
            self.open(&requester, from, back)
        });
        let here = OutMsg {
            to: &open.to,
            subject: if msg.subject == msg.to { &open.to } else { msg.subject },
            reply: opened.as_deref().unwrap_or(msg.reply),
            ..*msg
        };
        let passage = self.landing.passes(&requester, msg, &open.to, false);
        let mut headers = HeaderBuf::from(msg.headers);
        let here = match passage {
            Passage::AsItIs => here,
            Passage::Ends => return false,
            Passage::Traced | Passage::Untraced => {
                set_trace(&mut headers, &passage, &requester);
                OutMsg { headers: headers.as_bytes(), ..here }
            }
        };
        let asker = self.asker.take();
        let delivered = self.land(&requester, &here, &open.export);
        self.asker = asker;
        let is_last = open.export.options.response == ResponseType::Singleton
            || (msg.headers.is_empty() && msg.payload.is_empty());
        if is_last || !delivered {
            responses.close(msg.to);
            requester.wait_no_more(&open.to, msg.to);
        } else {
            responses.touch(msg.to);
        }
        if let Some(reply) = opened.filter(|_| !delivered)
            && let Some(back) = requester.responses().close(&reply)
        {
            from.wait_no_more(&back.to, &reply);
        }
        delivered
    }

    /// Takes a request in, in the account `there` that is to answer it; returns its reply subject.
    fn open(&self, there: &Arc<Account>, here: &Arc<Account>, response: Response) -> Arc<[u8]> {
        let responses = there.responses();
        let (export, to) = (Arc::clone(&response.export), Arc::clone(&response.to));
        let reply = responses.open(response);
        here.wait(&to, &responses, &reply);
        watch(self.shared, self.publish, &responses, &export);
        reply
    }

    /// Who asks, as the account `exporter` learns it.
    fn introduce(
        &self,
        before: Option<&ClientInfo>,
        from: &Account,
        exporter: &Account,
        share: bool,
    ) -> ClientInfo {
        let is_system = self.shared.accounts.is_system(exporter.id());
        let (mut info, was_shared) = match before {
            Some(before) => (ClientInfo { service: from.name().to_owned(), ..before.clone() }, self.shares),
            None => {
                let nobody = || ClientInfo { account: from.name().to_owned(), ..ClientInfo::default() };
                (self.sender(share).unwrap_or_else(nobody), share)
            }
        };
        if !was_shared && (is_system || (before.is_some() && share)) {
            info.server.clone_from(&self.shared.identity.name);
        }
        info
    }
}

/// Writes into the headers of a message where its trace goes from here on, or that there is none any more, which stands last.
fn set_trace(headers: &mut HeaderBuf, passage: &Passage, there: &Account) {
    let is_ended = headers.view().get(TRACE_DESTINATION.as_bytes()) == Some(TRACE_DISABLED);
    let destination = match passage {
        Passage::Traced => there.responses().unused(),
        Passage::Untraced => TRACE_DISABLED.to_vec(),
        Passage::AsItIs | Passage::Ends if is_ended => TRACE_DISABLED.to_vec(),
        Passage::AsItIs | Passage::Ends => return,
    };
    headers.remove(TRACE_DESTINATION);
    headers.append(TRACE_DESTINATION, &destination);
}

/// The subject that a request has in the exporting account, mappings included.
pub(crate) fn subject_there(service: &ImportedService, exporter: &Account, subject: &[u8]) -> Vec<u8> {
    let mut to = Vec::new();
    match &service.options.transform {
        Some(transform) => transform.apply_to_any(subject, &mut to, || rand::rng().random()),
        None if service.options.keeps_subject => to.extend_from_slice(subject),
        None => to.extend_from_slice(service.options.to.as_bytes()),
    }
    let mut mapped = Vec::new();
    if exporter.renames() && exporter.rename(&to, &mut mapped) { mapped } else { to }
}

/// Sees to it that requests to a service end that are not answered in time.
fn watch(shared: &Arc<Shared>, publish: Publish, responses: &Arc<Responses>, export: &Arc<ExportedService>) {
    if !responses.begin_watch(export) {
        return;
    }
    let timers = &shared.timers;
    let (watched, weak, begun) = (Arc::clone(export), Arc::downgrade(shared), Arc::clone(responses));
    let spawned = timers.spawn(async move {
        let (export, responses) = (watched, begun);
        loop {
            tokio::time::sleep(export.options.threshold).await;
            let Some(shared) = weak.upgrade() else { return };
            responses.end_watch(&export);
            let (late, are_left) = responses.expire(&export);
            for (reply, response) in &late {
                if let Some(requester) = shared.accounts.get(response.requester) {
                    requester.wait_no_more(&response.to, reply);
                }
                latency::failed(&shared, publish, response, latency::Failure::Timeout);
            }
            shared.end_turn();
            if !are_left || !responses.begin_watch(&export) {
                return;
            }
        }
    });
    // Who has no timers leaves it to the next one that has.
    if spawned.is_none() {
        responses.end_watch(export);
    }
}
