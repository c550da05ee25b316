//! Fast batches: each message is stored as it comes, and answered now and then. In nats-server's order of checks.

use super::atomic::ROLLUP;
use super::flow::{Asked, Flow};
use super::staged::StagedMsg;
use super::{ID_MAX_BYTES, Kind, Place, fast_reply};
use crate::clock::ElapsedNs;
use crate::config::metadata::{REQUIRED_LEVEL_HEADER, serves_level};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::headers::{header, without_header};
use crate::outbox::Says;
use crate::stream::batch::check::Diff;
use crate::stream::write::{PublishHeaders, Refusal, Rollup};
use crate::stream::{Inbound, Inner};
use jetkv_go_compat::json;
use serde::Serialize;

/// A fast batch that is open.
#[derive(Debug)]
pub(super) struct Fast {
    _place: Place,
    /// When it is given up, unless another message comes.
    pub(super) due: ElapsedNs,
    flow: Flow,
    gap_ok: bool,
    /// The batch sequence of the last message that came.
    last_seq: u64,
    /// The batch sequence up to which all is stored, and the sequence of the last message of it.
    stored_seq: u64,
    stream_seq: u64,
    /// Messages that came and were not stored.
    pending: u32,
    /// It is to end.
    commits: bool,
}

impl Fast {
    /// Whether a message of it was stored after a sequence.
    pub(super) fn is_beyond(&self, seq: u64) -> bool {
        self.stream_seq > seq
    }
}

/// What a publisher is told in between.
#[derive(Serialize)]
struct Told {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seq: Option<u64>,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    msgs: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
}

impl Inner {
    /// Whether a message is of a fast batch, and rolls up many.
    #[inline]
    pub(in crate::stream) fn is_long_of_fast(&self, msg: &Inbound<'_>) -> bool {
        fast_reply(msg).is_some()
            && header(msg.headers, ROLLUP)
                .and_then(Rollup::of)
                .is_some_and(|rollup| self.rolls_up_many(rollup, msg.subject))
    }

    /// Takes a message of a fast batch. `block` is its header block as it is to be stored.
    pub(in crate::stream) fn take_fast(
        &mut self,
        msg: &Inbound<'_>,
        block: &[u8],
        answers: bool,
    ) -> Result<(), Refusal> {
        self.check_batch(msg, block)?;
        if !self.config.allow_batched {
            return Err(errors::BATCH_PUBLISH_DISABLED.into());
        }
        let reply = fast_reply(msg).unwrap_or_default();
        let asked = Asked::parse(&reply).ok_or(errors::BATCH_PUBLISH_INVALID_PATTERN)?;
        if asked.id.len() > ID_MAX_BYTES {
            return Err(errors::BATCH_PUBLISH_INVALID_BATCH_ID.into());
        }
        self.give_up_batches();
        self.open_fast(&asked)?;
        let level = header(block, REQUIRED_LEVEL_HEADER).filter(|level| !level.is_empty());
        if level.is_some_and(|level| !serves_level(level)) {
            self.batches.fast.remove(asked.id);
            return Err(errors::REQUIRED_API_LEVEL.into());
        }
        let without_level = level.map(|_| without_header(block, REQUIRED_LEVEL_HEADER));
        let headers = without_level.as_deref().unwrap_or(block);
        // The batch leaves the others while it is worked on, and is put back unless it has ended.
        let Some(mut fast) = self.batches.fast.remove(asked.id) else { return Ok(()) };
        let timeout_ns = self.batch_limits(Kind::Fast).timeout_ns;
        if !fast.commits {
            fast.due = self.now.elapsed().plus(timeout_ns);
        }
        let staged = StagedMsg { subject: msg.subject, headers, payload: msg.payload };
        let ended = if asked.ping {
            self.ping(&mut fast, &asked, msg.reply)
        } else {
            self.take_next(&mut fast, &asked, &staged, (msg.reply, answers))
        };
        if !ended {
            self.batches.fast.insert(asked.id.into(), fast);
        }
        Ok(())
    }

    fn open_fast(&mut self, asked: &Asked<'_>) -> Result<(), Refusal> {
        if self.batches.fast.contains_key(asked.id) {
            return Ok(());
        }
        if asked.seq != 1 || asked.ping {
            return Err(errors::BATCH_PUBLISH_UNKNOWN_BATCH_ID.into());
        }
        let limits = self.batch_limits(Kind::Fast);
        let open = self.batches.fast.len() + 1;
        if open > limits.per_stream {
            return Err(errors::BATCH_PUBLISH_TOO_MANY_INFLIGHT.into());
        }
        let place = Place::take(&self.world.batches, Kind::Fast, limits.total);
        let place = place.ok_or(errors::BATCH_PUBLISH_TOO_MANY_INFLIGHT)?;
        let due = self.now.elapsed().plus(limits.timeout_ns);
        self.batches.is_due_at(due);
        let fast = Fast {
            _place: place,
            due,
            flow: Flow::new(asked.flow, open),
            gap_ok: asked.gap_ok,
            last_seq: 0,
            stored_seq: 0,
            stream_seq: 0,
            pending: 0,
            commits: false,
        };
        self.batches.fast.insert(asked.id.into(), fast);
        Ok(())
    }

    /// Answers a ping. Says whether the batch has ended.
    fn ping(&mut self, fast: &mut Fast, asked: &Asked<'_>, reply: &[u8]) -> bool {
        if asked.seq > fast.last_seq {
            self.tell_gap(reply, fast.last_seq + 1, asked.seq + 1);
            if fast.gap_ok {
                fast.last_seq = asked.seq;
                if fast.pending == 0 {
                    fast.stored_seq = fast.last_seq;
                }
                if self.flow_control(fast, reply) {
                    return false;
                }
            } else if self.end_fast(fast, asked.id, reply) {
                return true;
            }
        }
        self.tell_flow(fast, reply);
        false
    }

    /// Takes the next message. Says whether the batch has ended.
    fn take_next(
        &mut self,
        fast: &mut Fast,
        asked: &Asked<'_>,
        msg: &StagedMsg<'_>,
        (reply, answers): (&[u8], bool),
    ) -> bool {
        if fast.commits {
            return false;
        }
        let expected = fast.last_seq + 1;
        if asked.seq != expected {
            self.tell_gap(reply, expected, asked.seq);
            if !fast.gap_ok || asked.seq < expected {
                return self.end_fast(fast, asked.id, reply);
            }
        }
        if asked.by_end {
            fast.last_seq = asked.seq - 1;
            if fast.pending == 0 {
                fast.stored_seq = fast.last_seq;
            }
            return self.end_fast(fast, asked.id, reply);
        }
        fast.last_seq = asked.seq;
        fast.commits = asked.commit;
        if asked.seq == 1 && answers && !asked.commit {
            self.tell(
                reply,
                Told { kind: "ack", last_seq: None, seq: 0, msgs: Some(fast.flow.msgs), error: None },
            );
            self.outbox.last_says(Says::Status);
        }
        let headers = PublishHeaders::scan(msg.headers);
        let checked = self.check_staged(&mut Diff::default(), msg, &headers);
        let edited = match checked {
            Ok(edited) => edited,
            Err(refusal) => return self.refuse_next(fast, asked, refusal, reply),
        };
        fast.pending += 1;
        let expected_id = headers.expected_last_msg_id;
        if !expected_id.is_empty() && expected_id != self.last_msg_id {
            let last = String::from_utf8_lossy(&self.last_msg_id).into_owned();
            return self.refuse(reply, answers, &errors::STREAM_WRONG_LAST_MSG_ID.with("id", last));
        }
        let stored = match &edited {
            Some(edited) => StagedMsg { headers: &edited.headers, payload: &edited.payload, ..*msg },
            None => *msg,
        };
        if let Err(error) = self.store_of_batch(&stored) {
            let error = self.fail_half_way(error);
            return self.refuse(reply, answers, &error);
        }
        self.stored_next(fast, asked, reply)
    }

    fn refuse(&mut self, reply: &[u8], answers: bool, error: &ApiError) -> bool {
        if answers {
            self.acks.refused(&mut self.outbox, reply, error);
        }
        self.refused = Some(Refusal::Error(error.clone()));
        false
    }

    /// A message was stored. Says whether the batch has ended.
    fn stored_next(&mut self, fast: &mut Fast, asked: &Asked<'_>, reply: &[u8]) -> bool {
        fast.pending -= 1;
        fast.stream_seq = self.store.totals().last_seq;
        fast.stored_seq = if fast.pending == 0 { fast.last_seq } else { asked.seq };
        if fast.commits && fast.last_seq == fast.stored_seq {
            return self.end_fast(fast, asked.id, reply);
        }
        self.flow_control(fast, reply);
        false
    }

    /// A message is not stored. Says whether the batch has ended.
    fn refuse_next(&mut self, fast: &mut Fast, asked: &Asked<'_>, refusal: Refusal, reply: &[u8]) -> bool {
        let duplicate_of = match &refusal {
            Refusal::Duplicate(seq) => Some(*seq),
            Refusal::Error(_) => None,
        };
        let error = refusal.in_batch();
        self.refused = Some(Refusal::Error(error.clone()));
        if duplicate_of.is_some() {
            if fast.pending == 0 {
                fast.stored_seq = asked.seq;
                self.flow_control(fast, reply);
            }
            if !asked.commit {
                return false;
            }
        }
        // A batch that fails at once is answered as a single message is.
        if !asked.gap_ok && fast.last_seq == 1 {
            match duplicate_of {
                Some(seq) => self.acks.batch_duplicate(&mut self.outbox, reply, seq, (asked.id, asked.seq)),
                None => self.acks.refused(&mut self.outbox, reply, &error),
            }
            return true;
        }
        if duplicate_of.is_none() {
            let seq = asked.seq;
            self.tell(reply, Told { kind: "err", last_seq: None, seq, msgs: None, error: Some(error) });
            self.outbox.last_says(Says::Refused);
            if asked.gap_ok && !asked.commit {
                return false;
            }
            fast.last_seq -= 1;
            if fast.pending == 0 {
                fast.stored_seq = fast.last_seq;
            }
        }
        self.end_fast(fast, asked.id, reply)
    }

    /// The batch takes no more messages. Says whether all of it is stored; then it has ended.
    fn end_fast(&mut self, fast: &mut Fast, id: &[u8], reply: &[u8]) -> bool {
        fast.commits = true;
        if fast.last_seq != fast.stored_seq {
            return false;
        }
        self.acks.batch_stored(&mut self.outbox, reply, fast.stream_seq, (id, fast.last_seq));
        true
    }

    /// Answers, where it is time for that.
    fn flow_control(&mut self, fast: &mut Fast, reply: &[u8]) -> bool {
        let open = self.batches.fast.len() + 1;
        let due = fast.flow.is_due(fast.stored_seq, open);
        if due {
            self.tell_flow(fast, reply);
        }
        due
    }

    fn tell_flow(&mut self, fast: &Fast, reply: &[u8]) {
        let Flow { msgs, answered_seq: seq, .. } = fast.flow;
        self.tell(reply, Told { kind: "ack", last_seq: None, seq, msgs: Some(msgs), error: None });
        self.outbox.last_says(Says::Stored(fast.stream_seq));
    }

    fn tell_gap(&mut self, reply: &[u8], expected: u64, seq: u64) {
        self.tell(reply, Told { kind: "gap", last_seq: Some(expected), seq, msgs: None, error: None });
        self.outbox.last_says(Says::Status);
    }

    fn tell(&mut self, reply: &[u8], told: Told) {
        self.outbox.push_with(reply, |out| json::write(&told, out));
    }
}
