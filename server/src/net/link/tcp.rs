//! A link over a socket, as it is.

use std::io;
use std::net::SocketAddr;
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
pub(crate) struct TcpWriter {
    half: Option<OwnedWriteHalf>,
    peer: SocketAddr,
}

pub(super) fn split(socket: TcpStream, peer: SocketAddr) -> (TcpReader, TcpWriter) {
    let (reader, writer) = socket.into_split();
    (TcpReader(reader), TcpWriter { half: Some(writer), peer })
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
        self.half
            .as_ref()
            .map_or_else(|| Err(io::ErrorKind::NotConnected.into()), |half| half.try_write(bytes))
    }

    pub(super) fn failed_write(&self, error: &io::Error) -> String {
        format!("write tcp {}: write: {}", self.ends(), jetkv_go_compat::os_text(error))
    }

    pub(super) fn failed_read(&self, reason: &str) -> String {
        format!("read tcp {}: {reason}", self.ends())
    }

    fn ends(&self) -> String {
        let local = self.half.as_ref().and_then(|half| half.local_addr().ok());
        let local = local.map_or_else(String::new, |local| local.to_string());
        format!("{local}->{}", self.peer)
    }

    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.half {
            Some(half) => half.as_ref().poll_write_ready(context),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for TcpWriter {
    fn drop(&mut self) {
        // Otherwise the half would shut its direction down.
        if let Some(half) = self.half.take() {
            half.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_failed_write_names_both_ends_as_go_does() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(local), listener.accept());
        let (socket, peer) = accepted.unwrap();
        let (_reader, writer) = split(socket, peer);
        assert_eq!(client.unwrap().local_addr().unwrap(), peer);
        // EPIPE
        let error = io::Error::from_raw_os_error(32);
        assert_eq!(writer.failed_write(&error), format!("write tcp {local}->{peer}: write: broken pipe"));
        assert_eq!(writer.failed_read("i/o timeout"), format!("read tcp {local}->{peer}: i/o timeout"));
    }
}
