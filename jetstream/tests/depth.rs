//! Subjects of very many tokens and JSON that is nested very deeply, in every place that takes them, on a thread whose
//! stack would not hold a call for each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use jetkv_jetstream::engine::EngineConfig;
use jetkv_jetstream::store::index::SubjectIndex;
use jetkv_jetstream::{Filter, ManualClock};
use jetkv_testing::TestEngine;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const TOKENS: usize = 15_000;
/// What a request needs without any depth, in a build without optimisation.
const STACK_BYTES: usize = 128 << 10;

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap();
}

/// `head`, and `token` so many times.
fn deep(head: &str, token: &str) -> String {
    format!("{head}{}", format!(".{token}").repeat(TOKENS))
}

fn engine(store_dir: &Path) -> TestEngine {
    let config = EngineConfig { store_dir: Some(store_dir.to_owned()), ..EngineConfig::default() };
    TestEngine::on(config, Arc::new(ManualClock::new(jetkv_testing::START_NS))).unwrap()
}

/// Makes a request that has to succeed.
fn ask(engine: &TestEngine, subject: &str, payload: &str) -> String {
    let answer = engine.request(subject, payload);
    let begin: String = answer.chars().take(300).collect();
    assert!(!answer.is_empty() && !answer.contains("\"error\""), "{subject}: {begin}");
    answer
}

fn create_consumer(engine: &TestEngine, name: &str, config: &str) -> String {
    let body = format!(r#"{{"stream_name":"S","config":{{"name":"{name}",{config}}}}}"#);
    ask(engine, &format!("CONSUMER.CREATE.S.{name}"), &body)
}

#[test]
fn filters_of_consumers_live_restart_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    on_a_small_stack(move || {
        let first = engine(&path);
        ask(&first, "STREAM.CREATE.S", r#"{"name":"S","subjects":["st.>"]}"#);
        let filter = format!(r#""filter_subject":"{}""#, deep("st", "*"));
        create_consumer(&first, "e", &format!(r#""inactive_threshold":1000000000,{filter}"#));
        create_consumer(&first, "d", &format!(r#""durable_name":"d","ack_policy":"explicit",{filter}"#));
        let several =
            format!(r#""filter_subjects":["{}","{}","st.c.>"]"#, deep("st.a", "*"), deep("st.b.*", "c"));
        create_consumer(&first, "s", &several);
        create_consumer(&first, "p", &format!(r#""deliver_subject":"{}",{filter}"#, deep("to", "me")));
        assert!(first.publish(&deep("st", "x"), &[], "hello").contains("\"seq\":1"));
        assert!(ask(&first, "CONSUMER.INFO.S.d", "").contains("\"num_pending\":1"));
        assert!(ask(&first, "CONSUMER.INFO.S.s", "").contains("\"num_pending\":0"));
        // The consumer that nobody uses goes by itself, the others are deleted or stay.
        first.advance_ns(2_000_000_000);
        assert!(first.request("CONSUMER.INFO.S.e", "").contains("\"err_code\":10014"));
        ask(&first, "CONSUMER.DELETE.S.s", "");
        drop(first);

        let second = engine(&path);
        assert!(ask(&second, "CONSUMER.INFO.S.d", "").contains("\"num_pending\":1"));
        ask(&second, "CONSUMER.DELETE.S.d", "");
        assert!(second.publish(&deep("st", "y"), &[], "again").contains("\"seq\":2"));
        ask(&second, "STREAM.DELETE.S", "");
    });
}

#[test]
fn streams_capture_rewrite_and_republish_deep_subjects() {
    on_a_small_stack(|| {
        let engine = TestEngine::new().unwrap();
        let create = |name: &str, config: &str| {
            let body = format!(r#"{{"name":"{name}","storage":"memory",{config}}}"#);
            engine.request(&format!("STREAM.CREATE.{name}"), &body)
        };
        let subjects = format!(r#""subjects":["{}","{}"]"#, deep("t", "*"), deep("u", "a"));
        assert!(create("T", &subjects).contains("\"did_create\":true"));
        let overlap = format!(r#""subjects":["{}.>"]"#, deep("t", "*").strip_suffix(".*").unwrap());
        assert!(create("O", &overlap).contains("\"err_code\":10065"));
        assert!(engine.publish(&deep("t", "b"), &[], "").contains("\"seq\":1"));
        let republish = format!(r#""subjects":["r"],"republish":{{"src":"r","dest":"{}"}}"#, deep("rp", "x"));
        assert!(create("R", &republish).contains("\"did_create\":true"));
        engine.host.take();
        assert!(engine.publish("r", &[], "").contains("\"seq\":1"));
        assert!(engine.host.take().iter().any(|sent| sent.to == deep("rp", "x")));
        let numbered: String = (1..=TOKENS).rev().map(|number| format!(".${number}")).collect();
        let transform = format!(
            r#""subjects":["x.>"],"subject_transform":{{"src":"{}","dest":"y{numbered}"}}"#,
            deep("x", "*")
        );
        assert!(create("X", &transform).contains("\"did_create\":true"));
        let turned = format!("{}.last", deep("x", "q").strip_suffix(".q").unwrap());
        assert!(engine.publish(&turned, &[], "").contains("\"seq\":1"));
        let held = ask(&engine, "STREAM.MSG.GET.X", r#"{"seq":1}"#);
        assert!(held.contains("\"subject\":\"y.last.q.q"));
        let filter = deep("t", "*");
        let info = ask(&engine, "STREAM.INFO.T", &format!(r#"{{"subjects_filter":"{filter}"}}"#));
        assert!(info.contains("\"num_subjects\":1"));
        let next = format!(r#"{{"seq":1,"next_by_subj":"{filter}"}}"#);
        assert!(ask(&engine, "STREAM.MSG.GET.T", &next).contains("\"seq\":1"));
        let purge = format!(r#"{{"filter":"{filter}"}}"#);
        assert!(ask(&engine, "STREAM.PURGE.T", &purge).contains("\"purged\":1"));
        assert!(ask(&engine, "STREAM.NAMES", &format!(r#"{{"subject":"{filter}"}}"#)).contains("[\"T\"]"));
        for name in ["T", "R", "X"] {
            ask(&engine, &format!("STREAM.DELETE.{name}"), "");
        }
    });
}

#[test]
fn requests_are_as_deep_as_go_reads_them() {
    on_a_small_stack(|| {
        let engine = TestEngine::new().unwrap();
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
            for field in ["unknown", "subjects", "republish", "metadata", "name"] {
                let create = |levels| {
                    let body = format!(r#"{{"name":"S","{field}":{}}}"#, nested(levels));
                    engine.request("STREAM.CREATE.S", &body)
                };
                assert!(!create(9_999).contains("exceeded max depth"), "{field}");
                let deeper = create(10_000);
                assert!(deeper.contains("exceeded max depth"), "{field}: {deeper}");
                create(50_000);
                engine.request("STREAM.DELETE.S", "");
            }
        }
    });
}

#[test]
fn keys_that_nest_byte_by_byte_are_found_walked_and_forgotten() {
    const KEYS: usize = 1_000;
    on_a_small_stack(|| {
        let long = deep("", "a");
        let mut index = SubjectIndex::default();
        for len in 1..=KEYS {
            index.record(&long.as_bytes()[..len * 2], len as u64);
        }
        let filter = Filter::new([deep("", "*"), format!("{}.>", &long[..KEYS * 2 - 2])]);
        let mut found = 0;
        index.for_each(&filter, |subject, _| {
            assert!(filter.matches(subject));
            found += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(found, 1);
        for len in 1..=KEYS {
            assert!(index.forget(&long.as_bytes()[..len * 2], len as u64));
        }
        assert!(index.is_empty());
    });
}
