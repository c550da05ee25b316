//! Streams and consumers.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull, push};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{Config, StorageType, Stream};
use async_nats::jetstream::{AckKind, Message};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::world::{PATIENCE, Result, World, bounded, headers_of, shown};

async fn make(w: &World, name: &str, subject: &str) -> Result<Stream> {
    let config = Config {
        name: name.into(),
        subjects: vec![subject.into()],
        allow_direct: true,
        allow_message_ttl: true,
        ..Config::default()
    };
    Ok(w.js.create_stream(config).await?)
}

async fn fill(w: &World, subject: &str, count: usize) -> Result {
    for i in 1..=count {
        w.js.publish(subject.to_string(), format!("message {i}").into()).await?.await?;
    }
    Ok(())
}

fn show(w: &World, step: &str, message: &Message) -> Result {
    let info = message.info()?;
    w.say(
        step,
        json!({
            "subject": message.subject.as_str(), "data": shown(&message.payload), "stream": info.stream,
            "headers": headers_of(message.headers.as_ref()),
            "sequence": info.stream_sequence, "delivery": info.consumer_sequence, "deliveries": info.delivered,
            "pending": info.pending,
        }),
    );
    Ok(())
}

/// Publishes with each condition that a publisher can set.
pub async fn publish(w: &mut World) -> Result {
    make(w, "PUB", "pub.>").await?;
    let build = PublishMessage::build;
    let mut headers = HeaderMap::new();
    headers.append("A", "1");
    headers.append("A", "2");
    headers.insert("lower-case", "with spaces inside");
    for (step, subject, message) in [
        ("plain", "pub.a", build()),
        ("message id", "pub.a", build().message_id("one")),
        ("message id again", "pub.a", build().message_id("one")),
        ("expected stream", "pub.a", build().expected_stream("PUB")),
        ("wrong stream", "pub.a", build().expected_stream("OTHER")),
        ("expected last sequence", "pub.a", build().expected_last_sequence(3)),
        ("wrong last sequence", "pub.a", build().expected_last_sequence(3)),
        ("wrong last message id", "pub.a", build().expected_last_message_id("other")),
        ("message id two", "pub.b", build().message_id("two")),
        ("expected last message id", "pub.a", build().expected_last_message_id("two")),
        ("expected last of subject", "pub.b", build().expected_last_subject_sequence(5)),
        ("wrong last of subject", "pub.b", build().expected_last_subject_sequence(5)),
        ("TTL", "pub.c", build().ttl(Duration::from_secs(60))),
        ("no stream", "nowhere", build()),
        ("headers", "pub.headers", build().headers(headers)),
    ] {
        w.result(step, w.js.send_publish(subject, message.payload("x".into())).await?.await);
    }
    w.raw("headers as stored", "$JS.API.DIRECT.GET.PUB", r#"{"last_by_subj":"pub.headers"}"#).await?;
    let mut acks = Vec::new();
    for i in 0..100 {
        acks.push(w.js.publish("pub.async", i.to_string().into()).await?);
    }
    for ack in acks {
        w.result("async", ack.await);
    }
    w.js.delete_stream("PUB").await?;
    Ok(())
}

fn stored<E: Display>(w: &World, step: &str, result: std::result::Result<StreamMessage, E>) {
    match result {
        Ok(message) => w.say(
            step,
            json!({"subject": message.subject.as_str(), "sequence": message.sequence,
                "data": shown(&message.payload), "headers": message.headers.len()}),
        ),
        Err(error) => w.say(step, json!({"error": error.to_string()})),
    }
}

/// Manages a stream and reads single messages.
pub async fn stream(w: &mut World) -> Result {
    let stream = make(w, "S", "s.*").await?;
    fill(w, "s.a", 5).await?;
    fill(w, "s.b", 5).await?;
    let mut info = stream.info_with_subjects(">").await?;
    let mut subjects = BTreeMap::new();
    while let Some((subject, count)) = info.try_next().await? {
        subjects.insert(subject, count);
    }
    w.say("subjects", json!(subjects));
    single_messages(w, &stream).await;
    w.result("delete message", stream.delete_message(4).await);
    w.result("delete message again", stream.delete_message(4).await);
    w.raw("state with deletes", "$JS.API.STREAM.INFO.S", r#"{"deleted_details":true}"#).await?;
    w.result("purge subject", stream.purge().filter("s.a").await.map(|answer| answer.purged));
    w.result("purge keep", stream.purge().keep(3).await.map(|answer| answer.purged));
    w.result("purge to sequence", stream.purge().sequence(10).await.map(|answer| answer.purged));
    w.raw("state after purges", "$JS.API.STREAM.INFO.S", "").await?;
    w.result("purge", stream.purge().await.map(|answer| answer.purged));
    w.result("name by subject", w.js.stream_by_subject("s.z").await);
    let overlapping = Config { name: "S2".into(), subjects: vec!["s.>".into()], ..Config::default() };
    w.result("overlapping subjects", w.js.create_stream(overlapping).await.map(|_| ()));
    let mut changed = stream.cached_info().config.clone();
    changed.subjects.push("t".into());
    changed.max_messages = 2;
    w.result("update", w.js.update_stream(changed).await.map(|_| ()));
    fill(w, "t", 4).await?;
    w.raw("state at its limit", "$JS.API.STREAM.INFO.S", "").await?;
    w.result("missing stream", w.js.get_stream("missing").await.map(|_| ()));
    w.js.delete_stream("S").await?;
    Ok(())
}

async fn single_messages(w: &World, stream: &Stream) {
    stored(w, "get", stream.get_raw_message(3).await);
    stored(w, "get first of a subject", stream.get_first_raw_message_by_subject("s.b", 3).await);
    stored(w, "get next of a subject", stream.get_next_raw_message_by_subject("s.b").await);
    stored(w, "get last of a subject", stream.get_last_raw_message_by_subject("s.a").await);
    stored(w, "get missing", stream.get_raw_message(99).await);
    stored(w, "get last of a missing subject", stream.get_last_raw_message_by_subject("s.none").await);
    stored(w, "direct get", stream.direct_get(3).await);
    stored(w, "direct get first of a subject", stream.direct_get_first_for_subject("s.b").await);
    stored(w, "direct get next of a subject", stream.direct_get_next_for_subject("s.b", Some(3)).await);
    stored(w, "direct get last of a subject", stream.direct_get_last_for_subject("s.a").await);
    stored(w, "direct get missing", stream.direct_get(99).await);
    stored(w, "direct get last of a missing subject", stream.direct_get_last_for_subject("s.none").await);
}

/// Fetches and consumes.
pub async fn pull(w: &mut World) -> Result {
    let stream = make(w, "PULL", "pull.>").await?;
    fill(w, "pull.a", 6).await?;
    fill(w, "pull.b", 6).await?;
    let config = pull::Config {
        durable_name: Some("d".into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(1),
        max_deliver: 3,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    w.raw("consumer", "$JS.API.CONSUMER.INFO.PULL.d", "").await?;
    fetch(w, &consumer).await?;
    consume(w, &stream).await?;
    let other = pull::Config {
        durable_name: Some("f".into()),
        filter_subject: "pull.x".into(),
        ..pull::Config::default()
    };
    w.result("create another under the same name", stream.create_consumer_strict(other).await.map(|_| ()));
    w.result("missing consumer", stream.consumer_info("missing").await.map(|_| ()));
    w.result("delete consumer", stream.delete_consumer("f").await);
    w.result("delete consumer again", stream.delete_consumer("f").await);
    let names: Vec<String> = stream.consumer_names().try_collect().await?;
    w.say("names", json!(names));
    w.js.delete_stream("PULL").await?;
    Ok(())
}

async fn fetch(w: &World, consumer: &PullConsumer) -> Result {
    let mut batch = consumer.batch().max_messages(4).expires(PATIENCE).messages().await?;
    let mut number = 0;
    while let Some(message) = batch.next().await {
        let message = message?;
        show(w, "fetch", &message)?;
        number += 1;
        match number {
            1 => w.result("double ack", message.double_ack().await),
            2 => w.result("nak", message.ack_with(AckKind::Nak(None)).await),
            3 => w.result("in progress", message.ack_with(AckKind::Progress).await),
            _ => w.result("term", message.ack_with(AckKind::Term).await),
        };
    }
    w.client.flush().await?;
    // Whether the message that was refused comes before new ones depends on the moment.
    let mut rest = BTreeMap::new();
    for _ in 0..10 {
        let mut one = consumer.batch().max_messages(1).expires(PATIENCE).messages().await?;
        let message = bounded("the rest", one.next()).await?.ok_or("nothing came")??;
        let info = message.info()?;
        rest.insert(info.stream_sequence, info.delivered);
        message.double_ack().await?;
    }
    w.say("the rest with their deliveries", json!(rest.into_iter().collect::<Vec<_>>()));
    let left: Vec<Message> = consumer.fetch().max_messages(100).messages().await?.try_collect().await?;
    w.say("fetch without waiting", json!(left.len()));
    let mut nothing = consumer.batch().expires(Duration::from_millis(100)).messages().await?;
    w.say("nothing left", json!(nothing.next().await.is_none()));
    w.raw("consumer at the end", "$JS.API.CONSUMER.INFO.PULL.d", "").await
}

async fn consume(w: &World, stream: &Stream) -> Result {
    let config = pull::Config {
        durable_name: Some("f".into()),
        filter_subjects: vec!["pull.b".into(), "pull.c".into()],
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: 9 },
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = consumer.messages().await?;
    for i in 0..6 {
        // One at a time: each message tells how many are pending.
        if i >= 4 {
            fill(w, "pull.c", 1).await?;
        }
        let message = bounded("consume", messages.next()).await?.ok_or("the consumer ended")??;
        show(w, "consume", &message)?;
    }
    Ok(())
}

/// Reads a stream in order without acknowledgements.
pub async fn ordered(w: &mut World) -> Result {
    let config = Config {
        name: "ORD".into(),
        subjects: vec!["ord.>".into()],
        storage: StorageType::Memory,
        ..Config::default()
    };
    let stream = w.js.create_stream(config).await?;
    fill(w, "ord.a", 30).await?;
    fill(w, "ord.b", 30).await?;
    for config in [
        pull::OrderedConfig::default(),
        pull::OrderedConfig { filter_subject: "ord.b".into(), ..Default::default() },
        pull::OrderedConfig {
            filter_subjects: vec!["ord.a".into(), "ord.b".into()],
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..Default::default()
        },
        pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: 55 },
            headers_only: true,
            ..Default::default()
        },
    ] {
        let mut messages = stream.create_consumer(config).await?.messages().await?;
        loop {
            let message = bounded("ordered", messages.next()).await?.ok_or("the consumer ended")??;
            show(w, "ordered", &message)?;
            if message.info()?.pending == 0 {
                break;
            }
        }
    }
    w.js.delete_stream("ORD").await?;
    Ok(())
}

/// Has messages pushed and answers them in each way.
pub async fn push(w: &mut World) -> Result {
    let stream = make(w, "PUSH", "push.>").await?;
    fill(w, "push.a", 6).await?;
    let config = push::Config {
        durable_name: Some("p".into()),
        deliver_subject: "deliver.here".into(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        idle_heartbeat: Duration::from_millis(500),
        flow_control: true,
        max_deliver: 4,
        ..push::Config::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    // Six messages, one of them a second time after the refusal and one after the delayed refusal.
    for _ in 0..8 {
        let message = loop {
            // The library tells of a late heartbeat by an error, and goes on.
            if let Ok(message) = bounded("pushed", messages.next()).await?.ok_or("the consumer ended")? {
                break message;
            }
        };
        show(w, "pushed", &message)?;
        let info = message.info()?;
        match (info.stream_sequence, info.delivered) {
            (6, 1) => message.ack_with(AckKind::Nak(None)).await?,
            (3, 1) => message.ack_with(AckKind::Nak(Some(Duration::from_millis(300)))).await?,
            (4, _) => message.ack_with(AckKind::Term).await?,
            (sequence, _) => {
                if sequence == 5 {
                    message.ack_with(AckKind::Progress).await?;
                }
                message.double_ack().await?;
            }
        }
    }
    w.raw("consumer", "$JS.API.CONSUMER.INFO.PUSH.p", "").await?;
    w.js.delete_stream("PUSH").await?;
    Ok(())
}
