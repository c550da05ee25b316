//! Streams, consumers, core messages and services.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, OrderedPullConsumer, pull, push};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{AckKind, Context, Message};
use async_nats::service::ServiceExt;
use futures_util::StreamExt;
use serde_json::json;

use crate::{Result, WAIT, raw, say};

async fn make(js: &Context, name: &str, subject: &str) -> Result<async_nats::jetstream::stream::Stream> {
    let config = Config {
        name: name.into(),
        subjects: vec![subject.into()],
        allow_direct: true,
        allow_message_ttl: true,
        storage: StorageType::File,
        ..Config::default()
    };
    Ok(js.create_stream(config).await?)
}

async fn fill(js: &Context, subject: &str, count: usize) -> Result<()> {
    for i in 1..=count {
        js.publish(subject.to_string(), format!("message {i}").into()).await?.await?;
    }
    Ok(())
}

fn show(step: &str, message: &Message) -> Result<u64> {
    let info = message.info().map_err(|error| error.to_string())?;
    say(
        step,
        json!({"subject": message.subject.as_str(), "data": String::from_utf8_lossy(&message.payload),
            "sequence": info.stream_sequence, "delivery": info.consumer_sequence, "deliveries": info.delivered,
            "pending": info.pending}),
    );
    Ok(info.stream_sequence)
}

/// Conditions that a publisher can set.
pub async fn publish(js: &Context) -> Result<()> {
    make(js, "PUB", "pub.>").await?;
    let build = PublishMessage::build;
    for (step, subject, message) in [
        ("plain", "pub.a", build()),
        ("message id", "pub.a", build().message_id("one")),
        ("message id again", "pub.a", build().message_id("one")),
        ("expected stream", "pub.a", build().expected_stream("PUB")),
        ("wrong stream", "pub.a", build().expected_stream("OTHER")),
        ("expected last sequence", "pub.a", build().expected_last_sequence(3)),
        ("wrong last sequence", "pub.a", build().expected_last_sequence(3)),
        ("wrong last message id", "pub.a", build().expected_last_message_id("other")),
        ("expected last of subject", "pub.b", build().expected_last_subject_sequence(0)),
        ("wrong last of subject", "pub.b", build().expected_last_subject_sequence(0)),
        ("TTL", "pub.c", build().ttl(Duration::from_secs(60))),
        ("no stream", "nowhere", build()),
    ] {
        match js.send_publish(subject, message.payload("x".into())).await?.await {
            Ok(ack) => {
                say(step, json!({"stream": ack.stream, "sequence": ack.sequence, "duplicate": ack.duplicate}))
            }
            Err(error) => say(step, json!({"error": error.to_string()})),
        }
    }
    let mut acks = Vec::new();
    for i in 0..100 {
        acks.push(js.publish("pub.async", format!("{i}").into()).await?);
    }
    for ack in acks {
        say("async", json!(ack.await?.sequence));
    }
    js.delete_stream("PUB").await?;
    Ok(())
}

/// Management of a stream and reads of single messages.
pub async fn stream(js: &Context) -> Result<()> {
    let stream = make(js, "S", "s.*").await?;
    fill(js, "s.a", 5).await?;
    fill(js, "s.b", 5).await?;
    raw(js, "info", "$JS.API.STREAM.INFO.S").await?;
    for sequence in [3, 99] {
        match stream.get_raw_message(sequence).await {
            Ok(m) => say("get", json!([m.sequence, m.subject.as_str(), String::from_utf8_lossy(&m.payload)])),
            Err(error) => say("get", json!({"error": error.to_string()})),
        }
        match stream.direct_get(sequence).await {
            Ok(m) => say(
                "direct get",
                json!([m.sequence, m.subject.as_str(), String::from_utf8_lossy(&m.payload)]),
            ),
            Err(error) => say("direct get", json!({"error": error.to_string()})),
        }
    }
    for subject in ["s.a", "s.none"] {
        match stream.direct_get_last_for_subject(subject).await {
            Ok(m) => say("direct get last", json!([m.sequence, String::from_utf8_lossy(&m.payload)])),
            Err(error) => say("direct get last", json!({"error": error.to_string()})),
        }
    }
    for _ in 0..2 {
        match stream.delete_message(4).await {
            Ok(done) => say("delete message", json!(done)),
            Err(error) => say("delete message", json!({"error": error.to_string()})),
        }
    }
    say("purge subject", json!(stream.purge().filter("s.a").await?.purged));
    say("purge keep", json!(stream.purge().keep(3).await?.purged));
    say("purge to sequence", json!(stream.purge().sequence(10).await?.purged));
    raw(js, "state after purges", "$JS.API.STREAM.INFO.S").await?;
    let overlapping = Config { name: "S2".into(), subjects: vec!["s.>".into()], ..Config::default() };
    if let Err(error) = js.create_stream(overlapping).await {
        say("overlapping subjects", json!({"error": error.to_string()}));
    }
    if let Err(error) = js.get_stream("missing").await {
        say("missing stream", json!({"error": error.to_string()}));
    }
    js.delete_stream("S").await?;
    Ok(())
}

/// Fetches, and each acknowledgement.
pub async fn pull(js: &Context) -> Result<()> {
    let stream = make(js, "PULL", "pull.>").await?;
    fill(js, "pull.a", 12).await?;
    let config = pull::Config {
        durable_name: Some("d".into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(1),
        max_deliver: 3,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    raw(js, "consumer", "$JS.API.CONSUMER.INFO.PULL.d").await?;
    let mut batch = consumer.fetch().max_messages(4).messages().await?;
    let mut number = 0;
    while let Some(message) = batch.next().await {
        let message = message.map_err(|error| error.to_string())?;
        show("fetch", &message)?;
        number += 1;
        let done = match number {
            1 => message.double_ack().await,
            2 => message.ack_with(AckKind::Nak(None)).await,
            3 => message.ack_with(AckKind::Progress).await,
            _ => message.ack_with(AckKind::Term).await,
        };
        done.map_err(|error| error.to_string())?;
    }
    js.client().flush().await?;
    // Whether the message that was refused comes before new ones depends on the moment.
    let mut rest = Vec::new();
    for _ in 0..10 {
        let mut one = consumer.batch().max_messages(1).expires(WAIT).messages().await?;
        while let Some(message) = one.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().map_err(|error| error.to_string())?;
            rest.push((info.stream_sequence, info.delivered));
            message.double_ack().await.map_err(|error| error.to_string())?;
        }
    }
    rest.sort_unstable();
    say("the rest", json!(rest));
    raw(js, "consumer at the end", "$JS.API.CONSUMER.INFO.PULL.d").await?;
    js.delete_stream("PULL").await?;
    Ok(())
}

/// Ordered consumers.
pub async fn ordered(js: &Context) -> Result<()> {
    let stream = make(js, "ORD", "ord.>").await?;
    fill(js, "ord.a", 30).await?;
    fill(js, "ord.b", 30).await?;
    for (filter, deliver_policy) in [
        ("", DeliverPolicy::All),
        ("ord.b", DeliverPolicy::All),
        ("ord.*", DeliverPolicy::LastPerSubject),
        ("", DeliverPolicy::ByStartSequence { start_sequence: 55 }),
    ] {
        let config = pull::OrderedConfig {
            filter_subject: filter.into(),
            deliver_policy,
            ..pull::OrderedConfig::default()
        };
        let consumer: OrderedPullConsumer = stream.create_consumer(config).await?;
        let mut messages = consumer.messages().await?;
        loop {
            let message =
                tokio::time::timeout(WAIT, messages.next()).await?.ok_or("the consumer ended")??;
            show("ordered", &message)?;
            if message.info().map_err(|error| error.to_string())?.pending == 0 {
                break;
            }
        }
    }
    js.delete_stream("ORD").await?;
    Ok(())
}

/// A durable push consumer.
pub async fn push(js: &Context) -> Result<()> {
    let stream = make(js, "PUSH", "push.>").await?;
    fill(js, "push.a", 6).await?;
    let config = push::Config {
        durable_name: Some("p".into()),
        deliver_subject: "deliver.here".into(),
        ack_policy: AckPolicy::Explicit,
        idle_heartbeat: Duration::from_millis(500),
        flow_control: true,
        max_deliver: 4,
        ..push::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = consumer.messages().await?;
    for _ in 0..8 {
        let message = tokio::time::timeout(WAIT, messages.next()).await?.ok_or("the consumer ended")??;
        let sequence = show("pushed", &message)?;
        let first = message.info().map_err(|error| error.to_string())?.delivered == 1;
        let done = match (sequence, first) {
            (6, true) => message.ack_with(AckKind::Nak(None)).await,
            (3, true) => message.ack_with(AckKind::Nak(Some(Duration::from_millis(300)))).await,
            (4, _) => message.ack_with(AckKind::Term).await,
            _ => message.double_ack().await,
        };
        done.map_err(|error| error.to_string())?;
    }
    raw(js, "consumer", "$JS.API.CONSUMER.INFO.PUSH.p").await?;
    js.delete_stream("PUSH").await?;
    Ok(())
}

/// Messages without JetStream.
pub async fn core(js: &Context) -> Result<()> {
    let client = js.client();
    let mut sub = client.subscribe("core.>").await?;
    let mut headers = HeaderMap::new();
    headers.append("K", "v1");
    headers.append("K", "v2");
    client.publish_with_headers("core.a.b", headers, "data".into()).await?;
    let message = tokio::time::timeout(WAIT, sub.next()).await?.ok_or("no message")?;
    say("message", json!([message.subject.as_str(), format!("{:?}", message.headers)]));
    let mut questions = client.subscribe("ask.*").await?;
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.request("ask.me", "question".into()).await.map(|m| m.payload) }
    });
    let question = tokio::time::timeout(WAIT, questions.next()).await?.ok_or("no question")?;
    client.publish(question.reply.ok_or("no reply subject")?, "answer".into()).await?;
    say("request", json!(String::from_utf8_lossy(&asked.await??)));
    if let Err(error) = client.request("nobody.here", "".into()).await {
        say("no responders", json!({"error": error.to_string()}));
    }
    let mut members = Vec::new();
    for group in ["one", "one", "two"] {
        members.push(client.queue_subscribe("queue.*", group.to_string()).await?);
    }
    for i in 0..40 {
        client.publish("queue.x", format!("{i}").into()).await?;
    }
    client.publish("core.end", "".into()).await?;
    tokio::time::timeout(WAIT, sub.next()).await?.ok_or("no end")?;
    let mut counts = Vec::new();
    for member in &mut members {
        let mut count = 0;
        while tokio::time::timeout(Duration::from_millis(50), member.next()).await.is_ok() {
            count += 1;
        }
        counts.push(count);
    }
    say("queue groups", json!({"one": counts.iter().take(2).sum::<i32>(), "two": counts.get(2)}));
    let info = client.server_info();
    say("info", json!([info.max_payload, info.headers, info.proto, info.auth_required]));
    Ok(())
}

/// A service, asked and asked about.
pub async fn services(js: &Context) -> Result<()> {
    let client = js.client();
    let service = client
        .service_builder()
        .description("adds")
        .start("adder", "1.2.3")
        .await
        .map_err(|error| error.to_string())?;
    let mut endpoint = service.group("math").endpoint("echo").await.map_err(|error| error.to_string())?;
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.request("math.echo", "1".into()).await.map(|m| m.payload) }
    });
    let request = tokio::time::timeout(WAIT, endpoint.next()).await?.ok_or("no request")?;
    request.respond(Ok("2".into())).await?;
    say("request", json!(String::from_utf8_lossy(&asked.await??)));
    for subject in ["$SRV.PING.adder", "$SRV.INFO.adder"] {
        raw(js, subject, subject).await?;
    }
    service.stop().await.map_err(|error| error.to_string())?;
    if let Err(error) = client.request("math.echo", "".into()).await {
        say("after the stop", json!({"error": error.to_string()}));
    }
    Ok(())
}
