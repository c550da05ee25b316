//! Steps through what a filter matches: the same as one search after the other, at the cost of what matches.

use super::*;
use crate::store::query::Visit;
use crate::store::{MemoryStore, Msg, Store, Totals};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A store that counts the messages that are looked at, and can take changes back.
#[derive(Default)]
struct Counting {
    store: MemoryStore,
    seen: usize,
    take_backs: u64,
}

impl Counting {
    fn append(&mut self, subject: &str) -> u64 {
        let seq = self.store.totals().last_seq + 1;
        let msg = Msg { seq, ts_ns: 1, subject: subject.as_bytes(), headers: b"", payload: b"" };
        self.store.append(&msg).unwrap();
        seq
    }

    /// Steps through what matches from `from` on; says what was found, and how much was looked at for it.
    fn list(&mut self, filter: &Filter, from: u64) -> (Vec<u64>, usize) {
        let (mut upcoming, mut seqs, mut from) = (Upcoming::default(), Vec::new(), from);
        self.seen = 0;
        while let Some(seq) = self.next(filter, from, &mut upcoming) {
            seqs.push(seq);
            from = seq + 1;
        }
        (seqs, self.seen + upcoming.walked)
    }

    /// Asks until there is an answer; each step looks at a bounded part.
    fn next(&mut self, filter: &Filter, from: u64, upcoming: &mut Upcoming) -> Option<u64> {
        loop {
            let (seen, walked, looked) = (self.seen, upcoming.walked, upcoming.looked);
            let ahead = next_seq(self, filter, from, upcoming).unwrap();
            assert!(self.seen - seen <= SCANS * SCAN_MSGS, "{} messages", self.seen - seen);
            // A subject with many sequences ends its part.
            let walked = upcoming.walked - walked;
            assert!(walked <= 2 * PART_NODES + 2 * BATCH_SEQS, "{walked} nodes");
            match ahead {
                Ahead::Found(seq) => return Some(seq),
                Ahead::Nothing => return None,
                Ahead::More => assert_ne!(upcoming.looked, looked),
            }
        }
    }
}

impl Sequences for Counting {
    fn subjects(&self) -> &SubjectIndex {
        Store::index(&self.store)
    }

    fn totals(&self) -> Totals {
        self.store.totals()
    }

    fn count_from(&self, from_seq: u64) -> u64 {
        self.store.count_from(from_seq)
    }

    fn take_backs(&self) -> u64 {
        self.take_backs
    }

    fn scan_up(&mut self, seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
        let seen = &mut self.seen;
        self.store.scan_up(seq, budget, &mut |index, seq, subject| {
            *seen += 1;
            visit(index, seq, subject)
        })
    }

    fn scan_down(&mut self, seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
        self.store.scan_down(seq, budget, visit)
    }
}

/// Keys `kv.<n % groups>.<n>`, one message each.
fn grouped(keys: u64, groups: u64) -> Counting {
    let mut store = Counting::default();
    for n in 0..keys {
        store.append(&format!("kv.{}.{n}", n % groups));
    }
    store
}

fn expected(store: &Counting, filter: &Filter, from: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    store.subjects().for_each(filter, |subject, _| {
        seqs.extend(store.subjects().seqs(subject).into_iter().flatten().filter(|seq| *seq >= from));
        ControlFlow::Continue(())
    });
    seqs.sort_unstable();
    seqs
}

#[test]
fn a_list_costs_what_it_matches_however_large_the_bucket_is() {
    for keys in [20_000, 100_000] {
        let mut store = grouped(keys, keys / 500);
        for filter in ["kv.7.*", "kv.7.>", "*.7.*", "kv.7.*|kv.8.*|kv.9.*"] {
            let filter = Filter::new(filter.split('|'));
            let wanted = expected(&store, &filter, 1);
            let (found, cost) = store.list(&filter, 1);
            assert_eq!(found, wanted);
            assert!(cost < 12 * wanted.len(), "{filter:?}: {cost} looks for {} of {keys}", wanted.len());
            let from = keys / 2;
            assert_eq!(store.list(&filter, from).0, expected(&store, &filter, from));
        }
    }
}

#[test]
fn a_wildcard_in_front_costs_what_may_match() {
    let mut store = Counting::default();
    for n in 0..100_000_u64 {
        store.append(&format!("kv.{}.{}", n / 100, n % 100));
    }
    let (found, cost) = store.list(&Filter::new(["kv.*.42"]), 1);
    assert_eq!(found.len(), 1_000);
    // Each of the thousand tokens in front is entered, a few nodes of each: far fewer than there are messages.
    assert!(cost < 30_000, "{cost} looks");
}

#[test]
fn wildcards_before_the_end_look_into_the_nodes_above_leaves_and_at_few_leaves() {
    for (keys, groups) in [(40_000_u64, 100), (100_000, 100)] {
        let mut store = Counting::default();
        for n in 0..keys {
            // No two of a group end alike.
            store.append(&format!("k.{}.{n}.{}", n % groups, (n / groups + n) % groups));
        }
        let filter = Filter::new(["k.*.*.7"]);
        let wanted = expected(&store, &filter, 1);
        let (rest, entered, _) = crate::steps::count(|| {
            crate::steps::begin_hold();
            let rest =
                store.subjects().walk_part(&filter, None, usize::MAX, |_, _| ControlFlow::Continue(()));
            crate::steps::end_hold();
            rest
        });
        assert_eq!(rest, None);
        // Each inner node is looked into, of which there is about one for four keys, and one leaf in sixty-four.
        assert!(entered < keys * 3 / 10, "{entered} nodes of {keys} keys");
        let (found, cost) = store.list(&filter, 1);
        assert_eq!(found, wanted);
        assert!(cost < keys as usize * 6 / 10, "{cost} looks for {} of {keys}", wanted.len());
    }
}

#[test]
fn matches_by_the_ten_thousand_take_few_walks() {
    let mut store = grouped(200_000, 20);
    let (found, cost) = store.list(&Filter::new(["kv.3.*"]), 1);
    assert_eq!(found.len(), 10_000);
    assert!(cost < 15 * found.len(), "{cost} looks");
}

#[test]
fn what_matches_nearly_all_is_not_walked_for() {
    let mut store = Counting::default();
    for n in 0..50_000_u64 {
        store.append(&format!("{}.{n}", if n % 20 == 0 { "other" } else { "kv" }));
    }
    let (found, cost) = store.list(&Filter::new(["kv.*"]), 1);
    assert_eq!(found.len(), 47_500);
    assert!(cost < 60_000, "{cost} looks");
}

#[test]
fn who_has_caught_up_looks_at_nothing_twice_and_holds_nothing() {
    let mut store = grouped(10_000, 100);
    let (filter, mut upcoming) = (Filter::new(["kv.3.*"]), Upcoming::default());
    let mut from = 1;
    while let Some(seq) = store.next(&filter, from, &mut upcoming) {
        from = seq + 1;
    }
    assert_eq!(upcoming.seqs.capacity(), 0);
    (store.seen, upcoming.walked) = (0, 0);
    for n in 0..1_000 {
        store.append(&format!("kv.4.x{n}"));
        assert_eq!(next_seq(&mut store, &filter, from, &mut upcoming).unwrap(), Ahead::Nothing);
    }
    assert!(store.seen <= 1_000, "{} messages", store.seen);
    assert_eq!(upcoming.walked, 0);
    let seq = store.append("kv.3.new");
    assert_eq!(next_seq(&mut store, &filter, from, &mut upcoming).unwrap(), Ahead::Found(seq));
}

#[test]
fn a_batch_is_bounded() {
    let mut store = grouped(100_000, 5);
    let (filter, mut upcoming) = (Filter::new(["kv.3.*"]), Upcoming::default());
    let mut from = 1;
    while let Some(seq) = store.next(&filter, from, &mut upcoming) {
        assert!(upcoming.seqs.len() <= BATCH_SEQS);
        from = seq + 1;
    }
}

#[derive(Debug, Clone)]
enum Op {
    Append(u8, u8, u8),
    Skip(u64),
    Remove(u64),
    Compact(u64),
    /// The store takes the newest messages back and gives their sequences again, under other subjects.
    TakeBack(u64),
    Step {
        cursor: usize,
        times: usize,
    },
    Ask {
        cursor: usize,
    },
    GoTo {
        cursor: usize,
        seq: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..3_u8, 0..40_u8, 1..30_u8).prop_map(|(a, b, times)| Op::Append(a, b, times)),
        1 => (1..5_u64).prop_map(Op::Skip),
        4 => any::<u64>().prop_map(Op::Remove),
        1 => any::<u64>().prop_map(Op::Compact),
        1 => (1..20_u64).prop_map(Op::TakeBack),
        6 => (0..4_usize, 1..20_usize).prop_map(|(cursor, times)| Op::Step { cursor, times }),
        2 => (0..4_usize).prop_map(|cursor| Op::Ask { cursor }),
        1 => (0..4_usize, any::<u64>()).prop_map(|(cursor, seq)| Op::GoTo { cursor, seq }),
    ]
}

/// Batches of so many sequences, taken in parts that are as small.
fn small(most: usize) -> Upcoming {
    let mut upcoming = Upcoming { price: 1, ..Upcoming::default() };
    upcoming.set_sizes(most, most, most);
    upcoming
}

/// The store, what it holds, and cursors that step through it.
struct World {
    store: Counting,
    model: BTreeMap<u64, String>,
    cursors: Vec<(Filter, u64, Upcoming)>,
    appended: u64,
}

impl World {
    fn new(most: usize) -> Self {
        let cursors = [&["a.*.9"][..], &["*.7.>"], &["b.>", "a.1*.3", "*.2.*"], &["a.>"]]
            .map(|patterns| (Filter::new(patterns), 1, small(most)));
        let (store, model) = (Counting::default(), BTreeMap::new());
        Self { store, model, cursors: cursors.into(), appended: 0 }
    }

    fn append(&mut self, a: u8, b: u8) {
        self.appended += 1;
        let subject = format!("{}.{b}.{}", ["a", "b", "c"][usize::from(a)], self.appended % 10);
        let seq = self.store.append(&subject);
        self.model.insert(seq, subject);
    }

    /// Asks as a store does: past what was removed.
    fn ask(&mut self, cursor: usize) -> Option<u64> {
        let (filter, from, upcoming) = &mut self.cursors[cursor];
        let wanted = self.model.range(*from..).find(|(_, subject)| filter.matches(subject.as_bytes()));
        let wanted = wanted.map(|(seq, _)| *seq);
        let mut at = *from;
        let found = loop {
            match self.store.next(filter, at, upcoming) {
                Some(seq) if !self.model.contains_key(&seq) => at = seq + 1,
                found => break found,
            }
        };
        assert_eq!(found, wanted, "{filter:?} from {from}");
        found
    }

    fn pick(&self, n: u64) -> u64 {
        n % (self.store.store.totals().last_seq + 2)
    }

    fn take_back(&mut self, count: u64) {
        let last_seq = self.store.store.totals().last_seq;
        let mut store = MemoryStore::new();
        self.model.retain(|seq, _| *seq + count <= last_seq);
        for (seq, subject) in &self.model {
            let msg = Msg { seq: *seq, ts_ns: 1, subject: subject.as_bytes(), headers: b"", payload: b"" };
            store.append(&msg).unwrap();
        }
        store.skip_to(last_seq.saturating_sub(count), 1).unwrap();
        self.store.store = store;
        self.store.take_backs += 1;
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append(a, b, times) => (0..times).for_each(|_| self.append(a, b)),
            Op::Skip(by) => {
                let seq = self.store.store.totals().last_seq + by;
                self.store.store.skip_to(seq, 1).unwrap();
            }
            Op::Remove(n) => {
                let seq = self.pick(n);
                self.store.store.remove(seq, None, false).unwrap();
                self.model.remove(&seq);
            }
            Op::Compact(n) => {
                let seq = self.pick(n) / 2;
                self.store.store.compact(seq).unwrap();
                self.model.retain(|held, _| *held >= seq);
            }
            Op::TakeBack(count) => self.take_back(count),
            Op::Step { cursor, times } => {
                for _ in 0..times {
                    let Some(seq) = self.ask(cursor) else { break };
                    self.cursors[cursor].1 = seq + 1;
                }
            }
            Op::Ask { cursor } => {
                self.ask(cursor);
            }
            Op::GoTo { cursor, seq } => self.cursors[cursor].1 = self.pick(seq),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn steps_find_what_searches_find_whatever_changes_between_them(
        most in prop::sample::select(vec![1_usize, 2, 7, 64]),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(most);
        for op in &ops {
            world.apply(op);
        }
        for cursor in 0..world.cursors.len() {
            while let Some(seq) = world.ask(cursor) {
                world.cursors[cursor].1 = seq + 1;
            }
        }
    }
}
