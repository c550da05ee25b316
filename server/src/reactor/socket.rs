//! A socket that a thread waits for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::readiness::Readiness;
use super::{Core, Handle};

/// A socket that does not block. One task reads from it; whoever has it writes. When it goes, nothing is said to the peer: the
/// kernel ends a connection whose bytes were all read in an orderly way, and resets others.
pub(crate) struct Socket {
    stream: TcpStream,
    token: Token,
    readiness: Arc<Readiness>,
    core: Arc<Core>,
}

impl Socket {
    /// A socket whose events the thread of `handle` takes. It must not block.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(handle: &Handle, stream: std::net::TcpStream) -> io::Result<Self> {
        let core = Arc::clone(&handle.0);
        let readiness = Arc::new(Readiness::new());
        let token = core.sources.lock().add(&readiness);
        let mut socket = Self { stream: TcpStream::from_std(stream), token, readiness, core };
        let interest = Interest::READABLE | Interest::WRITABLE;
        socket.core.registry.register(&mut socket.stream, token, interest)?;
        Ok(socket)
    }

    /// Whether a [read](Self::poll_read) is worth it; only the last caller is woken.
    #[inline]
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.readiness.reading.poll_ready(context)
    }

    /// Adds bytes that came to `into`, as many as it has room for, of which there has to be some; none at the end.
    #[inline]
    pub(crate) fn poll_read(&self, context: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let Readiness { reading, has_ended, .. } = &*self.readiness;
        loop {
            ready!(reading.poll_ready(context));
            let began = reading.begin();
            let room = into.capacity() - into.len();
            match recv(&self.stream, spare_capacity(into), RecvFlags::empty()) {
                Ok(count) => {
                    let count = count.0;
                    // All that came is read; the next event tells of more. Of the end no other event tells.
                    if count < room && !has_ended.load(Ordering::Acquire) {
                        reading.exhausted(began);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(rustix::io::Errno::AGAIN) => reading.exhausted(began),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes what the socket takes at once.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing: [`poll_writable`](Self::poll_writable) tells when it does.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let writing = &self.readiness.writing;
        let began = writing.begin();
        let sent = send(&self.stream, bytes, SendFlags::NOSIGNAL);
        if sent == Err(rustix::io::Errno::AGAIN) {
            writing.exhausted(began);
        }
        Ok(sent?)
    }

    /// Whether another [`try_write`](Self::try_write) is worth it; only the last caller is woken.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.readiness.writing.poll_ready(context)
    }

    /// This end's address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Has the connection end with a reset.
    pub(crate) fn end_with_reset(&self) {
        // A failure means that the peer is gone, which is what the reset would say.
        let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.stream.fmt(f)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Closing it does the same, unless somebody else has it, too.
        let _ = self.core.registry.deregister(&mut self.stream);
        self.core.sources.lock().remove(self.token);
    }
}
