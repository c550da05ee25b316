//! Publishing what follows from schedules that are due.

use super::{NEXT, PURGE, ROLLUP, SCHEDULE, SCHEDULER, SOURCE, TARGET, TIME_ZONE, TTL, pattern};
use crate::clock::WallNs;
use crate::headers::{add_header, header, without_headers};
use crate::stream::write::{IfLong, PublishHeaders, Refusal, Rollup, Told};
use crate::stream::{Host, Inbound, Inner, Stream};
use crate::ttl::parse_ttl;

/// What does not go over from a schedule to what follows from it: what is of schedules, and what could keep that from being
/// stored.
const LEFT_OUT: [&[u8]; 5] = [SCHEDULE, b"Nats-Expected-", b"Nats-Msg-Id:", b"Nats-TTL:", b"Nats-Rollup:"];
/// Of the batch in which the schedule, or what it samples, came.
const BATCH: &[u8] = b"Nats-Batch-";

/// A message that follows from a schedule.
#[derive(Debug)]
pub(super) struct Follower {
    target: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

impl Inner {
    /// Publishes what is due, in the order of the schedules' sequences.
    pub(in crate::stream) fn fire_schedules(&mut self) {
        let due = self.schedules.take_due(self.now.wall());
        let mut followers = Vec::with_capacity(due.len());
        for (seq, at) in due {
            match self.follower(seq, at) {
                Some(follower) => followers.push(follower),
                None => self.schedules.forget(seq),
            }
        }
        for follower in followers {
            // What comes behind one that waits waits with it.
            if self.schedules.waiting.is_empty() && !self.rolls_up_many_with(&follower) {
                self.publish_follower(&follower, IfLong::FindOut);
            } else {
                self.schedules.waiting.push_back(follower);
            }
        }
    }

    /// Whether something that was due waits for a thread that has time ([`Stream::fire_waiting`]).
    pub(in crate::stream) fn has_waiting_followers(&self) -> bool {
        !self.schedules.waiting.is_empty()
    }

    fn rolls_up_many_with(&self, follower: &Follower) -> bool {
        let rollup = header(&follower.headers, b"Nats-Rollup").and_then(Rollup::of);
        rollup.is_some_and(|rollup| self.rolls_up_many(rollup, &follower.target))
    }

    fn publish_follower(&mut self, follower: &Follower, if_long: IfLong) {
        let Follower { target, headers, payload } = follower;
        let without;
        let mut headers = headers;
        if self.would_go_on_with_a_batch(headers) {
            without = without_headers(headers, |line| line.starts_with(BATCH));
            headers = &without;
        }
        let msg = Inbound { subject: target, reply: b"", headers, payload };
        self.with_stored_subject(&msg, |inner, msg| {
            if let Err(refusal) = inner.take_follower(msg, if_long) {
                tracing::warn!(
                    stream = %inner.config.name, subject = %String::from_utf8_lossy(msg.subject), ?refusal,
                    "cannot publish what was scheduled"
                );
            }
        });
    }

    /// What follows from the schedule at `seq`, which is due at `at`; `None` where there is none.
    fn follower(&mut self, seq: u64, at: WallNs) -> Option<Follower> {
        if self.is_purged(seq) {
            return None;
        }
        let now = self.now.wall();
        let msg = self.store.load(seq).ok().flatten()?;
        let value = |key| header(msg.headers, key).unwrap_or_default().to_vec();
        let (target, source, ttl, rollup) = (value(TARGET), value(SOURCE), value(TTL), value(ROLLUP));
        let due = pattern::next(&value(SCHEDULE), header(msg.headers, TIME_ZONE), at, now).ok().flatten()?;
        if target.is_empty() || parse_ttl(&ttl).is_none() {
            return None;
        }
        let scheduler = msg.subject.to_vec();
        let (mut headers, mut payload) = (msg.headers.to_vec(), msg.payload.to_vec());
        let last = self.store.index().get(&source).map(|entry| entry.last_seq);
        if let Some(last) = last.filter(|_| !source.is_empty())
            && let Ok(Some(msg)) = self.store.load(last)
        {
            (headers, payload) = (msg.headers.to_vec(), msg.payload.to_vec());
        }
        headers = without_headers(&headers, |line| LEFT_OUT.iter().any(|key| line.starts_with(key)));
        headers = add_header(&headers, SCHEDULER, &scheduler);
        let mut next = Vec::new();
        if due.repeats {
            due.told.write(&mut next);
        } else {
            next.extend_from_slice(PURGE);
        }
        headers = add_header(&headers, NEXT, &next);
        if !ttl.is_empty() {
            headers = add_header(&headers, b"Nats-TTL", &ttl);
        }
        if !rollup.is_empty() {
            headers = add_header(&headers, b"Nats-Rollup", &rollup);
        }
        Some(Follower { target, headers, payload })
    }

    /// Stores it. What a publisher may ask was checked when the schedule came.
    fn take_follower(&mut self, msg: &Inbound<'_>, if_long: IfLong) -> Result<(), Refusal> {
        self.check_size(msg.subject, msg.headers, msg.payload)?;
        let headers = PublishHeaders::scan(msg.headers);
        let allowed = self.config.lets_messages_remove();
        let rollup = Rollup::of(headers.rollup).filter(|_| allowed).unwrap_or(Rollup::None);
        if rollup != Rollup::None {
            // No purge goes on where it has time.
            self.prepare_roll_up(rollup, msg.subject, if_long);
        }
        self.store_checked(msg, msg.headers, &headers, rollup, Told::Nothing)
    }
}

impl Stream {
    /// Publishes what waits since it rolls up many, which goes in slices. Blocks while the stream is purged.
    pub(in crate::stream) fn fire_waiting(&self, host: &dyn Host) {
        loop {
            self.await_purge();
            let mut inner = self.lock();
            if inner.purging.is_some() {
                continue;
            }
            let follower = inner.schedules.waiting.pop_front().filter(|_| inner.takes_more());
            let Some(follower) = follower else { break };
            inner.publish_follower(&follower, IfLong::Slices);
            match inner.take_rolling() {
                Some(rolling) => self.roll_up_slices(inner, &rolling),
                None => drop(inner),
            }
            self.commit(host);
            host.end_turn();
        }
    }
}
