//! `DIRECT.GET`: messages as they are, with headers that say what they are (ADR-31).

mod pieces;

use super::message::{GetRequest, load, load_last, pattern, seek};
use super::request::direct_get_of_key;
use super::{ApiOutcome, ApiRequest, Call, Way};
use crate::config::metadata::{LEVEL_STATUS, REQUIRED_LEVEL_HEADER, serves_level};
use crate::engine::Engine;
use crate::engine::account::streams_changed;
use crate::headers::header;
use crate::message::{AccountId, OutMsg};
use crate::outbox::{Outbox, Says};
use crate::settings::SyncPolicy;
use crate::store::{Msg, StoreError};
use crate::stream::{Inner, Stream, push_number, write_headers};
use jetkv_go_compat::json;
use jetkv_protocol::subject::{has_wildcard, is_plain_literal};
use std::sync::{Arc, Weak};

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
        return match last_of((stream, is_mirror), req.reply, key.as_bytes(), call.out) {
            Ok(()) => ApiOutcome::done(),
            Err(NotServed) => ApiOutcome::no_responders(),
        };
    }
    // Understanding the body may take long, too.
    let is_large = req.payload.len() > BODY_AT_ONCE_BYTES;
    let get = if is_large && matches!(call.way, Way::AtOnce) { None } else { Some(read(req, key)) };
    let mut inner = stream.lock();
    match admit(&mut inner, req.reply, !key.is_empty(), is_mirror) {
        Ok(true) => {}
        Ok(false) => return ApiOutcome::done(),
        Err(NotServed) => return ApiOutcome::no_responders(),
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

/// The stream serves no direct gets.
struct NotServed;

/// Whether somebody waits for what the stream says; it shows nothing that a crash could still take back.
fn admit(inner: &mut Inner, reply: &[u8], by_subject: bool, is_mirror: bool) -> Result<bool, NotServed> {
    if !inner.config.allow_direct && !is_mirror {
        return Err(NotServed);
    }
    if reply.is_empty() {
        inner.get_came(by_subject);
        return Ok(false);
    }
    inner.flush();
    Ok(true)
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

/// A stream that is asked for one key after the other ([`Engine::key_gets`]). It does not keep the stream.
#[derive(Debug, Default)]
pub struct KeyGets {
    stream: Weak<Stream>,
    /// [`streams_changed`] when the stream was found.
    found_at: u64,
}

impl Engine {
    /// The stream that a request on `subject` (`$JS.API.DIRECT.GET.<stream>.<key>`) asks for a key of, and how many bytes of the
    /// subject stand before the key. The same is then asked on any other subject that begins so. `None` where nothing
    /// is known of such a stream, or where what it holds may have to wait for the disk.
    #[must_use]
    pub fn key_gets(&self, account: AccountId, subject: &[u8]) -> Option<(KeyGets, usize)> {
        let found_at = streams_changed();
        if self.config().sync == SyncPolicy::Always {
            return None;
        }
        let (name, key) = direct_get_of_key(subject)?;
        let stream = self.account(account)?.stream(std::str::from_utf8(name).ok()?)?;
        Some((KeyGets { stream: Arc::downgrade(&stream), found_at }, subject.len() - key.len()))
    }

    /// Serves the get of a key-value client, the last message of one subject, by the shortest way: as
    /// [`Engine::api_at_once`] serves a request without headers and body. Says whether it did. Else nothing was done: the
    /// stream may be gone, it is busy or serves no gets, or it takes a longer look to see what the key is.
    #[inline]
    pub fn get_key(&self, gets: &KeyGets, key: &[u8], reply: &[u8], out: &mut Outbox) -> bool {
        let found = if gets.found_at == streams_changed() { gets.stream.upgrade() } else { None };
        let Some(stream) = found.filter(|stream| stream.is_of(self.world()) && !stream.is_busy()) else {
            return false;
        };
        // A mirror may answer where the stream does not.
        is_plain_literal(key) && last_of((&stream, false), reply, key, out).is_ok()
    }
}

/// As [`Engine::get_key`], of a request whose stream has yet to be found.
pub(super) fn of_key(engine: &Engine, req: &ApiRequest<'_>, out: &mut Outbox) -> Option<ApiOutcome> {
    if !req.payload.is_empty() || !req.headers.is_empty() {
        return None;
    }
    let (gets, key_at) = engine.key_gets(req.account, req.subject)?;
    let key = req.subject.get(key_at..)?;
    engine.get_key(&gets, key, req.reply, out).then(ApiOutcome::done)
}

/// Answers with the last message of a subject. Allocates nothing.
fn last_of(
    (stream, is_mirror): (&Stream, bool),
    reply: &[u8],
    key: &[u8],
    out: &mut Outbox,
) -> Result<(), NotServed> {
    let mut inner = stream.lock();
    if !admit(&mut inner, reply, true, is_mirror)? {
        return Ok(());
    }
    inner.get_came(true);
    match load_last(&mut inner, key) {
        Ok(Some(msg)) => push_message(out, reply, stream.name(), &msg, None, false),
        Ok(None) => push_status(out, reply, "404 Message Not Found"),
        Err(error) => {
            tracing::error!(stream = stream.name(), %error, "cannot read a message");
            push_status(out, reply, "404 Message Not Found");
        }
    }
    Ok(())
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
