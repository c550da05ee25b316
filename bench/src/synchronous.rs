//! Clients that wait for each answer before they ask again.
//!
//! How a client waits is half of what is measured. One that sleeps has to be woken, by the server's system call that
//! sends the answer; where the two run on different cores of a virtual machine that is an interrupt by way of the
//! hypervisor, which is accounted to the server although it says nothing of it. A client that stays awake leaves only the
//! server's own work in the figure. Both are measured.

use crate::client::{Client, IO_TIMEOUT};
use crate::link::Place;
use crate::measure::Latencies;
use crate::workload::Scale;
use std::io::{self, Write};
use std::thread;
use std::time::Instant;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// One value is overwritten.
    Put,
    /// One value is read: a direct get by subject.
    Get,
}

/// How the clients wait for their answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// One thread asks all sockets in turn and never sleeps.
    Awake,
    /// Each connection has a thread that sleeps until its answer is there.
    Asleep,
}

/// Rounds over the sockets between two looks at the clock.
const ROUNDS_PER_LOOK: u32 = 1 << 16;

/// Runs `scale.sync_ops` requests over so many connections; says how many were done.
pub(crate) fn run(
    place: &Place,
    scale: Scale,
    request: Request,
    connections: u64,
    waiting: Waiting,
) -> io::Result<(u64, Latencies)> {
    let callers = (0..connections)
        .map(|number| Caller::connect(place, scale, request, number, scale.sync_ops / connections))
        .collect::<io::Result<Vec<_>>>()?;
    let latencies = match waiting {
        Waiting::Awake => awake(callers)?,
        Waiting::Asleep => asleep(callers)?,
    };
    Ok((scale.sync_ops / connections * connections, latencies))
}

/// One connection and its requests.
struct Caller {
    client: Client,
    request: Request,
    keys: u64,
    value: Vec<u8>,
    inbox: Vec<u8>,
    subject: Vec<u8>,
    next: u64,
    end: u64,
    begun: Instant,
}

impl Caller {
    fn connect(place: &Place, scale: Scale, request: Request, number: u64, ops: u64) -> io::Result<Self> {
        let mut client = Client::connect(place)?;
        let inbox = format!("_INBOX.sync.{number}").into_bytes();
        client.subscribe(&inbox, b"1");
        client.ping_pong()?;
        let value = vec![b'v'; scale.value_bytes];
        let (next, end) = (number * ops, (number + 1) * ops);
        let begun = Instant::now();
        Ok(Self { client, request, keys: scale.keys, value, inbox, subject: Vec::new(), next, end, begun })
    }

    /// Sends the next request; false if there is none left.
    fn ask(&mut self) -> io::Result<bool> {
        if self.next == self.end {
            return Ok(false);
        }
        let key = key_at(self.next, self.keys);
        self.next += 1;
        self.subject.clear();
        let payload = match self.request {
            Request::Put => {
                write!(self.subject, "$KV.bench.{key}")?;
                self.value.as_slice()
            }
            Request::Get => {
                write!(self.subject, "$JS.API.DIRECT.GET.KV_bench.$KV.bench.{key}")?;
                &[]
            }
        };
        self.begun = Instant::now();
        self.client.publish(&self.subject, Some(&self.inbox), payload);
        self.client.flush()?;
        Ok(true)
    }

    /// Takes the answer, if it is there; always so for a client that sleeps until then.
    fn take_answer(&mut self, latencies: &mut Latencies) -> io::Result<bool> {
        let mut right = false;
        let (request, value_bytes) = (self.request, self.value.len());
        let received = self.client.poll(|answer| {
            right = match request {
                Request::Put => answer.payload.starts_with(br#"{"stream":"#),
                Request::Get => answer.payload.len() == value_bytes,
            };
        })?;
        if received {
            latencies.record(self.begun);
            if !right {
                return Err(io::Error::other(format!(
                    "{request:?} of {} failed",
                    self.subject.escape_ascii()
                )));
            }
        }
        Ok(received)
    }
}

/// Visits the keys in an order that is the same on every run and does not follow their creation.
fn key_at(operation: u64, keys: u64) -> u64 {
    // An odd multiplier is a bijection modulo a power of two and well spread modulo anything else.
    operation.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys
}

fn awake(mut callers: Vec<Caller>) -> io::Result<Latencies> {
    let ops: u64 = callers.iter().map(|caller| caller.end - caller.next).sum();
    let mut latencies = Latencies::with_capacity(usize::try_from(ops).unwrap_or(0));
    let mut under_way = 0;
    for caller in &mut callers {
        caller.client.stay_awake()?;
        under_way += usize::from(caller.ask()?);
    }
    let (mut rounds_in_vain, mut last_answer) = (0_u32, Instant::now());
    while under_way > 0 {
        let mut answered = false;
        for caller in &mut callers {
            if caller.take_answer(&mut latencies)? {
                answered = true;
                under_way -= usize::from(!caller.ask()?);
            }
        }
        if answered {
            rounds_in_vain = 0;
            continue;
        }
        // The server may be waiting for this very core.
        thread::yield_now();
        rounds_in_vain += 1;
        if rounds_in_vain == 1 {
            last_answer = Instant::now();
        } else if rounds_in_vain % ROUNDS_PER_LOOK == 0 && last_answer.elapsed() > IO_TIMEOUT {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(latencies)
}

fn asleep(callers: Vec<Caller>) -> io::Result<Latencies> {
    let mut all = Latencies::default();
    let results: Vec<io::Result<Latencies>> = thread::scope(|scope| {
        let threads: Vec<_> =
            callers.into_iter().map(|caller| scope.spawn(move || asleep_one(caller))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("panic"))))
            .collect()
    });
    for result in results {
        all.merge(result?);
    }
    Ok(all)
}

fn asleep_one(mut caller: Caller) -> io::Result<Latencies> {
    let mut latencies = Latencies::with_capacity(usize::try_from(caller.end - caller.next).unwrap_or(0));
    while caller.ask()? {
        if !caller.take_answer(&mut latencies)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(latencies)
}
