// What the examples of the documentation begin with: buckets, one of which is there, in memory.

use jetkv_jetstream::config::StorageType;
use jetkv_kv::{Bucket, BucketConfig, Buckets};
use jetkv_testing::TestEngine;
use std::error::Error;
use std::time::Duration;

fn in_memory(bucket: &str) -> BucketConfig {
    let limit_marker_ttl = Some(Duration::from_secs(60));
    BucketConfig { storage: StorageType::Memory, history: 5, limit_marker_ttl, ..BucketConfig::new(bucket) }
}

fn example() -> Result<(TestEngine, Buckets, Bucket), Box<dyn Error>> {
    let test = TestEngine::new()?;
    let buckets = Buckets::new(test.engine.clone(), test.account);
    let bucket = buckets.create(&in_memory("settings"))?;
    Ok((test, buckets, bucket))
}
