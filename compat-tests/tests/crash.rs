//! kill -9 amid concurrent puts, purges, deletes, expiries, acknowledgements, atomic and fast batches, increments that a stream of
//! sources adds up, schedules and changes of streams and consumers loses nothing, doubles nothing and brings nothing back. `JETKV_KILLS` sets how many kills each test makes.
//!
//! nats-server v2.15.2 does not pass this: it acknowledges before it writes, and even with `sync_interval: always`
//! messages that a purge removed are there again after a kill.
#![allow(clippy::expect_used, missing_docs)]

use jetkv_compat_tests::process::ServerOptions;
use jetkv_compat_tests::{crash, oracle};

fn rounds(usual: u32) -> u32 {
    std::env::var("JETKV_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(usual)
}

fn kill(options: &ServerOptions, rounds: u32) {
    let program = oracle::jetkv().expect("JetKV is built");
    let rounds = self::rounds(rounds);
    let seed = u64::from(std::process::id());
    let summary = crash::run(&program, options, rounds, seed).expect("every acknowledged operation is there");
    println!("{summary:?}, seed {seed}");
    let rounds = u64::from(rounds);
    // Every second round waits until something of each kind was done.
    assert!(summary.acknowledged > rounds * 2, "the writers hardly wrote: {summary:?}");
    assert!(summary.confirmed >= rounds / 2, "hardly anything was acknowledged: {summary:?}");
    assert!(summary.composed >= rounds / 2, "hardly anything was composed: {summary:?}");
    assert!(summary.reshaped >= rounds / 2, "hardly anything was changed: {summary:?}");
}

#[test]
fn two_hundred_kills_lose_nothing_and_bring_nothing_back() {
    kill(&ServerOptions { flags: vec!["-js".into()], ..ServerOptions::default() }, 200);
}

#[test]
fn kills_amid_shared_syncs_lose_nothing_and_bring_nothing_back() {
    let config = Some("jetstream { sync_interval: always }\n".to_owned());
    kill(&ServerOptions { flags: vec!["-js".into()], config, ..ServerOptions::default() }, 60);
}

#[test]
fn kills_amid_mirrors_and_sources_lose_nothing_and_double_nothing() {
    let program = oracle::jetkv().expect("JetKV is built");
    let options = ServerOptions { flags: vec!["-js".into()], ..ServerOptions::default() };
    let rounds = rounds(12);
    let seed = u64::from(std::process::id());
    let summary = crash::origins::run(&program, &options, rounds, seed).expect("everything arrives once");
    println!("{summary:?}, seed {seed}");
    assert!(summary.acknowledged > 0, "nothing was published: {summary:?}");
}

#[test]
fn kills_of_a_server_that_encrypts_lose_nothing_and_bring_nothing_back() {
    let config = Some("jetstream { cipher: aes, key: \"a key for tests\" }\n".to_owned());
    kill(&ServerOptions { flags: vec!["-js".into()], config, ..ServerOptions::default() }, 40);
}
