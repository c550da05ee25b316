//! Steps of the wall clock: what waits goes by the time that passes.

use super::bench::{Bench, Left, SECOND};
use crate::clock::{Clock as _, ManualClock, Now, WallNs};
use std::sync::Arc;

const MINUTE_NS: i64 = 60 * SECOND as i64;
const HOUR_NS: i64 = 60 * MINUTE_NS;

/// A bench with a pull consumer `C` that nobody may leave alone for 5 s.
fn pulled() -> Bench {
    let mut bench = Bench::new();
    let config =
        r#"{"name":"C","ack_policy":"explicit","ack_wait":30000000000,"inactive_threshold":5000000000}"#;
    bench.create(config).unwrap();
    bench
}

fn step(bench: &mut Bench, by_ns: i64) {
    bench.clock.step_wall_ns(by_ns);
    bench.tick();
}

#[test]
fn a_step_forward_ends_neither_requests_nor_the_consumer() {
    let mut bench = pulled();
    bench.next("C", "r", r#"{"expires":20000000000,"idle_heartbeat":9000000000}"#);
    bench.advance(SECOND);
    step(&mut bench, MINUTE_NS);
    assert_eq!(bench.left(), [], "nothing has waited for a minute");
    assert!(bench.consumers.contains("C"));
    bench.advance(8 * SECOND);
    assert_eq!(bench.statuses(), ["100 Idle Heartbeat"]);
    bench.advance(11 * SECOND);
    assert_eq!(bench.statuses(), ["100 Idle Heartbeat", "408 Request Timeout"]);
    // Idle time counts from there.
    step(&mut bench, MINUTE_NS);
    bench.advance(4 * SECOND);
    assert!(bench.consumers.contains("C"));
    bench.advance(3 * SECOND);
    assert!(!bench.consumers.contains("C"));
}

#[test]
fn what_was_armed_before_a_step_backward_still_comes() {
    let mut bench = pulled();
    bench.listen("d");
    bench.create(r#"{"name":"P","deliver_subject":"d","idle_heartbeat":10000000000}"#).unwrap();
    bench.next("C", "r", r#"{"expires":20000000000,"idle_heartbeat":9000000000}"#);
    step(&mut bench, -HOUR_NS);
    let to = |bench: &mut Bench| -> Vec<_> {
        bench.left().iter().map(|left| (left.to.clone(), left.status().to_owned())).collect()
    };
    let came = |to: &str, status: &str| (to.to_owned(), status.to_owned());
    bench.advance(9 * SECOND);
    assert_eq!(to(&mut bench), [came("r", "100 Idle Heartbeat")]);
    bench.advance(SECOND);
    assert_eq!(to(&mut bench), [came("d", "100 Idle Heartbeat")]);
    bench.advance(10 * SECOND);
    assert!(to(&mut bench).contains(&came("r", "408 Request Timeout")));
    step(&mut bench, -HOUR_NS);
    bench.advance(7 * SECOND);
    assert!(!bench.consumers.contains("C"), "nobody used it for its whole idle time");
}

#[test]
fn an_acknowledgement_is_awaited_for_as_long_as_configured_whatever_the_wall_shows() {
    for by_ns in [MINUTE_NS, -HOUR_NS] {
        let mut bench = pulled();
        bench.publish("s.a", "1");
        bench.next("C", "r", r#"{"batch":2,"expires":300000000000}"#);
        assert_eq!(bench.left().len(), 1);
        step(&mut bench, by_ns);
        bench.advance(29 * SECOND);
        assert_eq!(bench.left(), [], "{by_ns}");
        bench.advance(SECOND);
        assert_eq!(bench.left().iter().map(Left::meta).collect::<Vec<_>>(), [(2, 1, 2, 0)], "{by_ns}");
    }
}

#[test]
fn a_delay_and_the_pin_of_a_client_pass_with_time() {
    for by_ns in [MINUTE_NS, -HOUR_NS] {
        let mut bench = Bench::new();
        let config = r#"{"name":"C","ack_policy":"explicit","priority_groups":["g"],"priority_policy":"pinned_client",
            "priority_timeout":10000000000}"#;
        bench.create(config).unwrap();
        bench.publish("s.a", "1");
        bench.next("C", "r", r#"{"batch":9,"expires":300000000000,"group":"g"}"#);
        let first = bench.left().remove(0);
        bench.control(&first.reply, "", r#"-NAK {"delay":5000000000}"#);
        step(&mut bench, by_ns);
        bench.advance(4 * SECOND);
        assert_eq!(bench.left(), [], "{by_ns}");
        assert!(!bench.info("C").priority_groups[0].pinned_client_id.is_empty(), "{by_ns}");
        bench.advance(SECOND);
        assert_eq!(bench.payloads(), ["1"], "{by_ns}");
        bench.advance(5 * SECOND);
        assert!(bench.info("C").priority_groups[0].pinned_client_id.is_empty(), "{by_ns}");
    }
}

#[test]
fn a_pause_ends_when_the_wall_clock_shows_its_end() {
    let pause = |bench: &mut Bench| {
        bench.listen("d");
        bench.create(r#"{"deliver_subject":"d","name":"C"}"#).unwrap();
        let until = jetkv_go_compat::GoTime::from_ns(bench.clock.wall().plus(MINUTE_NS).ns());
        assert!(bench.with(|consumers, ctx| consumers.pause(ctx, "C", Some(until), None)).unwrap().is_some());
        bench.publish("s.a", "1");
    };
    let mut bench = Bench::new();
    pause(&mut bench);
    step(&mut bench, MINUTE_NS);
    assert_eq!(bench.payloads(), ["1"], "it ends with the step that passes its end");
    let mut bench = Bench::new();
    pause(&mut bench);
    step(&mut bench, -MINUTE_NS);
    bench.advance(60 * SECOND);
    assert_eq!((bench.left(), bench.info("C").paused), (Vec::new(), true));
    bench.advance(60 * SECOND);
    assert_eq!(bench.payloads(), ["1"]);
}

#[test]
fn rates_and_original_timing_go_by_the_time_that_passes() {
    for by_ns in [MINUTE_NS, -HOUR_NS] {
        let mut bench = Bench::new();
        bench.publish("s.a", "1");
        bench.clock.advance_ns(10 * SECOND);
        bench.publish("s.a", "2");
        bench.listen("d");
        bench.create(r#"{"deliver_subject":"d","replay_policy":"original"}"#).unwrap();
        assert_eq!(bench.payloads(), ["1"]);
        step(&mut bench, by_ns);
        bench.advance(9 * SECOND);
        assert_eq!(bench.left(), [], "{by_ns}");
        bench.advance(SECOND);
        assert_eq!(bench.payloads(), ["2"], "{by_ns}");
    }
    for by_ns in [MINUTE_NS, -HOUR_NS] {
        let mut bench = Bench::new();
        bench.config.max_msg_size = 1000;
        bench.listen("d");
        bench.create(r#"{"deliver_subject":"d","rate_limit_bps":8000}"#).unwrap();
        for _ in 0..4 {
            bench.publish("s.a", &"x".repeat(900));
        }
        assert_eq!(bench.left().len(), 1);
        // A step of the wall clock gives no room, and takes none.
        step(&mut bench, by_ns);
        assert_eq!(bench.left(), [], "{by_ns}");
        bench.advance(SECOND);
        assert_eq!(bench.left().len(), 1, "{by_ns}");
        step(&mut bench, by_ns);
        bench.advance(3 * SECOND);
        assert_eq!(bench.left().len(), 2, "{by_ns}");
    }
}

#[test]
fn what_waits_across_a_restart_is_kept_by_the_wall_as_it_is_when_it_is_written() {
    let mut bench = pulled();
    bench.publish("s.a", "1");
    bench.next("C", "r", r#"{"batch":2,"expires":300000000000}"#);
    assert_eq!(bench.left().len(), 1);
    bench.advance(10 * SECOND);
    step(&mut bench, -HOUR_NS);
    let slot = bench.consumers.by_name(b"C").unwrap();
    let consumer = bench.consumers.get(slot).unwrap();
    let (config, state) = (consumer.config.clone(), consumer.state(&Now::new(bench.clock.clone())));
    // Another process, whose elapsed time has nothing to do with that of this one, starts 5 s later.
    let wall = bench.clock.wall().plus(5 * SECOND as i64);
    let store = std::mem::take(&mut bench.store);
    let mut bench = Bench::at(Arc::new(ManualClock::new(wall)));
    bench.store = store;
    bench.with(|consumers, ctx| consumers.restore(ctx, "C", 5, config, Some(&state))).unwrap();
    bench.next("C", "r", r#"{"expires":300000000000}"#);
    bench.advance(14 * SECOND);
    assert_eq!(bench.left(), []);
    bench.advance(SECOND);
    assert_eq!(bench.payloads(), ["1"], "30 s after its delivery");
}

#[test]
fn clocks_outside_of_what_is_counted_stop_nothing() {
    for wall in [i64::MIN, -MINUTE_NS, 0, i64::MAX].map(WallNs::from_ns) {
        let mut bench = Bench::at(Arc::new(ManualClock::new(wall)));
        bench.listen("d");
        bench.create(r#"{"name":"P","deliver_subject":"d","idle_heartbeat":10000000000}"#).unwrap();
        bench.create(r#"{"name":"C","ack_policy":"explicit","ack_wait":30000000000}"#).unwrap();
        bench.publish("s.a", "1");
        bench.next("C", "r", r#"{"batch":2,"expires":40000000000}"#);
        let delivered = bench.left();
        assert_eq!(delivered.len(), 2, "{wall:?}");
        let stamp = format!(".{}.0", wall.ns());
        assert!(delivered.iter().all(|left| left.reply.ends_with(&stamp)), "{delivered:?}");
        bench.advance(30 * SECOND);
        let again = bench.left();
        assert_eq!(again.iter().filter(|left| left.to == "r").map(Left::meta).next(), Some((2, 1, 2, 0)));
        assert_eq!(again.iter().filter(|left| left.to == "d").count(), 3, "heartbeats, {wall:?}");
        bench.info("C");
    }
}
