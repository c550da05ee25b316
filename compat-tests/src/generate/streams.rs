//! Sessions on one stream: limits, publish headers, reads, purges, deletes, updates, restarts, malformed requests.

use serde_json::{Value, json};

use super::operation::Operation;
use crate::random::Random;

const STREAM: &str = "@A";
const HOUR_NS: u64 = 3_600_000_000_000;
/// So many operations are restarts, in a thousand.
const RESTARTS: u64 = 8;

/// A session of at least `length` operations.
pub fn session(random: Random, length: usize) -> Vec<Operation> {
    let mut writer = Writer { random, config: json!({}), operations: Vec::new() };
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
}

impl Writer {
    fn first_config(&mut self) -> Value {
        let random = &mut self.random;
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
        if random.chance(10) {
            set("duplicate_window", json!(HOUR_NS));
        }
        for rule in ["deny_delete", "deny_purge"] {
            if random.chance(5) {
                set(rule, json!(true));
            }
        }
        config
    }

    fn key(&mut self) -> String {
        format!("@a.{}", self.random.pick(&["x", "y", "z", "x.y"]))
    }

    fn filter(&mut self) -> String {
        match self.random.below(5) {
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
            self.operations.push(Operation::Restart);
            return;
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
            84..=88 => self.malformed(),
            _ => info(),
        };
        self.operations.push(operation);
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
            add("Nats-Expected-Last-Subject-Sequence", random.below(12).to_string());
            if random.chance(25) {
                let subject = random.pick(&["@a.x", "@a.y", "@a.*", "@b.x", "bad..one"]);
                add("Nats-Expected-Last-Subject-Sequence-Subject", subject.to_string());
            }
        }
        if random.chance(8) {
            add("Nats-Expected-Last-Sequence", random.below(20).to_string());
        }
        if random.chance(8) {
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
        if random.chance(4) {
            add("X-Own", "1".to_string());
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
        let (name, value) = match self.random.below(9) {
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
            fields.insert(name.to_string(), value);
        }
        if !matches!(name, "retention" | "allow_msg_ttl") {
            self.config = config.clone();
        }
        Operation::api("STREAM.UPDATE.@A", config.to_string())
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
