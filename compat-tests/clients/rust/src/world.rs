//! What a scenario works with, and how what it sees is printed.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use async_nats::jetstream::kv::{Config, Entry, Operation, Store};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::DeleteStatus;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Stdin, stdin};
use tokio::sync::watch::Receiver;

pub type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Bounds every wait for something that must happen. A watcher notices a restart by missing heartbeats of its consumer,
/// two of five seconds each.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// Values longer than this are printed by their length.
const SHOWN_MAX: usize = 64;

pub struct World {
    /// The scenario that runs now.
    pub name: &'static str,
    pub client: Client,
    pub js: Context,
    /// How often the client has connected.
    connections: Receiver<u64>,
    input: BufReader<Stdin>,
}

impl World {
    pub fn new(client: Client, connections: Receiver<u64>) -> Self {
        let js = ContextBuilder::new().timeout(PATIENCE).ack_timeout(PATIENCE).build(client.clone());
        Self { name: "", client, js, connections, input: BufReader::new(stdin()) }
    }

    /// Prints a step with the fields of `seen`, or with `seen` as its value.
    pub fn say(&self, step: &str, seen: Value) {
        let mut line = match seen {
            Value::Object(fields) => fields,
            value => serde_json::Map::from_iter([("value".to_string(), value)]),
        };
        line.insert("scenario".to_string(), self.name.into());
        line.insert("step".to_string(), step.into());
        println!("{}", Value::Object(line));
    }

    /// Prints what an operation returned, or its error.
    pub fn result<T: Show, E: Display>(&self, step: &str, result: std::result::Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.say(step, value.show());
                Some(value)
            }
            Err(error) => {
                self.say(step, json!({"error": error.to_string()}));
                None
            }
        }
    }

    pub fn stopped(&self, error: &(dyn Error + Send + Sync)) {
        self.say("stopped", json!({"error": error.to_string()}));
    }

    /// Sends a request as it is and prints the JSON of the answer.
    pub async fn raw(&self, step: &str, subject: &str, body: &str) -> Result {
        let answer =
            self.client.request(subject.to_string(), Bytes::copy_from_slice(body.as_bytes())).await?;
        let headers = headers_of(answer.headers.as_ref());
        match serde_json::from_slice::<Value>(&answer.payload) {
            Ok(value) => self.say(step, json!({"headers": headers, "json": value})),
            Err(_) => self.say(step, json!({"headers": headers, "data": shown(&answer.payload)})),
        }
        Ok(())
    }

    pub async fn bucket(&self, config: Config) -> Result<Store> {
        Ok(self.js.create_key_value(config).await?)
    }

    /// The library keeps a bucket's status from when it was opened, so it is opened again.
    pub async fn status(&self, step: &str, bucket: &str) -> Result {
        let status = self.js.get_key_value(bucket).await?.status().await?;
        self.say(
            step,
            json!({
                "bucket": status.bucket(), "values": status.values(), "history": status.history(),
                "ttl_s": status.max_age().as_secs_f64(), "bytes": status.info.state.bytes,
                "description": status.info.config.description,
            }),
        );
        Ok(())
    }

    /// What the harness asks for next; `None` when that is all.
    pub async fn asked(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let read = self.input.read_line(&mut line).await?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }

    /// Has the harness stop the server by a signal and start it again, and returns when the client has connected again.
    pub async fn ask(&mut self, signal: &str) -> Result {
        let before = *self.connections.borrow();
        println!("{}", json!({"ask": signal}));
        if self.input.read_line(&mut String::new()).await? == 0 {
            return Err("no answer from the harness".into());
        }
        bounded("the connection", self.connections.wait_for(|count| *count > before)).await??;
        Ok(())
    }
}

pub fn named(bucket: &str) -> Config {
    Config { bucket: bucket.into(), ..Config::default() }
}

/// Waits for something that must happen.
pub async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| format!("silent: {what}").into())
}

/// Headers by name: the library keeps them in no order.
pub fn headers_of(headers: Option<&HeaderMap>) -> Value {
    let Some(headers) = headers else { return Value::Null };
    headers
        .iter()
        .map(|(name, values)| (name.to_string(), values.iter().map(|value| value.to_string()).collect()))
        .collect::<serde_json::Map<String, Value>>()
        .into()
}

pub fn shown(data: &[u8]) -> String {
    if data.len() > SHOWN_MAX {
        return format!("{} bytes", data.len());
    }
    String::from_utf8_lossy(data).into_owned()
}

pub fn describe(entry: &Entry) -> Value {
    let operation = match entry.operation {
        Operation::Put => "put",
        Operation::Delete => "delete",
        Operation::Purge => "purge",
    };
    json!({
        "bucket": entry.bucket, "key": entry.key, "value": shown(&entry.value), "revision": entry.revision,
        "operation": operation, "delta": entry.delta, "current": entry.seen_current,
        "dated": entry.created.unix_timestamp() > 0,
    })
}

/// What the results of operations look like in the output.
pub trait Show {
    fn show(&self) -> Value;
}

impl Show for u64 {
    fn show(&self) -> Value {
        json!(self)
    }
}

impl Show for bool {
    fn show(&self) -> Value {
        json!(self)
    }
}

impl Show for String {
    fn show(&self) -> Value {
        json!(self)
    }
}

impl Show for Vec<String> {
    fn show(&self) -> Value {
        json!(self)
    }
}

impl Show for () {
    fn show(&self) -> Value {
        json!("ok")
    }
}

impl Show for Store {
    fn show(&self) -> Value {
        json!({"bucket": self.name, "stream": self.stream_name, "prefix": self.prefix})
    }
}

impl Show for DeleteStatus {
    fn show(&self) -> Value {
        json!({"success": self.success})
    }
}

impl Show for PublishAck {
    fn show(&self) -> Value {
        json!({"stream": self.stream, "sequence": self.sequence, "duplicate": self.duplicate, "domain": self.domain})
    }
}

impl Show for Option<Entry> {
    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, describe)
    }
}
