//! What holds for a stream's directory whatever happens to its files: it opens, shows only messages that were written,
//! counts them rightly, and shows the same when it is opened again. Shared by the fuzz target and the test that replays
//! its corpus.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jetkv_jetstream::Filter;
use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{FileStore, Msg, Store};
use jetkv_testing::SimDisk;

/// Small, so that a few messages fill several blocks.
const BLOCK_BYTES: u64 = 300;
const MESSAGE_DIR: &str = "/store/jetstream/$G/streams/S/msgs";
const KEYS: [&str; 4] = ["$KV.b.x", "$KV.b.y", "$KV.b.x.y", "o"];

/// A message: sequence, time, subject, headers, payload.
type Written = (u64, i64, Vec<u8>, Vec<u8>, Vec<u8>);

/// What the checksum of a record covers: not where the subject ends and the headers, in the format of nats-server
/// v2.15.2, so a bit that flips there cannot be noticed.
fn checked((seq, ts_ns, subject, headers, payload): &Written) -> (u64, i64, Vec<u8>) {
    (*seq, *ts_ns, [subject.as_slice(), headers, payload].concat())
}

/// Panics when what the bytes do to a store breaks an invariant of its recovery.
pub(crate) fn check(data: &[u8]) {
    let Some((first, steps)) = data.split_first() else { return };
    let mut bench = Bench::new(first & 1 == 1);
    for step in steps.chunks(4) {
        if let [kind, a, b, c] = *step {
            bench.step(kind, a, b, c);
        }
    }
    bench.open_again();
}

struct Bench {
    disk: SimDisk,
    storage: Storage,
    options: FileOptions,
    store: FileStore,
    written: BTreeSet<(u64, i64, Vec<u8>)>,
    /// Whether a file was changed behind the store's back.
    damaged: bool,
}

impl Bench {
    fn new(compress: bool) -> Self {
        let disk = SimDisk::new(1);
        let storage =
            Storage::open(Arc::new(disk.clone()), Path::new("/store"), false).expect("an empty disk");
        let options = FileOptions { block_size_bytes: BLOCK_BYTES, compress, fast_start_from_bytes: 0 };
        let store = storage.create_stream("$G", "S", b"{}", options).expect("a new stream");
        Self { disk, storage, options, store, written: BTreeSet::new(), damaged: false }
    }

    fn step(&mut self, kind: u8, a: u8, b: u8, c: u8) {
        match kind % 16 {
            0..=6 => self.append(a, b, c),
            7 => {
                let seq = self.store.state().first_seq + u64::from(a % 32);
                let _ = self.store.remove(seq, None, b & 1 == 1);
            }
            8 => {
                let _ = self.store.compact(self.store.state().first_seq + u64::from(a % 8));
            }
            9 => {
                let _ = self.store.skip_to(self.store.state().last_seq + u64::from(a % 4), i64::from(b));
            }
            10 => self.store.flush().expect("a disk without faults"),
            11 => self.open_again(),
            12 => {
                self.store.close().expect("a disk without faults");
                self.open_again();
            }
            _ => self.damage(kind % 16, a, b, c),
        }
    }

    fn append(&mut self, key: u8, size: u8, content: u8) {
        let seq = self.store.state().last_seq + 1;
        let ts_ns = i64::try_from(seq).unwrap_or(i64::MAX) * 10;
        let subject = KEYS.get(usize::from(key) % KEYS.len()).copied().unwrap_or_default().as_bytes();
        let headers: &[u8] = if key & 4 == 4 { b"NATS/1.0\r\nNats-TTL: 1h\r\n\r\n" } else { b"" };
        let payload = vec![content; usize::from(size)];
        if self.store.append(&Msg { seq, ts_ns, subject, headers, payload: &payload }).is_ok() {
            self.written.insert(checked(&(seq, ts_ns, subject.to_vec(), headers.to_vec(), payload)));
        }
    }

    /// Changes a file of the closed store: flips bits, cuts it, writes over it, or removes it.
    fn damage(&mut self, kind: u8, file: u8, at: u8, value: u8) {
        self.store.flush().expect("a disk without faults");
        let files = self.disk.list(Path::new(MESSAGE_DIR)).expect("the directory is there");
        let Some(entry) = files.get(usize::from(file) % files.len().max(1)) else { return };
        let path: PathBuf = entry.path.clone();
        // Offsets reach the whole of a block although they are one byte.
        let offset = entry.size_bytes * u64::from(at) / 255;
        let handle = self.disk.open(&path, false).expect("a file that is listed");
        let _ = match kind {
            13 => handle.write_at(&[value], offset),
            14 if value & 1 == 1 => handle.set_len(offset),
            14 => handle.write_at(&[value; 40], offset),
            _ if value == 0 => self.disk.remove_file(&path),
            _ => self.disk.flip_bit(&path, usize::try_from(offset).unwrap_or(0) * 8 + usize::from(value % 8)),
        };
        self.damaged = true;
        self.open_again();
    }

    fn open_again(&mut self) {
        self.store.flush().expect("a disk without faults");
        self.store = self.opened();
        let found = self.found();
        let lost = self.damaged;
        self.store = self.opened();
        assert_eq!(found, self.found(), "opened a second time");
        if !lost {
            assert!(self.store.damaged().is_empty(), "{:?}", self.store.damaged());
        }
    }

    fn opened(&self) -> FileStore {
        self.storage.open_stream("$G", "S", self.options).expect("damage is reported, not refused")
    }

    fn found(&mut self) -> Vec<Written> {
        let mut found = Vec::new();
        let mut next = 0;
        while let Some(msg) = self.store.next(&Filter::All, next).expect("what is held can be read") {
            assert!(msg.seq >= next, "{} after {next}", msg.seq);
            next = msg.seq + 1;
            let own = (msg.seq, msg.ts_ns, msg.subject.to_vec(), msg.headers.to_vec(), msg.payload.to_vec());
            assert!(self.written.contains(&checked(&own)), "{own:?} was never written");
            found.push(own);
        }
        let state = self.store.state();
        assert_eq!(state.msgs, found.len() as u64, "the count of messages");
        assert!(found.last().is_none_or(|last| last.0 <= state.last_seq), "the last sequence");
        assert!(found.first().is_none_or(|first| first.0 == state.first_seq), "the first sequence");
        let held = |key: &str| found.iter().filter(|msg| msg.2 == key.as_bytes()).count() as u64;
        for key in KEYS {
            let filter = Filter::new([key]);
            let pending = self.store.pending(&filter, 0, false).expect("from memory");
            assert_eq!(pending.count, held(key), "messages of {key}");
        }
        found
    }
}
