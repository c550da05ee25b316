//! Directories that older nats-servers left open as nats-server v2.15.2 opens them.
//!
//! Each fixture is a directory of streams as such a server left it, stopped or killed, and beside it what v2.15.2
//! answered about a copy of it. `JETKV_OLD_SERVERS_DIR` (with `<version>/nats-server` in it) and `JETKV_FIXTURES_DIR`
//! (where to write) make them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code)]
mod oracle;

use jetkv_jetstream::clock::{ManualClock, WallNs};
use jetkv_jetstream::{EngineConfig, SyncPolicy};
use jetkv_testing::{SimDisk, TestEngine};
use oracle::{Client, Oracle, copy_dir, oracle_program};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VERSIONS: [&str; 7] = ["2.8.4", "2.9.25", "2.10.7", "2.10.29", "2.11.15", "2.12.15", "2.14.10"];
const STREAMS_DIR: &str = "jetstream/$G/streams";
const HOUR_NS: u64 = 3_600_000_000_000;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/older")
}

fn create(client: &mut Client, name: &str, subject: &str, extra: &Value) {
    let mut config = json!({"name": name, "subjects": [subject], "storage": "file", "num_replicas": 1});
    for (key, value) in extra.as_object().unwrap() {
        config[key] = value.clone();
    }
    client.api(&format!("STREAM.CREATE.{name}"), &config);
}

fn durable(client: &mut Client, stream: &str, name: &str) {
    let config = json!({"durable_name": name, "ack_policy": "explicit", "ack_wait": HOUR_NS});
    let request = json!({"stream_name": stream, "config": config});
    client.api(&format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &request);
}

fn store_all(client: &mut Client, subject: &str, count: usize) {
    for at in 0..count {
        client.store(subject, "", format!("message {at}").as_bytes());
    }
}

/// Buckets and objects, as clients keep them.
fn fill_buckets(client: &mut Client) {
    let bucket = json!({"max_msgs_per_subject": 3, "allow_rollup_hdrs": true, "deny_delete": true});
    create(client, "KV_b", "$KV.b.>", &bucket);
    for at in 0..17 {
        client.store(&format!("$KV.b.k{}", at % 4), "", format!("value {at}").as_bytes());
    }
    client.store("$KV.b.k0", "KV-Operation: DEL\r\n", b"");
    client.store("$KV.b.k1", "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n", b"");
    create(client, "OBJ_o", "$O.o.>", &json!({"allow_rollup_hdrs": true, "discard": "new"}));
    for object in ["kept", "removed"] {
        store_all(client, &format!("$O.o.C.{object}"), 4);
        client.store(&format!("$O.o.M.{object}"), "Nats-Rollup: sub\r\n", b"{}");
    }
    client.store("$O.o.M.removed", "Nats-Rollup: sub\r\n", b"{\"deleted\":true}");
    client.api("STREAM.PURGE.OBJ_o", &json!({"filter": "$O.o.C.removed"}));
}

/// Streams from which something was removed.
fn fill_removed(client: &mut Client) {
    for name in ["HOLES", "LASTERASED", "LASTDELETED", "DELETEDALL", "PURGED", "PARTLY", "NEVER"] {
        create(client, name, &format!("{name}.>"), &json!({}));
    }
    store_all(client, "HOLES.a", 20);
    for seq in [1, 2, 5, 6, 11, 19] {
        client.api("STREAM.MSG.DELETE.HOLES", &json!({"seq": seq, "no_erase": seq % 2 == 0}));
    }
    store_all(client, "LASTERASED.a", 5);
    client.api("STREAM.MSG.DELETE.LASTERASED", &json!({"seq": 5}));
    store_all(client, "LASTDELETED.a", 5);
    client.api("STREAM.MSG.DELETE.LASTDELETED", &json!({"seq": 5, "no_erase": true}));
    store_all(client, "DELETEDALL.a", 4);
    for seq in 1..=4 {
        client.api("STREAM.MSG.DELETE.DELETEDALL", &json!({"seq": seq, "no_erase": seq % 2 == 0}));
    }
    store_all(client, "PURGED.a", 10);
    client.api("STREAM.PURGE.PURGED", &json!({}));
    for at in 0..15 {
        client.store(&format!("PARTLY.{}", at % 3), "", b"x");
    }
    client.api("STREAM.PURGE.PARTLY", &json!({"filter": "PARTLY.1", "keep": 1}));
    client.api("STREAM.PURGE.PARTLY", &json!({"seq": 4}));
    create(client, "LIMITED", "LIMITED.>", &json!({"max_msgs": 5}));
    store_all(client, "LIMITED.a", 12);
    create(client, "BLOCKS", "BLOCKS.>", &json!({"max_bytes": 100_000}));
    for at in 0..60_u8 {
        client.store(&format!("BLOCKS.{}", at % 7), "", &[at; 1000]);
    }
    for seq in [3, 4, 20, 40, 41, 60] {
        client.api("STREAM.MSG.DELETE.BLOCKS", &json!({"seq": seq, "no_erase": true}));
    }
    client.api("STREAM.PURGE.BLOCKS", &json!({"filter": "BLOCKS.2"}));
}

/// Streams with consumers that have acknowledged something.
fn fill_consumers(client: &mut Client) {
    create(client, "WORK", "WORK.>", &json!({"retention": "workqueue"}));
    store_all(client, "WORK.a", 12);
    durable(client, "WORK", "worker");
    client.fetch("WORK", "worker", 6, |at| at % 3 == 0);
    create(client, "EMPTIED", "EMPTIED.>", &json!({"retention": "workqueue"}));
    store_all(client, "EMPTIED.a", 6);
    durable(client, "EMPTIED", "worker");
    client.fetch("EMPTIED", "worker", 6, |_| true);
    create(client, "SHARED", "SHARED.>", &json!({"retention": "interest"}));
    durable(client, "SHARED", "one");
    durable(client, "SHARED", "two");
    store_all(client, "SHARED.a", 10);
    client.fetch("SHARED", "one", 8, |at| at < 5);
    client.fetch("SHARED", "two", 6, |at| at != 1);
}

/// What a server says of everything that it holds, in lines. `ask` makes an API request.
fn describe(ask: &mut dyn FnMut(&str, &Value) -> Value) -> String {
    let mut text = String::new();
    let names = ask("STREAM.NAMES", &json!({}));
    for name in names["streams"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        let state = ask(&format!("STREAM.INFO.{name}"), &json!({}))["state"].clone();
        let field = |key: &str| state.get(key).unwrap_or(&Value::Null).to_string();
        write!(text, "{name}:").unwrap();
        let keys = [
            "messages",
            "bytes",
            "first_seq",
            "first_ts",
            "last_seq",
            "last_ts",
            "num_subjects",
            "num_deleted",
        ];
        for key in keys {
            write!(text, " {key} {}", field(key)).unwrap();
        }
        text.push('\n');
        let mut next = state["first_seq"].as_u64().unwrap();
        for _ in 0..state["messages"].as_u64().unwrap() {
            let found = ask(&format!("STREAM.MSG.GET.{name}"), &json!({"seq": next, "next_by_subj": ">"}));
            let msg = &found["message"];
            let payload = msg["data"].as_str().unwrap_or_default();
            let payload = payload.get(..24).unwrap_or(payload);
            writeln!(text, "  {} {} {} {} {payload}", msg["seq"], msg["subject"], msg["time"], msg["hdrs"])
                .unwrap();
            next = msg["seq"].as_u64().unwrap() + 1;
        }
        let consumers = ask(&format!("CONSUMER.NAMES.{name}"), &json!({}));
        for consumer in consumers["consumers"].as_array().into_iter().flatten() {
            let consumer = consumer.as_str().unwrap();
            let info = ask(&format!("CONSUMER.INFO.{name}.{consumer}"), &json!({}));
            write!(text, "  consumer {consumer}:").unwrap();
            for key in ["delivered", "ack_floor"] {
                write!(text, " {key} {} {}", info[key]["consumer_seq"], info[key]["stream_seq"]).unwrap();
            }
            for key in ["num_ack_pending", "num_redelivered", "num_pending"] {
                write!(text, " {key} {}", info[key]).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

fn make(program: &Path, judge: &Path, target: &Path, killed: bool) {
    let dir = tempfile::tempdir().unwrap();
    let server = Oracle::start(program, dir.path());
    let mut client = server.connect();
    fill_buckets(&mut client);
    fill_removed(&mut client);
    fill_consumers(&mut client);
    if killed {
        server.kill();
    } else {
        // What a server wrote of what it read when it was started is what is found most.
        server.stop();
        Oracle::start(program, dir.path()).stop();
    }
    let _ = std::fs::remove_dir_all(target);
    copy_dir(&dir.path().join(STREAMS_DIR), &target.join("streams"));
    let server = Oracle::start(judge, dir.path());
    let mut client = server.connect();
    let text = describe(&mut |subject, body| client.api(subject, body));
    server.stop();
    std::fs::write(target.join("expected.txt"), text).unwrap();
}

#[test]
fn fixtures_are_made_anew_on_demand() {
    let (Some(target), Some(servers)) =
        (std::env::var_os("JETKV_FIXTURES_DIR"), std::env::var_os("JETKV_OLD_SERVERS_DIR"))
    else {
        return;
    };
    let judge = oracle_program().unwrap();
    for version in VERSIONS {
        let program = Path::new(&servers).join(version).join("nats-server");
        for (how, killed) in [("stopped", false), ("killed", true)] {
            make(&program, &judge, &Path::new(&target).join(format!("{version}-{how}")), killed);
        }
    }
}

/// An engine on a disk, at the time of the last message in a fixture.
fn start(disk: &SimDisk, at_ns: i64) -> TestEngine {
    let config = EngineConfig {
        store_dir: Some("/store".into()),
        sync: SyncPolicy::Always,
        ..EngineConfig::default()
    };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(WallNs::from_ns(at_ns))), Arc::new(disk.clone()))
        .unwrap()
}

fn described(engine: &TestEngine) -> String {
    describe(&mut |subject, body| {
        let answer: Value = serde_json::from_str(&engine.request(subject, &body.to_string())).unwrap();
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
        answer
    })
}

fn latest_ns(expected: &str) -> i64 {
    let times = expected.split(['"', ' ']).filter_map(|word| word.parse::<jiff::Timestamp>().ok());
    i64::try_from(times.map(jiff::Timestamp::as_nanosecond).max().unwrap()).unwrap()
}

/// The lines in which two descriptions differ.
fn differences(found: &str, expected: &str) -> Vec<String> {
    if found == expected {
        return Vec::new();
    }
    let missing = expected.lines().filter(|line| !found.contains(line)).map(|line| format!("- {line}"));
    let excess = found.lines().filter(|line| !expected.contains(line)).map(|line| format!("+ {line}"));
    missing.chain(excess).collect()
}

#[test]
fn directories_of_older_servers_open_as_in_the_newest() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let fixture = entry.unwrap().path();
        let what = fixture.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = std::fs::read_to_string(fixture.join("expected.txt")).unwrap();
        let at_ns = latest_ns(&expected) + 1_000_000_000;
        let disk = SimDisk::new(1);
        disk.copy_in(&fixture.join("streams"), &Path::new("/store").join(STREAMS_DIR)).unwrap();
        for when in ["opened", "opened again"] {
            let found = described(&start(&disk, at_ns));
            let lines = differences(&found, &expected);
            wrong.extend(lines.into_iter().map(|line| format!("{what}, {when}: {line}")));
        }
        seen += 1;
    }
    assert!(seen >= VERSIONS.len(), "only {seen} fixtures");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines about streams and their messages.
fn streams_of(description: &str) -> String {
    let lines = description.lines().filter(|line| !line.starts_with("  consumer"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_was_put_into_them_is_there_for_the_newest_server_and_what_was_removed_is_not() {
    let Some(judge) = oracle_program() else { return };
    for (fixture, in_order) in [("2.8.4-stopped", false), ("2.9.25-stopped", false), ("2.9.25-stopped", true)]
    {
        let fixture_dir = fixtures().join(fixture);
        let expected = std::fs::read_to_string(fixture_dir.join("expected.txt")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy_dir(&fixture_dir.join("streams"), &dir.path().join(STREAMS_DIR));
        let config = EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
        let clock = Arc::new(ManualClock::new(WallNs::from_ns(latest_ns(&expected) + 1_000_000_000)));
        let engine = TestEngine::on(config, clock).unwrap();
        let names: Vec<&str> = expected
            .lines()
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split(':').next().unwrap())
            .collect();
        for name in names {
            let subject = match name {
                "KV_b" => "$KV.b.new".to_owned(),
                "OBJ_o" => "$O.o.C.new".to_owned(),
                name => format!("{name}.new"),
            };
            let answer = engine.publish(&subject, &[], "new");
            assert!(answer.contains("\"seq\""), "{fixture}, {name}: {answer}");
        }
        let ours = described(&engine);
        if in_order {
            engine.engine.shutdown();
        }
        drop(engine);
        let server = Oracle::start(&judge, dir.path());
        let mut client = server.connect();
        let theirs = describe(&mut |subject, body| client.api(subject, body));
        server.stop();
        let wrong = differences(&streams_of(&theirs), &streams_of(&ours));
        assert!(wrong.is_empty(), "{fixture}, in order {in_order}:\n{}", wrong.join("\n"));
    }
}
