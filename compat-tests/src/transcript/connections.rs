//! The connections of a case, and how their frames are recorded.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Map, Value};

use super::normalise::Normaliser;
use super::template::encode;
use crate::Result;
use crate::wire::{Connection, Frame, Message};

/// How long a PONG may take. Only a fault takes so long.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// How long the end of a case looks for frames on a connection that cannot be asked with PING.
const LEFTOVER_WAIT: Duration = Duration::from_millis(40);
/// Subscription id of the inbox of requests.
pub const INBOX_SID: &str = "inbox";

/// A named connection.
#[derive(Debug)]
pub struct Client {
    name: String,
    connection: Connection,
    /// Reply subjects of all messages so far, in order.
    replies: Vec<String>,
    /// It reads nothing for now.
    stalls: bool,
    /// Whether PINGs are answered and left out of the transcript.
    answers_pings: bool,
    requests: usize,
    /// Messages for a request's inbox, taken out of the way of waits.
    inbox: Vec<Message>,
    has_inbox: bool,
    /// Frames that were read ahead of the step that waits for them.
    ahead: VecDeque<Frame>,
    /// What INFO asks to be signed.
    nonce: String,
}

impl Client {
    /// Opens a connection; the first frame recorded is INFO.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn open(name: &str, port: u16, answers_pings: bool) -> Result<Self> {
        Ok(Self::over(name, Connection::open(port)?, answers_pings))
    }

    /// A client of a connection that says nothing by itself.
    pub fn over(name: &str, connection: Connection, answers_pings: bool) -> Self {
        Self {
            name: name.to_string(),
            connection,
            replies: Vec::new(),
            stalls: false,
            answers_pings,
            requests: 0,
            inbox: Vec::new(),
            has_inbox: false,
            ahead: VecDeque::new(),
            nonce: String::new(),
        }
    }

    /// The same, with a frame that was read already.
    #[must_use]
    pub fn after(mut self, frame: Option<Frame>) -> Self {
        self.ahead.extend(frame);
        self
    }

    /// Sends bytes. An error is ignored: a closed connection shows in what is read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.connection.send(bytes);
    }

    /// Sends bytes as they are, where others are put into frames.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.connection.send_raw(bytes);
    }

    /// Sends CONNECT with `fields` over the default ones, and PING.
    ///
    /// # Errors
    /// When `fields` is not a JSON object.
    pub fn say_connect(&mut self, fields: &str) -> Result<()> {
        let mut connect = serde_json::json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "echo": true, "lang": "scenario", "version": "1", "name": self.name,
        });
        let given: Value =
            serde_json::from_str(fields).map_err(|e| format!("CONNECT fields {fields}: {e}"))?;
        if let (Value::Object(connect), Value::Object(given)) = (&mut connect, given) {
            connect.extend(given);
            self.sign(connect)?;
        }
        self.send(format!("CONNECT {connect}\r\nPING\r\n").as_bytes());
        Ok(())
    }

    /// Replaces `seed`, that of a key made for tests, by the key and its signature of what INFO asks to be signed, or of
    /// `nonce` where that is given.
    fn sign(&mut self, connect: &mut Map<String, Value>) -> Result<()> {
        // A proxy signs the same.
        if let Some(seed) = connect.remove("proxy_seed") {
            let signature = signature(&key_of(&seed)?, &self.announced_nonce())?;
            connect.insert("proxy_sig".to_string(), signature.into());
        }
        let Some(seed) = connect.remove("seed") else { return Ok(()) };
        let key = key_of(&seed)?;
        let nonce = match connect.remove("nonce") {
            Some(given) => given.as_str().unwrap_or_default().to_string(),
            None => self.announced_nonce(),
        };
        let signature = signature(&key, &nonce)?;
        // A user with claims shows these in place of its key.
        if !connect.contains_key("jwt") {
            connect.insert("nkey".to_string(), key.public_key().into());
        }
        connect.insert("sig".to_string(), signature.into());
        Ok(())
    }

    /// Waits for INFO, which no step has seen yet; another CONNECT of the connection uses what the first one did.
    fn announced_nonce(&mut self) -> String {
        if self.nonce.is_empty()
            && let Some(frame) = self.read(CONNECT_WAIT)
        {
            if let Frame::Info(text) = &frame
                && let Ok(info) = serde_json::from_str::<Value>(text)
            {
                self.nonce = info.get("nonce").and_then(Value::as_str).unwrap_or_default().to_string();
            }
            self.ahead.push_back(frame);
        }
        self.nonce.clone()
    }

    fn read(&mut self, limit: Duration) -> Option<Frame> {
        match self.ahead.pop_front() {
            Some(frame) => Some(frame),
            None => self.connection.next(limit),
        }
    }

    /// The next frame of interest to a step; PINGs are answered, messages for the inbox put aside.
    pub fn next(&mut self, limit: Duration) -> Option<Frame> {
        let deadline = Instant::now() + limit;
        loop {
            let frame = self.read(deadline.saturating_duration_since(Instant::now()))?;
            match &frame {
                Frame::Ping if self.answers_pings => self.send(b"PONG\r\n"),
                Frame::Message(message) if message.sid == INBOX_SID => self.inbox.push(message.clone()),
                Frame::Message(message) => {
                    self.replies.push(message.reply.clone().unwrap_or_default());
                    return Some(frame);
                }
                _ => return Some(frame),
            }
        }
    }

    /// Frames up to PONG (left out) or the end of the connection (kept). `false` when neither came.
    pub fn until_pong(&mut self) -> (Vec<Frame>, bool) {
        let mut frames = Vec::new();
        while let Some(frame) = self.next(CONNECT_WAIT) {
            if frame == Frame::Pong {
                return (frames, true);
            }
            let closed = frame == Frame::Closed;
            frames.push(frame);
            if closed {
                return (frames, true);
            }
        }
        (frames, self.connection.is_closed())
    }

    /// Reply subject of the last or the n-th (from 1) message.
    pub fn reply_subject(&self, index: Option<usize>) -> Option<&str> {
        let reply = match index {
            Some(index) => self.replies.get(index.checked_sub(1)?),
            None => self.replies.last(),
        };
        reply.map(String::as_str).filter(|subject| !subject.is_empty())
    }

    /// Publishes a request and returns its inbox subject.
    pub fn ask(&mut self, subject: &str, headers: &[String], payload: &[u8]) -> String {
        if !self.has_inbox {
            self.has_inbox = true;
            self.send(format!("SUB _INBOX.{}.* {INBOX_SID}\r\n", self.name).as_bytes());
        }
        self.requests += 1;
        let inbox = format!("_INBOX.{}.{}", self.name, self.requests);
        self.send(&publication(subject, Some(&inbox), headers, payload));
        inbox
    }

    /// The next message for `inbox`. Other frames that come meanwhile are returned in `seen`.
    pub fn answer(&mut self, inbox: &str, limit: Duration, seen: &mut Vec<Frame>) -> Option<Message> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(at) = self.inbox.iter().position(|message| message.subject == inbox) {
                return Some(self.inbox.remove(at));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = self.read(left)?;
            match frame {
                Frame::Ping => self.send(b"PONG\r\n"),
                Frame::Message(message) if message.sid == INBOX_SID => self.inbox.push(message),
                Frame::Closed => {
                    seen.push(Frame::Closed);
                    return None;
                }
                other => {
                    if let Frame::Message(message) = &other {
                        self.replies.push(message.reply.clone().unwrap_or_default());
                    }
                    seen.push(other);
                }
            }
        }
    }

    /// Reads nothing, or reads again.
    pub fn set_stalled(&mut self, stalls: bool) {
        self.stalls = stalls;
        if stalls {
            self.connection.stall();
        } else {
            self.connection.resume();
        }
    }

    /// What is still to be read at the end of a case, `patience` times as long as usual.
    pub fn leftovers(&mut self, patience: u32) -> Vec<Frame> {
        if self.connection.is_closed() || self.stalls {
            return Vec::new();
        }
        if self.answers_pings {
            self.send(b"PING\r\n");
            return self.until_pong().0;
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.next(LEFTOVER_WAIT * patience) {
            frames.push(frame);
        }
        frames
    }

    /// True when the server has closed the connection and that was seen.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }
}

/// The bytes of PUB or HPUB.
pub fn publication(subject: &str, reply: Option<&str>, headers: &[String], payload: &[u8]) -> Vec<u8> {
    let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
    let mut bytes;
    if headers.is_empty() {
        bytes = format!("PUB {subject} {reply}{}\r\n", payload.len()).into_bytes();
    } else {
        let block = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
        let total = block.len() + payload.len();
        bytes = format!("HPUB {subject} {reply}{} {total}\r\n{block}", block.len()).into_bytes();
    }
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Frames as lines of a transcript.
pub fn describe(frame: &Frame, normaliser: &Normaliser) -> Vec<String> {
    match frame {
        Frame::Info(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) => prefixed("INFO", normaliser.json(&value)),
            Err(_) => vec![format!("INFO (not JSON) {text}")],
        },
        Frame::Message(message) => describe_message(message, normaliser),
        Frame::Ok => vec!["+OK".to_string()],
        Frame::Err(text) => vec![format!("-ERR {}", normaliser.text(text))],
        Frame::Ping => vec!["PING".to_string()],
        Frame::Pong => vec!["PONG".to_string()],
        Frame::Unknown(line) => vec![format!("unknown line \"{}\"", encode(line.as_bytes()))],
        Frame::Closed => vec!["(closed)".to_string()],
    }
}

fn describe_message(message: &Message, normaliser: &Normaliser) -> Vec<String> {
    // nats-server writes an empty reply subject, two blanks in a row, in answers of its own.
    let reply = message
        .reply
        .as_ref()
        .filter(|reply| !reply.is_empty())
        .map(|reply| format!(" reply {}", normaliser.text(reply)))
        .unwrap_or_default();
    let sid = if message.sid == INBOX_SID { String::new() } else { format!(" sid {}", message.sid) };
    let mut lines = vec![format!("MSG {}{sid}{reply}", normaliser.text(&message.subject))];
    if let Some(headers) = &message.headers {
        for line in headers.trim_end_matches("\r\n").split("\r\n") {
            lines.push(format!("  : {}", normaliser.text(&encode(line.as_bytes()))));
        }
        if !headers.ends_with("\r\n\r\n") {
            lines.push("  : (no empty line after the headers)".to_string());
        }
    }
    let payload = unpacked(message);
    lines.extend(normaliser.payload(&payload).into_iter().map(|line| format!("  {line}")));
    lines
}

/// What a payload holds: how well it is compressed is not compared.
fn unpacked(message: &Message) -> Cow<'_, [u8]> {
    let packed = message.payload.as_slice();
    let mut content = Vec::new();
    let headers = message.headers.as_deref().unwrap_or_default();
    let unpacked = match headers.lines().find_map(|line| line.strip_prefix("Content-Encoding: ")) {
        Some("gzip") => flate2::read::GzDecoder::new(packed).read_to_end(&mut content),
        Some("snappy") if packed.starts_with(b"\xff\x06\0\0sNaPpY") => {
            minlz::s2::Reader::new(packed).read_to_end(&mut content)
        }
        _ => return Cow::Borrowed(packed),
    };
    unpacked.map_or(Cow::Borrowed(packed), |_| Cow::Owned(content))
}

fn prefixed(first: &str, rest: Vec<String>) -> Vec<String> {
    std::iter::once(first.to_string()).chain(rest.into_iter().map(|line| format!("  {line}"))).collect()
}

/// Named connections of a case.
pub type Clients = BTreeMap<String, Client>;

/// A key made for tests, by its seed.
fn key_of(seed: &Value) -> Result<KeyPair> {
    KeyPair::from_seed(seed.as_str().unwrap_or_default()).map_err(|e| format!("seed: {e}").into())
}

/// The signature of what INFO asks to be signed, as CONNECT shows it.
fn signature(key: &KeyPair, nonce: &str) -> Result<String> {
    let signature = key.sign(nonce.as_bytes()).map_err(|e| format!("signature: {e}"))?;
    Ok(URL_SAFE_NO_PAD.encode(signature))
}
