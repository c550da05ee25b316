//! A bare client: one blocking socket, one thread, no task and no allocation per message.
//!
//! The generator shares the machine with the server under test, so whatever it spends is taken from both servers
//! alike; it therefore does as little as it can.

use crate::link::{Link, Place};
use crate::script::Turn;
use jetkv_protocol::{ServerOp, ServerParser, Step, encode};
use std::io::{self, Read, Write};
use std::time::Duration;

/// Longer than any step of a healthy run; a server that hangs ends the run instead of stalling it.
pub(crate) const IO_TIMEOUT: Duration = Duration::from_secs(30);
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// What INFO and the first PONG fit into, so that many clients that do nothing more take little.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// A connection that has sent CONNECT and seen the first PONG.
pub(crate) struct Client {
    socket: Link,
    parser: ServerParser,
    inbound: Vec<u8>,
    /// How much room a read has.
    read_bytes: usize,
    start: usize,
    end: usize,
    outbound: Vec<u8>,
    /// What was received since each of the messages sent, where that is kept.
    turns: Option<Vec<Turn>>,
}

/// A received message, borrowed from the read buffer.
pub(crate) struct Received<'a> {
    /// Header block, empty for none.
    pub(crate) headers: &'a [u8],
    /// Payload.
    pub(crate) payload: &'a [u8],
    /// Where an answer goes, empty for nowhere.
    pub(crate) reply: &'a [u8],
}

impl Client {
    /// Connects and exchanges CONNECT and PING for PONG.
    pub(crate) fn connect(place: &Place) -> io::Result<Self> {
        let mut client = Self {
            socket: Link::open(place, IO_TIMEOUT)?,
            parser: ServerParser::new(),
            inbound: Vec::new(),
            read_bytes: FIRST_READ_BYTES,
            start: 0,
            end: 0,
            outbound: Vec::new(),
            turns: None,
        };
        let options = br#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1,"lang":"bench","version":"1","name":"bench"}"#;
        encode::connect(&mut client.outbound, options);
        client.ping_pong()?;
        client.read_bytes = READ_BUFFER_BYTES;
        Ok(client)
    }

    /// Makes do with a small read buffer, where there are many clients that are sent little.
    pub(crate) fn read_little(&mut self) {
        self.read_bytes = FIRST_READ_BYTES;
    }

    /// Sends what is queued and a PING, and waits until the server has read it all.
    pub(crate) fn ping_pong(&mut self) -> io::Result<()> {
        encode::ping(&mut self.outbound);
        self.flush()?;
        while !self.step(|_| {})?.pong {}
        Ok(())
    }

    /// Queues a subscription.
    pub(crate) fn subscribe(&mut self, subject: &[u8], sid: &[u8]) {
        encode::sub(&mut self.outbound, subject, None, sid);
    }

    /// Queues a message.
    pub(crate) fn publish(&mut self, subject: &[u8], reply: Option<&[u8]>, payload: &[u8]) {
        self.publish_with(subject, reply, &[], payload);
    }

    /// Queues a message with a header block.
    pub(crate) fn publish_with(
        &mut self,
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) {
        encode::publish(&mut self.outbound, subject, reply, headers, payload);
        if let Some(turns) = &mut self.turns {
            turns.push(Turn::default());
        }
    }

    /// Keeps what is received from now on.
    pub(crate) fn keep_turns(&mut self) {
        self.turns = Some(Vec::new());
    }

    /// What was received since then, for each message that was sent.
    pub(crate) fn take_turns(&mut self) -> Vec<Turn> {
        self.turns.take().unwrap_or_default()
    }

    /// Queues the end of a subscription.
    pub(crate) fn unsubscribe(&mut self, sid: &[u8]) {
        encode::unsub(&mut self.outbound, sid, None);
    }

    /// Bytes queued and not sent.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outbound.len()
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.outbound.is_empty() {
            self.socket.write_all(&self.outbound)?;
            self.socket.flush()?;
            self.outbound.clear();
        }
        Ok(())
    }

    /// Waits for the next message.
    pub(crate) fn receive(&mut self, visit: impl FnOnce(Received<'_>)) -> io::Result<()> {
        let mut visit = Some(visit);
        loop {
            let step = self.step(|received| {
                if let Some(visit) = visit.take() {
                    visit(received);
                }
            })?;
            if step.message {
                return Ok(());
            }
        }
    }

    /// Makes [`Self::poll`] return at once where there is nothing to read. Only requests that fit the socket's buffer can be
    /// sent from then on.
    pub(crate) fn stay_awake(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Hands the next message to `visit`, if there is one; a client that does not [stay awake](Self::stay_awake) waits for
    /// it.
    pub(crate) fn poll(&mut self, visit: impl FnOnce(Received<'_>)) -> io::Result<bool> {
        match self.receive(visit) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and hands its answer to `visit`. The caller has subscribed to `reply`.
    pub(crate) fn request(
        &mut self,
        subject: &[u8],
        reply: &[u8],
        payload: &[u8],
        visit: impl FnOnce(Received<'_>),
    ) -> io::Result<()> {
        self.publish(subject, Some(reply), payload);
        self.flush()?;
        self.receive(visit)
    }

    /// Sends a JetStream API request and returns the JSON answer; an error answer is an error here.
    pub(crate) fn api(&mut self, subject: &str, body: &serde_json::Value) -> io::Result<serde_json::Value> {
        self.subscribe(b"_INBOX.api", b"api");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let mut answer = Vec::new();
        self.request(subject.as_bytes(), b"_INBOX.api", &body, |received| {
            answer.extend_from_slice(received.payload);
        })?;
        self.unsubscribe(b"api");
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        match answer.get("error") {
            Some(error) => Err(io::Error::other(format!("{subject}: {error}"))),
            None => Ok(answer),
        }
    }

    fn step(&mut self, visit: impl FnOnce(Received<'_>)) -> io::Result<Progress> {
        loop {
            let unread = self.inbound.get(self.start..self.end).unwrap_or_default();
            let step = self.parser.parse(unread).map_err(|error| io::Error::other(error.to_string()))?;
            let (op, consumed) = match step {
                Step::Op { op, consumed } => (op, consumed),
                Step::Incomplete { need } => {
                    self.fill(need)?;
                    continue;
                }
            };
            self.start += consumed;
            let mut progress = Progress { message: false, pong: false };
            match op {
                ServerOp::Msg { headers, payload, reply, .. } => {
                    progress.message = true;
                    visit(Received { headers, payload, reply: reply.unwrap_or_default() });
                }
                ServerOp::Pong => progress.pong = true,
                ServerOp::Ping => {
                    encode::pong(&mut self.outbound);
                    self.flush()?;
                }
                ServerOp::Err(text) => {
                    return Err(io::Error::other(String::from_utf8_lossy(text).into_owned()));
                }
                ServerOp::Info(_) | ServerOp::Ok => {}
            }
            return Ok(progress);
        }
    }

    fn fill(&mut self, need: usize) -> io::Result<()> {
        self.inbound.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let least = self.read_bytes.max(need.next_power_of_two());
        if self.inbound.len() < least {
            self.inbound.resize(least, 0);
        }
        let free = self.inbound.get_mut(self.end..).unwrap_or_default();
        match self.socket.read(free)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            count => {
                if let Some(turn) = self.turns.as_mut().and_then(|turns| turns.last_mut()) {
                    turn.answer.extend_from_slice(free.get(..count).unwrap_or_default());
                }
                self.end += count;
                Ok(())
            }
        }
    }
}

struct Progress {
    message: bool,
    pong: bool,
}
