//! Updates under kill -9: streams and consumers are created, changed and deleted at random, the server is killed right behind
//! the last answer, and later amid requests. What was answered holds: on both servers alike, and on JetKV to the last field.

use std::ops::Range;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Summary;
use crate::Result;
use crate::process::{Program, Server, ServerOptions};
use crate::random::Random;
use crate::request::Requester;
use crate::transcript::compare::show_difference;
use crate::transcript::normalise::Normaliser;
use crate::wire::{Connection, Frame};

const HOUR_NS: u64 = 3_600_000_000_000;
/// Requests of a session.
const REQUESTS: usize = 25;
/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Requests that are under way when the server is killed for the second time, at most.
const UNDER_WAY_MAX: u64 = 20;
const STREAMS: [&str; 3] = ["A", "B", "C"];
const CONSUMERS: [&str; 2] = ["x", "y"];
/// Fields that say when something was asked or happens.
const MOMENTS: [&str; 2] = ["ts", "created"];

/// What is asked, by the end of the subject and the body.
type Asked = (String, String);

/// A request that changes something.
fn request(random: &mut Random, name: &str) -> Asked {
    let stream = format!("{name}{}", random.pick(&STREAMS));
    let consumer = random.pick(&CONSUMERS);
    match random.below(20) {
        0 => (format!("STREAM.DELETE.{stream}"), String::new()),
        1 => (format!("CONSUMER.DELETE.{stream}.{consumer}"), String::new()),
        2..=5 => (format!("STREAM.CREATE.{stream}"), stream_config(random, &stream).to_string()),
        6..=12 => (format!("STREAM.UPDATE.{stream}"), stream_config(random, &stream).to_string()),
        13 => (
            format!("CONSUMER.PAUSE.{stream}.{consumer}"),
            r#"{"pause_until":"2200-01-01T00:00:00Z"}"#.into(),
        ),
        14 => (format!("STREAM.PURGE.{stream}"), String::new()),
        _ => {
            let config = consumer_config(random, consumer);
            let body = json!({"stream_name": stream, "config": config});
            (format!("CONSUMER.CREATE.{stream}.{consumer}"), body.to_string())
        }
    }
}

fn stream_config(random: &mut Random, stream: &str) -> Value {
    let mut config = json!({"name": stream, "subjects": [format!("{stream}.>")], "storage": "file"});
    let mut set = |name: &str, value: Value| {
        if let Some(fields) = config.as_object_mut() {
            fields.insert(name.to_string(), value);
        }
    };
    let length = usize::try_from(random.below(600)).unwrap_or_default();
    match random.below(8) {
        0 => set("description", json!("d".repeat(length))),
        1 => set("metadata", json!({"filler": "m".repeat(length)})),
        2 => set("max_msgs", json!(random.below(50) + 10)),
        3 => set("max_age", json!(HOUR_NS * (random.below(5) + 1))),
        4 => set("subjects", json!([format!("{stream}.>"), format!("{stream}more.{}", random.below(3))])),
        5 => set("allow_direct", json!(random.chance(50))),
        6 => set("max_msg_size", json!(random.below(1000) + 100)),
        _ => set("compression", json!(random.pick(&["none", "s2"]))),
    }
    config
}

fn consumer_config(random: &mut Random, name: &str) -> Value {
    let length = usize::try_from(random.below(300)).unwrap_or_default();
    json!({
        "name": name, "durable_name": name, "ack_policy": "explicit", "ack_wait": HOUR_NS,
        "description": "c".repeat(length),
        "max_deliver": random.pick(&[-1, 3, 9]),
        "max_ack_pending": random.pick(&[5, 1000]),
        "sample_freq": random.pick(&["", "10"]),
    })
}

/// Everything that the server says of the session's streams and consumers, but for moments: a field a line.
fn picture(client: &mut Requester, name: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for stream in STREAMS {
        let stream = format!("{name}{stream}");
        lines.extend(fields(&stream, &said(client, &format!("STREAM.INFO.{stream}"), "")?));
        for consumer in CONSUMERS {
            let info = said(client, &format!("CONSUMER.INFO.{stream}.{consumer}"), "")?;
            lines.extend(fields(&format!("{stream} {consumer}"), &info));
        }
    }
    Ok(lines)
}

/// Fields, a line each. Where a consumer that delivered nothing stands is written some time after a purge moved it; it stands
/// before what is there in any case.
fn fields(of: &str, value: &Value) -> Vec<String> {
    let fields = Normaliser::default().json(value).into_iter();
    let stays = |field: &String| !field.starts_with(".delivered.") && !field.starts_with(".ack_floor.");
    fields.filter(stays).map(|field| format!("{of} {field}")).collect()
}

fn said(client: &mut Requester, subject: &str, body: &str) -> Result<Value> {
    let answer =
        client.ask(&format!("$JS.API.{subject}"), "", body.as_bytes())?.ok_or("the connection closed")?;
    let mut answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    if let Some(fields) = answer.as_object_mut() {
        for moment in MOMENTS {
            fields.remove(moment);
        }
        // How long a pause still takes.
        fields.remove("pause_remaining");
        if let Some(state) = fields.get_mut("state").and_then(Value::as_object_mut) {
            state.retain(|name, _| !name.ends_with("_ts"));
        }
    }
    Ok(answer)
}

/// The configurations in a picture, and what is not there: what both servers keep alike.
fn configs(picture: &[String]) -> Vec<String> {
    picture.iter().filter(|line| line.contains(" .config.") || line.contains(" .error.")).cloned().collect()
}

/// Plays a session up to a kill and through it: what was there before and after.
fn play(server: &mut Server, seed: u64, name: &str) -> Result<[Vec<String>; 2]> {
    let mut random = Random::new(seed);
    let mut client = Requester::open(server)?;
    for at in 0..REQUESTS {
        let (subject, body) = request(&mut random, name);
        said(&mut client, &subject, &body)?;
        if at.is_multiple_of(3) {
            let stream = format!("{name}{}", random.pick(&STREAMS));
            client.ask(&format!("{stream}.s"), "", b"message")?;
        }
    }
    let before = picture(&mut client, name)?;
    server.stop(Signal::KILL)?;
    server.launch()?;
    Ok([before, picture(&mut Requester::open(server)?, name)?])
}

/// Creates streams and updates each, in packets with one update of every stream, kills the server when some of the last packet
/// are answered, and looks which version is there. `Some` with what is wrong. Requests of one packet have no order between
/// them, on either server.
fn kill_amid(server: &mut Server, seed: u64, name: &str) -> Result<Option<String>> {
    let mut random = Random::new(seed);
    let (streams, rounds) = (random.below(UNDER_WAY_MAX) + 1, random.below(4) + 1);
    let awaited = random.below(streams);
    let mut connection = Connection::open(server.port("nats").ok_or("no client port")?)?;
    connection.send(b"CONNECT {\"verbose\":false}\r\nSUB in.* 1\r\n")?;
    let mut granted: Vec<u64> = (0..streams).map(|_| 0).collect();
    for version in 1..=rounds {
        connection.send(packet(name, streams, version).as_bytes())?;
        let wanted = if version == rounds { awaited } else { streams };
        for _ in 0..wanted {
            grant(&mut granted, &connection.next(ANSWER_WAIT).ok_or("a change is not answered")?);
        }
    }
    server.stop(Signal::KILL)?;
    // What had left before the end still arrives.
    while let Some(frame) = connection.next(ANSWER_WAIT) {
        grant(&mut granted, &frame);
    }
    server.launch()?;
    let mut client = Requester::open(server)?;
    for (at, granted) in granted.into_iter().enumerate() {
        let info = said(&mut client, &format!("STREAM.INFO.{name}K{at}"), "")?;
        let found = version_of(&info).unwrap_or_default();
        if found < granted || found > rounds {
            return Ok(Some(format!(
                "version {granted} of stream {at} was granted, {found} is there after the kill"
            )));
        }
    }
    Ok(None)
}

/// One request for each stream.
fn packet(name: &str, streams: u64, version: u64) -> String {
    let verb = if version == 1 { "CREATE" } else { "UPDATE" };
    let filler = |at: u64| "x".repeat(usize::try_from((version * 7 + at * 13) % 400).unwrap_or_default());
    let requests = (0..streams).map(|at| {
        let stream = format!("{name}K{at}");
        let config = json!({"name": stream, "subjects": [stream], "description": version.to_string(),
            "metadata": {"filler": filler(at)}});
        let body = config.to_string();
        format!("PUB $JS.API.STREAM.{verb}.{stream} in.{at} {}\r\n{body}\r\n", body.len())
    });
    requests.collect()
}

/// Takes in an answer: which stream's, and the version that it shows.
fn grant(granted: &mut [u64], frame: &Frame) {
    let Frame::Message(message) = frame else { return };
    let at = message.subject.rsplit('.').next().and_then(|at| at.parse::<usize>().ok());
    let answer = serde_json::from_slice(&message.payload).unwrap_or_default();
    if let (Some(granted), Some(version)) = (at.and_then(|at| granted.get_mut(at)), version_of(&answer)) {
        *granted = version.max(*granted);
    }
}

fn version_of(answer: &Value) -> Option<u64> {
    answer.pointer("/config/description")?.as_str()?.parse().ok()
}

/// What is wrong with a session: on the candidate something is not as it was before the kill, or a configuration differs
/// from that of the reference, where that kept it.
fn differs(servers: &mut [Server; 2], seed: u64, name: &str) -> Result<Option<String>> {
    let [reference, candidate] = servers;
    let [before, after] = play(candidate, seed, name)?;
    if before != after {
        return Ok(Some(format!("not as before the kill\n{}", show_difference(&before, &after))));
    }
    let [wanted, kept] = play(reference, seed, name)?;
    let (wanted, kept, found) = (configs(&wanted), configs(&kept), configs(&after));
    if wanted == kept && found != wanted {
        return Ok(Some(show_difference(&wanted, &found)));
    }
    kill_amid(candidate, seed, name)
}

/// Plays the sessions of these seeds. A difference is not tried again: what was lost by a kill need not be lost by the next.
///
/// # Errors
/// When a server cannot be started.
pub fn run(reference: &Program, candidate: &Program, seeds: Range<u64>) -> Result<Summary> {
    let options = ServerOptions { flags: vec!["-js".to_string()], ..ServerOptions::default() };
    let mut servers = [Server::start(reference, &options)?, Server::start(candidate, &options)?];
    let mut summary = Summary::default();
    for seed in seeds {
        summary.operations += REQUESTS;
        let name = format!("updates-{seed}");
        match differs(&mut servers, seed, &format!("U{seed}n"))? {
            Some(difference) => summary.note(name, difference),
            None => summary.is_same(&name),
        }
    }
    Ok(summary)
}
