//! Every store, driven by random operations, answers as a plain map does.
//!
//! A store plugs in by a [`Subject`] that opens and reopens it, and one `proptest!` block at the end of this file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::Filter;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::index::SubjectEntry;
use jetkv_jetstream::store::{MemoryStore, Msg, Pending, Store, StoreState};
use jetkv_testing::SimDisk;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// A kind of store under test.
trait Subject {
    /// A new, empty store.
    fn open(&mut self) -> Box<dyn Store>;
    /// The same store after an orderly close and a start; a store that does not outlive the process is returned as
    /// it is.
    fn reopen(&mut self, store: Box<dyn Store>) -> Box<dyn Store>;
}

struct Memory;

impl Subject for Memory {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(MemoryStore::new())
    }

    fn reopen(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        store
    }
}

/// A file store on a disk that works, with blocks so small that everything about blocks happens.
struct File {
    storage: Storage,
    options: FileOptions,
}

impl File {
    fn new(compress: bool) -> Self {
        let disk = Arc::new(SimDisk::new(1));
        let storage = Storage::open(disk, Path::new("/store"), false).unwrap();
        Self { storage, options: FileOptions { block_size_bytes: 600, compress, fast_start_from_bytes: 0 } }
    }
}

impl Subject for File {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(self.storage.create_stream("$G", "KV_b", b"{}", self.options).unwrap())
    }

    fn reopen(&mut self, mut store: Box<dyn Store>) -> Box<dyn Store> {
        store.close().unwrap();
        Box::new(self.storage.open_stream("$G", "KV_b", self.options).unwrap())
    }
}

#[derive(Debug, Clone)]
enum Op {
    Put { subject: usize, gap: u64, headers: usize, payload: usize, elapsed_ns: i64, most: u64 },
    Skip { by: u64, ts_ns: i64 },
    Remove { pick: prop::sample::Index, knows_subject: bool, erase: bool },
    RemoveOldestOf { subject: usize },
    RemoveSubject { subject: usize },
    Compact { pick: prop::sample::Index, beyond: u64 },
    Flush,
    Sync,
    Reopen,
    Next { filter: Filter, pick: prop::sample::Index },
    Previous { filter: Filter, pick: prop::sample::Index },
    Pending { filter: Filter, pick: prop::sample::Index, last: bool },
    SeqAtTime { pick: prop::sample::Index, off_ns: i64 },
}

const SUBJECTS: [&str; 10] = [
    "$KV.b.a",
    "$KV.b.a.x",
    "$KV.b.a.y",
    "$KV.b.ab",
    "$KV.b.c.x",
    "$KV.b.c.x.z",
    "$KV.bb.a",
    "orders",
    "orders.new.1",
    "orders.new.2",
];

fn filters() -> impl Strategy<Value = Filter> {
    let patterns = [
        ">",
        "$KV.b.>",
        "$KV.>",
        "$KV.*.a",
        "$KV.b.*",
        "$KV.b.*.x",
        "$KV.b.a.>",
        "*",
        "*.new.*",
        "orders.>",
        "orders",
        "$KV.b.a",
        "$KV.b.a.x",
        "nothing.here",
        "nothing.>",
        "*.*.*.*.>",
    ];
    prop_oneof![
        1 => Just(Filter::All),
        4 => prop::sample::select(patterns.to_vec()).prop_map(|pattern| Filter::new([pattern])),
        2 => prop::sample::subsequence(patterns[1..].to_vec(), 2..4).prop_map(Filter::new),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let pick = any::<prop::sample::Index>;
    prop_oneof![
        12 => (
            0..SUBJECTS.len(),
            prop_oneof![9 => Just(0), 1 => 1..9_u64],
            0..30_usize,
            0..200_usize,
            0..50_i64,
            prop_oneof![2 => Just(u64::MAX), 1 => Just(1), 1 => 2..4_u64],
        )
            .prop_map(|(subject, gap, headers, payload, elapsed_ns, most)| Op::Put {
                subject,
                gap,
                headers: headers.saturating_sub(15),
                payload,
                elapsed_ns,
                most
            }),
        1 => (1..6_u64, prop_oneof![Just(0), 1..50_i64]).prop_map(|(by, ts_ns)| Op::Skip { by, ts_ns }),
        6 => (pick(), any::<bool>(), any::<bool>())
            .prop_map(|(pick, knows_subject, erase)| Op::Remove { pick, knows_subject, erase }),
        4 => (0..SUBJECTS.len()).prop_map(|subject| Op::RemoveOldestOf { subject }),
        1 => (0..SUBJECTS.len()).prop_map(|subject| Op::RemoveSubject { subject }),
        1 => (pick(), prop_oneof![3 => Just(0), 1 => 1..5_u64])
            .prop_map(|(pick, beyond)| Op::Compact { pick, beyond }),
        1 => Just(Op::Flush),
        1 => Just(Op::Sync),
        1 => Just(Op::Reopen),
        4 => (filters(), pick()).prop_map(|(filter, pick)| Op::Next { filter, pick }),
        4 => (filters(), pick()).prop_map(|(filter, pick)| Op::Previous { filter, pick }),
        4 => (filters(), pick(), any::<bool>())
            .prop_map(|(filter, pick, last)| Op::Pending { filter, pick, last }),
        2 => (pick(), -3..3_i64).prop_map(|(pick, off_ns)| Op::SeqAtTime { pick, off_ns }),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    ts_ns: i64,
    subject: &'static str,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

/// What a store is, in the simplest terms.
#[derive(Debug, Default)]
struct Model {
    msgs: BTreeMap<u64, Stored>,
    /// First sequence while nothing is held.
    empty_first_seq: u64,
    last_seq: u64,
    last_ts_ns: i64,
}

impl Model {
    fn state(&self, store: &dyn Store) -> StoreState {
        let size = |m: &Stored| store.msg_size(m.subject.len(), m.headers.len(), m.payload.len());
        let subjects: BTreeSet<_> = self.msgs.values().map(|m| m.subject).collect();
        let first = self.msgs.iter().next();
        StoreState {
            msgs: self.msgs.len() as u64,
            bytes: self.msgs.values().map(size).sum(),
            first_seq: first.map_or(self.empty_first_seq, |(seq, _)| *seq),
            first_ts_ns: first.map_or(0, |(_, m)| m.ts_ns),
            last_seq: self.last_seq,
            last_ts_ns: self.last_ts_ns,
            subjects: subjects.len() as u64,
        }
    }

    fn deleted(&self) -> Vec<u64> {
        let Some(first) = self.msgs.keys().next() else { return Vec::new() };
        (*first..=self.last_seq).filter(|seq| !self.msgs.contains_key(seq)).collect()
    }

    fn remove(&mut self, seq: u64) -> Option<Stored> {
        let removed = self.msgs.remove(&seq);
        if self.msgs.is_empty() && removed.is_some() {
            self.empty_first_seq = self.last_seq + 1;
        }
        removed
    }

    /// A sequence from one below the first to two above the last.
    fn pick(&self, pick: &prop::sample::Index) -> u64 {
        let low = self.msgs.keys().next().map_or(self.empty_first_seq, |seq| *seq).saturating_sub(1);
        low + pick.index(usize::try_from(self.last_seq + 3 - low).unwrap()) as u64
    }
}

struct Bench<'s> {
    model: Model,
    subject: &'s mut dyn Subject,
    store: Option<Box<dyn Store>>,
}

impl Bench<'_> {
    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap().as_mut()
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put { subject, gap, headers, payload, elapsed_ns, most } => {
                self.put(SUBJECTS[*subject], *gap, (*headers, *payload), *elapsed_ns, *most);
            }
            Op::Skip { by, ts_ns } => self.skip(*by, *ts_ns),
            Op::Remove { pick, knows_subject, erase } => {
                let seq = self.model.pick(pick);
                self.remove(seq, *knows_subject, *erase);
            }
            Op::RemoveOldestOf { subject } => {
                let oldest = self.store().index().get(SUBJECTS[*subject].as_bytes());
                if let Some(entry) = oldest {
                    self.remove(entry.first_seq, true, false);
                }
            }
            Op::RemoveSubject { subject } => {
                let all = self.model.msgs.iter().filter(|(_, m)| m.subject == SUBJECTS[*subject]);
                for seq in all.map(|(seq, _)| *seq).collect::<Vec<_>>() {
                    self.remove(seq, true, false);
                }
            }
            Op::Compact { pick, beyond } => self.compact(pick, *beyond),
            Op::Flush => self.store().flush().unwrap(),
            Op::Sync => self.store().sync().unwrap(),
            Op::Reopen => {
                let store = self.store.take().unwrap();
                self.store = Some(self.subject.reopen(store));
                self.check_all();
            }
            Op::Next { filter, pick } => self.check_next(filter, pick),
            Op::Previous { filter, pick } => self.check_previous(filter, pick),
            Op::Pending { filter, pick, last } => self.check_pending(filter, pick, *last),
            Op::SeqAtTime { pick, off_ns } => self.check_seq_at_time(pick, *off_ns),
        }
    }

    fn put(
        &mut self,
        subject: &'static str,
        gap: u64,
        (headers, payload): (usize, usize),
        elapsed_ns: i64,
        most: u64,
    ) {
        let seq = self.model.last_seq + 1 + gap;
        let ts_ns = self.model.last_ts_ns.max(1_000) + elapsed_ns;
        let headers = (0..headers).map(|n| n as u8).collect::<Vec<_>>();
        let payload = (0..payload).map(|n| (n as u64 ^ seq) as u8).collect::<Vec<_>>();
        let msg = Msg { seq, ts_ns, subject: subject.as_bytes(), headers: &headers, payload: &payload };
        let put = self.store().put(&msg, most).unwrap();
        (self.model.last_seq, self.model.last_ts_ns) = (seq, ts_ns);
        self.model.msgs.insert(seq, Stored { ts_ns, subject, headers, payload });
        let mut held: Vec<u64> =
            self.model.msgs.iter().filter(|(_, m)| m.subject == subject).map(|(seq, _)| *seq).collect();
        let replaced = (held.len() as u64 > most).then(|| held.remove(0));
        let entry = SubjectEntry { count: held.len() as u64, first_seq: held[0], last_seq: seq };
        assert_eq!((put.entry, put.replaced.unwrap().map(|removed| removed.seq)), (entry, replaced));
        if let Some(replaced) = replaced {
            self.model.remove(replaced);
            assert_eq!(self.store().load(replaced).unwrap(), None);
        }
    }

    fn skip(&mut self, by: u64, ts_ns: i64) {
        let seq = self.model.last_seq + by;
        let ts_ns = if ts_ns == 0 { 0 } else { self.model.last_ts_ns.max(1_000) + ts_ns };
        self.store().skip_to(seq, ts_ns).unwrap();
        self.model.last_seq = seq;
        if ts_ns != 0 {
            self.model.last_ts_ns = ts_ns;
        }
        if self.model.msgs.is_empty() {
            self.model.empty_first_seq = seq + 1;
        }
    }

    fn remove(&mut self, seq: u64, knows_subject: bool, erase: bool) {
        let held = self.model.remove(seq);
        let subject = held.as_ref().filter(|_| knows_subject).map(|m| m.subject.as_bytes());
        let removed = self.store().remove(seq, subject, erase).unwrap();
        let store = self.store();
        let size = held.map(|m| store.msg_size(m.subject.len(), m.headers.len(), m.payload.len()));
        assert_eq!(removed.map(|removed| (removed.seq, removed.bytes)), size.map(|size| (seq, size)));
        assert_eq!(self.store().load(seq).unwrap(), None);
    }

    fn compact(&mut self, pick: &prop::sample::Index, beyond: u64) {
        let seq = if beyond > 0 { self.model.last_seq + beyond } else { self.model.pick(pick) };
        let purged = self.store().compact(seq).unwrap();
        let state_first = self.model.msgs.keys().next().map_or(self.model.empty_first_seq, |seq| *seq);
        let kept = self.model.msgs.split_off(&seq);
        let gone = std::mem::replace(&mut self.model.msgs, kept);
        assert_eq!(purged, gone.len() as u64);
        if seq > state_first {
            self.model.last_seq = self.model.last_seq.max(seq - 1);
            self.model.empty_first_seq = self.model.last_seq + 1;
        }
    }

    fn check_next(&mut self, filter: &Filter, pick: &prop::sample::Index) {
        let from = self.model.pick(pick);
        let wanted = self.model.msgs.range(from..).find(|(_, m)| filter.matches(m.subject.as_bytes()));
        let wanted = wanted.map(|(seq, m)| (*seq, m.clone()));
        let found = self.store().next(filter, from).unwrap().map(owned);
        assert_eq!(found, wanted, "next of {filter:?} from {from}");
    }

    fn check_previous(&mut self, filter: &Filter, pick: &prop::sample::Index) {
        let upto = self.model.pick(pick);
        let mut below = self.model.msgs.range(..=upto).rev();
        let wanted = below.find(|(_, m)| filter.matches(m.subject.as_bytes()));
        let wanted = wanted.map(|(seq, m)| (*seq, m.clone()));
        let found = self.store().previous(filter, upto).unwrap().map(owned);
        assert_eq!(found, wanted, "previous of {filter:?} up to {upto}");
    }

    fn check_pending(&mut self, filter: &Filter, pick: &prop::sample::Index, last: bool) {
        let from = self.model.pick(pick);
        let newest: BTreeMap<_, _> = self.model.msgs.iter().map(|(seq, m)| (m.subject, *seq)).collect();
        let matching = self.model.msgs.range(from..).filter(|(seq, m)| {
            filter.matches(m.subject.as_bytes()) && (!last || newest.get(m.subject) == Some(seq))
        });
        let wanted = Pending { count: matching.count() as u64, through_seq: self.model.last_seq };
        let found = self.store().pending(filter, from, last).unwrap();
        assert_eq!(found, wanted, "pending of {filter:?} from {from}, last per subject: {last}");
    }

    fn check_seq_at_time(&mut self, pick: &prop::sample::Index, off_ns: i64) {
        let near = self.model.pick(pick);
        let base = self.model.msgs.range(near..).next().map_or(self.model.last_ts_ns, |(_, m)| m.ts_ns);
        let ts_ns = base + off_ns;
        let mut msgs = self.model.msgs.iter();
        let wanted = msgs.find(|(_, m)| m.ts_ns >= ts_ns).map_or(self.model.last_seq + 1, |(seq, _)| *seq);
        assert_eq!(self.store().seq_at_time(ts_ns).unwrap(), wanted);
    }

    fn check_counters(&mut self) {
        let store = self.store.as_ref().unwrap();
        assert_eq!(store.state(), self.model.state(store.as_ref()));
        assert_eq!(store.num_deleted(), self.model.deleted().len() as u64);
    }

    /// Compares everything that can be asked.
    fn check_all(&mut self) {
        self.check_counters();
        let store = self.store.as_mut().unwrap();
        assert_eq!(store.deleted(), self.model.deleted());
        for seq in 0..self.model.last_seq + 2 {
            let found = store.load(seq).unwrap().map(owned);
            assert_eq!(found, self.model.msgs.get(&seq).map(|m| (seq, m.clone())));
        }
        for subject in SUBJECTS {
            let seqs: Vec<u64> =
                self.model.msgs.iter().filter(|(_, m)| m.subject == subject).map(|(seq, _)| *seq).collect();
            let entry = store.index().get(subject.as_bytes());
            let found = entry.map(|e| (e.count, e.first_seq, e.last_seq));
            let wanted = seqs.first().map(|first| (seqs.len() as u64, *first, *seqs.last().unwrap()));
            assert_eq!(found, wanted);
        }
    }
}

fn owned(msg: Msg<'_>) -> (u64, Stored) {
    let subject = SUBJECTS.into_iter().find(|subject| subject.as_bytes() == msg.subject).unwrap();
    let (headers, payload) = (msg.headers.to_vec(), msg.payload.to_vec());
    (msg.seq, Stored { ts_ns: msg.ts_ns, subject, headers, payload })
}

fn run(subject: &mut dyn Subject, ops: &[Op]) {
    let store = Some(subject.open());
    let mut bench = Bench { model: Model::default(), subject, store };
    for op in ops {
        bench.apply(op);
        bench.check_counters();
    }
    bench.check_all();
    let store = bench.store.take().unwrap();
    bench.store = Some(bench.subject.reopen(store));
    bench.check_all();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_memory_store_answers_as_a_plain_map_does(ops in prop::collection::vec(ops(), 1..400)) {
        run(&mut Memory, &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_store_answers_as_a_plain_map_does(ops in prop::collection::vec(ops(), 1..400)) {
        run(&mut File::new(false), &ops);
    }

    #[test]
    fn a_compressing_file_store_answers_as_a_plain_map_does(ops in prop::collection::vec(ops(), 1..400)) {
        run(&mut File::new(true), &ops);
    }
}

proptest! {
    // Few but long runs, which fill more than one segment or block.
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_long_lived_memory_store_answers_as_a_plain_map_does(ops in prop::collection::vec(ops(), 5_000)) {
        run(&mut Memory, &ops);
    }

    #[test]
    fn a_long_lived_file_store_answers_as_a_plain_map_does(ops in prop::collection::vec(ops(), 2_000)) {
        run(&mut File::new(false), &ops);
    }
}
