use super::bench::{Bench, SECOND};
use crate::clock::{Clock as _, Deadlines};

fn bench(config: &str) -> Bench {
    let mut bench = Bench::new();
    bench.create(config).unwrap();
    bench.left();
    bench
}

const PLAIN: &str = r#"{"durable_name":"C","ack_policy":"explicit"}"#;

#[test]
fn a_request_is_served_at_once_or_waits() {
    let mut bench = bench(PLAIN);
    bench.publish("s.a", "1");
    bench.next("C", "r1", "");
    bench.next("C", "r2", "2");
    assert_eq!(bench.info("C").num_waiting, 1);
    bench.publish("s.a", "2");
    bench.publish("s.a", "3");
    bench.publish("s.a", "4");
    let left = bench.left();
    let got: Vec<_> = left.iter().map(|m| (m.to.as_str(), m.payload.as_str())).collect();
    assert_eq!(got, [("r1", "1"), ("r2", "2"), ("r2", "3")]);
    assert_eq!(left[0].subject, "s.a");
    assert_eq!(bench.info("C").num_waiting, 0);
}

#[test]
fn waiting_requests_are_served_in_turn() {
    let mut bench = bench(PLAIN);
    bench.next("C", "r1", r#"{"batch":2,"expires":5000000000}"#);
    bench.next("C", "r2", r#"{"batch":2,"expires":5000000000}"#);
    for payload in ["1", "2", "3", "4"] {
        bench.publish("s.a", payload);
    }
    let to: Vec<_> = bench.left().into_iter().map(|m| m.to).collect();
    assert_eq!(to, ["r1", "r2", "r1", "r2"]);
    let later = bench.clock.elapsed().plus(25 * SECOND);
    assert!(bench.consumers.next_deadlines().elapsed.is_some_and(|at| at > later));
}

#[test]
fn an_expired_request_says_what_is_left_of_it() {
    let mut bench = bench(PLAIN);
    bench.next("C", "r", r#"{"batch":5,"expires":2000000000,"max_bytes":1000}"#);
    bench.publish("s.a", "1");
    bench.left();
    bench.advance(2 * SECOND);
    let left = bench.left();
    assert_eq!(left.len(), 1);
    let used = 1000 - ("s.a".len() + "$JS.ACK.S.C.1.1.1.1700000000000000000.0".len() + 1);
    assert_eq!(
        left[0].headers,
        format!(
            "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 4\r\nNats-Pending-Bytes: {used}\r\n\r\n"
        )
    );
    assert_eq!(left[0].to, "r");
}

#[test]
fn requests_that_do_not_wait_end_with_404() {
    let mut bench = bench(PLAIN);
    bench.next("C", "r", r#"{"batch":5,"no_wait":true}"#);
    assert_eq!(bench.statuses(), ["404 No Messages"]);
    bench.publish("s.a", "1");
    bench.next("C", "r", r#"{"batch":5,"no_wait":true}"#);
    assert_eq!(bench.statuses(), ["", "404 No Messages"]);
    // With an expiry it waits for the first message and ends after what is there.
    bench.next("C", "r", r#"{"batch":5,"no_wait":true,"expires":5000000000}"#);
    assert!(bench.left().is_empty());
    bench.publish("s.a", "2");
    assert_eq!(bench.statuses(), ["", "404 No Messages"]);
}

#[test]
fn limits_of_requests_are_refused_with_409() {
    let mut bench = bench(
        r#"{"durable_name":"C","ack_policy":"explicit","max_batch":2,"max_expires":1000000000,"max_bytes":100,"max_waiting":1}"#,
    );
    bench.next("C", "r", "3");
    bench.next("C", "r", r#"{"batch":1,"expires":2000000000}"#);
    bench.next("C", "r", r#"{"batch":1,"max_bytes":101}"#);
    bench.next("C", "r", r#"{"batch":1,"expires":1000000000,"idle_heartbeat":600000000}"#);
    bench.next("C", "r", r#"{"batch":"x"}"#);
    bench.next("C", "r", "1");
    bench.next("C", "r", "1");
    assert_eq!(
        bench.statuses(),
        [
            "409 Exceeded MaxRequestBatch of 2",
            "409 Exceeded MaxRequestExpires of 1s",
            "409 Exceeded MaxRequestMaxBytes of 100",
            "400 Bad Request - heartbeat value too large",
            "400 Bad Request - json: cannot unmarshal string into Go struct field JSApiConsumerGetNextRequest.batch of type int",
            "409 Exceeded MaxWaiting",
        ]
    );
}

#[test]
fn a_push_consumer_refuses_requests() {
    let mut bench = bench(r#"{"durable_name":"C","deliver_subject":"d"}"#);
    bench.next("C", "r", "1");
    assert_eq!(bench.statuses(), ["409 Consumer is push based"]);
}

#[test]
fn a_message_larger_than_the_bytes_wanted_ends_the_request() {
    let mut bench = bench(PLAIN);
    bench.next("C", "r", r#"{"batch":5,"max_bytes":20}"#);
    bench.publish("s.a", "1");
    assert_eq!(bench.statuses(), ["409 Message Size Exceeds MaxBytes"]);
    bench.next("C", "r2", r#"{"batch":1,"max_bytes":500}"#);
    let left = bench.left();
    assert_eq!((left[0].payload.as_str(), left[1].status()), ("1", "409 Batch Completed"));
}

#[test]
fn requests_of_those_who_left_are_dropped_in_silence() {
    let mut bench = bench(PLAIN);
    bench.next("C", "r1", "1");
    bench.next("C", "r2", "1");
    bench.unlisten("r1");
    bench.publish("s.a", "1");
    let left = bench.left();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].to, "r2");
}

#[test]
fn requests_get_heartbeats_until_they_end() {
    let mut bench = bench(PLAIN);
    bench.next("C", "r", r#"{"batch":1,"expires":3500000000,"idle_heartbeat":1000000000}"#);
    bench.advance(4 * SECOND);
    let statuses = bench.statuses();
    assert_eq!(statuses[..3], ["100 Idle Heartbeat", "100 Idle Heartbeat", "100 Idle Heartbeat"]);
    assert_eq!(statuses[3..], ["408 Request Timeout"]);
}

#[test]
fn deleting_a_consumer_tells_those_who_wait() {
    let mut bench = bench(PLAIN);
    bench.next("C", "r", r#"{"batch":1,"expires":3500000000}"#);
    assert!(bench.with(|consumers, ctx| consumers.delete(ctx, "C")).unwrap());
    assert_eq!(bench.statuses(), ["409 Consumer Deleted"]);
    assert_eq!(bench.consumers.next_deadlines(), Deadlines::default());
}

#[test]
fn an_idle_pull_consumer_goes_but_not_while_requests_wait() {
    let mut bench = bench(r#"{"name":"C","ack_policy":"explicit"}"#);
    bench.next("C", "r", r#"{"batch":1,"expires":60000000000}"#);
    bench.advance(59 * SECOND);
    assert!(bench.consumers.contains("C"));
    bench.advance(5 * SECOND);
    assert!(bench.consumers.contains("C"), "the expiry counts as use");
    bench.advance(4 * SECOND);
    assert!(!bench.consumers.contains("C"));
}

#[test]
fn the_pinned_client_is_served_alone_until_it_falls_silent() {
    let mut bench = bench(
        r#"{"durable_name":"C","ack_policy":"explicit","priority_policy":"pinned_client","priority_groups":["g"],"priority_timeout":5000000000}"#,
    );
    bench.listen("$events");
    bench.next("C", "r1", "1");
    bench.next("C", "r1", r#"{"batch":1,"group":"other"}"#);
    bench.next("C", "r2", r#"{"batch":1}"#);
    assert_eq!(
        bench.statuses(),
        ["400 Bad Request - Invalid Priority Group", "400 Bad Request - Priority Group missing"]
    );
    let mut bench = self::bench(
        r#"{"durable_name":"C","ack_policy":"explicit","priority_policy":"pinned_client","priority_groups":["g"],"priority_timeout":5000000000}"#,
    );
    bench.next("C", "r1", r#"{"batch":5,"group":"g"}"#);
    bench.next("C", "r2", r#"{"batch":5,"group":"g"}"#);
    bench.publish("s.a", "1");
    bench.publish("s.a", "2");
    let left = bench.left();
    assert_eq!(left.iter().map(|m| m.to.as_str()).collect::<Vec<_>>(), ["r1", "r1"]);
    let id = left[0].header("Nats-Pin-Id").unwrap().to_owned();
    bench.next("C", "r3", r#"{"batch":1,"group":"g","id":"wrong"}"#);
    assert_eq!(bench.statuses(), ["423 Nats-Pin-Id mismatch"]);
    assert_eq!(bench.info("C").priority_groups[0].pinned_client_id, id);
    bench.advance(5 * SECOND);
    bench.unlisten("r1");
    bench.publish("s.a", "3");
    let left = bench.left();
    let delivered: Vec<_> = left.iter().filter(|m| m.payload == "3").map(|m| m.to.as_str()).collect();
    assert_eq!(delivered, ["r2"]);
}

#[test]
fn lower_priority_numbers_are_served_first() {
    let mut bench = bench(
        r#"{"durable_name":"C","ack_policy":"explicit","priority_policy":"prioritized","priority_groups":["g"]}"#,
    );
    bench.next("C", "low", r#"{"batch":1,"group":"g","priority":5}"#);
    bench.next("C", "high", r#"{"batch":2,"group":"g","priority":1}"#);
    for payload in ["1", "2", "3"] {
        bench.publish("s.a", payload);
    }
    let to: Vec<_> = bench.left().into_iter().map(|m| m.to).collect();
    assert_eq!(to, ["high", "high", "low"]);
}

#[test]
fn overflow_requests_wait_for_their_threshold() {
    let mut bench = bench(
        r#"{"durable_name":"C","ack_policy":"explicit","priority_policy":"overflow","priority_groups":["g"]}"#,
    );
    bench.next("C", "r", r#"{"batch":5,"group":"g","min_pending":3}"#);
    bench.publish("s.a", "1");
    bench.publish("s.a", "2");
    assert!(bench.left().is_empty());
    bench.publish("s.a", "3");
    assert_eq!(bench.payloads(), ["1"]);
}

#[test]
fn heartbeats_of_a_nanosecond_come_no_faster_than_they_can_be_read() {
    let mut bench = Bench::new();
    bench.create(r#"{"name":"C","ack_policy":"explicit"}"#).unwrap();
    bench.next("C", "r", r#"{"expires":1000000000,"idle_heartbeat":1}"#);
    for _ in 0..1_000 {
        bench.advance(1_000);
    }
    assert_eq!(bench.statuses(), ["100 Idle Heartbeat"; 2], "of a millisecond");
}
