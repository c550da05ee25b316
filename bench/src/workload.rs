//! What is asked of a server: each workload is a fixed number of operations.

use crate::client::Client;
use crate::link::Place;
use crate::measure::Latencies;
use crate::synchronous::{self, Request, Waiting};
use serde_json::json;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;

/// A workload: its name in the table, and how to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// So many connections, each with one request under way.
    Synchronous(Request, u64, Waiting),
    /// One connection with up to 256 puts under way.
    PutPipelined,
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
pub(crate) const ALL: [Workload; 13] = [
    Workload::Synchronous(Request::Put, 1, Waiting::Awake),
    Workload::Synchronous(Request::Put, 1, Waiting::Asleep),
    Workload::Synchronous(Request::Put, CONNECTIONS, Waiting::Awake),
    Workload::Synchronous(Request::Put, CONNECTIONS, Waiting::Asleep),
    Workload::PutPipelined,
    Workload::Synchronous(Request::Get, 1, Waiting::Awake),
    Workload::Synchronous(Request::Get, 1, Waiting::Asleep),
    Workload::Synchronous(Request::Get, CONNECTIONS, Waiting::Awake),
    Workload::Synchronous(Request::Get, CONNECTIONS, Waiting::Asleep),
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
    pub(crate) fn name(self) -> String {
        match self {
            Self::Synchronous(request, connections, waiting) => {
                let request = if request == Request::Put { "put" } else { "get" };
                let plural = if connections == 1 { "" } else { "s" };
                let waiting = if waiting == Waiting::Awake { "" } else { ", clients asleep" };
                format!("{request}, synchronous, {connections} connection{plural}{waiting}")
            }
            Self::PutPipelined => "put, pipelined (256)".into(),
            Self::GetPipelined => "get, pipelined (256)".into(),
            Self::WatchFanOut => "watch, 1 put to 20 watchers".into(),
            Self::PubSub => "publish/subscribe, 1 to 1".into(),
            Self::PubSubFanOut => "publish/subscribe, 1 to 10".into(),
        }
    }

    /// Runs it; says how many operations were done.
    pub(crate) fn run(self, place: &Place, scale: Scale) -> io::Result<(u64, Latencies)> {
        match self {
            Self::Synchronous(request, connections, waiting) => {
                synchronous::run(place, scale, request, connections, waiting)
            }
            Self::PutPipelined => {
                pipelined(place, scale, |key, out| write!(out, "$KV.bench.{key}"), scale.value_bytes)
            }
            Self::GetPipelined => pipelined(
                place,
                scale,
                |key, out| write!(out, "$JS.API.DIRECT.GET.KV_bench.$KV.bench.{key}"),
                0,
            ),
            Self::WatchFanOut => watch(place, scale),
            Self::PubSub => publish_subscribe(place, scale.pipelined_ops, 1, scale.value_bytes),
            Self::PubSubFanOut => {
                publish_subscribe(place, scale.pipelined_ops / 4, SUBSCRIBERS, scale.value_bytes)
            }
        }
    }
}

/// Creates the bucket `bench` with one value for each key, so that gets find one and puts overwrite one.
pub(crate) fn prepare(address: SocketAddr, storage: &str, scale: Scale) -> io::Result<()> {
    create_bucket(address, storage)?;
    let load = Scale { pipelined_ops: scale.keys, ..scale };
    pipelined(&address.into(), load, |key, out| write!(out, "$KV.bench.{key}"), scale.value_bytes)?;
    Ok(())
}

/// Creates the bucket `bench`, empty.
pub(crate) fn create_bucket(address: SocketAddr, storage: &str) -> io::Result<()> {
    let mut client = Client::connect(&address.into())?;
    let bucket = json!({
        "name": "KV_bench", "subjects": ["$KV.bench.>"], "storage": storage, "max_msgs_per_subject": 1,
        "retention": "limits", "discard": "new", "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_msg_size": -1, "num_replicas": 1, "allow_rollup_hdrs": true, "deny_delete": true,
        "allow_direct": true, "duplicate_window": 120_000_000_000_u64,
    });
    client.api("$JS.API.STREAM.CREATE.KV_bench", &bucket)?;
    Ok(())
}

/// Writes one value to the bucket of [`prepare`].
pub(crate) fn put_one(address: SocketAddr, scale: Scale) -> io::Result<()> {
    let one = Scale { sync_ops: 1, ..scale };
    synchronous::run(&address.into(), one, Request::Put, 1, Waiting::Asleep).map(|_| ())
}

/// Keeps a window of requests under way on one connection; half a window is refilled with one send.
pub(crate) fn pipelined(
    place: &Place,
    scale: Scale,
    subject_of: impl Fn(u64, &mut Vec<u8>) -> io::Result<()>,
    payload_bytes: usize,
) -> io::Result<(u64, Latencies)> {
    let mut client = Client::connect(place)?;
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

fn watch(place: &Place, scale: Scale) -> io::Result<(u64, Latencies)> {
    let puts = scale.sync_ops / 4;
    thread::scope(|scope| {
        let mut watchers = Vec::new();
        for number in 0..WATCHERS {
            let mut client = Client::connect(place)?;
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
            place,
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
    place: &Place,
    msgs: u64,
    subscribers: u64,
    bytes: usize,
) -> io::Result<(u64, Latencies)> {
    thread::scope(|scope| {
        let mut receivers = Vec::new();
        for _ in 0..subscribers {
            let mut client = Client::connect(place)?;
            client.subscribe(b"bench.core", b"1");
            client.ping_pong()?;
            receivers.push(scope.spawn(move || -> io::Result<()> {
                for _ in 0..msgs {
                    client.receive(|_| {})?;
                }
                Ok(())
            }));
        }
        let mut publisher = Client::connect(place)?;
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
