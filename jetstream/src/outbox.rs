//! Messages waiting to leave the engine, in order.

use crate::error::ApiError;
use crate::message::OutMsg;
use std::num::NonZeroU32;
use std::ops::Range;

/// A queue of outgoing messages. All bytes stand in one arena that is reused, so that queueing allocates nothing
/// once the arena has grown to the size of a usual batch.
#[derive(Debug, Default)]
pub struct Outbox {
    arena: Vec<u8>,
    items: Vec<Item>,
    /// Why messages of callers are refused.
    refusals: Vec<(Option<Caller>, ApiError)>,
}

/// A caller inside the process who waits for what becomes of a message.
pub(crate) type Caller = NonZeroU32;

/// Reply subject of messages of callers. Subjects from the network hold no blanks.
pub(crate) const TO_CALLER: &[u8] = b"in process";

/// What a queued message says: whoever queues it knows, and nobody after that has to guess. It decides what becomes of
/// the message when the stream takes back what it could not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Says {
    /// Anything else, such as an advisory: it does not outlive what it may speak of.
    #[default]
    Anything,
    /// A publisher's message is stored as this sequence.
    Stored(u64),
    /// The message stored as this sequence, published again.
    Republished(u64),
    /// A publisher's message is refused.
    Refused,
    /// A consumer delivers the message of this sequence.
    Delivered(u64),
    /// A consumer's status, heartbeat or flow control, or that it took an acknowledgement that is not kept: as true
    /// without any message.
    Status,
    /// An acknowledgement was taken, and is kept.
    Confirmed,
    /// The answer to a request of the JSON API; whether the request was refused.
    Answer { refused: bool },
    /// A direct get finds the message of this sequence.
    Found(u64),
    /// A direct get ends, or finds nothing.
    FoundStatus,
}

/// A message as it is queued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queued<'a> {
    pub(crate) says: Says,
    /// The caller that it is for, if it is not for the host.
    pub(crate) caller: Option<Caller>,
    /// Why that caller's message is refused, if it is.
    pub(crate) refusal: Option<&'a ApiError>,
    pub(crate) msg: OutMsg<'a>,
}

impl Queued<'_> {
    /// What the caller is to know: as which sequence the message is stored, if that was to be said, or why it is not.
    pub(crate) fn outcome(&self) -> Result<Option<u64>, ApiError> {
        match (self.refusal, self.says) {
            (Some(error), _) => Err(error.clone()),
            (None, Says::Stored(seq)) => Ok(Some(seq)),
            _ => Ok(None),
        }
    }
}

#[derive(Debug, Clone)]
struct Item {
    says: Says,
    caller: Option<Caller>,
    place: Place,
}

/// Where a message stands in the arena, and how many bytes each of its parts has, which follow each other.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    start: usize,
    to: usize,
    /// None stands there for a message whose subject is where it goes.
    subject: Option<usize>,
    reply: usize,
    headers: usize,
    payload: usize,
}

impl Place {
    fn to(self) -> Range<usize> {
        self.start..self.start + self.to
    }

    /// What stands ahead of the headers.
    fn head(self) -> Range<usize> {
        self.start..self.start + self.to + self.subject.unwrap_or(0) + self.reply
    }

    fn payload(self) -> Range<usize> {
        let start = self.head().end + self.headers;
        start..start + self.payload
    }
}

/// Arenas above this size are given back to the allocator once they are empty: one burst of large values must not
/// be paid for in memory for ever.
const ARENA_KEPT_BYTES: usize = 1 << 20;

impl Outbox {
    /// An empty outbox; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { arena: Vec::new(), items: Vec::new(), refusals: Vec::new() }
    }

    /// Queues a copy of `msg`.
    pub fn push(&mut self, msg: OutMsg<'_>) {
        self.push_as(Says::Anything, msg);
    }

    /// As [`push`](Self::push), of a message of which it is known what it says.
    pub(crate) fn push_as(&mut self, says: Says, msg: OutMsg<'_>) {
        let start = self.arena.len();
        let to = self.copy(msg.to);
        let subject = (msg.to != msg.subject).then(|| self.copy(msg.subject));
        let reply = self.copy(msg.reply);
        let headers = self.copy(msg.headers);
        let payload = self.copy(msg.payload);
        let place = Place { start, to, subject, reply, headers, payload };
        self.items.push(Item { says, caller: None, place });
    }

    /// Queues a message whose payload is written in place by `write`, without a buffer in between.
    pub fn push_with(&mut self, to: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.push_with_as(Says::Anything, to, write);
    }

    /// As [`push_with`](Self::push_with), of a message of which it is known what it says.
    #[inline]
    pub(crate) fn push_with_as(&mut self, says: Says, to: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        let to = self.copy(to);
        write(&mut self.arena);
        let payload = self.arena.len() - start - to;
        let place = Place { start, to, payload, ..Place::default() };
        self.items.push(Item { says, caller: None, place });
    }

    /// Queues a message whose header block is written in place by `write`.
    pub fn push_with_headers(&mut self, to: &[u8], payload: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        let to = self.copy(to);
        write(&mut self.arena);
        let headers = self.arena.len() - start - to;
        let payload = self.copy(payload);
        let place = Place { start, to, headers, payload, ..Place::default() };
        self.items.push(Item { says: Says::Anything, caller: None, place });
    }

    /// Notes what the message says that was queued last.
    pub(crate) fn last_says(&mut self, says: Says) {
        if let Some(last) = self.items.last_mut() {
            last.says = says;
        }
    }

    /// Gives the message at `at`, if there is one, these headers.
    pub(crate) fn set_headers(&mut self, at: usize, headers: &[u8]) {
        let Some(item) = self.items.get_mut(at).filter(|_| !headers.is_empty()) else { return };
        // They have a place ahead of the payload, so it is written once more.
        let start = self.arena.len();
        self.arena.extend_from_within(item.place.head());
        self.arena.extend_from_slice(headers);
        self.arena.extend_from_within(item.place.payload());
        item.place = Place { start, headers: headers.len(), ..item.place };
    }

    /// Notes why a message is refused that a caller publishes.
    pub(crate) fn refuse_caller(&mut self, error: &ApiError) {
        self.refusals.push((None, error.clone()));
    }

    /// Keeps the answer to a caller among the messages from the item at `from` on. Says whether there is one.
    pub(crate) fn keep_for_caller(&mut self, from: usize, caller: Caller) -> bool {
        for (refused, _) in &mut self.refusals {
            refused.get_or_insert(caller);
        }
        let arena = &self.arena;
        let mut coming = self.items.iter_mut().skip(from);
        let answer = coming.find(|item| arena.get(item.place.to()) == Some(TO_CALLER));
        answer.map(|item| item.caller = Some(caller)).is_some()
    }

    /// Whether the answer to a caller is queued.
    pub(crate) fn keeps_for(&self, caller: Caller) -> bool {
        self.items.iter().any(|item| item.caller == Some(caller))
    }

    /// The queued messages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = OutMsg<'_>> {
        self.items.iter().map(|item| self.msg(item))
    }

    /// The queued messages with what is known of them, oldest first.
    pub(crate) fn queued(&self) -> impl Iterator<Item = Queued<'_>> {
        self.items.iter().map(|item| Queued {
            says: item.says,
            caller: item.caller,
            refusal: item.caller.and_then(|caller| self.refusal(caller)),
            msg: self.msg(item),
        })
    }

    fn refusal(&self, caller: Caller) -> Option<&ApiError> {
        self.refusals.iter().find(|(refused, _)| *refused == Some(caller)).map(|(_, error)| error)
    }

    /// Queues a message of another outbox.
    pub(crate) fn push_queued(&mut self, queued: &Queued<'_>) {
        self.push_as(queued.says, queued.msg);
        if let Some(last) = self.items.last_mut() {
            last.caller = queued.caller;
        }
        if let Some(error) = queued.refusal {
            self.refusals.push((queued.caller, error.clone()));
        }
    }

    fn msg(&self, item: &Item) -> OutMsg<'_> {
        let Place { start, to, subject, reply, headers, payload } = item.place;
        let (to, rest) = split(self.arena.get(start..).unwrap_or_default(), to);
        let (subject, rest) = subject.map_or((to, rest), |subject| split(rest, subject));
        let (reply, rest) = split(rest, reply);
        let (headers, rest) = split(rest, headers);
        OutMsg { to, subject, reply, headers, payload: rest.get(..payload).unwrap_or_default() }
    }

    /// Takes back every message that says this.
    pub(crate) fn retract(&mut self, says: Says) {
        self.items.retain(|item| item.says != says);
    }

    /// How many messages are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes queued.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Empties the outbox and keeps its memory for the next batch.
    pub fn clear(&mut self) {
        self.items.clear();
        self.refusals.clear();
        self.arena.clear();
        if self.arena.capacity() > ARENA_KEPT_BYTES {
            self.arena = Vec::new();
        }
    }

    /// Copies a part; gives its length.
    fn copy(&mut self, part: &[u8]) -> usize {
        if !part.is_empty() {
            self.arena.extend_from_slice(part);
        }
        part.len()
    }
}

/// A part of so many bytes, and what follows it.
#[inline]
fn split(bytes: &[u8], len: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_in_the_order_they_came_with_every_part_intact() {
        let mut outbox = Outbox::new();
        outbox.push(OutMsg { to: b"inbox", subject: b"kv.a", reply: b"ack", headers: b"h", payload: b"one" });
        outbox.push_with(b"reply", |payload| payload.extend_from_slice(b"two"));
        let seen: Vec<_> = outbox.iter().map(|m| (m.to, m.subject, m.reply, m.headers, m.payload)).collect();
        assert_eq!(seen[0], (&b"inbox"[..], &b"kv.a"[..], &b"ack"[..], &b"h"[..], &b"one"[..]));
        assert_eq!(seen[1], (&b"reply"[..], &b"reply"[..], &b""[..], &b""[..], &b"two"[..]));
        outbox.set_headers(0, b"");
        outbox.set_headers(0, b"other");
        outbox.set_headers(2, b"of none");
        let seen: Vec<_> = outbox.iter().map(|m| (m.to, m.subject, m.reply, m.headers, m.payload)).collect();
        assert_eq!(seen[0], (&b"inbox"[..], &b"kv.a"[..], &b"ack"[..], &b"other"[..], &b"one"[..]));
        assert_eq!(seen[1], (&b"reply"[..], &b"reply"[..], &b""[..], &b""[..], &b"two"[..]));
        outbox.clear();
        assert!(outbox.is_empty() && outbox.iter().next().is_none());
    }
}
