//! Tasks that go to the next thread whenever they wait.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::Shutdown;
use std::thread::ThreadId;

use parking_lot::Mutex;
use tokio::sync::mpsc::unbounded_channel;

use super::*;

const THREADS: usize = 3;

fn restless() -> Running {
    Running::group(THREADS, Policy::Restless)
}

fn socket(running: &Running) -> (Arc<Socket>, TcpStream) {
    let (socket, peer) = connection();
    (Arc::new(Socket::new(&running.handle, socket).unwrap()), peer)
}

/// Answers all that comes until its end, and notes which threads did.
async fn echo(socket: Arc<Socket>, threads: Arc<Mutex<HashSet<ThreadId>>>) {
    let mut bytes = Vec::new();
    while read(&socket, &mut bytes).await.unwrap() > 0 {
        threads.lock().insert(thread::current().id());
        assert_eq!(socket.try_write(&bytes).unwrap(), bytes.len());
        bytes.clear();
    }
}

#[test]
fn tasks_that_wait_go_on_elsewhere_and_miss_nothing() {
    let running = restless();
    let threads = Arc::default();
    let clients: Vec<_> = (0..4_u32)
        .map(|client| {
            let (socket, mut peer) = socket(&running);
            running.handle.spawn(echo(socket, Arc::clone(&threads)));
            thread::spawn(move || {
                for number in 0..2000_u32 {
                    let line = [client.to_le_bytes(), number.to_le_bytes()].concat();
                    peer.write_all(&line).unwrap();
                    // One in three does not wait for the answer before it sends more.
                    if number % 3 == 0 {
                        peer.write_all(&line).unwrap();
                        peer.read_exact(&mut [0; 8]).unwrap();
                    }
                    let mut answer = vec![0; line.len()];
                    peer.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, line);
                }
                peer.shutdown(Shutdown::Write).unwrap();
                assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "the end is told, too");
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(threads.lock().len(), THREADS);
}

#[test]
fn wakes_by_other_threads_find_a_task_wherever_it_is() {
    const COUNT: usize = 3000;
    let running = restless();
    let (socket, mut peer) = socket(&running);
    let (sender, mut receiver) = unbounded_channel();
    let (ended, end) = channel();
    running.handle.spawn(async move {
        let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
        poll_fn(|context| {
            while let Poll::Ready(Some(number)) = receiver.poll_recv(context) {
                numbers.push(number);
            }
            loop {
                bytes.reserve(16);
                match socket.poll_read(context, &mut bytes) {
                    Poll::Ready(count) => assert!(count.unwrap() > 0),
                    Poll::Pending => break,
                }
            }
            if numbers.len() == 2 * COUNT && bytes.len() == COUNT { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        ended.send((bytes, numbers)).unwrap();
    });
    let senders = [0, 1].map(|which| {
        let sender = sender.clone();
        thread::spawn(move || (0..COUNT).for_each(|number| sender.send((which, number)).unwrap()))
    });
    for number in 0..COUNT {
        peer.write_all(&[number as u8]).unwrap();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    let (bytes, numbers) = end.recv().unwrap();
    assert_eq!(bytes, (0..COUNT).map(|number| number as u8).collect::<Vec<_>>());
    for which in [0, 1] {
        let of_one = numbers.iter().filter(|(of, _)| *of == which).map(|(_, number)| *number);
        assert!(of_one.eq(0..COUNT));
    }
}

#[test]
fn a_full_socket_is_written_on_wherever_its_task_is() {
    const TOTAL: usize = 32 << 20;
    let running = restless();
    let (socket, mut peer) = socket(&running);
    let (full, is_full) = channel();
    running.handle.spawn(async move {
        let (mut written, mut heard, bytes) = (0, Vec::new(), vec![7; 64 << 10]);
        poll_fn(|context| {
            // It moves for each byte of the peer, and is full all the while.
            heard.reserve(16);
            while socket.poll_read(context, &mut heard).is_ready() {
                heard.reserve(16);
            }
            while written < TOTAL {
                match socket.try_write(&bytes[..bytes.len().min(TOTAL - written)]) {
                    Ok(count) => written += count,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        let _ = full.send(heard.len());
                        if socket.poll_writable(context).is_pending() {
                            return Poll::Pending;
                        }
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
    });
    is_full.recv().unwrap();
    for count in 1..=50 {
        peer.write_all(b"x").unwrap();
        while is_full.recv().unwrap() < count {}
    }
    let (mut count, mut bytes) = (0, vec![0; 1 << 20]);
    loop {
        match peer.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => count += read,
            // What it sent last was not read.
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                break;
            }
        }
    }
    assert_eq!(count, TOTAL);
}

/// Counts those that there are.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::yield_now();
    }
}

#[test]
fn connections_that_end_and_tasks_that_panic_on_their_way_leave_nothing_behind() {
    let running = restless();
    let left = Arc::default();
    for number in 0..300 {
        let (socket, mut peer) = socket(&running);
        let counted = Counted::new(&left);
        running.handle.spawn(async move {
            let (_counted, mut bytes) = (counted, Vec::new());
            while let Ok(1..) = read(&socket, &mut bytes).await {
                assert!(!bytes.ends_with(b"!"), "on purpose");
            }
        });
        peer.write_all(b"a").unwrap();
        if number % 3 == 0 {
            peer.write_all(b"!").unwrap();
        }
    }
    wait_for("all have ended", || left.load(Ordering::SeqCst) == 0);
    let group = &running.handle.group;
    let count = || (0..THREADS).map(|at| group.core(at).sources.lock().len()).sum::<usize>();
    wait_for("no socket is known any more", || count() == 0);
}

#[test]
fn threads_that_stop_while_tasks_move_drop_each_of_them_once() {
    for _ in 0..20 {
        let running = restless();
        let left = Arc::default();
        let peers: Vec<_> = (0..8)
            .map(|_| {
                let (socket, mut peer) = socket(&running);
                let counted = Counted::new(&left);
                running.handle.spawn(async move {
                    let _counted = counted;
                    echo(socket, Arc::default()).await;
                });
                thread::spawn(move || {
                    // It ends with the reactor.
                    while peer.write_all(b"12345678").is_ok() && peer.read_exact(&mut [0; 8]).is_ok() {}
                })
            })
            .collect();
        thread::yield_now();
        drop(running);
        assert_eq!(left.load(Ordering::SeqCst), 0);
        for peer in peers {
            peer.join().unwrap();
        }
    }
}

thread_local! {
    /// What turns of this thread left to the end of the round.
    static LEFT: RefCell<Vec<Left>> = const { RefCell::new(Vec::new()) };
}

/// The thread that has something left to do for a task.
type Left = Arc<Mutex<Option<ThreadId>>>;

/// Of threads that end at the end of the round what turns left.
struct Sharing;

impl Turns for Sharing {
    fn rest(&self, is_busy: bool) -> bool {
        LEFT.with_borrow_mut(|left| left.drain(..).for_each(|left| *left.lock() = None));
        is_busy
    }

    fn looked(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn what_a_turn_left_to_the_end_of_the_round_is_done_before_the_task_is_elsewhere() {
    let (handle, reactors) = Reactor::group(THREADS, Policy::Restless).unwrap();
    let start = |reactor: Reactor| (reactor.handle(), thread::spawn(move || reactor.run(&Sharing).unwrap()));
    let threads: Vec<_> = reactors.into_iter().map(start).collect();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (socket, mut peer) = connection();
            let socket = Arc::new(Socket::new(&handle, socket).unwrap());
            handle.spawn(async move {
                let (mut bytes, left) = (Vec::new(), Left::default());
                while read(&socket, &mut bytes).await.unwrap() > 0 {
                    let here = thread::current().id();
                    // An answer that leaves at once has the peer send more before the round is over.
                    let before = left.lock().replace(here);
                    assert!(before.is_none_or(|before| before == here), "it went too early");
                    LEFT.with_borrow_mut(|all| all.push(Arc::clone(&left)));
                    socket.try_write(&bytes).unwrap();
                    bytes.clear();
                }
            });
            thread::spawn(move || {
                for number in 0..2000_u32 {
                    peer.write_all(&number.to_le_bytes()).unwrap();
                    let mut answer = [0; 4];
                    peer.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, number.to_le_bytes());
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    threads.iter().for_each(|(handle, _)| handle.stop());
    for (_, thread) in threads {
        thread.join().unwrap();
    }
}
