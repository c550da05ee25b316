//! A client that speaks literal bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest time that a test waits for something that has to come.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// What the server says after two seconds, whatever else it says.
const PING: &[u8] = b"PING\r\n";

/// A connection. What it waits for has to come: a test fails where it does not.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Wire {
    /// Connects, and takes INFO off.
    pub fn connect(address: SocketAddr) -> Self {
        let mut wire = Self::open(address);
        let info = wire.line();
        assert!(info.starts_with("INFO {") && info.ends_with("} "), "{info}");
        wire
    }

    /// Connects and leaves INFO to be read.
    pub fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, received: Vec::new() }
    }

    /// Connects without verbose and pedantic, with headers and no-responders, and waits until the server answers.
    pub fn client(address: SocketAddr) -> Self {
        Self::client_with(address, "")
    }

    /// As [`client`](Self::client), with more fields in CONNECT, such as `,"user":"a"`.
    pub fn client_with(address: SocketAddr, fields: &str) -> Self {
        let mut wire = Self::connect(address);
        wire.send(&format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true{fields}}}\r\nPING\r\n"
        ));
        wire.expect("PONG\r\n");
        wire
    }

    /// Sends a text.
    pub fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    /// Sends bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next bytes have to be exactly these. A PING that is not among them is overlooked wherever a line may begin: it
    /// comes after two seconds, and a slow machine may take as long for a test.
    pub fn expect(&mut self, text: &str) {
        let wanted = text.as_bytes();
        loop {
            let same = wanted.iter().zip(&self.received).take_while(|(one, other)| one == other).count();
            let begin = wanted[..same].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            if same == wanted.len() {
                self.received.drain(..same);
                return;
            }
            let (line, is_foreign) = (&self.received[begin..], !wanted[begin..].starts_with(PING));
            if is_foreign && line.starts_with(PING) {
                self.received.drain(begin..begin + PING.len());
                continue;
            }
            let length = self.received.len();
            let may_follow = same == length || is_foreign && PING.starts_with(line);
            let is_more = may_follow && self.fill(|received| received.len() > length);
            assert!(is_more, "{:?} in place of {text:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// Nothing may have come until the server answers a PING.
    pub fn expect_nothing(&mut self) {
        self.send("PING\r\n");
        self.expect("PONG\r\n");
    }

    /// The next bytes have to be exactly these, and then the server closes.
    pub fn expect_then_close(&mut self, text: &str) {
        self.expect(text);
        self.expect_close();
    }

    /// The server closes without another word than PING.
    pub fn expect_close(&mut self) {
        while self.fill(|received| received.contains(&b'\n')) && self.received.starts_with(PING) {
            self.received.drain(..PING.len());
        }
        assert!(self.received.is_empty(), "{}", self.received.escape_ascii());
    }

    /// The next line, without its end. A PING is overlooked.
    pub fn line(&mut self) -> String {
        loop {
            let is_whole = self.fill(|received| received.contains(&b'\n'));
            assert!(is_whole, "closed: {}", self.received.escape_ascii());
            let end = self.received.iter().position(|byte| *byte == b'\n').unwrap();
            let line: Vec<u8> = self.received.drain(..=end).collect();
            if line != PING {
                return String::from_utf8(line).unwrap().trim_end_matches(['\r', '\n']).to_owned();
            }
        }
    }

    /// Exactly so many bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        assert!(self.fill(|received| received.len() >= count));
        self.received.drain(..count).collect()
    }

    /// Reads until `enough` holds; false when the server closed before.
    fn fill(&mut self, enough: impl Fn(&[u8]) -> bool) -> bool {
        let until = Instant::now() + WAIT_MAX;
        while !enough(&self.received) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited too long; so far: {}", self.received.escape_ascii());
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 65536];
            match self.socket.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
        true
    }
}
