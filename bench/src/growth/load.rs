//! The buckets, keys, consumers and connections of a point, and the operations on them.

use super::Axis;
use crate::Outcome;
use crate::client::Client;
use crate::workload::{self, Scale};
use serde_json::json;
use std::io::{self, Write};
use std::net::SocketAddr;

/// Requests under way: on one connection, or one on each of as many.
const UNDER_WAY: u64 = 100;
const VALUE: [u8; 128] = [b'v'; 128];
/// Spreads operations over all keys, of which there is a power of ten, so that they do not meet what was just used.
const STRIDE: u64 = 2_654_435_761;
/// Keys where there is more and more of something that has none.
const KEYS: u64 = 1_000;
/// Over so many buckets consumers are spread: both servers have 1,000 of them on a stream at most.
const WATCHED_BUCKETS: u64 = 10;
/// Where consumers deliver to.
const WATCHED: &str = "_INBOX.watched";

/// Clients and what they ask.
pub(super) struct Load {
    axis: Axis,
    size: u64,
    /// With the subject of the answers to each.
    clients: Vec<(Client, String)>,
    /// Operations that were done.
    done: u64,
}

impl Load {
    /// Makes everything of which there is more and more, and connects the clients that [`Self::run`] needs.
    pub(super) fn prepare(address: SocketAddr, axis: Axis, storage: &str, size: u64) -> Outcome<Self> {
        let mut load = Self { axis, size, clients: Vec::new(), done: 0 };
        let mut client = Client::connect(&address.into())?;
        for bucket in 0..load.buckets() {
            create(&mut client, bucket, storage, load.history())?;
        }
        load.fill(address)?;
        // The client that was there before the fill has answered no PING meanwhile.
        let connections = if axis == Axis::Connections { size } else { 1 };
        load.clients =
            (0..connections).map(|number| connect(address, number)).collect::<io::Result<Vec<_>>>()?;
        if axis == Axis::Consumers {
            load.watch()?;
        }
        Ok(load)
    }

    fn keys(&self) -> u64 {
        if self.axis == Axis::Connections { KEYS } else { self.size }
    }

    fn buckets(&self) -> u64 {
        match self.axis {
            Axis::Keys | Axis::Connections => 1,
            Axis::Consumers => self.size.min(WATCHED_BUCKETS),
            Axis::Streams => self.size,
        }
    }

    /// Values that are kept of a key. nats-server delivers behind the answer, and what was overwritten until then not at all:
    /// where each put is waited for twice, none is overwritten meanwhile.
    fn history(&self) -> u64 {
        if self.axis == Axis::Consumers { UNDER_WAY } else { 1 }
    }

    /// Writes the subject of a key.
    fn subject(&self, key: u64, out: &mut Vec<u8>) -> io::Result<()> {
        write!(out, "$KV.{}.{key}", key % self.buckets())
    }

    /// Puts a value for each key.
    fn fill(&self, address: SocketAddr) -> io::Result<()> {
        let keys = self.keys();
        let scale = Scale { sync_ops: 0, pipelined_ops: keys, keys, value_bytes: VALUE.len() };
        let subject_of = |key, out: &mut Vec<u8>| self.subject(key, out);
        workload::pipelined(&address.into(), scale, subject_of, VALUE.len()).map(|_| ())
    }

    /// A consumer of each key.
    fn watch(&mut self) -> Outcome<()> {
        let (size, buckets) = (self.size, self.buckets());
        let (client, _) = self.clients.first_mut().ok_or("there is a client")?;
        client.subscribe(WATCHED.as_bytes(), b"2");
        for key in 0..size {
            let bucket = key % buckets;
            let consumer = json!({"stream_name": format!("KV_{bucket}"), "config": {
                "deliver_subject": WATCHED, "deliver_policy": "new", "ack_policy": "none", "max_deliver": 1,
                "filter_subject": format!("$KV.{bucket}.{key}"), "replay_policy": "instant", "num_replicas": 1,
                "mem_storage": true,
            }});
            client.api(&format!("$JS.API.CONSUMER.CREATE.KV_{bucket}"), &consumer)?;
        }
        Ok(())
    }

    /// Keeps as many requests under way as may be; a connection has one of them where there are several.
    pub(super) fn run(&mut self, ops: u64, is_put: bool) -> io::Result<()> {
        // Whoever watches hears of each put beside its answer.
        let msgs = if is_put && self.axis == Axis::Consumers { 2 } else { 1 };
        let connections = self.clients.len() as u64;
        let wave = if self.axis == Axis::Connections { connections.min(UNDER_WAY) } else { UNDER_WAY };
        let end = self.done + ops;
        while self.done < end {
            let ops = self.done..end.min(self.done + wave);
            let mut subject = Vec::new();
            for op in ops.clone() {
                self.ask(op, is_put, &mut subject)?;
            }
            for op in ops.clone() {
                let Some((client, _)) = self.clients.get_mut((op % connections) as usize) else { continue };
                client.flush()?;
                for _ in 0..msgs {
                    client.receive(|_| {})?;
                }
            }
            self.done = ops.end;
        }
        Ok(())
    }

    /// Queues an operation, and sends it where connections have one each. `subject` is room for its subject.
    fn ask(&mut self, op: u64, is_put: bool, subject: &mut Vec<u8>) -> io::Result<()> {
        let key = op.wrapping_mul(STRIDE) % self.keys();
        subject.clear();
        if !is_put {
            write!(subject, "$JS.API.DIRECT.GET.KV_{}.", key % self.buckets())?;
        }
        self.subject(key, subject)?;
        let value = if is_put { &VALUE[..] } else { &[] };
        let connections = self.clients.len() as u64;
        if let Some((client, inbox)) = self.clients.get_mut((op % connections) as usize) {
            client.publish(subject, Some(inbox.as_bytes()), value);
            if connections > 1 {
                client.flush()?;
            }
        }
        Ok(())
    }
}

/// A client with an inbox of its own.
fn connect(address: SocketAddr, number: u64) -> io::Result<(Client, String)> {
    let mut client = Client::connect(&address.into())?;
    let inbox = format!("_INBOX.growth.{number}");
    client.read_little();
    client.subscribe(inbox.as_bytes(), b"1");
    client.ping_pong()?;
    Ok((client, inbox))
}

fn create(client: &mut Client, bucket: u64, storage: &str, history: u64) -> io::Result<()> {
    let stream = json!({
        "name": format!("KV_{bucket}"), "subjects": [format!("$KV.{bucket}.>")], "storage": storage,
        "max_msgs_per_subject": history, "discard": "new", "num_replicas": 1, "allow_rollup_hdrs": true,
        "deny_delete": true, "allow_direct": true,
    });
    client.api(&format!("$JS.API.STREAM.CREATE.KV_{bucket}"), &stream).map(|_| ())
}
