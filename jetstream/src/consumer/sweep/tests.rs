use crate::steps;
use crate::testing::TestEngine;
use std::sync::Arc;

/// What one hold of the lock may look at.
const STEPS_MAX: u64 = 4 * super::SLICE_MSGS as u64;
const MSGS: u64 = 10_000;

/// An interest stream with messages of two kinds, `often` and (each hundredth) `rare`, for consumers that were there
/// before.
fn stream(consumers: &[(&str, &str)]) -> Arc<TestEngine> {
    let engine = TestEngine::new().unwrap();
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","retention":"interest"}"#;
    assert!(engine.request("STREAM.CREATE.S", config).contains("did_create"));
    for (name, config) in consumers {
        create(&engine, name, config);
    }
    for number in 0..MSGS {
        let kind = if number.is_multiple_of(100) { "rare" } else { "often" };
        engine.publish(&format!("s.{number:05}.{kind}"), &[], "x");
    }
    Arc::new(engine)
}

fn create(engine: &TestEngine, name: &str, config: &str) {
    let body = format!(
        r#"{{"stream_name":"S","config":{{"durable_name":"{name}","max_ack_pending":-1,
            "ack_policy":"explicit"{config}}}}}"#
    );
    let answer = engine.request(&format!("CONSUMER.DURABLE.CREATE.S.{name}"), &body);
    assert!(answer.contains("num_pending"), "{answer}");
}

fn messages(engine: &TestEngine) -> u64 {
    let info = engine.request("STREAM.INFO.S", "");
    let rest = info.split("\"messages\":").nth(1).unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn a_consumer_that_goes_takes_what_only_it_waited_for_without_a_long_hold() {
    let rare = ("RARE", r#","filter_subject":"s.*.rare""#);
    let one = ("ONE", r#","filter_subject":"s.00001.often""#);
    for (goes, left) in [("ALL", MSGS / 100 + 1), ("RARE", MSGS), ("ONE", MSGS)] {
        let engine = stream(&[("ALL", ""), rare, one]);
        let delete = || engine.request(&format!("CONSUMER.DELETE.S.{goes}"), "");
        let (_, most, holds) = steps::count(delete);
        assert_eq!(messages(&engine), left, "{goes}");
        assert!(most <= STEPS_MAX, "{goes}: {most} steps in one of {holds} holds");
    }
    let engine = stream(&[rare, ("OFTEN", r#","filter_subject":"s.*.often""#)]);
    let (_, most, _) = steps::count(|| engine.request("CONSUMER.DELETE.S.OFTEN", ""));
    assert_eq!(messages(&engine), MSGS / 100);
    assert!(most <= STEPS_MAX, "{most} steps");
    engine.request("CONSUMER.DELETE.S.RARE", "");
    assert_eq!(messages(&engine), 0, "nobody is left");
}

#[test]
fn another_filter_takes_what_nobody_waits_for_without_a_long_hold() {
    let engine = stream(&[("C", "")]);
    let (_, most, holds) = steps::count(|| create(&engine, "C", r#","filter_subject":"s.*.rare""#));
    assert_eq!(messages(&engine), MSGS / 100);
    assert!(most <= STEPS_MAX, "{most} steps in one of {holds} holds");
}

#[test]
fn who_comes_between_two_slices_gets_what_is_left() {
    let engine =
        stream(&[("OFTEN", r#","filter_subject":"s.*.often""#), ("RARE", r#","filter_subject":"s.*.rare""#)]);
    let (other, mut is_first) = (engine.clone(), true);
    let between = move || {
        if std::mem::take(&mut is_first) {
            create(&other, "NEW", "");
        }
    };
    steps::with_between(between, || engine.request("CONSUMER.DELETE.S.OFTEN", ""));
    let left = messages(&engine);
    assert!((MSGS / 2..MSGS).contains(&left), "{left}");
    let info = engine.request("CONSUMER.INFO.S.NEW", "");
    assert!(info.contains(&format!("\"num_pending\":{left}")), "{info} of {left}");
}

#[test]
fn a_consumer_that_nobody_uses_takes_its_messages_in_slices() {
    let engine =
        stream(&[("C", r#","inactive_threshold":1000000000"#), ("RARE", r#","filter_subject":"s.*.rare""#)]);
    let (_, most, _) = steps::count(|| {
        engine.advance_ns(2_000_000_000);
        engine.host.pump_all();
    });
    assert_eq!(messages(&engine), MSGS / 100);
    assert!(most <= STEPS_MAX, "{most} steps");
}

#[test]
fn one_acknowledgement_for_many_takes_them_in_slices() {
    let engine = stream(&[("C", r#","ack_policy":"all","deliver_subject":"d""#)]);
    engine.host.listen("d", None);
    engine.interest_changed("d", true);
    engine.host.pump_all();
    let last = engine.host.take().into_iter().rfind(|sent| sent.to == "d").unwrap().reply;
    let (_, most, _) = steps::count(|| {
        engine.control(&last, "", "").unwrap().commit(&*engine.host);
        engine.host.pump_all();
    });
    assert_eq!(messages(&engine), 0);
    assert!(most <= STEPS_MAX, "{most} steps");
}

#[test]
fn what_expires_at_one_moment_goes_in_slices() {
    let engine = TestEngine::new().unwrap();
    let config =
        r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_msg_ttl":true,"max_age":60000000000}"#;
    assert!(engine.request("STREAM.CREATE.S", config).contains("did_create"));
    for number in 0..MSGS {
        let ttl: &[(&str, &str)] = if number % 2 == 0 { &[("Nats-TTL", "5")] } else { &[] };
        engine.publish(&format!("s.{number:05}"), ttl, "x");
    }
    for (after_ns, left) in [(6_000_000_000, MSGS / 2), (60_000_000_000, 0)] {
        let (_, most, holds) = steps::count(|| engine.advance_ns(after_ns));
        assert_eq!(messages(&engine), left);
        assert!(most <= STEPS_MAX && holds > MSGS / 2 / STEPS_MAX, "{most} steps in one of {holds} holds");
    }
}
