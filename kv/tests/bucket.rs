//! Buckets over a real engine on a clock that stands still until it is moved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::config::StorageType;
use jetkv_kv::{Bucket, BucketConfig, Buckets, Create, Entry, Error, Operation, Remove};
use jetkv_testing::{START_NS, TestEngine};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

struct Bench {
    test: TestEngine,
    buckets: Buckets,
}

impl Bench {
    fn new() -> Self {
        let test = TestEngine::new().unwrap();
        let buckets = Buckets::new(test.engine.clone(), test.account);
        Self { test, buckets }
    }

    fn bucket(&self, change: impl FnOnce(&mut BucketConfig)) -> Bucket {
        let mut config = memory("b");
        change(&mut config);
        self.buckets.create(&config).unwrap()
    }

    fn advance(&self, secs: u64) {
        self.test.advance_ns(secs * SECOND_NS);
    }
}

fn memory(name: &str) -> BucketConfig {
    BucketConfig { storage: StorageType::Memory, ..BucketConfig::new(name) }
}

fn shape(entries: &[Entry]) -> Vec<(&str, &[u8], u64, Operation)> {
    entries.iter().map(|e| (e.key.as_str(), &e.value[..], e.revision, e.operation)).collect()
}

#[test]
fn a_value_is_read_back_with_its_revision_and_time() {
    let bench = Bench::new();
    let bucket = bench.bucket(|_| {});
    assert_eq!(bucket.put("a.b", b"one").unwrap(), 1);
    bench.advance(1);
    assert_eq!(bucket.put("a.b", b"two").unwrap(), 2);
    let entry = bucket.get("a.b").unwrap();
    assert_eq!((&entry.value[..], entry.revision, entry.operation), (&b"two"[..], 2, Operation::Put));
    assert_eq!(entry.created_ns, START_NS.plus(SECOND_NS as i64).ns());
    assert!(matches!(bucket.get("a"), Err(Error::KeyNotFound)));
    assert!(matches!(bucket.get("a..b"), Err(Error::InvalidKey)));
    assert!(matches!(bucket.put("a b", b""), Err(Error::InvalidKey)));
}

#[test]
fn history_keeps_as_many_revisions_as_configured() {
    let bench = Bench::new();
    let bucket = bench.bucket(|config| config.history = 3);
    for n in 0..5_u8 {
        bucket.put("k", &[n]).unwrap();
    }
    bucket.put("other", b"x").unwrap();
    let history = bucket.history("k").unwrap();
    let wanted = [
        ("k", &[2_u8][..], 3, Operation::Put),
        ("k", &[3], 4, Operation::Put),
        ("k", &[4], 5, Operation::Put),
    ];
    assert_eq!(shape(&history), wanted);
    assert_eq!(history.iter().map(|e| e.delta).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!(&bucket.get_revision("k", 4).unwrap().value[..], &[3]);
    assert!(matches!(bucket.get_revision("k", 1), Err(Error::KeyNotFound)));
    assert!(matches!(bucket.get_revision("k", 6), Err(Error::KeyNotFound)));
    assert!(matches!(bucket.history("none"), Err(Error::KeyNotFound)));
}

#[test]
fn create_succeeds_only_without_a_value_and_over_markers() {
    let bench = Bench::new();
    let bucket = bench.bucket(|config| config.history = 5);
    assert_eq!(bucket.create("k", b"1", Create::default()).unwrap(), 1);
    assert!(matches!(bucket.create("k", b"2", Create::default()), Err(Error::KeyExists)));
    bucket.delete("k", Remove::default()).unwrap();
    assert_eq!(bucket.create("k", b"3", Create::default()).unwrap(), 3);
    bucket.purge("k", Remove::default()).unwrap();
    assert_eq!(bucket.create("k", b"4", Create::default()).unwrap(), 5);
    assert_eq!(&bucket.get("k").unwrap().value[..], b"4");
}

#[test]
fn update_compares_with_the_last_revision() {
    let bench = Bench::new();
    let bucket = bench.bucket(|_| {});
    assert_eq!(bucket.update("k", b"1", 0).unwrap(), 1);
    assert_eq!(bucket.update("k", b"2", 1).unwrap(), 2);
    let Err(Error::WrongLastRevision(error)) = bucket.update("k", b"3", 1) else { panic!("it was taken") };
    assert_eq!((error.err_code, &*error.description), (10071, "wrong last sequence: 2"));
    assert_eq!(&bucket.get("k").unwrap().value[..], b"2");
}

#[test]
fn a_deleted_key_is_not_found_and_its_history_stays() {
    let bench = Bench::new();
    let bucket = bench.bucket(|config| config.history = 5);
    bucket.put("k", b"1").unwrap();
    let stale = Remove { last_revision: Some(7), ..Remove::default() };
    assert!(matches!(bucket.delete("k", stale), Err(Error::WrongLastRevision(_))));
    bucket.delete("k", Remove { last_revision: Some(1), ..Remove::default() }).unwrap();
    assert!(matches!(bucket.get("k"), Err(Error::KeyNotFound)));
    assert!(matches!(bucket.get_revision("k", 2), Err(Error::KeyNotFound)));
    let history = bucket.history("k").unwrap();
    assert_eq!(shape(&history), [("k", &b"1"[..], 1, Operation::Put), ("k", b"", 2, Operation::Delete)]);
    let with_ttl = Remove { ttl: Some(Duration::from_secs(1)), ..Remove::default() };
    assert!(matches!(bucket.delete("k", with_ttl), Err(Error::TtlOnDelete)));
}

#[test]
fn a_purge_leaves_one_marker_of_a_key_and_other_keys_alone() {
    let bench = Bench::new();
    let bucket = bench.bucket(|config| config.history = 5);
    bucket.put("k", b"1").unwrap();
    bucket.put("k", b"2").unwrap();
    bucket.put("l", b"3").unwrap();
    let stale = Remove { last_revision: Some(1), ..Remove::default() };
    assert!(matches!(bucket.purge("k", stale), Err(Error::WrongLastRevision(_))));
    bucket.purge("k", Remove { last_revision: Some(2), ..Remove::default() }).unwrap();
    assert_eq!(shape(&bucket.history("k").unwrap()), [("k", &b""[..], 4, Operation::Purge)]);
    assert_eq!(&bucket.get("l").unwrap().value[..], b"3");
}

#[test]
fn keys_are_those_with_a_value_that_match() {
    let bench = Bench::new();
    let bucket = bench.bucket(|_| {});
    for n in 0..1_000 {
        bucket.put(&format!("n.{n:04}"), b"x").unwrap();
    }
    for key in ["a", "a.b", "a.c.d", "z"] {
        bucket.put(key, b"x").unwrap();
    }
    bucket.delete("a.b", Remove::default()).unwrap();
    bucket.delete("n.0500", Remove::default()).unwrap();
    assert_eq!(bucket.keys(&[]).unwrap().len(), 1_002);
    assert_eq!(bucket.keys(&["n.*"]).unwrap().len(), 999);
    assert_eq!(bucket.keys(&["a.>", "a", "*"]).unwrap(), ["a", "a.c.d", "z"]);
    assert!(bucket.keys(&["none.>"]).unwrap().is_empty());
    assert!(matches!(bucket.keys(&["a..>"]), Err(Error::InvalidKey)));
}

#[test]
fn values_go_when_their_bucket_says_so() {
    let bench = Bench::new();
    let bucket = bench.bucket(|config| config.ttl = Some(Duration::from_secs(10)));
    bucket.put("old", b"1").unwrap();
    bench.advance(6);
    bucket.put("young", b"2").unwrap();
    bench.advance(5);
    assert!(matches!(bucket.get("old"), Err(Error::KeyNotFound)));
    assert_eq!(&bucket.get("young").unwrap().value[..], b"2");
    assert_eq!(bucket.keys(&[]).unwrap(), ["young"]);
}

#[test]
fn a_key_with_a_ttl_of_its_own_goes_and_leaves_a_marker_that_goes_too() {
    let bench = Bench::new();
    let bucket = bench.bucket(|config| config.limit_marker_ttl = Some(Duration::from_secs(5)));
    let how = Create { ttl: Some(Duration::from_secs(3)) };
    bucket.create("k", b"1", how).unwrap();
    assert!(matches!(bucket.create("k", b"2", how), Err(Error::KeyExists)));
    bench.advance(4);
    assert!(matches!(bucket.get("k"), Err(Error::KeyNotFound)));
    assert_eq!(bucket.history("k").unwrap()[0].operation, Operation::Purge);
    assert_eq!(bucket.status().unwrap().values, 1);
    bucket.create("k", b"3", Create::default()).unwrap();
    bucket.purge("k", Remove { ttl: Some(Duration::from_secs(2)), ..Remove::default() }).unwrap();
    bench.advance(3);
    assert!(matches!(bucket.history("k"), Err(Error::KeyNotFound)));
}

#[test]
fn a_ttl_without_limit_markers_is_refused() {
    let bench = Bench::new();
    let bucket = bench.bucket(|_| {});
    let how = Create { ttl: Some(Duration::from_secs(3)) };
    let Err(Error::Refused(error)) = bucket.create("k", b"1", how) else { panic!("it was taken") };
    assert_eq!(error.err_code, 10166);
}

#[test]
fn limits_of_the_bucket_refuse_values() {
    let bench = Bench::new();
    let bucket = bench.bucket(|config| {
        config.max_value_size_bytes = Some(100);
        config.max_bytes = Some(400);
    });
    let Err(Error::Refused(error)) = bucket.put("k", &[0; 101]) else { panic!("it was taken") };
    assert_eq!(error.err_code, 10054);
    let full = (0..9).find_map(|n| bucket.put(&format!("k{n}"), &[0; 100]).err());
    let Some(Error::Refused(error)) = full else { panic!("it was taken") };
    assert_eq!((error.err_code, &*error.description), (10077, "maximum bytes exceeded"));
}

#[test]
fn deleted_keys_can_be_purged_once_their_markers_are_old() {
    let bench = Bench::new();
    let bucket = bench.bucket(|config| config.history = 5);
    for key in ["old", "young", "alive"] {
        bucket.put(key, b"1").unwrap();
    }
    bucket.delete("old", Remove::default()).unwrap();
    bench.advance(31 * 60);
    bucket.delete("young", Remove::default()).unwrap();
    assert_eq!(bucket.purge_deletes(None).unwrap(), 2);
    assert!(matches!(bucket.history("old"), Err(Error::KeyNotFound)));
    assert_eq!(bucket.history("young").unwrap().len(), 1);
    assert_eq!(bucket.purge_deletes(Some(Duration::ZERO)).unwrap(), 1);
    assert_eq!(bucket.status().unwrap().values, 1);
}

#[test]
fn buckets_are_created_found_changed_and_deleted() {
    let bench = Bench::new();
    let config = BucketConfig { description: "first".into(), ..memory("one") };
    bench.buckets.create(&config).unwrap();
    bench.buckets.create(&config).unwrap();
    bench.buckets.create(&memory("two")).unwrap();
    let other = BucketConfig { history: 9, ..config.clone() };
    assert!(matches!(bench.buckets.create(&other), Err(Error::BucketExists(name)) if name == "one"));
    let changed = bench.buckets.update(&other).unwrap();
    assert_eq!(changed.status().unwrap().config.history, 9);
    assert!(matches!(bench.buckets.update(&memory("none")), Err(Error::BucketNotFound)));
    assert_eq!(bench.buckets.names(), ["one", "two"]);
    bench.buckets.bind("two").unwrap().put("k", b"1").unwrap();
    let statuses = bench.buckets.statuses().unwrap();
    assert_eq!(statuses.iter().map(|s| (s.values, s.keys)).collect::<Vec<_>>(), [(0, 0), (1, 1)]);
    bench.buckets.delete("one").unwrap();
    assert!(matches!(bench.buckets.delete("one"), Err(Error::BucketNotFound)));
    assert!(matches!(bench.buckets.bind("one"), Err(Error::BucketNotFound)));
    assert!(matches!(bench.buckets.bind("a.b"), Err(Error::InvalidBucketName)));
    bench.test.request("STREAM.CREATE.KV_x", r#"{"name":"KV_x","subjects":["x"],"storage":"memory"}"#);
    assert!(matches!(bench.buckets.bind("x"), Err(Error::BadBucket)));
}

/// What nats-server v2.15.2 shows of a bucket that the official CLI created with these settings.
#[test]
fn a_bucket_is_the_stream_that_the_official_cli_creates() {
    let bench = Bench::new();
    bench.bucket(|config| {
        config.history = 7;
        config.ttl = Some(Duration::from_secs(9));
        config.limit_marker_ttl = Some(Duration::from_secs(3));
        config.max_bytes = Some(1 << 20);
        config.compression = true;
    });
    let observed = r#"{"name": "KV_b", "subjects": ["$KV.b.>"], "retention": "limits", "max_consumers": -1,
        "max_msgs_per_subject": 7, "max_msgs": -1, "max_bytes": 1048576, "max_age": 9000000000, "max_msg_size": -1,
        "storage": "memory", "discard": "new", "num_replicas": 1, "duplicate_window": 9000000000,
        "compression": "s2", "sealed": false, "deny_delete": true, "deny_purge": false, "allow_rollup_hdrs": true,
        "allow_direct": true, "mirror_direct": false, "allow_msg_ttl": true,
        "metadata": {"_nats.level": "5", "_nats.req.level": "1", "_nats.ver": "2.15.2"},
        "subject_delete_marker_ttl": 3000000000, "consumer_limits": {}}"#;
    let observed: serde_json::Value = serde_json::from_str(observed).unwrap();
    let info: serde_json::Value = serde_json::from_str(&bench.test.request("STREAM.INFO.KV_b", "")).unwrap();
    for (field, value) in observed.as_object().unwrap() {
        assert_eq!(&info["config"][field], value, "{field}");
    }
}
