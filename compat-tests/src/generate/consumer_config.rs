//! Configurations of the consumers in generated sessions, and changes of them.

use serde_json::{Value, json};

use super::operation::Operation;
use crate::random::Random;

/// Longer than any session: nothing is delivered again by time, and no pull that waits ends by time.
pub(super) const LONG_NS: u64 = 3_600_000_000_000;
/// A pull that waits for its end.
pub(super) const SHORT_NS: u64 = 50_000_000;
/// The shortest that nats-server takes.
const HEARTBEAT_NS: u64 = 100_000_000;
/// Two of the names belong to pull consumers, so that acks of both kinds have something to aim at.
pub(super) const PUSH_NAME: &str = "c3";
/// The pull consumer that has a priority group in some sessions.
pub(super) const GROUPED_NAME: &str = "c2";
pub(super) const NAMES: [&str; 3] = ["c1", GROUPED_NAME, PUSH_NAME];
/// Deliver subjects; pulls that wait have others.
pub(super) const DELIVER: [&str; 2] = ["one", "two"];
pub(super) const GROUP: &str = "A";
/// So much that nothing is ever held back.
const FAST_BPS: u64 = 8_000_000_000;

/// What a session keeps to from its first operation to its last.
pub(super) struct Plan {
    /// Whether the consumers of these names have filters. nats-server v2.15.2 forgets to tell a consumer of new messages
    /// once an update has removed its last filter.
    pub(super) filtered: [bool; 3],
    /// Whether consumers may begin with the last message of each subject. nats-server v2.15.2 loses one of those that a
    /// pull has no room for, stops at one that was removed, and counts them otherwise than it delivers them after a
    /// restart, a purge or a change of filters; so sessions with such consumers have none of these.
    pub(super) begins_with_last_of_each: bool,
    /// Whether consumers are paused, and then stay so: nats-server v2.15.2 does not wake one whose pause is ended by hand.
    pub(super) pauses: bool,
    /// The priority policy of one of the pull consumers, empty for none.
    pub(super) priority: &'static str,
    /// Whether the push consumer's acknowledgements are its answers to flow control.
    pub(super) acks_by_flow: bool,
}

impl Plan {
    pub(super) fn choose(random: &mut Random) -> Self {
        Self {
            filtered: NAMES.map(|_| random.chance(60)),
            begins_with_last_of_each: random.chance(30),
            pauses: random.chance(30),
            priority: random.pick(&["", "", "", "overflow", "prioritized", "pinned_client"]),
            acks_by_flow: random.chance(20),
        }
    }
}

/// The configurations that a session has asked for.
#[derive(Default)]
pub(super) struct Configs {
    asked: [Option<Value>; 3],
}

impl Configs {
    /// A request for a consumer, which may be there already.
    pub(super) fn create(&mut self, random: &mut Random, plan: &Plan) -> [Operation; 2] {
        let at = random.index(NAMES.len()).unwrap_or_default();
        self.create_at(random, plan, at)
    }

    /// A request for the push consumer.
    pub(super) fn create_push(&mut self, random: &mut Random, plan: &Plan) -> [Operation; 2] {
        let at = NAMES.iter().position(|name| *name == PUSH_NAME).unwrap_or_default();
        self.create_at(random, plan, at)
    }

    fn create_at(&mut self, random: &mut Random, plan: &Plan, at: usize) -> [Operation; 2] {
        let name = NAMES.get(at).copied().unwrap_or_default();
        let config = config(random, plan, at, name);
        if let Some(asked) = self.asked.get_mut(at) {
            *asked = Some(config.clone());
        }
        let action = random.pick(&["", "", "", "create", "update"]);
        request(name, config, action)
    }

    /// A change of one field of a consumer that was asked for.
    pub(super) fn change(&mut self, random: &mut Random) -> Vec<Operation> {
        let at = random.index(NAMES.len()).unwrap_or_default();
        let name = NAMES.get(at).copied().unwrap_or_default();
        let Some(Some(config)) = self.asked.get_mut(at) else { return Vec::new() };
        let (field, value) = match random.below(11) {
            0 => ("description", json!(random.pick(&["", "text"]))),
            1 => ("max_ack_pending", json!(random.pick(&[-1, 1, 2, 5, 1000]))),
            2 => ("max_deliver", json!(random.pick(&[-1, 1, 2, 3]))),
            3 => ("headers_only", json!(random.chance(50))),
            4 => ("ack_wait", json!(random.pick(&[LONG_NS, 2 * LONG_NS]))),
            5 => ("inactive_threshold", json!(random.pick(&[LONG_NS, 2 * LONG_NS]))),
            6 => ("max_waiting", json!(random.pick(&[1, 2, 512]))),
            7 => ("sample_freq", json!(random.pick(&["", "0", "1%", "x"]))),
            8 => ("rate_limit_bps", json!(random.pick(&[0, FAST_BPS]))),
            9 => ("metadata", json!({"own": random.pick(&["", "1"])})),
            _ => ("replay_policy", json!(random.pick(&["instant", "original", "none"]))),
        };
        if let Some(fields) = config.as_object_mut() {
            fields.insert(field.to_string(), value);
        }
        let changed = config.clone();
        if field == "replay_policy"
            && let Some(fields) = config.as_object_mut()
        {
            // It cannot be changed, and would keep later changes from being accepted.
            fields.insert(field.to_string(), json!("instant"));
        }
        request(name, changed, random.pick(&["", "update"])).into()
    }
}

fn request(name: &str, config: Value, action: &str) -> [Operation; 2] {
    let mut body = json!({"stream_name": "@A", "config": config});
    if !action.is_empty()
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert("action".to_string(), json!(action));
    }
    // nats-server tells its consumers of a new message some time after it has acknowledged it.
    let pause = Operation::Pause { duration_ms: 5 };
    [pause, Operation::api(&format!("CONSUMER.CREATE.@A.{name}"), body.to_string())]
}

fn config(random: &mut Random, plan: &Plan, at: usize, name: &str) -> Value {
    let last = if plan.begins_with_last_of_each { "last_per_subject" } else { "last" };
    let deliver_policy =
        random.pick(&["all", "all", "all", "new", "last", last, "by_start_sequence", "by_start_time"]);
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
    if plan.filtered.get(at) == Some(&true) {
        if is_last_per_subject {
            set("filter_subject", json!("@a.*"));
        } else if random.chance(60) {
            set("filter_subject", json!(random.pick(&["@a.x", "@a.*", "@a.y", "@a.>", "@a.d.>"])));
        } else {
            set("filter_subjects", json!(random.pick(&[["@a.x", "@a.y"], ["@a.z", "@a.x"]])));
        }
    }
    if random.chance(30) {
        set("max_ack_pending", json!(random.pick(&[1, 2, 5])));
    }
    if deliver_policy == "by_start_time" {
        set("opt_start_time", json!("2001-01-01T00:00:00Z"));
    } else if random.chance(10) {
        // Not in the future: nats-server counts messages that come before it as pending.
        set("opt_start_seq", json!(random.below(2) + 1));
    }
    if random.chance(10) {
        set("headers_only", json!(true));
    }
    if random.chance(10) {
        set("backoff", json!(random.pick(&[vec![LONG_NS], vec![LONG_NS, 2 * LONG_NS]])));
    }
    if random.chance(10) {
        set("mem_storage", json!(true));
    }
    if random.chance(10) {
        set("inactive_threshold", json!(LONG_NS));
    }
    if name == PUSH_NAME {
        set_push(random, plan, &mut set);
    } else {
        set_pull(random, &mut set);
    }
    if name == GROUPED_NAME && !plan.priority.is_empty() {
        set("priority_policy", json!(plan.priority));
        set("priority_groups", json!(random.pick(&[vec![GROUP], vec![GROUP], vec![GROUP], vec![]])));
    }
    config
}

fn set_push(random: &mut Random, plan: &Plan, set: &mut impl FnMut(&str, Value)) {
    set("deliver_subject", json!(format!("@D.{}", random.pick(&DELIVER))));
    if plan.acks_by_flow && random.chance(90) {
        set("ack_policy", json!("flow_control"));
        set("max_ack_pending", json!(random.pick(&[1, 2, 3, 3, 1000])));
        set("max_deliver", json!(-1));
        set("ack_wait", json!(random.pick(&[0, 0, 0, 0, LONG_NS])));
        return;
    }
    if random.chance(5) {
        set("deliver_group", json!("g"));
    }
    if random.chance(10) {
        set("rate_limit_bps", json!(FAST_BPS));
    }
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
