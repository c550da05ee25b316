//! The connection over which requests come.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use jetkv_protocol::{ConnectOptions, ServerInfo, ServerOp, ServerParser, Step, encode};
use parking_lot::{Condvar, Mutex};

use crate::lab::command::Place;

/// Time that a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Pause before a connection is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A subscription: its subject, and the queue group that shares it.
pub(super) struct Subscription {
    pub(super) subject: String,
    pub(super) queue: Option<&'static str>,
}

/// A message of one of the subscriptions, by its place in their list.
pub(super) struct Message<'a> {
    pub(super) subscription: usize,
    pub(super) reply: Option<&'a [u8]>,
    pub(super) body: &'a [u8],
}

/// A connection to a server, made anew when it breaks.
pub(super) struct Bus {
    place: Place,
    subscriptions: Vec<Subscription>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    socket: Option<TcpStream>,
    closed: bool,
}

impl Bus {
    /// Connects, subscribes, and returns once the server has taken all subscriptions.
    pub(super) fn connect(
        place: Place,
        subscriptions: Vec<Subscription>,
    ) -> Result<(Self, Incoming), String> {
        let bus = Self { place, subscriptions, state: Mutex::default(), changed: Condvar::new() };
        let incoming = bus.open()?;
        Ok((bus, incoming))
    }

    /// Hands over what comes, until [`close`](Self::close).
    pub(super) fn serve(&self, mut incoming: Incoming, mut handle: impl FnMut(Message<'_>)) {
        loop {
            let error = self.read(&mut incoming, &mut handle).err();
            self.state.lock().socket = None;
            incoming = loop {
                if self.is_closed_after_pause(error.as_deref()) {
                    return;
                }
                match self.open() {
                    Ok(incoming) => break incoming,
                    Err(error) => tracing::warn!("Test service: {error}"),
                }
            };
        }
    }

    fn is_closed_after_pause(&self, error: Option<&str>) -> bool {
        let mut state = self.state.lock();
        if !state.closed {
            tracing::warn!("Test service: connection lost: {}", error.unwrap_or("closed"));
            self.changed.wait_for(&mut state, RETRY_PAUSE);
        }
        state.closed
    }

    /// Publishes an answer. One that cannot be sent is lost with the connection, and the caller's request with it.
    pub(super) fn publish(&self, subject: &[u8], headers: &str, body: &[u8]) {
        let mut bytes = Vec::with_capacity(subject.len() + headers.len() + body.len() + 64);
        encode::publish(&mut bytes, subject, None, headers.as_bytes(), body);
        self.send(&bytes);
    }

    /// Ends the connection.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        if let Some(socket) = state.socket.take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    fn send(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        if let Some(Err(error)) = state.socket.as_mut().map(|socket| socket.write_all(bytes)) {
            tracing::warn!("Test service: an answer is lost: {error}");
        }
    }

    fn open(&self) -> Result<Incoming, String> {
        let Place { user, password, address } = &self.place;
        let wrong = |error: std::io::Error| format!("{address}: {error}");
        let socket = TcpStream::connect(address).map_err(wrong)?;
        socket.set_nodelay(true).map_err(wrong)?;
        socket.set_read_timeout(Some(CONNECT_MAX)).map_err(wrong)?;
        let mut incoming = Incoming {
            socket: socket.try_clone().map_err(wrong)?,
            parser: ServerParser::new(),
            received: Vec::new(),
        };
        let info = incoming.next(|op| match op {
            ServerOp::Info(json) => Some(ServerInfo::from_json(json).map_err(|error| error.to_string())),
            _ => None,
        })??;
        if info.tls_required {
            return Err(format!("{address} wants TLS, which this command does not speak"));
        }
        let hello = self.hello(user, password);
        (&socket).write_all(&hello).map_err(wrong)?;
        incoming.next(|op| match op {
            ServerOp::Pong => Some(Ok(())),
            ServerOp::Err(text) => Some(Err(format!("{address}: {}", String::from_utf8_lossy(text)))),
            _ => None,
        })??;
        socket.set_read_timeout(None).map_err(wrong)?;
        let mut state = self.state.lock();
        if state.closed {
            return Err("closed".to_owned());
        }
        state.socket = Some(socket);
        Ok(incoming)
    }

    fn hello(&self, user: &str, password: &str) -> Vec<u8> {
        let (user, token) = if password.is_empty() { ("", user) } else { (user, "") };
        let connect = ConnectOptions {
            user: user.to_owned(),
            pass: password.to_owned(),
            auth_token: token.to_owned(),
            verbose: false,
            pedantic: false,
            headers: true,
            no_responders: true,
            name: "jetkv lab serve".to_owned(),
            ..ConnectOptions::default()
        };
        let mut bytes = Vec::new();
        encode::connect(&mut bytes, connect.to_json().as_bytes());
        for (number, Subscription { subject, queue }) in self.subscriptions.iter().enumerate() {
            let queue = queue.map(str::as_bytes);
            encode::sub(&mut bytes, subject.as_bytes(), queue, number.to_string().as_bytes());
        }
        bytes.extend_from_slice(encode::PING);
        bytes
    }

    fn read(&self, incoming: &mut Incoming, handle: &mut impl FnMut(Message<'_>)) -> Result<(), String> {
        loop {
            let ping = incoming.next(|op| match op {
                ServerOp::Ping => Some(Ok(true)),
                ServerOp::Msg { sid, reply, payload, .. } => {
                    let number = std::str::from_utf8(sid).ok().and_then(|sid| sid.parse().ok());
                    if let Some(subscription) = number {
                        handle(Message { subscription, reply, body: payload });
                    }
                    Some(Ok(false))
                }
                ServerOp::Err(text) => Some(Err(String::from_utf8_lossy(text).into_owned())),
                _ => None,
            })??;
            if ping {
                self.send(encode::PONG);
            }
        }
    }
}

/// What a server sends.
pub(super) struct Incoming {
    socket: TcpStream,
    parser: ServerParser,
    received: Vec<u8>,
}

impl Incoming {
    /// Reads on until something is found in an operation.
    fn next<T>(&mut self, mut find: impl FnMut(ServerOp<'_>) -> Option<T>) -> Result<T, String> {
        let mut at = 0;
        loop {
            let rest = self.received.get(at..).unwrap_or_default();
            let found = match self.parser.parse(rest).map_err(|error| error.to_string())? {
                Step::Op { op, consumed } => {
                    at += consumed;
                    find(op)
                }
                _ => {
                    self.received.drain(..at);
                    at = 0;
                    self.read()?;
                    None
                }
            };
            if found.is_some() {
                self.received.drain(..at);
                return found.ok_or_else(String::new);
            }
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let mut bytes = [0; 16 << 10];
        match self.socket.read(&mut bytes).map_err(|error| error.to_string())? {
            0 => Err("the server closed the connection".to_owned()),
            count => {
                self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
                Ok(())
            }
        }
    }
}
