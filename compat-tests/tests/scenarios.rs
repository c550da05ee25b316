//! Every scenario on nats-server and on JetKV, a test for each topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jetkv_compat_tests::oracle::{Tool, Toolbox};
use jetkv_compat_tests::scenario_root;
use jetkv_compat_tests::scoreboard::errors;
use jetkv_compat_tests::transcript::compare::{Comparison, Report};
use jetkv_compat_tests::transcript::play::Tools;
use jetkv_compat_tests::transcript::scenario;

fn play_topic(topic: &str) {
    let toolbox = Toolbox::default();
    // Reported as skipped by the toolbox; with CI=true it is an error.
    let Some((reference, candidate)) = toolbox.servers().unwrap() else { return };
    let cli = toolbox.require(Tool::Cli).unwrap().map(|launch| launch.program);
    let cases = scenario::read_all(&scenario_root().join(topic)).unwrap();
    assert!(!cases.is_empty(), "no scenarios in {topic}");
    let mut comparison = Comparison::new(&reference, &candidate, &Tools { cli });
    let report = Report::run(&cases, &mut comparison);
    println!("{topic}: {}", report.summary());
    assert!(report.is_good(), "{topic}: {}{}", report.summary(), report.faults());
    let missing = errors::read().unwrap().missing(topic, comparison.seen_errors());
    assert!(missing.is_empty(), "{missing:?}; run `compat errors`");
}

macro_rules! topics {
    ($($test:ident $folder:literal;)*) => {
        $(#[test] fn $test() { play_topic($folder); })*

        #[test]
        fn every_folder_is_a_topic() {
            let mut folders: Vec<String> = std::fs::read_dir(scenario_root()).unwrap()
                .map(|entry| entry.unwrap())
                .filter(|entry| entry.path().is_dir())
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            folders.sort();
            let mut topics = vec![$($folder),*];
            topics.sort_unstable();
            assert_eq!(folders, topics);
        }
    };
}

topics! {
    auth "auth";
    batches "batches";
    cli "cli";
    config "config";
    consumers "consumers";
    core "core";
    counters "counters";
    direct_get "direct-get";
    flags "flags";
    jsapi_consumer "jsapi-consumer";
    jsapi_stream "jsapi-stream";
    kv "kv";
    lab "lab";
    limits "limits";
    log "log";
    monitoring "monitoring";
    origins "origins";
    protocol "protocol";
    publish "publish";
    reload "reload";
    schedules "schedules";
    startup "startup";
    websocket "websocket";
}
