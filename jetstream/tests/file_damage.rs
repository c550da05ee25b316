//! Every file of a small store is damaged in every way, one at a time: nothing panics, nothing that can be read is lost,
//! nothing false is read, and what is lost is told with stream, block and offset.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use jetkv_jetstream::Filter;
use jetkv_jetstream::disk::Disk;
use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{ConsumerState, FileStore, Msg, SequencePair, Store};
use jetkv_testing::SimDisk;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

const ROOT: &str = "/store/jetstream/$G/streams";
/// Where a flipped bit is looked for, in parts of the file.
const PARTS: usize = 8;

/// Sequence to subject and payload.
type Held = BTreeMap<u64, (Vec<u8>, Vec<u8>)>;

/// Collects warnings and errors.
#[derive(Default, Clone)]
struct Told(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn options(name: &str) -> FileOptions {
    FileOptions { block_size_bytes: 600, compress: name == "PACKED", fast_start_from_bytes: 0 }
}

fn storage(disk: &SimDisk) -> Storage {
    Storage::open(Arc::new(disk.clone()), Path::new("/store"), true).unwrap()
}

/// A store of two streams, stopped in order.
fn store() -> SimDisk {
    let disk = SimDisk::new(1);
    let storage = storage(&disk);
    for name in ["PLAIN", "PACKED"] {
        let mut store = storage.create_stream("$G", name, b"{}", options(name)).unwrap();
        for seq in 1..=36_u64 {
            let headers: &[u8] = if seq % 5 == 0 { b"NATS/1.0\r\nA: b\r\n\r\n" } else { b"" };
            let (subject, payload) = (format!("s.{}", seq % 9), format!("payload {seq} ").repeat(3));
            let ts_ns = 1_700_000_000_000_000_000 + i64::try_from(seq).unwrap();
            let (subject, payload) = (subject.as_bytes(), payload.as_bytes());
            store.append(&Msg { seq, ts_ns, subject, headers, payload }).unwrap();
            store.flush().unwrap();
        }
        for seq in [3, 17, 35] {
            store.remove(seq, None, seq == 17).unwrap();
        }
        let state = ConsumerState {
            delivered: SequencePair { consumer_seq: 9, stream_seq: 9 },
            ack_floor: SequencePair { consumer_seq: 9, stream_seq: 9 },
            ..ConsumerState::default()
        };
        storage.create_consumer("$G", name, "C", b"{}", &state).unwrap();
        store.close().unwrap();
    }
    disk
}

fn files(disk: &SimDisk, dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in disk.list(dir).unwrap() {
        if entry.is_dir {
            files(disk, &entry.path, found);
        } else {
            found.push(entry.path);
        }
    }
}

fn read(store: &mut FileStore) -> Held {
    let (mut held, mut next) = (Held::new(), 0);
    while let Some(msg) = store.next(&Filter::All, next).unwrap() {
        next = msg.seq + 1;
        held.insert(msg.seq, (msg.subject.to_vec(), msg.payload.to_vec()));
    }
    assert_eq!(store.state().msgs, held.len() as u64, "the count is that of what can be read");
    held
}

/// Ways to damage a file: what is done, and the content that it gives; none where the file goes, and a directory
/// stands there if so.
fn ways(content: &[u8]) -> Vec<(String, Option<Vec<u8>>, bool)> {
    let len = content.len();
    let mut ways = vec![
        ("removed".to_owned(), None, false),
        ("a directory".to_owned(), None, true),
        ("empty".to_owned(), Some(Vec::new()), false),
        ("zeros".to_owned(), Some(vec![0; len]), false),
        ("ones".to_owned(), Some(vec![0xff; len]), false),
        ("with zeros behind".to_owned(), Some([content, &[0; 100]].concat()), false),
        ("with letters behind".to_owned(), Some([content, &[b'x'; 100]].concat()), false),
        ("twice".to_owned(), Some(content.repeat(2)), false),
        ("without its first byte".to_owned(), Some(content[1.min(len)..].to_vec()), false),
    ];
    for part in 0..PARTS {
        let at = len * part / PARTS;
        ways.push((format!("cut at {at}"), Some(content[..at].to_vec()), false));
        let mut changed = content.to_vec();
        let end = (at + 16).min(len);
        changed[at..end].fill(0);
        ways.push((format!("zeros at {at}"), Some(changed), false));
        for bit in [0, 7] {
            let mut changed = content.to_vec();
            if let Some(byte) = changed.get_mut(at + part % 5) {
                *byte ^= 1 << bit;
            }
            ways.push((format!("bit {bit} of {} flipped", at + part % 5), Some(changed), false));
        }
    }
    if let Some(end) = len.checked_sub(1) {
        ways.push(("without its last byte".to_owned(), Some(content[..end].to_vec()), false));
    }
    ways
}

/// Where the records of a plain block are.
fn records(content: &[u8]) -> Vec<Range<usize>> {
    let (mut records, mut at) = (Vec::new(), 0);
    while let Some(len) = content.get(at..at + 4) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) & 0x7fff_ffff;
        let end = at + usize::try_from(len).unwrap();
        records.push(at..end);
        at = end;
    }
    records
}

fn seq_of(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[4..12].try_into().unwrap())
}

/// The messages of a block that are not to be missed after the damage: those whose records are where they were.
fn kept(before: &[u8], after: Option<&[u8]>) -> Vec<u64> {
    let whole =
        |range: &Range<usize>| after.and_then(|after| after.get(range.clone())) == before.get(range.clone());
    records(before).into_iter().filter(whole).map(|range| seq_of(&before[range])).collect()
}

/// One file, damaged in one way.
struct Case<'a> {
    path: &'a Path,
    before: &'a [u8],
    after: Option<Vec<u8>>,
    what: String,
}

impl Case<'_> {
    fn check(&self, disk: &SimDisk, all: &BTreeMap<&str, Held>) {
        let told = Told::default();
        tracing::subscriber::with_default(told.clone(), || {
            for (name, held) in all {
                self.check_stream(disk, name, held, &told);
            }
        });
    }

    fn check_stream(&self, disk: &SimDisk, name: &str, held: &Held, told: &Told) {
        let what = &self.what;
        let storage = storage(disk);
        let here = self.path.starts_with(Path::new(ROOT).join(name));
        let is_block = here && self.path.extension().is_some_and(|extension| extension == "blk");
        let last_seq = {
            let mut store = storage.open_stream("$G", name, options(name)).unwrap();
            let found = read(&mut store);
            for (seq, msg) in &found {
                assert_eq!(held.get(seq), Some(msg), "{what}: message {seq} of {name}");
            }
            let missing: Vec<u64> = held.keys().filter(|seq| !found.contains_key(seq)).copied().collect();
            if is_block {
                self.check_missing(name, &missing, told);
            } else {
                assert!(missing.is_empty(), "{what}: {missing:?} of {name} are missing");
            }
            store.state().last_seq
        };
        assert_eq!(last_seq, 36, "{what}: a sequence would be used again");
        // It goes on from there.
        let mut store = storage.open_stream("$G", name, options(name)).unwrap();
        let before = read(&mut store);
        let msg = Msg {
            seq: 37,
            ts_ns: 1_800_000_000_000_000_000,
            subject: b"s.new",
            headers: b"",
            payload: b"new",
        };
        store.append(&msg).unwrap();
        store.sync().unwrap();
        drop(store);
        let mut store = storage.open_stream("$G", name, options(name)).unwrap();
        let mut after = read(&mut store);
        assert!(after.remove(&37).is_some(), "{what}: what was put into {name} afterwards is lost");
        assert_eq!(after, before, "{what}: {name} after a put");
        let _ = storage.consumers("$G", name).unwrap();
    }

    fn check_missing(&self, name: &str, missing: &[u64], told: &Told) {
        let what = &self.what;
        if name == "PLAIN" {
            let kept = kept(self.before, self.after.as_deref());
            let lost: Vec<_> = missing.iter().filter(|seq| kept.contains(seq)).collect();
            assert!(lost.is_empty(), "{what}: {lost:?} can be read and are lost");
            let in_block: Vec<u64> =
                records(self.before).into_iter().map(|at| seq_of(&self.before[at])).collect();
            assert!(missing.iter().all(|seq| in_block.contains(seq)), "{what}: {missing:?} of another block");
        }
        let block = self.path.file_stem().unwrap().to_str().unwrap();
        let told = told.0.lock();
        let is_told = told.iter().any(|line| {
            line.contains(&format!("stream=\"{name}\""))
                && line.contains(&format!("block={block} "))
                && line.contains("offset=")
        });
        assert!(missing.is_empty() || is_told, "{what}: {missing:?} are lost without a word: {told:#?}");
    }
}

#[test]
fn no_damage_to_one_file_panics_or_loses_what_can_be_read_or_is_passed_over_in_silence() {
    let original = store();
    let mut all = BTreeMap::new();
    for name in ["PLAIN", "PACKED"] {
        let disk = original.clone_of();
        let held = read(&mut storage(&disk).open_stream("$G", name, options(name)).unwrap());
        assert_eq!(held.len(), 33);
        all.insert(name, held);
    }
    let mut paths = Vec::new();
    files(&original, Path::new(ROOT), &mut paths);
    assert!(paths.len() > 15, "{paths:?}");
    let mut cases = 0;
    for path in &paths {
        if path.file_name().unwrap().to_str().unwrap().starts_with("meta.") {
            continue;
        }
        let before = original.read(path).unwrap();
        for (how, after, is_dir) in ways(&before) {
            let disk = original.clone_of();
            match &after {
                Some(content) => disk.replace(path, content, true).unwrap(),
                None => disk.remove_file(path).unwrap(),
            }
            if is_dir {
                disk.create_dir_all(path).unwrap();
            }
            let what = format!("{}, {how}", path.display());
            Case { path, before: &before, after, what }.check(&disk, &all);
            cases += 1;
        }
    }
    assert!(cases > 350, "only {cases} cases");
}
