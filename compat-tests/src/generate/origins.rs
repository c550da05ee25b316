//! Sessions on streams that gather from others: a mirror, a stream of two sources, and one that follows either.
//!
//! What comes from where has no order that both servers must keep, so a session changes one origin at a time: behind each
//! change it publishes a mark there, and goes on when the mark has come wherever it leads. Where many messages come at once,
//! no limit and no rollup removes one of them before it has been passed on.

use serde_json::{Value, json};

use super::operation::Operation;
use crate::random::Random;

const INFO: &str = r#"{"subjects_filter":">","deleted_details":true}"#;
/// More than a session stores in a stream.
const ALL: &str = r#"{"seq":1,"batch":500}"#;
const ORIGINS: [&str; 2] = ["@A", "@B"];
const MIRROR: &str = "@M";
const GATHERED: &str = "@S";
const FOLLOWER: &str = "@E";

/// What a stream takes from another one.
#[derive(Clone, Debug)]
struct Feed {
    config: Value,
    /// Under which subject the mark of an origin arrives.
    mark: String,
}

/// A feed from an origin.
fn feed(random: &mut Random, origin: &str) -> Feed {
    let mark = format!("{origin}.mark");
    let all = format!("{origin}.>");
    let transforms = |of: Value| json!({"name": origin, "subject_transforms": of});
    let (config, mark) = match random.below(6) {
        0 => (json!({"name": origin, "filter_subject": format!("{origin}.*")}), mark),
        1 => (transforms(json!([{"src": format!("{origin}.*"), "dest": "@T.$1"}])), "@T.mark".to_string()),
        2 => {
            let deep = json!({"src": format!("{origin}.a.>"), "dest": "@T.deep.>"});
            (transforms(json!([{"src": mark.clone(), "dest": ""}, deep])), mark)
        }
        3 => (transforms(json!([{"src": all, "dest": "@T.of.>"}])), "@T.of.mark".to_string()),
        _ => (json!({"name": origin}), mark),
    };
    Feed { config, mark }
}

/// A session under way.
struct Session {
    random: Random,
    operations: Vec<Operation>,
    marks: u64,
    /// What the mirror of the first origin takes; nothing once it is none any more.
    mirrored: Option<Feed>,
    /// What the stream of two sources takes from each origin.
    gathered: [Option<Feed>; 2],
    /// Whether the follower follows the mirror; else it follows the stream of two sources.
    follows_mirror: bool,
    /// Of the stream of two sources.
    limits: Value,
    /// Whether messages come in packets and batches; else one by one, and the origins are limited.
    has_bursts: bool,
}

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let follows_mirror = random.chance(50);
    let limits = if follows_mirror {
        json!({
            "max_msgs": random.pick(&[-1, -1, 9]),
            "max_msgs_per_subject": random.pick(&[-1, -1, 1, 2]),
        })
    } else {
        json!({})
    };
    let has_bursts = random.chance(50);
    let (operations, marks, mirrored, gathered) = (Vec::new(), 0, None, [None, None]);
    let mut session =
        Session { random, operations, marks, mirrored, gathered, follows_mirror, limits, has_bursts };
    session.begin();
    while session.operations.len() < length {
        session.step();
    }
    session.read();
    session.operations
}

impl Session {
    fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Both origins, the first with some messages, and the streams that gather, a source at a time.
    fn begin(&mut self) {
        for origin in ORIGINS {
            let config = json!({
                "name": origin, "subjects": [format!("{origin}.>")], "allow_direct": true, "allow_atomic": true,
                "allow_rollup_hdrs": true, "allow_msg_ttl": self.random.chance(60),
                "max_msgs_per_subject": if self.has_bursts { -1 } else { self.random.pick(&[-1, 1, 2]) },
            });
            self.push(Operation::api(&format!("STREAM.CREATE.{origin}"), config.to_string()));
        }
        let before = self.random.below(4);
        for _ in 0..before {
            self.push(Operation::publish("@A.a", Vec::new(), "before"));
        }
        let mut feed_of_mirror = feed(&mut self.random, "@A");
        if self.random.chance(30)
            && let Some(config) = feed_of_mirror.config.as_object_mut()
        {
            config.insert("opt_start_seq".to_string(), json!(self.random.below(before + 2)));
        }
        self.mirrored = Some(feed_of_mirror);
        let config = self.mirror_config();
        self.push(Operation::api("STREAM.CREATE.@M", config));
        self.mark(0);
        let sourced = feed(&mut self.random, "@A");
        self.gathered = [Some(sourced), None];
        let config = self.gathered_config();
        self.push(Operation::api("STREAM.CREATE.@S", config));
        self.mark(0);
        let upstream = if self.follows_mirror { MIRROR } else { GATHERED };
        let mut of = json!({"name": upstream});
        if self.random.chance(40) {
            of = json!({"name": upstream, "filter_subject": ">"});
        }
        let mut config = json!({"name": FOLLOWER, "allow_direct": true, "allow_msg_ttl": true});
        let (field, value) = if self.random.chance(50) { ("mirror", of) } else { ("sources", json!([of])) };
        if let Some(fields) = config.as_object_mut() {
            fields.insert(field.to_string(), value);
        }
        self.push(Operation::api("STREAM.CREATE.@E", config.to_string()));
        self.mark(0);
        self.change_source(1);
    }

    fn mirror_config(&self) -> String {
        let mut config = json!({"name": MIRROR, "allow_direct": true, "allow_msg_ttl": true});
        if let Some(fields) = config.as_object_mut() {
            match &self.mirrored {
                Some(feed) => fields.insert("mirror".to_string(), feed.config.clone()),
                None => fields.insert("subjects".to_string(), json!(["@P.>"])),
            };
        }
        config.to_string()
    }

    fn gathered_config(&self) -> String {
        let sources: Vec<&Value> = self.gathered.iter().flatten().map(|feed| &feed.config).collect();
        let mut config = json!({
            "name": GATHERED, "subjects": ["@S.>"], "allow_direct": true, "allow_msg_ttl": true,
            "allow_rollup_hdrs": true, "sources": sources,
        });
        if let (Some(fields), Some(limits)) = (config.as_object_mut(), self.limits.as_object()) {
            fields.extend(limits.clone());
        }
        config.to_string()
    }

    /// A message for one of the origins.
    fn message(&mut self, origin: usize) -> Operation {
        let origin = ORIGINS.get(origin).copied().unwrap_or_default();
        let subject = format!("{origin}.{}", self.random.pick(&["a", "b", "a.b", "a.b.c", "b.c"]));
        let mut headers = Vec::new();
        if self.random.chance(50) {
            headers.push(match self.random.below(7) {
                0 | 1 => format!("Nats-Msg-Id: {}", self.random.pick(&["x", "y"])),
                2 if !self.has_bursts => format!("Nats-Rollup: {}", self.random.pick(&["sub", "all"])),
                3 => format!("Nats-TTL: {}", self.random.pick(&["1h", "never"])),
                4 => format!("Nats-Expected-Last-Sequence: {}", self.random.below(12)),
                5 => "KV-Operation: DEL".to_string(),
                _ => "Mine: yes".to_string(),
            });
        }
        let payload = self.random.pick(&["", "1", "a longer value than the others"]);
        Operation::publish(&subject, headers, payload)
    }

    /// Publishes a mark to an origin and waits until it is wherever it leads.
    fn mark(&mut self, origin: usize) {
        self.marks += 1;
        let payload = format!("mark {}", self.marks);
        let subject = format!("{}.mark", ORIGINS.get(origin).copied().unwrap_or_default());
        self.push(Operation::publish(&subject, Vec::new(), &payload));
        let mirrored = self.mirrored.as_ref().filter(|_| origin == 0).map(|feed| (MIRROR, feed.mark.clone()));
        let gathered = self.gathered.get(origin).and_then(Option::as_ref);
        let gathered = gathered.map(|feed| (GATHERED, feed.mark.clone()));
        let followed = if self.follows_mirror { &mirrored } else { &gathered };
        let followed = followed.as_ref().map(|(_, subject)| (FOLLOWER, subject.clone()));
        let is_followed = self.operations.iter().any(|operation| match operation {
            Operation::Request(request) => request.subject == "$JS.API.STREAM.CREATE.@E",
            _ => false,
        });
        for (stream, subject) in mirrored.into_iter().chain(gathered).chain(followed.filter(|_| is_followed))
        {
            self.push(Operation::await_last(stream, &subject, &payload));
        }
    }

    /// The stream of two sources takes something else from an origin, or nothing any more.
    fn change_source(&mut self, origin: usize) {
        let changed = feed(&mut self.random, ORIGINS.get(origin).copied().unwrap_or_default());
        let had_one = self.gathered.get(origin).is_some_and(Option::is_some);
        let goes = had_one && self.random.chance(30);
        if let Some(source) = self.gathered.get_mut(origin) {
            *source = if goes { None } else { Some(changed) };
        }
        let config = self.gathered_config();
        self.push(Operation::api("STREAM.UPDATE.@S", config));
        self.mark(origin);
    }

    fn step(&mut self) {
        let origin = usize::from(self.random.chance(40));
        match self.random.below(100) {
            40..=49 if self.has_bursts => {
                let count = self.random.below(4) + 2;
                let operations = (0..count).map(|_| self.message(origin)).collect();
                self.push(Operation::Packet { operations });
                self.mark(origin);
            }
            50..=57 if self.has_bursts => self.batch(origin),
            58..=62 => {
                let origin = ORIGINS.get(origin).copied().unwrap_or_default();
                self.remove(origin);
            }
            63..=67 => {
                let stream = self.random.pick(&[GATHERED, MIRROR, FOLLOWER]);
                self.remove(stream);
            }
            68..=72 => {
                let subject = format!("@S.{}", self.random.pick(&["a", "b"]));
                self.push(Operation::publish(&subject, Vec::new(), "own"));
                self.mark(0);
            }
            73..=77 => self.change_source(origin),
            78 if !self.follows_mirror => {
                self.mirrored = None;
                let config = self.mirror_config();
                self.push(Operation::api("STREAM.UPDATE.@M", config));
                self.mark(0);
            }
            79..=83 => {
                // What a limit removed comes back to nats-server after a kill, and stays removed here.
                let mut limits = self.limits.as_object().into_iter().flatten();
                let is_limited = !self.has_bursts || limits.any(|(_, limit)| *limit != -1);
                let kill = self.random.chance(60) && !is_limited;
                self.push(Operation::Restart { kill });
                self.mark(0);
                self.mark(1);
            }
            84..=90 => self.read(),
            _ => {
                let operation = self.message(origin);
                self.push(operation);
                self.mark(origin);
            }
        }
    }

    /// An atomic batch for an origin.
    fn batch(&mut self, origin: usize) {
        let last = self.random.below(3) + 1;
        for seq in 1..=last {
            let Operation::Request(mut request) = self.message(origin) else { continue };
            request.headers = vec!["Nats-Batch-Id: b".to_string(), format!("Nats-Batch-Sequence: {seq}")];
            if seq == last {
                request.headers.push("Nats-Batch-Commit: 1".to_string());
            }
            self.push(Operation::Request(request));
        }
        self.mark(origin);
    }

    /// Removes something from a stream, before its last message.
    fn remove(&mut self, stream: &str) {
        let subject = self.random.pick(&["@A.a", "@A.>", "@T.b", "@B.*"]);
        let operation = match self.random.below(3) {
            0 => {
                let seq = self.random.below(12) + 1;
                Operation::api(&format!("STREAM.MSG.DELETE.{stream}"), json!({"seq": seq}).to_string())
            }
            1 => Operation::api(&format!("STREAM.PURGE.{stream}"), json!({"filter": subject}).to_string()),
            _ => Operation::api(&format!("STREAM.PURGE.{stream}"), json!({"keep": 2}).to_string()),
        };
        self.push(operation);
        self.mark(0);
        self.mark(1);
    }

    fn read(&mut self) {
        for stream in ["@A", MIRROR, GATHERED, FOLLOWER] {
            self.push(Operation::read(&format!("STREAM.INFO.{stream}"), INFO));
        }
        for stream in [MIRROR, GATHERED, FOLLOWER] {
            self.push(Operation::batch(&format!("DIRECT.GET.{stream}"), ALL));
        }
    }
}
