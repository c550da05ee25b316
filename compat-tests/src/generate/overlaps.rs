//! Sessions on streams that take the same messages more than once: several sources of one origin whose filters and
//! transforms overlap, streams that take from each other, and chains.
//!
//! Two sources of one stream have no order between them, so what is compared is how much of each subject a stream holds,
//! once it holds all that it is going to. How much that is, the session counts itself.

use serde_json::{Value, json};

use super::operation::Operation;
use crate::random::Random;

const ORIGIN: &str = "@A";
/// Takes from the origin, by several sources.
const GATHERED: &str = "@S";
/// Takes from the other, and from the origin where both do so by filters: a transform on two ways is taken for a cycle.
const LINKED: &str = "@R";
const INFO: &str = r#"{"subjects_filter":">"}"#;
const SUBJECTS: [&str; 5] = ["a", "b", "a.b", "a.c", "b.b"];
const FILTERS: [&str; 6] = ["@A.>", "@A.*", "@A.a", "@A.a.>", "@A.*.b", "@A.a.b"];
/// Those of one source may not cover each other; these meet, or do not.
const PAIRS: [[&str; 2]; 3] = [["@A.a.*", "@A.*.b"], ["@A.a", "@A.a.>"], ["@A.b", "@A.*.*"]];
/// Most sources of one stream.
const FEEDS_MAX: usize = 4;

/// What a stream takes from another one.
#[derive(Clone, Debug)]
struct Feed {
    config: Value,
    /// Which source it is: one by a filter, and one that only takes the same and moves nothing, are the same.
    identity: Vec<[String; 2]>,
    /// Patterns of what comes.
    patterns: Vec<String>,
    /// What it brought that is still there when it is a source no more.
    kept: usize,
    is_active: bool,
}

impl Feed {
    fn new(config: Value, patterns: &[&str]) -> Self {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let identity = identity(&config);
        Self { config, identity, patterns, kept: 0, is_active: true }
    }

    /// How many of these it brings.
    fn count(&self, subjects: &[String]) -> usize {
        let takes = |name: &&String| self.patterns.iter().any(|pattern| is_match(name, pattern));
        subjects.iter().filter(takes).count()
    }
}

/// By what servers tell a source from others of the same origin, and what it has brought from what it has yet to bring.
fn identity(config: &Value) -> Vec<[String; 2]> {
    let text = |value: Option<&Value>| match value.and_then(Value::as_str).unwrap_or_default() {
        "" => ">".to_owned(),
        text => text.to_owned(),
    };
    match config.get("subject_transforms").and_then(Value::as_array) {
        Some(transforms) => {
            transforms.iter().map(|of| ["src", "dest"].map(|key| text(of.get(key)))).collect()
        }
        None => vec![[text(config.get("filter_subject")), ">".to_owned()]],
    }
}

/// Whether a pattern matches a subject.
fn is_match(subject: &str, pattern: &str) -> bool {
    let (mut tokens, mut wanted) = (subject.split('.'), pattern.split('.'));
    loop {
        match (tokens.next(), wanted.next()) {
            (Some(_), Some(">")) | (None, None) => return true,
            (Some(token), Some(want)) if want == "*" || want == token => {}
            _ => return false,
        }
    }
}

/// A source of the origin: by a filter, and where transforms may be, by these or whole, too.
fn feed(random: &mut Random, only_filters: bool) -> Feed {
    match random.below(if only_filters { 2 } else { 5 }) {
        0 | 1 => {
            let filter = random.pick(&FILTERS);
            Feed::new(json!({"name": ORIGIN, "filter_subject": filter}), &[filter])
        }
        2 => Feed::new(json!({"name": ORIGIN}), &["@A.>"]),
        3 => {
            let of = json!([{"src": "@A.>", "dest": random.pick(&["@T.all.>", "@T.other.>", ""])}]);
            Feed::new(json!({"name": ORIGIN, "subject_transforms": of}), &["@A.>"])
        }
        _ => {
            let pair = random.pick(&PAIRS);
            let is_moved = random.chance(60);
            let transform = |pattern: &&str| {
                let stars = pattern.matches('*').count();
                let moved = match pattern.ends_with('>') {
                    true => "@T.deep.>".to_owned(),
                    false => (1..=stars).fold("@T.one".to_owned(), |dest, at| format!("{dest}.${at}")),
                };
                json!({"src": pattern, "dest": if is_moved { moved } else { String::new() }})
            };
            let of: Vec<Value> = pair.iter().map(transform).collect();
            Feed::new(json!({"name": ORIGIN, "subject_transforms": of}), &pair)
        }
    }
}

/// A stream that takes from others.
#[derive(Clone, Debug, Default)]
struct Taker {
    /// Sources of the origin, and those that once were.
    feeds: Vec<Feed>,
    /// A source of the other stream, and whether it takes all of that.
    link: Option<(Feed, bool)>,
    /// What was published to it.
    own: Vec<String>,
}

impl Taker {
    fn config(&self, name: &str) -> String {
        let feeds = self.feeds.iter().filter(|feed| feed.is_active).map(|feed| &feed.config);
        let sources: Vec<&Value> = feeds.chain(self.link.iter().map(|(link, _)| &link.config)).collect();
        json!({"name": name, "subjects": [format!("{name}.>")], "allow_direct": true, "sources": sources})
            .to_string()
    }

    fn active(&self) -> usize {
        self.feeds.iter().filter(|feed| feed.is_active).count()
    }

    /// Messages in it, but for what comes from the other stream.
    fn count(&self, published: &[String]) -> usize {
        let brought = |feed: &Feed| if feed.is_active { feed.count(published) } else { feed.kept };
        self.own.len() + self.feeds.iter().map(brought).sum::<usize>()
    }

    /// How many messages come from the other stream.
    fn linked(&self, other: &Self, published: &[String]) -> usize {
        match &self.link {
            Some((_, true)) => other.count(published),
            Some((link, false)) => link.count(&other.own),
            None => 0,
        }
    }

    /// Has one more source, or one that it had again: that goes on where it was. One that it has it does not get twice.
    fn add(&mut self, feed: Feed) {
        match self.feeds.iter_mut().find(|known| known.identity == feed.identity) {
            Some(known) if known.is_active => {}
            Some(known) => (known.config, known.is_active) = (feed.config, true),
            None => self.feeds.push(feed),
        }
    }
}

/// A session under way.
struct Session {
    random: Random,
    operations: Vec<Operation>,
    /// Whether the streams take from each other.
    is_mutual: bool,
    published: Vec<String>,
    gathered: Taker,
    linked: Taker,
}

/// A session of at least `length` operations.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let is_mutual = random.chance(50);
    let (operations, published) = (Vec::new(), Vec::new());
    let (gathered, linked) = (Taker::default(), Taker::default());
    let mut session = Session { random, operations, is_mutual, published, gathered, linked };
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

    fn begin(&mut self) {
        let origin = json!({"name": ORIGIN, "subjects": ["@A.>"], "allow_direct": true});
        self.push(Operation::api("STREAM.CREATE.@A", origin.to_string()));
        for _ in 0..self.random.below(4) {
            self.publish();
        }
        for _ in 0..2 {
            let feed = feed(&mut self.random, self.is_mutual);
            self.gathered.add(feed);
        }
        if self.is_mutual {
            let filter = self.random.pick(&["@R.>", "@R.a"]);
            let config = json!({"name": LINKED, "filter_subject": filter});
            self.gathered.link = Some((Feed::new(config, &[filter]), false));
            let feed = feed(&mut self.random, true);
            self.linked.add(feed);
            // A source of what is not there yet shows an error once it was asked for.
            let config = Taker::default().config(LINKED);
            self.push(Operation::api("STREAM.CREATE.@R", config));
        }
        let config = self.gathered.config(GATHERED);
        self.push(Operation::api("STREAM.CREATE.@S", config));
        self.linked.link = Some(match self.random.below(if self.is_mutual { 2 } else { 3 }) {
            0 => (Feed::new(json!({"name": GATHERED, "filter_subject": "@S.>"}), &["@S.>"]), false),
            1 => (Feed::new(json!({"name": GATHERED, "filter_subject": "@S.a"}), &["@S.a"]), false),
            _ => (Feed::new(json!({"name": GATHERED}), &[">"]), true),
        });
        let config = self.linked.config(LINKED);
        let verb = if self.is_mutual { "UPDATE" } else { "CREATE" };
        self.push(Operation::api(&format!("STREAM.{verb}.@R"), config));
        self.settle();
    }

    /// A message for the origin.
    fn message(&mut self) -> Operation {
        let subject = format!("@A.{}", self.random.pick(&SUBJECTS));
        self.published.push(subject.clone());
        Operation::publish(&subject, Vec::new(), self.random.pick(&["", "1", "a longer value"]))
    }

    fn publish(&mut self) {
        let operation = self.message();
        self.push(operation);
    }

    /// Waits until all has come that is going to.
    fn settle(&mut self) {
        let gathered = self.gathered.count(&self.published);
        let gathered = gathered + self.gathered.linked(&self.linked, &self.published);
        let linked = self.linked.count(&self.published);
        let linked = linked + self.linked.linked(&self.gathered, &self.published);
        for (stream, count) in [(GATHERED, gathered), (LINKED, linked)] {
            let info = Operation::read(&format!("STREAM.INFO.{stream}"), "");
            self.push(info.awaited("/state/messages", &count.to_string()));
        }
    }

    /// The gathering stream takes something more from the origin, or less.
    fn change(&mut self) {
        self.settle();
        let active = self.gathered.active();
        if active > 1 && self.random.chance(40) {
            let at = usize::try_from(self.random.below(active as u64)).unwrap_or(0);
            if let Some(feed) = self.gathered.feeds.iter_mut().filter(|feed| feed.is_active).nth(at) {
                feed.kept = feed.count(&self.published);
                feed.is_active = false;
            }
        } else if active < FEEDS_MAX {
            let feed = feed(&mut self.random, self.is_mutual);
            self.gathered.add(feed);
        }
        let config = self.gathered.config(GATHERED);
        self.push(Operation::api("STREAM.UPDATE.@S", config));
    }

    /// Asks for what there may not be: a source twice, filters of one source that cover each other, cycles.
    fn refused(&mut self) {
        let twice = json!({"name": ORIGIN, "filter_subject": self.random.pick(&FILTERS)});
        let covered =
            json!([{"src": "@A.>", "dest": "@T.all.>"}, {"src": self.random.pick(&FILTERS), "dest": ""}]);
        let sources = match self.random.below(5) {
            0 => json!([twice, twice]),
            1 => json!([{"name": ORIGIN, "subject_transforms": covered}]),
            2 => json!([{"name": ORIGIN, "filter_subject": "@A.a", "subject_transforms": covered}]),
            3 => json!([{"name": GATHERED}]),
            _ => json!([{"name": ORIGIN, "subject_transforms": [{"src": "@A.*", "dest": "@T.$2"}]}]),
        };
        let config =
            json!({"name": GATHERED, "subjects": ["@S.>"], "allow_direct": true, "sources": sources});
        self.push(Operation::api("STREAM.UPDATE.@S", config.to_string()));
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=39 => self.publish(),
            40..=54 => {
                let operations = (0..self.random.below(5) + 2).map(|_| self.message()).collect();
                self.push(Operation::Packet { operations });
            }
            55..=69 => {
                // The sequence that is answered says what has come.
                self.settle();
                let is_first = self.random.chance(50);
                let stream = if is_first { GATHERED } else { LINKED };
                let subject = format!("{stream}.{}", self.random.pick(&["a", "b"]));
                let taker = if is_first { &mut self.gathered } else { &mut self.linked };
                taker.own.push(subject.clone());
                self.push(Operation::publish(&subject, Vec::new(), "own"));
            }
            70..=81 => self.change(),
            82..=87 => self.refused(),
            88..=91 => {
                self.settle();
                let kill = self.random.chance(60);
                self.push(Operation::Restart { kill });
            }
            _ => self.read(),
        }
    }

    fn read(&mut self) {
        self.settle();
        for stream in [GATHERED, LINKED] {
            self.push(Operation::read(&format!("STREAM.INFO.{stream}"), INFO));
        }
    }
}
