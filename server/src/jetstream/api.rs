//! The way of a request of the JetStream API.
//!
//! Direct gets of one message and pull requests are served by the thread that read them; what they answer leaves at the
//! end of the read. Other direct gets wait for threads of their own ([`super::gets`]). Everything else waits, from the end of the read that brought it, for one of the threads that do nothing else:
//! so a request, however long it takes, holds up no connection. As in nats-server v2.15.2, a request that is followed
//! in the same packet by the subscription to its answer is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{AccountId, ApiOutcome, ApiRequest, Outbox, SyncPolicy};
use parking_lot::Mutex;

use super::JetStream;
use super::queue::{account_to_purge, lane_of, limit_of, name_of};
use crate::events;
use crate::router::Account;
use crate::worker::{QueuedRequest, Streams as _};

/// Time between two lines of the log on dropped requests (nats-server v2.15.2).
const WARN_INTERVAL: Duration = Duration::from_secs(1);

/// Answer to the system account, which can have no streams.
const NOT_FOR_SYSTEM: &[u8] = br#"{"type":"io.nats.jetstream.api.v1.system_response","error":{"code":503,"err_code":10039,"description":"JetStream not enabled for account"}}"#;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// It was served.
    Here,
    /// Nothing serves its subject.
    ByNobody,
    /// It is a direct get that may take long, and waits to be queued.
    Later,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiWay {
    /// The thread that read it serves it ([`JetStream::serve_here`]).
    Here,
    /// It waits for its turn ([`JetStream::queue`]).
    Queue,
    /// Nothing serves it.
    Nobody,
}

/// Requests of the system account that are not about streams, without the prefix of the API.
const SERVER_REQUESTS: [&[u8]; 5] =
    [b"INFO", b"META.LEADER.STEPDOWN", b"META.RESCUE", b"SERVER.REMOVE", b"SERVER.EVACUATE"];

/// When dropped requests were last told of in the log.
#[derive(Default)]
pub(super) struct Warned(Mutex<Option<Instant>>);

impl Warned {
    fn is_due(&self) -> bool {
        let mut last = self.0.lock();
        let due = last.is_none_or(|last| last.elapsed() >= WARN_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// Whether a consumer itself answers a request, past the system account.
fn is_answered_by_consumer(subject: &[u8]) -> bool {
    subject.starts_with(b"$JS.API.CONSUMER.RESET.")
}

impl JetStream {
    /// Where a request on `subject` goes.
    #[inline]
    pub(crate) fn way(&self, account: AccountId, subject: &[u8]) -> ApiWay {
        if lane_of(subject).is_none() || self.is_closed_to(account, subject) {
            return ApiWay::Here;
        }
        let is_served = self.host.shared.accounts.with(account, Account::is_served_by_api);
        if is_served == Some(false) { ApiWay::Nobody } else { ApiWay::Queue }
    }

    /// Whether the account is the system account, which has no streams, and the request is about them: whether it is not
    /// one of those that are about the server or about accounts (nats-server v2.15.2, observed).
    fn is_closed_to(&self, account: AccountId, subject: &[u8]) -> bool {
        if !self.host.shared.accounts.is_system(account) {
            return false;
        }
        let Some(rest) = subject.strip_prefix(b"$JS.API.") else { return false };
        !rest.starts_with(b"ACCOUNT.") && !SERVER_REQUESTS.contains(&rest)
    }

    /// The account that a request of the system account is to purge.
    fn purged<'r>(&self, request: &ApiRequest<'r>) -> Option<&'r str> {
        let name = account_to_purge(request.subject)?;
        let purges = self.host.shared.accounts.is_system(request.account);
        std::str::from_utf8(name).ok().filter(|_| purges)
    }

    /// Serves a request on this thread, unless it is a direct get that may take long; tells what became of it. Answers
    /// are added to `answers`, which the caller lets leave. Streams that have something to commit then are shown to
    /// `touched`.
    pub(crate) fn serve_here(
        &self,
        request: &ApiRequest<'_>,
        answers: &mut Outbox,
        touched: impl FnOnce(&Arc<Stream>),
    ) -> Served {
        let outcome = match self.serve_now(request, answers) {
            Ok(outcome) => outcome,
            Err(served) => return served,
        };
        if let Some(stream) = &outcome.stream {
            touched(stream);
        }
        match outcome {
            _ if outcome.takes_long => Served::Later,
            _ if outcome.no_responders => Served::ByNobody,
            _ => Served::Here,
        }
    }

    /// Has the engine serve a request, unless it is not for the engine: then what became of it.
    fn serve_now(&self, request: &ApiRequest<'_>, answers: &mut Outbox) -> Result<ApiOutcome, Served> {
        if let Some(name) = self.purged(request) {
            let named = self.host.shared.accounts.by_name(name).map(|account| account.id());
            let _ = self.engine.purge_account(request, named, answers);
            return Err(Served::Here);
        }
        if self.is_closed_to(request.account, request.subject) {
            // A subject with an empty token reaches nobody.
            if request.subject.split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
                return Err(Served::ByNobody);
            }
            if !request.reply.is_empty() {
                answers.push_with(request.reply, |out| out.extend_from_slice(NOT_FOR_SYSTEM));
            }
            return Err(Served::Here);
        }
        if answers.is_empty() || self.engine.config().sync != SyncPolicy::Always {
            return Ok(self.engine.api_at_once(request, answers));
        }
        // Those that are there already do not wait for what this request met.
        let mut own = Outbox::new();
        let outcome = self.engine.api_at_once(request, &mut own);
        own.iter().for_each(|answer| answers.push(answer));
        Ok(outcome)
    }

    /// Serves a request, lets its answers leave, and then what else came of it.
    pub(super) fn serve(&self, request: &ApiRequest<'_>, answers: &mut Outbox) {
        let outcome = self.serve_now(request, answers).unwrap_or_default();
        let shared = &self.host.shared;
        if !shared.accounts.is_system(request.account) && !is_answered_by_consumer(request.subject) {
            let answered = answers.iter().filter(|answer| answer.to == request.reply).count();
            (0..answered).for_each(|_| shared.system_services.count_answer());
        }
        self.deliver_all(request.account, answers);
        if let Some(stream) = outcome.stream {
            stream.commit(&*self.host);
        }
        if let Some(begin) = outcome.then {
            begin();
        }
    }

    /// Puts requests into their queues. One that is full drops all that is in it, and says so.
    pub(super) fn queue(&self, requests: &mut Vec<QueuedRequest>) {
        let shared = &self.host.shared;
        let options = shared.options();
        for request in requests.drain(..) {
            let Some(lane) = lane_of(request.subject()) else { continue };
            let dropped = self.api.push(lane, request, limit_of(lane, &options.jetstream));
            if dropped == 0 {
                continue;
            }
            if self.warned.is_due() {
                tracing::warn!("{} limit reached, dropping {dropped} requests", name_of(lane));
            }
            events::api_limit_reached(shared, dropped as u64);
        }
    }
}
