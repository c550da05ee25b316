//! Lists of a few keys of many: what a filter costs that matches a thousand keys, in buckets of growing size.

use crate::client::Client;
use crate::measure::Latencies;
use crate::workload::{self, Scale};
use serde_json::json;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

/// Keys of the buckets, and of the one more that is asked for by itself.
pub(crate) const KEYS: [u64; 3] = [20_000, 200_000, 1_000_000];
pub(crate) const KEYS_LARGE: u64 = 10_000_000;
/// Keys that a list brings.
const LISTED: u64 = 1_000;
const LISTS: u64 = 20;

/// Creates the bucket `bench` with keys `k.<group>.<number>`, a thousand in each group, in turn.
pub(crate) fn prepare(address: SocketAddr, storage: &str, scale: Scale) -> io::Result<()> {
    workload::create_bucket(address, storage)?;
    let load = Scale { pipelined_ops: scale.keys, ..scale };
    let groups = scale.keys / LISTED;
    let subject_of = |key: u64, out: &mut Vec<u8>| write!(out, "$KV.bench.k.{}.{key}", key % groups);
    workload::pipelined(&address.into(), load, subject_of, scale.value_bytes).map(|_| ())
}

/// Lists the keys of one group after the other, as clients list keys by a filter: with a watch that shows no values.
pub(crate) fn run(address: SocketAddr, scale: Scale) -> io::Result<(u64, Latencies)> {
    let mut latencies = Latencies::with_capacity(LISTS as usize);
    let groups = scale.keys / LISTED;
    for list in 0..LISTS {
        let mut client = Client::connect(&address.into())?;
        let inbox = format!("_INBOX.list.{list}");
        client.subscribe(inbox.as_bytes(), b"1");
        client.ping_pong()?;
        let begun = Instant::now();
        let consumer = json!({"stream_name": "KV_bench", "config": {
            "deliver_subject": inbox, "deliver_policy": "last_per_subject", "ack_policy": "none", "max_deliver": 1,
            "filter_subject": format!("$KV.bench.k.{}.*", list * 7 % groups), "replay_policy": "instant",
            "headers_only": true, "num_replicas": 1, "mem_storage": true,
        }});
        // What the list brings may come before the answer.
        let mut listed = 0;
        client.subscribe(b"_INBOX.created", b"2");
        client.publish(
            b"$JS.API.CONSUMER.CREATE.KV_bench",
            Some(b"_INBOX.created"),
            consumer.to_string().as_bytes(),
        );
        client.flush()?;
        while listed <= LISTED {
            let mut refused = false;
            client.receive(|msg| {
                refused = msg.payload.starts_with(b"{")
                    && msg.payload.windows(9).any(|part| part == b"\"error\":{");
            })?;
            if refused {
                return Err(io::Error::other("a list was refused"));
            }
            listed += 1;
        }
        latencies.record(begun);
    }
    Ok((LISTS, latencies))
}
