//! Watchers, and what they see while values are written and while the server is stopped and started.

use async_nats::jetstream::kv::{Config, Store, Watch};
use async_nats::jetstream::stream::StorageType;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::kv::history;
use crate::world::{Result, World, bounded, describe, named};

/// How long nothing more may come before a watcher counts as silent.
const QUIET: std::time::Duration = std::time::Duration::from_millis(30);
/// Values that are written while watchers look on.
const WRITES: u64 = 2000;

/// Prints the next updates of a watcher.
pub async fn take(w: &World, step: &str, watch: &mut Watch, count: usize) -> Result {
    for _ in 0..count {
        let seen = next(step, watch).await?;
        w.say(step, seen);
    }
    Ok(())
}

/// The next update, less how many more were on their way, which depends on the moment.
async fn next(step: &str, watch: &mut Watch) -> Result<Value> {
    loop {
        // A watch tells of missing heartbeats by an error, and goes on.
        if let Ok(entry) = bounded(step, watch.next()).await?.ok_or("the watch ended")? {
            let mut seen = describe(&entry);
            if let Some(fields) = seen.as_object_mut() {
                fields.remove("delta");
                fields.remove("current");
            }
            return Ok(seen);
        }
    }
}

/// Prints updates that should not be there.
async fn extra(w: &World, step: &str, mut watch: Watch) -> Result {
    w.client.flush().await?;
    while let Ok(Some(Ok(entry))) = timeout(QUIET, watch.next()).await {
        w.say(step, json!({"unexpected": describe(&entry)}));
    }
    Ok(())
}

/// Ways to watch that the library offers.
#[derive(Clone, Copy)]
enum Kind {
    Updates,
    Last,
    From(u64),
}

async fn start(kv: &Store, keys: &[&str], kind: Kind) -> Result<Watch> {
    Ok(match (kind, keys) {
        (Kind::Updates, [">"]) => kv.watch_all().await?,
        (Kind::Updates, [key]) => kv.watch(key).await?,
        (Kind::Updates, keys) => kv.watch_many(keys.iter().copied()).await?,
        (Kind::Last, [key]) => kv.watch_with_history(key).await?,
        (Kind::Last, keys) => kv.watch_many_with_history(keys.iter().copied()).await?,
        (Kind::From(revision), [">"]) => kv.watch_all_from_revision(revision).await?,
        (Kind::From(revision), keys) => {
            kv.watch_from_revision(keys.first().copied().unwrap_or_default(), revision).await?
        }
    })
}

/// Watches a bucket with known values from before and writes while the watcher looks on. What a purge takes away is seen
/// first: whether it would come otherwise depends on the moment.
async fn fresh(w: &World, step: &str, keys: &[&str], kind: Kind, counts: [usize; 3]) -> Result {
    let bucket = format!("fresh-{}", step.replace(' ', "-"));
    let kv = w.bucket(Config { history: 5, ..named(&bucket) }).await?;
    for (key, value) in [("a.1", "one"), ("a.1", "two"), ("a.2", "one"), ("b", "one"), ("gone", "one")] {
        kv.put(key, value.into()).await?;
    }
    kv.delete("gone").await?;
    let [first, puts, removals] = counts;
    let mut watch = start(&kv, keys, kind).await?;
    for _ in 0..first {
        let entry = bounded(step, watch.next()).await?.ok_or("the watch ended")??;
        w.say(step, describe(&entry));
    }
    kv.put("a.1", "further".into()).await?;
    kv.put("b", "further".into()).await?;
    take(w, step, &mut watch, puts).await?;
    kv.delete("a.2").await?;
    kv.purge("b").await?;
    take(w, step, &mut watch, removals).await?;
    extra(w, step, watch).await?;
    w.js.delete_key_value(bucket).await?;
    Ok(())
}

/// Watches in each way.
pub async fn watch(w: &mut World) -> Result {
    let kv = w.bucket(Config { history: 5, ..named("watch") }).await?;
    extra(w, "empty bucket", kv.watch_with_history(">").await?).await?;
    // Each watcher with the number of values that it sees at first, after two puts and after two removals.
    let watches: &[(&str, &[&str], Kind, [usize; 3])] = &[
        ("all", &[">"], Kind::Last, [4, 2, 2]),
        ("one key", &["b"], Kind::Last, [1, 1, 1]),
        ("missing key", &["nothing"], Kind::Last, [0, 0, 0]),
        ("wildcard", &["a.*"], Kind::Last, [2, 1, 1]),
        ("two filters", &["a.1", "b"], Kind::Last, [2, 2, 1]),
        ("history", &[">"], Kind::From(1), [6, 2, 2]),
        ("history of a wildcard", &["a.*"], Kind::From(1), [3, 1, 1]),
        ("updates only", &[">"], Kind::Updates, [0, 2, 2]),
        ("updates of a key", &["a.2"], Kind::Updates, [0, 0, 1]),
        ("updates by two filters", &["a.1", "b"], Kind::Updates, [0, 2, 1]),
        ("resume", &[">"], Kind::From(4), [3, 2, 2]),
        ("resume in the future", &[">"], Kind::From(1000), [0, 0, 0]),
    ];
    for (step, keys, kind, counts) in watches {
        fresh(w, step, keys, *kind, *counts).await?;
    }
    w.result("bad key", kv.watch("a b").await.map(|_| ()));
    w.js.delete_key_value("watch").await?;
    Ok(())
}

/// Has watchers follow a bucket while it is written to.
pub async fn writing(w: &mut World) -> Result {
    let kv = w.bucket(named("writing")).await?;
    let all = kv.watch_all().await?;
    let some = kv.watch("k.1.*").await?;
    let js = w.js.clone();
    let writer = tokio::spawn(async move {
        let mut acks = Vec::new();
        for i in 0..WRITES {
            acks.push(js.publish(format!("$KV.writing.k.{}.{i}", i % 10), i.to_string().into()).await?);
        }
        for ack in acks {
            ack.await?;
        }
        Result::Ok(())
    });
    for (step, mut watch, expected) in [("all", all, WRITES), ("some", some, WRITES / 10)] {
        let (mut last, mut ordered) = (0, true);
        for count in 0..expected {
            let entry =
                bounded(&format!("after {count}"), watch.next()).await?.ok_or("the watch ended")??;
            ordered &= entry.revision > last;
            last = entry.revision;
        }
        w.say(step, json!({"count": expected, "ordered": ordered, "last": last}));
        extra(w, step, watch).await?;
    }
    writer.await??;
    w.js.delete_key_value("writing").await?;
    Ok(())
}

/// Works with two buckets that must not see each other.
pub async fn two(w: &mut World) -> Result {
    let a = w.bucket(Config { history: 5, ..named("two") }).await?;
    let b = w.bucket(Config { history: 5, storage: StorageType::Memory, ..named("two-b") }).await?;
    let watches = [("watch a", a.watch_all().await?), ("watch b", b.watch_all().await?)];
    for i in 0..3 {
        w.result("put to a", a.put("k", format!("a{i}").into()).await);
        w.result("put to b", b.put("k", format!("b{i}").into()).await);
    }
    for (step, mut watch) in watches {
        take(w, step, &mut watch, 3).await?;
        extra(w, step, watch).await?;
    }
    w.js.delete_key_value("two").await?;
    w.result("b after the end of a", b.entry("k").await);
    w.js.delete_key_value("two-b").await?;
    Ok(())
}

/// Keeps a watcher on a bucket while the server is killed and ended and started again.
pub async fn restart(w: &mut World) -> Result {
    let kv = w.bucket(Config { history: 10, ..named("restart") }).await?;
    for i in 0..5 {
        kv.put(format!("k{i}"), "before".into()).await?;
    }
    let mut watch = kv.watch_with_history(">").await?;
    take(w, "watch", &mut watch, 5).await?;
    for signal in ["KILL", "TERM"] {
        for i in 0..5 {
            let value = format!("before {signal}").into();
            w.result(&format!("put before {signal}"), kv.put(format!("k{i}"), value).await);
        }
        take(w, &format!("watch before {signal}"), &mut watch, 5).await?;
        w.ask(signal).await?;
        for i in 0..5 {
            let value = format!("after {signal}").into();
            w.result(&format!("put after {signal}"), kv.put(format!("k{i}"), value).await);
        }
        take(w, &format!("watch over {signal}"), &mut watch, 5).await?;
        history(w, &format!("history after {signal}"), &kv, "k2").await?;
    }
    extra(w, "watch", watch).await?;
    w.status("status", "restart").await?;
    w.js.delete_key_value("restart").await?;
    Ok(())
}
