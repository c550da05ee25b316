//! `DIRECT.GET`: messages as they are, with headers that say what they are (ADR-31).

mod pieces;

use super::message::{GetRequest, load, load_last, pattern, seek};
use super::request::direct_get_of_key;
use super::{ApiOutcome, ApiRequest, Call, Way};
use crate::config::metadata::{LEVEL_STATUS, REQUIRED_LEVEL_HEADER, serves_level};
use crate::engine::Engine;
use crate::headers::header;
use crate::message::OutMsg;
use crate::outbox::{Outbox, Says};
use crate::settings::SyncPolicy;
use crate::store::{Msg, StoreError};
use crate::stream::{Inner, Stream, push_number, write_headers};
use jetkv_go_compat::json;
use jetkv_protocol::subject::has_wildcard;
use std::sync::Arc;

/// A body above this size is understood by a thread that has the time.
const BODY_AT_ONCE_BYTES: usize = 4096;

/// Serves a direct get. `key` is the subject at the end of the request's subject, empty for none.
pub(super) fn get(call: &mut Call<'_>, name: &str, key: &str) -> ApiOutcome {
    if let Some(stream) = call.stream(name) {
        let outcome = get_from(call, (&stream, false), key);
        if !outcome.no_responders {
            return outcome;
        }
    }
    let mirror = call.account.as_ref().and_then(|account| account.share.mirrors.pick(name));
    match mirror {
        Some(mirror) => get_from(call, (&mirror, true), key),
        None => ApiOutcome::no_responders(),
    }
}

/// Serves a direct get from a stream, or from a mirror of the one that was asked.
fn get_from(call: &mut Call<'_>, (stream, is_mirror): (&Arc<Stream>, bool), key: &str) -> ApiOutcome {
    let (req, name) = (call.req, stream.name());
    if call.leaves(stream) {
        return ApiOutcome::takes_long();
    }
    if !key.is_empty() && req.payload.is_empty() && req.headers.is_empty() && !has_wildcard(key.as_bytes()) {
        return last_of((stream, is_mirror), req, name, key.as_bytes(), call.out);
    }
    // Understanding the body may take long, too.
    let is_large = req.payload.len() > BODY_AT_ONCE_BYTES;
    let get = if is_large && matches!(call.way, Way::AtOnce) { None } else { Some(read(req, key)) };
    let mut inner = stream.lock();
    if let Err(outcome) = admit(&mut inner, req, !key.is_empty(), is_mirror) {
        return outcome;
    }
    let is_long = get.as_ref().is_none_or(|get| get.as_ref().is_ok_and(takes_long));
    if is_long && matches!(call.way, Way::AtOnce) {
        return ApiOutcome::takes_long();
    }
    inner.get_came(!key.is_empty());
    let result = match get {
        None => return ApiOutcome::takes_long(),
        Some(Err(status)) => Ok(Err(status)),
        Some(Ok(get)) if !takes_long(&get) => single(call, &mut inner, name, &get),
        Some(Ok(get)) => {
            drop(inner);
            let max_pending_bytes = call.engine.config().max_pending_bytes;
            let result = pieces::Reader::new(call, stream, name, &get).serve(max_pending_bytes);
            return end(call, name, result);
        }
    };
    drop(inner);
    end(call, name, result)
}

/// Whether the stream serves direct gets, and somebody waits for what it says; shows nothing that a crash could still
/// take back.
fn admit(
    inner: &mut Inner,
    req: &ApiRequest<'_>,
    by_subject: bool,
    is_mirror: bool,
) -> Result<(), ApiOutcome> {
    if !inner.config.allow_direct && !is_mirror {
        return Err(ApiOutcome::no_responders());
    }
    if req.reply.is_empty() {
        inner.get_came(by_subject);
        return Err(ApiOutcome::done());
    }
    inner.flush();
    Ok(())
}

/// Whether a request is for more than one message whose subject or sequence is known.
fn takes_long(get: &GetRequest) -> bool {
    get.batch != 0 || !get.multi_last.is_empty() || pattern(get).is_some()
}

/// What came of a get: a status where there is no message.
type Got = Result<Result<(), &'static str>, StoreError>;

fn end(call: &mut Call<'_>, name: &str, got: Got) -> ApiOutcome {
    match got {
        Ok(Ok(())) => ApiOutcome::done(),
        Ok(Err(status)) => refuse(call, status),
        Err(error) => {
            tracing::error!(stream = name, %error, "cannot read a message");
            refuse(call, "404 Message Not Found")
        }
    }
}

/// Serves the get of a key-value client, the last message of one subject, by the shortest way. `None` where a request is
/// anything else, or what it meets may have to wait for the disk.
pub(super) fn of_key(engine: &Engine, req: &ApiRequest<'_>, out: &mut Outbox) -> Option<ApiOutcome> {
    if !req.payload.is_empty() || !req.headers.is_empty() || engine.config().sync == SyncPolicy::Always {
        return None;
    }
    let (name, key) = direct_get_of_key(req.subject)?;
    if !key.is_ascii() || has_wildcard(key) {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    let stream = engine.account(req.account)?.stream(name).filter(|stream| !stream.is_busy())?;
    // A mirror may answer where the stream does not.
    Some(last_of((&stream, false), req, name, key, out)).filter(|outcome| !outcome.no_responders)
}

/// Answers with the last message of a subject. Allocates nothing.
fn last_of(
    (stream, is_mirror): (&Stream, bool),
    req: &ApiRequest<'_>,
    name: &str,
    key: &[u8],
    out: &mut Outbox,
) -> ApiOutcome {
    let mut inner = stream.lock();
    if let Err(outcome) = admit(&mut inner, req, true, is_mirror) {
        return outcome;
    }
    inner.get_came(true);
    match load_last(&mut inner, key) {
        Ok(Some(msg)) => push_message(out, req.reply, name, &msg, None, false),
        Ok(None) => push_status(out, req.reply, "404 Message Not Found"),
        Err(error) => {
            tracing::error!(stream = name, %error, "cannot read a message");
            push_status(out, req.reply, "404 Message Not Found");
        }
    }
    ApiOutcome::done()
}

fn refuse(call: &mut Call<'_>, status: &str) -> ApiOutcome {
    push_status(call.out, call.req.reply, status);
    ApiOutcome::done()
}

fn push_status(out: &mut Outbox, reply: &[u8], status: &str) {
    let headers = format!("NATS/1.0 {status}\r\n\r\n");
    out.push_as(
        Says::FoundStatus,
        OutMsg { to: reply, subject: reply, reply: b"", headers: headers.as_bytes(), payload: b"" },
    );
}

/// Understands the request, or gives the status that refuses it.
fn read(req: &ApiRequest<'_>, key: &str) -> Result<GetRequest, &'static str> {
    let (headers, payload) = (req.headers, req.payload);
    if !serves_level(header(headers, REQUIRED_LEVEL_HEADER).unwrap_or_default()) {
        return Err(LEVEL_STATUS);
    }
    let mut get = GetRequest::default();
    if payload.is_empty() && key.is_empty() {
        return Err("408 Empty Request");
    }
    if !payload.is_empty() {
        json::decode_lenient(payload, &mut get).map_err(|_| "408 Malformed Request")?;
    }
    let (seq, last, next) = (get.seq > 0, !get.last_by_subj.is_empty(), !get.next_by_subj.is_empty());
    let (multi, time) = (!get.multi_last.is_empty(), get.start_time.is_some());
    let upto = get.up_to_seq > 0 || get.up_to_time.is_some();
    if !key.is_empty() {
        if last || next || multi || seq || get.batch != 0 || time || upto {
            return Err("408 Bad Request");
        }
        get.last_by_subj = key.to_owned();
        return Ok(get);
    }
    if !(seq || last || next || multi || time) {
        return Err("408 Empty Request");
    }
    let contradicts = (seq && (last || time))
        || (last && (time || next || multi || get.batch > 0))
        || (next && multi)
        || (get.up_to_seq > 0 && get.up_to_time.is_some());
    if contradicts { Err("408 Bad Request") } else { Ok(get) }
}

/// What a batched answer says beside the message.
#[derive(Clone, Copy)]
struct Progress {
    pending: u64,
    last_seq: u64,
}

/// A get of one message by its sequence, by a subject or by time.
fn single(call: &mut Call<'_>, inner: &mut Inner, name: &str, get: &GetRequest) -> Got {
    let seq = seek(inner, get)?;
    let Some(msg) = load(inner, get, seq)? else { return Ok(Err("404 Message Not Found")) };
    push_message(call.out, call.req.reply, name, &msg, None, get.no_hdr);
    Ok(Ok(()))
}

fn push_message(
    out: &mut Outbox,
    reply: &[u8],
    stream: &str,
    msg: &Msg<'_>,
    progress: Option<Progress>,
    no_headers: bool,
) {
    out.push_with_headers(reply, msg.payload, |headers| {
        if no_headers {
            return;
        }
        write_headers(stream, msg, headers);
        if let Some(progress) = progress {
            headers.extend_from_slice(b"\r\nNats-Num-Pending: ");
            push_number(headers, progress.pending);
            headers.extend_from_slice(b"\r\nNats-Last-Sequence: ");
            push_number(headers, progress.last_seq);
        }
        headers.extend_from_slice(b"\r\n\r\n");
    });
    out.last_says(Says::Found(msg.seq));
}
