//! What consumers do when several things come before they are fed.

use super::bench::{Bench, Left};

/// A stream with `count` messages and a consumer `C`; nothing has been delivered.
fn filled(config: &str, count: usize) -> Bench {
    let mut bench = Bench::new();
    bench.create(config).unwrap();
    for at in 1..=count {
        bench.publish("s.a", &at.to_string());
    }
    bench.left();
    bench
}

/// Pull requests of `inboxes`, taken in before anything is delivered.
fn pull_together(bench: &mut Bench, inboxes: &[&str], request: &str) {
    for inbox in inboxes {
        bench.hear(inbox);
        bench.take_in("$JS.API.CONSUMER.MSG.NEXT.S.C", inbox, request);
    }
}

/// Receiver and payload of a delivery, or receiver and status.
fn got(left: &[Left]) -> Vec<(&str, &str)> {
    left.iter()
        .map(|msg| {
            (msg.to.as_str(), if msg.headers.is_empty() { msg.payload.as_str() } else { msg.status() })
        })
        .collect()
}

const PULL: &str = r#"{"durable_name":"C","ack_policy":"explicit"}"#;
const PUSH: &str = r#"{"durable_name":"C","ack_policy":"explicit","deliver_subject":"d"}"#;

#[test]
fn requests_that_came_together_are_served_in_turn() {
    let mut bench = filled(PULL, 5);
    pull_together(&mut bench, &["r1", "r2"], r#"{"batch":2,"expires":1000000000}"#);
    assert!(bench.left().is_empty(), "more may come");
    bench.feed();
    assert_eq!(got(&bench.left()), [("r1", "1"), ("r2", "2"), ("r1", "3"), ("r2", "4")]);
}

#[test]
fn a_request_beyond_those_that_may_wait_is_refused_though_all_could_be_served() {
    let mut bench = filled(r#"{"durable_name":"C","ack_policy":"explicit","max_waiting":3}"#, 9);
    pull_together(&mut bench, &["r1", "r2", "r3", "r4"], r#"{"batch":1,"expires":1000000000}"#);
    bench.feed();
    let wanted = [("r4", "409 Exceeded MaxWaiting"), ("r1", "1"), ("r2", "2"), ("r3", "3")];
    assert_eq!(got(&bench.left()), wanted);
}

#[test]
fn the_request_of_higher_priority_is_served_first_whichever_came_first() {
    let config = r#"{"durable_name":"C","ack_policy":"explicit","priority_policy":"prioritized","priority_groups":["A"]}"#;
    let mut bench = filled(config, 4);
    pull_together(&mut bench, &["r1"], r#"{"batch":2,"expires":1000000000,"group":"A","priority":1}"#);
    pull_together(&mut bench, &["r2"], r#"{"batch":2,"expires":1000000000,"group":"A","priority":0}"#);
    bench.feed();
    assert_eq!(got(&bench.left()), [("r2", "1"), ("r2", "2"), ("r1", "3"), ("r1", "4")]);
}

#[test]
fn requests_that_do_not_wait_share_what_is_there() {
    let mut bench = filled(PULL, 3);
    pull_together(&mut bench, &["r1", "r2"], r#"{"batch":2,"no_wait":true}"#);
    bench.feed();
    let wanted = [("r1", "1"), ("r2", "2"), ("r1", "3"), ("r2", "404 No Messages")];
    assert_eq!(got(&bench.left()), wanted);
}

#[test]
fn a_request_that_does_not_wait_finds_what_was_published_right_before_it() {
    let mut bench = filled(PULL, 0);
    bench.publish("s.a", "1");
    pull_together(&mut bench, &["r1"], r#"{"batch":1,"no_wait":true}"#);
    bench.feed();
    assert_eq!(got(&bench.left()), [("r1", "1")]);
}

#[test]
fn what_may_be_outstanding_is_shared_too() {
    let mut bench = filled(r#"{"durable_name":"C","ack_policy":"explicit","max_ack_pending":2}"#, 4);
    pull_together(&mut bench, &["r1", "r2"], r#"{"batch":2,"expires":1000000000}"#);
    bench.feed();
    assert_eq!(got(&bench.left()), [("r1", "1"), ("r2", "2")]);
}

#[test]
fn a_request_whose_requester_left_at_once_gets_nothing() {
    let mut bench = filled(PULL, 2);
    pull_together(&mut bench, &["r1"], r#"{"batch":2,"expires":1000000000}"#);
    bench.unlisten("r1");
    assert!(bench.left().is_empty());
    assert_eq!((bench.info("C").num_pending, bench.info("C").delivered.consumer_seq), (2, 0));
}

#[test]
fn messages_behind_a_request_wait_for_those_that_came_with_it() {
    let mut bench = filled(PULL, 0);
    pull_together(&mut bench, &["r1"], r#"{"batch":1,"expires":1000000000}"#);
    bench.store_only("s.a", "1");
    bench.store_only("s.a", "2");
    pull_together(&mut bench, &["r2"], r#"{"batch":1,"expires":1000000000}"#);
    assert!(bench.left().is_empty());
    bench.feed();
    let left = bench.left();
    assert_eq!(got(&left), [("r1", "1"), ("r2", "2")]);
    assert_eq!([left[0].meta().3, left[1].meta().3], [1, 0], "the first knows of the second");
}

#[test]
fn a_caught_up_consumer_gets_a_message_from_the_publish_itself() {
    let mut bench = filled(PULL, 0);
    bench.next("C", "r1", r#"{"batch":2,"expires":1000000000}"#);
    bench.store_only("s.a", "1");
    assert_eq!(got(&bench.left()), [("r1", "1")]);
}

#[test]
fn nobody_is_sent_what_is_there_when_interest_comes_and_goes_at_once() {
    let mut bench = filled(PUSH, 2);
    bench.interest("d", true);
    bench.interest("d", false);
    bench.feed();
    assert!(bench.left().is_empty());
    bench.interest("d", true);
    bench.feed();
    assert_eq!(bench.payloads(), ["1", "2"]);
}

#[test]
fn acknowledgements_that_came_together_make_room_for_as_many_in_one_turn() {
    let mut bench = filled(r#"{"durable_name":"C","ack_policy":"explicit","max_ack_pending":2}"#, 4);
    pull_together(&mut bench, &["r"], r#"{"batch":9,"expires":1000000000}"#);
    bench.feed();
    let acks: Vec<String> = bench.left().into_iter().map(|msg| msg.reply).collect();
    for ack in &acks {
        bench.take_in(ack, "", "+ACK");
    }
    assert!(bench.left().is_empty(), "more may come");
    bench.feed();
    assert_eq!(bench.payloads(), ["3", "4"]);
}

#[test]
fn a_consumer_that_is_fed_with_many_others_waits_where_the_turn_is_full() {
    const CONSUMERS: usize = 8;
    let mut bench = Bench::new();
    let payload = "x".repeat(1 << 20);
    for _ in 0..2 {
        bench.publish("s.a", &payload);
    }
    for at in 0..CONSUMERS {
        bench.create(&format!(r#"{{"durable_name":"C{at}","ack_policy":"explicit"}}"#)).unwrap();
    }
    bench.hear("r");
    for at in 0..CONSUMERS {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.S.C{at}");
        bench.take_in(&subject, "r", r#"{"batch":1,"expires":1000000000}"#);
    }
    bench.left();
    bench.feed();
    let first = bench.payloads().len();
    assert!((1..CONSUMERS).contains(&first), "{first} at once");
    let mut rest = 0;
    for _ in 0..CONSUMERS {
        bench.with(|consumers, ctx| consumers.pump(ctx, 100));
        rest += bench.payloads().len();
    }
    assert_eq!(first + rest, CONSUMERS);
}
