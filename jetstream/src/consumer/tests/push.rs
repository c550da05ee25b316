use super::bench::{Bench, SECOND};
use crate::clock::{Clock as _, Deadlines};

#[test]
fn a_watcher_gets_what_is_there_and_then_what_comes_each_once_and_in_order() {
    let mut bench = Bench::new();
    bench.publish("s.a", "1");
    bench.publish("s.b", "2");
    bench.listen("d");
    let info = bench.create(r#"{"deliver_subject":"d","filter_subject":"s.*"}"#).unwrap();
    assert_eq!((info.num_pending, info.push_bound), (2, true));
    bench.publish("s.a", "3");
    let left = bench.left();
    assert_eq!(left.iter().map(|m| m.payload.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(
        left.iter().map(super::bench::Left::meta).collect::<Vec<_>>(),
        [(1, 1, 1, 1), (1, 2, 2, 0), (1, 3, 3, 0)]
    );
    assert_eq!((left[2].to.as_str(), left[2].subject.as_str()), ("d", "s.a"));
    let name = info.name;
    assert_eq!(left[2].reply, format!("$JS.ACK.S.{name}.1.3.3.1700000000000000000.0"));
}

#[test]
fn only_the_last_message_of_each_subject_begins_a_last_per_subject_consumer() {
    let mut bench = Bench::new();
    for (subject, payload) in [("s.a", "1"), ("s.b", "2"), ("s.a", "3"), ("s.c.x", "4")] {
        bench.publish(subject, payload);
    }
    bench.listen("d");
    let config = r#"{"deliver_subject":"d","filter_subject":"s.*","deliver_policy":"last_per_subject"}"#;
    let info = bench.create(config).unwrap();
    assert_eq!(info.num_pending, 2);
    bench.publish("s.b", "5");
    let left = bench.left();
    assert_eq!(left.iter().map(|m| m.payload.as_str()).collect::<Vec<_>>(), ["2", "3", "5"]);
    assert_eq!(left.iter().map(|m| m.meta().3).collect::<Vec<_>>(), [1, 0, 0]);
}

#[test]
fn a_message_removed_before_delivery_is_neither_counted_nor_delivered() {
    let mut bench = Bench::new();
    for (subject, payload) in [("s.a", "1"), ("s.b", "2"), ("s.a", "3")] {
        bench.publish(subject, payload);
    }
    let config =
        r#"{"name":"C","deliver_subject":"d","filter_subject":"s.*","deliver_policy":"last_per_subject"}"#;
    bench.create(config).unwrap();
    bench.remove(1);
    assert_eq!(bench.info("C").num_pending, 2, "1 is not the last of its subject");
    bench.remove(2);
    assert_eq!(bench.info("C").num_pending, 1);
    bench.listen("d");
    bench.pump();
    assert_eq!(bench.payloads(), ["3"]);
}

#[test]
fn every_deliver_policy_starts_where_it_says() {
    for (policy, wanted) in [
        (r#""deliver_policy":"all""#, vec!["1", "2", "3", "4"]),
        (r#""deliver_policy":"last""#, vec!["3", "4"]),
        (r#""deliver_policy":"new""#, vec!["4"]),
        (r#""deliver_policy":"by_start_sequence","opt_start_seq":2"#, vec!["2", "3", "4"]),
        (r#""deliver_policy":"by_start_time","opt_start_time":"2023-11-14T22:13:21Z""#, vec!["2", "3", "4"]),
    ] {
        let mut bench = Bench::new();
        bench.listen("d");
        for payload in ["1", "2", "3"] {
            bench.publish("s.a", payload);
            bench.clock.advance_ns(SECOND);
        }
        bench.create(&format!(r#"{{"deliver_subject":"d",{policy}}}"#)).unwrap();
        bench.publish("s.a", "4");
        assert_eq!(bench.payloads(), wanted, "{policy}");
    }
}

#[test]
fn nothing_leaves_without_interest_and_everything_once_it_comes() {
    let mut bench = Bench::new();
    bench.create(r#"{"deliver_subject":"d","durable_name":"C"}"#).unwrap();
    bench.publish("s.a", "1");
    assert!(bench.left().is_empty());
    assert!(!bench.info("C").push_bound);
    bench.listen("d");
    bench.pump();
    assert_eq!(bench.payloads(), ["1"]);
    bench.unlisten("d");
    bench.publish("s.a", "2");
    bench.advance(3600 * SECOND);
    assert!(bench.left().is_empty() && bench.consumers.contains("C"), "a durable consumer stays");
}

#[test]
fn an_ephemeral_consumer_goes_with_its_timers_when_interest_stays_away() {
    let mut bench = Bench::new();
    bench.listen("$events");
    bench.create(r#"{"deliver_subject":"d","name":"C","idle_heartbeat":1000000000}"#).unwrap();
    bench.left();
    bench.advance(4 * SECOND);
    bench.listen("d");
    bench.advance(20 * SECOND);
    assert!(bench.consumers.contains("C"));
    bench.unlisten("d");
    bench.left();
    bench.advance(6 * SECOND);
    assert!(!bench.consumers.contains("C"));
    assert_eq!(bench.consumers.next_deadlines(), Deadlines::default(), "no timer is left behind");
    let left = bench.left();
    let deleted: Vec<_> = left.iter().filter(|msg| msg.to.starts_with("$JS.EVENT")).collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].to, "$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.C");
    assert!(
        deleted[0].payload.starts_with(r#"{"type":"io.nats.jetstream.advisory.v1.consumer_action","id":""#)
    );
    assert!(deleted[0].payload.ends_with(r#""stream":"S","consumer":"C","action":"delete"}"#));
}

#[test]
fn heartbeats_come_only_when_nothing_else_does() {
    let mut bench = Bench::new();
    bench.listen("d");
    bench.create(r#"{"deliver_subject":"d","idle_heartbeat":1000000000}"#).unwrap();
    bench.advance(SECOND * 6 / 10);
    bench.publish("s.a", "1");
    bench.left();
    bench.advance(SECOND * 6 / 10);
    assert!(bench.left().is_empty(), "the delivery put it off");
    bench.advance(SECOND * 5 / 10);
    let left = bench.left();
    assert_eq!(
        left[0].headers,
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n"
    );
    assert_eq!(left.len(), 1);
}

#[test]
fn flow_control_stalls_at_its_window_and_widens_it_with_every_answer() {
    let mut bench = Bench::new();
    bench.listen("d");
    bench
        .create(r#"{"deliver_subject":"d","idle_heartbeat":1000000000,"flow_control":true,"name":"C"}"#)
        .unwrap();
    let big = "x".repeat(1 << 20);
    for _ in 0..6 {
        bench.publish("s.a", &big);
    }
    let left = bench.left();
    let asked: Vec<_> = left.iter().filter(|msg| msg.status() == "100 FlowControl Request").collect();
    assert_eq!((left.len(), asked.len()), (3, 1), "asked over half of 2 MiB, stalled past it");
    assert!(asked[0].reply.starts_with("$JS.FC.S.C.") && asked[0].to == "d");
    bench.advance(SECOND);
    let heartbeat = bench.left();
    assert_eq!(heartbeat[0].header("Nats-Consumer-Stalled"), Some(asked[0].reply.as_str()));
    bench.control("$JS.FC.S.C.none", "", "");
    assert!(bench.left().is_empty(), "an answer to another request counts for nothing");
    bench.control(&asked[0].reply, "", "");
    assert_eq!(bench.left().iter().filter(|msg| msg.payload.len() == 1 << 20).count(), 3);
}

#[test]
fn headers_only_shows_the_size_instead_of_the_payload() {
    let mut bench = Bench::new();
    bench.listen("d");
    bench.create(r#"{"deliver_subject":"d","headers_only":true}"#).unwrap();
    bench.publish_with("s.a", "NATS/1.0\r\nK: v\r\n\r\n", "12345");
    let left = bench.left();
    assert_eq!(left[0].headers, "NATS/1.0\r\nK: v\r\nNats-Msg-Size: 5\r\n\r\n");
    assert_eq!(left[0].payload, "");
}

#[test]
fn a_rate_limit_spreads_deliveries_over_time() {
    let mut bench = Bench::new();
    bench.config.max_msg_size = 1000;
    bench.listen("d");
    bench.create(r#"{"deliver_subject":"d","rate_limit_bps":8000}"#).unwrap();
    for _ in 0..4 {
        bench.publish("s.a", &"x".repeat(900));
    }
    assert_eq!(bench.left().len(), 1);
    bench.advance(SECOND);
    assert_eq!(bench.left().len(), 1);
    bench.advance(3 * SECOND);
    assert_eq!(bench.left().len(), 2);
}

#[test]
fn original_replay_keeps_the_intervals_until_it_has_caught_up() {
    let mut bench = Bench::new();
    for payload in ["1", "2", "3"] {
        bench.publish("s.a", payload);
        bench.clock.advance_ns(10 * SECOND);
    }
    bench.listen("d");
    bench.create(r#"{"deliver_subject":"d","replay_policy":"original"}"#).unwrap();
    assert_eq!(bench.payloads(), ["1"]);
    bench.advance(9 * SECOND);
    assert!(bench.left().is_empty());
    bench.advance(SECOND);
    assert_eq!(bench.payloads(), ["2"]);
    bench.advance(10 * SECOND);
    assert_eq!(bench.payloads(), ["3"]);
    bench.clock.advance_ns(60 * SECOND);
    bench.publish("s.a", "4");
    assert_eq!(bench.payloads(), ["4"]);
}

#[test]
fn a_paused_consumer_goes_on_by_itself() {
    let mut bench = Bench::new();
    bench.listen("d");
    bench.create(r#"{"deliver_subject":"d","name":"C"}"#).unwrap();
    let until = jetkv_go_compat::GoTime::from_ns(bench.clock.wall().plus(10 * SECOND as i64).ns());
    assert!(bench.with(|consumers, ctx| consumers.pause(ctx, "C", Some(until), None)).unwrap().is_some());
    bench.publish("s.a", "1");
    bench.advance(9 * SECOND);
    assert!(bench.left().is_empty());
    let info = bench.info("C");
    assert_eq!((info.paused, info.pause_remaining_ns), (true, SECOND as i64));
    bench.advance(SECOND);
    assert_eq!(bench.payloads(), ["1"]);
}

#[test]
fn a_consumer_that_lags_catches_up_without_a_gap_while_messages_come() {
    let mut bench = Bench::new();
    for n in 0..1000 {
        bench.publish("s.a", &n.to_string());
    }
    bench.listen("d");
    let mut config = crate::config::ConsumerConfig::default();
    jetkv_go_compat::json::decode_strict(br#"{"deliver_subject":"d"}"#, &mut config).unwrap();
    bench.with(|consumers, ctx| {
        consumers.create(ctx, config, crate::config::ConsumerAction::Create, false, None).map(drop).unwrap();
        assert!(consumers.pump(ctx, 10));
    });
    bench.publish("s.a", "1000");
    let wanted: Vec<String> = (0..=1000).map(|n| n.to_string()).collect();
    assert_eq!(bench.payloads(), wanted);
}
