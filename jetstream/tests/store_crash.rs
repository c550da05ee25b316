//! Whatever happens to the process, the disk or the power: what was acknowledged is there, what was removed is not,
//! and no sequence is given twice. Random operations on a simulated disk, by seed; `JETKV_CRASH_SEEDS` sets how many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{Derived, FileStore, Msg, PictureTaken, PictureWork, Store, StoreError};
use jetkv_jetstream::{Cipher, Encryption, Filter};
use jetkv_testing::{Fault, SimDisk};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const KEYS: usize = 6;

type Content = (usize, Vec<u8>);

/// What is known of the store at some moment.
#[derive(Debug, Clone, Default)]
struct Moment {
    msgs: BTreeMap<u64, Content>,
    last_seq: u64,
}

struct Bench {
    rng: SmallRng,
    disk: SimDisk,
    storage: Storage,
    options: FileOptions,
    store: FileStore,
    now: Moment,
    /// As of the last promise: the last flush or, where the power may fail, the last sync.
    promised: Moment,
    /// Appended since the promise, removed again or not.
    appended: BTreeMap<u64, Content>,
    removed: BTreeSet<u64>,
    /// Keys that were removed since the promise for another reason than a newer value.
    bereft: BTreeSet<usize>,
    power: bool,
    picture: Option<Picture>,
}

/// A picture that is being taken while the store goes on.
enum Picture {
    Begun(Box<PictureWork>),
    Taken(PictureTaken),
}

fn subject(key: usize) -> String {
    format!("$KV.b.{key}")
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed ^ 0x5eed);
        let storage = Storage::open(Arc::new(disk.clone()), Path::new("/store"), true).unwrap();
        let cipher = [None, Some(Cipher::ChaCha), None, Some(Cipher::Aes), None][(seed % 5) as usize];
        let key = || "secret".to_owned();
        let encryption = cipher.map(|cipher| Encryption { key: key(), previous_key: None, cipher });
        let storage = storage.encrypted(encryption);
        let options =
            FileOptions { block_size_bytes: 400, compress: rng.random_bool(0.3), fast_start_from_bytes: 0 };
        let store = storage.create_stream("$G", "S", b"{}", options).unwrap();
        let power = rng.random_bool(0.5);
        Self {
            rng,
            disk,
            storage,
            options,
            store,
            now: Moment::default(),
            promised: Moment::default(),
            appended: BTreeMap::new(),
            removed: BTreeSet::new(),
            bereft: BTreeSet::new(),
            power,
            picture: None,
        }
    }

    fn promise(&mut self) {
        self.promised = self.now.clone();
        self.appended.clear();
        self.removed.clear();
        self.bereft.clear();
    }

    fn forget(&mut self, seq: u64) -> Option<usize> {
        self.removed.insert(seq);
        self.now.msgs.remove(&seq).map(|(key, _)| key)
    }

    fn put(&mut self) -> Result<(), StoreError> {
        let key = self.rng.random_range(0..KEYS);
        let seq = self.now.last_seq + 1 + if self.rng.random_bool(0.05) { 3 } else { 0 };
        let payload = vec![self.rng.random(); self.rng.random_range(0..90)];
        let name = subject(key);
        let ts_ns = i64::try_from(seq).unwrap() * 10;
        let msg = Msg { seq, ts_ns, subject: name.as_bytes(), headers: b"", payload: &payload };
        // What goes for it goes in the same step, or in one of its own.
        let at_once = self.rng.random_bool(0.5);
        let stored = self.store.put(&msg, if at_once { 2 } else { u64::MAX })?;
        self.now.msgs.insert(seq, (key, payload.clone()));
        self.now.last_seq = seq;
        self.appended.insert(seq, (key, payload));
        let old = self.now.msgs.iter().filter(|(_, (of, _))| *of == key).map(|(seq, _)| *seq);
        let old: Vec<u64> = old.collect();
        if old.len() > 2 {
            let removed = match at_once {
                true => stored.replaced?,
                false => self.store.remove(old[0], Some(name.as_bytes()), false)?,
            };
            assert_eq!(removed.unwrap().seq, old[0]);
            self.forget(old[0]);
        }
        Ok(())
    }

    /// Removes and purges may fail half-way; what is still held says how far they got.
    fn take_stock(&mut self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        let held: BTreeSet<u64> = {
            let mut held = BTreeSet::new();
            let mut next = 0;
            while let Some(entry) = (0..KEYS)
                .filter_map(|key| self.store.index().at_or_after(subject(key).as_bytes(), next))
                .min()
            {
                held.insert(entry);
                next = entry + 1;
            }
            held
        };
        let gone: Vec<u64> = self.now.msgs.keys().copied().filter(|seq| !held.contains(seq)).collect();
        for seq in gone {
            let key = self.forget(seq).unwrap();
            self.bereft.insert(key);
        }
        result
    }

    fn step(&mut self) -> Result<(), StoreError> {
        match self.rng.random_range(0..100) {
            0..70 => self.put(),
            70..74 => {
                let Some(seq) = self.some_seq() else { return Ok(()) };
                let erase = self.rng.random_bool(0.3);
                // Where that fails it may be removed all the same.
                self.removed.insert(seq);
                self.bereft.extend(self.now.msgs.get(&seq).map(|(key, _)| *key));
                let result = self.store.remove(seq, None, erase).map(drop);
                self.take_stock(result)
            }
            74 => {
                let Some(seq) = self.some_seq() else { return Ok(()) };
                let result = self.store.compact(seq).map(drop);
                self.take_stock(result)
            }
            75 if self.rng.random_bool(0.3) => {
                let result = self.store.compact(self.now.last_seq + 1).map(drop);
                self.take_stock(result)
            }
            76 => {
                let seq = self.now.last_seq + 2;
                self.store.skip_to(seq, 0)?;
                self.now.last_seq = seq;
                Ok(())
            }
            77..82 => {
                self.store.sync()?;
                self.promise();
                Ok(())
            }
            82 => {
                self.store.close()?;
                self.store = self.storage.open_stream("$G", "S", self.options)?;
                self.promise();
                if self.disk.is_stopped() {
                    return Err(StoreError::Poisoned("the process is dead".to_owned()));
                }
                self.check_all();
                Ok(())
            }
            83..88 => self.step_of_picture(),
            _ => {
                self.store.flush()?;
                if !self.power {
                    self.promise();
                }
                Ok(())
            }
        }
    }

    fn step_of_picture(&mut self) -> Result<(), StoreError> {
        self.picture = match self.picture.take() {
            None => {
                self.store.flush()?;
                if !self.power {
                    self.promise();
                }
                self.store.begin_picture(Derived::default()).map(|begun| Picture::Begun(Box::new(begun)))
            }
            Some(Picture::Begun(work)) => Some(Picture::Taken(work.run())),
            Some(Picture::Taken(taken)) => {
                self.store.sync()?;
                self.promise();
                // A picture that could not be taken is no failure.
                let _ = self.store.end_picture(taken);
                None
            }
        };
        Ok(())
    }

    fn some_seq(&mut self) -> Option<u64> {
        let count = self.now.msgs.len();
        if count == 0 {
            return None;
        }
        let at = self.rng.random_range(0..count);
        self.now.msgs.keys().nth(at).copied()
    }

    fn found(&mut self) -> Moment {
        let mut msgs = BTreeMap::new();
        let mut next = 0;
        while let Some(msg) = self.store.next(&Filter::All, next).unwrap() {
            next = msg.seq + 1;
            let key = std::str::from_utf8(msg.subject).unwrap().rsplit('.').next().unwrap().parse().unwrap();
            assert_eq!(msg.ts_ns, i64::try_from(msg.seq).unwrap() * 10);
            msgs.insert(msg.seq, (key, msg.payload.to_vec()));
        }
        let state = self.store.state();
        assert_eq!(state.msgs, msgs.len() as u64);
        let bytes: usize = msgs.values().map(|(key, payload)| 30 + subject(*key).len() + payload.len()).sum();
        assert_eq!(state.bytes, bytes as u64);
        assert!(self.store.damaged().is_empty(), "{:?}", self.store.damaged());
        Moment { msgs, last_seq: state.last_seq }
    }

    fn check_all(&mut self) {
        let found = self.found();
        assert_eq!(found.msgs, self.now.msgs);
        assert_eq!(found.last_seq, self.now.last_seq);
    }

    fn crash(&mut self) {
        self.picture = None;
        if self.power {
            self.disk.power_failure()
        } else {
            self.disk.restart()
        }
        self.store = self.storage.open_stream("$G", "S", self.options).unwrap();
        let found = self.found();
        for (seq, content) in &self.promised.msgs {
            let there = found.msgs.get(seq);
            assert!(
                there == Some(content) || there.is_none() && self.removed.contains(seq),
                "{seq} is lost, power {}",
                self.power
            );
        }
        for (seq, content) in &found.msgs {
            let known = self.promised.msgs.get(seq).or(self.appended.get(seq));
            assert_eq!(known, Some(content), "{seq} came from nowhere, or came back");
        }
        assert!((self.promised.last_seq..=self.now.last_seq).contains(&found.last_seq), "last sequence");
        for (key, _) in self.promised.msgs.values().filter(|(key, _)| !self.bereft.contains(key)) {
            assert!(
                found.msgs.values().any(|(of, _)| of == key),
                "key {key} has lost its old and its new value"
            );
        }
        self.now = found;
        self.promise();
        self.store = self.storage.open_stream("$G", "S", self.options).unwrap();
        self.check_all();
    }

    fn crash_after_some_operations(&mut self) {
        let operations = self.rng.random_range(1..60);
        self.disk.fail_after(operations, 1, Fault::Stop);
        for _ in 0..400 {
            if self.step().is_err() {
                break;
            }
        }
        self.crash();
    }

    fn get_over_failures(&mut self) {
        let fault = if self.rng.random_bool(0.5) { Fault::Error } else { Fault::Full };
        let (after, count) = (self.rng.random_range(0..20), self.rng.random_range(1..6));
        self.disk.fail_after(after, count, fault);
        for _ in 0..60 {
            let _ = self.step();
        }
        self.disk.restart();
        self.store.sync().expect("the store recovers with the disk");
        self.promise();
        self.check_all();
    }
}

fn seeds() -> u64 {
    jetkv_testing::seeds("JETKV_CRASH_SEEDS", 300)
}

fn run(test: impl Fn(&mut Bench)) {
    let first = std::env::var("JETKV_CRASH_FIRST").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds() {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&mut Bench::new(seed))));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn what_was_promised_survives_crashes() {
    run(|bench| (0..4).for_each(|_| bench.crash_after_some_operations()));
}

#[test]
fn a_store_gets_over_a_failing_disk_and_loses_nothing() {
    run(|bench| {
        (0..3).for_each(|_| bench.get_over_failures());
        bench.crash_after_some_operations();
    });
}
