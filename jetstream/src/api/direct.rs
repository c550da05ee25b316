//! `DIRECT.GET`: messages as they are, with headers that say what they are (ADR-31).

use super::message::{GetRequest, load_last, seek};
use super::{ApiOutcome, Call};
use crate::config::metadata::serves_level;
use crate::filter::Filter;
use crate::host::OutMsg;
use crate::outbox::Outbox;
use crate::store::{Msg, StoreError, Upcoming};
use crate::stream::{Inner, header, push_number, write_headers};
use jetkv_go_compat::json;
use std::ops::ControlFlow;

/// Most messages that one request for the last of many subjects may bring.
const MULTI_MAX: usize = 1024;

/// Serves a direct get. `key` is the subject at the end of the request's subject, empty for none.
pub(super) fn get(call: &mut Call<'_>, name: &str, key: &str) -> ApiOutcome {
    let Some(stream) = call.stream(name) else { return ApiOutcome::no_responders() };
    let req = call.req;
    let mut inner = stream.lock();
    if !inner.config.allow_direct {
        return ApiOutcome::no_responders();
    }
    if req.reply.is_empty() {
        return ApiOutcome::done();
    }
    // Nothing is shown that a crash could still take back.
    inner.flush();
    if !key.is_empty() && req.payload.is_empty() && req.headers.is_empty() {
        return last(call, &mut inner, name, key);
    }
    let get = match read(req.headers, req.payload, key) {
        Ok(get) => get,
        Err(status) => return refuse(call, status),
    };
    let mut reader = Reader { inner: &mut inner, name, out: call.out, reply: req.reply, get: &get };
    let result = reader.serve(call.engine.config().max_pending_bytes);
    drop(inner);
    match result {
        Ok(Ok(())) => ApiOutcome::done(),
        Ok(Err(status)) => refuse(call, status),
        Err(error) => {
            tracing::error!(stream = name, %error, "cannot read a message");
            refuse(call, "404 Message Not Found")
        }
    }
}

/// The get of a key-value client: the last message of one subject. Allocates nothing.
fn last(call: &mut Call<'_>, inner: &mut Inner, name: &str, key: &str) -> ApiOutcome {
    match load_last(inner, key.as_bytes()) {
        Ok(Some(msg)) => {
            push_message(call.out, call.req.reply, name, &msg, None, false);
            ApiOutcome::done()
        }
        Ok(None) => refuse(call, "404 Message Not Found"),
        Err(error) => {
            tracing::error!(stream = name, %error, "cannot read a message");
            refuse(call, "404 Message Not Found")
        }
    }
}

fn refuse(call: &mut Call<'_>, status: &str) -> ApiOutcome {
    push_status(call.out, call.req.reply, status);
    ApiOutcome::done()
}

fn push_status(out: &mut Outbox, reply: &[u8], status: &str) {
    let headers = format!("NATS/1.0 {status}\r\n\r\n");
    out.push(OutMsg { to: reply, subject: reply, reply: b"", headers: headers.as_bytes(), payload: b"" });
}

/// Understands the request, or gives the status that refuses it.
fn read(headers: &[u8], payload: &[u8], key: &str) -> Result<GetRequest, &'static str> {
    if !serves_level(header(headers, b"Nats-Required-Api-Level").unwrap_or_default()) {
        return Err("412 Required Api Level");
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

struct Reader<'r> {
    inner: &'r mut Inner,
    name: &'r str,
    out: &'r mut Outbox,
    reply: &'r [u8],
    get: &'r GetRequest,
}

/// What a batched answer says beside the message.
#[derive(Clone, Copy)]
struct Progress {
    pending: u64,
    last_seq: u64,
}

impl Reader<'_> {
    fn serve(&mut self, max_pending_bytes: u64) -> Result<Result<(), &'static str>, StoreError> {
        let most_bytes = match u64::try_from(self.get.max_bytes) {
            Ok(0) => max_pending_bytes,
            Ok(most) => most,
            // A negative bound is reached by the first message, as in nats-server.
            Err(_) => 0,
        };
        if !self.get.multi_last.is_empty() {
            self.multi(most_bytes)
        } else if self.get.batch != 0 {
            self.batch(most_bytes)
        } else {
            self.single()
        }
    }

    fn single(&mut self) -> Result<Result<(), &'static str>, StoreError> {
        let (inner, get) = (&mut *self.inner, self.get);
        let seq = seek(inner, get)?;
        let found = if !get.next_by_subj.is_empty() {
            inner.store.next(&Filter::new([&get.next_by_subj]), seq)?
        } else if seq > 0 {
            inner.store.load(seq)?
        } else {
            load_last(inner, get.last_by_subj.as_bytes())?
        };
        let Some(msg) = found else { return Ok(Err("404 Message Not Found")) };
        push_message(self.out, self.reply, self.name, &msg, None, get.no_hdr);
        Ok(Ok(()))
    }

    fn batch(&mut self, most_bytes: u64) -> Result<Result<(), &'static str>, StoreError> {
        let get = self.get;
        let by_subject = !get.next_by_subj.is_empty();
        let filter = if by_subject { Filter::new([&get.next_by_subj]) } else { Filter::All };
        let mut from = seek(self.inner, get)?;
        let mut progress =
            Progress { pending: self.inner.store.pending(&filter, from, false)?.count, last_seq: 0 };
        let (mut sent_bytes, mut upcoming) = (0, Upcoming::default());
        for at in 0..get.batch.max(0) {
            let Some(msg) = self.inner.store.next_upcoming(&filter, from, &mut upcoming)? else {
                if get.batch > 1 && at > 0 {
                    break;
                }
                return Ok(Err("404 Message Not Found"));
            };
            from = msg.seq + 1;
            // Without headers nobody is told of it, and nats-server does not count (observed).
            if !get.no_hdr {
                progress.pending = progress.pending.saturating_sub(1);
            }
            push_message(self.out, self.reply, self.name, &msg, Some(progress), get.no_hdr);
            progress.last_seq = msg.seq;
            sent_bytes += msg.content_len() as u64;
            if sent_bytes >= most_bytes {
                break;
            }
        }
        let Progress { pending, last_seq } = progress;
        let end = format!("204 EOB\r\nNats-Num-Pending: {pending}\r\nNats-Last-Sequence: {last_seq}");
        push_status(self.out, self.reply, &end);
        Ok(Ok(()))
    }

    fn multi(&mut self, most_bytes: u64) -> Result<Result<(), &'static str>, StoreError> {
        let get = self.get;
        let state = self.inner.store.state();
        let mut upto = get.up_to_seq;
        if let Some(time) = get.up_to_time {
            upto = self.inner.store.seq_at_time(time.ns())?;
            if upto <= state.first_seq {
                return Ok(Err("404 No Results"));
            }
            upto -= 1;
        }
        if upto == 0 {
            upto = state.last_seq;
        }
        // nats-server's file store finds nothing beyond its last message; its memory store does not mind.
        if upto > state.last_seq && !self.inner.config.storage.is_memory() {
            return Ok(Err("404 No Results"));
        }
        let Some(seqs) = self.last_seqs(upto) else { return Ok(Err("413 Too Many Results")) };
        if seqs.is_empty() {
            return Ok(Err("404 No Results"));
        }
        let mut progress = Progress { pending: seqs.len() as u64, last_seq: 0 };
        let (mut sent, mut sent_bytes) = (0, 0);
        for seq in seqs {
            progress.pending -= 1;
            if seq < get.seq {
                continue;
            }
            let Some(msg) = self.inner.store.load(seq)? else { return Ok(Err("404 Message Not Found")) };
            push_message(self.out, self.reply, self.name, &msg, Some(progress), false);
            progress.last_seq = seq;
            sent += 1;
            sent_bytes += msg.content_len() as u64;
            if sent_bytes >= most_bytes || (get.batch > 0 && sent >= get.batch) {
                break;
            }
        }
        let Progress { pending, last_seq } = progress;
        let end = format!(
            "204 EOB\r\nNats-Num-Pending: {pending}\r\nNats-Last-Sequence: {last_seq}\r\nNats-UpTo-Sequence: {upto}"
        );
        push_status(self.out, self.reply, &end);
        Ok(Ok(()))
    }

    /// The last sequence at or below `upto` of every subject that matches, in order; `None` for too many.
    fn last_seqs(&self, upto: u64) -> Option<Vec<u64>> {
        let index = self.inner.store.index();
        let mut seqs = Vec::new();
        let filter = Filter::new(&self.get.multi_last);
        index.for_each(&filter, |subject, entry| {
            let last =
                if entry.last_seq <= upto { Some(entry.last_seq) } else { index.at_or_before(subject, upto) };
            seqs.extend(last);
            if seqs.len() > MULTI_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        seqs.sort_unstable();
        (seqs.len() <= MULTI_MAX).then_some(seqs)
    }
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
}
