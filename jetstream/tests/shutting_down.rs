//! What is said while an engine goes down, and in which order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jetkv_jetstream::stream::Inbound;
use jetkv_jetstream::{ApiRequest, Outbox};
use jetkv_testing::TestEngine;

const STREAM: &str = r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#;

fn engine_with(consumer: &str) -> TestEngine {
    let engine = TestEngine::new().unwrap();
    engine.request("STREAM.CREATE.S", STREAM);
    let body = format!(r#"{{"stream_name":"S","config":{{{consumer},"ack_policy":"explicit"}}}}"#);
    let answer = engine.request("CONSUMER.CREATE.S.C", &body);
    assert!(answer.contains("\"name\":\"C\""), "{answer}");
    engine
}

/// A pull request that waits.
fn pull(engine: &TestEngine, inbox: &str, body: &str) {
    engine.host.listen(inbox, None);
    let request = ApiRequest {
        account: engine.account,
        subject: b"$JS.API.CONSUMER.MSG.NEXT.S.C",
        reply: inbox.as_bytes(),
        headers: b"",
        payload: body.as_bytes(),
        client: None,
    };
    let outcome = engine.engine.api(&request, &mut Outbox::new());
    outcome.stream.unwrap().commit(&*engine.host);
}

#[test]
fn whoever_waits_for_messages_is_told_and_what_is_left_of_the_request() {
    let engine = engine_with(r#""durable_name":"C""#);
    pull(&engine, "p1", r#"{"batch":100,"expires":60000000000}"#);
    pull(&engine, "p2", r#"{"batch":3,"expires":60000000000,"max_bytes":1000}"#);
    engine.publish("s.1", &[], "x");
    engine.host.take();
    engine.engine.shutdown();
    let told: Vec<_> = engine.host.take().into_iter().map(|sent| (sent.to, sent.headers)).collect();
    let status = |msgs: u64, bytes: u64| {
        format!(
            "NATS/1.0 409 Server Shutdown\r\nNats-Pending-Messages: {msgs}\r\nNats-Pending-Bytes: {bytes}\r\n\r\n"
        )
    };
    // The one that got a message stands behind the other.
    assert_eq!(told, [("p2".to_owned(), status(3, 1000)), ("p1".to_owned(), status(99, 0))]);
}

#[test]
fn an_inbox_is_told_once_of_the_last_of_its_requests() {
    let engine = engine_with(r#""durable_name":"C""#);
    for batch in [1, 2] {
        pull(&engine, "p", &format!(r#"{{"batch":{batch},"expires":60000000000}}"#));
    }
    engine.host.take();
    engine.engine.shutdown();
    let told = engine.host.take();
    assert_eq!(told.len(), 1);
    assert!(told[0].headers.contains("Nats-Pending-Messages: 2\r\n"), "{}", told[0].headers);
}

#[test]
fn acknowledgements_leave_before_anyone_hears_that_nobody_listens() {
    let engine = TestEngine::new().unwrap();
    engine.request("STREAM.CREATE.S", STREAM);
    engine.request("STREAM.CREATE.T", r#"{"name":"T","subjects":["t.>"],"storage":"memory"}"#);
    let streams = ["S", "T"].map(|name| engine.engine.stream(engine.account, name).unwrap());
    let publish = |subject: &str, reply: &str| {
        for stream in &streams {
            if subject.starts_with(&stream.name().to_lowercase()) {
                let (subject, reply) = (subject.as_bytes(), reply.as_bytes());
                stream.publish(&Inbound { subject, reply, headers: b"", payload: b"x" });
            }
        }
    };
    publish("s.1", "before.s");
    publish("t.1", "before.t");
    engine.host.take();
    engine.engine.shutdown();
    publish("s.2", "after");
    streams.iter().for_each(|stream| stream.commit(&*engine.host));
    let mut to: Vec<_> = engine.host.take().into_iter().map(|sent| sent.to).collect();
    to.retain(|to| !to.starts_with("$JS.EVENT."));
    assert_eq!(to, ["before.s", "before.t"]);
    assert_eq!(engine.host.sent_after_withdrawal(), 0);
    assert!(engine.host.patterns().is_empty());
}
