//! Watches see what is there, then every change, in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::config::StorageType;
use jetkv_kv::{
    Bucket, BucketConfig, Buckets, Create, Entry, Error, Event, Operation, Remove, Watch, WatchOptions,
};
use jetkv_testing::TestEngine;
use std::collections::BTreeMap;
use std::time::Duration;

fn buckets(history: u8) -> (TestEngine, Buckets, Bucket) {
    let test = TestEngine::new().unwrap();
    let buckets = Buckets::new(test.engine.clone(), test.account);
    let config = BucketConfig {
        storage: StorageType::Memory,
        history,
        limit_marker_ttl: Some(Duration::from_secs(60)),
        ..BucketConfig::new("b")
    };
    let bucket = buckets.create(&config).unwrap();
    (test, buckets, bucket)
}

/// `key=value@revision-delta`, with the operation in place of a marker's value.
fn line(entry: &Entry) -> String {
    let value = match entry.operation {
        Operation::Put => String::from_utf8_lossy(&entry.value).into_owned(),
        operation => format!("{operation:?}"),
    };
    format!("{}={value}@{}-{}", entry.key, entry.revision, entry.delta)
}

fn drain(watch: &mut Watch) -> Vec<String> {
    let lines = std::iter::from_fn(|| watch.try_next().unwrap()).map(|event| match event {
        Event::InitialDone => "done".to_owned(),
        Event::Entry(entry) => line(&entry),
    });
    lines.collect()
}

const NONE: WatchOptions = WatchOptions {
    include_history: false,
    updates_only: false,
    ignore_deletes: false,
    meta_only: false,
    resume_from_revision: None,
};

#[test]
fn a_watch_shows_last_values_in_order_of_revision_then_changes() {
    let (_test, _buckets, bucket) = buckets(5);
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
        bucket.put(key, value.as_bytes()).unwrap();
    }
    bucket.delete("c", Remove::default()).unwrap();
    let mut watch = bucket.watch(&[], NONE).unwrap();
    assert_eq!(drain(&mut watch), ["b=2@2-2", "a=3@3-1", "c=Delete@5-0", "done"]);
    bucket.put("a", b"5").unwrap();
    bucket.purge("b", Remove::default()).unwrap();
    assert_eq!(drain(&mut watch), ["a=5@6-1", "b=Purge@7-0"]);
    assert!(drain(&mut watch).is_empty());
}

#[test]
fn options_choose_what_is_shown() {
    let (_test, _buckets, bucket) = buckets(5);
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "3")] {
        bucket.put(key, value.as_bytes()).unwrap();
    }
    bucket.delete("b", Remove::default()).unwrap();
    let watch = |options| bucket.watch(&[], options).unwrap();
    let shown = |options| drain(&mut watch(options));
    let history = shown(WatchOptions { include_history: true, ..NONE });
    assert_eq!(history, ["a=1@1-3", "a=2@2-2", "b=3@3-1", "b=Delete@4-0", "done"]);
    assert_eq!(shown(WatchOptions { ignore_deletes: true, ..NONE }), ["a=2@2-1", "done"]);
    assert_eq!(shown(WatchOptions { meta_only: true, ..NONE }), ["a=@2-1", "b=Delete@4-0", "done"]);
    let resumed = shown(WatchOptions { resume_from_revision: Some(2), ..NONE });
    assert_eq!(resumed, ["a=2@2-2", "b=3@3-1", "b=Delete@4-0", "done"]);
    let mut updates = watch(WatchOptions { updates_only: true, ..NONE });
    assert!(drain(&mut updates).is_empty());
    bucket.put("a", b"6").unwrap();
    assert_eq!(drain(&mut updates), ["a=6@5-0"]);
}

#[test]
fn a_watch_that_leaves_out_many_markers_still_shows_what_follows_them() {
    let (_test, _buckets, bucket) = buckets(1);
    for n in 0..500 {
        bucket.delete(&format!("k{n}"), Remove::default()).unwrap();
    }
    bucket.put("z", b"1").unwrap();
    let mut watch = bucket.watch(&[], WatchOptions { ignore_deletes: true, ..NONE }).unwrap();
    assert_eq!(drain(&mut watch), ["z=1@501-0", "done"]);
}

#[test]
fn filters_choose_keys_and_an_empty_start_is_done_at_once() {
    let (_test, _buckets, bucket) = buckets(1);
    let mut watch = bucket.watch(&["a.*", "x"], NONE).unwrap();
    assert_eq!(drain(&mut watch), ["done"]);
    for key in ["a", "a.b", "a.b.c", "x", "y"] {
        bucket.put(key, b"1").unwrap();
    }
    assert_eq!(drain(&mut watch), ["a.b=1@2-1", "x=1@4-0"]);
    assert!(matches!(bucket.watch(&["a..b"], NONE), Err(Error::InvalidKey)));
}

#[test]
fn an_expired_key_is_shown_as_purged() {
    let (test, _buckets, bucket) = buckets(1);
    let mut watch = bucket.watch(&["k"], WatchOptions { updates_only: true, ..NONE }).unwrap();
    bucket.create("k", b"1", Create { ttl: Some(Duration::from_secs(60)) }).unwrap();
    assert_eq!(drain(&mut watch), ["k=1@1-0"]);
    test.advance_ns(61_000_000_000);
    assert_eq!(drain(&mut watch), ["k=Purge@2-0"]);
}

#[test]
fn a_deleted_bucket_ends_its_watches() {
    let (_test, buckets, bucket) = buckets(1);
    let mut watch = bucket.watch(&[], WatchOptions { updates_only: true, ..NONE }).unwrap();
    let waiting = std::thread::spawn(move || watch.next_timeout(Duration::from_secs(60)));
    buckets.delete("b").unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(Error::BucketNotFound)));
}

#[test]
fn a_watch_amid_concurrent_writers_sees_each_keys_revisions_rise_to_the_last() {
    const WRITES: u64 = 500;
    let (_test, _buckets, bucket) = buckets(64);
    let write = |writer: u64, bucket: Bucket| {
        for n in 0..WRITES {
            bucket.put(&format!("w{writer}.k{}", n % 3), n.to_string().as_bytes()).unwrap();
        }
    };
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let bucket = bucket.clone();
            std::thread::spawn(move || write(writer, bucket))
        })
        .collect();
    let mut watch = bucket.watch(&[], NONE).unwrap();
    let (mut last, mut revision) = (BTreeMap::new(), 0);
    while revision < 4 * WRITES {
        match watch.next_timeout(Duration::from_secs(60)).unwrap() {
            Some(Event::Entry(entry)) => {
                assert!(entry.revision > revision, "revisions rise");
                revision = entry.revision;
                last.insert(entry.key, entry.value);
            }
            Some(Event::InitialDone) => {}
            None => panic!("no event after revision {revision}"),
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(last.len(), 12);
    for (key, value) in last {
        assert_eq!(bucket.get(&key).unwrap().value, value);
    }
}
