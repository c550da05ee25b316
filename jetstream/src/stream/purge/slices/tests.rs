use crate::api::ApiRequest;
use crate::clock::{ManualClock, WallNs};
use crate::outbox::Outbox;
use crate::settings::EngineConfig;
use crate::steps;
use crate::testing::SimDisk;
use crate::testing::TestEngine;
use std::sync::Arc;

/// What one hold of the lock may look at.
const STEPS_MAX: u64 = 3 * super::NODES as u64;
const KEYS: u64 = 5_000;

/// 5,000 keys of two kinds, `often` and (each tenth) `rare`, in blocks of a few hundred.
fn bucket(storage: &str) -> Arc<TestEngine> {
    let config = EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
    let clock = Arc::new(ManualClock::new(WallNs::from_ns(1_700_000_000_000_000_000)));
    let engine = TestEngine::on_disk(config, clock, Arc::new(SimDisk::new(1))).unwrap();
    let config = format!(
        r#"{{"name":"KV","subjects":["kv.>"],"storage":"{storage}","allow_direct":true,"max_msgs_per_subject":2,
            "max_bytes":3000000}}"#
    );
    assert!(engine.request("STREAM.CREATE.KV", &config).contains("did_create"));
    for number in 1..=KEYS {
        engine.publish(&key(number), &[], &"x".repeat(100));
    }
    Arc::new(engine)
}

fn key(number: u64) -> String {
    let kind = if number.is_multiple_of(10) { "rare" } else { "often" };
    format!("kv.{number:06}.{kind}")
}

fn field(answer: &str, name: &str) -> u64 {
    let rest = answer.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("{name} in {answer}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

fn consumer(engine: &TestEngine, filter: &str) -> String {
    let name = filter.replace(['.', '*', '>'], "_");
    let body = format!(r#"{{"stream_name":"KV","config":{{"name":"{name}","filter_subject":"{filter}"}}}}"#);
    engine.request(&format!("CONSUMER.CREATE.KV.{name}.{filter}"), &body);
    name
}

/// The status line of a direct get, served as a connection's thread does.
fn direct_get(engine: &TestEngine, subject: &str) -> String {
    let subject = format!("$JS.API.DIRECT.GET.KV.{subject}");
    let req = ApiRequest {
        account: engine.account,
        subject: subject.as_bytes(),
        reply: b"_INBOX.get",
        headers: b"",
        payload: b"",
        client: None,
    };
    let mut out = Outbox::new();
    let _ = engine.engine.api_at_once(&req, &mut out);
    out.iter().map(|msg| String::from_utf8_lossy(msg.headers).into_owned()).next().unwrap_or_default()
}

#[test]
fn purges_hold_the_lock_for_a_slice_and_leave_what_they_should() {
    // Request; messages that go; first sequence then; pending of `often` and `rare`.
    let cases = [
        (r#"{"filter":"kv.*.often"}"#, 4_500, 10, 0, 500),
        (r#"{"filter":"kv.*.often","keep":5}"#, 4_495, 10, 5, 500),
        (r#"{"filter":"kv.*.often","seq":2501}"#, 2_250, 10, 2_250, 500),
        (r#"{"seq":4501}"#, 4_500, 4_501, 450, 50),
        (r#"{"keep":500}"#, 4_500, 4_501, 450, 50),
        (r#"{"filter":">","keep":10}"#, 4_990, 4_991, 9, 1),
        ("", 5_000, 5_001, 0, 0),
    ];
    for storage in ["memory", "file"] {
        for (body, purged, first, often, rare) in cases {
            let engine = bucket(storage);
            let names = ["kv.*.often", "kv.*.rare"].map(|filter| consumer(&engine, filter));
            let (answer, most, holds) = steps::count(|| engine.request("STREAM.PURGE.KV", body));
            assert_eq!(field(&answer, "purged"), purged, "{storage} {body}");
            assert!(most <= STEPS_MAX, "{storage} {body}: {most} steps in one of {holds} holds");
            let info = engine.request("STREAM.INFO.KV", "");
            let state = (field(&info, "messages"), field(&info, "first_seq"), field(&info, "last_seq"));
            assert_eq!(state, (KEYS - purged, first, KEYS), "{storage} {body}");
            let pending = names
                .map(|name| field(&engine.request(&format!("CONSUMER.INFO.KV.{name}"), ""), "num_pending"));
            assert_eq!(pending, [often, rare], "{storage} {body}");
        }
    }
}

#[test]
fn the_messages_of_one_subject_are_gathered_in_slices() {
    const MSGS: u64 = 3 * super::GATHERED_MSGS as u64;
    let engine = TestEngine::new().unwrap();
    let config = r#"{"name":"KV","subjects":["kv.>"],"storage":"memory"}"#;
    assert!(engine.request("STREAM.CREATE.KV", config).contains("did_create"));
    for _ in 0..MSGS {
        engine.publish("kv.one", &[], "x");
    }
    for filter in ["kv.one", "kv.*", "*.one"] {
        let before = field(&engine.request("STREAM.INFO.KV", ""), "messages");
        let body = format!(r#"{{"filter":"{filter}","keep":{}}}"#, before - 10);
        let (answer, most, _) = steps::count(|| engine.request("STREAM.PURGE.KV", &body));
        assert_eq!(field(&answer, "purged"), 10, "{filter}");
        assert!(most < 2 * super::GATHERED_MSGS as u64, "{filter}: {most} steps in one hold");
        let info = engine.request("STREAM.INFO.KV", "");
        assert_eq!(field(&info, "messages"), before - 10, "{filter}");
        assert_eq!(field(&info, "first_seq"), MSGS - before + 11, "{filter}");
    }
}

#[test]
fn nobody_sees_what_a_purge_has_taken_while_it_goes_on() {
    for (storage, body) in [
        ("memory", r#"{"filter":"kv.*.often"}"#),
        ("file", r#"{"filter":"kv.*.often"}"#),
        ("memory", r#"{"seq":4750}"#),
        ("file", r#"{"seq":4750}"#),
    ] {
        let engine = bucket(storage);
        let (other, mut turn) = (engine.clone(), 0);
        let mut seen = false;
        let between = move || {
            // Before the purge takes effect, the oldest message is there.
            let get = |subject: &str| direct_get(&other, subject);
            seen = seen || get(&key(1)).contains("404");
            if !seen {
                return;
            }
            turn += 1;
            // From the end, where slices come last.
            let number = 4_749 - turn * 10;
            assert!(get(&key(number)).contains("404"), "{number} is seen");
            let expects = |seq: u64| [("Nats-Expected-Last-Subject-Sequence".to_owned(), seq.to_string())];
            let publish = |number: u64, seq: u64| {
                let headers = expects(seq);
                let headers: Vec<(&str, &str)> =
                    headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                other.publish(&key(number), &headers, "new")
            };
            assert!(publish(number - 1, number - 1).contains("wrong last sequence"));
            assert!(publish(number - 1, 0).contains("\"seq\":"));
        };
        let answer = steps::with_between(between, || engine.request("STREAM.PURGE.KV", body));
        let purged = if body.contains("seq") { 4_749 } else { 4_500 };
        assert_eq!(field(&answer, "purged"), purged, "what is taken is counted");
        let info = engine.request("STREAM.INFO.KV", "");
        let new = field(&info, "last_seq") - KEYS;
        assert!(new > 5, "{new} keys were written meanwhile");
        assert_eq!(field(&info, "messages"), KEYS - purged + new, "what came meanwhile stays");
    }
}

#[test]
fn a_consumer_that_lags_gets_nothing_that_a_purge_has_taken() {
    let engine = bucket("memory");
    engine.host.listen("d", None);
    let config = r#"{"stream_name":"KV","config":{"name":"C","deliver_subject":"d"}}"#;
    let (other, mut is_first) = (engine.clone(), true);
    let between = move || {
        let purging = other.engine.stream(other.account, "KV").unwrap().lock().purging.is_some();
        if purging && std::mem::take(&mut is_first) {
            // Its turn comes while the purge goes on.
            let stream = other.engine.stream(other.account, "KV").unwrap();
            stream.pump(&*other.host);
        }
    };
    engine.request("CONSUMER.CREATE.KV.C", config);
    engine.host.take();
    steps::with_between(between, || engine.request("STREAM.PURGE.KV", r#"{"filter":"kv.*.often"}"#));
    engine.host.pump_all();
    let got: Vec<String> =
        engine.host.take().into_iter().filter(|sent| sent.to == "d").map(|sent| sent.subject).collect();
    let late = got.iter().filter(|subject| subject.ends_with("often")).count();
    assert_eq!((got.len(), late), (500, 0));
}
