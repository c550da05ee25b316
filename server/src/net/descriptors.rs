//! Descriptors that connections leave to files, so that streams can be written however many connect.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};

/// How many are left.
const LEFT: u64 = 16;
/// Of few, the part that is left.
const PART: u64 = 8;

/// A connection that was accepted, and its peer.
type Accepted = (TcpStream, SocketAddr);

/// Accepts connections below the numbers that are left.
pub(crate) struct Acceptor {
    listener: TcpListener,
    /// One that there was no number for yet.
    held: Option<Accepted>,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, held: None }
    }

    /// The next connection. Nothing is lost where this is given up.
    ///
    /// # Errors
    /// The system's; most likely there are no numbers. The same connection is tried again with the next call.
    pub(crate) async fn accept(&mut self) -> io::Result<Accepted> {
        let accepted = match self.held.take() {
            Some(held) => held,
            None => self.listener.accept().await?,
        };
        renumber(accepted).map_err(|(kept, error)| {
            self.held = kept;
            error
        })
    }

    /// Where they come in.
    pub(crate) fn listener(&self) -> &TcpListener {
        &self.listener
    }
}

/// Gives a connection a number below those that are left: the system always gives the lowest that is free.
///
/// # Errors
/// There is none. The connection comes back, to be tried again, unless the system failed otherwise.
fn renumber((socket, peer): Accepted) -> Result<Accepted, (Option<Accepted>, io::Error)> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    renumber_below(limit - LEFT.min(limit / PART), (socket, peer))
}

fn renumber_below(end: u64, (socket, peer): Accepted) -> Result<Accepted, (Option<Accepted>, io::Error)> {
    let is_below = |socket: &dyn AsRawFd| u64::try_from(socket.as_raw_fd()).is_ok_and(|number| number < end);
    if is_below(&socket) {
        return Ok((socket, peer));
    }
    match socket.as_fd().try_clone_to_owned() {
        Ok(moved) if is_below(&moved) => {
            drop(socket);
            let moved = TcpStream::from_std(moved.into()).map_err(|error| (None, error))?;
            Ok((moved, peer))
        }
        Ok(_) => Err((Some((socket, peer)), Errno::MFILE.into())),
        Err(error) => Err((Some((socket, peer)), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_moves_below_what_is_left_as_soon_as_there_is_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let client = client.unwrap();
        let end = u64::try_from(accepted.as_ref().unwrap().0.as_raw_fd()).unwrap();
        let accepted = renumber_below(end + 1, accepted.unwrap()).expect("it is below already");
        assert_eq!(u64::try_from(accepted.0.as_raw_fd()).unwrap(), end);
        // No number is below the first.
        let (kept, error) = renumber_below(0, accepted).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        // Any number will do.
        let (moved, peer) = renumber_below(u64::MAX, kept.expect("it comes back")).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        moved.writable().await.unwrap();
        assert_eq!(moved.try_write(b"x").unwrap(), 1);
        client.readable().await.unwrap();
        assert_eq!(client.try_read(&mut [0; 2]).unwrap(), 1);
    }
}
