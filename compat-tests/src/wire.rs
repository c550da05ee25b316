//! A client connection that sees every byte: frames as they come, nothing interpreted away.
//!
//! The parser is deliberately not the one of the server under test.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Result;
use crate::secure::{Stream, Trust};
use crate::websocket::{self, Frames};

const CONNECT_WAIT: Duration = Duration::from_secs(15);

/// One thing that a server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// `INFO` with its JSON text.
    Info(String),
    /// `MSG` or `HMSG`.
    Message(Message),
    /// `+OK`
    Ok,
    /// `-ERR` with its text, quotes included.
    Err(String),
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// A line that is none of the above.
    Unknown(String),
    /// The server closed the connection.
    Closed,
}

/// A delivered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Subject.
    pub subject: String,
    /// Subscription id.
    pub sid: String,
    /// Reply subject.
    pub reply: Option<String>,
    /// The header block as sent (`NATS/1.0...` to the empty line), for `HMSG`.
    pub headers: Option<String>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A raw connection with a thread that reads frames.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    frames: Receiver<Frame>,
    closed: bool,
    /// Its bytes are in the frames of a WebSocket.
    upgraded: bool,
    gate: Arc<Gate>,
}

/// Where the thread that reads waits while nothing is to be read.
#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap_or_else(PoisonError::into_inner) = is_shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_shut = self.is_shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(is_shut, |is_shut| *is_shut));
    }
}

impl Connection {
    /// Connects to a port on the loopback interface. The first frame will be INFO.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn open(port: u16) -> Result<Self> {
        Self::over(Stream::Plain(Arc::new(connect(port)?)), None)
    }

    /// As [`open`](Self::open), under TLS, whose handshake comes after INFO, which is returned, or `first`.
    ///
    /// # Errors
    /// When nothing listens there, or the handshake fails.
    pub fn secure(port: u16, first: bool, trust: &Trust) -> Result<(Option<String>, Self)> {
        let mut socket = connect(port)?;
        socket.set_read_timeout(Some(CONNECT_WAIT))?;
        let info = if first { None } else { Some(read_info(&mut socket)?) };
        let stream = Stream::secure(socket, trust)?;
        stream.socket().set_read_timeout(None)?;
        Ok((info, Self::over(stream, None)?))
    }

    /// As [`open`](Self::open), over a WebSocket. Returns the lines of the answer too, and no connection where that is no
    /// upgrade.
    ///
    /// # Errors
    /// When nothing listens there, or it closes at once.
    pub fn upgrade(
        port: u16,
        line: &str,
        headers: &[String],
        trust: Option<&Trust>,
    ) -> Result<(Vec<String>, Option<Self>)> {
        let socket = connect(port)?;
        socket.set_read_timeout(Some(CONNECT_WAIT))?;
        let mut stream = match trust {
            Some(trust) => Stream::secure(socket, trust)?,
            None => Stream::Plain(Arc::new(socket)),
        };
        let lines = websocket::ask(&mut stream, line, headers)?;
        stream.socket().set_read_timeout(None)?;
        let upgraded = lines.first().is_some_and(|line| line.contains(" 101 "));
        let connection = upgraded.then(|| Self::over(stream, Some(Frames::default()))).transpose()?;
        Ok((lines, connection))
    }

    /// What was agreed on under TLS.
    pub fn agreed(&self) -> Option<String> {
        self.stream.agreed()
    }

    fn over(stream: Stream, unframed: Option<Frames>) -> Result<Self> {
        let upgraded = unframed.is_some();
        let (sender, frames) = channel();
        let reader = stream.clone();
        let gate = Arc::new(Gate::default());
        let passed = Arc::clone(&gate);
        std::thread::spawn(move || read_frames(reader, unframed, &passed, &sender));
        Ok(Self { stream, frames, closed: false, upgraded, gate })
    }

    /// Reads nothing from now on, but for what one read that has begun still brings.
    pub fn stall(&mut self) {
        self.gate.set(true);
    }

    /// Reads again.
    pub fn resume(&mut self) {
        self.gate.set(false);
    }

    /// Writes bytes, over a WebSocket as one message.
    ///
    /// # Errors
    /// When the peer has gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if self.upgraded {
            return self.send_raw(&websocket::frame(bytes));
        }
        self.send_raw(bytes)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the peer has gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next frame, or `None` when nothing came within `limit`. After [`Frame::Closed`] it returns `None` at once.
    pub fn next(&mut self, limit: Duration) -> Option<Frame> {
        if self.closed {
            return None;
        }
        match self.frames.recv_timeout(limit) {
            Ok(frame) => {
                self.closed = frame == Frame::Closed;
                Some(frame)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.closed = true;
                Some(Frame::Closed)
            }
        }
    }

    /// True after [`Frame::Closed`] was returned.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Waits for the first frame that `wanted` accepts, dropping others.
    pub fn find(&mut self, limit: Duration, mut wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = self.next(left)?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Fails when the peer was first; the reading thread ends either way.
        let _ = self.stream.socket().shutdown(Shutdown::Both);
        self.gate.set(false);
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), CONNECT_WAIT)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads the line that comes first, and returns what INFO says.
fn read_info(socket: &mut TcpStream) -> Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        socket.read_exact(&mut byte)?;
        line.extend_from_slice(&byte);
    }
    let line = String::from_utf8(line)?;
    Ok(line.trim_end().strip_prefix("INFO ").ok_or("no INFO")?.to_string())
}

fn read_frames(mut stream: Stream, mut unframed: Option<Frames>, gate: &Gate, frames: &Sender<Frame>) {
    let mut buffer = Vec::new();
    let mut chunk = [0_u8; 64 * 1024];
    loop {
        gate.pass();
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                match &mut unframed {
                    Some(unframed) => buffer.extend_from_slice(&unframed.take(bytes)),
                    None => buffer.extend_from_slice(bytes),
                }
            }
        }
        let mut used = 0;
        while let Some((frame, length)) = parse_frame(buffer.get(used..).unwrap_or_default()) {
            used += length;
            if frames.send(frame).is_err() {
                return;
            }
        }
        buffer.drain(..used);
    }
    // The owner may have gone already.
    let _ = frames.send(Frame::Closed);
}

/// Parses one frame at the start of `bytes`; returns it with its length, or `None` when it is not whole.
pub fn parse_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let after = end + 2;
    let (verb, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
    let frame = match verb {
        "INFO" => Frame::Info(rest.to_string()),
        "+OK" => Frame::Ok,
        "-ERR" => Frame::Err(rest.to_string()),
        "PING" => Frame::Ping,
        "PONG" => Frame::Pong,
        "MSG" | "HMSG" => {
            let (message, length) = parse_message(verb == "HMSG", rest, bytes.get(after..)?)?;
            return Some((
                message.map_or_else(|| Frame::Unknown(line.clone()), Frame::Message),
                after + length,
            ));
        }
        _ => Frame::Unknown(line.clone()),
    };
    Some((frame, after))
}

/// The outer `None` means "not whole yet", the inner one "not a message line".
fn parse_message(with_headers: bool, arguments: &str, body: &[u8]) -> Option<(Option<Message>, usize)> {
    let fields: Vec<&str> = arguments.split(' ').collect();
    let sizes = if with_headers { 2 } else { 1 };
    let named = fields.len().saturating_sub(sizes);
    let numbers: Vec<usize> = fields.iter().skip(named).filter_map(|f| f.parse().ok()).collect();
    let (header_size, size) = match (with_headers, numbers.as_slice()) {
        (true, [header_size, size]) => (*header_size, *size),
        (false, [size]) => (0, *size),
        _ => return Some((None, 0)),
    };
    let (subject, sid, reply) = match fields.get(..named) {
        Some([subject, sid]) => (*subject, *sid, None),
        // nats-server writes an empty reply subject where some messages of its own have none; clients take both alike.
        Some([subject, sid, ""]) => (*subject, *sid, None),
        Some([subject, sid, reply]) => (*subject, *sid, Some((*reply).to_string())),
        _ => return Some((None, 0)),
    };
    if header_size > size || body.len() < size + 2 {
        return (header_size > size).then_some((None, 0));
    }
    let headers = with_headers
        .then(|| String::from_utf8_lossy(body.get(..header_size).unwrap_or_default()).into_owned());
    let message = Message {
        subject: subject.to_string(),
        sid: sid.to_string(),
        reply,
        headers,
        payload: body.get(header_size..size).unwrap_or_default().to_vec(),
    };
    Some((Some(message), size + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_returned_only_when_whole() {
        let bytes = b"HMSG a.b 1 _R 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPONG\r\n";
        for length in 0..36 {
            assert_eq!(parse_frame(&bytes[..length]), None, "{length} bytes");
        }
        let (frame, length) = parse_frame(bytes).unwrap();
        let Frame::Message(message) = frame else { panic!("{frame:?}") };
        assert_eq!(message.payload, b"hi");
        assert_eq!(message.reply.as_deref(), Some("_R"));
        assert_eq!(parse_frame(&bytes[length..]), Some((Frame::Pong, 6)));
    }
}
