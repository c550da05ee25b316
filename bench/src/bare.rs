//! The least that a server could do: a loop over epoll that reads requests, does what the disk has to do for them, and
//! answers.
//!
//! It knows nothing of subjects, buckets or limits, so its processor time is what the system calls of a request cost on
//! this machine. How far a server is from that is how much there is left to gain. It runs as a process of its own, as the
//! servers do, and sleeps as soon as nothing is left to be read. What is done for a request is one of two [duties](Duty).

use crate::script::{Script, Turn};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// What makes this program the loop instead of a benchmark.
pub(crate) const FLAG: &str = "--bare-loop";
/// Its duty, where that is no number of bytes: what a script says that it is sent.
const SCRIPT: &str = "script";

const LISTENER: Token = Token(usize::MAX);
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// The file of a script is written in such pieces, as a server writes what one read brought: what is written at once comes to
/// lie in larger pages, which cost less to be read.
const FILL_BYTES: u64 = 16 << 10;
const INFO: &[u8] =
    b"INFO {\"server_id\":\"bare\",\"version\":\"0\",\"headers\":true,\"max_payload\":1048576}\r\n";
/// As long as the header block of a direct get.
const GET_HEADERS: &[u8] =
    b"NATS/1.0\r\nNats-Stream: KV_bench\r\nNats-Subject: $KV.bench.1234\r\nNats-Sequence: 12345\r\n\
    Nats-Time-Stamp: 2026-01-02T03:04:05.678901234Z\r\n\r\n";

/// The loop as a process, which ends when this is dropped.
pub(crate) struct BareLoop {
    process: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl BareLoop {
    /// Starts it to put and get values of so many bytes.
    pub(crate) fn of_values(value_bytes: usize) -> io::Result<Self> {
        Self::start(&value_bytes.to_string(), |_| Ok(()))
    }

    /// Starts it to do what a script says, on one connection.
    pub(crate) fn of_script(script: &Script) -> io::Result<Self> {
        Self::start(SCRIPT, |input| script.write_to(input))
    }

    fn start(duty: &str, tell: impl FnOnce(&mut ChildStdin) -> io::Result<()>) -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([FLAG, duty])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        match process.stdin.as_mut().map_or(Ok(()), tell).and_then(|()| listens_at(&mut process)) {
            Ok(address) => Ok(Self { process, address }),
            Err(error) => {
                end(&mut process);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for BareLoop {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// A process that is gone already needs no end.
fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

/// Waits until the loop says where it listens.
fn listens_at(process: &mut Child) -> io::Result<SocketAddr> {
    let mut line = String::new();
    if let Some(stdout) = process.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    line.trim().parse().map_err(io::Error::other)
}

/// Is the loop, until whoever started it is gone.
pub(crate) fn serve(duty: &str) -> io::Result<()> {
    let mut duty = match duty {
        SCRIPT => Duty::Script(Player::new(Script::read_from(&mut io::stdin().lock())?)?),
        value_bytes => Duty::Values(Values::new(value_bytes.parse().map_err(io::Error::other)?)?),
    };
    std::thread::spawn(|| {
        // Its end of the pipe is closed when the starter ends, however it does.
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    println!("{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
            } else if let Some(slot) = connections.get_mut(event.token().0)
                && let Some(connection) = slot
                && !connection.read(&mut duty)
            {
                *slot = None;
            }
        }
        duty.store()?;
        for slot in &mut connections {
            if slot.as_mut().is_some_and(|connection| connection.answer().is_err()) {
                *slot = None;
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, connections: &mut Vec<Option<Connection>>) -> io::Result<()> {
    loop {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        socket.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(connections.len()), interest)?;
        connections.push(Some(Connection { socket, inbound: Vec::new(), outbound: INFO.to_vec(), sent: 0 }));
    }
}

/// What is done for requests; the connections share it.
enum Duty {
    Values(Values),
    Script(Player),
}

impl Duty {
    fn request(&mut self, [subject, reply, payload]: [&[u8]; 3], outbound: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Values(values) => values.request(subject, reply, payload, outbound),
            Self::Script(player) => player.request(outbound).ok(),
        }
    }

    /// Ends what was begun for the requests that were read.
    fn store(&mut self) -> io::Result<()> {
        match self {
            Self::Values(values) => values.store(),
            Self::Script(_) => Ok(()),
        }
    }
}

/// Values that are put and got.
struct Values {
    file: File,
    /// What the requests that were read put, until it is written at once.
    records: Vec<u8>,
    last_seq: u64,
    value_bytes: usize,
}

impl Values {
    fn new(value_bytes: usize) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, records: Vec::new(), last_seq: 0, value_bytes })
    }

    fn request(
        &mut self,
        subject: &[u8],
        reply: &[u8],
        payload: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Option<()> {
        let reply = std::str::from_utf8(reply).ok()?;
        if subject.starts_with(b"$JS.API.DIRECT.GET.") {
            let (head, value) = (GET_HEADERS.len(), self.value_bytes);
            write!(outbound, "HMSG {reply} 1 {head} {}\r\n", head + value).ok()?;
            outbound.extend_from_slice(GET_HEADERS);
            outbound.resize(outbound.len() + value, b'v');
        } else {
            self.last_seq += 1;
            self.records.extend_from_slice(subject);
            self.records.extend_from_slice(payload);
            let answer = format!("{{\"stream\":\"KV_bench\",\"seq\":{}}}", self.last_seq);
            write!(outbound, "MSG {reply} 1 {}\r\n{answer}", answer.len()).ok()?;
        }
        outbound.extend_from_slice(b"\r\n");
        Some(())
    }

    fn store(&mut self) -> io::Result<()> {
        if !self.records.is_empty() {
            self.file.write_all(&self.records)?;
            self.records.clear();
        }
        Ok(())
    }
}

/// Goes through a script.
struct Player {
    file: File,
    record: Vec<u8>,
    turns: std::vec::IntoIter<Turn>,
}

impl Player {
    fn new(script: Script) -> io::Result<Self> {
        let mut file = tempfile::tempfile()?;
        let mut left = script.records * script.record_bytes;
        while left > 0 {
            let piece = left.min(FILL_BYTES);
            file.write_all(&vec![b'v'; piece as usize])?;
            left -= piece;
        }
        Ok(Self { file, record: vec![0; script.record_bytes as usize], turns: script.turns.into_iter() })
    }

    /// Reads each record by a call of its own. Whoever asks for more than the script has is sent away.
    fn request(&mut self, outbound: &mut Vec<u8>) -> io::Result<()> {
        let mut turn = self.turns.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        let record_bytes = self.record.len() as u64;
        for number in turn.reads {
            self.file.read_exact_at(&mut self.record, number * record_bytes)?;
        }
        if outbound.is_empty() {
            *outbound = turn.answer;
        } else {
            outbound.append(&mut turn.answer);
        }
        Ok(())
    }
}

struct Connection {
    socket: TcpStream,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    /// So much of that is sent.
    sent: usize,
}

impl Connection {
    /// Reads what there is, and works on it. False once the client is gone, or says what it should not.
    fn read(&mut self, duty: &mut Duty) -> bool {
        loop {
            let start = self.inbound.len();
            self.inbound.resize(start + READ_BUFFER_BYTES, 0);
            let room = self.inbound.get_mut(start..).unwrap_or_default();
            let read = self.socket.read(room);
            let count = *read.as_ref().unwrap_or(&0);
            self.inbound.truncate(start + count);
            match read {
                Ok(0) => return false,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                Ok(_) => {}
            }
            let Some(used) = work(&self.inbound, duty, &mut self.outbound) else { return false };
            self.inbound.drain(..used);
            // A read that is not full has emptied the socket; more to come is another event.
            if count < READ_BUFFER_BYTES {
                return true;
            }
        }
    }

    /// Sends what the socket takes. The rest goes once there is room again, which is an event.
    fn answer(&mut self) -> io::Result<()> {
        while let Some(left) = self.outbound.get(self.sent..).filter(|left| !left.is_empty()) {
            match self.socket.write(left) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.outbound.clear();
        self.sent = 0;
        Ok(())
    }
}

/// Works on all operations that are there as a whole; says how many bytes those are. `None`: that is no operation.
fn work(bytes: &[u8], duty: &mut Duty, outbound: &mut Vec<u8>) -> Option<usize> {
    let mut used = 0;
    while let Some(rest) = bytes.get(used..)
        && let Some(end) = rest.iter().position(|byte| *byte == b'\n')
    {
        let line = rest.get(..end)?.strip_suffix(b"\r")?;
        let mut taken = end + 1;
        if let Some(arguments) = line.strip_prefix(b"PUB ") {
            let mut arguments = arguments.split(|byte| *byte == b' ');
            let (subject, reply) = (arguments.next()?, arguments.next()?);
            let length: usize = std::str::from_utf8(arguments.next()?).ok()?.parse().ok()?;
            let Some(payload) = rest.get(taken..taken + length + 2) else { break };
            taken += payload.len();
            duty.request([subject, reply, payload], outbound)?;
        } else if line == b"PING" {
            outbound.extend_from_slice(b"PONG\r\n");
        }
        used += taken;
    }
    Some(used)
}
