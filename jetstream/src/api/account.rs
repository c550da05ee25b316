//! `$JS.API.INFO`: what the account uses and may use; and `$JS.API.ACCOUNT.PURGE`, which takes all of it away.

use super::{ApiOutcome, Call};
use crate::config::StorageType;
use crate::engine::account::Account;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::message::AccountId;
use jetkv_go_compat::quoted;
use jetkv_go_compat::version::API_LEVEL;
use serde::Serialize;
use std::sync::atomic::Ordering;

const KIND: &str = "account_info_response";

#[derive(Serialize)]
struct Info {
    memory: i64,
    storage: i64,
    reserved_memory: i64,
    reserved_storage: i64,
    streams: usize,
    consumers: usize,
    limits: Limits,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    api: Stats,
}

#[derive(Serialize)]
struct Limits {
    max_memory: i64,
    max_storage: i64,
    max_streams: i64,
    max_consumers: i64,
    max_ack_pending: i64,
    memory_max_stream_bytes: i64,
    storage_max_stream_bytes: i64,
    max_bytes_required: bool,
}

#[derive(Serialize)]
struct Stats {
    level: i64,
    total: u64,
    errors: u64,
}

pub(super) fn info(call: &mut Call<'_>) -> ApiOutcome {
    let account = match call.admit() {
        Ok(account) => account,
        Err(error) => return call.fail(KIND, &error),
    };
    let info = account_info(&account, &call.engine.config().domain);
    call.respond(KIND, info)
}

/// What became of a purge. Nothing is said of one that failed.
#[derive(Serialize)]
struct Purged {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    initiated: bool,
}

/// Takes all streams away from the account that is called `name`, whose number is `id` where there is one, and its
/// directory. For the system account, which has no JetStream itself.
pub(super) fn purge(call: &mut Call<'_>, name: &str, id: Option<AccountId>) -> ApiOutcome {
    const KIND: &str = "account_purge_response";
    // Headers would have to name the client (nats-server v2.15.2, observed).
    if !call.req.headers.is_empty() {
        tracing::warn!("Malformed JetStream API Request: {}", quoted(call.req.payload));
        return ApiOutcome::done();
    }
    match try_purge(call, name, id) {
        Ok(()) => call.respond(KIND, Purged { initiated: true }),
        Err(error) => call.fail_with(KIND, &error, Purged { initiated: false }),
    }
}

fn try_purge(call: &mut Call<'_>, name: &str, id: Option<AccountId>) -> Result<(), ApiError> {
    if name.contains(['\\', '/']) {
        return Err(errors::STREAM_GENERAL_ERROR.because("account name can not contain path separators"));
    }
    let account = id.and_then(|id| call.engine.account(id));
    let count = account.as_ref().map_or(0, |account| account.streams().len());
    tracing::info!("Purge request for account {name} (streams: {count}, hasAccount: {})", id.is_some());
    if let Some(account) = &account {
        call.engine.rest_streams(account);
    }
    let _changes = account.as_ref().map(|account| account.changes.lock());
    if let Some(account) = &account {
        call.engine.delete_streams(account)?;
    }
    call.engine.remove_account_dir(name).map_err(|error| errors::STREAM_GENERAL_ERROR.because(error))
}

fn account_info(account: &Account, domain: &str) -> Info {
    let limits = account.share.limits.load();
    let streams = account.streams();
    Info {
        memory: account.share.usage.get(StorageType::Memory),
        storage: account.share.usage.get(StorageType::File),
        reserved_memory: account.reserved(StorageType::Memory, None),
        reserved_storage: account.reserved(StorageType::File, None),
        streams: streams.len(),
        consumers: streams.iter().map(|stream| stream.lock().consumers.len()).sum(),
        limits: Limits {
            max_memory: limits.max_memory_bytes,
            max_storage: limits.max_store_bytes,
            max_streams: limits.max_streams,
            max_consumers: limits.max_consumers,
            max_ack_pending: limits.max_ack_pending,
            memory_max_stream_bytes: limits.memory_max_stream_bytes,
            storage_max_stream_bytes: limits.store_max_stream_bytes,
            max_bytes_required: limits.max_bytes_required,
        },
        domain: domain.to_owned(),
        api: Stats {
            level: i64::from(API_LEVEL),
            total: account.api_total.load(Ordering::Relaxed),
            errors: account.api_errors.load(Ordering::Relaxed),
        },
    }
}
