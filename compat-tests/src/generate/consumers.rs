//! Sessions with consumers: pulls that do not wait, pushes, every kind of ack, updates, deletes, restarts.

use serde_json::{Value, json};

use super::operation::Operation;
use super::streams;
use crate::random::Random;

/// Longer than any session: nothing is delivered again by time, only by a `-NAK` or a new pull.
const ACK_WAIT_NS: u64 = 3_600_000_000_000;
const NAMES: [&str; 3] = ["c1", "c2", "c3"];
/// So many operations are restarts, in a thousand.
const RESTARTS: u64 = 8;

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let stream = json!({
        "name": "@A",
        "subjects": ["@a.*"],
        "storage": random.pick(&["file", "file", "memory"]),
        "retention": random.pick(&["limits", "limits", "limits", "workqueue", "interest"]),
        "max_msgs_per_subject": random.pick(&[-1, -1, 3]),
    });
    let mut operations = vec![Operation::api("STREAM.CREATE.@A", stream.to_string())];
    // See the sessions on streams.
    operations.push(Operation::publish("@a.x", Vec::new(), ""));
    for number in 0..random.below(6) {
        operations.push(publish(&mut random, number));
    }
    operations.push(create(&mut random));
    while operations.len() < length {
        if random.below(1000) < RESTARTS {
            operations.push(Operation::Restart { kill: false });
            continue;
        }
        let operation = match random.below(100) {
            0..=24 => publish(&mut random, 9),
            25..=32 => create(&mut random),
            33..=54 => pull(&mut random),
            55..=74 => acknowledge(&mut random),
            75..=77 => Operation::api(&format!("CONSUMER.DELETE.@A.{}", name(&mut random)), ""),
            78..=79 => Operation::api("STREAM.PURGE.@A", purge(&mut random)),
            80..=81 => {
                let body = json!({"seq": random.below(20)}).to_string();
                Operation::api("STREAM.MSG.DELETE.@A", body)
            }
            82..=83 => malformed(&mut random),
            84..=85 => Operation::read("CONSUMER.NAMES.@A", ""),
            86..=89 => streams::info(),
            _ => Operation::read(&format!("CONSUMER.INFO.@A.{}", name(&mut random)), ""),
        };
        operations.push(operation);
    }
    operations
}

fn name(random: &mut Random) -> &'static str {
    random.pick(&NAMES)
}

fn publish(random: &mut Random, number: u64) -> Operation {
    let subject = format!("@a.{}", random.pick(&["x", "y", "z"]));
    let headers = if random.chance(15) { vec!["X-Own: 1".to_string()] } else { Vec::new() };
    Operation::publish(&subject, headers, &format!("m{number}"))
}

fn purge(random: &mut Random) -> String {
    match random.below(3) {
        0 => String::new(),
        1 => json!({"filter": "@a.x"}).to_string(),
        _ => json!({"seq": random.below(15)}).to_string(),
    }
}

fn create(random: &mut Random) -> Operation {
    let name = name(random);
    // Two of the names belong to pull consumers, so that acks of both kinds have something to aim at.
    let is_push = name == "c3";
    let mut config = json!({
        "name": name,
        "durable_name": name,
        "ack_policy": random.pick(&["explicit", "explicit", "explicit", "all", "none"]),
        "deliver_policy": random.pick(&["all", "all", "new", "last", "last_per_subject", "by_start_sequence"]),
        "ack_wait": ACK_WAIT_NS,
        "max_deliver": random.pick(&[-1, -1, 2, 3]),
        "replay_policy": "instant",
    });
    let mut set = |field: &str, value: Value| {
        if let Some(fields) = config.as_object_mut() {
            fields.insert(field.to_string(), value);
        }
    };
    if random.chance(40) {
        set("filter_subject", json!(random.pick(&["@a.x", "@a.*", "@a.y"])));
    } else if random.chance(30) {
        set("filter_subjects", json!(random.pick(&[["@a.x", "@a.y"], ["@a.z", "@a.x"]])));
    }
    if random.chance(30) {
        set("max_ack_pending", json!(random.pick(&[1, 2, 5])));
    }
    if random.chance(10) {
        set("opt_start_seq", json!(random.below(8) + 1));
    }
    if random.chance(10) {
        set("headers_only", json!(true));
    }
    if random.chance(10) {
        set("description", json!("text"));
    }
    if is_push {
        set("deliver_subject", json!(random.pick(&["@D.one", "@D.two"])));
    } else if random.chance(10) {
        set("max_batch", json!(2));
    }
    let mut body = json!({"stream_name": "@A", "config": config});
    let action = random.pick(&["", "", "", "create", "update"]);
    if !action.is_empty()
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert("action".to_string(), json!(action));
    }
    Operation::api(&format!("CONSUMER.CREATE.@A.{name}"), body.to_string())
}

fn pull(random: &mut Random) -> Operation {
    let name = random.pick(&["c1", "c1", "c2"]);
    let count = usize::try_from(random.below(4)).unwrap_or_default() + 1;
    let body = json!({"batch": count, "no_wait": true});
    Operation::pull(&format!("CONSUMER.MSG.NEXT.@A.{name}"), body.to_string(), count)
}

fn acknowledge(random: &mut Random) -> Operation {
    let payload = random.pick(&["+ACK", "+ACK", "+ACK", "", "-NAK", "+WPI", "+TERM", "+TERM because"]);
    Operation::Acknowledge {
        nth: usize::try_from(random.below(1000)).unwrap_or_default(),
        pushed: random.chance(30),
        payload: payload.to_string(),
    }
}

fn malformed(random: &mut Random) -> Operation {
    let subject = random.pick(&[
        "CONSUMER.CREATE.@A.c1",
        "CONSUMER.DURABLE.CREATE.@A.c1",
        "CONSUMER.INFO.@A.c9",
        "CONSUMER.DELETE.@A.c9",
        "CONSUMER.CREATE.@B.c1",
    ]);
    let body = random.pick(&[
        "",
        "{",
        "[]",
        "{}",
        r#"{"stream_name":"@A"}"#,
        r#"{"stream_name":"@B","config":{}}"#,
        r#"{"stream_name":"@A","config":{"name":"c2","durable_name":"c2"}}"#,
        r#"{"stream_name":"@A","config":{"name":"c1","ack_policy":"some"}}"#,
        r#"{"stream_name":"@A","config":{"name":"c1","durable_name":"c1","deliver_policy":"by_start_time"}}"#,
        r#"{"stream_name":"@A","config":{"name":"c1","durable_name":"c1","max_waiting":-1}}"#,
    ]);
    Operation::api(subject, body)
}
