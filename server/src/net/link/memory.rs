//! A link within this process: two pipes of bounded size.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use crate::reactor;

/// Bytes that wait in one direction at most; then the writer waits, as it would for a socket.
const PIPE_BYTES: usize = 64 * 1024;

/// One direction.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The writer is gone: what is here is all that comes.
    ended: bool,
    /// The reader is gone: nobody takes what is written.
    refused: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Pipe {
    /// Shows what is there to `take`, which says how much of it it took.
    fn poll_read(&mut self, context: &mut Context<'_>, take: impl FnOnce(&[u8]) -> usize) -> Poll<usize> {
        let (front, _) = self.bytes.as_slices();
        if front.is_empty() {
            if self.ended {
                return Poll::Ready(0);
            }
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = take(front).min(front.len());
        self.bytes.drain(..count);
        wake(&mut self.writer);
        Poll::Ready(count)
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.refused {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = PIPE_BYTES.saturating_sub(self.bytes.len());
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend(taken);
        wake(&mut self.reader);
        Ok(taken.len())
    }

    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused || self.bytes.len() < PIPE_BYTES {
            return Poll::Ready(Ok(()));
        }
        self.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn end(&mut self) {
        self.ended = true;
        wake(&mut self.reader);
    }

    fn refuse(&mut self) {
        self.refused = true;
        self.bytes = VecDeque::new();
        wake(&mut self.writer);
    }
}

/// The server's half that is read from.
pub(crate) struct MemoryReader(Shared<Pipe>);

/// The server's half that is written to.
pub(crate) struct MemoryWriter(Shared<Pipe>);

/// The client's end of a connection within this process. It carries the bytes of the client protocol, as a socket would.
///
/// Dropping it closes the connection; reading gives nothing more once the server has closed it.
pub struct MemoryStream {
    incoming: Shared<Pipe>,
    outgoing: Shared<Pipe>,
}

pub(super) fn pair() -> (MemoryReader, MemoryWriter, MemoryStream) {
    let pipe = || Arc::new(Mutex::new(Pipe::default()));
    let (to_server, to_client) = (pipe(), pipe());
    let stream = MemoryStream { incoming: Arc::clone(&to_client), outgoing: Arc::clone(&to_server) };
    (MemoryReader(to_server), MemoryWriter(to_client), stream)
}

impl MemoryReader {
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let room = into.capacity() - into.len();
        let take = |bytes: &[u8]| {
            let taken = bytes.get(..room).unwrap_or(bytes);
            into.extend_from_slice(taken);
            taken.len()
        };
        let read = self.0.lock().poll_read(context, take);
        match read {
            Poll::Ready(count) => reactor::came(count),
            Poll::Pending => reactor::waits(None),
        }
        read.map(Ok)
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        self.0.lock().refuse();
    }
}

impl MemoryWriter {
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().try_write(bytes)
    }

    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_writable(context)
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        self.0.lock().end();
    }
}

impl fmt::Debug for MemoryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryWriter")
    }
}

impl fmt::Debug for MemoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStream")
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let take = |bytes: &[u8]| {
            let taken = bytes.get(..into.remaining()).unwrap_or(bytes);
            into.put_slice(taken);
            taken.len()
        };
        self.incoming.lock().poll_read(context, take).map(|_| Ok(()))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.outgoing.lock();
        ready!(pipe.poll_writable(context))?;
        Poll::Ready(pipe.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.lock().end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.incoming.lock().refuse();
        self.outgoing.lock().end();
    }
}
