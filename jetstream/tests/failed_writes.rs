//! Writes and syncs that fail, at every operation: what was answered with an error is not there, what was acknowledged
//! is, and the counters say what a scan finds. `JETKV_FAULT_SEEDS` sets how many runs there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::store::StoreState;
use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{EngineConfig, Filter, Inbound, ManualClock, SyncPolicy};
use jetkv_testing::{Fault, START_NS, SimDisk, TestEngine};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;

const STREAM: &str = r#"{"name":"S","subjects":["k.>"],"allow_direct":true,"max_msgs_per_subject":2,
    "allow_rollup_hdrs":true,"max_bytes":100000,"allow_msg_ttl":true}"#;
const CONSUMER: &str = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;

type Msgs = BTreeMap<u64, (u64, String)>;

struct Bench {
    rng: SmallRng,
    disk: SimDisk,
    policy: SyncPolicy,
    engine: TestEngine,
    stream: Arc<Stream>,
    model: Msgs,
    puts: u64,
    refused: u64,
}

fn start(disk: &SimDisk, sync: SyncPolicy) -> TestEngine {
    let config = EngineConfig { store_dir: Some("/store".into()), sync, ..EngineConfig::default() };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), Arc::new(disk.clone())).unwrap()
}

impl Bench {
    fn new(seed: u64, policy: SyncPolicy) -> Self {
        let disk = SimDisk::new(seed);
        let engine = start(&disk, policy);
        assert!(engine.request("STREAM.CREATE.S", STREAM).contains("did_create"));
        assert!(!engine.request("CONSUMER.DURABLE.CREATE.S.C", CONSUMER).contains("error"));
        let stream = engine.engine.stream(engine.account, "S").unwrap();
        Self {
            rng: SmallRng::seed_from_u64(seed),
            disk,
            policy,
            engine,
            stream,
            model: Msgs::new(),
            puts: 0,
            refused: 0,
        }
    }

    fn stored(&mut self, seq: u64, key: u64, payload: String, rolls_up: bool) {
        if rolls_up {
            self.model.retain(|_, (of, _)| *of != key);
        }
        self.model.insert(seq, (key, payload));
        let of_key: Vec<u64> =
            self.model.iter().filter(|(_, (of, _))| *of == key).map(|(seq, _)| *seq).collect();
        for old in of_key.iter().rev().skip(2) {
            self.model.remove(old);
        }
    }

    /// A few publishes, committed together.
    fn put(&mut self) {
        let count = self.rng.random_range(1..4);
        let mut sent = Vec::new();
        for _ in 0..count {
            self.puts += 1;
            let (key, rolls_up) = (self.rng.random_range(0..6), self.rng.random_bool(0.1));
            let payload = format!("{}{}", self.puts, "v".repeat(self.rng.random_range(0..600)));
            let rollup = if rolls_up { "Nats-Rollup: sub\r\n" } else { "" };
            let headers = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n{rollup}\r\n", self.puts);
            self.stream.publish(&Inbound {
                subject: format!("k.{key}").as_bytes(),
                reply: format!("put.{}", self.puts).as_bytes(),
                headers: headers.as_bytes(),
                payload: payload.as_bytes(),
            });
            sent.push((format!("put.{}", self.puts), key, payload, rolls_up));
        }
        self.stream.commit(&*self.engine.host);
        self.engine.host.sync_all();
        let answers = self.engine.host.take();
        for (reply, key, payload, rolls_up) in sent {
            let answer = answers.iter().find(|answer| answer.to == reply).expect("an answer");
            if answer.payload.contains("error") {
                self.refused += 1;
                continue;
            }
            let digits = answer.payload.trim_end_matches('}').rsplit(':').next().unwrap();
            self.stored(digits.parse().unwrap(), key, payload, rolls_up);
        }
    }

    fn act(&mut self) {
        match self.rng.random_range(0..10) {
            0..7 => self.put(),
            7 => {
                let Some(seq) = self.model.keys().nth(self.rng.random_range(0..8)).copied() else { return };
                let body = format!("{{\"seq\":{seq},\"no_erase\":true}}");
                if self.engine.request("STREAM.MSG.DELETE.S", &body).contains("\"success\":true") {
                    self.model.remove(&seq);
                }
            }
            8 => {
                let key = self.rng.random_range(0..6);
                let body = format!("{{\"filter\":\"k.{key}\"}}");
                if self.engine.request("STREAM.PURGE.S", &body).contains("\"success\":true") {
                    self.model.retain(|_, (of, _)| *of != key);
                }
            }
            // Erasing and purging everything cannot be taken back half-way.
            _ if self.rng.random_bool(0.3) => {
                self.engine.request("STREAM.PURGE.S", "");
                self.model = self.scan();
            }
            _ => {
                let Some(seq) = self.model.keys().next().copied() else { return };
                self.engine.request("STREAM.MSG.DELETE.S", &format!("{{\"seq\":{seq}}}"));
                self.model.remove(&seq);
                let found = self.scan();
                if found.contains_key(&seq) {
                    self.model = found;
                }
            }
        }
    }

    fn scan(&self) -> Msgs {
        self.stream.with_store(|store| {
            let (mut msgs, mut from) = (Msgs::new(), 0);
            while let Some(msg) = store.next(&Filter::All, from).unwrap() {
                from = msg.seq + 1;
                let key = std::str::from_utf8(msg.subject).unwrap()[2..].parse().unwrap();
                msgs.insert(msg.seq, (key, String::from_utf8(msg.payload.to_vec()).unwrap()));
            }
            msgs
        })
    }

    fn check(&self, when: &str) {
        let found = self.scan();
        let keys = |msgs: &Msgs| msgs.iter().map(|(seq, (key, _))| (*seq, *key)).collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&self.model), "{when}");
        assert_eq!(found, self.model, "{when}");
        let (state, by_subject): (StoreState, u64) = self.stream.with_store(|store| {
            let count =
                |key: u64| store.index().get(format!("k.{key}").as_bytes()).map_or(0, |entry| entry.count);
            (store.state(), (0..6).map(count).sum())
        });
        assert_eq!((state.msgs, by_subject), (found.len() as u64, found.len() as u64), "{when}");
        assert_eq!(state.first_seq, found.keys().next().copied().unwrap_or(state.last_seq + 1), "{when}");
        let info = self.engine.request("CONSUMER.INFO.S.C", "");
        let pending = format!("\"num_pending\":{}", found.len());
        assert!(info.contains(&pending), "{when}: {info} says otherwise than {pending}");
    }

    /// The process dies; another one finds what was written.
    fn reopen(&mut self) {
        let before = self.stream.with_store(|store| store.state());
        self.disk.restart();
        self.engine = start(&self.disk, self.policy);
        self.stream = self.engine.engine.stream(self.engine.account, "S").unwrap();
        assert_eq!(self.stream.with_store(|store| store.state()), before);
    }
}

fn fail_everywhere(policy: SyncPolicy) {
    let mut refused = 0;
    let seeds = jetkv_testing::seeds("JETKV_FAULT_SEEDS", 50);
    for seed in 0..seeds {
        let mut bench = Bench::new(seed, policy);
        for _ in 0..5 {
            bench.act();
        }
        let fault = if seed % 2 == 0 { Fault::Full } else { Fault::Error };
        bench.disk.fail_after(seed * 7 % 40, 1 + seed % 6, fault);
        for step in 0..25 {
            bench.act();
            bench.check(&format!("seed {seed}, step {step}"));
        }
        bench.disk.restart();
        // What could not be cut while the disk failed is cut before this.
        let before = bench.model.len();
        while bench.model.len() == before {
            bench.put();
        }
        bench.check(&format!("seed {seed}, recovered"));
        bench.reopen();
        bench.check(&format!("seed {seed}, reopened"));
        refused += bench.refused;
    }
    assert!(refused > 20, "the disk hardly failed: {refused}");
}

#[test]
fn a_publish_answered_with_an_error_leaves_no_trace() {
    fail_everywhere(SyncPolicy::EveryNs(120_000_000_000));
}

#[test]
fn a_publish_whose_sync_failed_leaves_no_trace() {
    fail_everywhere(SyncPolicy::Always);
}

#[test]
fn a_full_disk_takes_purges_and_then_messages_again() {
    let mut bench = Bench::new(1, SyncPolicy::EveryNs(120_000_000_000));
    for _ in 0..5 {
        bench.put();
    }
    bench.disk.fail_after(0, u64::MAX / 2, Fault::Full);
    let held = bench.model.clone();
    for _ in 0..20 {
        bench.put();
    }
    assert_eq!(bench.model, held, "nothing is acknowledged");
    bench.check("while the disk is full");
    bench.disk.restart();
    bench.put();
    assert_ne!(bench.model, held, "there is room again");
    bench.check("afterwards");
}
