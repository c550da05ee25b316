//! kill -9 amid concurrent puts, purges, deletes and expiries loses nothing and brings nothing back.
//!
//! nats-server v2.15.2 does not pass this: it acknowledges before it writes, and even with `sync_interval: always`
//! messages that a purge removed are there again after a kill.
#![allow(clippy::expect_used, missing_docs)]

use jetkv_compat_tests::process::ServerOptions;
use jetkv_compat_tests::{crash, oracle};

#[test]
fn two_hundred_kills_lose_nothing_and_bring_nothing_back() {
    let program = oracle::jetkv().expect("JetKV is built");
    let options = ServerOptions { flags: vec!["-js".into()], ..ServerOptions::default() };
    let seed = u64::from(std::process::id());
    let summary = crash::run(&program, &options, 200, seed).expect("every acknowledged operation is there");
    println!("{summary:?}, seed {seed}");
    assert!(summary.acknowledged > 1_000, "the writers hardly wrote: {summary:?}");
}
