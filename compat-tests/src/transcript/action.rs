//! The verbs of a scenario's steps.

use std::time::Duration;

use super::scenario::block;
use crate::Result;
use rustix::process::Signal;

/// How long a wait lasts at most unless the step says otherwise. Only a fault takes so long.
pub const WAIT_LIMIT: Duration = Duration::from_secs(15);

/// How long a request that may stay unanswered waits.
pub const SILENCE_LIMIT: Duration = Duration::from_millis(250);

/// What a step does. Texts are templates: variables and escapes are replaced when the step is played.
// The fields are the words of the verb's own line.
#[allow(missing_docs)]
#[derive(Clone, Debug)]
pub enum Action {
    /// `open C`: a TCP connection; records INFO and sends nothing. PINGs are recorded and not answered.
    Open { conn: String },
    /// `connect C [json]`: connection, CONNECT with the given fields over the default ones, PING, wait for PONG.
    Connect { conn: String, fields: String },
    /// `secure C [first] [silent] [as NAME] [offering NAMES] [json]`: as `connect`, or as `open` where it is silent, under
    /// TLS, showing that certificate, with the handshake before INFO where it says so. Where it offers less than it could, what is
    /// agreed on is recorded.
    Secure { conn: String, first: bool, silent: bool, shows: Option<String>, offers: String, fields: String },
    /// `upgrade C [Header: value; ...] GET / HTTP/1.1`: a WebSocket; records the answer, and INFO. A header without a value
    /// takes the usual one out. Everything but `C raw` is put into frames from then on. `upgrade C secure ...` and
    /// `upgrade C as NAME ...` do it under TLS, the latter showing that certificate.
    Upgrade { conn: String, secure: bool, shows: Option<String>, request: Outgoing },
    /// `C raw bytes`: bytes as they are, without CR LF.
    Raw { conn: String, text: String },
    /// `C > text` (adds CR LF) and `C >> text` (adds nothing).
    Send { conn: String, text: String, line_end: bool },
    /// `C pub subject [Header: value; ...] payload`: PUB or HPUB with the sizes filled in;
    /// `C ask subject reply payload` has a reply subject too.
    Publish { conn: String, message: Outgoing },
    /// `C < n`, `A,B < n sorted`, `C < n count`, `C < to text`.
    Wait { conns: Vec<String>, goal: Goal, order: Order, limit: Duration },
    /// `C sync`: PING, and everything until its PONG.
    Sync { conn: String },
    /// `C quiet 100ms`: records what comes within that time (nothing, if all is well).
    Quiet { conn: String, time: Duration },
    /// `C vouches {json}`: waits for a question about a client and answers it.
    Vouch { conn: String, how: String },
    /// `C closed`: waits for the server to close the connection.
    Closed { conn: String, limit: Duration },
    /// `C stalls`: reads nothing, until `C reads`.
    Stall { conn: String, stalls: bool },
    /// `C close`: closes it from our side.
    Close { conn: String },
    /// `C reply [n] payload`: publishes to the reply subject of the last (or n-th) message of the connection.
    Reply { conn: String, index: Option<usize>, headers: Vec<String>, payload: String },
    /// `request subject [headers] payload`, `js API.SUBJECT payload`, `publish subject payload`, `C request ...`.
    Request { conn: String, message: Outgoing },
    /// `silent subject [headers] payload`: a request that may stay without any answer.
    Silent { message: Outgoing },
    /// `collect n subject [headers] payload`: a request with up to n answers.
    Collect { conn: String, count: usize, message: Outgoing },
    /// `capture NAME /json/pointer`: takes a value from the latest JSON answer.
    Capture { name: String, pointer: String },
    /// `repeat n step`, with `${i}` counting from 1.
    Repeat { count: usize, text: String, action: Box<Action> },
    /// `until API.SUBJECT [payload] /json/pointer = value`: asks until the answer has the value.
    Until { message: Outgoing, pointer: String, value: String },
    /// `until /page /pointer = value`: asks for a monitoring page until it has the value.
    UntilPage { path: String, pointer: String, value: String },
    /// `get /page`: a monitoring page.
    Get { path: String },
    /// `nats arguments`: the CLI, to its end.
    Cli { arguments: String },
    /// `W nats arguments`, `W terminal arguments`: the CLI, going on beside the steps that follow, the latter on a terminal.
    CliBegin { name: String, arguments: String, terminal: bool },
    /// `W prints text`, `W prints 2 times text`: waits for such a command to have printed a text, so many times.
    CliPrints { name: String, text: String, times: usize },
    /// `W ended` and `W interrupt`: waits for its end, the latter after a signal; records what it printed.
    CliEnd { name: String, signal: Option<Signal> },
    /// `subscribed subject [n]`: waits for so many connections to subscribe to it (1 unless said).
    Subscribed { subject: String, count: usize },
    /// `run arguments`: the server program, to its end (or 2 s, and then its log).
    Run { arguments: String },
    /// `start`, after `stop`.
    Start,
    /// `stop SIGNAL`
    Stop { signal: Signal },
    /// `signal NAME`
    Signal { signal: Signal },
    /// `reload:` or `reload until text:` with a configuration in the lines below: has the server read it, waits until it
    /// has (or has logged the text) and records what it logged meanwhile.
    Reload { end: String, config: String },
    /// `log text`: waits for a log line that contains the text and records it.
    Log { text: String },
    /// `exited`: waits for the server to end by itself.
    Exited,
    /// `write file:` with the text in the lines below.
    Write { file: String, text: String },
    /// `sleep 10ms`
    Sleep { time: Duration },
}

/// What a wait waits for.
#[derive(Clone, Debug)]
pub enum Goal {
    /// So many frames.
    Frames(usize),
    /// The first frame with this text in it.
    Text(String),
}

/// How the frames of a wait are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they came.
    Arrival,
    /// Sorted, and without the connection's name: their order is not defined.
    Sorted,
    /// Only how many there were.
    Count,
}

/// A message to publish.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Subject.
    pub subject: String,
    /// Reply subject, for `C ask`.
    pub reply: Option<String>,
    /// Header lines (`Name: value`).
    pub headers: Vec<String>,
    /// Payload.
    pub payload: String,
}

/// Parses a step from its line and its continuation lines.
///
/// # Errors
/// When the verb or its arguments are wrong.
pub fn parse_action(first: &str, more: &[String]) -> Result<Action> {
    if let Some(file) = first.strip_prefix("write ") {
        let file = file.trim_end_matches(':').trim();
        let text = block(more);
        return Ok(match file.strip_suffix(" unended") {
            None => Action::Write { file: file.to_string(), text },
            Some(file) => Action::Write { file: file.to_string(), text: text.trim_end().to_string() },
        });
    }
    let (word, rest) = split_word(first);
    if word.trim_end_matches(':') == "reload" {
        let end = rest.trim_end_matches(':').strip_prefix("until ").unwrap_or_default().to_string();
        return Ok(Action::Reload { end, config: block(more) });
    }
    if let Some(action) = parse_send(word, rest, more) {
        return Ok(action);
    }
    let mut joined = rest.to_string();
    for line in more {
        joined.push(' ');
        joined.push_str(line.trim());
    }
    let rest = joined.as_str();
    if let Some(action) = parse_server_verb(word, rest)? {
        return Ok(action);
    }
    match word {
        "open" => Ok(Action::Open { conn: name(rest)? }),
        "upgrade" => upgrade(rest),
        "secure" => secure(rest),
        "connect" => {
            let (conn, fields) = split_word(rest);
            let fields = if fields.is_empty() { "{}" } else { fields };
            Ok(Action::Connect { conn: name(conn)?, fields: fields.to_string() })
        }
        "request" | "publish" => Ok(Action::Request { conn: "js".to_string(), message: outgoing(rest)? }),
        "silent" => Ok(Action::Silent { message: outgoing(rest)? }),
        "js" => Ok(Action::Request { conn: "js".to_string(), message: api(rest)? }),
        "collect" => {
            let (count, rest) = split_word(rest);
            Ok(Action::Collect { conn: "js".to_string(), count: count.parse()?, message: outgoing(rest)? })
        }
        "capture" => {
            let (name, pointer) = split_word(rest);
            Ok(Action::Capture { name: name.to_string(), pointer: pointer.to_string() })
        }
        "repeat" => {
            let (count, text) = split_word(rest);
            let action = Box::new(parse_action(text, &[])?);
            Ok(Action::Repeat { count: count.parse()?, text: text.to_string(), action })
        }
        "until" => parse_until(rest),
        "subscribed" => {
            let (subject, count) = split_word(rest);
            let count = if count.is_empty() { 1 } else { count.parse()? };
            Ok(Action::Subscribed { subject: subject.to_string(), count })
        }
        "sleep" => Ok(Action::Sleep { time: duration(rest)? }),
        conn => parse_connection_verb(conn, rest),
    }
}

fn upgrade(rest: &str) -> Result<Action> {
    let (conn, rest) = split_word(rest);
    let (is_secure, rest) = take_word(rest, "secure");
    let (shows, rest) = shown(rest)?;
    let mut request = outgoing(&format!("- {rest}"))?;
    if request.payload.is_empty() {
        request.payload = "GET / HTTP/1.1".to_string();
    }
    let secure = is_secure || shows.is_some();
    Ok(Action::Upgrade { conn: name(conn)?, secure, shows, request })
}

fn secure(rest: &str) -> Result<Action> {
    let (conn, rest) = split_word(rest);
    let (first, rest) = take_word(rest, "first");
    let (silent, rest) = take_word(rest, "silent");
    let (shows, rest) = shown(rest)?;
    let (is_choosy, rest) = take_word(rest, "offering");
    let (offers, fields) = if is_choosy { split_word(rest) } else { ("", rest) };
    let (conn, offers) = (name(conn)?, offers.to_string());
    let fields = if fields.is_empty() { "{}" } else { fields };
    Ok(Action::Secure { conn, first, silent, shows, offers, fields: fields.to_string() })
}

fn parse_send(conn: &str, rest: &str, more: &[String]) -> Option<Action> {
    let (mark, text) = split_word(rest);
    if mark != ">" && mark != ">>" {
        return None;
    }
    let mut text = text.to_string();
    for line in more {
        text.push_str("\\r\\n");
        text.push_str(line.trim_start());
    }
    Some(Action::Send { conn: conn.to_string(), text, line_end: mark == ">" })
}

fn parse_server_verb(word: &str, rest: &str) -> Result<Option<Action>> {
    Ok(Some(match word {
        "get" => Action::Get { path: rest.to_string() },
        "nats" => Action::Cli { arguments: rest.to_string() },
        "run" => Action::Run { arguments: rest.to_string() },
        "start" => Action::Start,
        "stop" => Action::Stop { signal: signal(rest)? },
        "signal" => Action::Signal { signal: signal(rest)? },
        "log" => Action::Log { text: rest.to_string() },
        "exited" => Action::Exited,
        _ => return Ok(None),
    }))
}

fn parse_connection_verb(conns: &str, rest: &str) -> Result<Action> {
    let (verb, arguments) = split_word(rest);
    let conn = conns.to_string();
    match verb {
        "<" => parse_wait(conns, arguments),
        "sync" => Ok(Action::Sync { conn }),
        "quiet" => Ok(Action::Quiet { conn, time: duration(arguments)? }),
        "closed" => {
            let limit = if arguments.is_empty() { WAIT_LIMIT } else { duration(arguments)? };
            Ok(Action::Closed { conn, limit })
        }
        "close" => Ok(Action::Close { conn }),
        "stalls" | "reads" => Ok(Action::Stall { conn, stalls: verb == "stalls" }),
        "vouches" => Ok(Action::Vouch { conn, how: arguments.to_string() }),
        "raw" => Ok(Action::Raw { conn, text: arguments.to_string() }),
        "nats" | "terminal" => {
            let (name, terminal) = (name(conns)?, verb == "terminal");
            Ok(Action::CliBegin { name, arguments: arguments.to_string(), terminal })
        }
        "prints" => Ok(cli_prints(conn, arguments)),
        "ended" => Ok(Action::CliEnd { name: conn, signal: None }),
        "interrupt" => Ok(Action::CliEnd { name: conn, signal: Some(Signal::INT) }),
        "pub" => Ok(Action::Publish { conn, message: outgoing(arguments)? }),
        "ask" => {
            let (subject, rest) = split_word(arguments);
            let (reply, rest) = split_word(rest);
            let mut message = outgoing(&format!("{subject} {rest}"))?;
            message.reply = Some(reply.to_string());
            Ok(Action::Publish { conn, message })
        }
        "request" => Ok(Action::Request { conn, message: outgoing(arguments)? }),
        "js" => Ok(Action::Request { conn, message: api(arguments)? }),
        "reply" => {
            let (word, rest) = split_word(arguments);
            let index = word.parse().ok();
            let Outgoing { headers, payload, .. } =
                outgoing(&format!("reply {}", if index.is_some() { rest } else { arguments }))?;
            Ok(Action::Reply { conn, index, headers, payload })
        }
        _ => Err(format!("unknown step {conns:?} {rest:?}").into()),
    }
}

fn cli_prints(name: String, arguments: &str) -> Action {
    let several = arguments.split_once(" times ").and_then(|(times, text)| Some((times.parse().ok()?, text)));
    let (times, text) = several.unwrap_or((1, arguments));
    Action::CliPrints { name, text: text.to_string(), times }
}

fn parse_wait(conns: &str, arguments: &str) -> Result<Action> {
    let conns = conns.split(',').map(str::to_string).collect();
    let (what, mut rest) = split_word(arguments);
    if what == "to" {
        let goal = Goal::Text(rest.to_string());
        return Ok(Action::Wait { conns, goal, order: Order::Arrival, limit: WAIT_LIMIT });
    }
    let goal = Goal::Frames(what.parse().map_err(|_| format!("a number of frames, not {what:?}"))?);
    let mut order = Order::Arrival;
    let mut limit = WAIT_LIMIT;
    while !rest.is_empty() {
        let (word, after) = split_word(rest);
        rest = after;
        match word {
            "sorted" => order = Order::Sorted,
            "count" => order = Order::Count,
            "within" => {
                let (time, after) = split_word(rest);
                limit = duration(time)?;
                rest = after;
            }
            _ => return Err(format!("unknown word {word:?} after <").into()),
        }
    }
    Ok(Action::Wait { conns, goal, order, limit })
}

fn parse_until(rest: &str) -> Result<Action> {
    let (question, value) = rest.rsplit_once(" = ").ok_or("until needs ` = value`")?;
    let (question, pointer) = question.rsplit_once(" /").ok_or("until needs a /json/pointer")?;
    let (pointer, value) = (format!("/{}", pointer.trim()), value.trim().to_string());
    if question.starts_with('/') {
        return Ok(Action::UntilPage { path: question.to_string(), pointer, value });
    }
    Ok(Action::Until { message: api(question)?, pointer, value })
}

/// `subject [Name: value; Name: value] payload`
fn outgoing(text: &str) -> Result<Outgoing> {
    let (subject, rest) = split_word(text);
    if subject.is_empty() {
        return Err("a subject is missing".into());
    }
    let mut message = Outgoing { subject: subject.to_string(), ..Outgoing::default() };
    let has_headers =
        rest.starts_with('[') && rest.split([':', ']']).next().is_some_and(|n| !n.contains('"'));
    match rest.strip_prefix('[').filter(|_| has_headers && rest.contains(": ")) {
        Some(inner) => {
            let (headers, payload) = inner.split_once(']').ok_or("no ] after the headers")?;
            message.headers = headers.split("; ").map(str::to_string).collect();
            message.payload = payload.strip_prefix(' ').unwrap_or(payload).to_string();
        }
        None => message.payload = rest.to_string(),
    }
    Ok(message)
}

fn api(text: &str) -> Result<Outgoing> {
    let mut message = outgoing(text)?;
    message.subject = format!("$JS.API.{}", message.subject);
    Ok(message)
}

/// Whether a text begins with a word, and what stands behind it.
fn take_word<'a>(text: &'a str, word: &str) -> (bool, &'a str) {
    match split_word(text) {
        (found, rest) if found == word => (true, rest),
        _ => (false, text),
    }
}

/// The certificate that `as NAME` names, and what stands behind it.
fn shown(text: &str) -> Result<(Option<String>, &str)> {
    let (is_shown, rest) = take_word(text, "as");
    if !is_shown {
        return Ok((None, text));
    }
    let (shown, rest) = split_word(rest);
    Ok((Some(name(shown)?), rest))
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn name(text: &str) -> Result<String> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("a connection's name, not {text:?}").into());
    }
    Ok(text.to_string())
}

fn duration(text: &str) -> Result<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("a time, not {text:?}"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("a time in ms or s, not {text:?}").into()),
    }
}

fn signal(text: &str) -> Result<Signal> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "term" => Signal::TERM,
        "kill" => Signal::KILL,
        "int" => Signal::INT,
        "quit" => Signal::QUIT,
        "hup" => Signal::HUP,
        "usr1" => Signal::USR1,
        "usr2" => Signal::USR2,
        other => return Err(format!("unknown signal {other:?}").into()),
    })
}
