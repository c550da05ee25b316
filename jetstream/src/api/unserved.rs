//! Backups, which are refused until this server has them.

use super::reply::Empty;
use super::{ApiOutcome, Call};
use crate::config::{StreamConfig, check};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use jetkv_go_compat::json::{Decode, Decoder, Value, go_struct};
use serde::Serialize;

#[derive(Serialize)]
struct Restore {
    deliver_subject: &'static str,
}

pub(super) fn snapshot(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_snapshot_response";
    let error = match check_snapshot(call, name) {
        Ok(()) => errors::STREAM_SNAPSHOT.because("snapshots are not supported by this server"),
        Err(error) => error,
    };
    call.fail_with(KIND, &error, Empty {})
}

/// What nats-server would refuse too.
fn check_snapshot(call: &Call<'_>, name: &str) -> Result<(), ApiError> {
    call.admit()?;
    if call.is_empty_body() {
        return Err(errors::BAD_REQUEST.error());
    }
    if call.stream(name).is_none() {
        return Err(errors::STREAM_NOT_FOUND.error());
    }
    let mut request = SnapshotRequest::default();
    call.decode(&mut request)?;
    if !jetkv_protocol::subject::is_valid_literal(request.deliver_subject.as_bytes()) {
        return Err(errors::SNAPSHOT_DELIVER_SUBJECT_INVALID.error());
    }
    Ok(())
}

/// A request for a backup.
#[derive(Default)]
struct SnapshotRequest {
    deliver_subject: String,
    no_consumers: bool,
    chunk_size: i64,
    window_size: i64,
    check_messages: bool,
}

go_struct! { SnapshotRequest as "JSApiStreamSnapshotRequest" {
    "deliver_subject" => deliver_subject, "no_consumers" => no_consumers, "chunk_size" => chunk_size,
    "window_size" => window_size, "jsck" => check_messages,
} }

/// A request to restore a backup, as far as it is looked at before it is refused.
#[derive(Default)]
struct RestoreRequest {
    config: StreamConfig,
    state: Unread,
}

go_struct! { RestoreRequest as "JSApiStreamRestoreRequest" { "config" => config, "state" => state, } }

/// What a backup says of the stream's content.
#[derive(Default)]
struct Unread;

impl Decode for Unread {
    fn go_type() -> &'static str {
        "server.StreamState"
    }

    fn decode(&mut self, _: Value<'_>, _: &mut Decoder) {}
}

pub(super) fn restore(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_restore_response";
    let error = match check_restore(call, name) {
        Ok(()) => errors::STREAM_RESTORE.because("restores are not supported by this server"),
        Err(error) => error,
    };
    call.fail_with(KIND, &error, Restore { deliver_subject: "" })
}

/// What nats-server would refuse too.
fn check_restore(call: &Call<'_>, name: &str) -> Result<(), ApiError> {
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
    check(config, &account.config_limits(&call.engine.settings()), false)?;
    if account.stream(name).is_some() {
        return Err(errors::STREAM_NAME_EXIST_RESTORE_FAILED.error());
    }
    Ok(())
}
