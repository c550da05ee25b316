//! `$JS.API.CONSUMER.>`: requests about consumers.

use super::changing::{change, take_back};
use super::listing::Paged;
use super::reply::{Empty, Page, Success};
use super::request::{Create, Form};
use super::{ApiOutcome, Call};
use crate::config::consumer::CreateConsumerRequest;
use crate::config::consumer_rules::{check_filters, is_valid_group};
use crate::config::metadata::with_server;
use crate::config::{AckPolicy, ConsumerConfig, Retention};
use crate::consumer::{Change, ConsumerInfo, Created};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::headers::{add_header, header};
use crate::store::StoreError;
use crate::stream::Stream;
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::{decode_lenient, go_struct};
use serde::Serialize;
use std::sync::Arc;

pub(super) const NAMES_LIMIT: usize = 1024;
/// Header that tells a stream from others that had its name.
const IDENTITY_HEADER: &[u8] = b"Nats-Stream-Identity";
/// Digits that tell the consumers of one mirror or source apart.
const NAME_DIGITS: usize = 8;
pub(super) const LIST_LIMIT: usize = 256;

impl Call<'_> {
    /// Returns when what became of a consumer's files is as durable as configured. No lock may be held.
    fn await_consumer(&self, stream: &Stream, name: &str) -> Result<(), StoreError> {
        match &self.account {
            Some(account) => self.engine.await_metadata(account, stream.name(), Some(name)),
            None => Ok(()),
        }
    }

    /// Whether a consumer is new, and not durable.
    fn is_unproven(&self, stream: &Stream, name: &str) -> bool {
        let account = self.account.as_ref();
        account.is_some_and(|account| self.engine.is_unproven(account, stream.name(), Some(name)))
    }

    fn find_stream(&self, name: &str) -> Result<Arc<Stream>, ApiError> {
        self.admit()?.stream(name).ok_or_else(|| errors::STREAM_NOT_FOUND.error())
    }
}

fn shown(mut info: ConsumerInfo) -> ConsumerInfo {
    info.config.metadata = with_server(&info.config.metadata);
    info
}

pub(super) fn create(call: &mut Call<'_>, create: &Create<'_>) -> ApiOutcome {
    const KIND: &str = "consumer_create_response";
    match create_consumer(call, create) {
        Ok((stream, info)) => {
            let identified = info.config.direct || info.config.sourcing;
            let headers = if identified { identity_header(&stream) } else { Vec::new() };
            // Whether it began just now or was there before.
            if info.config.pause_until.is_some() {
                let mut inner = stream.lock();
                let (consumers, mut ctx) = inner.parts();
                consumers.advise_if_paused(&mut ctx, &info.name);
            }
            let _ = call.respond_with(KIND, &headers, info);
            ApiOutcome::then_commit(stream)
        }
        Err(error) => call.fail(KIND, &error),
    }
}

/// What tells the stream from others that had its name.
fn identity_header(stream: &Stream) -> Vec<u8> {
    add_header(b"", IDENTITY_HEADER, stream.identity().as_bytes())
}

/// A consumer that feeds a mirror or source asks for the same name each time. On a stream that keeps what is wanted it
/// becomes durable under that name, and takes answers to flow control for acknowledgements; on others it is another one
/// each time. It may be meant for a stream that is gone.
fn admit_sourcing(call: &Call<'_>, stream: &Stream, config: &mut ConsumerConfig) -> Result<(), ApiError> {
    if config.direct && config.sourcing && !config.name.is_empty() {
        if stream.config().retention == Retention::Limits {
            let id = call.engine.world().ids.next();
            config.name = format!("{}-{}", config.name, id.get(..NAME_DIGITS).unwrap_or(&id));
        } else {
            config.direct = false;
            config.durable.clone_from(&config.name);
            config.ack_policy = AckPolicy::FlowControl;
            config.ack_wait_ns = 0;
            config.max_deliver = 0;
            config.inactive_threshold_ns = 0;
        }
    }
    if config.direct || config.sourcing {
        let identity = stream.identity();
        let meant = header(call.req.headers, IDENTITY_HEADER).unwrap_or_default();
        if !meant.is_empty() && meant != identity.as_bytes() {
            return Err(errors::CONSUMER_STREAM_IDENTITY_MISMATCH.with("msg", identity));
        }
    }
    // One that goes on begins where it stands.
    if config.sourcing
        && config.is_durable()
        && let Some(known) = stream.lock().consumers.config(&config.durable)
    {
        config.deliver_policy = known.deliver_policy;
        config.opt_start_seq = known.opt_start_seq;
        config.opt_start_time = known.opt_start_time;
    }
    Ok(())
}

fn create_consumer(call: &Call<'_>, create: &Create<'_>) -> Result<(Arc<Stream>, ConsumerInfo), ApiError> {
    let mut request = CreateConsumerRequest::default();
    call.decode(&mut request)?;
    call.admit()?;
    check_create(create, &mut request)?;
    let stream = call.find_stream(create.stream)?;
    let CreateConsumerRequest { mut config, action, pedantic, .. } = request;
    admit_sourcing(call, &stream, &mut config)?;
    let name = if config.is_durable() { config.durable.clone() } else { config.name.clone() };
    let Created { info, was } =
        change(&stream, &name, Some(check_filters(&config)), |consumers, ctx, staged| {
            consumers.create(ctx, config.clone(), action, pedantic, staged)
        })?;
    if info.config.sourcing && was.is_some() {
        // What was under way when its receiver went is delivered again.
        let _ = change(&stream, &info.name, None, |consumers, ctx, staged| {
            consumers.reset(ctx, &info.name, 0, staged).unwrap_or(Err(errors::CONSUMER_NOT_FOUND.error()))
        })?;
    }
    stream.sweep();
    let Err(error) = call.await_consumer(&stream, &info.name) else { return Ok((stream, shown(info))) };
    if let Some(was) = was {
        take_back(&stream, &info.name, &info.config, &was);
        return Err(errors::CONSUMER_STORE_FAILED.because(error));
    }
    if !call.is_unproven(&stream, &info.name) {
        tracing::error!(consumer = %info.name, %error, "what was taken up is not durable yet");
        return Ok((stream, shown(info)));
    }
    tracing::warn!(consumer = %info.name, %error, "cannot create consumer");
    let mut inner = stream.lock();
    let (consumers, mut ctx) = inner.parts();
    consumers.undo_create(&mut ctx, &info.name);
    Err(errors::CONSUMER_CREATE.because("error creating store for consumer"))
}

/// Whether subject and body of a create request say the same; takes the name from the subject.
fn check_create(create: &Create<'_>, request: &mut CreateConsumerRequest) -> Result<(), ApiError> {
    let &Create { form, stream, name, filter } = create;
    if stream != request.stream {
        return Err(errors::STREAM_MISMATCH.error());
    }
    let config = &mut request.config;
    let effective = if form == Form::Ephemeral { config.name.as_str() } else { name };
    if effective.contains(['\\', '/']) {
        return Err(errors::CONSUMER_NAME_CONTAINS_PATH_SEPARATORS.error());
    }
    match form {
        Form::Durable if config.durable.is_empty() => {
            return Err(errors::CONSUMER_DURABLE_NAME_NOT_SET.error());
        }
        Form::Durable | Form::Named if config.is_durable() && config.durable != name => {
            return Err(errors::CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT.error());
        }
        Form::Durable | Form::Named => name.clone_into(&mut config.name),
        Form::Ephemeral if config.is_durable() => {
            return Err(errors::CONSUMER_EPHEMERAL_WITH_DURABLE_NAME.error());
        }
        Form::Ephemeral => {}
    }
    if form == Form::Named {
        if !filter.is_empty() && !config.filter_subjects.is_empty() {
            return Err(errors::CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED.error());
        }
        if !filter.is_empty() && config.filter_subject != filter {
            return Err(errors::CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH.error());
        }
    }
    if config.num_replicas > 1 {
        return Err(errors::STREAM_REPLICAS_NOT_SUPPORTED.error());
    }
    Ok(())
}

pub(super) fn info(call: &mut Call<'_>, stream: &str, name: &str) -> ApiOutcome {
    const KIND: &str = "consumer_info_response";
    let found = call.check_empty_body().and_then(|()| call.find_stream(stream)).and_then(|stream| {
        let mut inner = stream.lock();
        let (consumers, mut ctx) = inner.parts();
        let info = consumers.info_by_name(&mut ctx, name).ok_or(errors::CONSUMER_NOT_FOUND)?;
        drop(inner);
        Ok((stream, shown(info)))
    });
    match found {
        Ok((stream, info)) => {
            let _ = call.respond(KIND, info);
            ApiOutcome::then_commit(stream)
        }
        Err(error) => call.fail(KIND, &error),
    }
}

pub(super) fn delete(call: &mut Call<'_>, stream: &str, name: &str) -> ApiOutcome {
    const KIND: &str = "consumer_delete_response";
    let deleted =
        call.admit().and_then(|_| call.check_empty_body()).and_then(|()| call.find_stream(stream)).and_then(
            |stream| {
                let mut inner = stream.lock();
                let (consumers, mut ctx) = inner.parts();
                let existed = consumers.delete(&mut ctx, name)?;
                drop(inner);
                stream.sweep();
                // It is gone for everybody: as with nats-server, what the disk says afterwards changes nothing.
                if let Err(error) = call.await_consumer(&stream, name) {
                    tracing::error!(consumer = name, %error, "that it was deleted is not durable yet");
                }
                if existed { Ok(stream) } else { Err(errors::CONSUMER_NOT_FOUND.error()) }
            },
        );
    match deleted {
        Ok(stream) => {
            let _ = call.respond(KIND, Success { success: true });
            ApiOutcome::then_commit(stream)
        }
        Err(error) => call.fail(KIND, &error),
    }
}

/// A page of something about consumers.
#[derive(Serialize)]
struct Consumers<T> {
    #[serde(flatten)]
    page: Page,
    consumers: Vec<T>,
}

impl<T> Consumers<T> {
    fn none() -> Self {
        Self { page: Page::default(), consumers: Vec::new() }
    }
}

/// The request of a listing of consumers.
#[derive(Default)]
struct ConsumersRequest {
    paged: Paged,
}

go_struct! { ConsumersRequest as "JSApiConsumersRequest" { embed "ApiPagedRequest" => paged: Paged, } }

/// The stream of a listing, and how many entries to skip.
fn listing(call: &Call<'_>, stream: &str) -> Result<(Arc<Stream>, usize), ApiError> {
    call.admit()?;
    let mut request = ConsumersRequest::default();
    if call.has_body() {
        call.decode(&mut request)?;
    }
    Ok((call.find_stream(stream)?, usize::try_from(request.paged.offset).unwrap_or(0)))
}

pub(super) fn names(call: &mut Call<'_>, stream: &str) -> ApiOutcome {
    const KIND: &str = "consumer_names_response";
    let (stream, offset) = match listing(call, stream) {
        Ok(found) => found,
        Err(error) => return call.fail_with(KIND, &error, Consumers::<String>::none()),
    };
    let inner = stream.lock();
    let total = inner.consumers.public_len();
    let offset = offset.min(total);
    let consumers = inner.consumers.names().skip(offset).take(NAMES_LIMIT).map(str::to_owned).collect();
    drop(inner);
    call.respond(KIND, Consumers { page: Page { total, offset, limit: NAMES_LIMIT }, consumers })
}

pub(super) fn list(call: &mut Call<'_>, stream: &str) -> ApiOutcome {
    const KIND: &str = "consumer_list_response";
    let (stream, offset) = match listing(call, stream) {
        Ok(found) => found,
        Err(error) => return call.fail_with(KIND, &error, Consumers::<ConsumerInfo>::none()),
    };
    let inner = stream.lock();
    let total = inner.consumers.public_len();
    let offset = offset.min(total);
    let names: Vec<String> =
        inner.consumers.names().skip(offset).take(LIST_LIMIT).map(str::to_owned).collect();
    drop(inner);
    // Each by itself: their configurations may be large.
    let info = |name: &String| {
        let mut inner = stream.lock();
        let (consumers, mut ctx) = inner.parts();
        consumers.info_by_name(&mut ctx, name)
    };
    let consumers = names.iter().filter_map(info).collect();
    let page = Page { total, offset, limit: LIST_LIMIT };
    let _ = call.respond(KIND, Consumers { page, consumers });
    ApiOutcome::then_commit(stream)
}

#[derive(Default)]
struct PauseRequest {
    pause_until: GoTime,
}

go_struct! { PauseRequest as "JSApiConsumerPauseRequest" { "pause_until" => pause_until, } }

/// How a consumer is paused; also stands in errors.
#[derive(Default, Serialize)]
struct Paused {
    paused: bool,
    pause_until: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_remaining: Option<i64>,
}

pub(super) fn pause(call: &mut Call<'_>, stream: &str, name: &str) -> ApiOutcome {
    const KIND: &str = "consumer_pause_response";
    match pause_consumer(call, stream, name) {
        Ok((stream, paused)) => {
            let _ = call.respond(KIND, paused);
            ApiOutcome::then_commit(stream)
        }
        Err(error) => call.fail_with(KIND, &error, Paused::default()),
    }
}

fn pause_consumer(call: &Call<'_>, stream: &str, name: &str) -> Result<(Arc<Stream>, Paused), ApiError> {
    let mut request = PauseRequest::default();
    if call.has_body() {
        call.decode(&mut request)?;
    }
    let stream = call.find_stream(stream)?;
    // It is kept and shown in UTC, whatever offset it was asked with.
    let until = request.pause_until.utc();
    let (paused, now, was) = change(&stream, name, None, |consumers, ctx, staged| {
        let was = match consumers.pause(ctx, name, Some(until), staged)? {
            Some(Change::Made(was)) => was,
            Some(Change::Stage(work)) => return Ok(Change::Stage(work)),
            None => return Err(errors::CONSUMER_NOT_FOUND.error()),
        };
        let config = consumers.config(name).cloned().unwrap_or_default();
        let now = ctx.now.wall();
        let pause_remaining = config.paused_until(now).map(|until| until.since(now));
        let paused = Paused { paused: pause_remaining.is_some(), pause_until: until, pause_remaining };
        Ok(Change::Made((paused, config, was)))
    })?;
    if let Err(error) = call.await_consumer(&stream, name) {
        take_back(&stream, name, &now, &was);
        return Err(errors::CONSUMER_STORE_FAILED.because(error));
    }
    Ok((stream, paused))
}

#[derive(Default)]
struct UnpinRequest {
    group: String,
}

go_struct! { UnpinRequest as "JSApiConsumerUnpinRequest" { "group" => group, } }

pub(super) fn unpin(call: &mut Call<'_>, stream: &str, name: &str) -> ApiOutcome {
    const KIND: &str = "consumer_unpin_response";
    match unpin_consumer(call, stream, name) {
        Ok(stream) => {
            let _ = call.respond(KIND, Empty {});
            ApiOutcome::then_commit(stream)
        }
        Err(error) => call.fail(KIND, &error),
    }
}

fn unpin_consumer(call: &Call<'_>, stream: &str, name: &str) -> Result<Arc<Stream>, ApiError> {
    let mut request = UnpinRequest::default();
    decode_lenient(call.req.payload, &mut request).map_err(|error| errors::INVALID_JSON.because(error))?;
    if request.group.is_empty() {
        return Err(errors::INVALID_JSON.because("consumer group not specified"));
    }
    if !is_valid_group(&request.group) {
        return Err(errors::CONSUMER_INVALID_GROUP_NAME.error());
    }
    let stream = call.find_stream(stream)?;
    let mut inner = stream.lock();
    let (consumers, mut ctx) = inner.parts();
    consumers.unpin(&mut ctx, name, &request.group).unwrap_or(Err(errors::CONSUMER_NOT_FOUND.error()))?;
    drop(inner);
    Ok(stream)
}

#[derive(Default)]
struct ResetRequest {
    seq: u64,
}

go_struct! { ResetRequest as "JSApiConsumerResetRequest" { "seq" => seq, } }

#[derive(Serialize)]
struct Reset {
    #[serde(flatten)]
    info: ConsumerInfo,
    reset_seq: u64,
}

/// What stands beside the error of a reset.
#[derive(Serialize)]
struct NotReset {
    reset_seq: u64,
}

/// Sets a consumer back. A consumer that does not exist does not answer, as it is the consumer itself that is asked.
pub(super) fn reset(call: &mut Call<'_>, stream: &str, name: &str) -> ApiOutcome {
    const KIND: &str = "consumer_reset_response";
    let Some(stream) = call.stream(stream) else { return ApiOutcome::done() };
    let is_there = stream.lock().consumers.reset_came(name);
    if call.req.reply.is_empty() || !is_there {
        return ApiOutcome::done();
    }
    match reset_consumer(call, &stream, name) {
        Ok(reset) => {
            let is_asked = header(call.req.headers, IDENTITY_HEADER).is_some();
            let headers = if is_asked { identity_header(&stream) } else { Vec::new() };
            let before = call.out.len();
            let _ = call.respond_quietly(KIND, reset);
            call.out.set_headers(before, &headers);
            ApiOutcome::then_commit(stream)
        }
        Err(error) => call.fail_quietly(KIND, &error, NotReset { reset_seq: 0 }),
    }
}

fn reset_consumer(call: &Call<'_>, stream: &Stream, name: &str) -> Result<Reset, ApiError> {
    call.admit()?;
    let mut request = ResetRequest::default();
    if !call.req.payload.is_empty() {
        decode_lenient(call.req.payload, &mut request)
            .map_err(|error| errors::INVALID_JSON.because(error))?;
    }
    let (reset_seq, info) = change(stream, name, None, |consumers, ctx, staged| {
        consumers.reset(ctx, name, request.seq, staged).unwrap_or(Err(errors::CONSUMER_NOT_FOUND.error()))
    })?;
    // It goes on there for everybody: as with nats-server, what the disk says afterwards changes nothing.
    if let Err(error) = call.await_consumer(stream, name) {
        tracing::error!(consumer = name, %error, "that it was reset is not durable yet");
    }
    Ok(Reset { info: shown(info), reset_seq })
}
