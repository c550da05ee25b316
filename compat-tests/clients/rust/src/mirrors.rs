//! Buckets that mirror another one, or gather several.

use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{Config, Store};
use async_nats::jetstream::stream::{Source, SubjectTransform};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::kv::{history, listed};
use crate::world::{PATIENCE, Result, World, named};

const LOOK: Duration = Duration::from_millis(10);

/// Waits until a bucket's stream has got as far as a sequence, and prints what it is configured to take.
async fn arrived(w: &World, step: &str, bucket: &str, last_seq: u64) -> Result {
    let began = Instant::now();
    loop {
        let answer = w.client.request(format!("$JS.API.STREAM.INFO.KV_{bucket}"), Bytes::new()).await?;
        let info: Value = serde_json::from_slice(&answer.payload)?;
        if info["state"]["last_seq"].as_u64() >= Some(last_seq) {
            let mut config = info["config"].clone();
            if let Some(config) = config.as_object_mut() {
                config.remove("metadata");
            }
            w.say(step, json!({"config": config, "messages": info["state"]["messages"]}));
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{bucket} does not get to {last_seq}: {info}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads keys, their values and the history of the first.
async fn all(w: &World, step: &str, kv: &Store, keys: &[&str]) -> Result {
    for key in keys {
        w.result(&format!("{step}, get {key}"), kv.entry(*key).await);
    }
    history(w, &format!("{step}, history"), kv, keys.first().copied().unwrap_or_default()).await?;
    w.result(&format!("{step}, keys"), listed(kv).await);
    Ok(())
}

fn source(name: &str, transform: Option<(&str, &str)>) -> Source {
    let subject_transforms = transform
        .map(|(source, destination)| SubjectTransform {
            source: source.to_owned(),
            destination: destination.to_owned(),
        })
        .into_iter()
        .collect();
    Source { name: name.to_owned(), subject_transforms, ..Source::default() }
}

fn gathering(bucket: &str, sources: Vec<Source>) -> Config {
    Config { history: 3, sources: Some(sources), ..named(bucket) }
}

/// Makes buckets that mirror another one, or gather several.
pub async fn mirrors(w: &mut World) -> Result {
    let a = w.bucket(Config { history: 3, ..named("A") }).await?;
    let b = w.bucket(named("B")).await?;
    for (key, value) in [("k", "one"), ("k", "two"), ("gone", "x")] {
        a.put(key, value.into()).await?;
    }
    a.delete("gone").await?;
    b.put("l", "other".into()).await?;
    let m = Config { history: 3, mirror: Some(source("A", None)), ..named("M") };
    let m = w.bucket(m).await?;
    arrived(w, "the mirror", "M", 4).await?;
    all(w, "mirror", &m, &["k", "gone"]).await?;
    w.status("mirror", "M").await?;
    // The library writes to keys of the mirror, which nobody stores.
    w.result("put by the mirror", m.put("k", "by the mirror".into()).await);
    let opened = w.js.get_key_value("M").await?;
    w.result("put by the mirror, opened", opened.put("k", "by the mirror".into()).await);
    w.result("get of the origin", a.entry("k").await);
    w.result("delete by the mirror", opened.delete("k").await);
    all(w, "mirror, opened", &opened, &["k", "gone"]).await?;
    // The library gives what is gathered no other subjects and the bucket none of its own.
    let s = w.bucket(gathering("S", vec![source("B", Some(("$KV.B.>", "$KV.S.>")))])).await?;
    arrived(w, "the gathered", "S", 1).await?;
    let both = ["B", "A"].map(|name| source(name, Some((&*format!("$KV.{name}.>"), "$KV.S.>"))));
    w.result("update of the gathered", w.js.update_key_value(gathering("S", both.to_vec())).await);
    arrived(w, "the gathered", "S", 5).await?;
    all(w, "gathered", &s, &["k", "l", "gone"]).await?;
    w.result("put of its own", s.put("own", "here".into()).await);
    let itself = Config { mirror: Some(source("X", None)), ..named("X") };
    w.result("a mirror of itself", w.js.create_key_value(itself).await);
    let both = Config { mirror: Some(source("A", None)), ..gathering("Y", vec![source("A", None)]) };
    w.result("a mirror with sources", w.js.create_key_value(both).await);
    for name in ["Y", "S", "M", "B", "A"] {
        w.result(&format!("delete {name}"), w.js.delete_key_value(name).await);
    }
    Ok(())
}
