//! A socket that a thread waits for.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::Handle;
use super::group::Group;
use super::moving;
use super::readiness::Readiness;

/// A socket that does not block. One task reads from it; whoever has it writes. When it goes, nothing is said to the peer: the
/// kernel ends a connection whose bytes were all read in an orderly way, and resets others.
pub(crate) struct Socket {
    stream: TcpStream,
    readiness: Arc<Readiness>,
    group: Arc<Group>,
    /// The thread that takes its events, and its number there.
    place: Mutex<(usize, Token)>,
}

impl Socket {
    /// A socket whose events the thread of `handle` takes. It must not block.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(handle: &Handle, stream: TcpStream) -> io::Result<Self> {
        let readiness = Arc::new(Readiness::new());
        let token = register(&handle.group, handle.at, &stream, &readiness)?;
        let place = Mutex::new((handle.at, token));
        Ok(Self { stream, readiness, group: Arc::clone(&handle.group), place })
    }

    /// Has another thread of the group take its events. For a moment both may: an event too many has somebody try in vain,
    /// while one too few would have him wait for ever.
    pub(super) fn move_to(&self, to: usize) -> io::Result<()> {
        let mut place = self.place.lock();
        let token = register(&self.group, to, &self.stream, &self.readiness)?;
        let (from, known) = std::mem::replace(&mut *place, (to, token));
        forget(&self.group, from, &self.stream, known);
        Ok(())
    }

    /// Whether a [read](Self::poll_read) is worth it; only the last caller is woken.
    #[inline]
    pub(crate) fn poll_readable(self: &Arc<Self>, context: &mut Context<'_>) -> Poll<()> {
        let ready = self.readiness.reading.poll_ready(context);
        if ready.is_pending() {
            moving::waits(Some(self));
        }
        ready
    }

    /// Adds bytes that came to `into`, as many as it has room for, of which there has to be some; none at the end.
    #[inline]
    pub(crate) fn poll_read(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let Readiness { reading, has_ended, .. } = &*self.readiness;
        loop {
            if reading.poll_ready(context).is_pending() {
                moving::waits(Some(self));
                return Poll::Pending;
            }
            let began = reading.begin();
            let room = into.capacity() - into.len();
            match recv(&self.stream, spare_capacity(into), RecvFlags::empty()) {
                Ok(count) => {
                    let count = count.0;
                    moving::came(count);
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
        let (at, token) = *self.place.get_mut();
        forget(&self.group, at, &self.stream, token);
    }
}

/// Has a thread take the events of a socket from now on, beginning with what it is ready for by then.
fn register(group: &Group, at: usize, stream: &TcpStream, readiness: &Arc<Readiness>) -> io::Result<Token> {
    let core = group.core(at);
    let token = core.sources.lock().add(readiness);
    let interest = Interest::READABLE | Interest::WRITABLE;
    let registered = core.registry.register(&mut SourceFd(&stream.as_raw_fd()), token, interest);
    registered.map(|()| token).inspect_err(|_| core.sources.lock().remove(token))
}

fn forget(group: &Group, at: usize, stream: &TcpStream, token: Token) {
    let core = group.core(at);
    // Closing it does the same, unless somebody else has it, too.
    let _ = core.registry.deregister(&mut SourceFd(&stream.as_raw_fd()));
    core.sources.lock().remove(token);
}
