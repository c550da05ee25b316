//! What carries the bytes of a connection, and nothing but that: a link knows no operation, no timer and no queue.
//!
//! Each kind is one file with two halves: a [`Reader`], which the connection's task has, and a [`Writer`], which every
//! thread that has something for the connection tries at once. They are enums and not traits, so that TCP, which nearly
//! all connections are, costs no more than a comparison.

mod memory;
mod tcp;
pub(crate) mod tls;
pub(crate) mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::connections::Peer;
use crate::reactor::Socket;
pub use memory::MemoryStream;

/// A link to one peer.
pub(crate) struct Link {
    pub reader: Reader,
    pub writer: Writer,
    pub peer: Peer,
}

/// The half that is read from.
pub(crate) enum Reader {
    Tcp(tcp::TcpReader),
    Memory(memory::MemoryReader),
    Tls(Box<tls::TlsReader>),
    Websocket(Box<websocket::WebsocketReader>),
}

/// The half that is written to. It is shared, and nobody waits in it.
#[derive(Debug)]
pub(crate) enum Writer {
    Tcp(tcp::TcpWriter),
    Memory(memory::MemoryWriter),
    Tls(tls::TlsWriter),
    Websocket(websocket::WebsocketWriter),
}

impl Link {
    /// A link over a socket.
    pub(crate) fn tcp(socket: Socket, peer: SocketAddr) -> Self {
        let (reader, writer) = tcp::split(socket, peer);
        Self { reader: Reader::Tcp(reader), writer: Writer::Tcp(writer), peer: Peer::Address(peer) }
    }

    /// A reader of a link that has ended.
    pub(crate) fn ended_reader() -> Reader {
        Self::memory().0.reader
    }

    /// A link within this process, and its other end.
    pub(crate) fn memory() -> (Self, MemoryStream) {
        let (reader, writer, stream) = memory::pair();
        let link =
            Self { reader: Reader::Memory(reader), writer: Writer::Memory(writer), peer: Peer::Process };
        (link, stream)
    }
}

impl Reader {
    /// Adds bytes that came to `into`, as many as it has room for; none at the end of the link.
    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(reader) => reader.poll_read(context, into),
            Self::Memory(reader) => reader.poll_read(context, into),
            Self::Tls(reader) => reader.poll_read(context, into),
            Self::Websocket(reader) => reader.poll_read(context, into),
        }
    }

    /// Whether a [read](Self::poll_read) may be worth it, as far as that is known without one; only the last caller is woken.
    #[inline]
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(reader) => reader.poll_readable(context),
            Self::Memory(_) | Self::Tls(_) | Self::Websocket(_) => Poll::Ready(()),
        }
    }

    /// Has the link end, when both halves are gone, with a reset and not in an orderly way, where that makes a difference.
    pub(crate) fn end_with_reset(&self) {
        match self {
            Self::Tcp(reader) => reader.end_with_reset(),
            Self::Memory(_) => {}
            Self::Tls(reader) => reader.end_with_reset(),
            Self::Websocket(reader) => reader.end_with_reset(),
        }
    }

    /// Bounds what the link gathers before it is read to messages of so many bytes, where it gathers any.
    pub(crate) fn limit_messages(&mut self, max_payload: usize) {
        if let Self::Websocket(reader) = self {
            reader.limit_messages(max_payload);
        }
    }
}

impl Writer {
    /// Writes what the link takes at once. A call that fails with `WouldBlock` is repeated with the same bytes, once
    /// [`poll_writable`](Self::poll_writable) says that it may.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(writer) => writer.try_write(bytes),
            Self::Memory(writer) => writer.try_write(bytes),
            Self::Tls(writer) => writer.try_write(bytes),
            Self::Websocket(writer) => writer.try_write(bytes),
        }
    }

    /// A failed write as Go words it.
    pub(crate) fn failed_write(&self, error: &io::Error) -> String {
        match self {
            Self::Tcp(writer) => writer.failed_write(error),
            Self::Memory(_) | Self::Tls(_) => jetkv_go_compat::os_text(error),
            Self::Websocket(writer) => writer.failed_write(error),
        }
    }

    /// Why a read failed, as Go words it.
    pub(crate) fn failed_read(&self, reason: &str) -> String {
        match self {
            Self::Tcp(writer) => writer.failed_read(reason),
            Self::Memory(_) | Self::Tls(_) | Self::Websocket(_) => reason.to_owned(),
        }
    }

    /// Whether another [`try_write`](Self::try_write) is worth it; only the last caller is woken.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(writer) => writer.poll_writable(context),
            Self::Memory(writer) => writer.poll_writable(context),
            Self::Tls(writer) => writer.poll_writable(context),
            Self::Websocket(writer) => writer.poll_writable(context),
        }
    }

    /// Tells the peer that the link ends and why, where the link has words for that: with what came from the peer as the
    /// reason, else with the payload of a WebSocket's close frame.
    pub(crate) fn say_end(&self, payload: Option<Vec<u8>>) {
        if let Self::Websocket(writer) = self {
            writer.say_end(payload);
        }
    }
}

/// What is shared by the halves of a link that wait for each other.
type Shared<T> = Arc<parking_lot::Mutex<T>>;
