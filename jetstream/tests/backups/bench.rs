//! An engine that is backed up and restored to, and archives made by hand.

use jetkv_jetstream::ManualClock;
use jetkv_jetstream::disk::{Disk, RealDisk};
use jetkv_jetstream::settings::{EngineConfig, SyncPolicy};
use jetkv_testing::{START_NS, Sent, SimDisk, TestEngine};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Where pieces of a backup go.
pub(crate) const DELIVER: &str = "_INBOX.backup";

pub(crate) fn on_disk(dir: &Path, disk: Arc<dyn Disk>, sync: SyncPolicy) -> TestEngine {
    let config = EngineConfig { store_dir: Some(dir.to_owned()), sync, ..EngineConfig::default() };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), disk).unwrap()
}

pub(crate) fn in_dir(dir: &Path) -> TestEngine {
    on_disk(dir, Arc::new(RealDisk), EngineConfig::default().sync)
}

/// An engine on a disk in memory.
pub(crate) fn simulated() -> (TestEngine, SimDisk) {
    let disk = SimDisk::new(1);
    (on_disk(Path::new("/store"), Arc::new(disk.clone()), EngineConfig::default().sync), disk)
}

/// What is in the directory of an account's streams.
pub(crate) fn streams(disk: &SimDisk) -> Vec<String> {
    let entries = disk.list(Path::new("/store/jetstream/$G/streams")).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

pub(crate) fn ask(engine: &TestEngine, subject: &str, body: &Value) -> Value {
    serde_json::from_str(&engine.request(subject, &body.to_string())).unwrap()
}

/// The pieces that were sent since this was last asked: each with its reply subject and headers.
pub(crate) fn pieces(engine: &TestEngine) -> Vec<Sent> {
    let mut sent = engine.host.take();
    sent.retain(|sent| sent.to == DELIVER);
    sent
}

/// Acknowledges pieces.
pub(crate) fn acknowledge(engine: &TestEngine, pieces: &[Sent]) {
    for piece in pieces.iter().filter(|piece| !piece.reply.is_empty()) {
        assert!(engine.engine.backup_message(engine.account, piece.reply.as_bytes(), b"", b""));
    }
    engine.host.sync_all();
}

/// A whole backup: the first answer, and the archive.
pub(crate) fn backup(engine: &TestEngine, stream: &str, more: &Value) -> (Value, Vec<u8>) {
    engine.host.listen(DELIVER, None);
    engine.host.take();
    let mut body = json!({ "deliver_subject": DELIVER });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = ask(engine, &format!("STREAM.SNAPSHOT.{stream}"), &body);
    let mut archive = Vec::new();
    loop {
        let pieces = pieces_raw(engine);
        assert!(!pieces.is_empty(), "the backup goes on: {answer}");
        for (sent, bytes) in &pieces {
            archive.extend_from_slice(bytes);
            if bytes.is_empty() {
                assert!(!sent.headers.contains("500") && !sent.headers.contains("408"), "{}", sent.headers);
                return (answer, archive);
            }
        }
        let sent: Vec<Sent> = pieces.into_iter().map(|(sent, _)| sent).collect();
        acknowledge(engine, &sent);
    }
}

/// [`pieces`], each with what it holds.
pub(crate) fn pieces_raw(engine: &TestEngine) -> Vec<(Sent, Vec<u8>)> {
    let raw = engine.host.take_raw();
    raw.into_iter().filter(|(sent, _)| sent.to == DELIVER).collect()
}

/// A restore, to its last answer.
pub(crate) fn restore(engine: &TestEngine, config: &Value, archive: &[u8], step: usize) -> Value {
    let name = config["name"].as_str().unwrap();
    let answer = ask(engine, &format!("STREAM.RESTORE.{name}"), &json!({"config": config, "state": {}}));
    let Some(subject) = answer["deliver_subject"].as_str().filter(|subject| !subject.is_empty()) else {
        return answer;
    };
    for piece in archive.chunks(step).chain([&b""[..]]) {
        let answer = send(engine, subject, piece).expect("the restore listens");
        if !answer.is_null() {
            return answer;
        }
    }
    panic!("the restore has no end");
}

/// Sends a piece; gives the answer, which is null where the piece was taken; `None` where nobody listens.
pub(crate) fn send(engine: &TestEngine, subject: &str, piece: &[u8]) -> Option<Value> {
    const REPLY: &str = "_INBOX.piece";
    engine.host.take();
    if !engine.engine.backup_message(engine.account, subject.as_bytes(), REPLY.as_bytes(), piece) {
        return None;
    }
    engine.host.sync_all();
    let sent = engine.host.take();
    let answer = sent.iter().find(|sent| sent.to == REPLY).expect("an answer");
    Some(if answer.payload.is_empty() { Value::Null } else { serde_json::from_str(&answer.payload).unwrap() })
}

/// Everything that clients can see of a stream, but when it and its consumers were created.
pub(crate) fn picture(engine: &TestEngine, stream: &str) -> Vec<String> {
    let info = ask(
        engine,
        &format!("STREAM.INFO.{stream}"),
        &json!({"deleted_details": true, "subjects_filter": ">"}),
    );
    let mut lines = vec![info["config"].to_string(), info["state"].to_string()];
    for seq in 1..=info["state"]["last_seq"].as_u64().unwrap() {
        let answer = ask(engine, &format!("STREAM.MSG.GET.{stream}"), &json!({ "seq": seq }));
        lines.push(format!("{seq} {}", answer["message"]));
    }
    let consumers = ask(engine, &format!("CONSUMER.LIST.{stream}"), &json!({}));
    for consumer in consumers["consumers"].as_array().into_iter().flatten() {
        for part in ["name", "config", "num_ack_pending", "num_redelivered", "num_pending"] {
            lines.push(consumer[part].to_string());
        }
        for part in ["delivered", "ack_floor"] {
            lines.push(format!("{} {}", consumer[part]["consumer_seq"], consumer[part]["stream_seq"]));
        }
    }
    lines
}

/// An archive of messages that is made by hand.
#[derive(Clone)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn new(state: &str) -> Self {
        Self(b"NATSARC1".to_vec()).entry("state.json", 1, 0, "", state)
    }

    pub(crate) fn entry(mut self, name: &str, ts_ns: i64, seq: u64, headers: &str, payload: &str) -> Self {
        let lens = [headers.len() as u64, payload.len() as u64];
        self.uvarint(name.len() as u64);
        self.uvarint((ts_ns << 1).cast_unsigned());
        self.uvarint(seq);
        lens.iter().for_each(|len| self.uvarint(*len));
        [name, headers, payload].iter().for_each(|part| self.0.extend_from_slice(part.as_bytes()));
        self
    }

    pub(crate) fn end(self) -> Self {
        self.entry("", 0, 0, "", "")
    }

    fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    pub(crate) fn packed(&self) -> Vec<u8> {
        packed(&self.0)
    }
}

pub(crate) fn packed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = minlz::s2::Writer::new(&mut out);
    writer.write_all(content).unwrap();
    writer.flush().unwrap();
    drop(writer);
    out
}
