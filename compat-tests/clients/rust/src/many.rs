//! A bucket with many keys.

use futures_util::StreamExt;
use serde_json::json;

use crate::kv::{filtered, listed};
use crate::world::{Result, World, bounded, named};

const COUNT: usize = 100_000;
/// Acknowledgements that are waited for at a time.
const BATCH: usize = 2_000;

/// Writes many keys, lists them and watches them.
pub async fn many(w: &mut World) -> Result {
    let kv = w.bucket(named("many")).await?;
    let mut acks = Vec::with_capacity(BATCH);
    for i in 0..COUNT {
        let subject = format!("$KV.many.group{}.key{i}", i % 100);
        acks.push(w.js.publish(subject, format!("value {i}").into()).await?);
        if acks.len() == BATCH || i + 1 == COUNT {
            for ack in acks.drain(..) {
                ack.await?;
            }
        }
    }
    w.status("status", "many").await?;
    let mut keys = listed(&kv).await?;
    keys.dedup();
    w.say("keys", json!(keys.len()));
    w.say("keys of a group", json!(filtered(w, &kv, &["group7.>"]).await?.len()));
    let mut watch = kv.watch_with_history(">").await?;
    let (mut values, mut bytes) = (0, 0);
    loop {
        let entry = bounded("initial values", watch.next()).await?.ok_or("the watch ended")??;
        values += 1;
        bytes += entry.value.len();
        if entry.seen_current {
            break;
        }
    }
    w.say("initial values", json!({"count": values, "bytes": bytes}));
    for i in [0, 4711, COUNT - 1] {
        w.result("get", kv.entry(format!("group{}.key{i}", i % 100)).await);
    }
    w.js.delete_key_value("many").await?;
    Ok(())
}
