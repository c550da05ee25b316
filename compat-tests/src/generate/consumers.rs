//! Sessions with consumers: pulls that wait and pulls that do not, pushes with heartbeats and flow control, every kind of
//! ack, updates, pauses, deletes, restarts.

use serde_json::{Value, json};

use super::consumer_config::{
    Configs, DELIVER, GROUP, GROUPED_NAME, LONG_NS, NAMES, PUSH_NAME, Plan, SHORT_NS,
};
use super::operation::{DEEP, Operation};
use super::streams;
use crate::random::Random;

/// So many operations are restarts, in a thousand.
const RESTARTS: u64 = 8;

/// So many of them wait for time to pass, in a thousand.
const TIMED: u64 = 3;
/// A wait for an acknowledgement that ends in a session, and a time after which it has certainly ended twice.
const WAIT_NS: u64 = 250_000_000;
const PAUSE_MS: u64 = 1_200;

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let plan = Plan::choose(&mut random);
    let mut configs = Configs::default();
    let mut operations = vec![create_stream(&mut random, &plan)];
    // See the sessions on streams.
    operations.push(Operation::publish("@a.x", Vec::new(), ""));
    for number in 0..random.below(6) {
        operations.push(publish(&mut random, number));
    }
    if plan.acks_by_flow {
        operations.extend(configs.create_push(&mut random, &plan));
    }
    operations.extend(configs.create(&mut random, &plan));
    let mut is_restarted = false;
    while operations.len() < length {
        if random.below(1000) < RESTARTS && !plan.begins_with_last_of_each {
            operations.push(Operation::Restart { kill: false });
            is_restarted = true;
            continue;
        }
        if random.below(1000) < TIMED && !is_restarted {
            operations.extend(wait_for_a_timer(&mut random));
            continue;
        }
        let operation = match random.below(100) {
            0..=23 => publish(&mut random, 9),
            // nats-server's first answer to a change after a restart shows the consumer as it was before that.
            24..=31 if is_restarted => publish(&mut random, 9),
            24..=28 => {
                operations.extend(configs.create(&mut random, &plan));
                continue;
            }
            29..=31 => {
                operations.extend(configs.change(&mut random));
                continue;
            }
            32..=46 => pull(&mut random, &plan),
            47..=54 => waiting_pull(&mut random, &plan),
            55..=64 => acknowledge(&mut random),
            65..=72 if plan.acks_by_flow => Operation::AnswerFlow { inbox: random.pick(&DELIVER) },
            73 if !plan.priority.is_empty() => unpin(&mut random),
            74 if !plan.begins_with_last_of_each => reset(&mut random),
            65..=74 => acknowledge(&mut random),
            75..=77 => Operation::api(&format!("CONSUMER.DELETE.@A.{}", name(&mut random)), ""),
            78..=79 if !plan.begins_with_last_of_each => {
                operations.extend(purge(&mut random));
                continue;
            }
            80..=81 if !plan.begins_with_last_of_each => {
                let body = json!({"seq": random.below(20)}).to_string();
                Operation::api("STREAM.MSG.DELETE.@A", body)
            }
            82..=83 => malformed(&mut random),
            84 => {
                let list = random.pick(&["NAMES", "LIST"]);
                Operation::read(&format!("CONSUMER.{list}.@A"), random.pick(&["", r#"{"offset":1}"#]))
            }
            85..=86 => pause(&mut random, &plan),
            87 => Operation::Heartbeat { inbox: random.pick(&DELIVER) },
            88..=89 => streams::info(),
            _ => Operation::read(&format!("CONSUMER.INFO.@A.{}", name(&mut random)), ""),
        };
        operations.push(operation);
    }
    operations
}

fn create_stream(random: &mut Random, plan: &Plan) -> Operation {
    let stream = json!({
        "name": "@A",
        "subjects": ["@a.*", "@a.d.>"],
        "storage": random.pick(&["file", "file", "memory"]),
        "retention": random.pick(&["limits", "limits", "limits", "workqueue", "interest"]),
        "max_msgs_per_subject": if plan.begins_with_last_of_each { -1 } else { random.pick(&[-1, -1, 3]) },
    });
    Operation::api("STREAM.CREATE.@A", stream.to_string())
}

fn name(random: &mut Random) -> &'static str {
    random.pick(&NAMES)
}

fn pull_name(random: &mut Random) -> &'static str {
    random.pick(&["c1", "c1", "c1", "c2", "c2", PUSH_NAME])
}

fn publish(random: &mut Random, number: u64) -> Operation {
    let subject = match random.chance(6) {
        true => format!("@a.{}", random.pick(&DEEP)),
        false => format!("@a.{}", random.pick(&["x", "y", "z"])),
    };
    let headers = if random.chance(15) { vec!["X-Own: 1".to_string()] } else { Vec::new() };
    Operation::publish(&subject, headers, &format!("m{number}"))
}

/// A consumer of its own whose deliveries come again by time, or that goes by itself.
fn wait_for_a_timer(random: &mut Random) -> Vec<Operation> {
    let pause = Operation::Pause { duration_ms: PAUSE_MS };
    let info = Operation::read("CONSUMER.INFO.@A.timed", "");
    let create = |config: Value| {
        let body = json!({"stream_name": "@A", "config": config}).to_string();
        Operation::api("CONSUMER.CREATE.@A.timed", body)
    };
    if random.chance(30) {
        let config = json!({"name": "timed", "ack_policy": "explicit", "inactive_threshold": WAIT_NS});
        let ended = info.clone().awaited("/error/err_code", "10014");
        return vec![create(config), info.clone(), ended, info];
    }
    let mut config = json!({
        "name": "timed",
        "durable_name": "timed",
        "ack_policy": random.pick(&["explicit", "all"]),
        "max_deliver": random.pick(&[1, 2, 3]),
    });
    if let Some(fields) = config.as_object_mut() {
        let (field, value) = match random.below(3) {
            0 => ("backoff", json!([WAIT_NS])),
            _ => ("ack_wait", json!(WAIT_NS)),
        };
        fields.insert(field.to_string(), value);
    }
    let pull = Operation::Ask {
        subject: "$JS.API.CONSUMER.MSG.NEXT.@A.timed".to_string(),
        inbox: "w3".to_string(),
        headers: Vec::new(),
        payload: json!({"batch": random.pick(&[2, 7, 40]), "expires": LONG_NS}).to_string(),
    };
    let delete = Operation::api("CONSUMER.DELETE.@A.timed", "");
    vec![create(config), pull, pause, info, delete]
}

fn unpin(random: &mut Random) -> Operation {
    let body = json!({"group": random.pick(&[GROUP, GROUP, GROUP, "Z", ""])}).to_string();
    Operation::api(&format!("CONSUMER.UNPIN.@A.{}", random.pick(&[GROUPED_NAME, GROUPED_NAME, "c1"])), body)
}

fn reset(random: &mut Random) -> Operation {
    let body = if random.chance(40) { String::new() } else { json!({"seq": random.below(12)}).to_string() };
    Operation::api(&format!("CONSUMER.RESET.@A.{}", name(random)), body)
}

/// A purge by subject follows so many messages that it takes more than one: of a single one that several consumers have
/// yet to acknowledge nats-server v2.15.2 tells them while it purges, and chance says which of the two comes first.
fn purge(random: &mut Random) -> Vec<Operation> {
    let body = match random.below(4) {
        0 => String::new(),
        1 => json!({"filter": random.pick(&["@a.x", "@a.*"])}).to_string(),
        2 => json!({"keep": random.below(2)}).to_string(),
        _ => json!({"seq": random.below(15)}).to_string(),
    };
    // And see the sessions on streams for what goes before a purge up to a sequence.
    let count = if body.contains("seq") { 1 } else { 3 };
    let before =
        (0..if body.is_empty() { 0 } else { count }).map(|_| Operation::publish("@a.x", Vec::new(), "m"));
    before.chain([Operation::api("STREAM.PURGE.@A", body)]).collect()
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
    join_group(random, plan, name, &mut body);
    Operation::pull(&format!("CONSUMER.MSG.NEXT.@A.{name}"), body.to_string(), count)
}

/// A pull that waits, so that its messages come with what is pushed.
fn waiting_pull(random: &mut Random, plan: &Plan) -> Operation {
    let name = pull_name(random);
    let inbox = if name == "c1" { "w1" } else { "w2" };
    let mut body = json!({"batch": random.below(3) + 1, "expires": LONG_NS});
    join_group(random, plan, name, &mut body);
    let payload = match random.below(6) {
        0 => String::new(),
        1 => (random.below(3) + 1).to_string(),
        2 if !plan.begins_with_last_of_each => {
            json!({"batch": 3, "max_bytes": random.pick(&[90, 170, 1000]), "expires": LONG_NS}).to_string()
        }
        3 => json!({"batch": 2, "no_wait": true, "expires": LONG_NS}).to_string(),
        _ => body.to_string(),
    };
    Operation::Ask {
        subject: format!("$JS.API.CONSUMER.MSG.NEXT.@A.{name}"),
        inbox: inbox.to_string(),
        headers: Vec::new(),
        payload,
    }
}

/// What a pull of a consumer with priority groups says besides.
fn join_group(random: &mut Random, plan: &Plan, name: &str, body: &mut Value) {
    let is_grouped = name == GROUPED_NAME && !plan.priority.is_empty();
    let Some(fields) = body.as_object_mut().filter(|_| is_grouped && random.chance(90)) else { return };
    fields.insert("group".to_string(), json!(random.pick(&[GROUP, GROUP, GROUP, GROUP, "Z"])));
    match plan.priority {
        "overflow" if random.chance(60) => {
            let field = random.pick(&["min_pending", "min_ack_pending"]);
            fields.insert(field.to_string(), json!(random.below(4)));
        }
        "prioritized" if random.chance(70) => {
            fields.insert("priority".to_string(), json!(random.pick(&[0, 1, 2, 9, 10])));
        }
        "pinned_client" if random.chance(5) => {
            fields.insert("id".to_string(), json!("nobody"));
        }
        _ => {}
    }
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
