//! The JetStream API: requests on `$JS.API.>` and their answers.

mod account;
mod changing;
mod consumer;
mod direct;
mod listing;
mod message;
mod offline;
mod partial_token;
mod reply;
mod request;
mod serve;
mod snapshot;
mod stream;

use crate::client::ClientInfo;
use crate::engine::Engine;
use crate::engine::account::Account;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::message::AccountId;
use crate::outbox::Outbox;
use crate::stream::Stream;
pub use direct::KeyGets;
pub use request::Lane;
use request::Request;
use std::sync::Arc;

/// A request on an API subject.
#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'a> {
    /// The account that it was made in.
    pub account: AccountId,
    /// The subject as published, with a domain prefix or without.
    pub subject: &'a [u8],
    /// Where the answer goes; without it the request is carried out in silence, as nats-server does.
    pub reply: &'a [u8],
    /// Raw header block, empty for none.
    pub headers: &'a [u8],
    /// The body.
    pub payload: &'a [u8],
    /// Who asks; shown in advisories.
    pub client: Option<&'a ClientInfo>,
}

/// What the caller must do after a request.
///
/// First route what the request put into the outbox, then commit the stream: so a client sees the answer to
/// "create a consumer" before the first message of that consumer.
#[must_use]
#[derive(Default)]
pub struct ApiOutcome {
    /// The stream to commit.
    pub stream: Option<Arc<Stream>>,
    /// Nobody serves this subject: the requester is told "no responders". A direct get from a stream that does not
    /// exist, or does not allow it, ends so.
    pub no_responders: bool,
    /// Nothing was done: it is a direct get that may take long ([`Engine::get_in_pieces`]).
    pub takes_long: bool,
    /// Why the request was refused, if it was: what the answer says in JSON.
    pub refused: Option<ApiError>,
    /// What begins once the answer has left: a backup.
    pub then: Option<Box<dyn FnOnce() + Send>>,
}

/// How the answers of a call leave.
#[derive(Clone, Copy)]
pub(crate) enum Way<'a> {
    /// With what the call was given, all together.
    Whole,
    /// As with `Whole`, and a direct get that may take long is left alone, as is all that is for a busy stream.
    AtOnce,
    /// A direct get that may take long hands them over piece by piece.
    Pieces(&'a dyn Fn(&mut Outbox)),
}

impl ApiOutcome {
    /// Nothing more to do.
    pub(crate) fn done() -> Self {
        Self::default()
    }

    pub(crate) fn refused(error: &ApiError) -> Self {
        Self { refused: Some(error.clone()), ..Self::default() }
    }

    pub(crate) fn then_commit(stream: Arc<Stream>) -> Self {
        Self { stream: Some(stream), ..Self::default() }
    }

    pub(crate) fn no_responders() -> Self {
        Self { no_responders: true, ..Self::default() }
    }

    pub(crate) fn takes_long() -> Self {
        Self { takes_long: true, ..Self::default() }
    }
}

/// A request on its way to its handler.
pub(crate) struct Call<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) req: &'a ApiRequest<'a>,
    /// The subject without a domain.
    pub(crate) subject: &'a str,
    /// The account, where it has JetStream.
    pub(crate) account: Option<Arc<Account>>,
    pub(crate) out: &'a mut Outbox,
    pub(crate) way: Way<'a>,
}

/// Serves a request. An API subject that nobody serves is not answered at all, as in nats-server.
fn serve(call: &mut Call<'_>, request: Request<'_>) -> ApiOutcome {
    // What counts, or looks for many, sees a purge as a whole.
    if !matches!(call.way, Way::AtOnce)
        && let Some(stream) = request.stream().and_then(|name| call.stream(name))
    {
        stream.await_purge();
    }
    if let Some((account, offline)) = call.offline(&request) {
        return offline::serve(call, &request, &account, &offline);
    }
    match request {
        Request::DirectGet { stream, key } => direct::get(call, stream, key),
        Request::AccountInfo => account::info(call),
        Request::StreamCreate(name) => stream::create(call, name),
        Request::StreamUpdate(name) => stream::update(call, name),
        Request::StreamDelete(name) => stream::delete(call, name),
        Request::StreamPurge(name) => stream::purge(call, name),
        Request::StreamInfo(name) => listing::info(call, name),
        Request::StreamNames => listing::names(call),
        Request::StreamList => listing::list(call),
        Request::StreamSnapshot(name) => snapshot::snapshot(call, name),
        Request::StreamRestore(name) => snapshot::restore(call, name),
        Request::MessageGet(name) => message::get(call, name),
        Request::MessageDelete(name) => message::delete(call, name),
        Request::ConsumerCreate(create) => consumer::create(call, &create),
        Request::ConsumerInfo { stream, name } => consumer::info(call, stream, name),
        Request::ConsumerDelete { stream, name } => consumer::delete(call, stream, name),
        Request::ConsumerPause { stream, name } => consumer::pause(call, stream, name),
        Request::ConsumerUnpin { stream, name } => consumer::unpin(call, stream, name),
        Request::ConsumerReset { stream, name } => consumer::reset(call, stream, name),
        Request::ConsumerNames(stream) => consumer::names(call, stream),
        Request::ConsumerList(stream) => consumer::list(call, stream),
        Request::ConsumerNext(stream) => next(call, stream),
        Request::OfClusters { kind } => call.fail(kind, &errors::CLUSTER_REQUIRED.error()),
        Request::Ignored => ApiOutcome::done(),
        Request::Unheard => ApiOutcome::no_responders(),
    }
}

/// A pull request: the consumer itself takes it.
fn next(call: &Call<'_>, name: &str) -> ApiOutcome {
    let Some(stream) = call.stream(name) else { return ApiOutcome::no_responders() };
    if call.leaves(&stream) {
        return ApiOutcome::takes_long();
    }
    let req = call.req;
    let mut inner = stream.lock();
    let (consumers, mut ctx) = inner.parts();
    let taken = consumers.control(&mut ctx, call.subject.as_bytes(), req.reply, req.headers, req.payload);
    drop(inner);
    if taken { ApiOutcome::then_commit(stream) } else { ApiOutcome::no_responders() }
}
