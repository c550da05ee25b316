//! What the library's own tests sleep for: keys with a time to live, and the markers that tell of their end. Time passes when the
//! test lab is asked for it.

use std::time::Duration;

use async_nats::jetstream::kv::{Config, Entry, Operation, Store, Watch};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::world::{Result, World, bounded, named};

const HOUR: Duration = Duration::from_secs(3_600);

pub async fn ttl(w: &World) -> Result {
    bucket_without_markers(w).await?;
    whole_bucket(w).await?;
    created_for_a_time(w).await?;
    purged_for_a_time(w).await?;
    watched(w).await
}

fn with_markers() -> Config {
    Config { history: 5, limit_markers: Some(HOUR), ..named("b") }
}

async fn advance(w: &World, by: &str) -> Result {
    let body = json!({ "by": by }).to_string();
    let answer = w.client.request("$JETKV.LAB.TIME.ADVANCE", body.into()).await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    ensure("the clock moves", answer.get("error").is_none())
}

fn ensure(what: &str, is_so: bool) -> Result {
    if is_so { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

async fn passed(w: &World, step: &str) -> Result {
    w.js.delete_key_value("b").await?;
    w.say(step, json!("passed"));
    Ok(())
}

async fn next(watch: &mut Watch) -> Result<Entry> {
    Ok(bounded("an entry", watch.next()).await?.ok_or("the watcher ended")??)
}

async fn bucket_without_markers(w: &World) -> Result {
    let kv = w.bucket(named("b")).await?;
    let refused = kv.create_with_ttl("k", "v".into(), HOUR).await;
    ensure("a bucket without markers has no keys with a time", refused.is_err())?;
    passed(w, "a bucket without markers").await
}

async fn whole_bucket(w: &World) -> Result {
    let kv = w.bucket(Config { max_age: HOUR, ..named("b") }).await?;
    kv.put("old", "v".into()).await?;
    advance(w, "30m").await?;
    kv.put("new", "v".into()).await?;
    advance(w, "31m").await?;
    ensure("the older key is gone", kv.get("old").await?.is_none())?;
    ensure("the younger one is not", kv.get("new").await?.is_some())?;
    advance(w, "30m").await?;
    ensure("then it is, too", kv.get("new").await?.is_none())?;
    passed(w, "a bucket whose keys all expire").await
}

async fn created_for_a_time(w: &World) -> Result {
    let kv = w.bucket(with_markers()).await?;
    kv.create_with_ttl("k", "v".into(), HOUR).await?;
    advance(w, "59m").await?;
    ensure("it is there for its time", kv.get("k").await?.as_deref() == Some(b"v"))?;
    advance(w, "2m").await?;
    ensure("it is gone behind it", kv.get("k").await?.is_none())?;
    let marker = kv.entry("k").await?.ok_or("no marker")?;
    ensure("a marker tells of it", marker.operation == Operation::Purge && marker.revision == 2)?;
    advance(w, "1h").await?;
    ensure("the marker goes", kv.entry("k").await?.is_none())?;
    ensure("the name is free", kv.create("k", "w".into()).await? == 3)?;
    passed(w, "a key that was created for a time").await
}

async fn purged_for_a_time(w: &World) -> Result {
    let kv = w.bucket(with_markers()).await?;
    for value in ["v", "w"] {
        kv.put("k", value.into()).await?;
    }
    kv.purge_with_ttl("k", HOUR).await?;
    let marker = kv.entry("k").await?.ok_or("no marker")?;
    ensure("a purge leaves its marker", marker.operation == Operation::Purge)?;
    advance(w, "1h1s").await?;
    ensure("for its time", kv.entry("k").await?.is_none())?;
    ensure("and nothing behind it", messages(w).await? == 0)?;
    passed(w, "a purge whose marker goes").await
}

async fn messages(w: &World) -> Result<u64> {
    Ok(w.js.get_stream("KV_b").await?.cached_info().state.messages)
}

async fn watched(w: &World) -> Result {
    let kv: Store = w.bucket(with_markers()).await?;
    let mut watch = kv.watch_all().await?;
    kv.create_with_ttl("k", "v".into(), HOUR).await?;
    let created = next(&mut watch).await?;
    ensure("the watcher sees the key", created.operation == Operation::Put && created.revision == 1)?;
    advance(w, "1h1s").await?;
    let ended = next(&mut watch).await?;
    ensure("and its end", ended.key == "k" && ended.operation == Operation::Purge && ended.revision == 2)?;
    kv.put("l", "v".into()).await?;
    kv.purge_with_ttl("l", HOUR).await?;
    ensure("a put", next(&mut watch).await?.operation == Operation::Put)?;
    ensure("and a purge", next(&mut watch).await?.operation == Operation::Purge)?;
    passed(w, "a watcher is told of the end").await
}
