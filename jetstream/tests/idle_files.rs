//! A stream that nobody uses has no file open, and one that is used keeps it.
//!
//! One test only: it counts the descriptors of its process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::EngineConfig;
use jetkv_testing::TestEngine;

const STREAMS: usize = 40;
const LOOK_NS: u64 = 5_000_000_000;

fn num_open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn files_of_idle_streams_are_closed_and_opened_again_when_they_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let before = num_open();
    let config = EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
    let engine = TestEngine::with(config).unwrap();
    let claimed = num_open() - before;
    for stream in 0..STREAMS {
        let config = format!(r#"{{"name":"S{stream}","subjects":["s{stream}.>"]}}"#);
        let answer = engine.request(&format!("STREAM.CREATE.S{stream}"), &config);
        assert!(answer.contains("did_create"), "{answer}");
    }
    let put = |stream: usize| engine.publish(&format!("s{stream}.a"), &[], "x");
    for round in 0..3 {
        for stream in 0..STREAMS {
            assert!(put(stream).contains(r#""seq":"#));
        }
        assert_eq!(num_open(), before + claimed + STREAMS, "round {round}");
        // One is used all the time.
        for _ in 0..3 {
            put(0);
            engine.advance_ns(LOOK_NS);
        }
        assert_eq!(num_open(), before + claimed + 1, "round {round}");
        let read = engine.request("STREAM.MSG.GET.S7", r#"{"seq":1}"#);
        assert!(read.contains(r#""seq":1"#), "{read}");
        let purged = engine.request("STREAM.PURGE.S8", "");
        assert!(purged.contains("success"), "{purged}");
        for _ in 0..2 {
            engine.advance_ns(LOOK_NS);
        }
        assert_eq!(num_open(), before + claimed, "round {round}");
        let next = engine.tick().elapsed.unwrap();
        let ahead_ns = next.since(engine.engine.clock().elapsed());
        assert!(ahead_ns > LOOK_NS, "nobody looks while nothing is open, but in {ahead_ns} ns");
    }
}
