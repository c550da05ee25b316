//! What a client's bytes go over: a socket, TLS, or the frames of a WebSocket.

use jetkv_compat_tests::websocket;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Where a server is reached, and how.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) over: Over,
}

/// What is around the protocol.
#[derive(Clone)]
pub(crate) enum Over {
    Nothing,
    /// TLS, begun behind INFO.
    Tls(Arc<ClientConfig>),
    Websocket,
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self { address, over: Over::Nothing }
    }
}

/// Trusts one certificate, which a server shows as its own.
pub(crate) fn trusting(certificate: CertificateDer<'static>) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// A connection.
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Websocket(Box<Frames>),
}

impl Link {
    /// Connects, up to where the protocol goes on.
    pub(crate) fn open(place: &Place, timeout: Duration) -> io::Result<Self> {
        let mut socket = TcpStream::connect(place.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        match &place.over {
            Over::Nothing => Ok(Self::Plain(socket)),
            Over::Tls(config) => {
                // INFO comes bare.
                let mut byte = [0];
                while byte != *b"\n" {
                    socket.read_exact(&mut byte)?;
                }
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let mut session =
                    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                while session.is_handshaking() {
                    session.complete_io(&mut socket)?;
                }
                Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
            }
            Over::Websocket => {
                let answer = websocket::ask(&mut socket, "GET / HTTP/1.1", &[]).map_err(io::Error::other)?;
                if !answer.first().is_some_and(|line| line.contains(" 101 ")) {
                    return Err(io::Error::other(format!("no upgrade: {answer:?}")));
                }
                Ok(Self::Websocket(Box::new(Frames::new(socket))))
            }
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
            Self::Websocket(frames) => &frames.socket,
        }
    }

    /// See [`TcpStream::set_nonblocking`].
    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.socket().set_nonblocking(on)
    }
}

impl Read for Link {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(stream) => stream.read(into),
            Self::Websocket(frames) => frames.read(into),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Websocket(frames) => frames.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Websocket(frames) => frames.socket.flush(),
        }
    }
}

/// A client's side of a WebSocket: everything that is written at once is a frame of its own.
pub(crate) struct Frames {
    socket: TcpStream,
    /// What was read, from `start` on.
    unread: Vec<u8>,
    start: usize,
    /// What is left of the frame that is being read.
    left: usize,
}

impl Frames {
    const READ_BYTES: usize = 64 * 1024;

    fn new(socket: TcpStream) -> Self {
        Self { socket, unread: Vec::new(), start: 0, left: 0 }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.unread.drain(..self.start);
        self.start = 0;
        let length = self.unread.len();
        self.unread.resize(length + Self::READ_BYTES, 0);
        let read = self.socket.read(self.unread.get_mut(length..).unwrap_or_default());
        let count = *read.as_ref().unwrap_or(&0);
        self.unread.truncate(length + count);
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Takes the head of the next frame off, once it is whole.
    fn next_frame(&mut self) -> Option<usize> {
        let bytes = self.unread.get(self.start..)?;
        let number = |count: usize| {
            let bytes = bytes.get(2..2 + count)?;
            Some(bytes.iter().fold(0, |number: usize, byte| number << 8 | usize::from(*byte)))
        };
        let (size, head_bytes) = match bytes.get(1)? & 0x7f {
            126 => (number(2)?, 4),
            127 => (number(8)?, 10),
            short => (usize::from(short), 2),
        };
        self.start += head_bytes;
        Some(size)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 || self.start == self.unread.len() {
            match if self.left == 0 { self.next_frame() } else { None } {
                Some(size) => self.left = size,
                None => self.fill()?,
            }
        }
        let bytes = self.unread.get(self.start..).unwrap_or_default();
        let count = self.left.min(bytes.len()).min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.start += count;
        self.left -= count;
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write_all(&websocket::frame(bytes))?;
        Ok(bytes.len())
    }
}
