//! Direct gets that may take long: by a pattern, of a batch, of the last of many subjects.
//!
//! The stream's lock is held for a slice of the search, or for a piece of the answers, at a time. The answers of each
//! piece leave before the next one is read, so a request takes the memory of a piece and not that of all it brings.

use super::super::message::{GetRequest, pattern, seek};
use super::{Got, Progress, push_message, push_status};
use crate::api::partial_token::PartialToken;
use crate::api::{Call, Way};
use crate::filter::Filter;
use crate::outbox::Outbox;
use crate::store::index::Seqs;
use crate::store::{Ahead, StoreError, Upcoming};
use crate::stream::{Inner, NODES, Search, Slice, Stream, Wanted};
use hashbrown::HashSet;
use std::collections::BTreeSet;

/// Most messages that one request for the last of many subjects may bring.
const MULTI_MAX: usize = 1024;
/// Bytes and messages after which a piece is large enough to leave.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_MSGS: usize = 128;

pub(super) struct Reader<'r> {
    stream: &'r Stream,
    name: &'r str,
    out: &'r mut Outbox,
    way: Way<'r>,
    reply: &'r [u8],
    get: &'r GetRequest,
}

/// The last message of a subject, as far as a request looks.
type LastOf = (u64, Vec<u8>);

impl<'r> Reader<'r> {
    pub(super) fn new(
        call: &'r mut Call<'_>,
        stream: &'r Stream,
        name: &'r str,
        get: &'r GetRequest,
    ) -> Self {
        Self { stream, name, out: call.out, way: call.way, reply: call.req.reply, get }
    }

    pub(super) fn serve(mut self, max_pending_bytes: u64) -> Got {
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
            self.by_pattern()
        }
    }

    fn by_pattern(self) -> Got {
        let get = self.get;
        let seq = seek(&mut self.stream.lock(), get)?;
        let wanted = if get.next_by_subj.is_empty() { Wanted::Last } else { Wanted::From(seq) };
        let filter = pattern(get).unwrap_or(Filter::All);
        let (out, reply, name) = (self.out, self.reply, self.name);
        let found = self.stream.find(&filter, wanted, |msg| {
            push_message(out, reply, name, msg, None, get.no_hdr);
        })?;
        Ok(found.ok_or("404 Message Not Found"))
    }

    /// Whether what was read so far is enough for a piece. Where pieces do not leave, their bytes stay.
    fn is_full(&self, msgs: usize) -> bool {
        let leaves = matches!(self.way, Way::Pieces(_));
        msgs >= PIECE_MSGS || (leaves && self.out.size_bytes() >= PIECE_BYTES)
    }

    /// Lets a piece leave. No lock may be held.
    fn leave(&mut self) {
        if let Way::Pieces(leave) = self.way
            && !self.out.is_empty()
        {
            leave(self.out);
        }
        std::thread::yield_now();
    }

    fn batch(&mut self, most_bytes: u64) -> Got {
        let get = self.get;
        let by_subject = !get.next_by_subj.is_empty();
        let filter = if by_subject { Filter::new([&get.next_by_subj]) } else { Filter::All };
        let from = seek(&mut self.stream.lock(), get)?;
        let (counted, upcoming) = self.stream.count_pending(&filter, from)?;
        let mut run = Run {
            progress: Progress { pending: counted.count, last_seq: 0 },
            from,
            wanted: u64::try_from(get.batch).unwrap_or(0),
            sent: 0,
            bytes_left: most_bytes,
            upcoming,
        };
        let mut search = Search::new(&filter, Wanted::From(from));
        let mut goes_on = run.wanted > 0;
        while goes_on {
            goes_on = self.piece_of_batch(&mut run, &mut search)?;
            self.leave();
        }
        if run.sent == 0 && run.wanted > 0 {
            return Ok(Err("404 Message Not Found"));
        }
        let Progress { mut pending, last_seq } = run.progress;
        if self.stream.lock().store.totals().last_seq > counted.through_seq {
            pending = self.stream.count_pending(&filter, run.from)?.0.count;
        }
        let end = format!("204 EOB\r\nNats-Num-Pending: {pending}\r\nNats-Last-Sequence: {last_seq}");
        push_status(self.out, self.reply, &end);
        Ok(Ok(()))
    }

    /// Reads a piece of a batch; says whether there may be more.
    fn piece_of_batch(&mut self, run: &mut Run, search: &mut Search<'_>) -> Result<bool, StoreError> {
        let mut inner = self.stream.lock();
        inner.flush();
        let (mut msgs, looked_before) = (0, run.looked());
        while !self.is_full(msgs) && run.looked().wrapping_sub(looked_before) < NODES {
            let slice = match &mut run.upcoming {
                None => search.slice(&mut inner)?,
                Some(upcoming) => match inner.store.next_upcoming(search.filter(), run.from, upcoming)? {
                    Ahead::Found(msg) => Slice::Found(msg.seq),
                    Ahead::Nothing => Slice::Nothing,
                    Ahead::More => Slice::More,
                },
            };
            let seq = match slice {
                Slice::Found(seq) => seq,
                Slice::Nothing => return Ok(false),
                Slice::More => return Ok(true),
            };
            let Some(msg) = inner.store.load(seq)? else {
                search.start_again();
                return Ok(true);
            };
            // Without headers nobody is told of it, and nats-server does not count (observed).
            if !self.get.no_hdr {
                run.progress.pending = run.progress.pending.saturating_sub(1);
            }
            push_message(self.out, self.reply, self.name, &msg, Some(run.progress), self.get.no_hdr);
            run.progress.last_seq = seq;
            run.from = seq + 1;
            msgs += 1;
            if !run.goes_on(msg.content_len() as u64) {
                return Ok(false);
            }
            if run.upcoming.is_none() && search.go_on_from(run.from) {
                // What matches is rare: whoever looks for the next one finds those behind it, too.
                run.upcoming = Some(Upcoming::default());
                return Ok(true);
            }
        }
        Ok(true)
    }

    fn multi(&mut self, most_bytes: u64) -> Got {
        let get = self.get;
        let upto = match self.upto(&mut self.stream.lock())? {
            Ok(upto) => upto,
            Err(status) => return Ok(Err(status)),
        };
        let Some(lasts) = self.lasts(upto) else { return Ok(Err("413 Too Many Results")) };
        if lasts.is_empty() {
            return Ok(Err("404 No Results"));
        }
        let mut run = Run {
            progress: Progress { pending: lasts.len() as u64, last_seq: 0 },
            from: 0,
            wanted: if get.batch > 0 { u64::try_from(get.batch).unwrap_or(0) } else { u64::MAX },
            sent: 0,
            bytes_left: most_bytes,
            upcoming: None,
        };
        let mut lasts = lasts.into_iter().peekable();
        let mut replaced = Vec::new();
        let mut goes_on = true;
        while goes_on && lasts.peek().is_some() {
            goes_on = self.piece_of_multi(&mut run, &mut lasts, &mut replaced)?;
            self.leave();
        }
        replaced.sort_unstable();
        let mut replaced = replaced.into_iter().peekable();
        while goes_on && replaced.peek().is_some() {
            goes_on = self.piece_of_multi(&mut run, &mut replaced, &mut Vec::new())?;
            self.leave();
        }
        let Progress { pending, last_seq } = run.progress;
        let end = format!(
            "204 EOB\r\nNats-Num-Pending: {pending}\r\nNats-Last-Sequence: {last_seq}\r\nNats-UpTo-Sequence: {upto}"
        );
        push_status(self.out, self.reply, &end);
        Ok(Ok(()))
    }

    /// The sequence that a request for many subjects looks at last.
    fn upto(&self, inner: &mut Inner) -> Result<Result<u64, &'static str>, StoreError> {
        let get = self.get;
        let state = inner.store.totals();
        let mut upto = get.up_to_seq;
        if let Some(time) = get.up_to_time {
            upto = inner.store.seq_at_time(time.ns())?;
            if upto <= state.first_seq {
                return Ok(Err("404 No Results"));
            }
            upto -= 1;
        }
        if upto == 0 {
            upto = state.last_seq;
        }
        // nats-server's file store finds nothing beyond its last message; its memory store does not mind.
        if upto > state.last_seq && !inner.config.storage.is_memory() {
            return Ok(Err("404 No Results"));
        }
        Ok(Ok(upto))
    }

    /// Whether a request bounds what it looks at. Where it does not, a message that replaced another since is as good.
    fn is_bounded(&self) -> bool {
        self.get.up_to_seq > 0 || self.get.up_to_time.is_some()
    }

    /// The last message at or below `upto` of every subject that matches, in order; `None` for too many.
    fn lasts(&self, upto: u64) -> Option<Vec<LastOf>> {
        let wanted = &self.get.multi_last;
        let partial: BTreeSet<&str> =
            wanted.iter().map(String::as_str).filter(|pattern| partial_token(pattern).is_some()).collect();
        let whole = wanted.iter().filter(|pattern| !partial.contains(pattern.as_str()));
        let whole: Vec<&String> = whole.collect();
        let (mut lasts, mut seen) = (Vec::new(), HashSet::new());
        let is_bounded = self.is_bounded();
        let mut take = |subject: &[u8], seqs: Seqs<'_>| {
            if !partial.is_empty() && !seen.insert(subject.to_vec()) {
                return true;
            }
            let newest = seqs.entry().last_seq;
            let last = if newest <= upto { Some(newest) } else { seqs.at_or_before(upto) };
            let last = last.or((!is_bounded).then_some(newest));
            lasts.extend(last.map(|seq| (seq, subject.to_vec())));
            lasts.len() <= MULTI_MAX
        };
        if !whole.is_empty() {
            self.stream.each_subject_while(&Filter::new(whole), &mut take);
        }
        for token in partial.iter().filter_map(|pattern| partial_token(pattern)) {
            token.each_of_place(self.stream, &mut take);
        }
        lasts.sort_unstable();
        (lasts.len() <= MULTI_MAX).then_some(lasts)
    }

    /// Reads a piece of the last messages; says whether more are wanted. Those that went meanwhile and were replaced are
    /// put into `replaced`, whose messages come later.
    fn piece_of_multi(
        &mut self,
        run: &mut Run,
        lasts: &mut std::iter::Peekable<impl Iterator<Item = LastOf>>,
        replaced: &mut Vec<LastOf>,
    ) -> Result<bool, StoreError> {
        let mut inner = self.stream.lock();
        inner.flush();
        let mut msgs = 0;
        while !self.is_full(msgs) {
            let Some((seq, subject)) = lasts.next() else { return Ok(true) };
            msgs += 1;
            if seq < self.get.seq {
                run.progress.pending = run.progress.pending.saturating_sub(1);
                continue;
            }
            let Some(msg) = inner.store.load(seq)? else {
                let newest = inner.store.index().get(&subject).map(|entry| entry.last_seq);
                match newest.filter(|_| !self.is_bounded()) {
                    Some(newest) if newest != seq => replaced.push((newest, subject)),
                    _ => run.progress.pending = run.progress.pending.saturating_sub(1),
                }
                continue;
            };
            run.progress.pending = run.progress.pending.saturating_sub(1);
            push_message(self.out, self.reply, self.name, &msg, Some(run.progress), false);
            run.progress.last_seq = seq;
            if !run.goes_on(msg.content_len() as u64) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The last token of a pattern that ends with a wildcard and, where nats-server v2.15.2 looks up the last of many subjects, is
/// taken for one, in memory and in files (observed).
fn partial_token(pattern: &str) -> Option<PartialToken<'_>> {
    PartialToken::of(pattern.as_bytes()).filter(PartialToken::is_one_place)
}

/// How far a request for several messages is.
struct Run {
    progress: Progress,
    /// Where what follows begins.
    from: u64,
    /// Messages that were asked for.
    wanted: u64,
    sent: u64,
    bytes_left: u64,
    /// What comes, where that is known.
    upcoming: Option<Upcoming>,
}

impl Run {
    /// How much was looked at for what comes.
    fn looked(&self) -> usize {
        self.upcoming.as_ref().map_or(0, Upcoming::looked)
    }

    /// Counts a message of that many bytes; says whether another may follow.
    fn goes_on(&mut self, bytes: u64) -> bool {
        self.sent += 1;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.bytes_left > 0 && self.sent < self.wanted
    }
}
