//! What is answered about streams that are kept and told of, but not served, as nats-server v2.15.2 answers.

use super::listing::paged_offset;
use super::reply::{Page, Success};
use super::request::Request;
use super::snapshot::NotRestored;
use super::stream::advise;
use super::{ApiOutcome, Call};
use crate::engine::account::Account;
use crate::engine::offline::Offline;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a listing says of those that are not served: their names, and why.
#[derive(Default, Serialize)]
pub(super) struct Missing {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    offline: BTreeMap<String, String>,
}

impl Missing {
    pub(super) fn push(&mut self, name: &str, reason: &str) {
        self.missing.push(name.to_owned());
        self.offline.insert(name.to_owned(), reason.to_owned());
    }
}

/// Why nothing is removed from it.
const CLOSED: &str = "stream closed";

#[derive(Serialize)]
struct NotPurged {
    purged: u64,
}

/// A page of consumers none of which is served.
#[derive(Serialize)]
struct Consumers {
    #[serde(flatten)]
    page: Page,
    consumers: Vec<String>,
    #[serde(flatten)]
    missing: Missing,
}

/// Serves a request about a stream that is not served.
pub(super) fn serve(
    call: &mut Call<'_>,
    request: &Request<'_>,
    account: &Account,
    offline: &Offline,
) -> ApiOutcome {
    let name = offline.config.name.as_str();
    let is_offline = || errors::STREAM_OFFLINE_REASON.with("err", &offline.reason);
    match request {
        Request::StreamCreate(_) => call.fail("stream_create_response", &errors::STREAM_NAME_EXIST.error()),
        Request::StreamUpdate(_) => call.fail("stream_update_response", &is_offline()),
        Request::StreamInfo(_) => call.fail_with("stream_info_response", &is_offline(), Page::default()),
        Request::StreamRestore(_) => {
            let error = errors::STREAM_NAME_EXIST_RESTORE_FAILED.error();
            call.fail_with("stream_restore_response", &error, NotRestored::default())
        }
        Request::StreamSnapshot(_) => call.fail("stream_snapshot_response", &is_offline()),
        Request::StreamPurge(_) => {
            let error = errors::STREAM_GENERAL_ERROR.because(CLOSED);
            call.fail_with("stream_purge_response", &error, NotPurged { purged: 0 })
        }
        Request::MessageDelete(_) => call
            .fail_uncounted("stream_msg_delete_response", &errors::STREAM_MSG_DELETE_FAILED.because(CLOSED)),
        Request::ConsumerCreate(_) => call.fail("consumer_create_response", &is_offline()),
        Request::StreamDelete(_) => {
            let deleted = call.check_empty_body().and_then(|()| {
                let _changes = account.changes.lock();
                call.engine.delete_offline(account, name)
            });
            if deleted.is_ok() {
                advise(call, name, "DELETED", "delete");
            }
            done(call, "stream_delete_response", deleted)
        }
        Request::ConsumerDelete { name, .. } => {
            let deleted = call
                .check_empty_body()
                .and_then(|()| call.engine.delete_offline_consumer(account, offline, name));
            done(call, "consumer_delete_response", deleted)
        }
        Request::ConsumerInfo { name, .. } => {
            let error = offline.consumer(name).map_or_else(
                || errors::CONSUMER_NOT_FOUND.error(),
                |reason| errors::CONSUMER_OFFLINE_REASON.with("err", reason),
            );
            call.fail("consumer_info_response", &error)
        }
        Request::ConsumerNames(_) => consumers(call, "consumer_names_response", offline, false),
        Request::ConsumerList(_) => consumers(call, "consumer_list_response", offline, true),
        Request::DirectGet { .. } | Request::ConsumerNext(_) => ApiOutcome::no_responders(),
        // Whoever asks is not told (nats-server v2.15.2).
        _ => ApiOutcome::done(),
    }
}

fn done(call: &mut Call<'_>, kind: &str, result: Result<(), ApiError>) -> ApiOutcome {
    match result {
        Ok(()) => call.respond(kind, Success { success: true }),
        Err(error) => call.fail(kind, &error),
    }
}

/// The names of consumers, or, where their information is asked for, that there is none.
fn consumers(call: &mut Call<'_>, kind: &str, offline: &Offline, as_missing: bool) -> ApiOutcome {
    let limit = if as_missing { super::consumer::LIST_LIMIT } else { super::consumer::NAMES_LIMIT };
    let known = offline.consumers();
    let offset = match paged_offset(call) {
        Ok(offset) => offset.min(known.len()),
        Err(error) => {
            let none =
                Consumers { page: Page::default(), consumers: Vec::new(), missing: Missing::default() };
            return call.fail_with(kind, &error, none);
        }
    };
    let (mut names, mut missing) = (Vec::new(), Missing::default());
    for (name, reason) in known.iter().skip(offset) {
        if as_missing {
            missing.push(name, reason);
        } else if names.len() < limit {
            names.push(name.clone());
        }
    }
    let page = Page { total: known.len(), offset, limit };
    call.respond(kind, Consumers { page, consumers: names, missing })
}
