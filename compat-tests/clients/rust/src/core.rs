//! Messages without JetStream, and services.

use std::collections::HashMap;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Service, ServiceExt, error::Error};
use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::world::{Result, World, bounded, headers_of, shown};

/// Sends, asks and shares among queue groups.
pub async fn core(w: &mut World) -> Result {
    message(w).await?;
    let mut questions = w.client.subscribe("ask.*").await?;
    let answering = w.client.clone();
    let answerer = tokio::spawn(async move {
        if let Some(question) = questions.next().await
            && let Some(reply) = question.reply
        {
            let answer = format!("answer to {} on {}", shown(&question.payload), question.subject);
            answering.publish(reply, answer.into()).await?;
        }
        questions.unsubscribe().await?;
        Result::Ok(())
    });
    let answer = w.client.request("ask.me", "question".into()).await;
    w.result("request", answer.map(|answer| shown(&answer.payload)));
    bounded("the answer", answerer).await???;
    let unheard = w.client.request("nobody.here", Bytes::new()).await;
    w.result("no responders", unheard.map(|answer| shown(&answer.payload)));
    queue_groups(w).await?;
    limited(w).await?;
    let info = w.client.server_info();
    w.result("too large", w.client.publish("x", vec![0; info.max_payload + 1].into()).await);
    w.say(
        "info",
        json!({"max_payload": info.max_payload, "headers": info.headers, "proto": info.proto,
            "auth_required": info.auth_required, "tls_required": info.tls_required}),
    );
    Ok(())
}

async fn message(w: &World) -> Result {
    let mut sub = w.client.subscribe("core.>").await?;
    let mut headers = HeaderMap::new();
    headers.append("K", "v1");
    headers.append("K", "v2");
    w.client.publish_with_headers("core.a.b", headers, "data".into()).await?;
    let message = next("message", &mut sub).await?;
    w.say(
        "message",
        json!({"subject": message.subject.as_str(), "data": shown(&message.payload),
            "headers": headers_of(message.headers.as_ref())}),
    );
    Ok(())
}

async fn next(what: &str, sub: &mut Subscriber) -> Result<Message> {
    Ok(bounded(what, sub.next()).await?.ok_or("the subscription ended")?)
}

/// A message to `subject` that this connection receives itself: all that was sent to it before has come by then.
async fn after_all(w: &World, subject: &'static str) -> Result {
    let mut sub = w.client.subscribe(subject).await?;
    w.client.publish(subject, Bytes::new()).await?;
    next("the end", &mut sub).await?;
    Ok(())
}

/// Each message goes to one member of each group, and to each plain subscription.
async fn queue_groups(w: &World) -> Result {
    let mut members = Vec::new();
    for group in ["one", "one", "one", "two", "two", ""] {
        let sub = if group.is_empty() {
            w.client.subscribe("queue.>").await?
        } else {
            w.client.queue_subscribe("queue.*", group.to_string()).await?
        };
        members.push((group, sub));
    }
    for i in 0..50 {
        w.client.publish("queue.x", format!("{i:02}").into()).await?;
    }
    after_all(w, "end.of.groups").await?;
    let mut seen = Vec::new();
    for (group, sub) in &mut members {
        // What has come is there; unsubscribing ends the stream after it.
        sub.unsubscribe().await?;
        while let Some(message) = sub.next().await {
            seen.push(format!("{group} {}", shown(&message.payload)));
        }
    }
    seen.sort();
    w.say("queue groups", json!({"seen": seen.join(","), "count": seen.len()}));
    Ok(())
}

async fn limited(w: &World) -> Result {
    let mut sub = w.client.subscribe("limited").await?;
    sub.unsubscribe_after(2).await?;
    for _ in 0..4 {
        w.client.publish("limited", Bytes::new()).await?;
    }
    after_all(w, "end.of.limited").await?;
    let mut received = 0;
    while bounded("auto-unsubscribe", sub.next()).await?.is_some() {
        received += 1;
    }
    w.say("auto-unsubscribe", json!({"received": received}));
    Ok(())
}

/// Offers a service and asks it and about it.
pub async fn services(w: &mut World) -> Result {
    let metadata = HashMap::from([("k".to_string(), "v".to_string())]);
    let service: Service =
        w.client.service_builder().description("adds").metadata(metadata).start("adder", "1.2.3").await?;
    let group = service.group("math");
    let echo = group.endpoint("echo").await?;
    let fail = group.endpoint("fail").await?;
    let workers = [tokio::spawn(work(echo, false)), tokio::spawn(work(fail, true))];
    for subject in ["math.echo", "math.fail", "math.none"] {
        match w.client.request(subject, "1".into()).await {
            Ok(answer) => w.say(
                subject,
                json!({"data": shown(&answer.payload), "headers": headers_of(answer.headers.as_ref())}),
            ),
            Err(error) => w.say(subject, json!({"error": error.to_string()})),
        }
    }
    for subject in ["$SRV.PING", "$SRV.PING.adder", "$SRV.INFO.adder", "$SRV.STATS.adder", "$SRV.PING.none"] {
        about(w, subject).await;
    }
    service.stop().await?;
    for worker in workers {
        bounded("the end of the service", worker).await???;
    }
    let unheard = w.client.request("math.echo", Bytes::new()).await;
    w.result("after the stop", unheard.map(|answer| shown(&answer.payload)));
    Ok(())
}

async fn work(mut endpoint: Endpoint, fails: bool) -> Result {
    while let Some(request) = endpoint.next().await {
        let answer = if fails {
            Err(Error { status: "no good".into(), code: 400 })
        } else {
            Ok(request.message.payload.clone())
        };
        request.respond(answer).await?;
    }
    Ok(())
}

/// Asks about services. The library lists endpoints in any order.
async fn about(w: &World, subject: &'static str) {
    let answer = match w.client.request(subject, Bytes::new()).await {
        Ok(answer) => answer,
        Err(error) => return w.say(subject, json!({"error": error.to_string()})),
    };
    let mut value: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    if let Some(endpoints) = value.get_mut("endpoints").and_then(Value::as_array_mut) {
        endpoints.sort_by_key(|endpoint| endpoint.get("name").map(Value::to_string));
    }
    w.say(subject, json!({"json": value}));
}
