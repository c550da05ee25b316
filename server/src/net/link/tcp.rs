//! A link over a socket, as it is.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use std::future::Future;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The half of a socket that is read from.
pub(crate) struct TcpReader(OwnedReadHalf);

/// The half of a socket that is written to. It says nothing when it goes: the kernel ends a connection whose bytes were
/// all read in an orderly way, and resets others.
#[derive(Debug)]
pub(crate) struct TcpWriter(Option<OwnedWriteHalf>);

pub(super) fn split(socket: TcpStream) -> (TcpReader, TcpWriter) {
    let (reader, writer) = socket.into_split();
    (TcpReader(reader), TcpWriter(Some(writer)))
}

impl TcpReader {
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        pin!(self.0.read_buf(into)).poll(context)
    }

    pub(super) fn end_with_reset(&self) {
        // A failure means that the peer is gone, which is what the reset would say.
        let _ = self.0.as_ref().set_zero_linger();
    }
}

impl TcpWriter {
    #[inline]
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.as_ref().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), |half| half.try_write(bytes))
    }

    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Some(half) => half.as_ref().poll_write_ready(context),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for TcpWriter {
    fn drop(&mut self) {
        // Otherwise the half would shut its direction down.
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}
