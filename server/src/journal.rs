//! The journal of the test lab: what clients asked of the server, the latest of it.
//!
//! A server without a lab has none: connections say with the flag that tracing needs anyway whether what they read is noted.

use std::collections::VecDeque;
use std::sync::OnceLock;

use jetkv_jetstream::WallNs;
use jetkv_protocol::{ClientOp, subject};
use parking_lot::Mutex;

/// Entries that are kept; older ones go.
const ENTRIES_MAX: usize = 10_000;
/// Bytes that the entries hold together at most; the oldest go, but the latest stays.
const BYTES_MAX: usize = 8 << 20;
/// Bytes of a message that an entry holds. Of a larger one only the size is known.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// What an entry takes beside what it holds, about.
const ENTRY_BYTES: usize = 256;

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// It said who it is.
    Connect,
    /// It published.
    Pub,
    /// It subscribed.
    Sub,
    /// It took a subscription back.
    Unsub,
    /// Its connection ended.
    Close,
}

/// What a client did, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number; the first is 1.
    pub(crate) number: u64,
    /// When, by the server's clock.
    pub(crate) at: WallNs,
    pub(crate) verb: Verb,
    /// The number of the connection.
    pub(crate) client_id: u64,
    /// What the client calls itself.
    pub(crate) client: String,
    pub(crate) account: String,
    pub(crate) subject: Vec<u8>,
    pub(crate) reply: Vec<u8>,
    pub(crate) queue: Vec<u8>,
    pub(crate) sid: Vec<u8>,
    /// After how many messages a subscription ends.
    pub(crate) max: Option<u64>,
    pub(crate) headers: Vec<u8>,
    /// What was published; of CONNECT what it says, without secrets; of an end its reason.
    pub(crate) payload: Vec<u8>,
    /// Bytes of headers and payload together, as they came.
    pub(crate) size_bytes: usize,
}

/// Who did something.
pub(crate) struct Actor<'a> {
    pub(crate) at: WallNs,
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) account: &'a str,
}

/// Which entries are meant. What is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// A pattern of subjects.
    pub(crate) subject: Option<String>,
    /// What the client calls itself.
    pub(crate) client: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) verb: Option<Verb>,
    /// Only entries behind this one.
    pub(crate) after: Option<u64>,
}

impl Verb {
    /// Its name in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Pub => "PUB",
            Self::Sub => "SUB",
            Self::Unsub => "UNSUB",
            Self::Close => "CLOSE",
        }
    }

    /// The verb with this name, which may be written in any case. HPUB is PUB with headers.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let all = [Self::Connect, Self::Pub, Self::Sub, Self::Unsub, Self::Close];
        let name = if name.eq_ignore_ascii_case("HPUB") { "PUB" } else { name };
        all.into_iter().find(|verb| verb.name().eq_ignore_ascii_case(name))
    }
}

impl Entry {
    fn new(actor: Actor<'_>, verb: Verb) -> Self {
        let Actor { at, id, name, account } = actor;
        Self {
            number: 0,
            at,
            verb,
            client_id: id,
            client: name,
            account: account.to_owned(),
            subject: Vec::new(),
            reply: Vec::new(),
            queue: Vec::new(),
            sid: Vec::new(),
            max: None,
            headers: Vec::new(),
            payload: Vec::new(),
            size_bytes: 0,
        }
    }

    /// What an operation does; `None` for those that are not noted. `connect` is what a CONNECT says, without secrets.
    pub(crate) fn of(
        actor: Actor<'_>,
        op: &ClientOp<'_>,
        connect: impl FnOnce(&[u8]) -> String,
    ) -> Option<Self> {
        Some(match op {
            ClientOp::Connect(json) => {
                let payload = connect(json).into_bytes();
                let size_bytes = json.len();
                Self { size_bytes, ..Self::new(actor, Verb::Connect) }.holding(&[], &payload)
            }
            ClientOp::Pub(publish) => {
                let entry = Self::new(actor, Verb::Pub);
                let reply = publish.reply.unwrap_or_default().to_vec();
                let size_bytes = publish.size_bytes();
                Self { subject: publish.subject.to_vec(), reply, size_bytes, ..entry }
                    .holding(publish.headers, publish.payload)
            }
            ClientOp::Sub { subject, queue, sid } => {
                let (subject, queue) = (subject.to_vec(), queue.unwrap_or_default().to_vec());
                Self { subject, queue, sid: sid.to_vec(), ..Self::new(actor, Verb::Sub) }
            }
            ClientOp::Unsub { sid, max } => {
                Self { sid: sid.to_vec(), max: *max, ..Self::new(actor, Verb::Unsub) }
            }
            ClientOp::Ping | ClientOp::Pong | ClientOp::Info(_) | ClientOp::Ok | ClientOp::Err(_) => {
                return None;
            }
        })
    }

    /// The end of a connection.
    pub(crate) fn closed(actor: Actor<'_>, reason: &str) -> Self {
        Self { size_bytes: reason.len(), ..Self::new(actor, Verb::Close) }.holding(&[], reason.as_bytes())
    }

    fn holding(self, headers: &[u8], payload: &[u8]) -> Self {
        if headers.len() + payload.len() > MESSAGE_BYTES_MAX {
            return self;
        }
        Self { headers: headers.to_vec(), payload: payload.to_vec(), ..self }
    }

    /// Whether it holds all that came.
    pub(crate) fn is_whole(&self) -> bool {
        self.size_bytes <= MESSAGE_BYTES_MAX
    }

    fn bytes(&self) -> usize {
        let texts = [&self.subject, &self.reply, &self.queue, &self.sid, &self.headers, &self.payload];
        ENTRY_BYTES
            + self.client.len()
            + self.account.len()
            + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

impl Filter {
    fn meets(&self, entry: &Entry) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        self.after.is_none_or(|after| entry.number > after)
            && self.verb.is_none_or(|verb| verb == entry.verb)
            && is(&self.client, &entry.client)
            && is(&self.account, &entry.account)
            && self
                .subject
                .as_deref()
                .is_none_or(|pattern| subject::matches(&entry.subject, pattern.as_bytes()))
    }
}

#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<Entry>,
    bytes: usize,
    last_number: u64,
    dropped: u64,
    /// Somebody waits for what comes.
    is_awaited: bool,
}

/// The latest that clients did.
#[derive(Default)]
pub(crate) struct Journal {
    entries: Mutex<Entries>,
    on_entry: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Journal {
    /// Notes what a client did.
    pub(crate) fn note(&self, mut entry: Entry) {
        let mut entries = self.entries.lock();
        entries.last_number += 1;
        entry.number = entries.last_number;
        entries.bytes += entry.bytes();
        entries.kept.push_back(entry);
        while entries.kept.len() > ENTRIES_MAX || (entries.bytes > BYTES_MAX && entries.kept.len() > 1) {
            let Some(oldest) = entries.kept.pop_front() else { break };
            entries.bytes = entries.bytes.saturating_sub(oldest.bytes());
            entries.dropped += 1;
        }
        // Whoever looks says so again where that was in vain: one look is asked for, however much comes meanwhile.
        let is_awaited = std::mem::take(&mut entries.is_awaited);
        drop(entries);
        if is_awaited && let Some(told) = self.on_entry.get() {
            told();
        }
    }

    /// Has `told` called when there is something new, while somebody waits; set once.
    pub(crate) fn on_entry(&self, told: impl Fn() + Send + Sync + 'static) {
        // The lab is started once.
        let _ = self.on_entry.set(Box::new(told));
    }

    /// Says whether somebody waits for what comes.
    pub(crate) fn set_awaited(&self, is_awaited: bool) {
        self.entries.lock().is_awaited = is_awaited;
    }

    /// The latest entries that are meant, at most `limit` of them, in order.
    pub(crate) fn list(&self, filter: &Filter, limit: usize) -> Vec<Entry> {
        let entries = self.entries.lock();
        let mut found: Vec<_> =
            entries.kept.iter().rev().filter(|entry| filter.meets(entry)).take(limit).cloned().collect();
        found.reverse();
        found
    }

    /// How many entries are meant.
    pub(crate) fn count(&self, filter: &Filter) -> usize {
        self.entries.lock().kept.iter().filter(|entry| filter.meets(entry)).count()
    }

    /// How many went because there was no room, since the journal was cleared as a whole.
    pub(crate) fn dropped(&self) -> u64 {
        self.entries.lock().dropped
    }

    /// Takes the entries away that are meant; tells how many went. Numbers go on.
    pub(crate) fn clear(&self, filter: &Filter) -> usize {
        let mut entries = self.entries.lock();
        let before = entries.kept.len();
        entries.kept.retain(|entry| !filter.meets(entry));
        entries.bytes = entries.kept.iter().map(Entry::bytes).sum();
        if *filter == Filter::default() {
            entries.dropped = 0;
        }
        before - entries.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use jetkv_protocol::Publish;

    use super::*;

    fn published(client: &str, subject: &str, payload: &[u8]) -> Entry {
        let actor = Actor { at: WallNs::from_ns(1), id: 7, name: client.to_owned(), account: "$G" };
        let publish = Publish { subject: subject.as_bytes(), reply: None, headers: b"", payload };
        Entry::of(actor, &ClientOp::Pub(publish), |_| String::new()).unwrap()
    }

    fn about(subject: &str) -> Filter {
        Filter { subject: Some(subject.to_owned()), ..Filter::default() }
    }

    #[test]
    fn what_was_done_is_found_by_what_it_was() {
        let journal = Journal::default();
        for (client, subject) in [("a", "x.1"), ("b", "x.2"), ("a", "y")] {
            journal.note(published(client, subject, b"v"));
        }
        let numbers = |filter: &Filter, limit| -> Vec<u64> {
            journal.list(filter, limit).iter().map(|entry| entry.number).collect()
        };
        assert_eq!(numbers(&Filter::default(), 9), [1, 2, 3]);
        assert_eq!(numbers(&Filter::default(), 2), [2, 3]);
        assert_eq!(numbers(&about("x.*"), 9), [1, 2]);
        let client = Filter { client: Some("a".to_owned()), after: Some(1), ..Filter::default() };
        assert_eq!(numbers(&client, 9), [3]);
        let verb = Filter { verb: Verb::parse("sub"), ..Filter::default() };
        assert_eq!((journal.count(&verb), journal.count(&about(">"))), (0, 3));
        assert_eq!(journal.clear(&about("x.1")), 1);
        assert_eq!((journal.clear(&Filter::default()), journal.count(&Filter::default())), (2, 0));
        journal.note(published("a", "z", b""));
        assert_eq!(numbers(&Filter::default(), 9), [4]);
    }

    #[test]
    fn it_keeps_the_latest_within_its_bounds() {
        let journal = Journal::default();
        for _ in 0..ENTRIES_MAX + 5 {
            journal.note(published("a", "x", b""));
        }
        assert_eq!((journal.count(&Filter::default()), journal.dropped()), (ENTRIES_MAX, 5));
        assert_eq!(journal.list(&Filter::default(), 1).first().map(|entry| entry.number), Some(10_005));
        journal.clear(&Filter::default());
        let large = vec![b'v'; MESSAGE_BYTES_MAX];
        for _ in 0..200 {
            journal.note(published("a", "x", &large));
        }
        let bytes = || journal.entries.lock().bytes;
        assert!(bytes() <= BYTES_MAX);
        assert!(journal.dropped() > 70 && journal.count(&Filter::default()) > 100);
        journal.clear(&Filter::default());
        assert_eq!((bytes(), journal.dropped()), (0, 0));
        journal.note(published("a", "x", &vec![b'v'; MESSAGE_BYTES_MAX + 1]));
        let entry = journal.list(&Filter::default(), 1).pop().unwrap();
        assert!(entry.payload.is_empty() && !entry.is_whole());
        assert_eq!(entry.size_bytes, MESSAGE_BYTES_MAX + 1);
    }

    #[test]
    fn who_waits_is_told_of_what_comes() {
        let journal = Journal::default();
        let (told, heard) = std::sync::mpsc::channel();
        journal.on_entry(move || told.send(()).unwrap());
        journal.note(published("a", "x", b""));
        journal.set_awaited(true);
        journal.note(published("a", "x", b""));
        journal.set_awaited(false);
        journal.note(published("a", "x", b""));
        assert_eq!(heard.try_iter().count(), 1);
    }
}
