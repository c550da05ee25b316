use super::bench::{Bench, Left, SECOND};
use crate::clock::Now;
use crate::config::Retention;

const EXPLICIT: &str =
    r#"{"durable_name":"C","ack_policy":"explicit","deliver_subject":"d","ack_wait":10000000000}"#;

fn bench(config: &str) -> Bench {
    let mut bench = Bench::new();
    bench.listen("d");
    bench.create(config).unwrap();
    bench
}

fn deliver(bench: &mut Bench, count: usize) -> Vec<Left> {
    for n in 1..=count {
        bench.publish("s.a", &n.to_string());
    }
    bench.left()
}

fn floor(bench: &mut Bench) -> (u64, u64) {
    let info = bench.info("C");
    (info.ack_floor.consumer_seq, info.ack_floor.stream_seq)
}

#[test]
fn the_ack_floor_follows_the_first_message_that_waits() {
    let mut bench = bench(EXPLICIT);
    let left = deliver(&mut bench, 4);
    bench.control(&left[1].reply, "", "+ACK");
    assert_eq!(floor(&mut bench), (0, 0));
    bench.control(&left[0].reply, "", "");
    assert_eq!(floor(&mut bench), (2, 2));
    bench.control(&left[3].reply, "", "+OK");
    bench.control(&left[2].reply, "", "+ACK");
    assert_eq!(floor(&mut bench), (4, 4));
    assert_eq!(bench.info("C").num_ack_pending, 0);
}

#[test]
fn acknowledgements_are_answered_when_asked_also_the_second_time() {
    let mut bench = bench(EXPLICIT);
    let left = deliver(&mut bench, 1);
    for payload in ["+ACK", "+ACK", "-NAK", "+WPI", "+TERM"] {
        bench.control(&left[0].reply, "confirm", payload);
        let answer = bench.left();
        assert_eq!((answer[0].to.as_str(), answer.len()), ("confirm", 1), "{payload}");
    }
    bench.control("$JS.ACK.S.C.1.99.99.0.0", "confirm", "+ACK");
    assert!(bench.left().is_empty(), "nothing like it was delivered");
}

#[test]
fn one_acknowledgement_counts_for_all_before_it_where_configured() {
    let mut bench = bench(r#"{"durable_name":"C","ack_policy":"all","deliver_subject":"d"}"#);
    let left = deliver(&mut bench, 5);
    bench.control(&left[2].reply, "", "+ACK");
    assert_eq!(floor(&mut bench), (3, 3));
    assert_eq!(bench.info("C").num_ack_pending, 2);
}

#[test]
fn what_is_not_acknowledged_in_time_comes_again_with_its_count() {
    let mut bench = bench(EXPLICIT);
    let left = deliver(&mut bench, 3);
    bench.control(&left[1].reply, "", "+ACK");
    bench.advance(9 * SECOND);
    bench.control(&left[2].reply, "", "+WPI");
    bench.advance(SECOND);
    let again = bench.left();
    assert_eq!(again.iter().map(Left::meta).collect::<Vec<_>>(), [(2, 1, 4, 0)]);
    bench.advance(8 * SECOND);
    assert_eq!(bench.left().len(), 0);
    bench.advance(SECOND);
    assert_eq!(bench.left()[0].meta(), (2, 3, 5, 0));
    assert_eq!(bench.info("C").num_redelivered, 2);
}

#[test]
fn a_negative_acknowledgement_brings_it_back_at_once_or_after_its_delay() {
    let mut bench = bench(EXPLICIT);
    bench.listen("$events");
    let left = deliver(&mut bench, 1);
    bench.control(&left[0].reply, "", "-NAK");
    let again = bench.left();
    assert_eq!(again[0].to, "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.S.C");
    assert_eq!(again[1].meta(), (2, 1, 2, 0));
    bench.control(&again[1].reply, "", r#"-NAK {"delay": 3000000000}"#);
    bench.left();
    bench.advance(2 * SECOND);
    assert!(bench.left().is_empty());
    bench.advance(SECOND);
    assert_eq!(bench.left()[0].meta(), (3, 1, 3, 0));
}

#[test]
fn backoff_spaces_the_deliveries_and_its_last_wait_repeats() {
    let mut bench = bench(
        r#"{"durable_name":"C","ack_policy":"explicit","deliver_subject":"d","backoff":[1000000000,5000000000],"max_deliver":4}"#,
    );
    deliver(&mut bench, 1);
    for (wait, count) in [(1, 2), (5, 3), (5, 4)] {
        bench.advance(wait * SECOND - 1);
        assert!(bench.left().is_empty());
        bench.advance(1);
        assert_eq!(bench.left()[0].meta().0, count);
    }
    bench.listen("$events");
    bench.advance(100 * SECOND);
    let left = bench.left();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].to, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.C");
    assert!(left[0].payload.ends_with(r#""stream":"S","consumer":"C","stream_seq":1,"deliveries":4}"#));
    assert_eq!(bench.info("C").num_ack_pending, 0);
}

#[test]
fn a_terminated_message_never_comes_again() {
    let mut bench = bench(EXPLICIT);
    bench.listen("$events");
    let left = deliver(&mut bench, 1);
    bench.control(&left[0].reply, "", "+TERM bad data");
    let advisory = bench.left();
    assert_eq!(advisory[0].to, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C");
    assert!(advisory[0].payload.ends_with(
        r#""stream":"S","consumer":"C","consumer_seq":1,"stream_seq":1,"deliveries":1,"reason":"bad data"}"#
    ));
    bench.advance(100 * SECOND);
    assert!(bench.left().is_empty());
}

#[test]
fn no_more_messages_wait_for_acknowledgement_than_allowed() {
    let mut bench =
        bench(r#"{"durable_name":"C","ack_policy":"explicit","deliver_subject":"d","max_ack_pending":2}"#);
    let left = deliver(&mut bench, 5);
    assert_eq!(left.len(), 2);
    bench.control(&left[0].reply, "", "+ACK");
    assert_eq!(bench.payloads(), ["3"]);
    bench.control(&left[1].reply, "", "+ACK");
    assert_eq!(bench.payloads(), ["4"]);
    assert_eq!(bench.info("C").num_pending, 1);
}

#[test]
fn ack_next_acknowledges_and_asks() {
    let mut bench = Bench::new();
    bench.create(r#"{"durable_name":"C","ack_policy":"explicit"}"#).unwrap();
    bench.publish("s.a", "1");
    bench.publish("s.a", "2");
    bench.next("C", "r", "1");
    let left = bench.left();
    bench.control(&left[0].reply, "r", "+NXT");
    let next = bench.left();
    assert_eq!((next[0].to.as_str(), next[0].payload.as_str(), next.len()), ("r", "2", 1));
    assert_eq!(bench.info("C").num_ack_pending, 1);
}

#[test]
fn a_message_that_leaves_the_stream_unacknowledged_is_terminated() {
    let mut bench = bench(EXPLICIT);
    bench.listen("$events");
    deliver(&mut bench, 2);
    bench.remove(1);
    let left = bench.left();
    assert!(left[0].payload.contains(r#""reason":"Unacknowledged message was deleted""#));
    assert_eq!(floor(&mut bench), (1, 1));
    assert_eq!(bench.info("C").num_ack_pending, 1);
}

#[test]
fn a_workqueue_loses_a_message_with_its_acknowledgement() {
    use crate::store::Store;
    let mut bench = Bench::with_retention(Retention::WorkQueue);
    bench.listen("d");
    bench.create(r#"{"durable_name":"C","ack_policy":"explicit","deliver_subject":"d"}"#).unwrap();
    let left = deliver(&mut bench, 2);
    bench.control(&left[1].reply, "", "+ACK");
    assert_eq!(bench.store.state().msgs, 1);
    bench.control(&left[0].reply, "", "+TERM");
    assert_eq!(bench.store.state().msgs, 0);
}

#[test]
fn an_interest_stream_keeps_a_message_until_every_consumer_that_wants_it_is_done() {
    use crate::store::Store;
    let mut bench = Bench::with_retention(Retention::Interest);
    bench.listen("d");
    bench.listen("e");
    bench.create(r#"{"durable_name":"C","ack_policy":"explicit","deliver_subject":"d"}"#).unwrap();
    bench
        .create(r#"{"durable_name":"E","ack_policy":"none","deliver_subject":"e","filter_subject":"s.b"}"#)
        .unwrap();
    assert!(bench.consumers.interested(b"s.a"));
    let left = deliver(&mut bench, 1);
    bench.publish("s.b", "b");
    let both = bench.left();
    assert_eq!(both.len(), 2);
    bench.control(&left[0].reply, "", "+ACK");
    assert_eq!(bench.store.state().first_seq, 2);
    let reply = &both.iter().find(|m| m.to == "d").unwrap().reply;
    bench.control(reply, "", "+ACK");
    assert_eq!(bench.store.state().msgs, 0);
    bench.publish("s.a", "x");
    bench.with(|consumers, ctx| consumers.delete(ctx, "C")).unwrap();
    bench.pump();
    assert_eq!(bench.store.state().msgs, 0, "nobody is left who wants it");
}

#[test]
fn acknowledgement_by_flow_control_counts_for_all_before_the_answer() {
    let mut bench = bench(
        r#"{"durable_name":"C","ack_policy":"flow_control","deliver_subject":"d","max_ack_pending":3}"#,
    );
    let left = deliver(&mut bench, 5);
    let asked = left.iter().find(|m| m.status() == "100 FlowControl Request").unwrap().reply.clone();
    assert_eq!(left.len(), 4, "three messages and the question");
    let headers = "NATS/1.0\r\nNats-Last-Consumer: 3\r\nNats-Last-Stream: 3\r\n\r\n";
    bench.with(|consumers, ctx| consumers.control(ctx, asked.as_bytes(), b"", headers.as_bytes(), b""));
    bench.pump();
    assert_eq!(bench.payloads()[..2], ["4", "5"]);
    assert_eq!(floor(&mut bench), (3, 3));
}

#[test]
fn state_survives_and_what_waited_comes_again() {
    let mut bench = bench(EXPLICIT);
    let left = deliver(&mut bench, 3);
    bench.control(&left[0].reply, "", "+ACK");
    let (config, state) = {
        let slot = bench.consumers.by_name(b"C").unwrap();
        let consumer = bench.consumers.get(slot).unwrap();
        (consumer.config.clone(), consumer.state(&Now::new(bench.clock.clone())))
    };
    let state = crate::store::consumer_state::ConsumerState::decode(&state.encode()).unwrap();
    bench.consumers = crate::consumer::Consumers::default();
    bench.with(|consumers, ctx| consumers.restore(ctx, "C", 5, config, Some(&state))).unwrap();
    bench.pump();
    assert_eq!(floor(&mut bench), (1, 1));
    assert!(bench.left().is_empty());
    bench.advance(10 * SECOND);
    assert_eq!(bench.left().iter().map(Left::meta).collect::<Vec<_>>(), [(2, 2, 4, 0), (2, 3, 5, 0)]);
}

#[test]
fn a_consumer_at_its_limit_goes_on_when_what_it_waits_for_is_removed() {
    let mut bench = Bench::new();
    bench.listen("d");
    bench
        .create(r#"{"name":"C","ack_policy":"explicit","deliver_subject":"d","max_ack_pending":1}"#)
        .unwrap();
    bench.publish("s.a", "1");
    bench.publish("s.a", "2");
    assert_eq!(bench.payloads(), ["1"]);
    bench.remove(1);
    bench.pump();
    assert_eq!(bench.payloads(), ["2"]);
}

#[test]
fn a_refused_request_for_the_next_message_acknowledges_all_the_same() {
    let mut bench = Bench::new();
    bench.listen("d");
    bench.listen("r");
    bench
        .create(r#"{"name":"C","ack_policy":"explicit","deliver_subject":"d","max_ack_pending":1}"#)
        .unwrap();
    bench.publish("s.a", "1");
    bench.publish("s.a", "2");
    let left = bench.left();
    bench.control(&left[0].reply, "r", "+NXT");
    let left = bench.left();
    assert_eq!(left[0].status(), "409 Consumer is push based");
    assert_eq!(left[1].payload, "2");
}
