//! A start with what an orderly stop left finds what a start without it finds, whatever happened in between.
//! `JETKV_CRASH_SEEDS` sets how many runs there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::Filter;
use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{Derived, FileStore, Msg, PictureTaken, Store, StoreState};
use jetkv_jetstream::{
    AccountId, AccountLimits, Engine, EngineConfig, EngineError, ManualClock, RecoveryReport,
};
use jetkv_testing::{CollectHost, Fault, START_NS, SimDisk, TestEngine};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KEYS: u64 = 40;

fn msgs_dir() -> PathBuf {
    "/store/jetstream/$G/streams/S/msgs".into()
}

fn side_file() -> PathBuf {
    msgs_dir().join("jetkv.db")
}

fn open(disk: &SimDisk, options: FileOptions) -> FileStore {
    let storage = Storage::open(Arc::new(disk.clone()), Path::new("/store"), false).unwrap();
    storage.open_stream("$G", "S", options).unwrap()
}

fn create(disk: &SimDisk, options: FileOptions) -> FileStore {
    let storage = Storage::open(Arc::new(disk.clone()), Path::new("/store"), false).unwrap();
    storage.create_stream("$G", "S", b"{}", options).unwrap()
}

fn subject(key: u64) -> String {
    format!("$KV.bucket.key.{key}")
}

/// Puts, overwrites and removals, some of them flushed, some synced.
fn work(store: &mut FileStore, rng: &mut SmallRng, ttls: &mut BTreeMap<u64, i64>, steps: usize) {
    let often = if rng.random_bool(0.5) { 0.3 } else { 0.01 };
    for _ in 0..steps {
        let state = store.state();
        let key = subject(rng.random_range(0..KEYS));
        match rng.random_range(0..100) {
            0..78 => {
                let seq = state.last_seq + 1;
                let payload = vec![b'v'; rng.random_range(0..80)];
                let ts_ns = i64::try_from(seq).unwrap() * 10;
                let secs = if rng.random_bool(often) { rng.random_range(1..100) } else { 0 };
                let headers = match secs {
                    0 => String::new(),
                    // Of the value of one it is not told when it expires: it never does.
                    99 => "NATS/1.0\r\nNats-TTL: never\r\n\r\n".to_owned(),
                    secs => format!("NATS/1.0\r\nNats-TTL: {secs}\r\n\r\n"),
                };
                // A sequence may be given again after a power failure.
                ttls.remove(&seq);
                if (1..99).contains(&secs) {
                    ttls.insert(seq, ts_ns + secs * 1_000_000_000);
                }
                let headers = headers.as_bytes();
                let msg = Msg { seq, ts_ns, subject: key.as_bytes(), headers, payload: &payload };
                store.append(&msg).unwrap();
                let entry = store.index().get(key.as_bytes()).unwrap();
                if entry.count > 3 {
                    store.remove(entry.first_seq, Some(key.as_bytes()), false).unwrap();
                }
            }
            78..88 => {
                let seq = rng.random_range(0..=state.last_seq);
                store.remove(seq, None, rng.random_bool(0.2)).unwrap();
            }
            88 => drop(store.compact(state.first_seq + rng.random_range(0..5)).unwrap()),
            89 => store.skip_to(state.last_seq + 3, 0).unwrap(),
            90..95 => store.sync().unwrap(),
            _ => store.flush().unwrap(),
        }
    }
}

type Content = BTreeMap<u64, (String, i64, Vec<u8>)>;

/// All that can be asked.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    content: Content,
    state: StoreState,
    by_subject: BTreeMap<u64, Vec<u64>>,
    deleted: Vec<u64>,
    expiries: Vec<(u64, i64)>,
}

fn found(mut store: FileStore) -> Found {
    let (mut content, mut from) = (Content::new(), 0);
    while let Some(msg) = store.next(&Filter::All, from).unwrap() {
        from = msg.seq + 1;
        let name = String::from_utf8(msg.subject.to_vec()).unwrap();
        content.insert(msg.seq, (name, msg.ts_ns, msg.payload.to_vec()));
    }
    let seqs = |key: u64| {
        store.index().seqs(subject(key).as_bytes()).map(|seqs| seqs.iter().collect()).unwrap_or_default()
    };
    let by_subject = (0..KEYS).map(|key| (key, seqs(key))).collect();
    let (state, deleted) = (store.state(), store.deleted());
    Found { content, state, by_subject, deleted, expiries: store.take_recovered_expiries() }
}

fn damage(disk: &SimDisk, rng: &mut SmallRng) {
    let entries = disk.list(&msgs_dir()).unwrap();
    let blocks: Vec<_> = entries.iter().filter(|entry| entry.name.ends_with(".blk")).collect();
    if blocks.is_empty() {
        return;
    }
    let block = &blocks[rng.random_range(0..blocks.len())];
    let flip = |name: &str, rng: &mut SmallRng| {
        if let Some(entry) = entries.iter().find(|entry| entry.name == name && entry.size_bytes > 0) {
            let bits = usize::try_from(entry.size_bytes).unwrap() * 8;
            // What was not synced has the bit only where it is read.
            let _ = disk.flip_bit(&entry.path, rng.random_range(0..bits));
        }
    };
    match rng.random_range(0..8) {
        0 => flip("jetkv.db", rng),
        1 => flip("index.db", rng),
        2 => drop(disk.remove_file(&msgs_dir().join("index.db"))),
        3 => drop(disk.remove_file(&block.path)),
        4 => {
            let size = rng.random_range(0..=block.size_bytes);
            disk.open(&block.path, false).unwrap().set_len(size).unwrap();
        }
        _ => {}
    }
}

#[test]
fn a_start_finds_the_same_with_and_without_what_was_noted() {
    let (mut used, mut expiring) = (0, 0);
    let seeds = jetkv_testing::seeds("JETKV_CRASH_SEEDS", 25);
    for seed in 0..seeds {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let options =
            FileOptions { block_size_bytes: 1500, compress: rng.random_bool(0.3), fast_start_from_bytes: 0 };
        let mut store = create(&disk, options);
        let mut ttls = BTreeMap::new();
        for round in 0..5 {
            let steps = rng.random_range(0..300);
            work(&mut store, &mut rng, &mut ttls, steps);
            // An owner that does not know the expiries leaves them to be read.
            let knows = rng.random_bool(0.8);
            if knows {
                let expiries = ttls.iter().map(|(seq, at_ns)| (*seq, *at_ns)).collect();
                store.note_derived(Derived { expiries: Some(expiries), ids_from: None });
            }
            store.close().unwrap();
            used += u32::from(disk.list(&msgs_dir()).unwrap().iter().any(|entry| entry.name == "jetkv.db"));
            if rng.random_bool(0.6) {
                store = open(&disk, options);
                let steps = rng.random_range(0..100);
                work(&mut store, &mut rng, &mut ttls, steps);
                drop(store);
                if rng.random_bool(0.4) {
                    disk.power_failure();
                }
            }
            damage(&disk, &mut rng);
            let without = disk.clone_of();
            drop(without.remove_file(&side_file()));
            let same = disk.clone_of();
            let (with, without) = (found(open(&same, options)), found(open(&without, options)));
            let place = format!("seed {seed}, round {round}");
            let only = |a: &Found, b: &Found| {
                a.content.keys().filter(|seq| !b.content.contains_key(seq)).copied().collect::<Vec<_>>()
            };
            assert_eq!((only(&with, &without), only(&without, &with)), (vec![], vec![]), "{place}");
            assert_eq!(with, without, "{place}");
            expiring += with.expiries.len();
            store = open(&disk, options);
            ttls = store.take_recovered_expiries().into_iter().collect();
        }
    }
    assert!(used > 40, "hardly anything was noted: {used}");
    assert!(expiring > 200, "hardly anything expired: {expiring}");
}

/// Counts nothing but what is read of blocks as a whole.
#[test]
fn after_an_orderly_stop_no_block_is_read_and_after_a_kill_only_the_last_ones() {
    let disk = SimDisk::new(1);
    let options = FileOptions { block_size_bytes: 4000, compress: false, fast_start_from_bytes: 0 };
    let mut store = create(&disk, options);
    let put = |store: &mut FileStore, seq: u64| {
        let name = format!("$KV.b.{seq}");
        // Those that expire are in no way slower.
        let headers: &[u8] = if seq.is_multiple_of(2) { b"NATS/1.0\r\nNats-TTL: 60\r\n\r\n" } else { b"" };
        let msg = Msg { seq, ts_ns: 1, subject: name.as_bytes(), headers, payload: &[b'v'; 100] };
        store.append(&msg).unwrap();
    };
    (1..=500).for_each(|seq| put(&mut store, seq));
    let expiries = (1..=250).map(|half| (half * 2, 60_000_000_001)).collect();
    store.note_derived(Derived { expiries: Some(expiries), ids_from: None });
    store.close().unwrap();
    // A block that nobody reads need not be readable: one that is damaged in its middle is not noticed.
    let blocks = store.num_blocks();
    assert!(blocks > 10);
    for index in 1..=blocks {
        disk.flip_bit(&msgs_dir().join(format!("{index}.blk")), 8 * 200).unwrap();
    }
    let mut store = open(&disk, options);
    assert_eq!(store.state().msgs, 500);
    assert!(store.damaged().is_empty());
    assert_eq!(store.take_recovered_expiries().len(), 250);
    drop(store);
    let mut store = open(&disk, options);
    (501..=600).for_each(|seq| put(&mut store, seq));
    store.flush().unwrap();
    drop(store);
    let store = open(&disk, options);
    assert_eq!(store.damaged().len(), 1, "of the old blocks only the last one was read");
    assert_eq!(store.state().msgs, 599);
}

/// What pictures in these tests say, by which it shows that they were used.
const IDS_FROM: Option<(u64, i64)> = Some((1, 7));

fn derived(ttls: &BTreeMap<u64, i64>) -> Derived {
    Derived { expiries: Some(ttls.iter().map(|(seq, at_ns)| (*seq, *at_ns)).collect()), ids_from: IDS_FROM }
}

/// Takes a picture while the store goes on, and puts it in its place. Gives the file.
fn picture(
    disk: &SimDisk,
    store: &mut FileStore,
    rng: &mut SmallRng,
    ttls: &mut BTreeMap<u64, i64>,
) -> Option<Vec<u8>> {
    store.flush().unwrap();
    let begun = store.begin_picture(derived(ttls))?;
    let steps = rng.random_range(0..40);
    work(store, rng, ttls, steps);
    let taken = begun.run();
    let steps = rng.random_range(0..40);
    work(store, rng, ttls, steps);
    store.sync().unwrap();
    store.end_picture(taken).unwrap();
    disk.read(&side_file()).ok()
}

/// The file as a crash, another server, or nobody would leave it.
fn variants(rng: &mut SmallRng, pictures: &[Vec<u8>], foreign: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut variants = vec![("foreign", foreign.to_vec()), ("empty", Vec::new())];
    for _ in 0..3 {
        if let Some(of_some_age) = pictures.get(rng.random_range(0..pictures.len().max(1))) {
            variants.push(("old", of_some_age.clone()));
            let mut torn = of_some_age.clone();
            torn.truncate(rng.random_range(0..torn.len()));
            variants.push(("torn", torn.clone()));
            torn.resize(of_some_age.len(), 0);
            variants.push(("torn, with zeros", torn));
            let mut flipped = of_some_age.clone();
            let bit = rng.random_range(0..flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            variants.push(("with a bit flipped", flipped));
            variants.push(("followed by something", [of_some_age.as_slice(), b"x"].concat()));
        }
    }
    variants
}

#[test]
fn a_start_finds_the_same_with_a_picture_of_any_age_and_with_one_that_is_torn_or_foreign() {
    let (mut used, mut expiring) = (0, 0);
    for seed in 0..jetkv_testing::seeds("JETKV_CRASH_SEEDS", 12) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let options =
            FileOptions { block_size_bytes: 1500, compress: rng.random_bool(0.3), fast_start_from_bytes: 0 };
        let (other, mut ttls) = (SimDisk::new(seed + 1), BTreeMap::new());
        let mut store = create(&other, options);
        work(&mut store, &mut rng, &mut ttls, 200);
        let foreign = picture(&other, &mut store, &mut rng, &mut ttls).unwrap_or_default();
        let (disk, mut ttls, mut pictures) = (SimDisk::new(seed), BTreeMap::new(), Vec::new());
        let mut store = create(&disk, options);
        for round in 0..5 {
            for _ in 0..rng.random_range(0..3) {
                let steps = rng.random_range(0..150);
                work(&mut store, &mut rng, &mut ttls, steps);
                pictures.extend(picture(&disk, &mut store, &mut rng, &mut ttls));
            }
            let steps = rng.random_range(0..150);
            work(&mut store, &mut rng, &mut ttls, steps);
            match rng.random_range(0..6) {
                0 => {
                    store.note_derived(derived(&ttls));
                    store.close().unwrap();
                }
                1..3 => {
                    drop(store);
                    disk.power_failure();
                }
                _ => drop(store),
            }
            let without = disk.clone_of();
            drop(without.remove_file(&side_file()));
            let without = found(open(&without, options));
            let mut files = variants(&mut rng, &pictures, &foreign);
            files.extend(disk.read(&side_file()).ok().map(|file| ("as it was left", file)));
            for (kind, file) in files {
                let same = disk.clone_of();
                // A power failure may have left no stream at all.
                same.create_dir_all(&msgs_dir()).unwrap();
                same.replace(&side_file(), &file, false).unwrap();
                let store = open(&same, options);
                let is_used = store.recovered().ids_window_ns == IDS_FROM.map(|(_, window_ns)| window_ns);
                used += usize::from(is_used);
                assert!(!is_used || ["old", "as it was left"].contains(&kind), "seed {seed}, {kind}");
                let with = found(store);
                expiring += with.expiries.len();
                assert_eq!(with, without, "seed {seed}, round {round}, a picture that is {kind}");
            }
            store = open(&disk, options);
            ttls = store.take_recovered_expiries().into_iter().collect();
        }
    }
    assert!(used > 20, "hardly any picture was used: {used}");
    assert!(expiring > 50, "hardly anything expired: {expiring}");
}

fn small_store(disk: &SimDisk) -> FileStore {
    let options = FileOptions { block_size_bytes: 400, compress: false, fast_start_from_bytes: 0 };
    let mut store = create(disk, options);
    (1..=40).for_each(|seq| put_small(&mut store, seq));
    store.sync().unwrap();
    store
}

fn put_small(store: &mut FileStore, seq: u64) {
    let msg = Msg { seq, ts_ns: 1, subject: b"a.b", headers: b"", payload: &[b'v'; 50] };
    store.append(&msg).unwrap();
}

fn take(store: &mut FileStore) -> PictureTaken {
    store.begin_picture(Derived::default()).unwrap().run()
}

fn names(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(&msgs_dir()).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with("jetkv")).collect()
}

#[test]
fn a_picture_that_shows_what_was_taken_back_or_is_not_the_last_is_not_put_in_place() {
    let disk = SimDisk::new(1);
    let mut store = small_store(&disk);
    put_small(&mut store, 41);
    store.flush().unwrap();
    let taken = take(&mut store);
    disk.fail_after(0, u64::MAX, Fault::Error);
    store.sync().unwrap_err();
    store.roll_back();
    disk.restart();
    store.sync().unwrap();
    store.end_picture(taken).unwrap();
    assert!(names(&disk).is_empty());
    let before = take(&mut store);
    let last = take(&mut store);
    store.end_picture(before).unwrap();
    assert_eq!(names(&disk), ["jetkv.db.new"]);
    store.end_picture(last).unwrap();
    assert_eq!(names(&disk), ["jetkv.db"]);
}

#[test]
fn a_picture_for_which_there_is_no_room_leaves_nothing_and_fails_no_put() {
    let disk = SimDisk::new(1);
    let mut store = small_store(&disk);
    for after in 0..4 {
        let begun = store.begin_picture(Derived::default()).unwrap();
        disk.fail_after(after, u64::MAX, Fault::Full);
        let taken = begun.run();
        disk.restart();
        let seq = 41 + after;
        put_small(&mut store, seq);
        store.sync().unwrap();
        let was_written = store.end_picture(taken).is_ok();
        assert_eq!(names(&disk), if was_written { &["jetkv.db"][..] } else { &[] }, "after {after}");
        assert!(after > 2 || !was_written);
        assert_eq!(store.state().last_seq, seq);
    }
}

#[test]
fn an_engine_takes_pictures_while_it_runs_and_a_start_after_a_crash_finds_all_there_is() {
    let disk = SimDisk::new(1);
    let start = |disk: &SimDisk| {
        let config = EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
        TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), Arc::new(disk.clone())).unwrap()
    };
    let engine = start(&disk);
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"file","max_msgs_per_subject":1}"#;
    assert!(engine.request("STREAM.CREATE.S", config).contains("did_create"));
    let payload = "v".repeat(512 << 10);
    let mut first = None;
    for put in 0..120 {
        let answer = engine.publish(&format!("s.{}", put % 80), &[], &payload);
        assert!(answer.contains(&format!("\"seq\":{}", put + 1)), "{answer}");
        if first.is_none() && disk.read(&side_file()).is_ok() {
            first = Some(put);
        }
    }
    let first = first.expect("a picture is taken");
    assert!((64..80).contains(&first), "the first one when 32 MiB of blocks were filled, not after {first}");
    let info = |engine: &TestEngine| engine.request("STREAM.INFO.S", r#"{"subjects_filter":">"}"#);
    let before = info(&engine);
    for power_fails in [false, true] {
        let left = if power_fails { disk.after_power_failure(2) } else { disk.clone_of() };
        let without = left.clone_of();
        without.remove_file(&side_file()).unwrap();
        let (with, without) = (info(&start(&left)), info(&start(&without)));
        assert_eq!(with, without);
        assert!(power_fails || with == before, "{with} {before}");
    }
}

#[test]
fn a_start_looks_for_ids_from_the_first_message_on_that_can_have_one() {
    for (in_picture, headers, expected) in [
        // No id is remembered at all, or that of a message in the picture, or only that of a later one.
        (41, "", 61),
        (7, "", 7),
        (41, "NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n", 50),
        (7, "NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n", 7),
    ] {
        let disk = SimDisk::new(1);
        let mut store = small_store(&disk);
        let derived = Derived { expiries: Some(Vec::new()), ids_from: Some((in_picture, 7)) };
        let taken = store.begin_picture(derived).unwrap().run();
        store.end_picture(taken).unwrap();
        for seq in 41..=60 {
            let headers = if seq >= 50 { headers.as_bytes() } else { b"" };
            let msg = Msg { seq, ts_ns: 1, subject: b"a.b", headers, payload: b"v" };
            store.append(&msg).unwrap();
        }
        store.flush().unwrap();
        drop(store);
        let options = FileOptions { block_size_bytes: 400, compress: false, fast_start_from_bytes: 0 };
        let known = open(&disk, options).recovered();
        assert_eq!(
            (known.ids_from, known.ids_window_ns),
            (Some(expected), Some(7)),
            "{in_picture} {headers}"
        );
    }
}

#[test]
fn accounts_that_are_enabled_together_have_each_their_own_streams() {
    let disk = SimDisk::new(1);
    let config = || EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
    let clock = || Arc::new(ManualClock::new(START_NS));
    let work = |names: &[&str]| {
        let engine = TestEngine::on_disk(config(), clock(), Arc::new(disk.clone())).unwrap();
        for name in names {
            let stream = format!(r#"{{"name":"{name}","subjects":["{name}.>"]}}"#);
            assert!(engine.request(&format!("STREAM.CREATE.{name}"), &stream).contains("did_create"));
            assert!(engine.publish(&format!("{name}.a"), &[], "v").contains("seq"));
        }
    };
    work(&["S", "T"]);
    let root = Path::new("/store/jetstream");
    disk.rename(&root.join("$G"), &root.join("A")).unwrap();
    work(&["S"]);
    let engine =
        Engine::new(config(), clock(), Arc::new(disk.clone()), Arc::new(CollectHost::default())).unwrap();
    let enable = |accounts: &[(u32, &str)]| {
        let limits = AccountLimits::default();
        let accounts: Vec<_> =
            accounts.iter().map(|(id, name)| (AccountId(*id), *name, limits.into())).collect();
        let mut told = Vec::new();
        let each = |id: AccountId, report: Result<RecoveryReport, EngineError>| {
            let report = report?;
            assert!(report.problems.is_empty());
            told.push((id.0, report.streams, report.msgs));
            Ok(())
        };
        engine.enable_accounts(&accounts, each).unwrap();
        told
    };
    let told = enable(&[(1, "A"), (2, "B"), (3, "$G")]);
    assert_eq!(told, [(1, 2, 2), (2, 0, 0), (3, 1, 1)]);
    assert_eq!(enable(&[(1, "A"), (4, "C")]), [(1, 0, 0), (4, 0, 0)]);
}
