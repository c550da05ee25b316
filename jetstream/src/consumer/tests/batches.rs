//! A consumer that takes what it delivers from the index in batches delivers what one does that searches each message.

use super::bench::{Bench, Left};
use crate::consumer::PurgeNotice;
use crate::filter::Filter;
use crate::store::Store;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Store(u8, u8, usize),
    Remove(u64),
    PurgeSubject(u8, u8),
    PurgeAll,
    Pull(u64),
    /// Acknowledges the n-th delivery that was seen last, in one way or another.
    Ack(usize, u8),
    /// The first receiver hears or does not.
    Listen(bool),
    FlowReply,
    Refilter(usize),
    Reset(u64),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..4_u8, 0..6_u8, 1..40_usize).prop_map(|(a, b, times)| Op::Store(a, b, times)),
        3 => any::<u64>().prop_map(Op::Remove),
        2 => (0..4_u8, 0..6_u8).prop_map(|(a, b)| Op::PurgeSubject(a, b)),
        1 => Just(Op::PurgeAll),
        8 => (1..25_u64).prop_map(Op::Pull),
        8 => (0..6_usize, 0..4_u8).prop_map(|(back, how)| Op::Ack(back, how)),
        3 => any::<bool>().prop_map(Op::Listen),
        3 => Just(Op::FlowReply),
        2 => (0..FILTERS.len()).prop_map(Op::Refilter),
        1 => any::<u64>().prop_map(Op::Reset),
        2 => (1..8_u64).prop_map(Op::Advance),
    ]
}

const FILTERS: [&str; 4] = [
    r#""filter_subject":"s.*.2""#,
    r#""filter_subject":"s.1.>""#,
    r#""filter_subjects":["s.0.*","s.*.3"]"#,
    r#""filter_subject":"s.2.4""#,
];

/// Consumers of each kind, `@` for the filter.
const CONSUMERS: [(&str, &str); 4] = [
    (
        "C",
        r#"{"durable_name":"C","ack_policy":"explicit","max_deliver":2,"ack_wait":2000000000,"max_ack_pending":30,@}"#,
    ),
    (
        "P",
        r#"{"durable_name":"P","deliver_subject":"p","ack_policy":"none","flow_control":true,"idle_heartbeat":1000000000,@}"#,
    ),
    ("E", r#"{"durable_name":"E","deliver_subject":"e","ack_policy":"all","max_ack_pending":20,@}"#),
    ("L", r#"{"durable_name":"L","deliver_policy":"last_per_subject","ack_policy":"none",@}"#),
];

struct World {
    bench: Bench,
    left: Vec<Left>,
}

impl World {
    /// With batches of so many sequences; 0 for none.
    fn new(batch_seqs: usize) -> Self {
        let mut world = Self { bench: Bench::new(), left: Vec::new() };
        world.bench.store.batch_seqs = Some(batch_seqs);
        // Enough that it is worth while to look into the index.
        world.fill();
        for (at, (_, config)) in CONSUMERS.iter().enumerate() {
            world.bench.create(&config.replace('@', FILTERS[at % 3])).unwrap();
        }
        world
    }

    fn fill(&mut self) {
        for n in 0..1_500_u64 {
            let subject =
                if n % 50 == 0 { format!("s.{}.{}", n / 50 % 4, n / 50 % 6) } else { format!("x.{n}") };
            self.bench.store_only(&subject, &n.to_string());
        }
    }

    fn filter_of(&mut self, consumer: usize, filter: usize) {
        let (_, config) = CONSUMERS[consumer];
        self.bench.create(&config.replace('@', FILTERS[filter])).unwrap();
    }

    fn purge(&mut self, subject: Option<&str>) {
        let filter = subject.map_or(Filter::All, |subject| Filter::new([subject]));
        let mut from = 1;
        while let Some(seq) = self.bench.store.next(&filter, from).unwrap().map(|msg| msg.seq) {
            self.bench.store.remove(seq, None, false).unwrap();
            from = seq + 1;
        }
        let notice = PurgeNotice { subject: subject.map(str::as_bytes), ..PurgeNotice::default() };
        self.bench.with(|consumers, ctx| consumers.on_purged(ctx, &notice));
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Store(a, b, times) => {
                for n in 0..times {
                    let subject = if n % 4 == 0 { format!("s.{a}.{b}") } else { format!("x.{a}.{n}") };
                    self.bench.store_only(&subject, "later");
                }
            }
            Op::Remove(n) => {
                let seq = n % (self.bench.store.state().last_seq + 1);
                if self.bench.store.load(seq).unwrap().is_some() {
                    self.bench.remove(seq);
                }
            }
            Op::PurgeSubject(a, b) => self.purge(Some(&format!("s.{a}.{b}"))),
            Op::PurgeAll => {
                self.purge(None);
                self.fill();
            }
            Op::Pull(batch) => {
                self.bench.next("C", "r", &format!(r#"{{"batch":{batch},"expires":3000000000}}"#));
                self.bench.next("L", "l", &format!(r#"{{"batch":{batch},"no_wait":true}}"#));
            }
            Op::Ack(back, how) => {
                let acks = self.left.iter().rev().filter(|msg| msg.reply.starts_with("$JS.ACK"));
                let mut acks: Vec<&Left> = acks.collect();
                // Consumers take turns, and how many they need is no part of what they deliver.
                acks.sort_by_key(|msg| &msg.to);
                if let Some(reply) = acks.get(back).map(|msg| msg.reply.clone()) {
                    let how = ["+ACK", "-NAK", "+TERM", "+WPI"][usize::from(how)];
                    self.bench.control(&reply, "", how);
                }
            }
            Op::Listen(present) => ["p", "e"].into_iter().for_each(|to| {
                self.bench.interest(to, present);
                self.bench.feed();
            }),
            Op::FlowReply => {
                let asked = self.left.iter().rev().find(|msg| msg.reply.starts_with("$JS.FC"));
                if let Some(reply) = asked.map(|msg| msg.reply.clone()) {
                    self.bench.control(&reply, "", "");
                }
            }
            Op::Refilter(filter) => (0..CONSUMERS.len()).for_each(|at| self.filter_of(at, filter)),
            Op::Reset(n) => {
                let seq = n % (self.bench.store.state().last_seq + 1);
                for (name, _) in CONSUMERS {
                    self.bench.with(|consumers, ctx| consumers.reset(ctx, name, seq, None).map(|_| ()));
                }
            }
            Op::Advance(seconds) => self.bench.advance(seconds * super::bench::SECOND),
        }
        self.bench.pump();
        let left = self.bench.left();
        self.left.extend(left);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_change_nothing_of_what_is_delivered(
        batch_seqs in prop::sample::select(vec![1_usize, 3, 10, 4096]),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let (mut batched, mut plain) = (World::new(batch_seqs), World::new(0));
        for op in &ops {
            batched.apply(op);
            plain.apply(op);
            prop_assert_eq!(batched.left.len(), plain.left.len(), "after {:?}", op);
            for (name, _) in CONSUMERS {
                let told = |world: &mut World| format!("{:?}", world.bench.info(name));
                prop_assert_eq!(told(&mut batched), told(&mut plain), "after {:?}", op);
            }
        }
        for world in [&mut batched, &mut plain] {
            world.left.sort_by(|a, b| a.to.cmp(&b.to));
        }
        prop_assert_eq!(&batched.left, &plain.left);
    }
}
