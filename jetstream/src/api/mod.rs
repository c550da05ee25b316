//! The JetStream API: requests on `$JS.API.>` and their answers.

mod account;
mod changing;
mod consumer;
mod direct;
mod listing;
mod message;
mod partial_token;
mod reply;
mod stream;
mod unserved;

use crate::client::ClientInfo;
use crate::engine::Engine;
use crate::engine::account::Account;
use crate::message::AccountId;
use crate::outbox::Outbox;
use crate::stream::{Asked, Stream};
use smallvec::SmallVec;
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
}

/// How the answers of a call leave.
#[derive(Clone, Copy)]
pub(crate) enum Way<'a> {
    /// With what the call was given, all together.
    Whole,
    /// As with `Whole`, and a direct get that may take long is left alone.
    AtOnce,
    /// A direct get that may take long hands them over piece by piece.
    Pieces(&'a dyn Fn(&mut Outbox)),
}

impl ApiOutcome {
    /// Nothing more to do.
    pub(crate) fn done() -> Self {
        Self::default()
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
pub(crate) fn serve(engine: &Engine, req: &ApiRequest<'_>, out: &mut Outbox, way: Way<'_>) -> ApiOutcome {
    let Some(subject) = std::str::from_utf8(req.subject).ok().and_then(|s| without_domain(s, engine)) else {
        return ApiOutcome::done();
    };
    if let Some((name, key)) = direct_get_of_key(&subject) {
        let account = engine.account(req.account);
        return direct::get(&mut Call { engine, req, subject: &subject, account, out, way }, name, key);
    }
    let tokens: SmallVec<[&str; 16]> = subject.split('.').skip(2).collect();
    let account = engine.account(req.account);
    let mut call = Call { engine, req, subject: &subject, account, out, way };
    match tokens.as_slice() {
        // A subject with an empty token matches no subscription.
        _ if tokens.contains(&"") => ApiOutcome::no_responders(),
        ["DIRECT", "GET", name] => direct::get(&mut call, name, ""),
        ["DIRECT", "GET", name, ..] => {
            let key_at = "$JS.API.DIRECT.GET.".len() + name.len() + 1;
            direct::get(&mut call, name, subject.get(key_at..).unwrap_or_default())
        }
        ["DIRECT", ..] => ApiOutcome::no_responders(),
        ["INFO"] => account::info(&mut call),
        ["STREAM", "CREATE", name] => stream::create(&mut call, name),
        ["STREAM", "UPDATE", name] => stream::update(&mut call, name),
        ["STREAM", "DELETE", name] => stream::delete(&mut call, name),
        ["STREAM", "PURGE", name] => stream::purge(&mut call, name),
        ["STREAM", "INFO", name] => listing::info(&mut call, name),
        ["STREAM", "NAMES"] => listing::names(&mut call),
        ["STREAM", "LIST"] => listing::list(&mut call),
        ["STREAM", "MSG", "GET", name] => message::get(&mut call, name),
        ["STREAM", "MSG", "DELETE", name] => message::delete(&mut call, name),
        ["CONSUMER", "MSG", "NEXT", name, _] => next(&call, name),
        ["CONSUMER", rest @ ..] if !unserved::is_consumer_cluster(&tokens) => {
            consumer::serve(&mut call, rest)
        }
        _ => unserved::answer(&mut call, &tokens),
    }
}

/// Serves the purge of a whole account.
pub(crate) fn purge_account(
    engine: &Engine,
    req: &ApiRequest<'_>,
    purged: Option<AccountId>,
    out: &mut Outbox,
) -> ApiOutcome {
    let Ok(subject) = std::str::from_utf8(req.subject) else { return ApiOutcome::done() };
    let name = subject.rsplit('.').next().unwrap_or_default();
    account::purge(&mut Call { engine, req, subject, account: None, out, way: Way::Whole }, name, purged)
}

/// Stream and key of a direct get that names both in its subject, by far the most frequent request: it is not taken
/// apart any further.
#[inline]
fn direct_get_of_key(subject: &str) -> Option<(&str, &str)> {
    let rest = subject.strip_prefix("$JS.API.DIRECT.GET.")?;
    let (name, key) = rest.split_at_checked(memchr::memchr(b'.', rest.as_bytes())?)?;
    let mut at_start = true;
    let mut well_formed = !name.is_empty();
    for byte in key.bytes().skip(1) {
        well_formed &= !(at_start && byte == b'.');
        at_start = byte == b'.';
    }
    (well_formed && !at_start).then_some((name, key.get(1..)?))
}

/// The stream that a request names in its subject.
pub(crate) fn stream_of(engine: &Engine, req: &ApiRequest<'_>) -> Option<Arc<Stream>> {
    let subject = without_domain(std::str::from_utf8(req.subject).ok()?, engine)?;
    let mut tokens = subject.split('.').skip(2);
    let name = match (tokens.next()?, tokens.next()?) {
        ("DIRECT", "GET") => tokens.next()?,
        ("STREAM", "MSG") | ("CONSUMER", "MSG" | "DURABLE") => tokens.nth(1)?,
        ("STREAM" | "CONSUMER", _) => tokens.next()?,
        _ => return None,
    };
    engine.account(req.account)?.stream(name)
}

/// What a request asks for.
pub(crate) fn asked(req: &ApiRequest<'_>) -> Asked {
    if memchr::memmem::find(req.subject, b".API.DIRECT.GET.").is_some() {
        return if req.payload.is_empty() { Asked::Newest } else { Asked::Other };
    }
    const READS: [&[u8]; 6] = [b".INFO.", b".NAMES", b".LIST", b".MSG.GET.", b".MSG.NEXT.", b".SNAPSHOT."];
    let reads = READS.iter().any(|read| memchr::memmem::find(req.subject, read).is_some());
    if reads { Asked::Other } else { Asked::Change }
}

/// The subject as it is without a domain prefix; `None` where the domain is not this server's.
fn without_domain<'s>(subject: &'s str, engine: &Engine) -> Option<std::borrow::Cow<'s, str>> {
    if subject.starts_with("$JS.API.") {
        return Some(subject.into());
    }
    let (domain, rest) = subject.strip_prefix("$JS.")?.split_once(".API.")?;
    let ours = &engine.config().domain;
    (!ours.is_empty() && domain == ours).then(|| format!("$JS.API.{rest}").into())
}

/// A pull request: the consumer itself takes it.
fn next(call: &Call<'_>, name: &str) -> ApiOutcome {
    let Some(stream) = call.stream(name) else { return ApiOutcome::no_responders() };
    let req = call.req;
    let mut inner = stream.lock();
    let (consumers, mut ctx) = inner.parts();
    let taken = consumers.control(&mut ctx, call.subject.as_bytes(), req.reply, req.headers, req.payload);
    drop(inner);
    if taken { ApiOutcome::then_commit(stream) } else { ApiOutcome::no_responders() }
}
