//! `STREAM.SNAPSHOT` and `STREAM.RESTORE`: what is asked, and the first answer. The rest is done by the jobs of
//! [`crate::engine`].

use super::listing::StreamInfo;
use super::reply::{Empty, response};
use super::stream::action_advisory;
use super::{ApiOutcome, Call};
use crate::config::{StreamConfig, check};
use crate::engine::account::Account;
use crate::engine::{RestoreJob, RestoreWording, SnapshotJob, SnapshotRequest};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::stream::world::World;
use crate::stream::{Stream, StreamState};
use jetkv_go_compat::json::{Decode, Decoder, Value, go_struct};
use serde::Serialize;
use std::sync::Arc;

go_struct! { SnapshotRequest as "JSApiStreamSnapshotRequest" {
    "deliver_subject" => deliver_subject, "no_consumers" => no_consumers, "chunk_size" => chunk_size as Int,
    "window_size" => window_size as Int, "jsck" => check_messages,
} }

/// A request to restore a backup. What it says of the content is not relied on: the backup says it, too.
#[derive(Default)]
struct RestoreRequest {
    config: StreamConfig,
    state: Unread,
}

go_struct! { RestoreRequest as "JSApiStreamRestoreRequest" { "config" => config, "state" => state, } }

#[derive(Default)]
struct Unread;

impl Decode for Unread {
    fn go_type() -> &'static str {
        "server.StreamState"
    }

    fn decode(&mut self, _: Value<'_>, _: &mut Decoder) {}
}

#[derive(Serialize)]
struct Snapshot<'a> {
    config: &'a StreamConfig,
    state: &'a StreamState,
}

#[derive(Default, Serialize)]
pub(super) struct Restore<'a> {
    deliver_subject: &'a str,
}

/// Stands in the errors of restores.
pub(super) type NotRestored = Restore<'static>;

pub(super) fn snapshot(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_snapshot_response";
    let (account, stream, request) = match check_snapshot(call, name) {
        Ok(checked) => checked,
        Err(error) => return call.fail_with(KIND, &error, Empty {}),
    };
    let mut inner = stream.lock();
    inner.flush();
    let (config, state) = (Arc::clone(&inner.config), inner.state(None));
    drop(inner);
    let client = call.req.client.cloned().unwrap_or_default();
    let job = SnapshotJob::new(call.engine, &stream, state.clone(), &request, &client, &account.share.name);
    let outcome = call.respond(KIND, Snapshot { config: &config, state: &state });
    // No piece overtakes the answer.
    ApiOutcome { then: Some(Box::new(move || job.start(&state))), ..outcome }
}

fn check_snapshot(
    call: &Call<'_>,
    name: &str,
) -> Result<(Arc<Account>, Arc<Stream>, SnapshotRequest), ApiError> {
    let account = call.admit()?;
    if call.is_empty_body() {
        return Err(errors::BAD_REQUEST.error());
    }
    let stream = call.stream(name).ok_or(errors::STREAM_NOT_FOUND)?;
    let mut request = SnapshotRequest::default();
    call.decode(&mut request)?;
    if !jetkv_protocol::subject::is_valid_publish(request.deliver_subject.as_bytes()) {
        return Err(errors::SNAPSHOT_DELIVER_SUBJECT_INVALID.error());
    }
    Ok((account, stream, request))
}

/// How the end of a restore is told.
const WORDING: RestoreWording = RestoreWording {
    created: |world, stream| action_advisory(world, stream, "create"),
    end: restored_response,
};

pub(super) fn restore(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_restore_response";
    let (account, config) = match check_restore(call, name) {
        Ok(checked) => checked,
        Err(error) => return call.fail_with(KIND, &error, NotRestored::default()),
    };
    let client = call.req.client.cloned().unwrap_or_default();
    let job = RestoreJob::begin(call.engine, &account, config, &client, WORDING);
    let deliver_subject = &String::from_utf8_lossy(job.subject());
    call.respond(KIND, Restore { deliver_subject })
}

fn check_restore(call: &Call<'_>, name: &str) -> Result<(Arc<Account>, StreamConfig), ApiError> {
    let account = call.admit()?;
    if call.is_empty_body() {
        return Err(errors::BAD_REQUEST.error());
    }
    let mut request = RestoreRequest::default();
    call.decode(&mut request)?;
    let config = &mut request.config;
    if config.name.is_empty() {
        name.clone_into(&mut config.name);
    }
    if config.name != name {
        return Err(errors::STREAM_MISMATCH.error());
    }
    if name.contains(['\\', '/']) {
        return Err(errors::STREAM_NAME_CONTAINS_PATH_SEPARATORS.error());
    }
    let limits = account.config_limits(&call.engine.settings(), config);
    let config = check(config, &limits, false, &|name| account.config_of(name))?;
    call.engine.check_restorable(&account, &config)?;
    Ok((account, config))
}

/// The last answer of a restore: what stands now, or why nothing does.
fn restored_response(world: &World, outcome: Result<&Arc<Stream>, &ApiError>) -> Vec<u8> {
    const KIND: &str = "stream_create_response";
    match outcome {
        Ok(stream) => {
            let mut info = StreamInfo::of(world, &stream.lock(), None).with_server();
            info.domain.clear();
            response(KIND, None, info)
        }
        Err(error) => response(KIND, Some(error), Empty {}),
    }
}
