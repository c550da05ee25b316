//! What is in the store that is damaged, and how it is read again.

use serde_json::{Value, json};

use super::Picture;
use crate::Result;
use crate::request::Requester;

/// What counts and positions are called in a picture, as against what somebody wrote.
pub(super) const STATE: &str = " state ";
/// What is told of a consumer's ack floor, and of its deliveries.
pub(super) const ACK_FLOOR: &str = " state ack_floor/stream_seq";
pub(super) const DELIVERED: &str = " state delivered/consumer_seq";
/// What a message is called.
pub(super) const MESSAGE: &str = " message ";
/// What a configuration is called.
pub(super) const CONFIG: &str = " config";
const HOUR_NS: u64 = 3_600_000_000_000;
/// Streams, each with its consumers.
const STREAMS: [(&str, &[&str]); 6] = [
    ("KV_B", &[]),
    ("BLOCKS", &["reader"]),
    ("SQUEEZED", &[]),
    ("WORK", &["one", "two"]),
    ("HOLES", &["last"]),
    ("TTL", &[]),
];

/// Writes everything.
///
/// # Errors
/// When something is refused.
pub(super) fn fill(client: &mut Requester) -> Result<()> {
    let configs = [
        json!({"name": "KV_B", "subjects": ["$KV.B.>"], "max_msgs_per_subject": 2, "discard": "new",
            "allow_rollup_hdrs": true, "allow_direct": true, "deny_delete": true}),
        // So small a limit makes blocks of 32 KiB.
        json!({"name": "BLOCKS", "subjects": ["b.>"], "max_bytes": 128_000}),
        json!({"name": "SQUEEZED", "subjects": ["s.>"], "compression": "s2"}),
        json!({"name": "WORK", "subjects": ["w.>"], "retention": "workqueue"}),
        json!({"name": "HOLES", "subjects": ["h.>"], "metadata": {"a": "b"}}),
        json!({"name": "TTL", "subjects": ["t.>"], "allow_msg_ttl": true, "subject_delete_marker_ttl": HOUR_NS,
            "allow_rollup_hdrs": true}),
    ];
    for config in configs {
        client.create_stream(&config)?;
    }
    for at in 0..10 {
        client.publish(&format!("$KV.B.k{}", at % 4), "", format!("value {at}"))?;
        client.publish(&format!("b.{at}"), "", format!("{at}").repeat(7_000))?;
        client.publish(&format!("s.{}", at % 3), "", format!("the same again {at} ").repeat(9))?;
        client.publish(&format!("w.{}", at % 2), "Trace: x\r\n", format!("job {at}"))?;
        client.publish(&format!("h.{at}"), &format!("Nats-Msg-Id: {at}\r\n"), "hole")?;
        client.publish(&format!("t.{at}"), &format!("Nats-TTL: {}h\r\n", at + 1), "lives")?;
    }
    client.publish("$KV.B.k1", "KV-Operation: DEL\r\n", "")?;
    client.publish("$KV.B.k2", "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n", "")?;
    for seq in [2, 3, 7, 10] {
        client.api("$JS.API.STREAM.MSG.DELETE.HOLES", &json!({"seq": seq}))?;
    }
    client.api("$JS.API.STREAM.PURGE.SQUEEZED", &json!({"filter": "s.1"}))?;
    consume(client)
}

fn consume(client: &mut Requester) -> Result<()> {
    let consumers = [
        ("BLOCKS", json!({"durable_name": "reader", "ack_policy": "explicit", "ack_wait": HOUR_NS})),
        (
            "WORK",
            json!({"durable_name": "one", "ack_policy": "explicit", "ack_wait": HOUR_NS, "filter_subject": "w.0"}),
        ),
        (
            "WORK",
            json!({"durable_name": "two", "ack_policy": "explicit", "ack_wait": HOUR_NS, "filter_subject": "w.1"}),
        ),
        (
            "HOLES",
            json!({"durable_name": "last", "ack_policy": "all", "ack_wait": HOUR_NS, "deliver_policy": "last"}),
        ),
    ];
    for (stream, config) in consumers {
        let name = config.get("durable_name").and_then(Value::as_str).unwrap_or_default().to_string();
        let body = json!({"stream_name": stream, "config": config});
        client.api(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}"), &body)?;
    }
    for (stream, name, count) in [("BLOCKS", "reader", 3), ("WORK", "one", 3), ("WORK", "two", 1)] {
        for at in 0..count {
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
            let message = client.ask(&subject, "", b"1")?.ok_or("closed")?;
            // The last one is not acknowledged.
            if let Some(reply) = message.reply.filter(|_| at + 1 < count) {
                client.ask(&reply, "", b"+ACK")?;
            }
        }
    }
    Ok(())
}

/// Reads everything, and then writes to each stream once.
///
/// # Errors
/// When a request has no answer.
pub(super) fn picture(client: &mut Requester) -> Result<Picture> {
    let mut picture = Picture::new();
    for (stream, consumers) in STREAMS {
        let Some(info) = asked(client, &format!("STREAM.INFO.{stream}"), "")? else { continue };
        let part = |pointer: &str| info.pointer(pointer).map(Value::to_string).unwrap_or_default();
        picture.insert(format!("{stream}{CONFIG}"), part("/config"));
        for state in ["messages", "first_seq", "last_seq", "num_deleted", "num_subjects", "consumer_count"] {
            picture.insert(format!("{stream}{STATE}{state}"), part(&format!("/state/{state}")));
        }
        // Beyond what was ever there, too.
        for seq in 1..=14 {
            let body = json!({"seq": seq}).to_string();
            let answer = asked(client, &format!("STREAM.MSG.GET.{stream}"), &body)?;
            if let Some(message) = answer.as_ref().and_then(|answer| answer.get("message")) {
                picture.insert(format!("{stream}{MESSAGE}{seq}"), message.to_string());
            }
        }
        for consumer in consumers {
            let Some(info) = asked(client, &format!("CONSUMER.INFO.{stream}.{consumer}"), "")? else {
                continue;
            };
            let part = |pointer: &str| info.pointer(pointer).map(Value::to_string).unwrap_or_default();
            picture.insert(format!("{stream} {consumer}{CONFIG}"), part("/config"));
            for at in
                ["delivered/stream_seq", "delivered/consumer_seq", "ack_floor/stream_seq", "num_pending"]
            {
                picture.insert(format!("{stream} {consumer}{STATE}{at}"), part(&format!("/{at}")));
            }
        }
    }
    Ok(picture)
}

/// The answer of the API; `None` where it is an error.
fn asked(client: &mut Requester, subject: &str, body: &str) -> Result<Option<Value>> {
    let subject = format!("$JS.API.{subject}");
    let answer = client.ask(&subject, "", body.as_bytes())?.ok_or_else(|| format!("closed at {subject}"))?;
    // A status has no payload.
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    Ok(Some(answer).filter(|answer| answer.get("error").is_none() && answer.is_object()))
}
