//! An operator who creates, changes and deletes streams and consumers, one at a time, and writes down what was granted.

use crate::Result;
use crate::process::Server;
use crate::random::Random;
use crate::request::Requester;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Streams that are changed; the last one is deleted as well.
const STREAMS: usize = 4;
/// Consumers of the first stream, all of which are deleted as well.
const CONSUMERS: usize = 4;
/// Messages in each of the streams that are not deleted.
const MESSAGES: u64 = 5;
/// What tells one version of a configuration from another is a number in its description.
type Version = u64;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Stream(usize),
    Consumer(usize),
}

/// What the operator knows.
#[derive(Debug, Clone)]
pub(super) struct Shapes {
    /// The version of each thing that was granted last; `None` where there is none.
    granted: Vec<(Thing, Option<Version>)>,
    /// What was asked for when the connection closed.
    under_way: Option<(Thing, Option<Version>)>,
    versions: Version,
    changes: u64,
}

impl Shapes {
    pub(super) fn new() -> Self {
        let things = (0..STREAMS).map(Thing::Stream).chain((0..CONSUMERS).map(Thing::Consumer));
        let granted = things.map(|thing| (thing, None)).collect();
        Self { granted, under_way: None, versions: 0, changes: 0 }
    }

    /// How many changes were granted.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    fn version(&self, thing: Thing) -> Option<Version> {
        self.granted.iter().find(|(of, _)| *of == thing).and_then(|(_, version)| *version)
    }

    fn grant(&mut self, thing: Thing, version: Option<Version>) {
        for (of, granted) in &mut self.granted {
            if *of == thing {
                *granted = version;
            }
        }
    }
}

impl Thing {
    fn stream(self) -> String {
        match self {
            Self::Stream(at) => format!("crash_shape_{at}"),
            Self::Consumer(_) => "crash_shape_0".to_owned(),
        }
    }

    fn goes(self) -> bool {
        self != Self::Stream(0) && (self == Self::Stream(STREAMS - 1) || matches!(self, Self::Consumer(_)))
    }

    /// The request that makes the thing exist in a version.
    fn set(self, exists: bool, version: Version) -> (String, Value) {
        let (stream, description) = (self.stream(), version.to_string());
        match self {
            Self::Stream(_) => {
                let verb = if exists { "UPDATE" } else { "CREATE" };
                let config = json!({
                    "name": stream, "subjects": [format!("crash.shape.{stream}")], "storage": "file",
                    "retention": "limits", "discard": "old", "num_replicas": 1, "description": description,
                    // Files of many lengths.
                    "metadata": {"filler": "x".repeat(usize::try_from(version % 700).unwrap_or_default())},
                });
                (format!("$JS.API.STREAM.{verb}.{stream}"), config)
            }
            Self::Consumer(at) => {
                let config = json!({
                    "durable_name": format!("c{at}"), "ack_policy": "explicit", "deliver_policy": "all",
                    "description": description,
                });
                let body = json!({"stream_name": stream, "config": config});
                (format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.c{at}"), body)
            }
        }
    }

    fn about(self, verb: &str) -> String {
        let stream = self.stream();
        match self {
            Self::Stream(_) => format!("$JS.API.STREAM.{verb}.{stream}"),
            Self::Consumer(at) => format!("$JS.API.CONSUMER.{verb}.{stream}.c{at}"),
        }
    }
}

/// Creates everything in its first version.
pub(super) fn create(connection: &mut Requester, shapes: &mut Shapes) -> Result<()> {
    for (thing, granted) in &mut shapes.granted {
        shapes.versions += 1;
        let (subject, body) = thing.set(false, shapes.versions);
        connection.api(&subject, &body)?;
        *granted = Some(shapes.versions);
        if matches!(thing, Thing::Stream(_)) && !thing.goes() {
            for _ in 0..MESSAGES {
                connection.ask(&format!("crash.shape.{}", thing.stream()), "", b"x")?;
            }
        }
    }
    Ok(())
}

/// The operator, with a connection.
pub(super) struct Shaper {
    connection: Requester,
    shapes: Shapes,
    random: Random,
}

impl Shaper {
    pub(super) fn open(server: &Server, shapes: Shapes, random: Random) -> Result<Self> {
        Ok(Self { connection: Requester::open(server)?, shapes, random })
    }

    /// Changes things until the connection closes or `stop` is set. `granted` counts what was granted.
    ///
    /// # Errors
    /// A change is refused.
    pub(super) fn run(mut self, stop: &AtomicBool, granted: &AtomicU64) -> Result<Shapes> {
        while !stop.load(Ordering::SeqCst) && self.change()? {
            granted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(self.shapes)
    }

    /// One change; `false` where the connection closed.
    fn change(&mut self) -> Result<bool> {
        let at = usize::try_from(self.random.below((STREAMS + CONSUMERS) as u64)).unwrap_or_default();
        let Some((thing, now)) = self.shapes.granted.get(at).copied() else { return Ok(true) };
        let (subject, body, version) = if now.is_some() && thing.goes() && self.random.chance(30) {
            (thing.about("DELETE"), Value::Null, None)
        } else {
            self.shapes.versions += 1;
            let (subject, body) = thing.set(now.is_some(), self.shapes.versions);
            (subject, body, Some(self.shapes.versions))
        };
        self.shapes.under_way = Some((thing, version));
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let Some(answer) = self.connection.ask(&subject, "", &body)? else { return Ok(false) };
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        if let Some(error) = answer.get("error") {
            return Err(format!("{subject} was refused: {error}").into());
        }
        self.shapes.grant(thing, version);
        self.shapes.under_way = None;
        self.shapes.changes += 1;
        Ok(true)
    }
}

/// Compares everything with what the server has, and takes the server's word for what was under way.
///
/// # Errors
/// Something is neither as it was granted nor as it was asked for last, or messages are missing.
pub(super) fn check(connection: &mut Requester, shapes: &mut Shapes) -> Result<()> {
    let under_way = shapes.under_way.take();
    for (thing, _) in shapes.granted.clone() {
        let answer = connection.ask(&thing.about("INFO"), "", b"")?.ok_or("the connection closed")?;
        let info: Value = serde_json::from_slice(&answer.payload)?;
        let description = info.pointer("/config/description").and_then(Value::as_str);
        let found = description.and_then(|text| text.parse().ok());
        let granted = shapes.version(thing);
        if found != granted && under_way != Some((thing, found)) {
            return Err(format!(
                "{thing:?} is found as {found:?}, was granted as {granted:?}, under way was {under_way:?}: {info}"
            )
            .into());
        }
        shapes.grant(thing, found);
        let messages = info.pointer("/state/messages").and_then(Value::as_u64);
        if matches!(thing, Thing::Stream(_)) && !thing.goes() && messages != Some(MESSAGES) {
            return Err(format!("{thing:?} has {messages:?} messages").into());
        }
    }
    Ok(())
}
