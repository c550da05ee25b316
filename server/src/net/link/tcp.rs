//! A link over a socket, as it is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::reactor::Socket;

/// The half of a socket that is read from.
pub(crate) struct TcpReader(Arc<Socket>);

/// The half of a socket that is written to. It says nothing when it goes: the kernel ends a connection whose bytes were
/// all read in an orderly way, and resets others.
#[derive(Debug)]
pub(crate) struct TcpWriter {
    socket: Arc<Socket>,
    peer: SocketAddr,
}

pub(super) fn split(socket: Socket, peer: SocketAddr) -> (TcpReader, TcpWriter) {
    let socket = Arc::new(socket);
    (TcpReader(Arc::clone(&socket)), TcpWriter { socket, peer })
}

impl TcpReader {
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(context, into)
    }

    #[inline]
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_readable(context)
    }

    pub(super) fn end_with_reset(&self) {
        self.0.end_with_reset();
    }
}

impl TcpWriter {
    #[inline]
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.try_write(bytes)
    }

    pub(super) fn failed_write(&self, error: &io::Error) -> String {
        format!("write tcp {}: write: {}", self.ends(), jetkv_go_compat::os_text(error))
    }

    pub(super) fn failed_read(&self, reason: &str) -> String {
        format!("read tcp {}: {reason}", self.ends())
    }

    fn ends(&self) -> String {
        let local = self.socket.local_addr().map_or_else(|_| String::new(), |local| local.to_string());
        format!("{local}->{}", self.peer)
    }

    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::reactor::{Policy, Reactor};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_failed_write_names_both_ends_as_go_does() {
        let (thread, _reactors) = Reactor::group(1, Policy::Measured).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let (_reader, writer) = split(Socket::new(&thread, accepted).unwrap(), peer);
        assert_eq!(client.local_addr().unwrap(), peer);
        // EPIPE
        let error = io::Error::from_raw_os_error(32);
        assert_eq!(writer.failed_write(&error), format!("write tcp {local}->{peer}: write: broken pipe"));
        assert_eq!(writer.failed_read("i/o timeout"), format!("read tcp {local}->{peer}: i/o timeout"));
    }
}
