//! What is asked of a server: each workload is a fixed number of operations.

use crate::client::Client;
use crate::measure::Latencies;
use serde_json::json;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

/// A workload: its name in the table, and how to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// One connection: put, wait for the ack, next. Over `keys` keys.
    PutSync,
    /// Eight connections, each as `PutSync`.
    PutSyncMany,
    /// One connection with up to 256 puts under way.
    PutPipelined,
    /// One connection: direct get by subject, wait, next.
    GetSync,
    /// Eight connections, each as `GetSync`.
    GetSyncMany,
    /// One connection with up to 256 direct gets under way.
    GetPipelined,
    /// One put reaches 20 watchers of the whole bucket; an operation is a delivery.
    WatchFanOut,
    /// Core publish and subscribe, one to one; an operation is a delivery.
    PubSub,
    /// Core publish to ten subscribers; an operation is a delivery.
    PubSubFanOut,
}

/// All workloads, in the order of the table. Gets follow puts: they read what those wrote.
pub(crate) const ALL: [Workload; 9] = [
    Workload::PutSync,
    Workload::PutSyncMany,
    Workload::PutPipelined,
    Workload::GetSync,
    Workload::GetSyncMany,
    Workload::GetPipelined,
    Workload::WatchFanOut,
    Workload::PubSub,
    Workload::PubSubFanOut,
];

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Operations of a synchronous workload.
    pub(crate) sync_ops: u64,
    /// Operations of a pipelined or publish/subscribe workload.
    pub(crate) pipelined_ops: u64,
    /// Distinct keys.
    pub(crate) keys: u64,
    /// Bytes of a value.
    pub(crate) value_bytes: usize,
}

const CONNECTIONS: u64 = 8;
const WINDOW: u64 = 256;
const WATCHERS: u64 = 20;
const SUBSCRIBERS: u64 = 10;
/// How much is queued before it is sent, where nothing is waited for.
const SEND_CHUNK_BYTES: usize = 32 * 1024;

impl Workload {
    /// Name in the table and for `--only`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PutSync => "put, synchronous, 1 connection",
            Self::PutSyncMany => "put, synchronous, 8 connections",
            Self::PutPipelined => "put, pipelined (256)",
            Self::GetSync => "get, synchronous, 1 connection",
            Self::GetSyncMany => "get, synchronous, 8 connections",
            Self::GetPipelined => "get, pipelined (256)",
            Self::WatchFanOut => "watch, 1 put to 20 watchers",
            Self::PubSub => "publish/subscribe, 1 to 1",
            Self::PubSubFanOut => "publish/subscribe, 1 to 10",
        }
    }

    /// Runs it; says how many operations were done.
    pub(crate) fn run(self, address: SocketAddr, scale: Scale) -> io::Result<(u64, Latencies)> {
        match self {
            Self::PutSync => sync(address, scale, 1, put_once),
            Self::PutSyncMany => sync(address, scale, CONNECTIONS, put_once),
            Self::PutPipelined => {
                pipelined(address, scale, |key, out| write!(out, "$KV.bench.{key}"), scale.value_bytes)
            }
            Self::GetSync => sync(address, scale, 1, get_once),
            Self::GetSyncMany => sync(address, scale, CONNECTIONS, get_once),
            Self::GetPipelined => pipelined(
                address,
                scale,
                |key, out| write!(out, "$JS.API.DIRECT.GET.KV_bench.$KV.bench.{key}"),
                0,
            ),
            Self::WatchFanOut => watch(address, scale),
            Self::PubSub => publish_subscribe(address, scale.pipelined_ops, 1, scale.value_bytes),
            Self::PubSubFanOut => {
                publish_subscribe(address, scale.pipelined_ops / 4, SUBSCRIBERS, scale.value_bytes)
            }
        }
    }
}

/// Creates the bucket `bench` with one value for each key, so that gets find one and puts overwrite one.
pub(crate) fn prepare(address: SocketAddr, storage: &str, scale: Scale) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    let bucket = json!({
        "name": "KV_bench", "subjects": ["$KV.bench.>"], "storage": storage, "max_msgs_per_subject": 1,
        "retention": "limits", "discard": "new", "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_msg_size": -1, "num_replicas": 1, "allow_rollup_hdrs": true, "deny_delete": true,
        "allow_direct": true, "duplicate_window": 120_000_000_000_u64,
    });
    client.api("$JS.API.STREAM.CREATE.KV_bench", &bucket)?;
    drop(client);
    let load = Scale { pipelined_ops: scale.keys, ..scale };
    pipelined(address, load, |key, out| write!(out, "$KV.bench.{key}"), scale.value_bytes)?;
    Ok(())
}

/// Writes one value to the bucket of [`prepare`].
pub(crate) fn put_one(address: SocketAddr, scale: Scale) -> io::Result<()> {
    sync(address, Scale { sync_ops: 1, ..scale }, 1, put_once).map(|_| ())
}

/// Visits the keys in an order that is the same on every run and does not follow their creation.
fn key_at(operation: u64, keys: u64) -> u64 {
    // An odd multiplier is a bijection modulo a power of two and well spread modulo anything else.
    operation.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys
}

type Once = fn(&mut Client, &mut Vec<u8>, &[u8], u64, &[u8]) -> io::Result<()>;

fn put_once(
    client: &mut Client,
    subject: &mut Vec<u8>,
    inbox: &[u8],
    key: u64,
    value: &[u8],
) -> io::Result<()> {
    write!(subject, "$KV.bench.{key}")?;
    let mut acknowledged = false;
    client.request(subject, inbox, value, |ack| acknowledged = ack.payload.starts_with(br#"{"stream":"#))?;
    if acknowledged { Ok(()) } else { Err(io::Error::other("a put was not acknowledged")) }
}

fn get_once(
    client: &mut Client,
    subject: &mut Vec<u8>,
    inbox: &[u8],
    key: u64,
    value: &[u8],
) -> io::Result<()> {
    write!(subject, "$JS.API.DIRECT.GET.KV_bench.$KV.bench.{key}")?;
    let mut found = false;
    client.request(subject, inbox, b"", |got| found = got.payload.len() == value.len())?;
    if found { Ok(()) } else { Err(io::Error::other("a get found another value")) }
}

fn sync(address: SocketAddr, scale: Scale, connections: u64, once: Once) -> io::Result<(u64, Latencies)> {
    let per_connection = scale.sync_ops / connections;
    let mut all = Latencies::default();
    let results: Vec<io::Result<Latencies>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| scope.spawn(move || sync_one(address, scale, number, per_connection, once)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("panic"))))
            .collect()
    });
    for result in results {
        all.merge(result?);
    }
    Ok((per_connection * connections, all))
}

fn sync_one(address: SocketAddr, scale: Scale, number: u64, ops: u64, once: Once) -> io::Result<Latencies> {
    let mut client = Client::connect(address)?;
    let inbox = format!("_INBOX.sync.{number}");
    client.subscribe(inbox.as_bytes(), b"1");
    client.ping_pong()?;
    let value = vec![b'v'; scale.value_bytes];
    let mut latencies = Latencies::with_capacity(usize::try_from(ops).unwrap_or(0));
    let mut subject = Vec::new();
    for operation in 0..ops {
        subject.clear();
        let begun = Instant::now();
        let key = key_at(number * ops + operation, scale.keys);
        once(&mut client, &mut subject, inbox.as_bytes(), key, &value)?;
        latencies.record(begun);
    }
    Ok(latencies)
}

/// Keeps a window of requests under way on one connection; half a window is refilled with one send.
fn pipelined(
    address: SocketAddr,
    scale: Scale,
    subject_of: impl Fn(u64, &mut Vec<u8>) -> io::Result<()>,
    payload_bytes: usize,
) -> io::Result<(u64, Latencies)> {
    let mut client = Client::connect(address)?;
    client.subscribe(b"_INBOX.pipe", b"1");
    let payload = vec![b'v'; payload_bytes];
    let mut subject = Vec::new();
    let (mut sent, mut answered) = (0, 0);
    while answered < scale.pipelined_ops {
        if sent - answered <= WINDOW / 2 {
            while sent < scale.pipelined_ops && sent - answered < WINDOW {
                subject.clear();
                subject_of(sent % scale.keys, &mut subject)?;
                client.publish(&subject, Some(b"_INBOX.pipe"), &payload);
                sent += 1;
            }
            client.flush()?;
        }
        let mut refused = false;
        client.receive(|answer| {
            refused = answer.payload.starts_with(br#"{"error"#) || answer.headers.starts_with(b"NATS/1.0 ")
        })?;
        if refused {
            return Err(io::Error::other("a pipelined request was refused"));
        }
        answered += 1;
    }
    Ok((answered, Latencies::default()))
}

fn watch(address: SocketAddr, scale: Scale) -> io::Result<(u64, Latencies)> {
    let puts = scale.sync_ops / 4;
    thread::scope(|scope| {
        let mut watchers = Vec::new();
        for number in 0..WATCHERS {
            let mut client = Client::connect(address)?;
            let inbox = format!("_INBOX.watch.{number}");
            client.subscribe(inbox.as_bytes(), b"1");
            client.ping_pong()?;
            let consumer = json!({"stream_name": "KV_bench", "config": {
                "deliver_subject": inbox, "deliver_policy": "new", "ack_policy": "none", "max_deliver": 1,
                "filter_subject": "$KV.bench.>", "replay_policy": "instant", "num_replicas": 1, "mem_storage": true,
            }});
            client.api("$JS.API.CONSUMER.CREATE.KV_bench", &consumer)?;
            watchers.push(scope.spawn(move || -> io::Result<()> {
                for _ in 0..puts {
                    client.receive(|_| {})?;
                }
                Ok(())
            }));
        }
        let put = pipelined(
            address,
            Scale { pipelined_ops: puts, ..scale },
            |key, out| write!(out, "$KV.bench.{key}"),
            scale.value_bytes,
        );
        for watcher in watchers {
            watcher.join().unwrap_or_else(|_| Err(io::Error::other("panic")))?;
        }
        put.map(|(puts, latencies)| (puts * WATCHERS, latencies))
    })
}

fn publish_subscribe(
    address: SocketAddr,
    msgs: u64,
    subscribers: u64,
    bytes: usize,
) -> io::Result<(u64, Latencies)> {
    thread::scope(|scope| {
        let mut receivers = Vec::new();
        for _ in 0..subscribers {
            let mut client = Client::connect(address)?;
            client.subscribe(b"bench.core", b"1");
            client.ping_pong()?;
            receivers.push(scope.spawn(move || -> io::Result<()> {
                for _ in 0..msgs {
                    client.receive(|_| {})?;
                }
                Ok(())
            }));
        }
        let mut publisher = Client::connect(address)?;
        let payload = vec![b'v'; bytes];
        for _ in 0..msgs {
            publisher.publish(b"bench.core", None, &payload);
            if publisher.queued_bytes() >= SEND_CHUNK_BYTES {
                publisher.flush()?;
            }
        }
        publisher.ping_pong()?;
        for receiver in receivers {
            receiver.join().unwrap_or_else(|_| Err(io::Error::other("panic")))?;
        }
        Ok((msgs * subscribers, Latencies::default()))
    })
}
