//! A start with what an orderly stop left finds what a start without it finds, whatever happened in between.
//! `JETKV_CRASH_SEEDS` sets how many runs there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::Filter;
use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{FileStore, Msg, Store, StoreState};
use jetkv_testing::SimDisk;
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
                store.note_expiries(ttls.iter().map(|(seq, at_ns)| (*seq, *at_ns)).collect());
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
    store.note_expiries((1..=250).map(|half| (half * 2, 60_000_000_001)).collect());
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
