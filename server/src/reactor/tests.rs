#![allow(clippy::unwrap_used, clippy::panic)]

use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::channel;
use std::task::Poll;
use std::thread;

use super::*;

/// Reactors on threads of their own, until the end.
struct Running {
    handle: Handle,
    threads: Vec<(Handle, thread::JoinHandle<()>)>,
}

/// Of threads that sleep whenever they have nothing to do.
pub(super) struct Plain;

impl Turns for Plain {
    fn rest(&self, is_busy: bool) -> bool {
        is_busy
    }

    fn looked(&self) -> Duration {
        Duration::ZERO
    }
}

impl Running {
    fn start() -> Self {
        Self::group(1, Policy::Measured)
    }

    fn group(count: usize, policy: Policy) -> Self {
        let (handle, reactors) = Reactor::group(count, policy).unwrap();
        let start =
            |reactor: Reactor| (reactor.handle(), thread::spawn(move || reactor.run(&Plain).unwrap()));
        Self { handle, threads: reactors.into_iter().map(start).collect() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.threads.iter().for_each(|(handle, _)| handle.stop());
        for (_, thread) in self.threads.drain(..) {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok());
        }
    }
}

/// Both ends of a connection; the first does not block.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    (socket, peer)
}

async fn read(socket: &Arc<Socket>, into: &mut Vec<u8>) -> io::Result<usize> {
    into.reserve(16);
    poll_fn(|context| socket.poll_read(context, into)).await
}

#[test]
fn bytes_come_and_go_until_the_end_is_told() {
    let running = Running::start();
    let (socket, mut peer) = connection();
    let socket = Arc::new(Socket::new(&running.handle, socket).unwrap());
    running.handle.spawn(async move {
        let mut bytes = Vec::new();
        while read(&socket, &mut bytes).await.unwrap() > 0 {
            if bytes.ends_with(b"\n") {
                socket.try_write(&bytes).unwrap();
                bytes.clear();
            }
        }
        socket.try_write(b"end").unwrap();
    });
    for line in ["a\n", "one that takes several reads of sixteen bytes\n"] {
        peer.write_all(line.as_bytes()).unwrap();
        let mut answer = vec![0; line.len()];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, line.as_bytes());
    }
    peer.write_all(b"no line").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = String::new();
    peer.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "end");
}

#[test]
fn a_full_socket_is_waited_for() {
    let running = Running::start();
    let (socket, mut peer) = connection();
    let socket = Arc::new(Socket::new(&running.handle, socket).unwrap());
    let (full, is_full) = channel();
    running.handle.spawn(async move {
        let (mut written, bytes) = (0, [0; 64 << 10]);
        while written < 64 << 20 {
            match socket.try_write(&bytes) {
                Ok(count) => written += count,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let _ = full.send(());
                    poll_fn(|context| socket.poll_writable(context)).await;
                }
            }
        }
    });
    is_full.recv().unwrap();
    let mut count = 0;
    let mut bytes = vec![0; 1 << 20];
    loop {
        match peer.read(&mut bytes).unwrap() {
            0 => break,
            read => count += read,
        }
    }
    assert!(count >= 64 << 20, "{count}");
}

#[test]
fn other_threads_wake_tasks_and_tasks_wake_themselves() {
    let running = Running::start();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (ended, end) = channel();
    running.handle.spawn(async move {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        ended.send(receiver.await.unwrap()).unwrap();
    });
    sender.send(7).unwrap();
    assert_eq!(end.recv().unwrap(), 7);
}

#[test]
fn a_task_that_panics_ends_alone_and_what_is_left_is_dropped_with_the_reactor() {
    /// Tells that it was dropped.
    struct Told(std::sync::mpsc::Sender<&'static str>, &'static str);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(self.1).unwrap();
        }
    }
    let running = Running::start();
    let (sender, dropped) = channel();
    let told = |what| Told(sender.clone(), what);
    let (panics, waits) = (told("panicked"), told("waited"));
    running.handle.spawn(async move {
        let _panics = panics;
        panic!("on purpose");
    });
    running.handle.spawn(async move {
        let _waits = waits;
        pending().await
    });
    assert_eq!(dropped.recv().unwrap(), "panicked");
    let handle = running.handle.clone();
    drop(running);
    assert_eq!(dropped.recv().unwrap(), "waited");
    let late = told("late");
    handle.spawn(async move { drop(late) });
    assert_eq!(dropped.recv().unwrap(), "late");
}

#[test]
fn a_busy_task_does_not_keep_others_from_their_events() {
    let running = Running::start();
    let (socket, mut peer) = connection();
    let socket = Arc::new(Socket::new(&running.handle, socket).unwrap());
    let (ended, end) = channel();
    let is_busy = Arc::new(AtomicBool::new(true));
    let goes_on = Arc::clone(&is_busy);
    running.handle.spawn(poll_fn(move |context| {
        if !goes_on.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }));
    running.handle.spawn(async move {
        let count = read(&socket, &mut Vec::new()).await.unwrap();
        is_busy.store(false, Ordering::Relaxed);
        ended.send(count).unwrap();
    });
    peer.write_all(b"x").unwrap();
    assert_eq!(end.recv().unwrap(), 1);
}

mod moves;
