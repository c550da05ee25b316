//! Sessions with consumers: pulls that wait and pulls that do not, pushes with heartbeats and flow control, every kind of
//! ack, updates, pauses, deletes, restarts.

use serde_json::{Value, json};

use super::operation::Operation;
use super::streams;
use crate::random::Random;

/// Longer than any session: nothing is delivered again by time, and no pull that waits ends by time.
const LONG_NS: u64 = 3_600_000_000_000;
/// A pull that waits for its end.
const SHORT_NS: u64 = 50_000_000;
/// The shortest that nats-server takes.
const HEARTBEAT_NS: u64 = 100_000_000;
/// Two of the names belong to pull consumers, so that acks of both kinds have something to aim at.
const PUSH_NAME: &str = "c3";
const NAMES: [&str; 3] = ["c1", "c2", PUSH_NAME];
/// Deliver subjects; pulls that wait have others.
const DELIVER: [&str; 2] = ["one", "two"];
/// So many operations are restarts, in a thousand.
const RESTARTS: u64 = 8;

/// What a session keeps to from its first operation to its last.
struct Plan {
    /// Whether the consumers of these names have filters. nats-server v2.15.2 forgets to tell a consumer of new messages
    /// once an update has removed its last filter.
    filtered: [bool; 3],
    /// Whether consumers may begin with the last message of each subject. nats-server v2.15.2 loses one of those that a
    /// pull has no room for, stops at one that was removed, and counts them otherwise than it delivers them after a
    /// restart, a purge or a change of filters; so sessions with such consumers have none of these.
    begins_with_last_of_each: bool,
    /// Whether consumers are paused, and then stay so: nats-server v2.15.2 does not wake one whose pause is ended by hand.
    pauses: bool,
}

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let plan = Plan {
        filtered: NAMES.map(|_| random.chance(60)),
        begins_with_last_of_each: random.chance(30),
        pauses: random.chance(30),
    };
    let stream = json!({
        "name": "@A",
        "subjects": ["@a.*"],
        "storage": random.pick(&["file", "file", "memory"]),
        "retention": random.pick(&["limits", "limits", "limits", "workqueue", "interest"]),
        "max_msgs_per_subject": if plan.begins_with_last_of_each { -1 } else { random.pick(&[-1, -1, 3]) },
    });
    let mut operations = vec![Operation::api("STREAM.CREATE.@A", stream.to_string())];
    // See the sessions on streams.
    operations.push(Operation::publish("@a.x", Vec::new(), ""));
    for number in 0..random.below(6) {
        operations.push(publish(&mut random, number));
    }
    operations.extend(create(&mut random, &plan));
    let mut is_restarted = false;
    while operations.len() < length {
        if random.below(1000) < RESTARTS && !plan.begins_with_last_of_each {
            operations.push(Operation::Restart { kill: false });
            is_restarted = true;
            continue;
        }
        let operation = match random.below(100) {
            0..=23 => publish(&mut random, 9),
            // nats-server's first answer to a change after a restart shows the consumer as it was before that.
            24..=31 if is_restarted => publish(&mut random, 9),
            24..=31 => {
                operations.extend(create(&mut random, &plan));
                continue;
            }
            32..=46 => pull(&mut random, &plan),
            47..=54 => waiting_pull(&mut random, &plan),
            55..=74 => acknowledge(&mut random),
            75..=77 => Operation::api(&format!("CONSUMER.DELETE.@A.{}", name(&mut random)), ""),
            78..=79 if !plan.begins_with_last_of_each => {
                Operation::api("STREAM.PURGE.@A", purge(&mut random))
            }
            80..=81 if !plan.begins_with_last_of_each => {
                let body = json!({"seq": random.below(20)}).to_string();
                Operation::api("STREAM.MSG.DELETE.@A", body)
            }
            82..=83 => malformed(&mut random),
            84 => Operation::read("CONSUMER.NAMES.@A", ""),
            85..=86 => pause(&mut random, &plan),
            87 => Operation::Heartbeat { inbox: random.pick(&DELIVER) },
            88..=89 => streams::info(),
            _ => Operation::read(&format!("CONSUMER.INFO.@A.{}", name(&mut random)), ""),
        };
        operations.push(operation);
    }
    operations
}

fn name(random: &mut Random) -> &'static str {
    random.pick(&NAMES)
}

fn pull_name(random: &mut Random) -> &'static str {
    random.pick(&["c1", "c1", "c1", "c2", "c2", PUSH_NAME])
}

fn publish(random: &mut Random, number: u64) -> Operation {
    let subject = format!("@a.{}", random.pick(&["x", "y", "z"]));
    let headers = if random.chance(15) { vec!["X-Own: 1".to_string()] } else { Vec::new() };
    Operation::publish(&subject, headers, &format!("m{number}"))
}

fn purge(random: &mut Random) -> String {
    match random.below(4) {
        0 => String::new(),
        1 => json!({"filter": random.pick(&["@a.x", "@a.*"])}).to_string(),
        2 => json!({"keep": random.below(3)}).to_string(),
        _ => json!({"seq": random.below(15)}).to_string(),
    }
}

/// A pause ends far away, because one that ends in time does so at another moment on each server.
fn pause(random: &mut Random, plan: &Plan) -> Operation {
    let body = if plan.pauses {
        r#"{"pause_until":"2099-01-01T00:00:00Z"}"#
    } else {
        random.pick(&["{}", r#"{"pause_until":null}"#, r#"{"pause_until":"2001-01-01T00:00:00Z"}"#, ""])
    };
    Operation::api(&format!("CONSUMER.PAUSE.@A.{}", name(random)), body)
}

fn create(random: &mut Random, plan: &Plan) -> [Operation; 2] {
    let name = name(random);
    let is_push = name == PUSH_NAME;
    let last = if plan.begins_with_last_of_each { "last_per_subject" } else { "last" };
    let deliver_policy = random.pick(&["all", "all", "new", "last", last, "by_start_sequence"]);
    // It keeps its filters: see the plan.
    let is_last_per_subject = deliver_policy == "last_per_subject";
    let mut config = json!({
        "name": name,
        "durable_name": name,
        "ack_policy": random.pick(&["explicit", "explicit", "explicit", "all", "none"]),
        "deliver_policy": deliver_policy,
        "ack_wait": LONG_NS,
        "max_deliver": random.pick(&[-1, -1, 2, 3]),
        "replay_policy": "instant",
    });
    let mut set = |field: &str, value: Value| {
        if let Some(fields) = config.as_object_mut() {
            fields.insert(field.to_string(), value);
        }
    };
    let at = NAMES.iter().position(|known| *known == name).unwrap_or_default();
    if plan.filtered.get(at) == Some(&true) {
        if is_last_per_subject {
            set("filter_subject", json!("@a.*"));
        } else if random.chance(60) {
            set("filter_subject", json!(random.pick(&["@a.x", "@a.*", "@a.y"])));
        } else {
            set("filter_subjects", json!(random.pick(&[["@a.x", "@a.y"], ["@a.z", "@a.x"]])));
        }
    }
    if random.chance(30) {
        set("max_ack_pending", json!(random.pick(&[1, 2, 5])));
    }
    if random.chance(10) {
        // Not in the future: nats-server counts messages that come before it as pending.
        set("opt_start_seq", json!(random.below(2) + 1));
    }
    if random.chance(10) {
        set("headers_only", json!(true));
    }
    if is_push {
        set_push(random, &mut set);
    } else {
        set_pull(random, &mut set);
    }
    let mut body = json!({"stream_name": "@A", "config": config});
    let action = random.pick(&["", "", "", "create", "update"]);
    if !action.is_empty()
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert("action".to_string(), json!(action));
    }
    // nats-server tells its consumers of a new message some time after it has acknowledged it.
    let pause = Operation::Pause { duration_ms: 5 };
    [pause, Operation::api(&format!("CONSUMER.CREATE.@A.{name}"), body.to_string())]
}

fn set_push(random: &mut Random, set: &mut impl FnMut(&str, Value)) {
    set("deliver_subject", json!(format!("@D.{}", random.pick(&DELIVER))));
    if random.chance(50) {
        set("idle_heartbeat", json!(HEARTBEAT_NS));
        if random.chance(50) {
            set("flow_control", json!(true));
        }
    } else if random.chance(10) {
        set("flow_control", json!(true));
    }
}

fn set_pull(random: &mut Random, set: &mut impl FnMut(&str, Value)) {
    if random.chance(15) {
        set("max_batch", json!(2));
    }
    if random.chance(10) {
        set("max_bytes", json!(random.pick(&[90, 400])));
    }
    if random.chance(10) {
        set("max_expires", json!(SHORT_NS));
    }
    if random.chance(30) {
        set("max_waiting", json!(random.pick(&[1, 2])));
    }
}

/// A pull that is over when its answers have come.
fn pull(random: &mut Random, plan: &Plan) -> Operation {
    let name = pull_name(random);
    let count = usize::try_from(random.below(4)).unwrap_or_default() + 1;
    let mut body = json!({"batch": count});
    let mut count = count;
    if let Some(fields) = body.as_object_mut() {
        if random.chance(85) {
            fields.insert("no_wait".to_string(), json!(true));
        }
        if random.chance(20) || !fields.contains_key("no_wait") {
            fields.insert("expires".to_string(), json!(SHORT_NS));
        }
        if !plan.begins_with_last_of_each && random.chance(40) {
            fields.insert("max_bytes".to_string(), json!(random.pick(&[50, 90, 170, 1000])));
            // A batch that is complete before its bytes are ends with a status.
            count += 1;
        }
    }
    Operation::pull(&format!("CONSUMER.MSG.NEXT.@A.{name}"), body.to_string(), count)
}

/// A pull that waits, so that its messages come with what is pushed.
fn waiting_pull(random: &mut Random, plan: &Plan) -> Operation {
    let name = pull_name(random);
    let inbox = if name == "c1" { "w1" } else { "w2" };
    let payload = match random.below(6) {
        0 => String::new(),
        1 => (random.below(3) + 1).to_string(),
        2 if !plan.begins_with_last_of_each => {
            json!({"batch": 3, "max_bytes": random.pick(&[90, 170, 1000]), "expires": LONG_NS}).to_string()
        }
        3 => json!({"batch": 2, "no_wait": true, "expires": LONG_NS}).to_string(),
        _ => json!({"batch": random.below(3) + 1, "expires": LONG_NS}).to_string(),
    };
    Operation::Ask { subject: format!("$JS.API.CONSUMER.MSG.NEXT.@A.{name}"), inbox, payload }
}

fn acknowledge(random: &mut Random) -> Operation {
    let payload = random.pick(&[
        "+ACK",
        "+ACK",
        "+ACK",
        "+ACK",
        "",
        "-NAK",
        "+WPI",
        "+TERM",
        "+TERM because",
        "+NXT",
        "+NXT 2",
        r#"+NXT {"batch":2,"no_wait":true}"#,
        r#"-NAK {"delay":3600000000000}"#,
    ]);
    Operation::Acknowledge {
        nth: usize::try_from(random.below(1000)).unwrap_or_default(),
        pushed: random.chance(50),
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
        "CONSUMER.PAUSE.@A.c9",
        "CONSUMER.MSG.NEXT.@A.c1",
    ]);
    let body = random.pick(&[
        "",
        "{",
        "[]",
        "{}",
        r#"{"batch":1,"no_wait":true,"idle_heartbeat":1000}"#,
        r#"{"batch":0,"no_wait":true}"#,
        r#"{"batch":-1,"no_wait":true}"#,
        r#"{"stream_name":"@A"}"#,
        r#"{"stream_name":"@B","config":{}}"#,
        r#"{"stream_name":"@A","config":{"name":"c2","durable_name":"c2"}}"#,
        r#"{"stream_name":"@A","config":{"name":"c1","ack_policy":"some"}}"#,
        r#"{"stream_name":"@A","config":{"name":"c1","durable_name":"c1","deliver_policy":"by_start_time"}}"#,
        r#"{"stream_name":"@A","config":{"name":"c1","durable_name":"c1","max_waiting":-1}}"#,
    ]);
    Operation::api(subject, body)
}
