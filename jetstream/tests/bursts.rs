//! What watchers see of changes that come faster than consumers get their turns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_testing::TestEngine;

const WATCH: &str = r#"{"stream_name":"S","config":{"deliver_subject":"inbox","filter_subject":"s.>",
    "deliver_policy":"last_per_subject","ack_policy":"none","max_deliver":1,"mem_storage":true,"num_replicas":1}}"#;
const ROLLUP: [(&str, &str); 1] = [("Nats-Rollup", "sub")];

/// A stream with one message for each subject of `held`, and a watch on it that has not had its turn.
fn watched(config: &str, held: usize) -> TestEngine {
    let engine = TestEngine::new().unwrap();
    let answer = engine.request("STREAM.CREATE.S", config);
    assert!(answer.contains("\"did_create\":true"), "{answer}");
    for key in 0..held {
        engine.publish(&format!("s.{key}"), &[], "old");
    }
    engine.host.listen("inbox", None);
    let answer = engine.request("CONSUMER.CREATE.S", WATCH);
    assert!(answer.contains("\"push_bound\":true"), "{answer}");
    engine
}

/// What the watch got, in order, as (subject, payload).
fn seen(engine: &TestEngine) -> Vec<(String, String)> {
    let sent = engine.host.take();
    sent.into_iter().filter(|msg| msg.to == "inbox").map(|msg| (msg.subject, msg.payload)).collect()
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(subject, payload)| ((*subject).to_owned(), (*payload).to_owned())).collect()
}

fn history_of_one() -> &'static str {
    r#"{"name":"S","subjects":["s.>"],"storage":"memory","max_msgs_per_subject":1,"discard":"new",
        "allow_rollup_hdrs":true}"#
}

#[test]
fn a_watch_that_has_not_had_its_turn_sees_every_change_of_a_key_without_history() {
    let engine = watched(history_of_one(), 0);
    for payload in ["1", "2", "3"] {
        engine.publish("s.k", &[], payload);
    }
    engine.host.pump_all();
    assert_eq!(seen(&engine), pairs(&[("s.k", "1"), ("s.k", "2"), ("s.k", "3")]));
}

#[test]
fn what_was_there_comes_before_the_changes_each_once_and_in_order() {
    let engine = watched(history_of_one(), 3);
    for payload in ["1", "2", "3"] {
        engine.publish("s.1", &[], payload);
    }
    engine.host.pump_all();
    let held = [("s.0", "old"), ("s.1", "old"), ("s.2", "old")];
    let changes = [("s.1", "1"), ("s.1", "2"), ("s.1", "3")];
    assert_eq!(seen(&engine), pairs(&[held, changes].concat()));
}

#[test]
fn a_rollup_does_not_hide_the_values_before_it() {
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_rollup_hdrs":true,"max_msgs_per_subject":9}"#;
    let engine = watched(config, 1);
    engine.publish("s.0", &[], "1");
    engine.publish("s.0", &ROLLUP, "purged");
    engine.host.pump_all();
    assert_eq!(seen(&engine), pairs(&[("s.0", "old"), ("s.0", "1"), ("s.0", "purged")]));
}

#[test]
fn a_full_stream_shows_its_oldest_messages_before_they_go() {
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","max_msgs":2}"#;
    let engine = watched(config, 2);
    for key in ["a", "b", "c"] {
        engine.publish(&format!("s.{key}"), &[], "new");
    }
    engine.host.pump_all();
    let wanted = [("s.0", "old"), ("s.1", "old"), ("s.a", "new"), ("s.b", "new"), ("s.c", "new")];
    assert_eq!(seen(&engine), pairs(&wanted));
}

#[test]
fn a_publish_feeds_a_watch_that_is_far_behind_no_more_than_a_little() {
    let engine = watched(history_of_one(), 500);
    engine.publish("s.499", &[], "1");
    let fed = seen(&engine).len();
    assert!((1..=64).contains(&fed), "{fed}");
    engine.publish("s.499", &[], "2");
    engine.host.pump_all();
    let rest = seen(&engine);
    assert_eq!(fed + rest.len(), 500, "the first value and the first change were replaced");
    assert_eq!(rest.last().unwrap(), &("s.499".to_owned(), "2".to_owned()));
}

#[test]
fn a_watch_that_may_not_deliver_is_not_fed() {
    let engine = watched(history_of_one(), 1);
    engine.host.pump_all();
    assert_eq!(seen(&engine).len(), 1);
    engine.host.unlisten("inbox", None);
    engine.interest_changed("inbox", false);
    for payload in ["1", "2"] {
        engine.publish("s.0", &[], payload);
    }
    assert_eq!(seen(&engine), []);
    engine.host.listen("inbox", None);
    engine.interest_changed("inbox", true);
    engine.host.pump_all();
    assert_eq!(seen(&engine), pairs(&[("s.0", "2")]));
}
