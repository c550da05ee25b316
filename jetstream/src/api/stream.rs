//! `STREAM.CREATE`, `STREAM.UPDATE`, `STREAM.DELETE` and `STREAM.PURGE`.

use super::listing::StreamInfo;
use super::reply::Success;
use super::{ApiOutcome, Call};
use crate::config::metadata::{align, set_required_level};
use crate::config::origins::invalid_filter;
use crate::config::{StreamConfig, check, check_update};
use crate::consumer::{Change, Staged, Staging};
use crate::engine::account::Account;
use crate::engine::streams::create_failed;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::stream::world::World;
use crate::stream::{PurgeRequest, Stream};
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::{self, go_struct};
use serde::Serialize;
use std::sync::Arc;

#[derive(Default)]
struct ConfigRequest {
    config: StreamConfig,
    pedantic: bool,
}

go_struct! { ConfigRequest as "StreamConfigRequest" {
    embed "StreamConfig" => config: StreamConfig, "pedantic" => pedantic,
} }

/// What a request says of the storage: it may say nothing.
#[derive(Default)]
struct StatedStorage {
    storage: String,
}

go_struct! { StatedStorage as "StreamConfigRequest" { "storage" => storage, } }

#[derive(Default)]
struct PurgeBody {
    seq: u64,
    filter: String,
    keep: u64,
}

go_struct! { PurgeBody as "JSApiStreamPurgeRequest" { "seq" => seq, "filter" => filter, "keep" => keep, } }

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    info: StreamInfo,
    did_create: bool,
}

#[derive(Serialize)]
struct Purged {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    success: bool,
    purged: u64,
}

#[derive(Serialize)]
struct Action<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: String,
    timestamp: GoTime,
    stream: &'a str,
    action: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
}

/// Queues the advisory that something happened to a stream.
pub(super) fn advise(call: &mut Call<'_>, stream: &str, event: &str, action: &str) {
    let advisory = action_advisory(call.engine.world(), stream, action);
    call.advise(format!("$JS.EVENT.ADVISORY.STREAM.{event}.{stream}").as_bytes(), &advisory);
}

/// The advisory that something happened to a stream.
pub(super) fn action_advisory(world: &World, stream: &str, action: &str) -> Vec<u8> {
    json::to_vec(&Action {
        kind: "io.nats.jetstream.advisory.v1.stream_action",
        id: world.ids.next(),
        timestamp: world.now_time(),
        stream,
        action,
        domain: &world.config.domain,
    })
}

fn invalid(text: &str) -> ApiError {
    errors::STREAM_INVALID_CONFIG.because(text)
}

pub(super) fn create(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_create_response";
    match try_create(call, name) {
        Ok((stream, is_new)) => {
            let mut info = StreamInfo::new(call, &stream.lock(), None).with_server();
            info.domain.clear();
            if is_new {
                advise(call, name, "CREATED", "create");
            }
            call.respond(KIND, Created { info, did_create: true })
        }
        Err(error) => call.fail(KIND, &error),
    }
}

fn try_create(call: &mut Call<'_>, name: &str) -> Result<(Arc<Stream>, bool), ApiError> {
    let account = call.admit()?;
    let mut staging = Staging::default();
    let (stream, is_new) = loop {
        match try_create_here(call, &account, name, staging.take())? {
            Change::Made(made) => break made,
            Change::Stage(work) => staging.stage(work).map_err(|error| create_failed(name, &error))?,
        }
    };
    call.engine.await_new(&account, &stream)?;
    Ok((stream, is_new))
}

/// As [`try_create`]; what has to be durable for it may not be, and something may have to be staged.
fn try_create_here(
    call: &Call<'_>,
    account: &Account,
    name: &str,
    staged: Option<Staged>,
) -> Result<Change<(Arc<Stream>, bool)>, ApiError> {
    let mut req = ConfigRequest::default();
    call.decode(&mut req)?;
    let level = req.config.required_level();
    set_required_level(&mut req.config.metadata, level);
    if req.config.name != name {
        return Err(errors::STREAM_MISMATCH.into());
    }
    if name.contains(['\\', '/']) {
        return Err(errors::STREAM_NAME_CONTAINS_PATH_SEPARATORS.into());
    }
    if req.config.sealed {
        return Err(invalid("stream configuration for create can not be sealed"));
    }
    if req.config.mirror_direct && req.config.mirror.is_none() {
        return Err(invalid("stream has no mirror but does have mirror direct"));
    }
    let _changes = account.changes.lock();
    let world = call.engine.world();
    account.check_stream_count(&req.config)?;
    // Of a request that leaves the storage open the bytes are looked at below, where a stream that exists is found first.
    let mut stated = StatedStorage::default();
    if json::decode_lenient(call.req.payload, &mut stated).is_ok() && !stated.storage.is_empty() {
        account.check_reservation(world, &req.config)?;
    }
    account.check_max_consumers(&req.config)?;
    let (limits, others) =
        (account.config_limits(&world.settings.load(), &req.config), |name: &str| account.config_of(name));
    let config = check(&req.config, &limits, req.pedantic, &others)?;
    if config.num_replicas > 1 {
        return Err(errors::STREAM_REPLICAS_NOT_SUPPORTED.into());
    }
    if let Some(stream) = account.stream(name) {
        return if is_same(config, &stream.config()) {
            Ok(Change::Made((stream, false)))
        } else {
            Err(errors::STREAM_NAME_EXIST.into())
        };
    }
    account.check_reservation(world, &config)?;
    if let Some(reason) = invalid_filter(&config) {
        return Err(errors::STREAM_CREATE.because(reason));
    }
    account.check_overlap(&config)?;
    Ok(match call.engine.create_stream(account, config, staged)? {
        Change::Made(stream) => Change::Made((stream, true)),
        Change::Stage(work) => Change::Stage(work),
    })
}

fn is_same(mut config: StreamConfig, other: &StreamConfig) -> bool {
    align(&mut config.metadata, &other.metadata);
    config == *other
}

pub(super) fn update(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_update_response";
    match try_update(call, name) {
        Ok(stream) => {
            let info = StreamInfo::new(call, &stream.lock(), None).with_server();
            let _ = call.respond(KIND, info);
            advise(call, name, "UPDATED", "modify");
            ApiOutcome::then_commit(stream)
        }
        Err(error) => call.fail(KIND, &error),
    }
}

fn try_update(call: &Call<'_>, name: &str) -> Result<Arc<Stream>, ApiError> {
    let account = call.admit()?;
    let mut req = ConfigRequest::default();
    call.decode(&mut req)?;
    let checked = || checked_update(call, &account, &req, name);
    call.engine.update_stream(&account, &checked)
}

/// The stream that is to be updated, and its new configuration.
fn checked_update(
    call: &Call<'_>,
    account: &Account,
    req: &ConfigRequest,
    name: &str,
) -> Result<(Arc<Stream>, StreamConfig), ApiError> {
    let world = call.engine.world();
    let limits = account.config_limits(&world.settings.load(), &req.config);
    let others = |name: &str| account.config_of(name);
    let mut config = check(&req.config, &limits, req.pedantic, &others)?;
    if config.name != name {
        return Err(errors::STREAM_MISMATCH.into());
    }
    let stream = account.stream(name).ok_or(errors::STREAM_NOT_FOUND)?;
    let level = config.required_level();
    set_required_level(&mut config.metadata, level);
    let old = stream.config();
    let config = check_update(&old, &config, &limits, req.pedantic, &others)?;
    account.check_growth(world, &old, &config)?;
    check_consumers(&stream, &old, &config)?;
    account.check_overlap(&config)?;
    Ok((stream, config))
}

/// A stream's bounds for consumers cannot be drawn tighter than consumers that exist.
fn check_consumers(stream: &Stream, old: &StreamConfig, new: &StreamConfig) -> Result<(), ApiError> {
    let (before, after) = (&old.consumer_limits, &new.consumer_limits);
    let tighter_idle =
        after.inactive_threshold_ns > 0 && after.inactive_threshold_ns != before.inactive_threshold_ns;
    let tighter_pending = after.max_ack_pending > 0 && after.max_ack_pending != before.max_ack_pending;
    if !tighter_idle && !tighter_pending {
        return Ok(());
    }
    let inner = stream.lock();
    let violates = |name: &&str| {
        inner.consumers.config(name).is_some_and(|config| {
            (tighter_idle && config.inactive_threshold_ns > after.inactive_threshold_ns)
                || (tighter_pending && config.max_ack_pending > after.max_ack_pending)
        })
    };
    let over: Vec<&str> = inner.consumers.names().filter(violates).collect();
    if over.is_empty() {
        return Ok(());
    }
    let names = over.join(", ");
    Err(errors::STREAM_UPDATE.because(format_args!("change to limits violates consumers: {names}")))
}

pub(super) fn delete(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_delete_response";
    match try_delete(call, name) {
        Ok(()) => {
            advise(call, name, "DELETED", "delete");
            call.respond(KIND, Success { success: true })
        }
        Err(error) => call.fail(KIND, &error),
    }
}

fn try_delete(call: &Call<'_>, name: &str) -> Result<(), ApiError> {
    let account = call.admit()?;
    call.check_empty_body()?;
    loop {
        let stream = account.stream(name).ok_or(errors::STREAM_NOT_FOUND)?;
        stream.rest(&*call.engine.world().host);
        let _changes = account.changes.lock();
        // It may have gone meanwhile, and another of its name come.
        let now = account.stream(name).ok_or(errors::STREAM_NOT_FOUND)?;
        if Arc::ptr_eq(&now, &stream) {
            call.engine.delete_stream(&account, &stream)?;
            break;
        }
    }
    // It is gone for everybody: as with nats-server, what the disk says afterwards changes nothing.
    if let Err(error) = call.engine.await_metadata(&account, name, None) {
        tracing::error!(stream = name, %error, "that it was deleted is not durable yet");
    }
    Ok(())
}

pub(super) fn purge(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_purge_response";
    match try_purge(call, name) {
        Ok((stream, purged)) => {
            let _ = call.respond(KIND, Purged { success: true, purged });
            ApiOutcome::then_commit(stream)
        }
        Err(error) => call.fail_with(KIND, &error, Purged { success: false, purged: 0 }),
    }
}

fn check_purge(config: &StreamConfig) -> Result<(), ApiError> {
    if config.sealed {
        return Err(errors::STREAM_SEALED.into());
    }
    if config.deny_purge {
        return Err(errors::STREAM_PURGE_FAILED.because("stream purge not permitted"));
    }
    Ok(())
}

fn try_purge(call: &Call<'_>, name: &str) -> Result<(Arc<Stream>, u64), ApiError> {
    let account = call.admit()?;
    let mut req = PurgeBody::default();
    if call.has_body() {
        call.decode(&mut req)?;
        if req.seq > 0 && req.keep > 0 {
            return Err(errors::BAD_REQUEST.into());
        }
    }
    let stream = account.stream(name).ok_or(errors::STREAM_NOT_FOUND)?;
    check_purge(&stream.config())?;
    let request = PurgeRequest { filter: req.filter.as_bytes(), seq: req.seq, keep: req.keep };
    let purged = stream.purge(&request, &|inner| check_purge(&inner.config))?;
    Ok((stream, purged))
}
