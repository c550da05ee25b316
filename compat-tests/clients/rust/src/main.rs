//! Walks through the scenarios of ../README.md with async-nats and prints one JSON line for each thing that it sees.

mod streams;

use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream::kv::{Config, Entry, Store, Watch};
use async_nats::jetstream::object_store;
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A watcher notices a restart by the missing heartbeats of its consumer, two of five seconds each.
const WAIT: Duration = Duration::from_secs(45);

/// The scenario that runs now.
static SCENARIO: Mutex<&str> = Mutex::new("");

fn say(step: &str, seen: Value) {
    let scenario = *SCENARIO.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    println!("{}", json!({"scenario": scenario, "step": step, "seen": seen}));
}

/// Sends a request as it is and prints the JSON of the answer.
async fn raw(js: &Context, step: &str, subject: &str) -> Result<()> {
    let answer = js.client().request(subject.to_string(), "".into()).await?;
    say(step, serde_json::from_slice(&answer.payload)?);
    Ok(())
}

fn describe(entry: &Entry) -> Value {
    json!({
        "key": entry.key, "value": String::from_utf8_lossy(&entry.value), "revision": entry.revision,
        "operation": format!("{:?}", entry.operation), "delta": entry.delta, "current": entry.seen_current,
    })
}

fn outcome<T: show::Show, E: std::fmt::Display>(step: &str, result: &std::result::Result<T, E>) {
    match result {
        Ok(value) => say(step, value.show()),
        Err(error) => say(step, json!({"error": error.to_string()})),
    }
}

/// What the results of operations look like in the output.
mod show {
    use async_nats::jetstream::kv::Entry;
    use serde_json::{Value, json};

    pub trait Show {
        fn show(&self) -> Value;
    }
    impl Show for u64 {
        fn show(&self) -> Value {
            json!(self)
        }
    }
    impl Show for () {
        fn show(&self) -> Value {
            json!("done")
        }
    }
    impl Show for Option<Entry> {
        fn show(&self) -> Value {
            self.as_ref().map_or(Value::Null, super::describe)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).ok_or("usage: driver URL SCENARIO")?;
    let wanted = std::env::args().nth(2).ok_or("usage: driver URL SCENARIO")?;
    let options = async_nats::ConnectOptions::new()
        .reconnect_delay_callback(|_| Duration::from_millis(50))
        .event_callback(|_| async {});
    let js = jetstream::new(options.connect(url).await?);
    for name in SCENARIOS {
        if wanted != "all" && wanted != *name {
            continue;
        }
        *SCENARIO.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = name;
        if let Err(error) = play(name, &js).await {
            say("stopped", json!({"error": error.to_string()}));
        }
    }
    std::process::exit(0);
}

const SCENARIOS: &[&str] = &[
    "kv-bucket",
    "kv-values",
    "kv-watch",
    "kv-names",
    "kv-ttl",
    "objects",
    "js-publish",
    "js-stream",
    "js-pull",
    "js-ordered",
    "js-push",
    "core",
    "services",
    "kv-restart",
];

async fn play(name: &str, js: &Context) -> Result<()> {
    match name {
        "kv-bucket" => bucket(js).await,
        "kv-values" | "kv-watch" => {
            for storage in [StorageType::File, StorageType::Memory] {
                let config = Config {
                    bucket: "B".into(),
                    history: 3,
                    storage,
                    max_value_size: 65536,
                    ..Config::default()
                };
                let kv = js.create_key_value(config).await?;
                let outcome = if name == "kv-values" { values(&kv).await } else { watches(&kv).await };
                raw(js, "stream", "$JS.API.STREAM.INFO.KV_B").await?;
                js.delete_key_value("B").await?;
                outcome?;
            }
            Ok(())
        }
        "kv-names" => refused(js).await,
        "kv-ttl" => expiry(js).await,
        "objects" => objects(js).await,
        "js-publish" => streams::publish(js).await,
        "js-stream" => streams::stream(js).await,
        "js-pull" => streams::pull(js).await,
        "js-ordered" => streams::ordered(js).await,
        "js-push" => streams::push(js).await,
        "core" => streams::core(js).await,
        "services" => streams::services(js).await,
        _ => restart(js).await,
    }
}

/// A bucket with each option.
async fn bucket(js: &Context) -> Result<()> {
    let named = |bucket: &str| Config { bucket: bucket.into(), ..Config::default() };
    for config in [
        named("plain"),
        Config { storage: StorageType::Memory, ..named("memory") },
        Config { history: 64, ..named("history") },
        Config { max_age: Duration::from_secs(3600), ..named("ttl") },
        Config { max_value_size: 1024, max_bytes: 1 << 20, ..named("sizes") },
        Config { description: "words of ünïcode".into(), ..named("described") },
        Config { compression: true, ..named("compressed") },
        Config { num_replicas: 1, ..named("replicas") },
        Config { limit_markers: Some(Duration::from_secs(60)), ..named("markers") },
        Config { history: 65, ..named("history-over") },
        Config { num_replicas: 3, ..named("three") },
    ] {
        let name = config.bucket.clone();
        let kv = match js.create_key_value(config).await {
            Ok(kv) => kv,
            Err(error) => {
                say(&name, json!({"error": error.to_string()}));
                continue;
            }
        };
        kv.put("k", "value ".repeat(20).into()).await?;
        let status = kv.status().await?;
        say(
            &name,
            json!({"bucket": status.bucket(), "history": status.history(), "values": status.values(),
                "ttl_s": status.max_age().as_secs()}),
        );
        raw(js, &name, &format!("$JS.API.STREAM.INFO.KV_{name}")).await?;
        js.delete_key_value(&name).await?;
    }
    Ok(())
}

async fn values(kv: &Store) -> Result<()> {
    for value in ["one", "two", "three", "four"] {
        outcome("put", &kv.put("k", value.into()).await);
    }
    outcome("get", &kv.entry("k").await);
    outcome("get revision", &kv.entry_for_revision("k", 2).await);
    outcome("get dropped revision", &kv.entry_for_revision("k", 1).await);
    outcome("get missing", &kv.entry("missing").await);
    let created = kv.create("new", "fresh".into()).await;
    outcome("create", &created);
    outcome("create again", &kv.create("new", "again".into()).await);
    let revision = created?;
    outcome("update", &kv.update("new", "second".into(), revision).await);
    outcome("update late", &kv.update("new", "late".into(), revision).await);
    outcome("delete", &kv.delete("new").await);
    outcome("get deleted", &kv.entry("new").await);
    outcome("create after delete", &kv.create("new", "reborn".into()).await);
    outcome("delete at a wrong revision", &kv.delete_expect_revision("new", Some(1)).await);
    history(kv, "history").await?;
    outcome("purge", &kv.purge("k").await);
    history(kv, "history after purge").await?;
    for key in ["", "a b", ".a", "a.", "a*", "a/b", "A=b-_c.1"] {
        outcome(&format!("put {key}"), &kv.put(key, "x".into()).await);
    }
    outcome("put too big", &kv.put("big", "x".repeat(65537).into()).await);
    let mut keys = Vec::new();
    let mut listed = kv.keys().await?;
    while let Some(key) = listed.next().await {
        keys.push(key?);
    }
    keys.sort();
    say("keys", json!(keys));
    Ok(())
}

async fn history(kv: &Store, step: &str) -> Result<()> {
    for key in ["k", "new", "nothing"] {
        let mut entries = Vec::new();
        let mut listed = kv.history(key).await?;
        while let Some(entry) = listed.next().await {
            entries.push(describe(&entry?));
        }
        say(step, json!({"key": key, "entries": entries}));
    }
    Ok(())
}

async fn watches(kv: &Store) -> Result<()> {
    for name in ["all with history", "updates", "history of a key", "from a revision"] {
        let mut watch = match name {
            "all with history" => kv.watch_with_history(">").await?,
            "updates" => kv.watch_all().await?,
            "history of a key" => kv.watch_with_history("end").await?,
            _ => kv.watch_all_from_revision(5).await?,
        };
        // The changes shall come after the initial values.
        tokio::time::sleep(Duration::from_millis(150)).await;
        kv.put("w", name.into()).await?;
        kv.delete("w").await?;
        let revision = kv.put("end", name.into()).await?;
        follow(name, &mut watch, "end", revision).await?;
    }
    Ok(())
}

/// Prints what a watch sees up to the given key at a revision or later.
async fn follow(step: &str, watch: &mut Watch, last: &str, revision: u64) -> Result<()> {
    loop {
        // The watch tells of missing heartbeats by an error, and goes on.
        let Ok(entry) = tokio::time::timeout(WAIT, watch.next()).await?.ok_or("the watch ended")? else {
            continue;
        };
        let mut seen = describe(&entry);
        if let Some(seen) = seen.as_object_mut() {
            seen.remove("delta");
            seen.remove("current");
        }
        say(step, seen);
        if entry.key == last && entry.revision >= revision {
            return Ok(());
        }
    }
}

async fn refused(js: &Context) -> Result<()> {
    let bucket = |bucket: &str| Config { bucket: bucket.into(), ..Config::default() };
    for name in ["", "a.b", "a b", "*"] {
        outcome(&format!("create bucket {name}"), &js.create_key_value(bucket(name)).await.map(|_| ()));
    }
    outcome(
        "history too long",
        &js.create_key_value(Config { history: 65, ..bucket("H") }).await.map(|_| ()),
    );
    outcome("replicas", &js.create_key_value(Config { num_replicas: 3, ..bucket("R") }).await.map(|_| ()));
    outcome("bucket missing", &js.get_key_value("nothing").await.map(|_| ()));
    js.create_key_value(bucket("S")).await?;
    outcome("the same again", &js.create_key_value(bucket("S")).await.map(|_| ()));
    outcome("other history", &js.create_key_value(Config { history: 2, ..bucket("S") }).await.map(|_| ()));
    outcome("delete missing", &js.delete_key_value("nothing").await.map(|_| ()));
    js.delete_key_value("S").await?;
    Ok(())
}

async fn expiry(js: &Context) -> Result<()> {
    let config =
        Config { bucket: "T".into(), limit_markers: Some(Duration::from_secs(1)), ..Config::default() };
    let kv = js.create_key_value(config).await?;
    let mut watch = kv.watch_all().await?;
    outcome("create with ttl", &kv.create_with_ttl("short", "x".into(), Duration::from_secs(1)).await);
    follow("expiry", &mut watch, "short", 2).await?;
    outcome("get expired", &kv.entry("short").await);
    js.delete_key_value("T").await?;
    Ok(())
}

async fn objects(js: &Context) -> Result<()> {
    let store =
        js.create_object_store(object_store::Config { bucket: "O".into(), ..Default::default() }).await?;
    let content = "0123456789abcdef".repeat(20000).into_bytes();
    let info = store.put("blob", &mut content.as_slice()).await?;
    say("object put", json!({"size": info.size, "chunks": info.chunks, "digest": info.digest}));
    let mut back = Vec::new();
    store.get("blob").await?.read_to_end(&mut back).await?;
    say("object get", json!(back == content));
    outcome("object missing", &store.get("missing").await.map(|_| ()));
    outcome("object delete", &store.delete("blob").await);
    outcome("object deleted", &store.get("blob").await.map(|_| ()));
    raw(js, "stream", "$JS.API.STREAM.INFO.OBJ_O").await?;
    js.delete_object_store("O").await?;
    Ok(())
}

async fn restart(js: &Context) -> Result<()> {
    let kv = js.create_key_value(Config { bucket: "W".into(), history: 10, ..Config::default() }).await?;
    let mut watch = kv.watch_with_history(">").await?;
    let mut input = BufReader::new(tokio::io::stdin());
    for signal in ["KILL", "TERM"] {
        let revision = kv.put(format!("before {signal}").replace(' ', "-"), "1".into()).await?;
        follow("watch before", &mut watch, &format!("before-{signal}"), revision).await?;
        println!("{}", json!({"ask": signal}));
        input.read_line(&mut String::new()).await?;
        while js.client().connection_state() != async_nats::connection::State::Connected
            || js.client().flush().await.is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for key in ["a", "b"] {
            outcome("put", &kv.put(key, signal.into()).await);
        }
        let revision = kv.put("last", signal.into()).await?;
        follow("watch over a restart", &mut watch, "last", revision).await?;
        outcome("get after restart", &kv.entry(format!("before-{signal}")).await);
    }
    raw(js, "stream", "$JS.API.STREAM.INFO.KV_W").await
}
