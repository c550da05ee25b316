//! What becomes of streams when the process has no file descriptor left.
//!
//! One test only: it lowers the limit of its process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use jetkv_jetstream::EngineConfig;
use jetkv_testing::TestEngine;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;

const STREAMS: usize = 60;
const LIMIT: u64 = 80;

fn num_open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Takes all descriptors that are left.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn put(engine: &TestEngine, stream: usize) -> Result<u64, String> {
    let answer = engine.publish(&format!("s{stream}.a"), &[], "x");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    match answer["error"]["description"].as_str() {
        None => Ok(answer["seq"].as_u64().unwrap()),
        Some(error) => Err(error.to_owned()),
    }
}

#[test]
fn streams_work_with_few_descriptors_and_after_there_were_none() {
    let dir = tempfile::tempdir().unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum }).unwrap();
    let config = EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
    let engine = TestEngine::with(config).unwrap();
    let create = |stream: usize| {
        let config = format!(r#"{{"name":"S{stream}","subjects":["s{stream}.>"]}}"#);
        let answer = engine.request(&format!("STREAM.CREATE.S{stream}"), &config);
        assert!(answer.contains("did_create"), "{answer}");
    };
    create(0);
    let taken = take_all();
    for _ in 0..2 {
        let error = put(&engine, 0).unwrap_err();
        assert!(error.contains("too many open files") && error.contains("1.blk"), "{error}");
    }
    drop(taken);
    assert_eq!(put(&engine, 0), Ok(1), "no sequence was used up");

    (1..STREAMS).for_each(create);
    for round in 1..3 {
        for stream in 1..STREAMS {
            assert_eq!(put(&engine, stream), Ok(round));
        }
        assert!(num_open() < 50, "{} descriptors", num_open());
    }
    let taken = take_all();
    for stream in 1..STREAMS {
        assert_eq!(put(&engine, stream), Ok(3), "files of other streams make room");
    }
    let read = engine.request("STREAM.MSG.GET.S7", r#"{"seq":1}"#);
    assert!(read.contains(r#""seq":1"#), "{read}");
    let purged = engine.request("STREAM.PURGE.S9", "");
    assert!(purged.contains(r#""purged":3"#), "{purged}");
    drop(taken);
    assert_eq!(put(&engine, 0), Ok(2));
}
