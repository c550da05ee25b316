//! Requests over a raw connection, one at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::Result;
use crate::process::Server;
use crate::wire::{Connection, Frame, Message};

const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// A connection that asks one thing at a time.
#[derive(Debug)]
pub struct Requester {
    connection: Connection,
    /// Sets this connection's inboxes apart from those of the others.
    number: u64,
    next_inbox: u64,
}

static REQUESTERS: AtomicU64 = AtomicU64::new(0);

impl Requester {
    /// Connects to a running server.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn open(server: &Server) -> Result<Self> {
        Self::open_as(server, "")
    }

    /// Connects to a running server with further fields of CONNECT, each behind a comma.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn open_as(server: &Server, fields: &str) -> Result<Self> {
        let mut connection = Connection::open(server.port("nats").ok_or("no client port")?)?;
        let number = REQUESTERS.fetch_add(1, Ordering::SeqCst);
        let connect =
            format!("CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true{fields}}}\r\n");
        connection.send(connect.as_bytes())?;
        connection.send(format!("SUB _INBOX.{number}.> 1\r\n").as_bytes())?;
        Ok(Self { connection, number, next_inbox: 0 })
    }

    /// Sends a message with `headers` (whole lines, without the first) and waits for the answer; `None` when the
    /// connection closed first.
    ///
    /// # Errors
    /// When the answer stays away.
    pub fn ask(&mut self, subject: &str, headers: &str, payload: &[u8]) -> Result<Option<Message>> {
        self.ask_as("", subject, headers, payload)
    }

    /// As [`Requester::ask`], with a reply subject that ends in `end`, which says something by itself and begins with a dot.
    ///
    /// # Errors
    /// When the answer stays away.
    pub fn ask_as(
        &mut self,
        end: &str,
        subject: &str,
        headers: &str,
        payload: &[u8],
    ) -> Result<Option<Message>> {
        self.next_inbox += 1;
        let inbox = format!("_INBOX.{}.{}{end}", self.number, self.next_inbox);
        let block = if headers.is_empty() { String::new() } else { format!("NATS/1.0\r\n{headers}\r\n") };
        let line = if block.is_empty() {
            format!("PUB {subject} {inbox} {}\r\n", payload.len())
        } else {
            format!("HPUB {subject} {inbox} {} {}\r\n", block.len(), block.len() + payload.len())
        };
        let bytes = [line.as_bytes(), block.as_bytes(), payload, b"\r\n"].concat();
        if self.connection.send(&bytes).is_err() {
            return Ok(None);
        }
        let answer = self.connection.find(ANSWER_WAIT, |frame| match frame {
            // Pull consumers answer with the message itself, under its own subject.
            Frame::Message(message) => message.subject == inbox || !message.subject.starts_with("_INBOX."),
            Frame::Closed => true,
            _ => false,
        });
        match answer {
            Some(Frame::Message(message)) => Ok(Some(message)),
            Some(_) => Ok(None),
            None => Err(format!("no answer to {subject}").into()),
        }
    }

    /// Sends a message that nobody answers.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        let line = format!("PUB {subject} {}\r\n", payload.len());
        self.connection.send(&[line.as_bytes(), payload, b"\r\n"].concat())
    }

    /// Sends a JetStream API request, `null` for an empty body, and returns its answer.
    ///
    /// # Errors
    /// When the answer is an error or stays away.
    pub fn api(&mut self, subject: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.granted(subject, "", &body)
    }

    /// Asks, and returns an answer that is no error.
    fn granted(&mut self, subject: &str, headers: &str, payload: &[u8]) -> Result<Value> {
        let answer = self.ask(subject, headers, payload)?.ok_or("the connection closed")?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        match answer.get("error") {
            Some(error) => Err(format!("{subject}: {error}").into()),
            None => Ok(answer),
        }
    }

    /// Creates a stream.
    ///
    /// # Errors
    /// As of [`Requester::api`].
    pub fn create_stream(&mut self, config: &Value) -> Result<()> {
        let name = config.get("name").and_then(Value::as_str).unwrap_or_default();
        self.api(&format!("$JS.API.STREAM.CREATE.{name}"), config).map(drop)
    }

    /// Publishes a message to a stream, with `headers` as of [`Requester::ask`].
    ///
    /// # Errors
    /// When the stream refuses it, or does not answer.
    pub fn publish(&mut self, subject: &str, headers: &str, payload: impl AsRef<[u8]>) -> Result<()> {
        self.granted(subject, headers, payload.as_ref()).map(drop)
    }

    /// Gets a message, or a status, by a direct get.
    ///
    /// # Errors
    /// When the answer stays away.
    pub fn direct_get(&mut self, stream: &str, request: &Value) -> Result<Message> {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        Ok(self.ask(&subject, "", request.to_string().as_bytes())?.ok_or("the connection closed")?)
    }

    /// Gets messages by a direct get in a batch, up to the status that ends it, which is left out: none where there are none.
    ///
    /// # Errors
    /// When one of them stays away.
    pub fn direct_gets(&mut self, stream: &str, request: &Value) -> Result<Vec<Message>> {
        let is_status =
            |one: &Message| one.headers.as_ref().is_none_or(|block| block.starts_with("NATS/1.0 "));
        let mut next = self.direct_get(stream, request)?;
        let mut messages = Vec::new();
        while !is_status(&next) {
            let inbox = next.subject.clone();
            messages.push(next);
            let found = self.connection.find(ANSWER_WAIT, |frame| match frame {
                Frame::Message(message) => message.subject == inbox,
                Frame::Closed => true,
                _ => false,
            });
            let Some(Frame::Message(message)) = found else { return Err("a batch without its end".into()) };
            next = message;
        }
        Ok(messages)
    }
}

/// The value of a header in a block.
pub fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers
        .lines()
        .find_map(|line| line.split_once(':').filter(|(key, _)| *key == name))
        .map(|(_, value)| value.trim())
}
