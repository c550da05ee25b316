//! What is asked for by a filter is what a look at every message finds, whatever happened to the stream.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::filter::Filter;
use jetkv_jetstream::{EngineConfig, ManualClock};
use jetkv_testing::{START_NS, SimDisk, TestEngine, seeds};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;
/// More than one look at the index takes in.
const KEYS: u64 = 2_500;
const FILTERS: [&[&str]; 8] = [
    &["s.1.*.*"],
    &["s.*.*.7"],
    &["s.*.17.*"],
    &["s.2.>"],
    &["s.0.*.3", "s.1.*.4"],
    &["s.*.*.1", "s.*.*.2", "s.*.*.none"],
    &["s.*.*.none"],
    &["s.>"],
];

fn key(number: u64) -> String {
    format!("s.{}.{number}.{}", number % 3, number % 40)
}

/// A message that is held.
struct Held {
    subject: String,
    ts_ns: i64,
}

struct World {
    engine: TestEngine,
    clock: Arc<ManualClock>,
    disk: SimDisk,
    rng: StdRng,
    in_memory: bool,
    lists: u64,
    lagging: Lagging,
}

/// A consumer that is listened for now and then.
struct Lagging {
    filter: usize,
    /// All that matches up to here was delivered.
    through_seq: u64,
    /// Whether it may take another filter: after a restart it goes on behind what it delivered, not where it stood.
    may_change: bool,
}

fn on(disk: &SimDisk, clock: &Arc<ManualClock>) -> TestEngine {
    let config = EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
    TestEngine::on_disk(config, clock.clone(), Arc::new(disk.clone())).unwrap()
}

fn listed(filter: usize) -> String {
    FILTERS[filter].iter().map(|pattern| format!("\"{pattern}\"")).collect::<Vec<_>>().join(",")
}

fn number(answer: &str, name: &str) -> u64 {
    let rest = answer.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("{name} in {answer}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let (disk, clock) = (SimDisk::new(seed), Arc::new(ManualClock::new(START_NS)));
        let mut rng = StdRng::seed_from_u64(seed);
        let in_memory = rng.random_ratio(1, 3);
        let engine = on(&disk, &clock);
        let storage = if in_memory { "memory" } else { "file" };
        let history = rng.random_range(1..4);
        let config = format!(
            r#"{{"name":"S","subjects":["s.>"],"storage":"{storage}","max_msgs_per_subject":{history},
                "allow_rollup_hdrs":true,"allow_msg_ttl":true,"allow_direct":true}}"#
        );
        let answer = engine.request("STREAM.CREATE.S", &config);
        assert!(answer.contains("did_create"), "{answer}");
        let lagging = Lagging { filter: 0, through_seq: 0, may_change: true };
        let mut world = Self { engine, clock, disk, rng, in_memory, lists: 0, lagging };
        world.update_lagging(0);
        for number in 0..KEYS {
            world.engine.publish(&key(number), &[], "first");
        }
        world
    }

    fn update_lagging(&mut self, filter: usize) {
        let config = format!(
            r#"{{"stream_name":"S","config":{{"durable_name":"L","deliver_subject":"lagging","ack_policy":"none",
                "filter_subjects":[{}]}}}}"#,
            listed(filter)
        );
        let answer = self.engine.request("CONSUMER.DURABLE.CREATE.S.L", &config);
        assert!(answer.contains("\"num_pending\""), "{answer}");
        self.lagging.filter = filter;
    }

    /// Looks at every message.
    fn held(&self) -> BTreeMap<u64, Held> {
        let stream = self.engine.engine.stream(self.engine.account, "S").unwrap();
        stream.with_store(|store| {
            let totals = store.totals();
            let mut held = BTreeMap::new();
            for seq in totals.first_seq..=totals.last_seq {
                if let Some(msg) = store.load(seq).unwrap() {
                    let subject = String::from_utf8(msg.subject.to_vec()).unwrap();
                    held.insert(seq, Held { subject, ts_ns: msg.ts_ns });
                }
            }
            held
        })
    }

    fn last_seq(&self) -> u64 {
        number(&self.engine.request("STREAM.INFO.S", ""), "last_seq")
    }

    fn change(&mut self) {
        let times = self.rng.random_range(1..150);
        match self.rng.random_range(0..10) {
            0..3 => (0..times).for_each(|_| self.publish(&[])),
            3 => (0..times).for_each(|_| self.publish(&[("Nats-Rollup", "sub")])),
            4 => {
                let ttl = self.rng.random_range(1..6).to_string();
                (0..times).for_each(|_| self.publish(&[("Nats-TTL", &ttl)]));
            }
            5 => {
                let last_seq = self.last_seq();
                for _ in 0..times {
                    let seq = self.rng.random_range(0..=last_seq);
                    self.engine.request("STREAM.MSG.DELETE.S", &format!(r#"{{"seq":{seq}}}"#));
                }
            }
            6 => {
                let pattern =
                    ["s.*.*.7", "s.1.*.4", "s.*.*.none", "s.2.*.*", "s.0.3.3"][self.rng.random_range(0..5)];
                let bound = match self.rng.random_range(0..3) {
                    0 => String::new(),
                    1 => format!(r#","keep":{}"#, self.rng.random_range(1..100)),
                    _ => format!(r#","seq":{}"#, self.rng.random_range(1..KEYS)),
                };
                self.engine.request("STREAM.PURGE.S", &format!(r#"{{"filter":"{pattern}"{bound}}}"#));
                // As on nats-server, consumers pass over what lies before the first message that such a purge leaves.
                self.engine.request("CONSUMER.DELETE.S.L", "");
                self.lagging = Lagging { through_seq: 0, may_change: true, ..self.lagging };
                self.update_lagging(self.lagging.filter);
            }
            7 => {
                self.engine.advance_ns(self.rng.random_range(1..4) * SECOND_NS);
            }
            8 if self.lagging.may_change => {
                let filter = self.rng.random_range(0..FILTERS.len());
                self.update_lagging(filter);
            }
            9 if !self.in_memory => {
                self.engine.engine.shutdown();
                self.engine = on(&self.disk, &self.clock);
                self.lagging.may_change = false;
            }
            _ => {}
        }
        self.engine.host.pump_all();
        self.engine.host.take();
    }

    fn publish(&mut self, headers: &[(&str, &str)]) {
        let number = self.rng.random_range(0..KEYS);
        self.engine.publish(&key(number), headers, "later");
    }

    /// The sequences that were sent to `to`, and what each said is pending.
    fn delivered(&self, to: &str) -> Vec<(u64, u64)> {
        self.engine.host.pump_all();
        let sent = self.engine.host.take().into_iter().filter(|sent| sent.to == to);
        let number = |token: Option<&str>| token.and_then(|token| token.parse().ok()).unwrap();
        sent.map(|sent| {
            let mut tokens = sent.reply.split('.');
            (number(tokens.nth(5)), number(tokens.next_back()))
        })
        .collect()
    }

    fn assert_delivered(&self, to: &str, wanted: &[u64], what: &str) {
        let left = (0..wanted.len() as u64).rev();
        let wanted: Vec<(u64, u64)> = wanted.iter().copied().zip(left).collect();
        assert_eq!(self.delivered(to), wanted, "{what}");
    }

    /// Lists by a consumer that begins in one way or another.
    fn list(&mut self) {
        let (held, at) = (self.held(), self.rng.random_range(0..FILTERS.len()));
        let filter = Filter::new(FILTERS[at]);
        let matching: Vec<(u64, &Held)> = held
            .iter()
            .filter(|(_, msg)| filter.matches(msg.subject.as_bytes()))
            .map(|(seq, msg)| (*seq, msg))
            .collect();
        let mut seqs: Vec<u64> = matching.iter().map(|(seq, _)| *seq).collect();
        let begin = match self.rng.random_range(0..6) {
            0 => r#""deliver_policy":"all""#.to_owned(),
            1 => {
                seqs.drain(..seqs.len().saturating_sub(1));
                r#""deliver_policy":"last""#.to_owned()
            }
            2 => {
                let lasts: BTreeMap<&str, u64> =
                    matching.iter().map(|(seq, msg)| (&*msg.subject, *seq)).collect();
                seqs = lasts.into_values().collect::<BTreeSet<u64>>().into_iter().collect();
                r#""deliver_policy":"last_per_subject""#.to_owned()
            }
            3 => {
                let from = self.rng.random_range(1..=self.last_seq());
                seqs.retain(|seq| *seq >= from);
                format!(r#""deliver_policy":"by_start_sequence","opt_start_seq":{from}"#)
            }
            4 => {
                let seconds = self.rng.random_range(0..20);
                let from_ns = START_NS.ns() + i64::from(seconds) * SECOND_NS as i64;
                seqs = matching.iter().filter(|(_, msg)| msg.ts_ns >= from_ns).map(|(seq, _)| *seq).collect();
                format!(
                    r#""deliver_policy":"by_start_time","opt_start_time":"2023-11-14T22:13:{}Z""#,
                    20 + seconds
                )
            }
            _ => {
                seqs.clear();
                r#""deliver_policy":"new""#.to_owned()
            }
        };
        self.lists += 1;
        let to = format!("list.{}", self.lists);
        self.engine.host.listen(&to, None);
        let config = format!(
            r#"{{"stream_name":"S","config":{{"name":"C","deliver_subject":"{to}","ack_policy":"none",
                "filter_subjects":[{}],{begin}}}}}"#,
            listed(at)
        );
        let answer = self.engine.request("CONSUMER.CREATE.S.C", &config);
        assert_eq!(number(&answer, "num_pending"), seqs.len() as u64, "{config}");
        self.assert_delivered(&to, &seqs, &config);
        self.engine.request("CONSUMER.DELETE.S.C", "");
        self.engine.host.unlisten(&to, None);
    }

    /// Direct gets in a batch, and the subjects that match.
    fn get(&mut self) {
        let held = self.held();
        let pattern = FILTERS[self.rng.random_range(0..FILTERS.len())][0];
        let (filter, from) = (Filter::new([pattern]), self.rng.random_range(1..KEYS));
        let matching = held.iter().filter(|(_, msg)| filter.matches(msg.subject.as_bytes()));
        let subjects: BTreeSet<&str> = matching.clone().map(|(_, msg)| &*msg.subject).collect();
        let wanted: Vec<u64> = matching.map(|(seq, _)| *seq).filter(|seq| *seq >= from).collect();
        let body = format!(r#"{{"seq":{from},"batch":100000,"next_by_subj":"{pattern}"}}"#);
        let answers = self.engine.request_all("DIRECT.GET.S", &body);
        let seq_of = |headers: &str| headers.split("Nats-Sequence: ").nth(1)?.lines().next()?.parse().ok();
        let got: Vec<u64> = answers.iter().filter_map(|answer| seq_of(&answer.headers)).collect();
        assert_eq!(got, wanted, "{body}");
        let info = self.engine.request("STREAM.INFO.S", &format!(r#"{{"subjects_filter":"{pattern}"}}"#));
        let told = info
            .split("\"subjects\":{")
            .nth(1)
            .map_or(0, |rest| rest.split('}').next().unwrap().matches("\":").count());
        assert_eq!(told, subjects.len(), "{pattern}");
    }

    /// Listens to the consumer that lags until it has caught up.
    fn catch_up(&mut self) {
        let Lagging { filter: at, through_seq, .. } = self.lagging;
        let filter = Filter::new(FILTERS[at]);
        let held = self.held();
        let ahead = held.range(through_seq + 1..).filter(|(_, msg)| filter.matches(msg.subject.as_bytes()));
        let wanted: Vec<u64> = ahead.map(|(seq, _)| *seq).collect();
        let info = self.engine.request("CONSUMER.INFO.S.L", "");
        assert_eq!(number(&info, "num_pending"), wanted.len() as u64, "{at}");
        self.engine.host.listen("lagging", None);
        self.engine.interest_changed("lagging", true);
        self.assert_delivered("lagging", &wanted, "lagging");
        self.engine.host.unlisten("lagging", None);
        self.engine.interest_changed("lagging", false);
        self.lagging.through_seq = self.last_seq();
        self.lagging.may_change = true;
    }
}

#[test]
fn lists_bring_what_a_look_at_every_message_finds() {
    for seed in 0..seeds("LISTS_SEEDS", 5) {
        let mut world = World::new(seed);
        for _ in 0..10 {
            for _ in 0..world.rng.random_range(0..4) {
                world.change();
            }
            match world.rng.random_range(0..6) {
                0 => world.get(),
                1 => world.catch_up(),
                _ => world.list(),
            }
        }
        world.catch_up();
    }
}
