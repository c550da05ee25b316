//! Sessions on a bucket, by the requests that the clients make.

use serde_json::json;

use super::operation::Operation;
use crate::random::Random;

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
    });
    if has_markers && let Some(fields) = config.as_object_mut() {
        fields.insert("allow_msg_ttl".to_string(), json!(true));
        fields.insert("subject_delete_marker_ttl".to_string(), json!(1_800_000_000_000_u64));
    }
    let mut operations = vec![Operation::api("STREAM.CREATE.KV_@", config.to_string())];
    let mut watchers = 0;
    while operations.len() < length {
        let operation = match random.below(100) {
            0..=19 => put(&mut random, Vec::new()),
            20..=31 => {
                let revision = random.pick(&[0, 0, 1, 2, 3, 4, 5, 6, 8, 10]);
                put(&mut random, vec![format!("Nats-Expected-Last-Subject-Sequence: {revision}")])
            }
            32..=35 => put(&mut random, vec!["Nats-TTL: 1h".to_string()]),
            36..=42 => marker(&mut random, &["KV-Operation: DEL"]),
            43..=49 => marker(&mut random, &["KV-Operation: PURGE", "Nats-Rollup: sub"]),
            50..=51 => marker(&mut random, &["KV-Operation: PURGE", "Nats-Rollup: sub", "Nats-TTL: 1h"]),
            52..=69 => get(&mut random),
            70..=74 => keys(&mut random),
            75..=79 if watchers < 3 => {
                watchers += 1;
                watch(&mut random, watchers)
            }
            80..=83 => {
                let key = key(&mut random);
                let body = json!({"filter": format!("$KV.@.{key}"), "keep": random.below(2)});
                Operation::api("STREAM.PURGE.KV_@", body.to_string())
            }
            84 => Operation::Restart,
            _ => Operation::read("STREAM.INFO.KV_@", r#"{"subjects_filter":">"}"#),
        };
        operations.push(operation);
    }
    operations
}

fn key(random: &mut Random) -> String {
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
        headers.push(format!("Nats-Expected-Last-Subject-Sequence: {}", random.below(12)));
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
    let filter = random.pick(&["$KV.@.>", "$KV.@.a.*", "$KV.@.a"]);
    Operation::batch("DIRECT.GET.KV_@", json!({"multi_last": [filter]}).to_string())
}

fn watch(random: &mut Random, number: usize) -> Operation {
    let body = json!({
        "stream_name": "KV_@",
        "config": {
            "name": format!("w{number}"),
            "deliver_subject": format!("@D.w{number}"),
            "deliver_policy": random.pick(&["last_per_subject", "all", "new"]),
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": true,
            "num_replicas": 1,
            "headers_only": random.chance(30),
            "filter_subject": random.pick(&["$KV.@.>", "$KV.@.a.>", "$KV.@.*", "$KV.@.a"]),
            "inactive_threshold": 600_000_000_000_u64,
        },
    });
    Operation::api(&format!("CONSUMER.CREATE.KV_@.w{number}"), body.to_string())
}
