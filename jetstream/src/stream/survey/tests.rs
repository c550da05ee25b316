use crate::filter::Filter;
use crate::steps;
use crate::testing::TestEngine;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What one hold of the lock may look at.
const STEPS_MAX: u64 = 3 * super::NODES as u64;
const KEYS: u64 = 20_000;

/// 20,000 keys of two kinds, `often` and (each hundredth) `rare`.
fn bucket(config: &str) -> Arc<TestEngine> {
    let engine = TestEngine::new().unwrap();
    let config = format!(r#"{{"name":"KV","subjects":["kv.>"],"storage":"memory"{config}}}"#);
    assert!(engine.request("STREAM.CREATE.KV", &config).contains("did_create"));
    for number in 0..KEYS {
        engine.publish(&key(number), &[], "x");
    }
    Arc::new(engine)
}

fn key(number: u64) -> String {
    let kind = if number.is_multiple_of(100) { "rare" } else { "often" };
    format!("kv.{number:06}.{kind}")
}

fn create(engine: &TestEngine, name: &str, config: &str) -> String {
    let body = format!(r#"{{"stream_name":"KV","config":{{"name":"{name}",{config}}}}}"#);
    engine.request(&format!("CONSUMER.CREATE.KV.{name}"), &body)
}

fn field(answer: &str, name: &str) -> u64 {
    let rest = answer.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("{name} in {answer}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn a_consumer_begins_without_a_long_hold_of_its_stream() {
    let engine = bucket("");
    let often: Vec<String> = (0..2_000).map(|number| format!("\"kv.{number:06}.*\"")).collect();
    let by_time = r#""deliver_policy":"by_start_time","opt_start_time":"2001-01-01T00:00:00Z""#;
    let cases = [
        (r#""filter_subject":"kv.*.often""#.to_owned(), KEYS - KEYS / 100),
        (r#""filter_subject":"kv.*.rare","deliver_policy":"last""#.to_owned(), 1),
        (r#""filter_subject":"kv.*.rare","deliver_policy":"last_per_subject""#.to_owned(), KEYS / 100),
        (r#""filter_subject":"kv.>","deliver_policy":"last_per_subject""#.to_owned(), KEYS),
        (format!(r#""filter_subjects":[{}]"#, often.join(",")), 2_000),
        (format!(r#""filter_subjects":["kv.*.rare","kv.*.none"],{by_time}"#), KEYS / 100),
    ];
    for (number, (config, pending)) in cases.iter().enumerate() {
        let (answer, most, holds) = steps::count(|| create(&engine, &format!("C{number}"), config));
        assert_eq!(field(&answer, "num_pending"), *pending, "{number}: {answer:.300}");
        assert!(most <= STEPS_MAX, "{number}: {most} steps in one of {holds} holds");
    }
}

#[test]
fn a_reset_and_another_filter_count_without_a_long_hold() {
    let engine = bucket("");
    create(&engine, "C", r#""filter_subject":"kv.*.none","durable_name":"C","ack_policy":"explicit""#);
    let refilter = r#""filter_subject":"kv.*.often","durable_name":"C","ack_policy":"explicit""#;
    let (answer, most, _) = steps::count(|| create(&engine, "C", refilter));
    assert_eq!(field(&answer, "num_pending"), KEYS - KEYS / 100, "{answer}");
    assert!(most <= STEPS_MAX, "{most} steps");
    let (answer, most, _) = steps::count(|| engine.request("CONSUMER.RESET.KV.C", r#"{"seq":101}"#));
    assert_eq!(field(&answer, "num_pending"), KEYS - 100 - (KEYS / 100 - 1), "{answer}");
    assert!(most <= STEPS_MAX, "{most} steps");
    // Once more, to where it stands.
    let (again, most, _) = steps::count(|| engine.request("CONSUMER.RESET.KV.C", r#"{"seq":101}"#));
    assert_eq!(field(&again, "num_pending"), field(&answer, "num_pending"), "{again}");
    assert!(most < 10, "{most} steps");
}

#[test]
fn what_comes_and_goes_between_slices_is_counted_right() {
    for policy in ["all", "last_per_subject"] {
        let engine = bucket(r#","max_msgs_per_subject":2"#);
        let (other, mut turn) = (engine.clone(), 0);
        let between = move || {
            turn += 1;
            // A new key in front of and one behind the walk, one more value in both, and some that go in both.
            other.publish(&format!("kv.0000000.{turn}.often"), &[], "x");
            other.publish(&format!("kv.{turn:06}.often"), &[], "y");
            other.publish(&format!("kv.9.{turn}"), &[], "x");
            other.publish(&key(KEYS - turn), &[], "y");
            for seq in [turn * 7 + 1, KEYS - turn * 9] {
                other.request("STREAM.MSG.DELETE.KV", &format!(r#"{{"seq":{seq}}}"#));
            }
        };
        let config = format!(r#""filter_subjects":["kv.*.often","kv.*.rare"],"deliver_policy":"{policy}""#);
        let answer = steps::with_between(between, || create(&engine, "C", &config));
        let pending = field(&answer, "num_pending");
        // The same consumer, created when nothing happens.
        engine.request("CONSUMER.DELETE.KV.C", "");
        let quiet = field(&create(&engine, "Q", &config), "num_pending");
        if policy == "all" {
            assert_eq!(pending, quiet);
        } else {
            // Begun before, it also gets the older value of keys that were written since.
            assert!((quiet..quiet + 40).contains(&pending), "{pending} of {quiet}");
        }
    }
}

#[test]
fn a_consumer_delivers_what_it_counted_although_keys_are_written_meanwhile() {
    let engine = bucket(r#","max_msgs_per_subject":2"#);
    let (other, mut turn) = (engine.clone(), 0);
    let between = move || {
        turn += 1;
        other.publish(&key(turn), &[], "new");
        other.publish(&key(KEYS - turn), &[], "new");
        other.request("STREAM.MSG.DELETE.KV", &format!(r#"{{"seq":{}}}"#, turn * 3));
    };
    engine.host.listen("d", None);
    let config = r#""filter_subject":"kv.*.*","deliver_policy":"last_per_subject","deliver_subject":"d""#;
    let answer = steps::with_between(between, || create(&engine, "C", config));
    engine.host.pump_all();
    let got: Vec<String> =
        engine.host.take().into_iter().filter(|sent| sent.to == "d").map(|sent| sent.reply).collect();
    let left = got.last().and_then(|reply| reply.rsplit('.').next()).unwrap();
    assert_eq!(left, "0", "nothing is pending when the last was delivered");
    assert_eq!(got.len() as u64, field(&answer, "num_pending"));
}

#[test]
fn deleted_sequences_are_listed_without_a_long_hold_and_as_they_are_at_the_end() {
    let engine = bucket(r#","max_msgs_per_subject":1"#);
    let (other, mut turn) = (engine.clone(), 0);
    let between = move || {
        turn += 1;
        other.publish(&key(turn), &[], "behind");
        other.publish(&key(KEYS - turn), &[], "ahead");
    };
    let info = || engine.request("STREAM.INFO.KV", r#"{"deleted_details":true}"#);
    let (answer, most, _) = steps::count(|| steps::with_between(between, info));
    assert!(most <= STEPS_MAX, "{most} steps");
    let listed = answer.split("\"deleted\":[").nth(1).unwrap().split(']').next().unwrap();
    assert_eq!(listed.split(',').count() as u64, field(&answer, "num_deleted"), "{answer:.300}");
    assert_eq!(info().split("\"deleted\":[").nth(1).unwrap().split(']').next().unwrap(), listed);
}

/// The sequences that consumers were sent at a subject, from the replies of the deliveries, and what they said is pending.
fn delivered(engine: &TestEngine, to: &str) -> Vec<(u64, u64)> {
    let sent = engine.host.take().into_iter().filter(|sent| sent.to == to);
    let number = |token: Option<&str>| token.and_then(|token| token.parse().ok()).unwrap();
    sent.map(|sent| {
        let mut tokens = sent.reply.split('.');
        (number(tokens.nth(5)), number(tokens.next_back()))
    })
    .collect()
}

/// What the stream holds that matches, by looking at every message.
fn held(engine: &TestEngine, filter: &[&str], from: u64) -> Vec<u64> {
    let stream = engine.engine.stream(engine.account, "KV").unwrap();
    let (mut inner, mut seqs, filter) = (stream.lock(), Vec::new(), Filter::new(filter));
    inner
        .store
        .scan_up(from, usize::MAX, &mut |_, seq, subject| {
            if filter.matches(subject) {
                seqs.push(seq);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    seqs
}

#[test]
fn a_list_that_was_counted_while_keys_came_and_went_brings_what_there_is() {
    let from_seq = r#","deliver_policy":"by_start_sequence","opt_start_seq":9000"#;
    let cases: [(&[&str], &str, u64); 3] = [
        (&["kv.*.rare"], "", 1),
        (&["kv.*.often"], from_seq, 9_000),
        (&["kv.*.rare", "kv.*.none"], from_seq, 9_000),
    ];
    for (filters, policy, from) in cases {
        let engine = bucket(r#","max_msgs_per_subject":1"#);
        let (other, mut turn) = (engine.clone(), 0);
        let between = move || {
            turn += 1;
            // Written again, new, and removed, in front of the walk and behind it.
            for number in [turn * 100, KEYS - turn * 100, turn * 7, KEYS - turn * 7] {
                other.publish(&key(number), &[], "again");
            }
            other.publish(&format!("kv.0000000{turn}.rare"), &[], "new");
            other.publish(&format!("kv.9{turn}.rare"), &[], "new");
            for seq in [turn * 300 + 1, KEYS - turn * 300 + 1, KEYS - turn * 11] {
                other.request("STREAM.MSG.DELETE.KV", &format!(r#"{{"seq":{seq}}}"#));
            }
        };
        engine.host.listen("d", None);
        let listed: Vec<String> = filters.iter().map(|filter| format!("\"{filter}\"")).collect();
        let config = format!(r#""filter_subjects":[{}],"deliver_subject":"d"{policy}"#, listed.join(","));
        let answer = steps::with_between(between, || create(&engine, "C", &config));
        let wanted = held(&engine, filters, from);
        assert_eq!(field(&answer, "num_pending"), wanted.len() as u64, "{filters:?}");
        engine.host.pump_all();
        let got = delivered(&engine, "d");
        let left = (0..wanted.len() as u64).rev();
        assert_eq!(got, wanted.into_iter().zip(left).collect::<Vec<_>>(), "{filters:?}");
    }
}

#[test]
fn what_a_consumer_that_lags_delivers_is_looked_for_without_a_long_hold() {
    for filter in ["kv.*.rare", "kv.*.none", "kv.0199*.*"] {
        let engine = bucket("");
        engine.request("STREAM.PURGE.KV", "");
        // Nobody listens yet, so that it lags behind everything.
        create(&engine, "C", &format!(r#""filter_subject":"{filter}","deliver_subject":"d""#));
        for number in 0..KEYS {
            engine.publish(&key(number), &[], "x");
        }
        let ((), most, holds) = steps::count(|| {
            engine.host.listen("d", None);
            engine.interest_changed("d", true);
            engine.host.pump_all();
        });
        let got: Vec<u64> = delivered(&engine, "d").into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(got, held(&engine, &[filter], 1), "{filter}");
        assert!(most <= STEPS_MAX, "{most} steps in one of {holds} holds");
    }
}
