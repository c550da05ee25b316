//! A put and a get take no more instructions than they did.
//!
//! The kernel runs the thread that serves a connection one instruction at a time (`ptrace`), and each is counted: what one
//! machine counts, another of its kind counts too, however busy it is. Nothing is timed. A call of the system counts as one
//! instruction, whatever the kernel does for it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use jetkv_compat_tests::oracle;
use jetkv_compat_tests::process::{Server, ServerOptions};
use jetkv_compat_tests::wire::{Connection, Frame};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Most instructions for an operation: 5 % more than a build as releases are made took. Other processors have other
/// ways to copy and compare.
const PUT_64_AT_A_TIME_MAX: u64 = 3_770;
const GET_64_AT_A_TIME_MAX: u64 = 2_950;
const PUT_SYNCHRONOUS_MAX: u64 = 5_920;
const GET_SYNCHRONOUS_MAX: u64 = 4_720;

const VALUE_BYTES: usize = 128;
const KEYS: usize = 64;
/// Operations that one write of the client brings.
const AT_A_TIME: usize = 64;
/// Operations of a client that waits for each answer; the one in the middle, by its count, is what one of them takes.
const SYNCHRONOUS: usize = 9;
/// A buffer that grows now and then costs more than the operation that it happens to grow in. Rounds with more than the bound
/// are repeated so often, and the least counts.
const ROUNDS_MAX: usize = 3;
/// Only a fault takes so long.
const WAIT: Duration = Duration::from_secs(120);

#[test]
fn a_put_and_a_get_take_no_more_instructions_than_they_did() {
    let program = oracle::jetkv().expect("JetKV is built");
    if program.path.components().any(|part| part.as_os_str() == "debug") {
        return skip("a build without optimisation takes any number of instructions");
    }
    // Whether a thread looks for more before it sleeps, and how often, is a matter of time.
    let environment = vec![("JETKV_LOOK".into(), "off".into())];
    let options = ServerOptions { flags: vec!["-js".into()], environment, ..ServerOptions::default() };
    let mut server = Server::start(&program, &options).expect("JetKV starts");
    let mut client = Client::connect(&server);
    client.create_bucket();
    for operation in [put, get] {
        (0..4).for_each(|_| client.run(AT_A_TIME, operation));
        (0..40).for_each(|_| client.run(1, operation));
    }
    client.take_first_ping();
    let thread = client.serving_thread(server.pid().expect("it runs"));
    let stepped = match Stepped::begin(thread) {
        Ok(stepped) => stepped,
        Err(error) => return skip(&format!("this system lets no process be traced: {error}")),
    };
    let mut counts = String::new();
    let mut exceeded = false;
    for (name, at_a_time, operation, most) in [
        ("put, 64 at a time", AT_A_TIME, put as Operation, PUT_64_AT_A_TIME_MAX),
        ("get, 64 at a time", AT_A_TIME, get, GET_64_AT_A_TIME_MAX),
        ("put, synchronous", 1, put, PUT_SYNCHRONOUS_MAX),
        ("get, synchronous", 1, get, GET_SYNCHRONOUS_MAX),
    ] {
        let mut count = u64::MAX;
        for _ in 0..ROUNDS_MAX {
            count = count.min(stepped.instructions(&mut client, at_a_time, operation));
            if count <= most {
                break;
            }
        }
        counts.push_str(&format!("{name}: {count} instructions, at most {most}\n"));
        assert!(count > 0, "nothing was counted");
        exceeded |= count > most;
    }
    server.stop(jetkv_compat_tests::process::Signal::KILL).ok();
    stepped.end();
    let _ = write!(std::io::stderr(), "{counts}");
    assert!(!exceeded, "more than there were:\n{counts}");
}

impl Stepped {
    /// Instructions for each of so many operations that come together, or come one by one.
    fn instructions(&self, client: &mut Client, at_a_time: usize, operation: Operation) -> u64 {
        let times = if at_a_time == 1 { SYNCHRONOUS } else { 1 };
        let mut counts = Vec::new();
        // Each finds the thread asleep, as if its client took its time.
        let mut before = self.parked();
        for _ in 0..times {
            client.run(at_a_time, operation);
            let after = self.parked();
            counts.push(after - before);
            before = after;
        }
        counts.sort_unstable();
        counts.get(times / 2).copied().unwrap_or_default() / at_a_time as u64
    }
}

/// What a test's run shows even when it passes.
fn skip(text: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {text}");
}

/// Appends the request with this number.
type Operation = fn(usize, &mut Vec<u8>);

fn key(number: usize) -> String {
    // Neighbours are not asked for one after the other.
    format!("$KV.count.{}", 1000 + number * 37 % KEYS)
}

fn put(number: usize, out: &mut Vec<u8>) {
    let value = "v".repeat(VALUE_BYTES);
    write!(out, "PUB {} _INBOX.count.{number} {VALUE_BYTES}\r\n{value}\r\n", key(number)).unwrap();
}

fn get(number: usize, out: &mut Vec<u8>) {
    write!(out, "PUB $JS.API.DIRECT.GET.KV_count.{} _INBOX.count.{number} 0\r\n\r\n", key(number)).unwrap();
}

struct Client {
    connection: Connection,
    pinged: bool,
    next: usize,
}

impl Client {
    fn connect(server: &Server) -> Self {
        let mut connection = Connection::open(server.port("nats").expect("it has a port")).unwrap();
        let connect =
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}";
        connection.send(format!("{connect}\r\nSUB _INBOX.count.* 1\r\n").as_bytes()).unwrap();
        Self { connection, pinged: false, next: 0 }
    }

    /// The next message; what comes beside is answered.
    fn message(&mut self) -> Vec<u8> {
        loop {
            match self.connection.next(WAIT) {
                Some(Frame::Message(message)) => return message.payload,
                Some(Frame::Ping) => self.pong(),
                Some(Frame::Info(_)) => {}
                other => panic!("{other:?} instead of an answer"),
            }
        }
    }

    fn pong(&mut self) {
        self.pinged = true;
        self.connection.send(b"PONG\r\n").unwrap();
    }

    fn create_bucket(&mut self) {
        let config = "{\"name\":\"KV_count\",\"subjects\":[\"$KV.count.>\"],\"storage\":\"file\",\
             \"max_msgs_per_subject\":1,\"discard\":\"new\",\"allow_direct\":true,\"allow_rollup_hdrs\":true,\"deny_delete\":true}";
        let request =
            format!("PUB $JS.API.STREAM.CREATE.KV_count _INBOX.count.api {}\r\n{config}\r\n", config.len());
        self.connection.send(request.as_bytes()).unwrap();
        let answer = String::from_utf8(self.message()).unwrap();
        assert!(!answer.contains("\"error\""), "{answer}");
    }

    /// Sends `count` requests with one write, and takes their answers.
    fn run(&mut self, count: usize, operation: Operation) {
        let mut requests = Vec::new();
        (self.next..self.next + count).for_each(|number| operation(number, &mut requests));
        self.next += count;
        self.connection.send(&requests).unwrap();
        for _ in 0..count {
            let answer = self.message();
            assert!(answer.starts_with(b"{\"stream\":\"KV_count\",\"seq\":") || answer.len() == VALUE_BYTES);
        }
    }

    /// The server asks a new client once whether it is there; the next time is minutes later.
    fn take_first_ping(&mut self) {
        while !self.pinged {
            assert!(matches!(self.connection.next(WAIT), Some(Frame::Ping)), "no PING came");
            self.pong();
        }
    }

    /// The thread that serves this client: the one that it wakes.
    fn serving_thread(&mut self, pid: u32) -> Thread {
        let threads = Thread::all(pid, "jetkv-");
        let before: Vec<u64> = threads.iter().map(Thread::wakes).collect();
        for _ in 0..20 {
            self.run(1, get);
            while !threads.iter().all(Thread::sleeps) {
                std::thread::yield_now();
            }
        }
        let woken = threads.into_iter().zip(before).max_by_key(|(thread, before)| thread.wakes() - before);
        let (thread, before) = woken.expect("it has threads");
        assert!(thread.wakes() > before, "no thread was woken");
        thread
    }
}

/// A thread of another process.
#[derive(Clone)]
struct Thread {
    directory: std::path::PathBuf,
    tid: i32,
}

impl Thread {
    /// Those whose names are this and a number.
    fn all(pid: u32, name: &str) -> Vec<Self> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let threads = tasks.map(|task| task.unwrap().path()).filter(|directory| {
            let comm = std::fs::read_to_string(directory.join("comm")).unwrap_or_default();
            comm.trim().strip_prefix(name).is_some_and(|number| number.parse::<u32>().is_ok())
        });
        threads
            .map(|directory| Self {
                tid: directory.file_name().unwrap().to_str().unwrap().parse().unwrap(),
                directory,
            })
            .collect()
    }

    /// How often it slept.
    fn wakes(&self) -> u64 {
        let status = std::fs::read_to_string(self.directory.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    /// Whether it waits in the kernel for something to come.
    fn sleeps(&self) -> bool {
        let stat = std::fs::read_to_string(self.directory.join("stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('S')
    }
}

/// A thread that runs step by step.
struct Stepped {
    thread: Thread,
    steps: Arc<AtomicU64>,
    stepper: JoinHandle<()>,
}

impl Stepped {
    /// Begins with a thread that sleeps.
    fn begin(thread: Thread) -> Result<Self, Errno> {
        let steps = Arc::new(AtomicU64::new(0));
        let (begun, told) = channel();
        let (tid, counter) = (Pid::from_raw(thread.tid), Arc::clone(&steps));
        // Whoever traces a thread is the one who steps it.
        let stepper = std::thread::spawn(move || {
            let stopped = ptrace::seize(tid, ptrace::Options::empty())
                .and_then(|()| ptrace::interrupt(tid))
                .and_then(|()| waitpid(tid, Some(WaitPidFlag::__WALL)));
            let _ = begun.send(stopped.map(|_| ()));
            let mut signal = None;
            while stopped.is_ok() && ptrace::step(tid, signal.take()).is_ok() {
                match waitpid(tid, Some(WaitPidFlag::__WALL)) {
                    Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => {
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(WaitStatus::Stopped(_, other)) => signal = Some(other),
                    Ok(WaitStatus::PtraceEvent(..)) => {}
                    _ => return,
                }
            }
        });
        told.recv().unwrap()?;
        Ok(Self { thread, steps, stepper })
    }

    /// Instructions so far, once the thread sleeps.
    fn parked(&self) -> u64 {
        loop {
            let steps = self.steps.load(Ordering::SeqCst);
            if self.thread.sleeps() && self.steps.load(Ordering::SeqCst) == steps {
                return steps;
            }
            std::thread::yield_now();
        }
    }

    /// The process has ended.
    fn end(self) {
        let _ = self.stepper.join();
    }
}
