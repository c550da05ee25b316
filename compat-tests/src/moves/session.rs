//! One server with the connections that take steps on it and listen to its events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex_lite::Regex;
use serde_json::Value;

use super::picture::{Picture, changes};
use super::steps::Step;
use crate::Result;
use crate::http;
use crate::process::{Program, Server, ServerOptions};
use crate::request::Requester;
use crate::wire::{Connection, Frame, Message};

const CONFIG: &str = r#"
server_name: moves
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
max_payload: 10000
max_control_line: 1000
no_auth_user: a
jetstream { max_mem: 10MB, max_file: 10MB }
accounts {
  A { users: [ { user: a, password: p } ], jetstream: { max_streams: 4, max_consumers: 8 } }
  B { users: [ { user: b, password: p, permissions: { publish: "may", subscribe: "may" } } ] }
  L { users: [ { user: l, password: p } ], limits { max_conn: 1, max_subs: 1 } }
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
    "/accountz",
    "/accountz?acc=A",
    "/accountz?acc=B",
    "/accountz?acc=SYS",
    "/accstatz?unused=1",
    "/healthz?details=1",
    "/routez",
    "/gatewayz",
    "/leafz",
];
const QUIET: Duration = Duration::from_millis(5);
const PONG_WAIT: Duration = Duration::from_secs(30);

/// A server under way.
pub struct Session {
    server: Server,
    requester: Requester,
    /// Hears advisories and the events of the system account.
    listeners: Vec<Connection>,
    connections: BTreeMap<&'static str, Connection>,
    last_reply: Option<String>,
    server_id: String,
    random: Regex,
    heard: BTreeSet<String>,
    pages: Picture,
    answers: Picture,
}

impl Session {
    /// Starts a server.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(program: &Program) -> Result<Self> {
        let options = ServerOptions { config: Some(CONFIG.to_owned()), ..ServerOptions::default() };
        let server = Server::start(program, &options)?;
        let requester = Requester::open(&server)?;
        let mut session = Self {
            server,
            requester,
            listeners: Vec::new(),
            connections: BTreeMap::new(),
            last_reply: None,
            server_id: String::new(),
            random: Regex::new(r"_R_\.\w+|_INBOX\.\d+|\b[A-Z2-7]{56}\b")?,
            heard: BTreeSet::new(),
            pages: Picture::default(),
            answers: Picture::default(),
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
        session.server_id = session.page("/varz")?["server_id"].as_str().unwrap_or_default().to_owned();
        session.remember_answers()?;
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
        Ok(serde_json::from_slice(&http::get(port, path)?.body)?)
    }

    /// A name without what is random in it.
    fn plain(&self, text: &str) -> String {
        let text =
            if self.server_id.is_empty() { text.to_owned() } else { text.replace(&self.server_id, "<id>") };
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
        Ok(picture)
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
        loop {
            std::thread::sleep(QUIET);
            let pages = self.pages()?;
            if pages == self.pages {
                return Ok(());
            }
            self.pages = pages;
        }
    }

    /// Takes what the API tells for what was before the next step.
    ///
    /// # Errors
    /// When an answer stays away.
    pub fn remember_answers(&mut self) -> Result<()> {
        self.heard.clear();
        self.answers = self.answers()?;
        Ok(())
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
        let now = self.answers()?;
        Ok(changes(&self.answers, &now))
    }

    /// What was answered, delivered and told of since the last comparison: each field with its form.
    pub fn heard(&mut self) -> &BTreeSet<String> {
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
        &self.heard
    }

    fn hear(&mut self, message: &Message) {
        // Whether a listener hears of itself is a race.
        if message.subject.starts_with("$SYS.ACCOUNT.SYS.") {
            return;
        }
        if message.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK.")) {
            self.last_reply.clone_from(&message.reply);
        }
        let subject = self.plain(&message.subject);
        let headers = message.headers.clone().unwrap_or_default();
        for line in headers.lines().filter(|line| !line.starts_with("Nats-Time")) {
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
            Step::Pull { consumer, body } => {
                let size = body.len();
                self.say("c", &format!("PUB $JS.API.CONSUMER.MSG.NEXT.{consumer} in {size}\r\n{body}\r\n"))?;
            }
            Step::Acknowledge { body } => {
                self.heard();
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
