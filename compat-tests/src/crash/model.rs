//! What a writer knows of its keys.

use super::HISTORY;
use crate::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

const KEYS_PER_WRITER: usize = 16;
/// A message may be found this long after it should have expired: timers have a grain, a server that has just started
/// must first get to it, and the machine may be slow.
const EXPIRY_GRACE: Duration = Duration::from_secs(10);

/// Longer than any run: a message whose presence is open stays open until the next look at the server.
const UNDECIDED: Duration = Duration::from_secs(86_400);

/// The operation that a message stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Delete,
    Purge,
}

/// A message as the server holds it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) seq: u64,
    pub(super) kind: Kind,
    pub(super) value: Vec<u8>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.seq, self.kind, abbreviated(&self.value))
    }
}

/// A message as its writer remembers it.
#[derive(Clone)]
struct Known {
    /// `None` while the operation is not acknowledged.
    seq: Option<u64>,
    kind: Kind,
    value: Vec<u8>,
    /// Earliest and latest moment at which it may expire.
    expires: Option<(Instant, Instant)>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expires = if self.expires.is_some() { " (may have expired)" } else { "" };
        match self.seq {
            Some(seq) => write!(f, "{seq} {:?} {}{expires}", self.kind, abbreviated(&self.value)),
            None => write!(f, "? {:?} {}{expires}", self.kind, abbreviated(&self.value)),
        }
    }
}

/// Values begin with what tells them apart; what follows only gives them length.
fn abbreviated(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('v').to_owned()
}

/// One change of a key.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Store a value, with a time to live or without.
    Put { value: Vec<u8>, ttl: Option<Duration> },
    /// Store a delete marker.
    Delete,
    /// Replace everything by a purge marker.
    Purge,
    /// Take the newest message out of the stream.
    Erase { seq: u64 },
}

/// The keys of one writer, with the operation under way.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    writer: usize,
    keys: BTreeMap<String, Vec<Known>>,
    under_way: Option<(String, Change, Instant)>,
    acknowledged: u64,
    highest_seq: u64,
    written: u64,
}

impl Ledger {
    pub(super) fn new(writer: usize) -> Self {
        let keys = (0..KEYS_PER_WRITER).map(|key| (format!("w{writer}.k{key}"), Vec::new())).collect();
        Self { writer, keys, under_way: None, acknowledged: 0, highest_seq: 0, written: 0 }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    pub(super) fn highest_seq(&self) -> u64 {
        self.highest_seq
    }

    pub(super) fn take_acknowledged(&mut self) -> u64 {
        std::mem::take(&mut self.acknowledged)
    }

    /// A value that was never written before.
    pub(super) fn fresh_value(&mut self) -> Vec<u8> {
        self.written += 1;
        let length = usize::try_from(self.written % 200).unwrap_or_default();
        format!("{}-{}-{}", self.writer, self.written, "v".repeat(length)).into_bytes()
    }

    /// The sequence of a key's newest message that cannot have expired.
    pub(super) fn newest(&self, key: &str) -> Option<u64> {
        self.keys.get(key)?.last().filter(|known| known.expires.is_none())?.seq
    }

    pub(super) fn begin(&mut self, key: &str, change: Change) {
        self.under_way = Some((key.to_owned(), change, Instant::now()));
    }

    pub(super) fn acknowledge(&mut self, seq: Option<u64>) {
        self.acknowledged += 1;
        self.highest_seq = self.highest_seq.max(seq.unwrap_or_default());
        if let Some((key, change, begun)) = self.under_way.take() {
            let known = self.keys.entry(key).or_default();
            apply(known, &change, seq, begun);
        }
    }

    /// How many messages the keys hold: at least, at most.
    pub(super) fn message_bounds(&self) -> (u64, u64) {
        let all: Vec<&Known> = self.keys.values().flatten().collect();
        let lasting = all.iter().filter(|known| known.expires.is_none()).count();
        (lasting as u64, all.len() as u64)
    }

    /// Holds what the server has of `key` against what is known, and from then on knows what the server has.
    pub(super) fn settle(&mut self, key: &str, stored: Vec<Stored>, now: Instant) -> Result<()> {
        let before = self.keys.get(key).cloned().unwrap_or_default();
        let mut candidates = vec![before.clone()];
        if self.under_way.as_ref().is_some_and(|(of, ..)| of == key)
            && let Some((_, change, begun)) = self.under_way.take()
        {
            let mut with = before.clone();
            apply(&mut with, &change, None, begun);
            candidates.push(with);
        }
        for candidate in &candidates {
            if let Some(agreed) = agree(candidate, &stored, now) {
                self.highest_seq =
                    agreed.iter().filter_map(|known| known.seq).fold(self.highest_seq, u64::max);
                self.keys.insert(key.to_owned(), agreed);
                return Ok(());
            }
        }
        Err(format!("key {key}: the server holds {stored:?}, acknowledged or under way were {candidates:?}")
            .into())
    }
}

fn apply(known: &mut Vec<Known>, change: &Change, seq: Option<u64>, begun: Instant) {
    let (kind, value, ttl) = match change {
        Change::Put { value, ttl } => (Kind::Put, value.clone(), *ttl),
        Change::Delete => (Kind::Delete, Vec::new(), None),
        Change::Purge => {
            known.clear();
            (Kind::Purge, Vec::new(), None)
        }
        Change::Erase { seq } => {
            known.retain(|known| known.seq != Some(*seq));
            return;
        }
    };
    let expires = ttl.map(|ttl| (begun + ttl, Instant::now() + ttl + EXPIRY_GRACE));
    known.push(Known { seq, kind, value, expires });
    displace(known, begun);
}

/// Drops what the history limit has certainly displaced. A message that would have stayed if a newer one had
/// expired by now may be there or not, from when the change began.
fn displace(known: &mut Vec<Known>, begun: Instant) {
    let now = Instant::now();
    let (mut alive, mut possible) = (0, 0);
    for at in (0..known.len()).rev() {
        let Some(message) = known.get_mut(at) else { continue };
        if alive >= HISTORY {
            known.remove(at);
            continue;
        }
        if message.expires.is_none_or(|(earliest, _)| earliest > now) && possible < HISTORY {
            alive += 1;
        } else if possible >= HISTORY {
            message.expires = Some((begun, now + UNDECIDED));
        }
        possible += 1;
    }
}

/// The known messages that the server holds, if every one that must be there is, and nothing else.
fn agree(known: &[Known], stored: &[Stored], now: Instant) -> Option<Vec<Known>> {
    let mut stored = stored.iter().peekable();
    let mut agreed = Vec::new();
    for known in known {
        let here = stored.next_if(|stored| {
            stored.kind == known.kind
                && stored.value == known.value
                && known.seq.is_none_or(|seq| seq == stored.seq)
        });
        match (here, known.expires) {
            (Some(_), Some((_, latest))) if now > latest => return None,
            (Some(stored), _) => agreed.push(Known { seq: Some(stored.seq), ..known.clone() }),
            (None, Some((earliest, _))) if now >= earliest => {}
            (None, _) => return None,
        }
    }
    stored.next().is_none().then_some(agreed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &str, ttl: Option<Duration>) -> Change {
        Change::Put { value: value.into(), ttl }
    }

    fn stored(seq: u64, value: &str) -> Stored {
        Stored { seq, kind: Kind::Put, value: value.into() }
    }

    #[test]
    fn a_change_under_way_may_have_displaced_a_message_before_one_that_expired() {
        for left in
            [vec![stored(2, "b"), stored(4, "d")], vec![stored(1, "a"), stored(2, "b"), stored(4, "d")]]
        {
            let mut ledger = Ledger::new(0);
            let brief = Some(Duration::ZERO);
            for (seq, change) in [(1, put("a", None)), (2, put("b", None)), (3, put("c", brief))] {
                ledger.begin("k", change);
                ledger.acknowledge(Some(seq));
            }
            ledger.begin("k", put("d", None));
            ledger.settle("k", left, Instant::now()).unwrap();
        }
    }
}
