//! One server with the connections that take steps on it and listen to its events.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use regex_lite::Regex;
use serde_json::{Value, json};

use super::picture::{Picture, changes};
use super::steps::Step;
use crate::Result;
use crate::process::{Program, Server, ServerOptions, Signal};
use crate::request::Requester;
use crate::wire::{Connection, Frame, Message};
use jetkv_testing::http;

const CONFIG: &str = r#"
server_name: moves
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
max_payload: 10000
max_control_line: 1000
max_pending: 100000
no_auth_user: a
jetstream { max_mem: 10MB, max_file: 10MB }
accounts {
  A { users: [ { user: a, password: p } ], jetstream: { max_streams: 6, max_consumers: 8 } }
  B { users: [ { user: b, password: p, permissions: { publish: "may", subscribe: "may" } } ] }
  J { users: [ { user: j, password: p } ], jetstream: { max_mem: 1KB, max_file: 1KB, max_streams: 1, max_consumers: 1 } }
  L { users: [ { user: l, password: p } ], limits { max_conn: 1, max_subs: 1 } }
  X { users: [ { user: x, password: p } ], exports: [ { service: "serve" }, { stream: "news" } ] }
  Y { users: [ { user: y, password: p } ], imports: [ { service: { account: X, subject: "serve" } }, { stream: { account: X, subject: "news" } } ] }
  SYS { users: [ { user: s, password: p } ] }
}
system_account: SYS
"#;
/// Every page that is served.
const PAGES: &[&str] = &[
    "/varz",
    "/connz?subs=detail&auth=1",
    "/connz?state=closed&auth=1",
    "/subsz?subs=1",
    "/jsz?accounts=1&streams=1&consumers=1&config=1",
    "/jsz?acc=A&streams=1&consumers=1&config=1&raft=1",
    "/accountz",
    "/accountz?acc=A",
    "/accountz?acc=B",
    "/accountz?acc=J",
    "/accountz?acc=L",
    "/accountz?acc=X",
    "/accountz?acc=Y",
    "/accountz?acc=SYS",
    "/accstatz?unused=1",
    "/healthz?details=1",
    "/healthz?js-enabled-only=1",
    "/healthz?account=A&stream=S&consumer=P",
    "/routez?subs=1",
    "/gatewayz?accs=1",
    "/leafz?subs=1",
    "/raftz",
    "/ipqueuesz",
    "/debug/vars",
];
/// What the system account asks, each with its body.
const SYSTEM_REQUESTS: &[(&str, &str)] = &[
    ("PING.IDZ", ""),
    ("PING.STATSZ", ""),
    ("PING.VARZ", ""),
    ("PING.CONNZ", r#"{"subscriptions_detail":true,"auth":true}"#),
    ("PING.SUBSZ", r#"{"subscriptions":true}"#),
    ("PING.JSZ", r#"{"accounts":true,"streams":true,"consumer":true,"config":true}"#),
    ("PING.ACCOUNTZ", r#"{"account":"A"}"#),
    ("PING.HEALTHZ", r#"{"details":true}"#),
    ("PING.ROUTEZ", ""),
    ("PING.GATEWAYZ", ""),
    ("PING.LEAFZ", ""),
    ("PING.RAFTZ", ""),
    ("PING.IPQUEUESZ", ""),
    ("PING.EXPVARZ", ""),
];
const ACCOUNT_REQUESTS: &[&str] = &["CONNZ", "LEAFZ", "JSZ", "INFO", "SUBSZ"];
const ACCOUNTS: &[&str] = &["A", "B", "J", "L"];
const QUIET: Duration = Duration::from_millis(2);
const PONG_WAIT: Duration = Duration::from_secs(30);
/// How often the pages are looked at until nothing moves by itself.
const LOOKS_MAX: usize = 100;

/// A server under way.
pub struct Session {
    server: Server,
    requester: Requester,
    /// Asks for the system account.
    system: Requester,
    /// Hears advisories and the events of the system account.
    listeners: Vec<Connection>,
    connections: BTreeMap<&'static str, Connection>,
    config: String,
    last_reply: Option<String>,
    last_question: Option<String>,
    server_id: String,
    random: Regex,
    heard: BTreeSet<String>,
    pages: Picture,
    answers: Picture,
    latest_answers: Picture,
}

impl Session {
    /// Starts a server.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(program: &Program) -> Result<Self> {
        let options = ServerOptions { config: Some(CONFIG.to_owned()), ..ServerOptions::default() };
        let server = Server::start(program, &options)?;
        let requester = Requester::open_as(&server, r#","name":"asker a""#)?;
        let system = Requester::open_as(&server, r#","name":"asker s","user":"s","pass":"p""#)?;
        let mut session = Self {
            server,
            requester,
            system,
            listeners: Vec::new(),
            connections: BTreeMap::new(),
            config: CONFIG.to_owned(),
            last_reply: None,
            last_question: None,
            server_id: String::new(),
            random: Regex::new(r"_R_\.\w+|_INBOX\.\d+|\b[A-Z2-7]{56}\b|\b[0-9A-Za-z]{22}\b")?,
            heard: BTreeSet::new(),
            pages: Picture::default(),
            answers: Picture::default(),
            latest_answers: Picture::default(),
        };
        for (user, subjects) in [
            ("a", &["$JS.EVENT.>"][..]),
            ("s", &["$SYS.ACCOUNT.*.CONNECT", "$SYS.ACCOUNT.*.DISCONNECT", "$SYS.SERVER.*.CLIENT.AUTH.ERR"]),
        ] {
            let mut listener =
                session.open(&format!(r#""name":"listener {user}","user":"{user}","pass":"p""#))?;
            for (at, subject) in subjects.iter().enumerate() {
                listener.send(format!("SUB {subject} {at}\r\n").as_bytes())?;
            }
            sync(&mut listener)?;
            session.listeners.push(listener);
        }
        session.server_id =
            session.page("/varz")?["body"]["server_id"].as_str().unwrap_or_default().to_owned();
        session.answers = session.answers()?;
        Ok(session)
    }

    fn open(&self, fields: &str) -> Result<Connection> {
        let mut connection = Connection::open(self.server.port("nats").ok_or("no client port")?)?;
        let base = r#""verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"x","version":"1""#;
        connection.send(format!("CONNECT {{{base},{fields}}}\r\n").as_bytes())?;
        Ok(connection)
    }

    fn page(&self, path: &str) -> Result<Value> {
        let port = self.server.port("monitoring").ok_or("no monitoring port")?;
        let answer = http::get(("127.0.0.1", port), path)?;
        // What is refused says so in words.
        let body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            Value::String(text)
        });
        Ok(json!({ "status": answer.status, "body": body }))
    }

    /// A name without what is random in it.
    fn plain(&self, text: &str) -> String {
        let mut text = text.replace(&*self.server.dir().to_string_lossy(), "<dir>");
        text = text.replace(&*self.server.program().path.to_string_lossy(), "<program>");
        if !self.server_id.is_empty() {
            text = text.replace(&self.server_id, "<id>");
        }
        self.random.replace_all(&text, "<random>").into_owned()
    }

    /// What all pages show now.
    ///
    /// # Errors
    /// When a page is not JSON.
    fn pages(&mut self) -> Result<Picture> {
        let mut picture = Picture::default();
        for path in PAGES {
            picture.add(path, &self.page(path)?, &|text| self.plain(text));
        }
        Ok(picture)
    }

    /// What the API tells now of all that there is.
    ///
    /// # Errors
    /// When an answer stays away.
    fn answers(&mut self) -> Result<Picture> {
        let mut picture = Picture::default();
        let mut subjects = vec!["$JS.API.INFO".to_owned()];
        let names = self.ask("$JS.API.STREAM.NAMES", b"")?;
        for name in names["streams"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            subjects.push(format!("$JS.API.STREAM.INFO.{name}"));
            subjects.push(format!("$JS.API.CONSUMER.LIST.{name}"));
        }
        for subject in subjects {
            let body: &[u8] = if subject.contains("STREAM.INFO") {
                br#"{"subjects_filter":">","deleted_details":true}"#
            } else {
                b""
            };
            let answer = self.ask(&subject, body)?;
            picture.add(&subject, &answer, &|text| self.plain(text));
        }
        for account in ACCOUNTS {
            for verb in ACCOUNT_REQUESTS {
                self.ask_system(&format!("$SYS.REQ.ACCOUNT.{account}.{verb}"), "", &mut picture)?;
            }
        }
        for (verb, body) in SYSTEM_REQUESTS {
            self.ask_system(&format!("$SYS.REQ.SERVER.{verb}"), body, &mut picture)?;
        }
        Ok(picture)
    }

    fn ask_system(&mut self, subject: &str, body: &str, picture: &mut Picture) -> Result<()> {
        let answer = self.system.ask(subject, "", body.as_bytes())?.ok_or("the connection closed")?;
        let answer = match serde_json::from_slice(&answer.payload) {
            Ok(value) => value,
            Err(_) => json!({ "headers": answer.headers, "size": answer.payload.len() }),
        };
        picture.add(subject, &answer, &|text| self.plain(text));
        Ok(())
    }

    fn ask(&mut self, subject: &str, body: &[u8]) -> Result<Value> {
        let answer = self.requester.ask(subject, "", body)?.ok_or("the connection closed")?;
        Ok(serde_json::from_slice(&answer.payload).unwrap_or_default())
    }

    /// Takes the pages as they are for what was before the next step.
    ///
    /// # Errors
    /// When a page is not JSON.
    pub fn remember_pages(&mut self) -> Result<()> {
        // What the questions of the last comparison brought has arrived when two looks are alike.
        self.pages = self.pages()?;
        let mut moving = BTreeSet::new();
        for _ in 0..LOOKS_MAX {
            std::thread::sleep(QUIET);
            let pages = self.pages()?;
            moving = changes(&self.pages, &pages);
            self.pages = pages;
            if moving.is_empty() {
                return Ok(());
            }
        }
        Err(format!("moves by itself: {moving:?}").into())
    }

    /// What pages and answers show now: each field with its form.
    ///
    /// # Errors
    /// When a page is not JSON or an answer stays away.
    pub fn forms(&mut self) -> Result<BTreeSet<String>> {
        let mut forms = self.pages()?.forms();
        forms.extend(self.answers()?.forms());
        Ok(forms)
    }

    /// Takes what the API told last for what was before the next step.
    pub fn remember_answers(&mut self) {
        self.heard.clear();
        self.answers = std::mem::take(&mut self.latest_answers);
    }

    /// What came, went and moved on pages since before the step.
    ///
    /// # Errors
    /// When a page is not JSON.
    pub fn moved_pages(&mut self) -> Result<BTreeSet<String>> {
        let now = self.pages()?;
        Ok(changes(&self.pages, &now))
    }

    /// What came, went and moved in what the API tells since before the step.
    ///
    /// # Errors
    /// When an answer stays away.
    pub fn moved_answers(&mut self) -> Result<BTreeSet<String>> {
        self.latest_answers = self.answers()?;
        Ok(changes(&self.answers, &self.latest_answers))
    }

    /// What was answered, delivered and told of since the last comparison: each field with its form.
    ///
    /// # Errors
    /// None so far.
    pub fn heard(&mut self) -> Result<BTreeSet<String>> {
        let mut frames = Vec::new();
        for connection in self.listeners.iter_mut().chain(self.connections.values_mut()) {
            while let Some(frame) = connection.next(QUIET) {
                frames.push(frame);
            }
        }
        for frame in frames {
            match frame {
                Frame::Message(message) => self.hear(&message),
                Frame::Err(text) => drop(self.heard.insert(format!("-ERR {text}"))),
                Frame::Closed => drop(self.heard.insert("closed".to_owned())),
                _ => {}
            }
        }
        Ok(self.heard.clone())
    }

    fn hear(&mut self, message: &Message) {
        // Whether a listener hears of itself is a race.
        if message.subject.starts_with("$SYS.ACCOUNT.SYS.") {
            return;
        }
        if message.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK.")) {
            self.last_reply.clone_from(&message.reply);
        } else if message.reply.is_some() {
            self.last_question.clone_from(&message.reply);
        }
        let subject = self.plain(&message.subject);
        let headers = message.headers.clone().unwrap_or_default();
        let is_time = |line: &str| line.starts_with("Nats-Time") || line.starts_with("Nats-Request-Info");
        for line in headers.lines().filter(|line| !is_time(line)) {
            self.heard.insert(format!("{subject}: {}", self.plain(line)));
        }
        let tokens = message.reply.as_ref().map_or(0, |reply| reply.split('.').count());
        let mut picture = Picture::default();
        match serde_json::from_slice::<Value>(&message.payload) {
            Ok(value @ Value::Object(_)) => picture.add("", &value, &|text| self.plain(text)),
            _ => drop(self.heard.insert(format!("{subject}: {} bytes", message.payload.len()))),
        }
        self.heard.insert(format!("{subject}: a reply subject of {tokens} tokens"));
        self.heard.extend(picture.forms().into_iter().map(|form| format!("{subject}: {form}")));
    }

    /// Takes a step.
    ///
    /// # Errors
    /// When what it needs is not there.
    pub fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Ask { subject, headers, body } => {
                if let Some(answer) = self.requester.ask(subject, headers, body.as_bytes())? {
                    self.hear(&Message { subject: "answer".to_owned(), ..answer });
                }
            }
            Step::Open { name, fields } => {
                let mut connection = self.open(fields)?;
                sync(&mut connection)?;
                self.connections.insert(name, connection);
            }
            Step::Refused { fields } => {
                let mut connection = self.open(fields)?;
                connection.find(PONG_WAIT, |frame| *frame == Frame::Closed).ok_or("it was not refused")?;
            }
            Step::Send { name, text } => self.say(name, text)?,
            Step::Publish { name, subject, headers, body } => {
                let block =
                    if headers.is_empty() { String::new() } else { format!("NATS/1.0\r\n{headers}\r\n") };
                let (head, size) = (block.len(), block.len() + body.len());
                let line = match head {
                    0 => format!("PUB {subject} in {size}\r\n{body}\r\n"),
                    _ => format!("HPUB {subject} in {head} {size}\r\n{block}{body}\r\n"),
                };
                self.say(name, &line)?;
            }
            Step::Answer { name, body } => {
                self.heard()?;
                let reply = self.last_question.take().ok_or("nothing to answer")?;
                self.say(name, &format!("PUB {reply} {}\r\n{body}\r\n", body.len()))?;
            }
            Step::Overflow => self.overflow()?,
            Step::Reload { from, to } => self.reload(from, to)?,
            Step::Pull { consumer, body } => {
                let size = body.len();
                self.say("c", &format!("PUB $JS.API.CONSUMER.MSG.NEXT.{consumer} in {size}\r\n{body}\r\n"))?;
            }
            Step::Acknowledge { body } => {
                self.heard()?;
                let reply = self.last_reply.clone().ok_or("nothing to acknowledge")?;
                if let Some(answer) = self.requester.ask(&reply, "", body.as_bytes())? {
                    self.hear(&Message { subject: "answer".to_owned(), ..answer });
                }
            }
            Step::Close { name } => drop(self.connections.remove(name)),
        }
        Ok(())
    }
}

impl Session {
    fn say(&mut self, name: &str, text: &str) -> Result<()> {
        let connection = self.connections.get_mut(name).ok_or("no such connection")?;
        connection.send(text.as_bytes())?;
        for frame in sync(connection)? {
            match frame {
                Frame::Message(message) => self.hear(&message),
                Frame::Err(text) => drop(self.heard.insert(format!("-ERR {text}"))),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a receiver gets that does not read, at most: more than a machine's buffers take.
const OVERFLOW_MSGS_MAX: usize = 8_000;
const OVERFLOW_CHUNK_MSGS: usize = 100;
const RELOADED: [&str; 2] = ["Reloaded server configuration", "Failed to reload server configuration"];
const RELOAD_WAIT: Duration = Duration::from_secs(30);

impl Session {
    /// A connection that does not read subscribes, and gets messages until it is cut.
    fn overflow(&mut self) -> Result<()> {
        let port = self.server.port("nats").ok_or("no client port")?;
        let mut deaf = TcpStream::connect(("127.0.0.1", port))?;
        deaf.write_all(b"CONNECT {\"verbose\":false,\"name\":\"deaf\",\"user\":\"a\",\"pass\":\"p\"}\r\nSUB flood 1\r\nPING\r\n")?;
        let mut seen = Vec::new();
        while !seen.windows(6).any(|window| window == b"PONG\r\n") {
            let mut buffer = [0; 4096];
            let count = deaf.read(&mut buffer)?;
            seen.extend_from_slice(buffer.get(..count).filter(|bytes| !bytes.is_empty()).ok_or("closed")?);
        }
        let line = format!("PUB flood 9000\r\n{}\r\n", "x".repeat(9000));
        for _ in 0..OVERFLOW_MSGS_MAX / OVERFLOW_CHUNK_MSGS {
            self.say("c", &line.repeat(OVERFLOW_CHUNK_MSGS))?;
            if self.page("/varz")?["body"]["slow_consumers"] == 1 {
                return Ok(());
            }
        }
        Err("a receiver that does not read was not cut".into())
    }

    fn reload(&mut self, from: &str, to: &str) -> Result<()> {
        if !self.config.contains(to) {
            self.config = self.config.replace(from, to);
        }
        std::fs::write(self.server.dir().join("server.conf"), &self.config)?;
        let before = self.server.log().lines().count();
        self.server.signal(Signal::HUP)?;
        let deadline = Instant::now() + RELOAD_WAIT;
        let is_end = |line: &str| RELOADED.iter().any(|end| line.contains(end));
        while !self.server.log().lines().skip(before).any(is_end) {
            if Instant::now() > deadline {
                return Err("the reload does not end".into());
            }
            std::thread::sleep(QUIET);
        }
        Ok(())
    }
}

/// Everything up to the answer to a PING, or to the end of the connection.
fn sync(connection: &mut Connection) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    if connection.send(b"PING\r\n").is_err() {
        return Ok(frames);
    }
    while let Some(frame) = connection.next(PONG_WAIT) {
        if matches!(frame, Frame::Pong | Frame::Closed) {
            return Ok(frames);
        }
        frames.push(frame);
    }
    Err("no PONG".into())
}
