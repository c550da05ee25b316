//! One of the two servers, with the connections of the session that runs on it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::operation::{Answers, FAST_SUBJECT, Operation, PUSH_SUBJECTS, Request};
use crate::Result;
use crate::process::{Program, Server, ServerOptions};
use crate::wire::{Connection, Frame, Message};

/// How long an answer may take.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(6);
/// What the subjects of requests begin with that a server answers, however long that takes.
const API: &str = "$JS.API.";
/// Where the stream's sequence stands in an ack subject; the consumer's follows.
const ACK_STREAM_SEQ_TOKEN: usize = 5;
/// The pause between two pieces of a raw connection, so that the server reads them one by one.
const PIECE_PAUSE: Duration = Duration::from_micros(200);

/// What has come in answer to a request.
#[derive(Debug)]
pub struct Answered {
    rule: Answers,
    /// Of the subscription to the request's inbox.
    sid: String,
    /// The answers so far.
    pub frames: Vec<Frame>,
    /// Whether the last one has come.
    pub is_complete: bool,
    /// Whether there is one in any case.
    is_owed: bool,
}

impl Answered {
    /// Nothing yet.
    fn new(request: &Request, sid: String) -> Self {
        let rule = request.answers;
        let is_owed = rule == Answers::One && request.subject.starts_with(API);
        Self { rule, sid, frames: Vec::new(), is_complete: false, is_owed }
    }

    /// Whether an answer has yet to come that comes in any case.
    pub fn is_awaited(&self) -> bool {
        self.is_owed && self.frames.is_empty()
    }
}

/// A server and what its session has received.
#[derive(Debug)]
pub struct Side {
    program: Program,
    options: ServerOptions,
    server: Server,
    main: Connection,
    name: String,
    last_sid: u64,
    /// Messages that push consumers delivered, and those of pulls that waited.
    pub pushed: Vec<Message>,
    /// The latest heartbeat, by sid.
    pub heartbeats: HashMap<String, Message>,
    /// The subject that the latest flow control request asks to answer, by sid.
    flow_requests: HashMap<String, String>,
    /// Ack subjects of the messages that pulls brought.
    pub pulled: Vec<String>,
    clients: Vec<Connection>,
}

impl Side {
    /// Starts a server of `program`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(program: &Program, options: &ServerOptions) -> Result<Self> {
        let server = Server::start(program, options)?;
        let mut side = Self {
            program: program.clone(),
            options: options.clone(),
            main: open(&server, 0)?,
            server,
            name: String::new(),
            last_sid: 10,
            pushed: Vec::new(),
            heartbeats: HashMap::new(),
            flow_requests: HashMap::new(),
            pulled: Vec::new(),
            clients: Vec::new(),
        };
        // While nats-server removes its last stream, it may fail to make another.
        if options.flags.iter().any(|flag| flag == "-js")
            && let Operation::Request(request) =
                Operation::api("STREAM.CREATE.ANCHOR", r#"{"name":"ANCHOR"}"#)
        {
            let mut answered = side.ask(&[request]);
            side.receive_answers(&mut answered, ANSWER_WAIT);
            side.end_answers(&answered);
        }
        Ok(side)
    }

    /// The name of the session that runs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the server was started with.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// Forgets the session before and makes ready for one with this name and so many client connections.
    ///
    /// # Errors
    /// When the server has to be replaced and the new one does not start.
    pub fn begin(&mut self, name: &str, clients: usize) -> Result<()> {
        if self.main.is_closed() || !self.server.is_alive() {
            *self = Self::start(&self.program.clone(), &self.options.clone())?;
        }
        self.pushed.clear();
        self.heartbeats.clear();
        self.flow_requests.clear();
        self.pulled.clear();
        self.name = name.to_string();
        self.subscribe_pushes()?;
        self.clients = (0..clients).map(|user| open(&self.server, user)).collect::<Result<_>>()?;
        Ok(())
    }

    fn subscribe_pushes(&mut self) -> Result<()> {
        for subject in PUSH_SUBJECTS {
            let line = format!("UNSUB p{subject}\r\nSUB {}D.{subject} p{subject}\r\n", self.name);
            self.main.send(line.as_bytes())?;
        }
        let (name, fast) = (&self.name, FAST_SUBJECT);
        self.main.send(format!("UNSUB p{fast}\r\nSUB {name}D.{fast}.> p{fast}\r\n").as_bytes())
    }

    /// Ends the server and starts it again on its store.
    ///
    /// # Errors
    /// When it does not end or start.
    pub fn restart(&mut self, signal: Signal) -> Result<()> {
        self.server.stop(signal)?;
        self.server.launch()?;
        self.main = open(&self.server, 0)?;
        self.subscribe_pushes()
    }

    /// Sends requests in one packet; [`Side::receive_answers`] collects what comes of them. A failure shows as a missing
    /// answer.
    pub fn ask(&mut self, requests: &[Request]) -> Vec<Answered> {
        let mut bytes = Vec::new();
        let mut answered = Vec::new();
        for request in requests {
            self.last_sid += 1;
            bytes.extend(request_bytes(request, self.last_sid));
            answered.push(Answered::new(request, self.last_sid.to_string()));
        }
        // A connection that has gone shows when the answer is read.
        let _ = self.main.send(&bytes);
        answered
    }

    /// Adds what comes within `limit` in answer to requests.
    pub fn receive_answers(&mut self, answered: &mut [Answered], limit: Duration) {
        let deadline = Instant::now() + limit;
        while answered.iter().any(|one| !one.is_complete)
            && let Some(frame) = self.main.next(deadline.saturating_duration_since(Instant::now()))
        {
            match frame {
                Frame::Message(message) => match answered.iter_mut().find(|one| one.sid == message.sid) {
                    Some(one) => {
                        one.is_complete |= ends(one.rule, &message, one.frames.len() + 1);
                        one.frames.push(Frame::Message(name_inbox(message, &one.sid)));
                    }
                    None => self.receive_push(message),
                },
                Frame::Ping | Frame::Pong | Frame::Info(_) => {}
                other => {
                    if let Some(one) = answered.iter_mut().find(|one| !one.is_complete) {
                        one.frames.push(other.clone());
                    }
                    answered.iter_mut().for_each(|one| one.is_complete |= other == Frame::Closed);
                }
            }
        }
    }

    /// No more answers to requests are awaited.
    pub fn end_answers(&mut self, answered: &[Answered]) {
        for one in answered {
            let _ = self.main.send(format!("UNSUB {}\r\n", one.sid).as_bytes());
            if let Answers::Pull(_) = one.rule {
                self.pulled.extend(one.frames.iter().filter_map(reply_of));
            }
        }
    }

    /// Sends a request whose answers go to one of the subjects that are pushed to.
    pub fn ask_for_pushes(&mut self, subject: &str, inbox: &str, headers: &[String], payload: &str) {
        let inbox = format!("{}D.{inbox}", self.name);
        let _ = self.main.send(&published(subject, &inbox, headers, payload));
    }

    fn receive_push(&mut self, mut message: Message) {
        // A session before this one may still be told that its consumers are gone.
        if !message.sid.starts_with('p') || !message.subject.contains(&self.name) {
            return;
        }
        let begins = |text: &str| message.headers.as_ref().is_some_and(|headers| headers.starts_with(text));
        if begins("NATS/1.0 100 FlowControl Request") {
            self.flow_requests.insert(message.sid, message.reply.unwrap_or_default());
        } else if begins("NATS/1.0 100 Idle Heartbeat") {
            // How many come is a matter of time.
            self.heartbeats.insert(message.sid.clone(), message);
        } else {
            // That nobody heard an acknowledgement is told with its subject, whose count of pending messages may lag.
            let is_unheard =
                |headers: &String| headers.starts_with("NATS/1.0 503") && headers.contains("$JS.ACK.");
            if message.headers.as_ref().is_some_and(is_unheard) {
                message.headers = Some("NATS/1.0 503".to_string());
            }
            self.pushed.push(message);
        }
    }

    /// The ack subject of one of the messages so far; see [`Operation::Acknowledge`].
    pub fn ack_subject(&self, nth: usize, pushed: bool) -> Option<String> {
        let subjects: Vec<String> = if pushed {
            in_order(&self.pushed).into_iter().filter_map(|message| message.reply).collect()
        } else {
            self.pulled.clone()
        };
        nth.checked_rem(subjects.len()).and_then(|at| subjects.get(at).cloned())
    }

    /// Whether a flow control request on `inbox` has no answer yet.
    pub fn has_flow_request(&self, inbox: &str) -> bool {
        self.flow_requests.contains_key(&format!("p{inbox}"))
    }

    /// Answers the latest flow control request on `inbox`: with the sequences of the last delivery there.
    pub fn answer_flow(&mut self, inbox: &str) {
        let sid = format!("p{inbox}");
        let Some(subject) = self.flow_requests.remove(&sid) else { return };
        let replies = self.pushed.iter().rev().filter(|message| message.sid == sid);
        let last = replies
            .filter_map(|message| message.reply.as_deref())
            .find(|reply| reply.starts_with("$JS.ACK."));
        let mut tokens = last.unwrap_or_default().split('.').skip(ACK_STREAM_SEQ_TOKEN);
        let mut token = || tokens.next().unwrap_or("0").to_string();
        let (stream_seq, consumer_seq) = (token(), token());
        let block = format!(
            "NATS/1.0\r\nNats-Last-Consumer: {consumer_seq}\r\nNats-Last-Stream: {stream_seq}\r\n\r\n"
        );
        let size = block.len();
        let _ = self.main.send(format!("HPUB {subject} {size} {size}\r\n{block}\r\n").as_bytes());
    }

    /// Takes in what is pushed within `limit`.
    pub fn receive_pushes(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while let Some(frame) = self.main.next(deadline.saturating_duration_since(Instant::now())) {
            if let Frame::Message(message) = frame {
                self.receive_push(message);
            }
        }
    }

    /// Sends bytes on a client connection and returns what all of them receive, up to a PONG each.
    pub fn client(&mut self, connection: usize, bytes: &[u8]) -> Vec<(usize, Frame)> {
        let mut received = Vec::new();
        if let Some(client) = self.clients.get_mut(connection) {
            let _ = client.send(bytes);
            received.extend(up_to_pong(client).into_iter().map(|frame| (connection, frame)));
        }
        for (index, client) in self.clients.iter_mut().enumerate().filter(|(index, _)| *index != connection) {
            received.extend(up_to_pong(client).into_iter().map(|frame| (index, frame)));
        }
        received
    }

    /// Sends pieces on a new connection.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn raw(&self, pieces: &[Vec<u8>]) -> Result<Connection> {
        let mut connection = Connection::open(self.server.port("nats").ok_or("no client port")?)?;
        for piece in pieces {
            // The server may have closed it already: that is seen when it is read.
            let _ = connection.send(piece);
            std::thread::sleep(PIECE_PAUSE);
        }
        Ok(connection)
    }
}

/// Connects as user `u<user>`, which means nothing to a server without users.
fn open(server: &Server, user: usize) -> Result<Connection> {
    let mut connection = Connection::open(server.port("nats").ok_or("no client port")?)?;
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
         \"user\":\"u{user}\",\"pass\":\"p\"}}\r\nPING\r\n"
    );
    connection.send(connect.as_bytes())?;
    connection.find(ANSWER_WAIT, |frame| *frame == Frame::Pong).ok_or("no PONG after CONNECT")?;
    Ok(connection)
}

/// Deliveries of one consumer to one subject in order; those of different consumers have no order between them.
pub(super) fn in_order(messages: &[Message]) -> Vec<Message> {
    let consumer = |message: &Message| {
        let reply = message.reply.clone().unwrap_or_default();
        (message.sid.clone(), reply.split('.').take(4).map(str::to_string).collect::<Vec<_>>())
    };
    let mut messages = messages.to_vec();
    messages.sort_by_key(consumer);
    messages
}

/// The bytes of a request whose answers come with this sid.
fn request_bytes(request: &Request, sid: u64) -> Vec<u8> {
    let mut bytes = format!("SUB _INBOX.{sid} {sid}\r\n").into_bytes();
    bytes.extend(published(&request.subject, &format!("_INBOX.{sid}"), &request.headers, &request.payload));
    bytes
}

/// The bytes of a message.
fn published(subject: &str, reply: &str, headers: &[String], payload: &str) -> Vec<u8> {
    let size = payload.len();
    if headers.is_empty() {
        return format!("PUB {subject} {reply} {size}\r\n{payload}\r\n").into_bytes();
    }
    let block = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
    let (head, all) = (block.len(), block.len() + size);
    format!("HPUB {subject} {reply} {head} {all}\r\n{block}{payload}\r\n").into_bytes()
}

fn reply_of(frame: &Frame) -> Option<String> {
    match frame {
        Frame::Message(message) => message.reply.clone(),
        _ => None,
    }
}

fn up_to_pong(client: &mut Connection) -> Vec<Frame> {
    let mut frames = Vec::new();
    if client.is_closed() || client.send(b"PING\r\n").is_err() {
        return frames;
    }
    while let Some(frame) = client.next(ANSWER_WAIT) {
        match frame {
            Frame::Pong => break,
            Frame::Ping | Frame::Info(_) => {}
            other => frames.push(other),
        }
    }
    frames
}

fn ends(rule: Answers, message: &Message, count: usize) -> bool {
    let headers = message.headers.as_deref().unwrap_or_default();
    let is_status = message.reply.is_none() && headers.starts_with("NATS/1.0 ");
    match rule {
        Answers::One => true,
        Answers::Batch => headers.starts_with("NATS/1.0 ") || headers.is_empty(),
        Answers::Pull(wanted) => is_status || count >= wanted || message.reply.is_none(),
    }
}

/// The inbox is named by the subscription, which differs between the servers after a request was repeated.
fn name_inbox(message: Message, sid: &str) -> Message {
    let subject =
        if message.subject == format!("_INBOX.{sid}") { "_INBOX".to_string() } else { message.subject };
    Message { subject, sid: "inbox".to_string(), ..message }
}
