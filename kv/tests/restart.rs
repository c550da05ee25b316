//! A bucket in files is the same bucket after a restart, and time passes for it meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::EngineConfig;
use jetkv_kv::{BucketConfig, Buckets, Create, Error, Event, Operation, Remove, WatchOptions};
use jetkv_testing::TestEngine;
use std::time::Duration;

#[test]
fn a_bucket_in_files_outlives_a_restart_and_its_keys_expire_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let engine = || EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
    let test = TestEngine::with(engine()).unwrap();
    let buckets = Buckets::new(test.engine.clone(), test.account);
    let config = BucketConfig {
        history: 3,
        limit_marker_ttl: Some(Duration::from_secs(60)),
        compression: true,
        ..BucketConfig::new("b")
    };
    let bucket = buckets.create(&config).unwrap();
    for value in ["1", "2", "3", "4"] {
        bucket.put("kept", value.as_bytes()).unwrap();
    }
    bucket.create("brief", b"5", Create { ttl: Some(Duration::from_secs(60)) }).unwrap();
    bucket.put("gone", b"6").unwrap();
    bucket.purge("gone", Remove::default()).unwrap();
    let before = (bucket.history("kept").unwrap(), bucket.status().unwrap());
    test.engine.shutdown();
    assert!(matches!(bucket.put("kept", b"x"), Err(Error::NoAnswer(_))));

    let clock = test.clock.clone();
    drop((bucket, buckets, test));
    let test = TestEngine::on(engine(), clock).unwrap();
    let buckets = Buckets::new(test.engine.clone(), test.account);
    let bucket = buckets.bind("b").unwrap();
    assert_eq!((bucket.history("kept").unwrap(), bucket.status().unwrap()), before);
    assert_eq!(bucket.status().unwrap().config.compression, config.compression);
    assert_eq!(bucket.keys(&[]).unwrap(), ["brief", "kept"]);

    let mut watch =
        bucket.watch(&[], WatchOptions { updates_only: true, ..WatchOptions::default() }).unwrap();
    test.advance_ns(61_000_000_000);
    let Some(Event::Entry(marker)) = watch.try_next().unwrap() else { panic!("no marker") };
    assert_eq!((marker.key.as_str(), marker.operation, marker.revision), ("brief", Operation::Purge, 8));
    assert_eq!(bucket.keys(&[]).unwrap(), ["kept"]);
    assert_eq!(bucket.put("kept", b"9").unwrap(), 9);
}
