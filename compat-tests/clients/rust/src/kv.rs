//! Buckets and their values.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push};
use async_nats::jetstream::kv::{Config, Operation, Store};
use async_nats::jetstream::stream::{Republish, StorageType};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::watch::take;
use crate::world::{Result, World, bounded, describe, named};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Makes a bucket with each option and reads its status and its stream's configuration.
pub async fn bucket(w: &mut World) -> Result {
    let republished = |destination: &str| Config {
        republish: Some(Republish {
            source: ">".into(),
            destination: destination.into(),
            headers_only: false,
        }),
        ..named("republished")
    };
    for config in [
        named("plain"),
        Config { storage: StorageType::Memory, ..named("memory") },
        Config { history: 64, ..named("history") },
        Config { max_age: 60 * MINUTE, ..named("ttl") },
        Config { max_age: MINUTE / 2, ..named("short-ttl") },
        Config { max_value_size: 1024, max_bytes: 1 << 20, ..named("sizes") },
        Config { description: "words of ünïcode".into(), ..named("described") },
        Config { compression: true, ..named("compressed") },
        Config { num_replicas: 1, ..named("replicas") },
        Config { mirror_direct: true, ..named("direct") },
        Config { limit_markers: Some(MINUTE), ..named("markers") },
        republished("again.>"),
        republished("$KV.republished.>"),
        Config { history: 65, ..named("history-over") },
        Config { num_replicas: 3, ..named("three") },
        Config { limit_markers: Some(Duration::from_millis(1)), ..named("marker-short") },
    ] {
        let name = config.bucket.clone();
        let kv = match w.js.create_key_value(config).await {
            Ok(kv) => kv,
            Err(error) => {
                w.say(&format!("create {name}"), json!({"error": error.to_string()}));
                continue;
            }
        };
        kv.put("k", "value ".repeat(20).into()).await?;
        w.status(&format!("status {name}"), &name).await?;
        w.raw(&format!("stream of {name}"), &format!("$JS.API.STREAM.INFO.KV_{name}"), "").await?;
        w.js.delete_key_value(&name).await?;
    }
    Ok(())
}

/// Makes, changes, lists, opens and deletes buckets.
pub async fn manage(w: &mut World) -> Result {
    let with_history = |history| Config { history, ..named("first") };
    let first = w.bucket(with_history(2)).await?;
    w.bucket(Config { storage: StorageType::Memory, ..named("second") }).await?;
    w.result("create the same again", w.js.create_key_value(with_history(2)).await);
    w.result("create with another history", w.js.create_key_value(with_history(3)).await);
    let changed = Config { description: "changed".into(), ..with_history(4) };
    w.result("update", w.js.update_key_value(changed).await);
    w.status("status after update", "first").await?;
    let moved = Config { storage: StorageType::Memory, ..with_history(4) };
    w.result("update storage", w.js.update_key_value(moved).await);
    w.result("update a missing one", w.js.update_key_value(named("missing")).await);
    w.result("create or update", w.js.create_or_update_key_value(named("third")).await);
    let mut names: Vec<String> = w.js.stream_names().try_collect().await?;
    names.retain(|name| name.starts_with("KV_"));
    names.sort();
    w.say("names", json!(names));
    let mut listed = w.js.streams();
    let mut seen = Vec::new();
    while let Some(stream) = listed.try_next().await? {
        let config = stream.config;
        if let Some(bucket) = config.name.strip_prefix("KV_") {
            seen.push(format!("{bucket} {} {}", config.max_messages_per_subject, stream.state.messages));
        }
    }
    seen.sort();
    w.say("list", json!(seen));
    w.result("open", w.js.get_key_value("first").await);
    w.result("open a missing one", w.js.get_key_value("missing").await);
    for name in ["first", "second", "third", "first"] {
        w.result(&format!("delete {name}"), w.js.delete_key_value(name).await);
    }
    w.result("get from a deleted bucket", first.entry("k").await);
    w.result("put to a deleted bucket", first.put("k", "v".into()).await);
    Ok(())
}

/// Puts, reads and removes values in both kinds of storage.
pub async fn values(w: &mut World) -> Result {
    for storage in [StorageType::File, StorageType::Memory] {
        let kv = w.bucket(Config { history: 3, storage, ..named("values") }).await?;
        values_of_a_key(w, &kv).await?;
        removals(w, &kv).await?;
        w.status("status", "values").await?;
        w.raw("stream", "$JS.API.STREAM.INFO.KV_values", r#"{"subjects_filter":">"}"#).await?;
        w.js.delete_key_value("values").await?;
    }
    Ok(())
}

async fn values_of_a_key(w: &World, kv: &Store) -> Result {
    for value in ["one", "two", "three", "four"] {
        w.result("put", kv.put("k", value.into()).await);
    }
    w.result("get", kv.entry("k").await);
    for revision in [2, 1, 99] {
        w.result(&format!("get revision {revision}"), kv.entry_for_revision("k", revision).await);
    }
    w.result("get a revision of another key", kv.entry_for_revision("other", 2).await);
    w.result("get a missing key", kv.entry("missing").await);
    w.result("put nothing", kv.put("empty", Bytes::new()).await);
    w.result("get nothing", kv.entry("empty").await);
    let created = w.result("create", kv.create("new", "fresh".into()).await).unwrap_or_default();
    w.result("create again", kv.create("new", "again".into()).await);
    w.result("update", kv.update("new", "second".into(), created).await);
    w.result("update late", kv.update("new", "late".into(), created).await);
    w.result("update a missing key", kv.update("unborn", "x".into(), 7).await);
    w.result("update from zero", kv.update("unborn", "x".into(), 0).await);
    Ok(())
}

async fn removals(w: &World, kv: &Store) -> Result {
    w.result("delete", kv.delete("new").await);
    w.result("get deleted", kv.entry("new").await);
    w.result("delete again", kv.delete("new").await);
    w.result("delete a missing key", kv.delete("nothing").await);
    let revision = w.result("create after delete", kv.create("new", "reborn".into()).await);
    w.result("delete at a wrong revision", kv.delete_expect_revision("new", Some(1)).await);
    w.result("delete at the revision", kv.delete_expect_revision("new", revision).await);
    w.result("purge at a wrong revision", kv.purge_expect_revision("k", Some(1)).await);
    w.result("purge", kv.purge("k").await);
    history(w, "history after purge", kv, "k").await?;
    w.result("create after purge", kv.create("k", "after purge".into()).await);
    Ok(())
}

/// Prints the history of a key.
pub async fn history(w: &World, step: &str, kv: &Store, key: &str) -> Result {
    let mut entries = match kv.history(key).await {
        Ok(entries) => entries,
        Err(error) => {
            w.say(step, json!({"error": error.to_string()}));
            return Ok(());
        }
    };
    while let Some(entry) = bounded(step, entries.try_next()).await?? {
        w.say(step, describe(&entry));
    }
    w.say(step, json!({"end": true}));
    Ok(())
}

/// Tries names that are no names.
pub async fn names(w: &mut World) -> Result {
    for name in ["", "a.b", "a b", "a*", ">", "a/b", "é", "ok_-9"] {
        w.result(&format!("bucket {name}"), w.js.create_key_value(named(name)).await);
    }
    let kv = w.bucket(named("names")).await?;
    let long = "k".repeat(300);
    for key in ["", "a b", ".a", "a.", "a..b", "a*", ">", "a/b", "é", "A=b-_c.1/x", "_kv", &long] {
        w.result(&format!("put {key}"), kv.put(key, "x".into()).await);
        w.result(&format!("get {key}"), kv.entry(key).await);
    }
    for name in ["names", "ok_-9"] {
        w.js.delete_key_value(name).await?;
    }
    Ok(())
}

/// Overfills values and buckets.
pub async fn limits(w: &mut World) -> Result {
    let kv = w.bucket(Config { max_value_size: 100, max_bytes: 1000, ..named("limits") }).await?;
    for size in [70, 99, 100, 101, 5000] {
        w.result(&format!("put {size}"), kv.put(format!("size{size}"), "x".repeat(size).into()).await);
    }
    for i in 0..10 {
        w.result("fill", kv.put(format!("fill{i}"), "y".repeat(90).into()).await);
    }
    w.result("put over an older value when full", kv.put("fill0", "z".into()).await);
    w.result("delete when full", kv.delete("fill1").await);
    w.result("purge when full", kv.purge("fill1").await);
    w.status("status when full", "limits").await?;
    let payload = w.bucket(named("payload")).await?;
    w.result("put a value as large as a message", payload.put("big", vec![0; 1 << 20].into()).await);
    w.result("put a value larger than a message", payload.put("bigger", vec![0; (1 << 20) + 1].into()).await);
    for name in ["limits", "payload"] {
        w.js.delete_key_value(name).await?;
    }
    Ok(())
}

/// Reads histories at and over their limit.
pub async fn histories(w: &mut World) -> Result {
    for depth in [1, 5, 64] {
        let name = format!("history-{depth}");
        let kv = w.bucket(Config { history: depth, ..named(&name) }).await?;
        for i in 0..8 {
            kv.put("a.b", i.to_string().into()).await?;
            kv.put("a.c", i.to_string().into()).await?;
        }
        kv.delete("a.b").await?;
        history(w, &format!("history of depth {depth}"), &kv, "a.b").await?;
        history(w, &format!("wildcard at depth {depth}"), &kv, "a.*").await?;
        history(w, "missing key", &kv, "nothing").await?;
        w.js.delete_key_value(&name).await?;
    }
    Ok(())
}

/// Lists keys, all and by filters.
pub async fn keys(w: &mut World) -> Result {
    let kv = w.bucket(Config { history: 5, ..named("keys") }).await?;
    w.result("keys of an empty bucket", listed(&kv).await);
    for key in ["a.b.c", "a.b.d", "a.x", "b", "c.1", "c.2", "gone", "purged"] {
        for _ in 0..2 {
            kv.put(key, "v".into()).await?;
        }
    }
    kv.delete("gone").await?;
    kv.purge("purged").await?;
    w.result("keys", listed(&kv).await);
    let filters: &[&[&str]] = &[
        &["a.>"],
        &["*"],
        &["c.*", "b"],
        &["a.b.*", "c.1", "nothing"],
        &["nothing"],
        &["a.>", "a.b.*"],
        &["gone"],
    ];
    for filters in filters {
        w.result(&format!("filter {}", filters.join(" ")), filtered(w, &kv, filters).await);
    }
    w.js.delete_key_value("keys").await?;
    Ok(())
}

/// All keys, sorted.
pub async fn listed(kv: &Store) -> Result<Vec<String>> {
    let mut keys: Vec<String> = bounded("the keys", kv.keys().await?.try_collect()).await??;
    keys.sort();
    Ok(keys)
}

/// Keys by filters, sorted. The library lists all keys or none, so this is its own listing with other filters.
pub async fn filtered(w: &World, kv: &Store, filters: &[&str]) -> Result<Vec<String>> {
    let config = push::OrderedConfig {
        deliver_subject: w.client.new_inbox(),
        filter_subjects: filters.iter().map(|filter| format!("{}{filter}", kv.prefix)).collect(),
        headers_only: true,
        replay_policy: ReplayPolicy::Instant,
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..push::OrderedConfig::default()
    };
    let consumer = kv.stream.create_consumer(config).await?;
    let mut keys = Vec::new();
    let mut pending = consumer.cached_info().num_pending;
    let mut messages = consumer.messages().await?;
    while pending > 0 {
        let message = bounded("the keys", messages.next()).await?.ok_or("the listing ended")??;
        pending = message.info()?.pending;
        let removed = message.headers.as_ref().is_some_and(|headers| headers.get("KV-Operation").is_some());
        if let (Some(key), false) = (message.subject.strip_prefix(&kv.prefix), removed) {
            keys.push(key.to_string());
        }
    }
    keys.sort();
    Ok(keys)
}

/// Lets keys expire and sees the markers that take their place.
pub async fn ttl(w: &mut World) -> Result {
    let kv = w.bucket(Config { limit_markers: Some(MINUTE), ..named("markers") }).await?;
    let mut watch = kv.watch_all().await?;
    w.result("create with a TTL", kv.create_with_ttl("short", "x".into(), SECOND).await);
    take(w, "watch", &mut watch, 2).await?;
    w.result("get expired", kv.entry("short").await);
    w.raw("marker", "$JS.API.STREAM.MSG.GET.KV_markers", r#"{"last_by_subj":"$KV.markers.short"}"#).await?;
    w.result("create after expiry", kv.create("short", "again".into()).await);
    let tiny = kv.create_with_ttl("tiny", "x".into(), Duration::from_millis(1)).await;
    w.result("create with a TTL under a second", tiny);
    w.result("purge with a TTL", kv.purge_with_ttl("short", SECOND).await);
    take(w, "watch", &mut watch, 2).await?;
    w.js.delete_key_value("markers").await?;
    let plain = w.bucket(named("plain")).await?;
    w.result("create with a TTL where TTLs are off", plain.create_with_ttl("k", "x".into(), SECOND).await);
    w.js.delete_key_value("plain").await?;
    let config = Config { max_age: SECOND, limit_markers: Some(2 * SECOND), ..named("aged") };
    let aged = w.bucket(config).await?;
    let mut watch = aged.watch_all().await?;
    aged.put("k", "x".into()).await?;
    take(w, "watch with max age", &mut watch, 2).await?;
    w.js.delete_key_value("aged").await?;
    Ok(())
}

/// Removes markers. The library has no call for it, so this purges their subjects, as other libraries do.
pub async fn purge_deletes(w: &mut World) -> Result {
    let kv = w.bucket(Config { history: 5, ..named("graves") }).await?;
    for key in ["a", "b", "c"] {
        for _ in 0..3 {
            kv.put(key, "v".into()).await?;
        }
    }
    kv.delete("a").await?;
    kv.purge("b").await?;
    for (step, kept) in [("young markers stay", 1), ("all markers go", 0)] {
        for key in removed(&kv).await? {
            let subject = format!("{}{key}", kv.prefix);
            let purge = kv.stream.purge().filter(subject);
            let answer = if kept > 0 { purge.keep(kept).await } else { purge.await };
            w.result(&format!("{step}: {key}"), answer.map(|answer| answer.purged));
        }
        for key in ["a", "b", "c"] {
            history(w, &format!("{key} after: {step}"), &kv, key).await?;
        }
    }
    w.status("status", "graves").await?;
    w.js.delete_key_value("graves").await?;
    Ok(())
}

/// The keys whose last entry is a marker.
async fn removed(kv: &Store) -> Result<Vec<String>> {
    let mut watch = kv.watch_with_history(">").await?;
    let mut keys = Vec::new();
    loop {
        let entry = bounded("markers", watch.next()).await?.ok_or("the watch ended")??;
        if entry.operation != Operation::Put {
            keys.push(entry.key);
        }
        if entry.seen_current {
            keys.sort();
            return Ok(keys);
        }
    }
}
