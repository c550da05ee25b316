//! `STREAM.MSG.GET` and `STREAM.MSG.DELETE`.

use super::reply::Success;
use super::{ApiOutcome, Call};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::filter::Filter;
use crate::store::{Msg, StoreError};
use crate::stream::{Inner, Stream, Wanted};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::go_struct;
use serde::Serialize;
use std::sync::Arc;

/// A request for stored messages, direct or not.
#[derive(Debug, Clone, Default)]
pub(super) struct GetRequest {
    pub(super) seq: u64,
    pub(super) last_by_subj: String,
    pub(super) next_by_subj: String,
    pub(super) batch: i64,
    pub(super) max_bytes: i64,
    pub(super) start_time: Option<GoTime>,
    pub(super) multi_last: Vec<String>,
    pub(super) up_to_seq: u64,
    pub(super) up_to_time: Option<GoTime>,
    pub(super) no_hdr: bool,
}

go_struct! { GetRequest as "JSApiMsgGetRequest" {
    "seq" => seq, "last_by_subj" => last_by_subj, "next_by_subj" => next_by_subj, "batch" => batch as Int,
    "max_bytes" => max_bytes as Int, "start_time" => start_time, "multi_last" => multi_last,
    "up_to_seq" => up_to_seq, "up_to_time" => up_to_time, "no_hdr" => no_hdr,
} }

#[derive(Default)]
struct DeleteRequest {
    seq: u64,
    no_erase: bool,
}

go_struct! { DeleteRequest as "JSApiMsgDeleteRequest" { "seq" => seq, "no_erase" => no_erase, } }

#[derive(Serialize)]
struct Got {
    message: Stored,
}

#[derive(Serialize)]
struct Stored {
    subject: String,
    seq: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    hdrs: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    time: GoTime,
}

impl Stored {
    fn new(msg: &Msg<'_>, no_headers: bool) -> Self {
        Self {
            subject: String::from_utf8_lossy(msg.subject).into_owned(),
            seq: msg.seq,
            hdrs: if no_headers { String::new() } else { STANDARD.encode(msg.headers) },
            data: STANDARD.encode(msg.payload),
            time: GoTime::from_ns(msg.ts_ns),
        }
    }
}

pub(super) fn get(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_msg_get_response";
    match find(call, name) {
        Ok(message) => call.respond_quietly(KIND, Got { message }),
        Err(error) => call.fail(KIND, &error),
    }
}

fn find(call: &Call<'_>, name: &str) -> Result<Stored, ApiError> {
    let account = call.admit()?;
    if call.is_empty_body() {
        return Err(errors::BAD_REQUEST.into());
    }
    let mut req = GetRequest::default();
    call.decode(&mut req)?;
    if req.batch > 0 || req.max_bytes > 0 || !is_one_question(&req) {
        return Err(errors::BAD_REQUEST.into());
    }
    let stream = account.stream(name).ok_or(errors::STREAM_NOT_FOUND)?;
    let found = match pattern(&req) {
        Some(filter) => {
            let wanted = match seek(&mut stream.lock(), &req) {
                Ok(_) if req.next_by_subj.is_empty() => Ok(Wanted::Last),
                other => other.map(Wanted::From),
            };
            wanted.and_then(|wanted| stream.find(&filter, wanted, |msg| Stored::new(msg, req.no_hdr)))
        }
        None => {
            let mut inner = stream.lock();
            inner.flush();
            let seq = seek(&mut inner, &req);
            let found = seq.and_then(|seq| load(&mut inner, &req, seq));
            found.map(|msg| msg.map(|msg| Stored::new(&msg, req.no_hdr)))
        }
    };
    match found {
        Ok(Some(stored)) => Ok(stored),
        Ok(None) => Err(errors::NO_MESSAGE_FOUND.into()),
        Err(error) => {
            tracing::error!(stream = name, %error, "cannot read a message");
            Err(errors::NO_MESSAGE_FOUND.into())
        }
    }
}

/// What is searched for, where that may take long.
pub(super) fn pattern(req: &GetRequest) -> Option<Filter> {
    let subject = if !req.next_by_subj.is_empty() {
        &req.next_by_subj
    } else if req.seq == 0 && req.start_time.is_none() {
        &req.last_by_subj
    } else {
        return None;
    };
    jetkv_protocol::subject::has_wildcard(subject.as_bytes()).then(|| Filter::new([subject]))
}

fn is_one_question(req: &GetRequest) -> bool {
    let (seq, last) = (req.seq > 0, !req.last_by_subj.is_empty());
    let (next, time) = (!req.next_by_subj.is_empty(), req.start_time.is_some());
    !((seq && last) || (!seq && !last && !next && !time) || (seq && time) || (time && last) || (last && next))
}

/// The sequence that a request starts at.
pub(super) fn seek(inner: &mut Inner, req: &GetRequest) -> Result<u64, StoreError> {
    match req.start_time {
        Some(time) => inner.store.seq_at_time(time.ns()),
        None => Ok(req.seq),
    }
}

pub(super) fn load<'i>(
    inner: &'i mut Inner,
    req: &GetRequest,
    seq: u64,
) -> Result<Option<Msg<'i>>, StoreError> {
    if !req.next_by_subj.is_empty() {
        inner.hurry_purge(req.next_by_subj.as_bytes());
        inner.store.next(&Filter::new([&req.next_by_subj]), seq)
    } else if seq > 0 {
        if inner.is_purged(seq) { Ok(None) } else { inner.store.load(seq) }
    } else {
        load_last(inner, req.last_by_subj.as_bytes())
    }
}

/// The last message of a subject.
pub(super) fn load_last<'i>(inner: &'i mut Inner, subject: &[u8]) -> Result<Option<Msg<'i>>, StoreError> {
    inner.hurry_purge(subject);
    match inner.store.index().get(subject) {
        Some(entry) => inner.store.load(entry.last_seq),
        None => Ok(None),
    }
}

pub(super) fn delete(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_msg_delete_response";
    match remove(call, name) {
        Ok(Ok(stream)) => {
            let _ = call.respond(KIND, Success { success: true });
            ApiOutcome::then_commit(stream)
        }
        Ok(Err(error)) => call.fail_uncounted(KIND, &error),
        Err(error) => call.fail(KIND, &error),
    }
}

/// Removes a message; inside is what came of it where the request was a sound one.
fn remove(call: &Call<'_>, name: &str) -> Result<Result<Arc<Stream>, ApiError>, ApiError> {
    let account = call.admit()?;
    if call.is_empty_body() {
        return Err(errors::BAD_REQUEST.into());
    }
    let mut req = DeleteRequest::default();
    call.decode(&mut req)?;
    let stream = account.stream(name).ok_or(errors::STREAM_NOT_FOUND)?;
    let mut inner = stream.lock();
    if inner.config.sealed {
        return Err(errors::STREAM_SEALED.into());
    }
    if inner.config.deny_delete {
        return Err(errors::STREAM_MSG_DELETE_FAILED.because("message delete not permitted"));
    }
    let state = inner.store.state();
    let in_files = !inner.config.storage.is_memory();
    let removed = match inner.remove_seq(req.seq, !req.no_erase) {
        Err(error @ StoreError::Io { .. }) => {
            let text = error.to_string();
            // An erasure that failed has undone itself; it is the sync before it that others wait for, too.
            if req.no_erase || inner.store.write_error().is_some() {
                inner.fail_half_way(error);
                inner.flush();
            }
            return Ok(Err(errors::STREAM_MSG_DELETE_FAILED.because(text)));
        }
        other => other,
    };
    // What was removed stays removed, from the answer on.
    inner.try_flush()?;
    drop(inner);
    Ok(match removed {
        Ok(true) => Ok(stream),
        // nats-server's file store has words of its own for what is out of range.
        Ok(false) if in_files && req.seq > state.last_seq => {
            Err(errors::STREAM_MSG_DELETE_FAILED.because("stream store EOF"))
        }
        Ok(false) if in_files && (req.seq == 0 || req.seq < state.first_seq) => {
            Err(errors::STREAM_MSG_DELETE_FAILED.because("no message found"))
        }
        Ok(false) => Err(errors::SEQUENCE_NOT_FOUND.with("seq", req.seq)),
        Err(error) => Err(errors::STREAM_MSG_DELETE_FAILED.because(error)),
    })
}
