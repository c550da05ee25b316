//! Sessions on a bucket, by the requests that the clients make.

use serde_json::{Value, json};

use super::operation::{DEEP, Gone, Operation, REVISION};
use crate::random::Random;

/// So many watchers at most; each has a deliver subject of its own.
const WATCHERS_MAX: usize = 3;

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let has_markers = random.chance(40);
    let mut config = json!({
        "name": "KV_@",
        "subjects": ["$KV.@.>"],
        "storage": random.pick(&["file", "memory"]),
        "max_msgs_per_subject": random.pick(&[1, 1, 2, 5, 64]),
        "discard": "new",
        "allow_rollup_hdrs": true,
        "deny_delete": true,
        "allow_direct": true,
        "num_replicas": 1,
        "max_bytes": random.pick(&[-1, -1, 900]),
        "max_age": random.pick(&[0_u64, 0, 3_600_000_000_000]),
        "compression": random.pick(&["none", "none", "s2"]),
    });
    if has_markers && let Some(fields) = config.as_object_mut() {
        fields.insert("allow_msg_ttl".to_string(), json!(true));
        fields.insert("subject_delete_marker_ttl".to_string(), json!(1_800_000_000_000_u64));
    }
    let mut operations = vec![Operation::api("STREAM.CREATE.KV_@", config.to_string())];
    let mut watchers = 0;
    while operations.len() < length {
        let operation = match random.below(100) {
            0..=17 => put(&mut random, Vec::new()),
            // What create and update of the clients send.
            18..=23 => put(&mut random, vec!["Nats-Expected-Last-Subject-Sequence: 0".to_string()]),
            24..=30 => put(&mut random, vec![format!("Nats-Expected-Last-Subject-Sequence: {REVISION}")]),
            31..=33 => {
                let revision = random.pick(&[1, 2, 3, 4, 5, 6, 8, 10]);
                put(&mut random, vec![format!("Nats-Expected-Last-Subject-Sequence: {revision}")])
            }
            34..=36 => put_for_a_time(&mut random),
            37..=43 => marker(&mut random, &["KV-Operation: DEL"]),
            44..=49 => marker(&mut random, &["KV-Operation: PURGE", "Nats-Rollup: sub"]),
            50..=51 => marker(&mut random, &["KV-Operation: PURGE", "Nats-Rollup: sub", "Nats-TTL: 1h"]),
            52..=68 => get(&mut random),
            69..=72 => keys(&mut random),
            73..=77 if watchers < WATCHERS_MAX => {
                watchers += 1;
                watch(&mut random, watchers)
            }
            78 => Operation::api(&format!("CONSUMER.DELETE.KV_@.w{}", random.below(3) + 1), ""),
            79..=80 => purge_deletes(&mut random),
            81..=82 => resize(&mut random, &mut config),
            // After SIGKILL nats-server v2.15.2 may show values again that newer ones had pushed out.
            83 => Operation::Restart { kill: false },
            84 if random.chance(25) => {
                let key = key(&mut random);
                let header = vec!["Nats-TTL: 1s".to_string()];
                let put = Operation::publish(&format!("$KV.@.{key}"), header, "short");
                // A bucket with markers makes it live as long as they do.
                if has_markers { put } else { put.expiring("KV_@", Gone::Stored(None)) }
            }
            _ => Operation::read("STREAM.INFO.KV_@", r#"{"subjects_filter":">"}"#),
        };
        operations.push(operation);
    }
    operations
}

/// A put with a time to live; with a bucket that has none for messages it is refused.
fn put_for_a_time(random: &mut Random) -> Operation {
    let ttl = random.pick(&["1h", "1h", "3600", "never", "0s", "x"]);
    let mut headers = vec![format!("Nats-TTL: {ttl}")];
    if random.chance(40) {
        headers.push("Nats-Expected-Last-Subject-Sequence: 0".to_string());
    }
    put(random, headers)
}

/// What the clients send to be rid of old markers: the history of a key, or all of it.
fn purge_deletes(random: &mut Random) -> Operation {
    let key = key(random);
    let mut body = json!({"filter": format!("$KV.@.{key}")});
    if let Some(fields) = body.as_object_mut() {
        match random.below(3) {
            0 => fields.insert("keep".to_string(), json!(random.below(3))),
            1 => fields.insert("seq".to_string(), json!(random.below(20))),
            _ => None,
        };
    }
    Operation::api("STREAM.PURGE.KV_@", body.to_string())
}

/// A change of the bucket's settings.
fn resize(random: &mut Random, config: &mut Value) -> Operation {
    let (name, value) = match random.below(4) {
        0 => ("max_msgs_per_subject", json!(random.pick(&[1, 2, 5, 64]))),
        1 => ("max_bytes", json!(random.pick(&[-1, 600, 2000]))),
        2 => ("max_msg_size", json!(random.pick(&[-1, 10, 1000]))),
        _ => ("description", json!(random.pick(&["", "a bucket"]))),
    };
    if let Some(fields) = config.as_object_mut() {
        fields.insert(name.to_string(), value);
    }
    Operation::api("STREAM.UPDATE.KV_@", config.to_string())
}

fn key(random: &mut Random) -> String {
    if random.chance(6) {
        return random.pick(&DEEP).to_string();
    }
    random.pick(&["a", "a", "b", "c", "a.b", "a.c", "=/_-"]).to_string()
}

fn put(random: &mut Random, headers: Vec<String>) -> Operation {
    let key = key(random);
    let value = random.pick(&["", "1", "22", "three", "a longer value than the others"]);
    Operation::publish(&format!("$KV.@.{key}"), headers, value)
}

/// A delete or a purge, sometimes only if the key has a given revision.
fn marker(random: &mut Random, headers: &[&str]) -> Operation {
    let key = key(random);
    let mut headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
    if random.chance(30) {
        let revision = if random.chance(60) { REVISION.to_string() } else { random.below(12).to_string() };
        headers.push(format!("Nats-Expected-Last-Subject-Sequence: {revision}"));
    }
    Operation::publish(&format!("$KV.@.{key}"), headers, "")
}

fn get(random: &mut Random) -> Operation {
    let key = key(random);
    match random.below(4) {
        0 | 1 => Operation::read(&format!("DIRECT.GET.KV_@.$KV.@.{key}"), ""),
        2 => Operation::read("DIRECT.GET.KV_@", json!({"seq": random.below(25)}).to_string()),
        _ => {
            let body = json!({"last_by_subj": format!("$KV.@.{key}")});
            Operation::read("STREAM.MSG.GET.KV_@", body.to_string())
        }
    }
}

/// The listing of keys by the direct get of the newest message of each.
fn keys(random: &mut Random) -> Operation {
    let filter = random.pick(&["$KV.@.>", "$KV.@.a.*", "$KV.@.a", "$KV.@.d.>"]);
    Operation::batch("DIRECT.GET.KV_@", json!({"multi_last": [filter]}).to_string())
}

/// A watch as the clients make it: the newest of each key, all of the history, what comes from now on, or from a
/// revision on; of one filter or several.
fn watch(random: &mut Random, number: usize) -> Operation {
    let mut config = json!({
        "name": format!("w{number}"),
        "deliver_subject": format!("@D.w{number}"),
        "ack_policy": "none",
        "max_deliver": 1,
        "mem_storage": true,
        "num_replicas": 1,
        "headers_only": random.chance(30),
        "inactive_threshold": 600_000_000_000_u64,
    });
    let policy = random.pick(&["last_per_subject", "last_per_subject", "all", "new", "by_start_sequence"]);
    let filter = random.pick(&["$KV.@.>", "$KV.@.a.>", "$KV.@.*", "$KV.@.a", "$KV.@.d.>", "$KV.@.*.d.d.>"]);
    if let Some(fields) = config.as_object_mut() {
        fields.insert("deliver_policy".to_string(), json!(policy));
        if policy == "by_start_sequence" {
            fields.insert("opt_start_seq".to_string(), json!(random.below(20) + 1));
        }
        if random.chance(25) {
            fields.insert("filter_subjects".to_string(), json!(["$KV.@.a", "$KV.@.c", "$KV.@.a.*"]));
        } else {
            fields.insert("filter_subject".to_string(), json!(filter));
        }
    }
    let body = json!({"stream_name": "KV_@", "config": config});
    Operation::api(&format!("CONSUMER.CREATE.KV_@.w{number}"), body.to_string())
}
