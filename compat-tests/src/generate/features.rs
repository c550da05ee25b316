//! Sessions on streams with atomic batches, fast batches, counters or schedules. What is scheduled is due long after the
//! session, or at once and awaited.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::operation::{AT_SIGN, Operation, REVISION, SOON};
use crate::random::Random;

/// Batches of a session at a time.
const BATCHES: [&str; 3] = ["one", "two", "three"];
const INFO: &str = r#"{"subjects_filter":">","deleted_details":true}"#;

/// What the stream of a session allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    Batches,
    FastBatches,
    Counters,
    Schedules,
}

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let feature = match random.below(4) {
        0 => Feature::Batches,
        1 => Feature::FastBatches,
        2 => Feature::Counters,
        _ => Feature::Schedules,
    };
    let mut config = config(&mut random, feature);
    let is_kept = config.get("storage") == Some(&json!("file"));
    let mut is_there = true;
    let mut operations = vec![Operation::api("STREAM.CREATE.@A", config.to_string())];
    // The next sequence of each batch that is under way.
    let mut batches = BTreeMap::new();
    while operations.len() < length {
        let operation = match random.below(100) {
            0..=54 => match feature {
                Feature::Batches => batched(&mut random, &mut batches),
                Feature::FastBatches => {
                    operations.push(fast(&mut random, &mut batches));
                    // Not every message of a fast batch is answered; this one is, behind it.
                    Operation::publish("@.a", Vec::new(), "behind")
                }
                Feature::Counters => increment(&mut random),
                Feature::Schedules if is_there && random.chance(25) && has_room(&config) => {
                    let number = operations.len();
                    operations.extend(due(&mut random, is_kept, number));
                    continue;
                }
                Feature::Schedules => schedule(&mut random),
            },
            55..=62 => plain(&mut random),
            63..=72 => get(&mut random),
            73..=76 => {
                let seq = random.below(20);
                Operation::api("STREAM.MSG.DELETE.@A", json!({"seq": seq}).to_string())
            }
            77..=80 => purge(&mut random),
            81..=84 => update(&mut random, &mut config),
            85 => {
                batches.clear();
                is_there = is_kept;
                Operation::Restart { kill: false }
            }
            _ => Operation::read("STREAM.INFO.@A", INFO),
        };
        operations.push(operation);
    }
    operations.push(Operation::read("STREAM.INFO.@A", INFO));
    operations
}

fn config(random: &mut Random, feature: Feature) -> Value {
    let mut config = json!({
        "name": "@A",
        "subjects": ["@.>"],
        "storage": random.pick(&["file", "memory"]),
        "allow_direct": true,
        "allow_rollup_hdrs": random.chance(60),
        "allow_msg_ttl": random.chance(60),
        "max_msgs": random.pick(&[-1, -1, 6]),
        "max_msgs_per_subject": random.pick(&[-1, -1, 1, 2]),
        "max_msg_size": random.pick(&[-1, -1, 400]),
        "discard": random.pick(&["old", "old", "new"]),
        "retention": random.pick(&["limits", "limits", "limits", "workqueue"]),
    });
    if let Some(fields) = config.as_object_mut() {
        let name = match feature {
            Feature::Batches => "allow_atomic",
            Feature::FastBatches => "allow_batched",
            Feature::Counters => "allow_msg_counter",
            Feature::Schedules => "allow_msg_schedules",
        };
        fields.insert(name.to_string(), json!(true));
    }
    config
}

fn subject(random: &mut Random) -> String {
    format!("@.{}", random.pick(&["a", "a", "b", "c", "a.b", "s.x"]))
}

/// A message of a batch: the next one, mostly.
fn batched(random: &mut Random, batches: &mut BTreeMap<&'static str, u64>) -> Operation {
    let id = random.pick(&BATCHES);
    let next = batches.get(id).copied().unwrap_or(1);
    let seq = if random.chance(94) { next } else { random.below(6) };
    let mut headers = vec![format!("Nats-Batch-Id: {id}"), format!("Nats-Batch-Sequence: {seq}")];
    batches.insert(id, seq + 1);
    if random.chance(30) {
        headers.push(format!("Nats-Batch-Commit: {}", random.pick(&["1", "1", "1", "1", "eob", "x"])));
        batches.remove(id);
    }
    if random.chance(45) {
        headers.push(beside(random));
    }
    let payload = random.pick(&["", "1", "22", "a longer value than the others"]);
    Operation::publish(&subject(random), headers, payload)
}

/// A message of a fast batch: the next one, mostly. Gaps end the first of them, and are told to the others.
fn fast(random: &mut Random, batches: &mut BTreeMap<&'static str, u64>) -> Operation {
    let id = random.pick(&BATCHES);
    let gap = if id == "one" { "fail" } else { "ok" };
    let next = batches.get(id).copied().unwrap_or(1);
    let seq = if random.chance(94) { next } else { random.below(6) };
    let step = match random.below(20) {
        0 => 4,
        1 | 2 => 2,
        3 => 3,
        _ if next == 1 => 0,
        4 => 0,
        _ => 1,
    };
    match step {
        0 | 1 => batches.insert(id, seq + 1),
        4 => None,
        _ => batches.remove(id),
    };
    let headers = if random.chance(30) { vec![beside(random)] } else { Vec::new() };
    Operation::Ask {
        subject: subject(random),
        inbox: format!("f.{id}.{}.{gap}.{seq}.{step}.$FI", random.pick(&[1, 2, 10])),
        headers,
        payload: random.pick(&["", "1", "a longer value than the others"]).to_string(),
    }
}

/// A header that batches know, too.
fn beside(random: &mut Random) -> String {
    let number = random.pick(&[0, 1, 2, 3, 5]);
    match random.below(12) {
        0 | 1 => format!("Nats-Msg-Id: {}", random.pick(&["x", "y", "z"])),
        2 => format!("Nats-Expected-Last-Sequence: {number}"),
        3 => format!("Nats-Expected-Last-Subject-Sequence: {number}"),
        4 | 5 => format!("Nats-Expected-Last-Subject-Sequence: {REVISION}"),
        6 => format!("Nats-Expected-Stream: {}", random.pick(&["@A", "@A", "@B"])),
        7 => format!("Nats-Expected-Last-Msg-Id: {}", random.pick(&["x", "y"])),
        8 => format!("Nats-Rollup: {}", random.pick(&["sub", "all", "x"])),
        9 => format!("Nats-TTL: {}", random.pick(&["1h", "never", "x"])),
        10 => "Nats-Required-Api-Level: 9".to_string(),
        _ => "Mine: yes".to_string(),
    }
}

fn increment(random: &mut Random) -> Operation {
    let by = random.pick(&[
        "1",
        "+2",
        "-3",
        "0",
        "123456789012345678901234567890",
        "-99999999999999999999",
        "x",
        "",
    ]);
    let mut headers = vec![format!("Nats-Incr: {by}")];
    if random.chance(20) {
        headers.push(beside(random));
    }
    Operation::publish(&subject(random), headers, if random.chance(8) { "x" } else { "" })
}

fn schedule(random: &mut Random) -> Operation {
    let patterns = [
        format!("{AT_SIGN}at 2199-01-01T00:00:00Z"),
        format!("{AT_SIGN}at 2199-01-01T00:00:00+02:00"),
        format!("{AT_SIGN}at tomorrow"),
        format!("{AT_SIGN}every 1000h"),
        format!("{AT_SIGN}every 1ms"),
        "0 0 0 29 2 *".to_string(),
        "0 0 0 32 2 *".to_string(),
        "x".to_string(),
    ];
    let pattern = random.pick(&[0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 5, 6, 7]);
    let pattern = patterns.get(pattern).cloned().unwrap_or_default();
    let target = random.pick(&["@.t", "@.t", "@.t.u", "@.a", "other", "@.*", ""]);
    let mut headers = vec![format!("Nats-Schedule: {pattern}"), format!("Nats-Schedule-Target: {target}")];
    if random.chance(40) {
        headers.push(match random.below(6) {
            0 => format!("Nats-Schedule-TTL: {}", random.pick(&["1h", "never", "x"])),
            1 => format!("Nats-Schedule-Source: {}", random.pick(&["@.c", "@.*", "@.t", ""])),
            2 => format!("Nats-Schedule-Time-Zone: {}", random.pick(&["Europe/Berlin", "UTC", "No/Where"])),
            3 => format!("Nats-Schedule-Rollup: {}", random.pick(&["sub", "all", "x"])),
            _ => beside(random),
        });
    }
    Operation::publish(&format!("@.s.{}", random.pick(&["x", "y", "z"])), headers, random.pick(&["", "x"]))
}

/// Whether what follows from a schedule finds room in the stream whatever is there.
fn has_room(config: &Value) -> bool {
    config.get("discard") == Some(&json!("old"))
}

/// A schedule that is due at once or soon, and what follows from it; where the stream `is_kept`, perhaps with a restart in
/// between. Its number is that of no other in the session.
fn due(random: &mut Random, is_kept: bool, number: usize) -> Vec<Operation> {
    let payload = format!("due {number}");
    let at = random.pick(&["2000-01-01T00:00:00Z", "2263-01-01T00:00:00Z", SOON, SOON]);
    let headers = vec![
        format!("Nats-Schedule: {AT_SIGN}at {at}"),
        "Nats-Schedule-Target: @.t".to_string(),
        random
            .pick(&["Mine: yes", "Nats-Schedule-Rollup: sub", "Nats-Schedule-Source: @.nobody"])
            .to_string(),
    ];
    let mut operations = vec![Operation::publish("@.s.due", headers, &payload)];
    if is_kept && random.chance(20) {
        operations.push(Operation::Restart { kill: false });
    }
    operations.push(Operation::await_last("@A", "@.t", &payload));
    operations.push(Operation::read("STREAM.INFO.@A", INFO));
    operations
}

fn plain(random: &mut Random) -> Operation {
    let headers = if random.chance(60) { vec![beside(random)] } else { Vec::new() };
    Operation::publish(&subject(random), headers, "plain")
}

fn get(random: &mut Random) -> Operation {
    match random.below(3) {
        0 => Operation::read("DIRECT.GET.@A", json!({"last_by_subj": subject(random)}).to_string()),
        1 => Operation::read("STREAM.MSG.GET.@A", json!({"last_by_subj": subject(random)}).to_string()),
        _ => Operation::read("DIRECT.GET.@A", json!({"seq": random.below(25)}).to_string()),
    }
}

fn purge(random: &mut Random) -> Operation {
    let body = match random.below(4) {
        0 => json!({"filter": subject(random)}),
        1 => json!({"filter": subject(random), "keep": 1}),
        2 => json!({"seq": random.below(15)}),
        _ => json!({"keep": random.below(3)}),
    };
    Operation::api("STREAM.PURGE.@A", body.to_string())
}

fn update(random: &mut Random, config: &mut Value) -> Operation {
    let (name, value) = match random.below(5) {
        0 => ("max_msgs_per_subject", json!(random.pick(&[-1, 1, 2]))),
        1 => ("max_msgs", json!(random.pick(&[-1, 3, 6]))),
        2 => ("allow_rollup_hdrs", json!(random.chance(50))),
        3 => ("allow_msg_ttl", json!(true)),
        _ => ("description", json!(random.pick(&["", "a stream"]))),
    };
    if let Some(fields) = config.as_object_mut() {
        fields.insert(name.to_string(), value);
    }
    Operation::api("STREAM.UPDATE.@A", config.to_string())
}
