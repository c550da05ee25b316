//! What is broken, or meant to do harm, gets an error that says so, and leaves nothing behind.

use super::bench::{Archive, ask, backup, in_dir, packed, restore};
use super::older::{archive, document};
use jetkv_jetstream::settings::AccountLimits;
use jetkv_testing::{TestEngine, tar_header};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;
use tar::{Builder, EntryType, Header};

fn streams(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("jetstream/$G/streams")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Everything below the store directory, and beside it.
fn files(dir: &Path) -> Vec<String> {
    let (mut found, mut to_see) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = to_see.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.display().to_string());
            if path.is_dir() {
                to_see.push(path);
            }
        }
    }
    found.sort();
    found
}

struct Bench {
    dir: tempfile::TempDir,
    engine: TestEngine,
    config: Value,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = in_dir(&dir.path().join("store"));
        let config = json!({"name": "S", "subjects": ["s.>"], "storage": "file", "max_msg_size": 1000});
        // The directories of the account are there before.
        ask(&engine, "STREAM.CREATE.S", &config);
        ask(&engine, "STREAM.DELETE.S", &json!({}));
        Self { dir, engine, config }
    }

    fn refused(&self, archive: &[u8], wanted: &str) {
        self.refused_for(&self.config, archive, wanted);
    }

    fn refused_for(&self, config: &Value, archive: &[u8], wanted: &str) {
        let before = files(self.dir.path());
        for step in [64, 1 << 20] {
            let answer = restore(&self.engine, config, archive, step);
            let told =
                answer["error"]["description"].as_str().unwrap_or_else(|| panic!("{wanted}: {answer}"));
            assert!(told.contains(wanted), "{told}, and not {wanted}");
            assert_eq!(files(self.dir.path()), before, "{wanted}: nothing is left behind");
            let usage = self.engine.engine.account_usage(self.engine.account).unwrap();
            assert_eq!((usage.storage_bytes, usage.streams), (0, 0), "{wanted}");
            assert!(self.engine.engine.backups().is_empty());
        }
    }
}

const STATE: &str = r#"{"messages":2,"bytes":70,"first_seq":1,"last_seq":4,"consumer_count":0}"#;

fn good() -> Archive {
    Archive::new(STATE)
        .entry("s.a", 5, 2, "", "one")
        .entry("s.b", 6, 3, "NATS/1.0\r\nA: b\r\n\r\n", "two")
        .end()
}

#[test]
fn archives_of_messages_that_are_not_right_are_refused() {
    let bench = Bench::new();
    let answer = restore(&bench.engine, &bench.config, &good().packed(), 64);
    assert_eq!(answer["state"]["messages"], 2, "the good one is good: {answer}");
    ask(&bench.engine, "STREAM.DELETE.S", &json!({}));
    let with_state = |state: &str| Archive::new(state).end().packed();
    let message = |name: &str, seq, headers: &str, payload: &str| {
        Archive::new(STATE).entry(name, 1, seq, headers, payload).end().packed()
    };
    let many = Archive::new(STATE).entry("s.a", 1, 2, "", "x").entry("s.a", 1, 2, "", "x").end();
    for (archive, wanted) in [
        (Vec::new(), "restore failed: backup was truncated"),
        (packed(b"NATS"), "restore failed: backup was truncated"),
        (b"not a backup at all, whatever it is".to_vec(), "restore failed: s2: corrupt input"),
        (packed(&b"neither tar nor archive ".repeat(100)), "restore failed: archive/tar: invalid tar header"),
        (packed(b"NATSARC1"), "restore failed: backup was truncated"),
        (packed(b"NATSARC1\0\0\0\0\0"), "expected state.json first"),
        (with_state("{"), "error in state.json"),
        (with_state(r#"{"messages":5,"first_seq":1,"last_seq":2}"#), "message count exceeds sequence range"),
        (with_state(r#"{"first_seq":1,"last_seq":18446744073709551615}"#), "sequence out of range"),
        (with_state(r#"{"consumer_count":1}"#), "expected consumer, found \"\""),
        (Archive::new(STATE).packed(), "backup was truncated"),
        (many.packed(), "message sequence 2 out of order"),
        (message("s.a", 9, "", "x"), "message sequence 9 is beyond the last of the stream"),
        (message("s.a", 0, "", "x"), "expected message sequence"),
        (message("", 2, "", "x"), "message sequence 2 has no valid subject"),
        (message("s.*", 2, "", "x"), "message sequence 2 has no valid subject"),
        (message("s.a", 2, "", &"x".repeat(1001)), "message sequence 2 exceeds maximum message size"),
        (message("s.a", 2, "NATS/1.0\r\nNats-TTL: soon\r\n\r\n", ""), "failed to parse message TTL"),
    ] {
        bench.refused(&archive, wanted);
    }
    let large = json!({"name": "S", "subjects": ["s.>"], "storage": "file"});
    bench.refused_for(&large, &message("s.a", 2, "", &"x".repeat(3 << 20)), "exceeds maximum payload size");
}

#[test]
fn every_cut_and_every_wrong_byte_of_an_archive_is_refused() {
    let bench = Bench::new();
    let archive = good().packed();
    for len in 0..archive.len() {
        bench.refused(&archive[..len], "restore failed: ");
    }
    for at in 0..archive.len() {
        let mut wrong = archive.clone();
        wrong[at] ^= 0x11;
        bench.refused(&wrong, "restore failed: ");
    }
}

#[test]
fn consumers_that_cannot_be_are_refused() {
    let bench = Bench::new();
    let state = r#"{"messages":0,"first_seq":1,"last_seq":0,"consumer_count":1}"#;
    let twice = r#"{"messages":0,"first_seq":1,"last_seq":0,"consumer_count":2}"#;
    let consumer = |name: &str, document: &str| {
        Archive::new(state).entry(&format!("consumers/{name}"), 1, 0, "", document).end().packed()
    };
    for (name, document, wanted) in [
        ("c", r#"{"config":{"durable_name":"c"}}"#, "consumer \"c\" is missing state"),
        ("c", r#"{"state":{}}"#, "consumer \"c\" is missing config"),
        ("../../../c", r#"{"config":{"ack_policy":"explicit"},"state":{}}"#, "failed to add consumer"),
        ("c", r#"{"config":{"durable_name":"../c"},"state":{}}"#, "failed to add consumer \"c\""),
        (
            "c",
            r#"{"config":{"durable_name":"c","deliver_subject":"s.x"},"state":{}}"#,
            "failed to add consumer \"c\"",
        ),
        ("c", r#"{"config":{"durable_name":"c","direct":true},"state":{}}"#, "consumer \"c\" is internal"),
        (
            "c",
            r#"{"config":{"durable_name":"c"},"state":{"ack_floor":{"stream_seq":3}}}"#,
            "bad ack floor for stream",
        ),
    ] {
        bench.refused(&consumer(name, document), wanted);
    }
    let one = r#"{"config":{"durable_name":"c","ack_policy":"explicit"},"state":{}}"#;
    let archive =
        Archive::new(twice).entry("consumers/c", 1, 0, "", one).entry("consumers/d", 1, 0, "", one).end();
    bench.refused(&archive.packed(), "failed to add consumer \"d\"");
}

/// The files of a backup of nats-server 2.14, as a tar archive that can be changed.
fn old_files() -> Vec<(String, Vec<u8>)> {
    let mut content = Vec::new();
    minlz::s2::Reader::new(&archive("2.14.10")[..]).read_to_end(&mut content).unwrap();
    let mut tar = tar::Archive::new(&content[..]);
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut file = Vec::new();
        entry.read_to_end(&mut file).unwrap();
        (entry.path().unwrap().display().to_string(), file)
    });
    entries.collect()
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, file) in files {
        builder.append(&tar_header(path, EntryType::Regular, file.len() as u64), &file[..]).unwrap();
    }
    packed(&builder.into_inner().unwrap())
}

fn tar_with(header: &Header) -> Vec<u8> {
    let mut content = header.as_bytes().to_vec();
    content.extend_from_slice(&[0; 2048]);
    packed(&content)
}

#[test]
fn archives_of_files_that_are_not_right_are_refused() {
    let bench = Bench::new();
    let config = document("2.14.10", "backup.json")["config"].clone();
    let files = old_files();
    let changed = |path: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        change(&mut files.iter_mut().find(|(known, _)| known == path).unwrap().1);
        tar_of(&files)
    };
    let without =
        |path: &str| tar_of(&files.iter().filter(|(known, _)| known != path).cloned().collect::<Vec<_>>());
    let and = |path: &str| tar_of(&[&files[..], &[(path.to_owned(), b"x".to_vec())]].concat());
    for (archive, wanted) in [
        (without("meta.inf"), "meta.inf is missing"),
        (without("obs/durable/meta.sum"), "obs/durable/meta.sum is missing"),
        (changed("meta.inf", &|file| file[20] ^= 1), "restore failed: "),
        (changed("meta.sum", &|file| file[0] ^= 1), "meta.inf: checksums do not match"),
        (changed("obs/durable/meta.sum", &|file| file[0] ^= 1), "error restoring consumer [\"durable\"]"),
        (changed("obs/durable/o.dat", &|file| file.truncate(5)), "error restoring consumer [\"durable\"]"),
        (changed("msgs/1.blk", &|file| *file.iter_mut().nth_back(60).unwrap() ^= 1), "is damaged in 1.blk"),
        (and("/escaped"), "unexpected content (account=$G)"),
        (and("../../../../escaped"), "unexpected content (account=$G)"),
        (and("msgs/../../../escaped"), "unexpected content (account=$G)"),
        (and("errors.txt"), "the backup is not whole: x"),
        (and("meta.inf"), "unexpected content"),
        (tar_with(&tar_header("msgs/1.blk", EntryType::Symlink, 0)), "unexpected content"),
        (tar_with(&tar_header("msgs/1.blk", EntryType::Link, 0)), "unexpected content"),
        (tar_with(&tar_header("msgs", EntryType::Directory, 0)), "unexpected content"),
        (tar_with(&tar_header("obs/c/o.dat", EntryType::Regular, 1 << 40)), "obs/c/o.dat is too large"),
        (tar_with(&tar_header("msgs/1.blk", EntryType::Regular, 1 << 40)), "backup was truncated"),
    ] {
        bench.refused_for(&config, &archive, wanted);
    }
    let mut other = config.clone();
    (other["name"], other["subjects"]) = ("OTHER".into(), json!(["other"]));
    bench.refused_for(&other, &archive("2.14.10"), "stream names do not match");
    let whole = archive("2.14.10");
    bench.refused_for(&config, &whole[..whole.len() / 2], "backup was truncated");
    assert!(!bench.dir.path().join("escaped").exists());
}

#[test]
fn an_archive_of_files_does_without_the_sum_of_the_stream() {
    let bench = Bench::new();
    let config = document("2.14.10", "backup.json")["config"].clone();
    let files: Vec<_> = old_files().into_iter().filter(|(path, _)| path != "meta.sum").collect();
    let answer = restore(&bench.engine, &config, &tar_of(&files), 4096);
    assert_eq!(answer["config"]["name"], config["name"], "{answer}");
}

/// The largest piece of an S2 stream that may be passed over.
const PADDING_LEN: usize = 1 << 16;

#[test]
fn what_does_not_say_what_it_is_within_a_chunk_is_refused() {
    let padding = [&[0xfe, 0, 0, 1][..], &[0; PADDING_LEN]].concat();
    let padded = |count: usize| [&b"\xff\x06\0\0S2sTwO"[..], &padding.repeat(count)].concat();
    let bench = Bench::new();
    bench.refused(&padded(255), "backup was truncated");
    bench.refused(&padded(257), "snapshot format not detected within size limit");
    // Padding that ends in time harms nothing, and what comes later is no matter.
    let config = document("2.14.10", "backup.json")["config"].clone();
    let padded = [padded(200), tar_of(&old_files()).split_off(10)].concat();
    let answer = restore(&bench.engine, &config, &padded, 1 << 20);
    assert_eq!(answer["config"]["name"], config["name"], "{answer}");
}

#[test]
fn what_the_account_has_no_room_for_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = in_dir(&dir.path().join("store"));
    let config = super::fill(&engine, "file");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    let limits = |max_store_bytes, max_streams| AccountLimits {
        max_store_bytes,
        max_streams,
        ..AccountLimits::default()
    };
    engine.engine.update_account_limits(engine.account, limits(500, -1)).unwrap();
    let answer = restore(&engine, &config, &archive, 4096);
    assert_eq!(answer["error"]["err_code"], 10047, "{answer}");
    // A backup that says that it is small, and is not.
    let mut small = Archive::new(r#"{"messages":2,"bytes":1,"first_seq":1,"last_seq":100}"#);
    for seq in 1..=100 {
        small = small.entry("s.a", 1, seq, "", &"x".repeat(100));
    }
    let other = json!({"name": "S", "subjects": ["s.>"], "storage": "file"});
    let answer = restore(&engine, &other, &small.end().packed(), 4096);
    assert_eq!(answer["error"]["err_code"], 10047, "{answer}");
    let bomb = tar_with(&tar_header("msgs/1.blk", EntryType::Regular, 1 << 40));
    assert_eq!(restore(&engine, &other, &bomb, 4096)["error"]["err_code"], 10047);
    assert_eq!(streams(&dir.path().join("store")), [""; 0]);
    assert_eq!(engine.engine.account_usage(engine.account).unwrap().storage_bytes, 0);
    engine.engine.update_account_limits(engine.account, limits(-1, 1)).unwrap();
    ask(&engine, "STREAM.CREATE.FIRST", &json!({"name": "FIRST", "subjects": ["f"]}));
    assert_eq!(restore(&engine, &config, &archive, 4096)["error"]["err_code"], 10027);
}

#[test]
fn a_source_with_a_filter_that_is_no_subject_is_refused() {
    let engine = TestEngine::new().unwrap();
    let mut config = super::fill(&engine, "memory");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    config["sources"] = json!([{"name": "O", "filter_subject": "o..1"}]);
    let answer = restore(&engine, &config, &archive, 4096);
    let told = "restore failed: error adding stream: subject filter 'o..1' for the source: invalid subject";
    assert_eq!(answer["error"]["description"], told, "{answer}");
}

#[test]
fn subjects_that_another_stream_has_are_refused() {
    let engine = TestEngine::new().unwrap();
    let config = super::fill(&engine, "memory");
    let (_, archive) = backup(&engine, "KV_b", &json!({}));
    ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    ask(&engine, "STREAM.CREATE.T", &json!({"name": "T", "subjects": ["$KV.b.k1"], "storage": "memory"}));
    let answer = restore(&engine, &config, &archive, 4096);
    assert!(answer["error"]["description"].as_str().unwrap().contains("subjects overlap"), "{answer}");
}
