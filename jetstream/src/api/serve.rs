//! How a host has the engine serve requests.

use super::request::Request;
use super::{ApiOutcome, ApiRequest, Call, Way, account, direct, serve};
use crate::engine::Engine;
use crate::message::AccountId;
use crate::outbox::Outbox;
use crate::settings::SyncPolicy;
use crate::stream::Stream;
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

impl Engine {
    /// Serves a request on `$JS.API.>` or `$JS.<domain>.API.>`. Answers and advisories go into `out`.
    ///
    /// The caller commits what it has published before, so that answers do not overtake acknowledgements, routes
    /// `out`, and then does what the outcome says. It also calls this for accounts without JetStream, which get the
    /// answer that says so.
    pub fn api(&self, req: &ApiRequest<'_>, out: &mut Outbox) -> ApiOutcome {
        let Some(subject) = self.without_domain(req.subject) else { return ApiOutcome::done() };
        let account = self.account(req.account);
        let call = &mut Call { engine: self, req, subject: &subject, account, out, way: Way::Whole };
        serve(call, Request::parse(&subject))
    }

    /// Serves a request on `$JS.API.ACCOUNT.PURGE.<account>`, which the host lets nobody make but the system account.
    /// `purged` is the number of the account that is named, where there is one.
    pub fn purge_account(
        &self,
        req: &ApiRequest<'_>,
        purged: Option<AccountId>,
        out: &mut Outbox,
    ) -> ApiOutcome {
        let Ok(subject) = std::str::from_utf8(req.subject) else { return ApiOutcome::done() };
        let name = subject.rsplit('.').next().unwrap_or_default();
        let call = &mut Call { engine: self, req, subject, account: None, out, way: Way::Whole };
        account::purge(call, name, purged)
    }

    /// As [`Engine::api`], where what is said has to be durable (`SyncPolicy::Always`): answers to a request that met
    /// what waits for a sync are not in `out`, but leave with that sync. For a caller that cannot wait.
    pub fn api_when_durable(&self, req: &ApiRequest<'_>, out: &mut Outbox) -> ApiOutcome {
        self.when_durable(req, out, Way::Whole)
    }

    /// As [`Engine::api_when_durable`], for a caller that has more to do: a direct get that may take long is left alone,
    /// and the outcome says so.
    pub fn api_at_once(&self, req: &ApiRequest<'_>, out: &mut Outbox) -> ApiOutcome {
        direct::of_key(self, req, out).unwrap_or_else(|| self.when_durable(req, out, Way::AtOnce))
    }

    fn when_durable(&self, req: &ApiRequest<'_>, out: &mut Outbox, way: Way<'_>) -> ApiOutcome {
        let Some(subject) = self.without_domain(req.subject) else { return ApiOutcome::done() };
        let request = Request::parse(&subject);
        let met = self.met(req.account, &request);
        let account = self.account(req.account);
        let call = &mut Call { engine: self, req, subject: &subject, account, out, way };
        let Some(stream) = met else { return serve(call, request) };
        if call.leaves(&stream) {
            return ApiOutcome::takes_long();
        }
        let rollbacks = stream.rollbacks();
        let mut outcome = serve(call, request);
        if stream.hold_back(call.out, rollbacks, request.asked(req.payload)) {
            outcome.stream.get_or_insert(stream);
        }
        outcome
    }

    /// Serves a direct get that may take long. Its answers are handed to `leave` piece by piece, to be routed and taken
    /// out, without any lock; what is found is looked for in slices. What has to be durable is treated as in
    /// [`Engine::api_when_durable`].
    pub fn get_in_pieces(&self, req: &ApiRequest<'_>, leave: &dyn Fn(&mut Outbox)) -> ApiOutcome {
        let Some(subject) = self.without_domain(req.subject) else { return ApiOutcome::done() };
        let request = Request::parse(&subject);
        let met = self.met(req.account, &request).map(|stream| (stream.rollbacks(), stream));
        let held = Cell::new(false);
        let leave_durable = |out: &mut Outbox| {
            let is_held = met.as_ref().is_some_and(|(rollbacks, stream)| {
                !out.is_empty() && stream.hold_back(out, *rollbacks, request.asked(req.payload))
            });
            if is_held {
                held.set(true);
                // What waits for a sync takes memory: with much of it the next piece is read when that is over.
                if let Some((_, stream)) = &met {
                    stream.commit(&*self.world().host);
                    leave(out);
                }
            } else {
                leave(out);
            }
        };
        let mut out = Outbox::new();
        let account = self.account(req.account);
        let way = Way::Pieces(&leave_durable);
        let call = &mut Call { engine: self, req, subject: &subject, account, out: &mut out, way };
        let mut outcome = serve(call, request);
        leave_durable(&mut out);
        if let Some((_, stream)) = met.filter(|_| held.get()) {
            outcome.stream.get_or_insert(stream);
        }
        outcome
    }

    /// The stream behind whose syncs the answers to a request have to wait, should they meet what is not durable.
    fn met(&self, account: AccountId, request: &Request<'_>) -> Option<Arc<Stream>> {
        let always = self.config().sync == SyncPolicy::Always;
        always.then(|| self.account(account)?.stream(request.stream()?)).flatten()
    }

    /// The subject of a request as it is without a domain; `None` where the domain is not this server's.
    fn without_domain<'s>(&self, subject: &'s [u8]) -> Option<Cow<'s, str>> {
        let subject = std::str::from_utf8(subject).ok()?;
        if subject.starts_with("$JS.API.") {
            return Some(subject.into());
        }
        let (domain, rest) = subject.strip_prefix("$JS.")?.split_once(".API.")?;
        let ours = &self.config().domain;
        (!ours.is_empty() && domain == ours).then(|| format!("$JS.API.{rest}").into())
    }
}
