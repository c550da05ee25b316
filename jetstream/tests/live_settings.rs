//! Settings that change while the engine runs hold at once, for what exists and for what comes, up and down.

#![allow(clippy::unwrap_used, clippy::panic)]

use jetkv_jetstream::{AccountLimits, EngineConfig, EngineSettings, TieredLimits};
use jetkv_testing::TestEngine;

const MINUTE_NS: i64 = 60_000_000_000;
const STREAM: &str = r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#;

fn engine() -> TestEngine {
    let engine = TestEngine::with(EngineConfig::default()).unwrap();
    assert_taken(&engine.request("STREAM.CREATE.S", STREAM));
    engine
}

fn assert_taken(answer: &str) {
    assert!(!answer.is_empty() && !answer.contains("\"error\""), "{answer}");
}

#[track_caller]
fn assert_refused(answer: &str, err_code: u32) {
    assert!(answer.contains(&format!("\"err_code\":{err_code}")), "{answer}");
}

impl Try {
    fn run(self, engine: &TestEngine, round: usize) -> String {
        match self {
            Self::Publish => engine.publish("s.a", &[], "some bytes"),
            Self::Reserve(storage) => {
                let config = format!(
                    r#"{{"name":"R{round}","subjects":["r{round}"],"storage":"{storage}","max_bytes":1000}}"#
                );
                let answer = engine.request(&format!("STREAM.CREATE.R{round}"), &config);
                engine.request(&format!("STREAM.DELETE.R{round}"), "");
                answer
            }
            Self::Stream(options) => {
                let config = format!(r#"{{"name":"S","subjects":["s.>"],"storage":"memory",{options}}}"#);
                engine.request("STREAM.UPDATE.S", &config)
            }
            Self::Consumer(options) => {
                let body = format!(
                    r#"{{"stream_name":"S","config":{{"name":"C{round}","ack_policy":"explicit"{options}}}}}"#
                );
                engine.request(&format!("CONSUMER.CREATE.S.C{round}"), &body)
            }
        }
    }
}

/// Something that a limit allows or not.
#[derive(Clone, Copy)]
enum Try {
    Publish,
    /// A stream of 1000 bytes.
    Reserve(&'static str),
    /// A change of the stream.
    Stream(&'static str),
    /// One more consumer of the stream.
    Consumer(&'static str),
}

/// Plays each step between a wide and a narrow limit: refused when narrow, taken when wide, again and again.
fn turn<T: Clone>(wide: &T, cases: &[(T, Try, u32)], set: impl Fn(&TestEngine, T)) {
    for (narrow, attempt, err_code) in cases {
        let engine = engine();
        for round in 0..2 {
            set(&engine, wide.clone());
            assert_taken(&attempt.run(&engine, 2 * round));
            set(&engine, narrow.clone());
            assert_refused(&attempt.run(&engine, 2 * round + 1), *err_code);
        }
    }
}

#[test]
fn each_setting_of_the_engine_holds_when_it_is_lowered_and_raised() {
    let wide = EngineSettings::default();
    // A setting that comes has to be named here, and to be turned below or to say why not.
    let EngineSettings {
        max_memory_bytes: _,
        max_file_bytes: _,
        // Only the burst of a rate limit depends on it.
        max_payload_bytes: _,
        duplicates_max_ns: _,
        max_consumers_per_stream: _,
        max_ack_pending: _,
        max_request_batch: _,
        // In `atomic_batches.rs`.
        batches: _,
    } = wide;
    let cases = [
        (EngineSettings { max_memory_bytes: 1, ..wide.clone() }, Try::Publish, 10023),
        (EngineSettings { max_memory_bytes: 999, ..wide.clone() }, Try::Reserve("memory"), 10028),
        (
            EngineSettings { duplicates_max_ns: MINUTE_NS, ..wide.clone() },
            Try::Stream(r#""duplicate_window":70000000000"#),
            10052,
        ),
        (EngineSettings { max_consumers_per_stream: 1, ..wide.clone() }, Try::Consumer(""), 10026),
        (
            EngineSettings { max_ack_pending: 4, ..wide.clone() },
            Try::Consumer(r#","max_ack_pending":5"#),
            10121,
        ),
        (EngineSettings { max_request_batch: 4, ..wide.clone() }, Try::Consumer(r#","max_batch":5"#), 10125),
    ];
    turn(&wide, &cases, |engine, settings| engine.engine.set_settings(settings));
}

#[test]
fn the_disk_limit_of_the_engine_holds_when_it_is_lowered_and_raised() {
    let directory = tempfile::tempdir().unwrap();
    let store_dir = Some(directory.path().to_owned());
    let engine = TestEngine::with(EngineConfig { store_dir, ..EngineConfig::default() }).unwrap();
    assert_taken(&engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"]}"#));
    for _ in 0..2 {
        engine.engine.set_settings(EngineSettings { max_file_bytes: 1, ..EngineSettings::default() });
        let first = engine.publish("s.a", &[], "some bytes");
        let over = if first.contains("error") { first } else { engine.publish("s.a", &[], "some bytes") };
        assert_refused(&over, 10023);
        assert_refused(&Try::Reserve("file").run(&engine, 0), 10047);
        engine.engine.set_settings(EngineSettings::default());
        assert_taken(&engine.publish("s.a", &[], "some bytes"));
        assert_taken(&Try::Reserve("file").run(&engine, 0));
    }
}

#[test]
fn each_limit_of_an_account_holds_when_it_is_lowered_and_raised() {
    let wide = AccountLimits::default();
    let AccountLimits {
        max_memory_bytes: _,
        // The same way as memory, on a disk.
        max_store_bytes: _,
        max_streams: _,
        max_consumers: _,
        max_ack_pending: _,
        memory_max_stream_bytes: _,
        // The same way as memory, on a disk.
        store_max_stream_bytes: _,
        max_bytes_required: _,
    } = wide;
    let cases = [
        (AccountLimits { max_memory_bytes: 1, ..wide }, Try::Publish, 10002),
        (AccountLimits { max_memory_bytes: 999, ..wide }, Try::Reserve("memory"), 10028),
        (AccountLimits { max_streams: 1, ..wide }, Try::Reserve("memory"), 10027),
        (AccountLimits { max_consumers: 1, ..wide }, Try::Consumer(""), 10026),
        (AccountLimits { max_ack_pending: 4, ..wide }, Try::Consumer(r#","max_ack_pending":5"#), 10121),
        (AccountLimits { memory_max_stream_bytes: 999, ..wide }, Try::Reserve("memory"), 10122),
        (AccountLimits { max_bytes_required: true, ..wide }, Try::Stream(r#""max_msgs":5"#), 10113),
    ];
    turn(&wide, &cases, |engine, limits| {
        engine.engine.update_account_limits(engine.account, limits).unwrap();
    });
}

#[test]
fn a_stream_counts_for_the_tier_that_it_was_made_or_changed_under() {
    let engine = engine();
    let tiers = |names: &[&str]| {
        let all = names.iter().map(|name| ((*name).to_owned(), AccountLimits::default()));
        TieredLimits::by_tier(all.collect())
    };
    let set = |limits: TieredLimits| engine.engine.update_account_limits(engine.account, limits).unwrap();
    let publish = || Try::Publish.run(&engine, 0);
    set(tiers(&["R1", "R3"]));
    assert_refused(&publish(), 10120);
    assert_taken(&Try::Stream(r#""max_msgs":9"#).run(&engine, 0));
    assert_taken(&publish());
    set(tiers(&["R3"]));
    for attempt in [Try::Publish, Try::Reserve("memory"), Try::Stream(r#""max_msgs":8"#), Try::Consumer("")] {
        assert_refused(&attempt.run(&engine, 0), 10120);
    }
    set(AccountLimits::default().into());
    assert_refused(&publish(), 10120);
    assert_taken(&Try::Reserve("memory").run(&engine, 0));
    set(tiers(&["R1"]));
    assert_taken(&publish());
}
