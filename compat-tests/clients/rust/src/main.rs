//! Walks through the scenarios of ../README.md with async-nats and prints one JSON line for each thing that it sees.

mod core;
mod faults;
mod jetstream;
mod kv;
mod many;
mod mirrors;
mod objects;
mod ttl;
mod watch;
mod world;

use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use tokio::sync::watch::channel;
use world::{PATIENCE, Result, World};

/// Time between two tries to connect again.
const RETRY: Duration = Duration::from_millis(50);
/// More than any watcher is ahead of the scenario that reads it, so that the library drops nothing.
const BACKLOG_MAX: usize = 1 << 18;

const SCENARIOS: &[&str] = &[
    "kv-bucket",
    "kv-manage",
    "kv-values",
    "kv-names",
    "kv-limits",
    "kv-history",
    "kv-keys",
    "kv-ttl",
    "kv-watch",
    "kv-watch-writing",
    "kv-two",
    "kv-purge-deletes",
    "kv-mirrors",
    "kv-many",
    "objects",
    "js-publish",
    "js-stream",
    "js-pull",
    "js-ordered",
    "js-push",
    "core",
    "services",
    "kv-restart",
    "faults",
    "ttl",
];

/// Those of them that need the test lab, and so are only played when they are named.
const OF_THE_LAB: &[&str] = &["faults", "ttl"];

async fn play(w: &mut World) -> Result {
    match w.name {
        "kv-bucket" => kv::bucket(w).await,
        "kv-manage" => kv::manage(w).await,
        "kv-values" => kv::values(w).await,
        "kv-names" => kv::names(w).await,
        "kv-limits" => kv::limits(w).await,
        "kv-history" => kv::histories(w).await,
        "kv-keys" => kv::keys(w).await,
        "kv-ttl" => kv::ttl(w).await,
        "kv-watch" => watch::watch(w).await,
        "kv-watch-writing" => watch::writing(w).await,
        "kv-two" => watch::two(w).await,
        "kv-purge-deletes" => kv::purge_deletes(w).await,
        "kv-mirrors" => mirrors::mirrors(w).await,
        "kv-many" => many::many(w).await,
        "objects" => objects::objects(w).await,
        "js-publish" => jetstream::publish(w).await,
        "js-stream" => jetstream::stream(w).await,
        "js-pull" => jetstream::pull(w).await,
        "js-ordered" => jetstream::ordered(w).await,
        "js-push" => jetstream::push(w).await,
        "core" => core::core(w).await,
        "services" => core::services(w).await,
        "faults" => faults::faults(w).await,
        "ttl" => ttl::ttl(w).await,
        _ => watch::restart(w).await,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(wanted)) = (arguments.next(), arguments.next()) else {
        return Err("usage: driver URL SCENARIO".into());
    };
    let (connected, connections) = channel(0);
    let options = ConnectOptions::new()
        .name("driver")
        .request_timeout(Some(PATIENCE))
        .subscription_capacity(BACKLOG_MAX)
        .reconnect_delay_callback(|_| RETRY)
        .event_callback(move |event| {
            if matches!(event, Event::Connected) {
                connected.send_modify(|count| *count += 1);
            }
            async {}
        });
    let mut w = World::new(options.connect(url).await?, connections);
    for name in SCENARIOS {
        if wanted == *name || wanted == "all" && !OF_THE_LAB.contains(name) {
            w.name = name;
            if let Err(error) = play(&mut w).await {
                w.stopped(&*error);
            }
        }
    }
    std::process::exit(0);
}
