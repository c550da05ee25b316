//! What the harness asks for, line by line, while it has the server fail.

use std::time::Duration;

use async_nats::Subscriber;
use async_nats::client::Request;
use async_nats::jetstream::ContextBuilder;
use async_nats::jetstream::kv::Store;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::world::{PATIENCE, Result, World, bounded, shown};

/// Bounds what is to come too late.
const BRIEF: Duration = Duration::from_millis(250);

pub async fn faults(w: &mut World) -> Result {
    let patient = w.js.get_key_value("b").await?;
    let hasty = ContextBuilder::new().timeout(BRIEF).ack_timeout(BRIEF).build(w.client.clone());
    let hasty = hasty.get_key_value("b").await?;
    let mut subscriber = None;
    w.say("ready", json!({}));
    while let Some(line) = w.asked().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words.first().copied().unwrap_or_default();
        let verb = name.trim_end_matches("-briefly");
        let (kv, limit) = if verb == name { (&patient, PATIENCE) } else { (&hasty, BRIEF) };
        match run(w, kv, limit, &mut subscriber, verb, &words).await {
            Ok(seen) => w.say(name, seen),
            Err(error) => w.say(name, json!({"error": error.to_string()})),
        }
    }
    Ok(())
}

async fn run(
    w: &World,
    kv: &Store,
    limit: Duration,
    subscriber: &mut Option<Subscriber>,
    verb: &str,
    words: &[&str],
) -> Result<Value> {
    let word = |index: usize| words.get(index).copied().unwrap_or_default().to_owned();
    Ok(match verb {
        "put" => json!({"value": kv.put(word(1), word(2).into()).await?}),
        "get" => match kv.entry(word(1)).await? {
            Some(entry) => json!({"value": shown(&entry.value), "revision": entry.revision}),
            None => json!({"value": null}),
        },
        "info" => w.js.get_stream("KV_b").await.map(|_| json!("ok"))?,
        "keys" => json!({"value": kv.keys().await?.try_collect::<Vec<String>>().await?}),
        "request" => {
            let request = Request::new().payload(word(2).into()).timeout(Some(limit));
            json!({"value": shown(&w.client.send_request(word(1), request).await?.payload)})
        }
        "publish" => w.client.publish(word(1), word(2).into()).await.map(|()| json!("ok"))?,
        "subscribe" => {
            *subscriber = Some(w.client.subscribe(word(1)).await?);
            w.client.flush().await?;
            json!("ok")
        }
        "next" => {
            let subscriber = subscriber.as_mut().ok_or("no subscription")?;
            let message = bounded("a message", subscriber.next()).await?.ok_or("the end")?;
            json!({"value": shown(&message.payload)})
        }
        other => return Err(format!("no verb {other}").into()),
    })
}
