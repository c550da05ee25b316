//! Sessions on one stream: limits, publish headers, reads, purges, deletes, updates, restarts, malformed requests.

use serde_json::{Value, json};

use super::operation::{DEEP, Gone, Operation, REVISION};
use crate::random::Random;

const STREAM: &str = "@A";
const HOUR_NS: u64 = 3_600_000_000_000;
/// So many operations are restarts, in a thousand.
const RESTARTS: u64 = 8;
/// So many of them wait for time to pass, in a thousand.
const TIMED: u64 = 3;
/// A time after which nothing is taken for a repetition any more.
const PAUSE_MS: u64 = 1_700;

/// A session of at least `length` operations.
pub fn session(random: Random, length: usize) -> Vec<Operation> {
    let mut writer = Writer { random, config: json!({}), operations: Vec::new(), kills: false };
    writer.kills = writer.random.chance(25);
    writer.config = writer.first_config();
    writer.operations.push(Operation::api("STREAM.CREATE.@A", writer.config.to_string()));
    // In a stream that never had a message nats-server v2.15.2 counts one as deleted; nothing relies on that.
    writer.operations.push(Operation::publish("@a.x", Vec::new(), ""));
    while writer.operations.len() < length {
        writer.step();
    }
    writer.operations.push(info());
    writer.operations
}

/// Everything that a stream's state shows.
pub(super) fn info() -> Operation {
    Operation::read("STREAM.INFO.@A", r#"{"subjects_filter":">","deleted_details":true}"#)
}

struct Writer {
    random: Random,
    config: Value,
    operations: Vec<Operation>,
    /// Restarts are kills. In such a session no limit removes anything: after SIGKILL nats-server v2.15.2 may show
    /// messages again that a limit had removed, and may then remove others for them.
    kills: bool,
}

impl Writer {
    fn first_config(&mut self) -> Value {
        let random = &mut self.random;
        if self.kills {
            return json!({
                "name": STREAM,
                "subjects": ["@a.>"],
                "storage": "file",
                "allow_direct": true,
                "compression": random.pick(&["none", "none", "s2"]),
                "duplicate_window": HOUR_NS,
            });
        }
        let mut config = json!({
            "name": STREAM,
            "subjects": ["@a.>"],
            "storage": random.pick(&["file", "file", "memory"]),
            "allow_direct": true,
            "discard": random.pick(&["old", "old", "new"]),
            "max_msgs_per_subject": random.pick(&[-1, 1, 2, 3]),
            "max_msgs": random.pick(&[-1, -1, 5, 10]),
            "max_bytes": random.pick(&[-1, -1, 500]),
            "allow_rollup_hdrs": random.chance(60),
            "allow_msg_ttl": random.chance(40),
        });
        let mut set = |name: &str, value: Value| {
            if let Some(fields) = config.as_object_mut() {
                fields.insert(name.to_string(), value);
            }
        };
        if random.chance(20) {
            // Not 1: an empty stream then shows 1 as its first sequence on nats-server v2.15.2, and 0 on JetKV.
            set("first_seq", json!(random.below(20) + 2));
        }
        if random.chance(15) {
            set("max_msg_size", json!(random.below(60) + 1));
        }
        if random.chance(15) {
            set("discard_new_per_subject", json!(true));
        }
        if random.chance(10) {
            set("compression", json!("s2"));
        }
        // nats-server v2.15.2 transforms the subject of a delete marker once more.
        let has_markers = random.chance(8);
        if has_markers {
            set("subject_delete_marker_ttl", json!(HOUR_NS));
        }
        if random.chance(8) {
            set("retention", json!(random.pick(&["workqueue", "interest"])));
        }
        if random.chance(10) {
            set("duplicate_window", json!(HOUR_NS));
        }
        if random.chance(12) {
            set("republish", republish(random));
        }
        if random.chance(12) && !has_markers {
            set("subject_transform", transform(random));
        }
        for rule in ["deny_delete", "deny_purge"] {
            if random.chance(5) {
                set(rule, json!(true));
            }
        }
        config
    }

    fn key(&mut self) -> String {
        if self.random.chance(6) {
            return format!("@a.{}", self.random.pick(&DEEP));
        }
        format!("@a.{}", self.random.pick(&["x", "y", "z", "x.y"]))
    }

    fn filter(&mut self) -> String {
        match self.random.below(6) {
            5 => self.random.pick(&["@a.d.>", "@a.d.d.d.d.d.d.d.d.*", "@a.*.d.>"]).to_string(),
            0 => "@a.*".to_string(),
            1 => "@a.>".to_string(),
            2 => "@a.*.y".to_string(),
            _ => self.key(),
        }
    }

    fn seq(&mut self) -> u64 {
        self.random.below(30)
    }

    fn step(&mut self) {
        if self.random.below(1000) < RESTARTS {
            self.operations.push(Operation::Restart { kill: self.kills });
            return;
        }
        if !self.kills && self.random.below(1000) < TIMED {
            return self.wait_for_a_timer();
        }
        let operation = match self.random.below(100) {
            0..=44 => self.publish(),
            45..=52 => {
                let (seq, no_erase) = (self.seq(), self.random.chance(50));
                let body = json!({"seq": seq, "no_erase": no_erase});
                Operation::api("STREAM.MSG.DELETE.@A", body.to_string())
            }
            53..=58 => self.purge(),
            59..=64 => {
                let key = self.key();
                Operation::read(&format!("DIRECT.GET.@A.{key}"), "")
            }
            65..=73 => self.direct_get(),
            74..=78 => self.message_get(),
            79..=83 => self.update(),
            84..=87 => self.malformed(),
            88..=89 => self.neighbour(),
            90..=92 => self.listing(),
            _ => info(),
        };
        self.operations.push(operation);
    }

    /// Something that ends by itself, and the wait for it: where it can be seen, until it is. Afterwards windows are long again: nats-server forgets an id
    /// up to a second window late. A window is shortened in two steps, because nats-server v2.15.2 may look for old ids
    /// before it takes up the new window, and then not again before the old one has passed.
    fn wait_for_a_timer(&mut self) {
        let key = self.key();
        let pause = Operation::Pause { duration_ms: PAUSE_MS };
        let id = format!("Nats-Msg-Id: t{}", self.operations.len());
        let repeated = || Operation::publish(&key, vec![id.clone()], "again");
        let operations = match self.random.below(3) {
            0 => {
                let publish = Operation::publish(&key, vec!["Nats-TTL: 1s".to_string()], "short");
                // A stream with markers makes it live as long as they do.
                let stays = self.config.get("subject_delete_marker_ttl").is_some();
                let publish = if stays { publish } else { publish.expiring(STREAM, Gone::Stored(None)) };
                vec![publish, info()]
            }
            1 => {
                self.set("duplicate_window", json!(250_000_000));
                let nearly = Operation::api("STREAM.UPDATE.@A", self.config.to_string());
                self.set("duplicate_window", json!(200_000_000));
                let update = Operation::api("STREAM.UPDATE.@A", self.config.to_string());
                self.set("duplicate_window", json!(HOUR_NS));
                let lengthen = Operation::api("STREAM.UPDATE.@A", self.config.to_string());
                vec![nearly, update, repeated(), pause, repeated(), info(), lengthen]
            }
            _ => {
                self.set("max_age", json!(400_000_000));
                self.set("duplicate_window", json!(400_000_000));
                let nearly = Operation::api("STREAM.UPDATE.@A", self.config.to_string());
                self.set("duplicate_window", json!(300_000_000));
                let shorten = Operation::api("STREAM.UPDATE.@A", self.config.to_string());
                self.set("max_age", json!(0));
                self.set("duplicate_window", json!(HOUR_NS));
                let lengthen = Operation::api("STREAM.UPDATE.@A", self.config.to_string());
                vec![nearly, shorten.expiring(STREAM, Gone::All), info(), lengthen, info()]
            }
        };
        self.operations.extend(operations);
    }

    fn set(&mut self, name: &str, value: Value) {
        if let Some(fields) = self.config.as_object_mut() {
            fields.insert(name.to_string(), value);
        }
    }

    /// Another stream, whose subjects may be those of the first.
    fn neighbour(&mut self) -> Operation {
        let subjects = self.random.pick(&["@b.>", "@b.x", "@a.x", "@a.*", "@>", "@c"]);
        let body = json!({"name": "@B", "subjects": [subjects], "max_msgs": 3});
        match self.random.below(4) {
            0 => Operation::api("STREAM.UPDATE.@B", body.to_string()),
            1 => Operation::api("STREAM.DELETE.@B", ""),
            _ => Operation::api("STREAM.CREATE.@B", body.to_string()),
        }
    }

    /// Names, infos and subjects of the session's streams, page by page.
    fn listing(&mut self) -> Operation {
        let (filter, offset) = (self.filter(), self.random.below(4));
        match self.random.below(4) {
            0 => Operation::read("STREAM.NAMES", json!({"subject": filter, "offset": offset}).to_string()),
            1 => Operation::read("STREAM.LIST", json!({"subject": filter}).to_string()),
            2 => Operation::read("STREAM.INFO.@B", ""),
            _ => {
                let body =
                    json!({"subjects_filter": filter, "offset": offset, "deleted_details": offset > 1});
                Operation::read("STREAM.INFO.@A", body.to_string())
            }
        }
    }

    fn publish(&mut self) -> Operation {
        let key = self.key();
        let mut headers = Vec::new();
        let random = &mut self.random;
        let mut add = |name: &str, value: String| headers.push(format!("{name}: {value}"));
        if random.chance(20) {
            add("Nats-Msg-Id", random.below(6).to_string());
        }
        if random.chance(15) {
            let revision =
                if random.chance(60) { REVISION.to_string() } else { random.below(12).to_string() };
            add("Nats-Expected-Last-Subject-Sequence", revision);
            if random.chance(25) {
                let subject = random.pick(&["@a.x", "@a.y", "@a.*", "@b.x", "bad..one"]);
                add("Nats-Expected-Last-Subject-Sequence-Subject", subject.to_string());
            }
        }
        if random.chance(8) {
            add("Nats-Expected-Last-Sequence", random.below(20).to_string());
        }
        if !self.kills && random.chance(8) {
            add("Nats-Rollup", random.pick(&["sub", "all", "Sub", "none"]).to_string());
        }
        if random.chance(6) {
            add("Nats-TTL", random.pick(&["1h", "3600", "never", "x", "0", "-1", "500ms"]).to_string());
        }
        if random.chance(5) {
            add("Nats-Expected-Last-Msg-Id", random.below(6).to_string());
        }
        if random.chance(4) {
            add("Nats-Expected-Stream", random.pick(&["@A", "@B"]).to_string());
        }
        if random.chance(6) {
            let odd = [
                ("X-Own", "1"),
                ("X-Own", ""),
                ("nats-msg-id", "1"),
                ("Nats-Msg-Id", ""),
                ("Nats-Expected-Last-Sequence", "x"),
                ("Nats-Expected-Last-Sequence", "-1"),
                ("Nats-Expected-Last-Subject-Sequence", "x"),
                ("Nats-Expected-Last-Subject-Sequence", ""),
                ("Nats-Expected-Last-Msg-Id", ""),
                ("Nats-Rollup", ""),
                ("Nats-Incr", "1"),
                ("Nats-Schedule", "@every 1h"),
                ("Nats-Marker-Reason", "Remove"),
                ("KV-Operation", "DEL"),
                ("Nats-Required-Api-Level", "2"),
                ("Nats-Required-Api-Level", "99"),
            ];
            let (name, value) = random.pick(&odd);
            add(name, value.to_string());
        }
        let size = usize::try_from(random.below(40)).unwrap_or_default();
        Operation::publish(&key, headers, &"v".repeat(size))
    }

    fn purge(&mut self) -> Operation {
        let mut body = serde_json::Map::new();
        if self.random.chance(60) {
            body.insert("filter".to_string(), json!(self.filter()));
        }
        if self.random.chance(40) {
            body.insert("keep".to_string(), json!(self.random.below(4)));
        }
        if self.random.chance(30) {
            body.insert("seq".to_string(), json!(self.seq()));
        }
        if body.contains_key("seq") && !body.contains_key("filter") {
            // Up to a removed message that is the last, nats-server's file store goes on listing that one.
            let key = self.key();
            self.operations.push(Operation::publish(&key, Vec::new(), "last"));
        }
        let text = if body.is_empty() { String::new() } else { Value::Object(body).to_string() };
        Operation::api("STREAM.PURGE.@A", text)
    }

    fn direct_get(&mut self) -> Operation {
        let (seq, filter, key) = (self.seq(), self.filter(), self.key());
        let count = self.random.below(6) + 1;
        let body = match self.random.below(8) {
            0 => json!({"seq": seq}),
            1 => json!({"next_by_subj": filter, "seq": seq}),
            2 => json!({"last_by_subj": key}),
            3 => json!({"seq": seq, "batch": count}),
            4 => json!({"next_by_subj": filter, "batch": count, "seq": seq}),
            5 => json!({"multi_last": [filter]}),
            6 => json!({"multi_last": ["@a.x", key], "up_to_seq": seq}),
            _ => json!({"multi_last": ["@a.*"], "batch": 2}),
        };
        let is_many = body.get("batch").is_some() || body.get("multi_last").is_some();
        let make = if is_many { Operation::batch } else { Operation::read };
        make("DIRECT.GET.@A", body.to_string())
    }

    fn message_get(&mut self) -> Operation {
        let (seq, filter) = (self.seq(), self.filter());
        let body = match self.random.below(3) {
            0 => json!({"seq": seq}),
            1 => json!({"last_by_subj": filter}),
            _ => json!({"next_by_subj": filter, "seq": seq}),
        };
        Operation::read("STREAM.MSG.GET.@A", body.to_string())
    }

    /// Changes one limit; what the server refuses stays out of later updates, as far as the writer can tell.
    fn update(&mut self) -> Operation {
        let mut config = self.config.clone();
        let choice = if self.kills { self.random.pick(&[3, 6, 9, 12]) } else { self.random.below(17) };
        let (name, value) = match choice {
            9 => ("max_msg_size", json!(self.random.pick(&[-1, 10, 1000]))),
            10 => ("discard_new_per_subject", json!(self.random.chance(50))),
            11 if self.is_transformed() => ("allow_direct", json!(true)),
            11 => ("subject_delete_marker_ttl", json!(self.random.pick(&[0, HOUR_NS]))),
            12 => ("allow_direct", json!(self.random.chance(70))),
            13 => ("allow_rollup_hdrs", json!(self.random.chance(60))),
            14 => {
                ("republish", if self.random.chance(50) { republish(&mut self.random) } else { Value::Null })
            }
            15 if self.random.chance(15) => ("bad_republish", bad_republish(&mut self.random)),
            15 if !self.has_markers() => {
                let remove = self.random.chance(30);
                ("subject_transform", if remove { Value::Null } else { transform(&mut self.random) })
            }
            15 => ("description", json!("marked")),
            16 => ("metadata", json!({"own": self.random.pick(&["", "1"])})),
            0 => ("max_msgs", json!(self.random.pick(&[-1, 1, 3, 200]))),
            1 => ("max_bytes", json!(self.random.pick(&[-1, 200, 400, 5000]))),
            2 => ("max_msgs_per_subject", json!(self.random.pick(&[-1, 1, 2, 200]))),
            3 => ("duplicate_window", json!(self.random.pick(&[HOUR_NS, HOUR_NS / 60]))),
            4 => ("discard", json!(self.random.pick(&["old", "new"]))),
            5 => ("max_age", json!(self.random.pick(&[0, HOUR_NS]))),
            6 => ("description", json!(self.random.pick(&["", "text"]))),
            7 => ("allow_msg_ttl", json!(self.random.chance(70))),
            _ => ("retention", json!(self.random.pick(&["workqueue", "nonsense"]))),
        };
        if let Some(fields) = config.as_object_mut() {
            fields.insert(name.trim_start_matches("bad_").to_string(), value);
        }
        if self.random.chance(3) {
            // Nothing changes it any more.
            self.set("sealed", json!(true));
            return Operation::api("STREAM.UPDATE.@A", self.config.to_string());
        }
        if !matches!(name, "retention" | "allow_msg_ttl" | "bad_republish") {
            self.config = config.clone();
        }
        Operation::api("STREAM.UPDATE.@A", config.to_string())
    }

    fn has_markers(&self) -> bool {
        self.config.get("subject_delete_marker_ttl").and_then(Value::as_u64).is_some_and(|ttl| ttl > 0)
    }

    fn is_transformed(&self) -> bool {
        self.config.get("subject_transform").is_some_and(Value::is_object)
    }

    fn malformed(&mut self) -> Operation {
        let subject = self.random.pick(&[
            "STREAM.CREATE.@A",
            "STREAM.UPDATE.@A",
            "STREAM.INFO.@A",
            "STREAM.PURGE.@A",
            "STREAM.MSG.DELETE.@A",
            "STREAM.MSG.GET.@A",
            "DIRECT.GET.@A",
            "STREAM.INFO.@B",
            "STREAM.UPDATE.@B",
            "STREAM.PURGE.@B",
            "CONSUMER.NAMES.@A",
            "CONSUMER.LIST.@A",
            "CONSUMER.INFO.@A.none",
            "CONSUMER.DELETE.@A.none",
        ]);
        // None of these changes anything by being accepted, save a purge of everything.
        let body = self.random.pick(&[
            "",
            "{",
            "[]",
            "null",
            "text",
            r#"{"seq":"1"}"#,
            r#"{"seq":-1}"#,
            r#"{"name":"@B"}"#,
            r#"{"name":1}"#,
            r#"{"name":"@A","subjects":"@a"}"#,
            r#"{"filter":1}"#,
            r#"{"offset":-1}"#,
            r#"{"unknown":{}}"#,
        ]);
        Operation::api(subject, body)
    }
}

/// Where messages are sent on to; the session listens there.
fn republish(random: &mut Random) -> Value {
    let src = random.pick(&["@a.*", "@a.*", "@a.x", "@a.*.*"]);
    json!({"src": src, "dest": random.pick(&["@D.one", "@D.two"]), "headers_only": random.chance(30)})
}

/// What is refused.
fn bad_republish(random: &mut Random) -> Value {
    let (src, dest) =
        random.pick(&[(">", "@D.one"), ("@a.>", "@D.one"), ("@a.*", "@a.x"), ("@a.*", "@D..one")]);
    json!({"src": src, "dest": dest})
}

fn transform(random: &mut Random) -> Value {
    let (src, dest) = random.pick(&[
        ("@a.z", "@a.y"),
        ("@a.*.*", "@a.{{wildcard(2)}}.{{wildcard(1)}}"),
        ("@a.*", "@a.{{wildcard(1)}}.y"),
        ("@a.>", "@t.>"),
        ("", "@t.>"),
    ]);
    json!({"src": src, "dest": dest})
}
