//! What waits in memory for the commit of its batch.

use super::Place;
use super::atomic::ROLLUP;
use crate::clock::ElapsedNs;
use crate::headers::header;
use crate::stream::world::InFlight;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// What may be staged on all streams together, bytes.
const STAGED_MAX_BYTES: usize = 512 << 20;

/// Bytes and messages from which a batch is large: no connection waits while it is stored.
const LARGE_BYTES: usize = 1 << 20;
const LARGE_MSGS: usize = 512;

/// The messages of a batch so far.
#[derive(Debug)]
pub(in crate::stream) struct Staged {
    place: Place,
    /// When it is given up, unless another message comes.
    pub(super) due: ElapsedNs,
    /// The batch sequence of the last message that came.
    pub(super) last_seq: u64,
    bytes: Vec<u8>,
    msgs: Vec<Item>,
    /// Whether a message rolls up others.
    rolls_up: bool,
}

#[derive(Debug, Clone)]
struct Item {
    subject: Range<usize>,
    headers: Range<usize>,
    payload: Range<usize>,
}

/// A message as it is staged.
#[derive(Debug, Clone, Copy)]
pub(in crate::stream) struct StagedMsg<'a> {
    pub(in crate::stream) subject: &'a [u8],
    pub(in crate::stream) headers: &'a [u8],
    pub(in crate::stream) payload: &'a [u8],
}

impl Staged {
    pub(super) fn new(place: Place, due: ElapsedNs) -> Self {
        Self { place, due, last_seq: 0, bytes: Vec::new(), msgs: Vec::new(), rolls_up: false }
    }

    fn in_flight(&self) -> &InFlight {
        &self.place.0
    }

    /// Takes a message in. Says whether there was room for it.
    pub(super) fn push(&mut self, msg: &StagedMsg<'_>) -> bool {
        let len = msg.subject.len() + msg.headers.len() + msg.payload.len();
        let staged = self.in_flight().staged_bytes.fetch_add(len, Ordering::Relaxed);
        if staged.saturating_add(len) > STAGED_MAX_BYTES {
            self.in_flight().staged_bytes.fetch_sub(len, Ordering::Relaxed);
            return false;
        }
        let mut copy = |part: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part);
            start..self.bytes.len()
        };
        let item =
            Item { subject: copy(msg.subject), headers: copy(msg.headers), payload: copy(msg.payload) };
        self.msgs.push(item);
        self.rolls_up |= header(msg.headers, ROLLUP).is_some();
        true
    }

    /// Whether a message of it rolls up others.
    pub(super) fn rolls_up(&self) -> bool {
        self.rolls_up
    }

    /// Whether it takes long to store it.
    pub(super) fn is_large(&self) -> bool {
        self.bytes.len() > LARGE_BYTES || self.msgs.len() > LARGE_MSGS
    }

    /// How many messages there are.
    pub(super) fn len(&self) -> u64 {
        self.msgs.len() as u64
    }

    /// The messages, in order.
    pub(in crate::stream) fn iter(&self) -> impl Iterator<Item = StagedMsg<'_>> {
        let part = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        self.msgs.iter().map(move |item| StagedMsg {
            subject: part(&item.subject),
            headers: part(&item.headers),
            payload: part(&item.payload),
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.in_flight().staged_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
