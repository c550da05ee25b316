//! With `sync_interval: always`: one sync serves all who wait, and nothing is said of a change before it is on the disk.
//!
//! A disk that calls back while it syncs lets other clients do things just then, so that every interleaving of
//! publishing, reading and syncing can be had without threads, by seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::store::Store;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{ApiRequest, EngineConfig, Inbound, ManualClock, Outbox, SyncPolicy};
use jetkv_testing::{CollectHost, DiskHook, Fault, HookedDisk, START_NS, Sent, SimDisk, TestEngine};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Meanwhile = Box<dyn FnMut() + Send>;

/// A disk that calls back before each sync of a file, and counts them.
#[derive(Clone)]
struct CallingDisk {
    disk: SimDisk,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
    syncs: Arc<AtomicU64>,
}

impl DiskHook for CallingDisk {
    fn sync(&self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        // Taken out meanwhile: a sync that the callback itself causes is not interrupted again. Before the sync, so
        // that what comes meanwhile may be on the disk or not.
        let early = self.disk.operations().is_multiple_of(2);
        if !early {
            sync()?;
        }
        let meanwhile = self.meanwhile.lock().take();
        if let Some(mut meanwhile) = meanwhile {
            meanwhile();
            *self.meanwhile.lock() = Some(meanwhile);
        }
        if early { sync() } else { Ok(()) }
    }
}

const CONFIG: &str = r#"{"name":"S","subjects":["k.>"],"allow_direct":true,"max_msgs_per_subject":2}"#;

fn start(seed: u64) -> (TestEngine, CallingDisk, Arc<Stream>) {
    let disk = CallingDisk { disk: SimDisk::new(seed), meanwhile: Arc::default(), syncs: Arc::default() };
    let config = EngineConfig {
        store_dir: Some("/store".into()),
        sync: SyncPolicy::Always,
        ..EngineConfig::default()
    };
    let clock = Arc::new(ManualClock::new(START_NS));
    let engine = TestEngine::on_disk(
        config,
        clock,
        Arc::new(HookedDisk::new(disk.disk.clone(), Arc::new(disk.clone()))),
    )
    .unwrap();
    assert!(engine.request("STREAM.CREATE.S", CONFIG).contains("did_create"));
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    (engine, disk, stream)
}

fn put(stream: &Stream, key: u64, reply: &str) {
    let subject = format!("k.{key}");
    let payload = format!("value of {reply}");
    stream.publish(&Inbound {
        subject: subject.as_bytes(),
        reply: reply.as_bytes(),
        headers: b"",
        payload: payload.as_bytes(),
    });
}

#[test]
fn all_who_publish_while_a_sync_runs_share_the_next_one() {
    let (engine, disk, stream) = start(1);
    put(&stream, 0, "warm up");
    stream.commit(&*engine.host);
    engine.host.sync_all();
    engine.host.take();
    let before = disk.syncs.load(Ordering::SeqCst);
    let (others, host) = (stream.clone(), engine.host.clone());
    let mut done = false;
    *disk.meanwhile.lock() = Some(Box::new(move || {
        if !std::mem::replace(&mut done, true) {
            for client in 1..32 {
                put(&others, client % 4, "r");
                others.commit(&*host);
                assert!(host.take().is_empty(), "nothing leaves while the sync decides");
            }
        }
    }));
    put(&stream, 9, "r");
    stream.commit(&*engine.host);
    assert!(engine.host.take().is_empty(), "nothing leaves before the sync");
    engine.host.sync_all();
    let acks: Vec<String> = engine.host.take().into_iter().map(|sent| sent.payload).collect();
    let wanted: Vec<String> = (2..=33).map(|seq| format!("{{\"stream\":\"S\",\"seq\":{seq}}}")).collect();
    assert_eq!(acks, wanted);
    assert_eq!(disk.syncs.load(Ordering::SeqCst) - before, 2, "32 puts");
}

#[test]
fn a_read_of_what_is_durable_does_not_wait_and_one_of_what_is_not_does() {
    let (engine, _disk, stream) = start(1);
    for key in 0..2 {
        put(&stream, key, "r");
    }
    stream.commit(&*engine.host);
    engine.host.sync_all();
    put(&stream, 1, "r");
    engine.host.take();
    let read = |what: &str, body: &str| {
        let mut out = Outbox::new();
        let _ = engine.engine.api_when_durable(
            &ApiRequest {
                account: engine.account,
                subject: format!("$JS.API.{what}").as_bytes(),
                reply: b"get",
                headers: b"",
                payload: body.as_bytes(),
                client: None,
            },
            &mut out,
        );
        out.len()
    };
    assert_eq!(read("DIRECT.GET.S.k.0", ""), 1);
    assert_eq!(read("DIRECT.GET.S.k.1", ""), 0);
    assert_eq!(read("STREAM.MSG.GET.S", r#"{"seq":3}"#), 0);
    assert!(engine.host.take().is_empty());
    stream.commit(&*engine.host);
    engine.host.sync_all();
    let to: Vec<String> = engine.host.take().into_iter().map(|sent| sent.to).collect();
    assert_eq!(to, ["r", "get", "get"], "behind the acknowledgement, in order");
    assert_eq!(read("DIRECT.GET.S.k.1", ""), 1);
}

#[test]
fn acknowledgements_leave_in_order_whichever_thread_publishes() {
    let (engine, _disk, stream) = start(1);
    engine.host.take();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for key in 0..200 {
                    put(&stream, key % 7, "r");
                    stream.commit(&*engine.host);
                    engine.host.sync_one();
                }
            });
        }
    });
    engine.host.sync_all();
    let acks: Vec<String> = engine.host.take().into_iter().map(|sent| sent.payload).collect();
    let wanted: Vec<String> = (1..=800).map(|seq| format!("{{\"stream\":\"S\",\"seq\":{seq}}}")).collect();
    assert_eq!(acks, wanted);
}

/// What clients did, and what they were told.
struct Clients {
    rng: SmallRng,
    engine: Arc<TestEngine>,
    disk: CallingDisk,
    stream: Arc<Stream>,
    /// By key, the sequences that were given; they rise with every publish.
    published: BTreeMap<u64, u64>,
    last_seq: u64,
    /// What somebody wanted removed, or what a newer value displaces.
    doomed: BTreeSet<u64>,
    /// What was said to be stored, by an acknowledgement, a delivery or a read.
    told: BTreeSet<u64>,
    /// Said to be removed.
    gone: BTreeSet<u64>,
    deletes: u64,
    checks: u64,
}

impl Clients {
    fn new(seed: u64) -> Self {
        let (engine, disk, stream) = start(seed);
        engine.host.listen("watch", None);
        let consumer = r#"{"stream_name":"S","config":{"deliver_subject":"watch","ack_policy":"none"}}"#;
        assert!(!engine.request("CONSUMER.CREATE.S", consumer).contains("error"));
        engine.host.pump_all();
        engine.host.take();
        Self {
            rng: SmallRng::seed_from_u64(seed),
            engine: Arc::new(engine),
            disk,
            stream,
            published: BTreeMap::new(),
            last_seq: 0,
            doomed: BTreeSet::new(),
            told: BTreeSet::new(),
            gone: BTreeSet::new(),
            deletes: 0,
            checks: 0,
        }
    }

    fn put(&mut self) {
        let key = self.rng.random_range(0..5);
        self.last_seq += 1;
        self.published.insert(self.last_seq, key);
        put(&self.stream, key, "ack");
        let of_key = self.published.iter().filter(|(_, of)| **of == key).map(|(seq, _)| *seq);
        let live: Vec<u64> = of_key.filter(|seq| !self.doomed.contains(seq)).collect();
        self.doomed.extend(live.iter().rev().skip(2));
    }

    fn ask(&mut self, subject: &str, reply: &str, body: &str) {
        let mut out = Outbox::new();
        let outcome = self.engine.engine.api_when_durable(
            &ApiRequest {
                account: self.engine.account,
                subject: format!("$JS.API.{subject}").as_bytes(),
                reply: reply.as_bytes(),
                headers: b"",
                payload: body.as_bytes(),
                client: None,
            },
            &mut out,
        );
        for msg in out.iter() {
            self.hear(&Sent {
                to: String::from_utf8_lossy(msg.to).into_owned(),
                subject: String::new(),
                reply: String::new(),
                headers: String::from_utf8_lossy(msg.headers).into_owned(),
                payload: String::from_utf8_lossy(msg.payload).into_owned(),
            });
        }
        if let Some(stream) = outcome.stream {
            stream.commit(&*self.engine.host);
        }
    }

    fn act(&mut self) {
        match self.rng.random_range(0..10) {
            0..5 => self.put(),
            5..7 => self.stream.commit(&*self.engine.host),
            7 => self.ask(&format!("DIRECT.GET.S.k.{}", self.last_seq % 5), "get", ""),
            8 => {
                let seq = self.rng.random_range(0..=self.last_seq);
                self.ask("STREAM.MSG.GET.S", "get", &format!("{{\"seq\":{seq}}}"));
            }
            _ if self.last_seq > 0 => {
                let seq = self.rng.random_range(1..=self.last_seq);
                self.doomed.insert(seq);
                self.deletes += 1;
                let no_erase = self.rng.random_bool(0.8);
                let body = format!("{{\"seq\":{seq},\"no_erase\":{no_erase}}}");
                self.ask("STREAM.MSG.DELETE.S", &format!("delete.{seq}"), &body);
            }
            _ => {}
        }
        self.listen();
    }

    /// Hears what was said, and holds the disk to it.
    fn listen(&mut self) {
        let sent = self.engine.host.take();
        if sent.is_empty() {
            return;
        }
        for sent in &sent {
            self.hear(sent);
        }
        self.check();
    }

    fn hear(&mut self, sent: &Sent) {
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().ok()
        };
        let after = |text: &str, mark: &str| text.split_once(mark).and_then(|(_, rest)| number(rest));
        if let Some(seq) = sent.to.strip_prefix("delete.").and_then(|seq| seq.parse().ok()) {
            if sent.payload.contains("\"success\":true") {
                self.gone.insert(seq);
            }
        } else if let Some(seq) = sent.reply.split('.').nth(5).and_then(|seq| seq.parse().ok()) {
            self.told.insert(seq);
        } else if sent.to == "ack" || sent.to == "get" {
            let seq = after(&sent.headers, "Nats-Sequence: ").or(after(&sent.payload, "\"seq\":"));
            self.told.extend(seq);
        }
    }

    fn check(&mut self) {
        self.checks += 1;
        let copy = self.disk.disk.after_power_failure(self.rng.random());
        let storage = Storage::open(Arc::new(copy), Path::new("/store"), false).unwrap();
        let mut store = storage.open_stream("$G", "S", FileOptions::default()).unwrap();
        for seq in self.told.difference(&self.doomed) {
            assert!(store.load(*seq).unwrap().is_some(), "{seq} was told of and is lost");
        }
        for seq in &self.gone {
            assert!(store.load(*seq).unwrap().is_none(), "{seq} was removed and is back");
        }
    }
}

#[test]
fn nothing_is_said_before_it_would_survive_a_power_failure() {
    for seed in 0..60 {
        let clients = Arc::new(Mutex::new(Clients::new(seed)));
        let disk = clients.lock().disk.clone();
        let host = clients.lock().engine.host.clone();
        let others = clients.clone();
        *disk.meanwhile.lock() = Some(Box::new(move || {
            // An erasure syncs by itself, in the middle of what a client does.
            let Some(mut clients) = others.try_lock() else { return };
            for _ in 0..clients.rng.random_range(0..6) {
                clients.act();
            }
        }));
        for _ in 0..80 {
            clients.lock().act();
            if clients.lock().rng.random_bool(0.3) {
                host.sync_one();
                clients.lock().listen();
            }
        }
        host.sync_all();
        let mut clients = clients.lock();
        clients.stream.commit(&*host);
        host.sync_all();
        clients.listen();
        assert_eq!(clients.told.last(), Some(&clients.last_seq), "seed {seed}: all were answered");
        assert!(clients.checks > 5 && clients.deletes > 0, "seed {seed} tests little");
        *disk.meanwhile.lock() = None;
    }
}

#[test]
fn callers_in_the_process_share_syncs_and_are_answered_when_it_is_on_the_disk() {
    const CALLERS: u64 = 16;
    let (engine, disk, stream) = start(11);
    let engine = Arc::new(engine);
    let before = disk.syncs.load(Ordering::SeqCst);
    // The disk is not ready before all have put.
    let watching = Arc::clone(&engine);
    *disk.meanwhile.lock() = Some(Box::new(move || {
        while !info(&watching).contains(&format!(r#""last_seq":{CALLERS}"#)) {
            std::thread::yield_now();
        }
    }));
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (stream, disk) = (&stream, &disk);
            scope.spawn(move || {
                let subject = format!("k.{caller}");
                let subject = subject.as_bytes();
                let msg = Inbound { subject, reply: b"", headers: b"", payload: b"v" };
                let stored = stream.publish_and_commit(&msg, &CollectHost::default());
                assert!(matches!(stored, Ok(Some(1..=CALLERS))), "{stored:?}");
                let lost = Arc::new(disk.disk.after_power_failure(caller));
                let storage = Storage::open(lost, Path::new("/store"), true).unwrap();
                let held = storage.open_stream("$G", "S", FileOptions::default()).unwrap();
                assert!(held.index().get(subject).is_some(), "answered and lost");
                stream.with_store(|store| assert!(store.index().get(subject).is_some()));
            });
        }
    });
    let syncs = disk.syncs.load(Ordering::SeqCst) - before;
    assert!((1..=2).contains(&syncs), "{syncs} syncs for {CALLERS} puts");
}

/// What the stream says of itself, asked without waiting for the disk.
fn info(engine: &TestEngine) -> String {
    let request = ApiRequest {
        account: engine.account,
        subject: b"$JS.API.STREAM.INFO.S",
        reply: b"info",
        headers: b"",
        payload: b"",
        client: None,
    };
    let mut out = Outbox::new();
    let _ = engine.engine.api(&request, &mut out);
    out.iter().map(|msg| String::from_utf8_lossy(msg.payload).into_owned()).collect()
}

/// Delivers a message to a new consumer, and gives the subject that acknowledges it.
fn deliver(engine: &TestEngine, stream: &Stream) -> String {
    let config = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    assert!(!engine.request("CONSUMER.DURABLE.CREATE.S.C", config).contains("error"));
    put(stream, 0, "r");
    stream.commit(&*engine.host);
    engine.host.sync_all();
    engine.host.listen("_INBOX.api", None);
    let sent = engine.request_all("CONSUMER.MSG.NEXT.S.C", "");
    engine.host.take();
    sent.into_iter().find(|sent| sent.reply.starts_with("$JS.ACK.")).expect("a delivery").reply
}

fn ack(engine: &TestEngine, reply: &str) -> Vec<Sent> {
    let taken = engine.control(reply, "confirmed", "+ACK");
    taken.expect("a consumer").commit(&*engine.host);
    assert!(engine.host.take().is_empty(), "nothing is confirmed before it is kept");
    engine.host.sync_all();
    engine.host.take()
}

#[test]
fn a_stream_serves_others_while_the_state_of_a_confirmed_consumer_is_synced() {
    let (engine, disk, stream) = start(3);
    let reply = deliver(&engine, &stream);
    let (others, served) = (stream.clone(), Arc::new(AtomicU64::new(0)));
    let count = served.clone();
    *disk.meanwhile.lock() = Some(Box::new(move || {
        // This waits for ever where whoever syncs holds the stream.
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            put(&others, 1, "meanwhile");
        }
    }));
    let confirmed = ack(&engine, &reply);
    *disk.meanwhile.lock() = None;
    assert!(confirmed.iter().any(|sent| sent.to == "confirmed"), "{confirmed:?}");
    assert!(served.load(Ordering::SeqCst) > 0);
    for seed in 0..20 {
        let config = EngineConfig {
            store_dir: Some("/store".into()),
            sync: SyncPolicy::Always,
            ..EngineConfig::default()
        };
        let lost = Arc::new(disk.disk.after_power_failure(seed));
        let engine = TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), lost).unwrap();
        let info = engine.request("CONSUMER.INFO.S.C", "");
        assert!(info.contains(r#""ack_floor":{"consumer_seq":1,"stream_seq":1"#), "{info}");
    }
}

#[test]
fn a_confirmation_whose_state_cannot_be_synced_stays_away_until_it_can() {
    for after in 0..5 {
        let (engine, disk, stream) = start(4);
        let reply = deliver(&engine, &stream);
        disk.disk.fail_after(after, 1, Fault::Error);
        assert!(ack(&engine, &reply).is_empty(), "{after}");
        put(&stream, 1, "put");
        stream.commit(&*engine.host);
        engine.host.sync_all();
        assert!(engine.host.take().iter().any(|sent| sent.payload.contains("\"seq\":2")), "{after}");
        let again = ack(&engine, &reply);
        assert!(again.iter().any(|sent| sent.to == "confirmed"), "{after}: {again:?}");
    }
}
